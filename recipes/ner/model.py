"""The tagger: words, affixes, shapes and characters; BiLSTM; scores of tags; CRF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from common.modeling.layers.affixes import AffixEmbedding
from common.modeling.layers.crf import CRF
from common.modeling.layers.embedding import Embedding
from common.modeling.layers.recurrent import lstm_states

from .config import Config
from .features import CHARACTERS, LINEAR, SHAPES
from .layers import CharacterEncoder, HashedLinear, OutsideBias, RareWordDropout
from .tagging import transition_mask

LAYER_GROUPS = {  # patterns of layer names
    "embedding": ("words_", "vectors", "affix_vectors", "shape_vectors", "character_vectors"),
    "encoder": ("lstm_*",),
    "head": ("tags", "wide", "crf", "outside"),
}


def build_model(
    config: Config, word_counts: Sequence[int], num_characters: int, num_types: int, vector_dim: int
) -> keras.Model:
    """Return the model.

    Inputs: words int32 [batch, time], 0 where padded; affixes uint16 [batch, time, kinds]; shapes [batch, time];
    characters [batch, time, CHARACTERS].
    Outputs: emissions float32 [batch, time, tags], which are trained, and lstm_emissions, what the LSTM alone says, if
    there is a wide branch; decided, the emissions by which tags are chosen, with O's share as fits the validation
    split; lengths int32 [batch].

    Args:
      word_counts: how often training holds each word of the vocabulary, by rank; 0 for those of pretrained vectors.
      num_characters: character ids.
      num_types: types of entities.
      vector_dim: size of pretrained vectors, 0 for none.
    """
    inputs = {
        "words": keras.Input([None], dtype="int32", name="words"),
        "affixes": keras.Input([None, config.num_affixes], dtype="uint16", name="affixes"),
        "shapes": keras.Input([None], dtype="uint16", name="shapes"),
        "characters": keras.Input([None, CHARACTERS], dtype="uint16", name="characters"),
    }
    lengths = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(inputs["words"], 0), "int32"), axis=1)
    read = keras.ops.maximum(lengths, 1)

    start = keras.initializers.RandomUniform(-0.1, 0.1)
    rate = (1 if config.stochastic_regularization else 0) * config.word_dropout
    chances = [0.0, 0.0, *(rate / (rate + count) if count else 1.0 for count in word_counts), 0.0]
    seen = RareWordDropout(chances, len(chances) - 1, name="word_dropout")(inputs["words"])
    states = embed_words(config, inputs, seen, start, len(chances), num_characters, vector_dim)
    states = encode_sentence(config, states, read)
    moves = transition_mask(num_types, config.tag_scheme)
    tags = len(moves.start)
    emissions = keras.layers.Dense(tags, dtype="float32", name="tags")(states)
    outputs = {"lengths": lengths}
    if config.wide_buckets:
        inputs["linear"] = keras.Input([None, LINEAR], dtype="uint16", name="linear")
        outputs["lstm_emissions"] = emissions
        is_known = keras.ops.not_equal(seen, len(chances) - 1)
        emissions = add_linear_scores(config, config.wide_buckets, emissions, inputs["linear"], is_known)
    if config.decoder == "crf":
        emissions = CRF(tags, *moves, name="crf")(emissions)
    outputs |= {"emissions": emissions, "decided": OutsideBias(dtype="float32", name="outside")(emissions)}
    return keras.Model(inputs, outputs, name="ner")


def embed_words(
    config: Config,
    inputs: Mapping[str, keras.KerasTensor],
    seen: keras.KerasTensor,
    start: keras.initializers.Initializer,
    num_words: int,
    num_characters: int,
    vector_dim: int,
) -> keras.KerasTensor:
    """Return what is known of each word by itself, side by side, [batch, time, units].

    Args:
      seen: ids of words, in training some of them replaced with the unknown word's.
      start: of tables.
      num_words, num_characters: ids.
      vector_dim: size of pretrained vectors, 0 for none.
    """
    vectors = [Embedding(num_words, config.embedding_dim, embeddings_initializer=start, name="words_")(seen)]
    if vector_dim:
        table = Embedding(num_words, vector_dim, trainable=config.train_vectors, name="vectors")
        vectors.append(table(inputs["words"]))
    if config.affix_buckets:
        affixes = AffixEmbedding(config.affix_buckets, config.embedding_dim, name="affix_vectors")
        vectors.append(affixes(inputs["affixes"]))
    shapes = Embedding(SHAPES + 1, config.shape_dim, embeddings_initializer=start, name="shape_vectors")
    vectors.append(shapes(inputs["shapes"]))
    if config.char_encoder != "none":
        sizes = (config.char_dim, config.char_filters)
        letters = CharacterEncoder(num_characters, config.char_encoder, *sizes, name="character_vectors")
        vectors.append(letters(inputs["characters"]))
    return keras.layers.Concatenate(name="features")(vectors)


def encode_sentence(config: Config, states: keras.KerasTensor, lengths: keras.KerasTensor) -> keras.KerasTensor:
    """Return states of the LSTMs, [batch, time, 2 * lstm_units]."""
    noise = 1 if config.stochastic_regularization else 0
    states = keras.layers.SpatialDropout1D(noise * config.input_dropout, name="input_dropout")(states)
    for layer in range(1, config.lstm_layers + 1):
        states = lstm_states(states, lengths, config.lstm_units, True, f"lstm_{layer}")
        states = keras.layers.SpatialDropout1D(noise * config.state_dropout, name=f"state_dropout_{layer}")(states)
    return states


def add_linear_scores(
    config: Config,
    buckets: int,
    emissions: keras.KerasTensor,
    linear: keras.KerasTensor,
    is_known: keras.KerasTensor,
) -> keras.KerasTensor:
    """Return emissions with the scores of a linear model on hashed features of the words around.

    Args:
      buckets: rows shared by hashed features.
      linear: hashed features, [batch, time, LINEAR].
      is_known: whether the LSTM saw a word as what it is, [batch, time].
    """
    dropout = (1 if config.stochastic_regularization else 0) * config.wide_dropout
    tags = emissions.shape[-1]
    wide = HashedLinear(
        buckets, tags, config.wide_window, dropout, config.wide_lr_multiplier, dtype="float32", name="wide"
    )
    return keras.layers.Add(dtype="float32", name="scores")([emissions, wide(linear, is_known)])
