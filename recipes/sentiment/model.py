"""The sentiment network: word and affix embeddings, (bi)LSTM, pooling, output; beside it a linear part on words."""

from __future__ import annotations

import keras

from common.modeling.layers.affixes import AffixEmbedding
from common.modeling.layers.blend import Blend
from common.modeling.layers.embedding import Embedding
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.recurrent import lstm

from .config import Config
from .layers import Ends, WideWords, WordDropout

HEADS = ("lstm_logits", "wide_logits")
PARTS = {  # patterns of layer names
    "embedding": ("words", "affix_vectors"),
    "encoder": ("lstm_*", "pooling"),
    "head": ("labels", "wide_words", "blend"),
}


def build(config: Config, words: int, labels: int, moving: bool = False) -> keras.Model:
    """The model.

    Inputs: tokens int32 [batch, time], 0 where padded; affixes uint16 [batch, time, kinds].
    Outputs, each [batch, labels]: lstm_logits and wide_logits, what either part says alone (the second only if there
    are pairs); logits, their sum, which is trained; blended, which is served, their sum with weights fitted on the
    validation part.

    Args:
      words: how many word ids there are; the last one is the unknown word's.
      moving: see WideWords.
    """
    noise = 1 if config.noise else 0
    tokens = keras.Input([None], dtype="int32", name="tokens")
    affixes = keras.Input([None, config.affix_kinds], dtype="uint16", name="affixes")
    lengths = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(tokens, 0), "int32"), axis=1)
    start = keras.initializers.RandomUniform(-0.1, 0.1)

    ends = Ends(config.lstm_length, name="ends")
    read, read_affixes = ends(tokens, lengths), ends(affixes, lengths)
    read_lengths = keras.ops.minimum(lengths, config.lstm_length)
    seen = WordDropout(noise * config.word_dropout, words - 1, name="word_dropout")(read)
    embedding = Embedding(words, config.embedding_units, embeddings_initializer=start, name="words")
    states = embedding(seen)  # [batch, time, embedding_units]
    if config.affix_buckets:
        states += AffixEmbedding(config.affix_buckets, config.embedding_units, name="affix_vectors")(read_affixes)
    states = keras.layers.SpatialDropout1D(noise * config.embedding_dropout, name="embedding_dropout")(states)
    for layer in range(1, config.lstm_layers + 1):
        states = lstm(states, read_lengths, config.lstm_units, config.bidirectional, f"lstm_{layer}")
    pooled = Pooling(config.pooling, config.bidirectional, name="pooling")(states, read_lengths)
    pooled = keras.layers.Dropout(noise * config.state_dropout, name="state_dropout")(pooled)
    heads = [keras.layers.Dense(labels, dtype="float32", name="labels")(pooled)]
    if config.pair_buckets:
        dropout, speed = noise * config.wide_dropout, config.wide_rate
        wide = WideWords(words, labels, config.pair_buckets, dropout, speed, moving, dtype="float32", name="wide_words")
        heads.append(wide(tokens, lengths))
    outputs = dict(zip(HEADS, heads, strict=False))
    outputs["logits"] = sum(heads[1:], start=heads[0])
    outputs["blended"] = Blend(dtype="float32", name="blend")(heads)
    return keras.Model({"tokens": tokens, "affixes": affixes}, outputs, name="sentiment")
