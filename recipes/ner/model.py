"""The tagger: words, affixes, shapes and characters; BiLSTM; scores of tags; CRF."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from common.layers.affixes import AffixEmbedding
from common.layers.crf import CRF
from common.layers.embedding import Embedding
from common.layers.recurrent import lstm

from .config import Config
from .features import CHARACTERS, LINEAR, SHAPES
from .layers import Characters, Outside, RareWordDropout, WideScores
from .tagging import allowed


def build(config: Config, word_counts: Sequence[int], characters: int, types: int, vector_units: int) -> keras.Model:
    """The model.

    Inputs: words int32 [batch, time], 0 where padded; affixes uint16 [batch, time, kinds]; shapes [batch, time];
    characters [batch, time, CHARACTERS].
    Outputs: emissions float32 [batch, time, tags], which are trained, and lstm_emissions, what the LSTM alone says, if
    there is a linear part; decided, the emissions by which tags are chosen, with O's share as the validation part would
    have it; lengths int32 [batch].

    Args:
      word_counts: how often training holds each word of the vocabulary, by rank; 0 for those of pretrained vectors.
      characters: how many character ids there are.
      types: of entities.
      vector_units: size of pretrained vectors, 0 for none.
    """
    noise = 1 if config.noise else 0
    words = keras.Input([None], dtype="int32", name="words")
    affixes = keras.Input([None, config.affix_kinds], dtype="uint16", name="affixes")
    shapes = keras.Input([None], dtype="uint16", name="shapes")
    letters = keras.Input([None, CHARACTERS], dtype="uint16", name="characters")
    lengths = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(words, 0), "int32"), axis=1)
    read = keras.ops.maximum(lengths, 1)
    start = keras.initializers.RandomUniform(-0.1, 0.1)

    rate = noise * config.word_dropout
    chances = [0.0, 0.0, *(rate / (rate + n) if n else 1.0 for n in word_counts), 0.0]
    seen = RareWordDropout(chances, len(chances) - 1, name="word_dropout")(words)
    parts = [Embedding(len(chances), config.embedding_units, embeddings_initializer=start, name="words_")(seen)]
    if vector_units:
        vectors = Embedding(len(chances), vector_units, trainable=config.tune_vectors, name="vectors")
        parts.append(vectors(words))
    if config.affix_buckets:
        parts.append(AffixEmbedding(config.affix_buckets, config.embedding_units, name="affix_vectors")(affixes))
    parts.append(Embedding(SHAPES + 1, config.shape_units, embeddings_initializer=start, name="shape_vectors")(shapes))
    if config.characters != "none":
        parts.append(
            Characters(
                characters,
                config.characters,
                config.character_units,
                config.character_filters,
                name="character_vectors",
            )(letters)
        )
    states = keras.layers.Concatenate(name="features")(parts)
    states = keras.layers.SpatialDropout1D(noise * config.input_dropout, name="input_dropout")(states)
    for layer in range(1, config.lstm_layers + 1):
        states = lstm(states, read, config.lstm_units, True, f"lstm_{layer}")
        states = keras.layers.SpatialDropout1D(noise * config.state_dropout, name=f"state_dropout_{layer}")(states)
    moves = allowed(types, config.scheme)
    tags = len(moves.start)
    emissions = keras.layers.Dense(tags, dtype="float32", name="tags")(states)
    inputs = {"words": words, "affixes": affixes, "shapes": shapes, "characters": letters}
    outputs = {"lengths": lengths}
    if config.wide_buckets:
        inputs["linear"] = keras.Input([None, LINEAR], dtype="uint16", name="linear")
        left_out = noise * config.wide_dropout
        wide = WideScores(
            config.wide_buckets,
            tags,
            config.wide_reach,
            left_out,
            config.wide_rate,
            dtype="float32",
            name="wide",
        )
        outputs["lstm_emissions"] = emissions
        emissions = keras.layers.Add(dtype="float32", name="scores")(
            [emissions, wide(inputs["linear"], keras.ops.not_equal(seen, len(chances) - 1))]
        )
    if config.decoder == "crf":
        emissions = CRF(tags, *moves, name="crf")(emissions)
    outputs |= {"emissions": emissions, "decided": Outside(dtype="float32", name="outside")(emissions)}
    return keras.Model(inputs, outputs, name="ner")
