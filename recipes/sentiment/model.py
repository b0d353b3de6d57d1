"""The sentiment network: word and affix embeddings, (bi)LSTM, pooling, output; beside it a wide branch on words."""

from __future__ import annotations

import keras

from common.modeling.layers.affixes import AffixEmbedding
from common.modeling.layers.blend import LogitBlend
from common.modeling.layers.embedding import Embedding
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.recurrent import lstm_states

from .config import Config
from .layers import TrimMiddle, WideBagOfWords, WordDropout

HEADS = ("lstm_logits", "wide_logits")
LAYER_GROUPS = {  # patterns of layer names
    "embedding": ("words", "affix_vectors"),
    "encoder": ("lstm_*", "pooling"),
    "head": ("labels", "wide_words", "blend"),
}


def build_model(config: Config, num_words: int, num_labels: int) -> keras.Model:
    """Return the model.

    Inputs: tokens int32 [batch, time], 0 where padded; affixes uint16 [batch, time, kinds].
    Outputs, each [batch, labels]: lstm_logits and wide_logits, what either branch says alone (the second only if there
    are pairs); logits, their sum, which is trained; blended, which is served, their sum with weights fitted on the
    validation split.

    Args:
      num_words: how many word ids there are; the last one is the unknown word's.
    """
    noise = 1 if config.stochastic_regularization else 0
    tokens = keras.Input([None], dtype="int32", name="tokens")
    affixes = keras.Input([None, config.num_affixes], dtype="uint16", name="affixes")
    lengths = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(tokens, 0), "int32"), axis=1)
    start = keras.initializers.RandomUniform(-0.1, 0.1)

    ends = TrimMiddle(config.lstm_max_length, name="ends")
    read, read_affixes = ends(tokens, lengths), ends(affixes, lengths)
    read_lengths = keras.ops.minimum(lengths, config.lstm_max_length)
    seen = WordDropout(noise * config.word_dropout, num_words - 1, name="word_dropout")(read)
    embedding = Embedding(num_words, config.embedding_dim, embeddings_initializer=start, name="words")
    states = embedding(seen)  # [batch, time, embedding_dim]
    if config.affix_buckets:
        states += AffixEmbedding(config.affix_buckets, config.embedding_dim, name="affix_vectors")(read_affixes)
    states = keras.layers.SpatialDropout1D(noise * config.embedding_dropout, name="embedding_dropout")(states)
    for layer in range(1, config.lstm_layers + 1):
        states = lstm_states(states, read_lengths, config.lstm_units, config.bidirectional, f"lstm_{layer}")
    pooled = Pooling(config.pooling, config.bidirectional, name="pooling")(states, read_lengths)
    pooled = keras.layers.Dropout(noise * config.pooled_dropout, name="state_dropout")(pooled)
    heads = [keras.layers.Dense(num_labels, dtype="float32", name="labels")(pooled)]
    if config.bigram_buckets:
        dropout, lr_multiplier = noise * config.wide_dropout, config.wide_lr_multiplier
        sizes = num_words, num_labels, config.bigram_buckets
        wide = WideBagOfWords(*sizes, dropout, lr_multiplier, dtype="float32", name="wide_words")
        heads.append(wide(tokens, lengths))
    outputs = dict(zip(HEADS, heads, strict=False))
    outputs["logits"] = sum(heads[1:], start=heads[0])
    outputs["blended"] = LogitBlend(dtype="float32", name="blend")(heads)
    return keras.Model({"tokens": tokens, "affixes": affixes}, outputs, name="sentiment")
