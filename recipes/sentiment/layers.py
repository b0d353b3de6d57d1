"""The layers of the sentiment network that are its own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasserole")
class WordDropout(keras.layers.Layer):
    """Word ids, in training each replaced with the unknown word's at a small rate, so that its row is learned too.

    Call arguments:
      tokens: int32 [batch, time], 0 where padded.
    """

    def __init__(self, rate: float, unknown: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.unknown = rate, unknown
        self.seed = keras.random.SeedGenerator()

    def call(self, tokens: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return tokens
        drawn = keras.random.uniform(keras.ops.shape(tokens), seed=self.seed)
        return tf.where((drawn < self.rate) & (tokens > 0), self.unknown, tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "unknown": self.unknown}


@keras.saving.register_keras_serializable("kerasserole")
class AffixEmbedding(keras.layers.Layer):
    """The vectors of a word's beginnings and ends, summed and divided by the root of their number.

    With them an unknown word is not a blank: "un-" and "-less" say much (after Bojanowski et al. 2017, who take all
    character n-grams; affixes alone scored the same here at less cost).

    Args:
      buckets: hashed affixes; id 0 means none.

    Call arguments:
      affixes: any integers [batch, time, kinds].

    Returns: [batch, time, units].
    """

    def __init__(self, buckets: int, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.buckets, self.units = buckets, units
        start = keras.initializers.RandomUniform(-0.1, 0.1)
        self.rows = keras.layers.Embedding(buckets + 1, units, embeddings_initializer=start, name="rows")

    def build(self, shape: Any) -> None:
        self.rows.build(shape)

    def call(self, affixes: Any) -> Any:
        affixes = tf.cast(affixes, tf.int32)
        vectors = self.rows(affixes)  # [batch, time, kinds, units]
        present = tf.cast(affixes > 0, vectors.dtype)
        count = tf.reduce_sum(present, axis=-1, keepdims=True)
        return tf.einsum("btku,btk->btu", vectors, present) / tf.sqrt(tf.maximum(count, 1))

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "buckets": self.buckets, "units": self.units}


def bigrams(tokens: Any, buckets: int) -> Any:
    """Hashed ids of neighbouring word pairs, [batch, time - 1], from 1; 0 where the second is padding.

    Args:
      tokens: int [batch, time], a tensor or an array.
    """
    first, second = tf.cast(tokens[:, :-1], tf.int64), tf.cast(tokens[:, 1:], tf.int64)
    mixed = (first * 1_000_003 + second * 8_191 + first * second % 65_537) % buckets + 1
    return tf.where(second > 0, mixed, tf.zeros_like(mixed))


@keras.saving.register_keras_serializable("kerasserole")
class WideWords(keras.layers.Layer):
    """A linear classifier on words and word pairs beside the LSTM, divided by the root of the length.

    Wide and deep (Cheng et al. 2016), begun from naive Bayes log-count ratios (Wang and Manning 2012) rather than from
    zero: `begin` sets them from the training part.

    Args:
      words: ids of words, 0 padding.
      labels: classes.
      buckets: hashed word pairs.
      rate: share of words and pairs left out in training.

    Call arguments:
      tokens: int32 [batch, time].
      lengths: int32 [batch].

    Returns: logits [batch, labels].
    """

    def __init__(self, words: int, labels: int, buckets: int, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.words, self.labels, self.buckets, self.rate = words, labels, buckets, rate
        self.dropout = keras.layers.Dropout(rate, name="dropout")

    def build(self, *shapes: Any) -> None:
        self.word_rows = self.add_weight(shape=(self.words, self.labels), initializer="zeros", name="word_rows")
        self.pair_rows = self.add_weight(shape=(self.buckets + 1, self.labels), initializer="zeros", name="pair_rows")

    def call(self, tokens: Any, lengths: Any, training: bool = False) -> Any:
        total = tf.zeros([tf.shape(tokens)[0], self.labels], tf.float32)
        for rows, ids in ((self.word_rows, tokens), (self.pair_rows, bigrams(tokens, self.buckets))):
            kept = self.dropout(tf.cast(ids > 0, tf.float32), training=training)
            vectors = tf.cast(tf.gather(rows.value, ids), tf.float32)
            total += tf.reduce_sum(vectors * tf.cast(kept, tf.float32)[:, :, None], axis=1)
        return total / tf.sqrt(tf.cast(lengths, tf.float32))[:, None]

    def compute_output_shape(self, tokens_shape: Any, lengths_shape: Any) -> Any:
        return (tokens_shape[0], self.labels)

    def begin(self, batches: Any, scale: float) -> None:
        """Sets the rows to scaled, class-centred naive Bayes log ratios, each word or pair counted once a text.

        Args:
          batches: (tokens [batch, time], label ids [batch]) of the training part; labels below 0 are passed over.
          scale: 1 would be naive Bayes itself.
        """
        counts = [np.zeros(rows.shape) for rows in (self.word_rows, self.pair_rows)]
        for tokens, labels in batches:
            for count, ids in zip(counts, (np.asarray(tokens), bigrams(tokens, self.buckets).numpy()), strict=True):
                texts = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
                wanted = (ids > 0) & (labels >= 0)[:, None]
                once, found = np.divmod(np.unique(texts[wanted] * len(count) + ids[wanted]), len(count))
                np.add.at(count, (found, labels[once]), 1)
        for rows, count in zip((self.word_rows, self.pair_rows), counts, strict=True):
            ratios = np.log((count + 1) / np.maximum(count.sum(axis=0), 1))
            ratios -= ratios.mean(axis=1, keepdims=True)
            ratios[count.sum(axis=1) == 0] = 0
            rows.assign(scale * ratios)

    def get_config(self) -> dict[str, Any]:
        own = {"words": self.words, "labels": self.labels, "buckets": self.buckets, "rate": self.rate}
        return {**super().get_config(), **own}
