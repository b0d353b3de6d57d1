"""The layers of the tagger that are its own."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from common.modeling.layers.embedding import Embedding
from common.types import JsonObject, Shape


@keras.saving.register_keras_serializable("kerasserole")
class OutsideBias(keras.layers.Layer):
    """Scores of tags with a constant added to that of O, the first one; it is not trained, but set.

    Below 0 it lets the tagger find more entities, of which fewer are right. Likelihood takes the balance of training,
    which is not the one of the best F1 (Jansche 2005).

    Call arguments:
      emissions: [batch, time, tags].
    """

    def build(self, shape: Shape) -> None:
        self.bias = self.add_weight(shape=(), initializer="zeros", trainable=False, name="bias")

    def call(self, emissions: tf.Tensor) -> tf.Tensor:
        return emissions + self.bias.value * tf.one_hot(0, emissions.shape[-1], dtype=emissions.dtype)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape


NAMES = 2  # features of the wide branch that name the word: as it is written, and its normal form
WINDOW = 3  # characters under a filter


@keras.saving.register_keras_serializable("kerasserole")
class RareWordDropout(keras.layers.Layer):
    """Word ids, in training each replaced with the unknown word's, the rarer the word the more often.

    A word seen n times is replaced with the chance rate / (rate + n) (Kiperwasser and Goldberg 2016), so that the
    unknown word's vector is learned in the places where unknown words stand. One of the chance 1 is always replaced.

    Args:
      chances: by id.
      unknown: its id.

    Call arguments:
      words: int32 [batch, time].
    """

    def __init__(self, chances: Sequence[float], unknown: int, **kwargs: object):
        super().__init__(**kwargs)
        self.chances, self.unknown = list(chances), unknown
        self.seed = keras.random.SeedGenerator()

    def call(self, words: tf.Tensor, training: bool = False) -> tf.Tensor:
        chances = tf.gather(tf.constant(self.chances, tf.float32), words)
        drawn = 1.0 - 1e-6
        if training:
            drawn = keras.random.uniform(keras.ops.shape(words), seed=self.seed, dtype="float32")
        return tf.where(drawn < chances, self.unknown, words)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "chances": self.chances, "unknown": self.unknown}


@keras.saving.register_keras_serializable("kerasserole")
class HashedLinear(keras.layers.Layer):
    """Scores of tags from the hashed features of a token and its neighbours, each with a weight of its own.

    The features of a classic CRF tagger, wide beside deep (Cheng et al. 2016).

    Args:
      buckets: ids run from 1 to this; 0 means none.
      num_tags: how many there are.
      window: how many neighbors on either side are looked at.
      dropout: fraction of features that is dropped in training.
      lr_multiplier: rows are stored divided by this, so that Adam moves the scores this many times faster.

    Call arguments:
      ids: any integers [batch, time, kinds]; the first NAMES of them name the word.
      known: bool [batch, time], whether the word is one of the vocabulary and not taken as unknown; else its names are
        left out, so that what is learned of words is learned without leaning on them.

    Returns: [batch, time, tags].
    """

    def __init__(
        self, buckets: int, num_tags: int, window: int, dropout: float, lr_multiplier: float, **kwargs: object
    ):
        super().__init__(**kwargs)
        self.buckets, self.num_tags, self.window = buckets, num_tags, window
        self.rate, self.lr_multiplier = dropout, lr_multiplier
        places = 2 * window + 1
        self.rows = Embedding(buckets + 1, places * num_tags, embeddings_initializer="zeros", name="rows")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, ids_shape: Shape, known_shape: Shape | None = None) -> None:
        self.rows.build(ids_shape)

    def call(self, ids: tf.Tensor, known: tf.Tensor, training: bool = False) -> tf.Tensor:
        ids = tf.cast(ids, tf.int32)
        names, rest = ids[:, :, :NAMES], ids[:, :, NAMES:]
        ids = tf.concat([tf.where(known[:, :, None], names, 0), rest], axis=2)
        present = tf.cast(self.dropout(tf.cast(ids > 0, tf.float32), training=training), tf.float32)
        scores = tf.reduce_sum(tf.cast(self.rows(ids), tf.float32) * present[..., None], axis=2)
        parts = tf.split(scores, 2 * self.window + 1, axis=2)
        # What the token at t + offset says of the tag at t.
        total = sum(_shifted(part, place - self.window) for place, part in enumerate(parts))
        return self.lr_multiplier * total / ids.shape[-1] ** 0.5

    def compute_output_shape(self, ids_shape: Shape, known_shape: Shape | None = None) -> Shape:
        return (*ids_shape[:-1], self.num_tags)

    def get_config(self) -> JsonObject:
        own = {"buckets": self.buckets, "num_tags": self.num_tags, "window": self.window}
        return {**super().get_config(), **own, "dropout": self.rate, "lr_multiplier": self.lr_multiplier}


def _shifted(steps: tf.Tensor, offset: int) -> tf.Tensor:
    """Return at each step what stands `offset` steps on, 0 beyond the ends: [batch, time, ...] to the same."""
    width = abs(offset)
    padding = [[0, 0], [width, width]] + [[0, 0]] * (steps.shape.rank - 2)
    return tf.pad(steps, padding)[:, width + offset : width + offset + tf.shape(steps)[1]]


@keras.saving.register_keras_serializable("kerasserole")
class CharacterEncoder(keras.layers.Layer):
    """A vector of each word's characters by a CNN with a maximum over places, or by a BiLSTM's last states.

    Ma and Hovy 2016; Lample et al. 2016.

    Args:
      num_characters: character ids, 0 padding.
      kind: "cnn" or "lstm".
      units: size of a character's vector.
      filters: size of the result.

    Call arguments:
      ids: any integers [batch, time, characters], right-padded.

    Returns: [batch, time, filters].
    """

    def __init__(self, num_characters: int, kind: str, units: int, filters: int, **kwargs: object):
        super().__init__(**kwargs)
        self.num_characters, self.kind, self.units, self.filters = num_characters, kind, units, filters
        start = keras.initializers.RandomUniform(-0.5, 0.5)
        self.rows = Embedding(
            num_characters, units, embeddings_initializer=start, mask_zero=kind == "lstm", name="rows"
        )
        if kind == "lstm":
            self.reader = keras.layers.Bidirectional(keras.layers.LSTM(filters // 2, name="lstm"), name="reader")

    def build(self, shape: Shape) -> None:
        self.rows.build((None, shape[-1]))
        if self.kind == "lstm":
            self.reader.build((None, shape[-1], self.units))
        else:
            self.kernel = self.add_weight(shape=(WINDOW * self.units, self.filters), name="kernel")
            self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(ids, tf.int32)
        words = tf.where(ids[:, :, 0] > 0)  # padding has no characters, and often there is much of it
        flat = tf.gather_nd(ids, words)
        present = flat > 0
        if self.kind == "lstm":
            encoded = self.reader(self.rows(flat), mask=present)
        else:
            # What each character adds to the filters at each place of the window is the same wherever it stands, so it
            # is worked out once: there are fewer characters than places in the text.
            characters = tf.range(self.num_characters)
            vectors = self.rows(characters)
            vectors *= tf.cast(characters > 0, vectors.dtype)[:, None]
            kernel = tf.reshape(tf.cast(self.kernel.value, vectors.dtype), [WINDOW, self.units, self.filters])
            adds = tf.unstack(tf.matmul(vectors, kernel))  # of [characters, filters]
            padded = tf.pad(flat, [[0, 0], [WINDOW // 2, WINDOW // 2]])
            windows = [tf.gather(add, padded[:, at : at + ids.shape[-1]]) for at, add in enumerate(adds)]
            encoded = sum(windows, start=tf.cast(self.bias.value, vectors.dtype))  # [words, characters, filters]
            encoded = tf.reduce_max(tf.where(present[:, :, None], encoded, encoded.dtype.min), axis=1)
        shape = tf.concat([tf.shape(ids)[:2], [self.filters]], axis=0)
        return tf.ensure_shape(tf.scatter_nd(tf.cast(words, tf.int32), encoded, shape), [None, None, self.filters])

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], self.filters)

    def get_config(self) -> JsonObject:
        own = {"num_characters": self.num_characters, "kind": self.kind, "units": self.units, "filters": self.filters}
        return {**super().get_config(), **own}
