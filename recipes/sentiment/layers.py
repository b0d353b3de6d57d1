"""The layers of the sentiment network that are its own."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from common.types import JsonObject, Shape

UNKNOWN = 2**31 - 1  # stands for unknown words where pairs are hashed


@keras.saving.register_keras_serializable("kerasserole")
class WordDropout(keras.layers.Layer):
    """Replace random word ids with the unknown word's in training, so that its row is learned too.

    Call arguments:
      tokens: int32 [batch, time], 0 where padded.
    """

    def __init__(self, rate: float, unknown: int, **kwargs: object):
        super().__init__(**kwargs)
        self.rate, self.unknown = rate, unknown
        self.seed = keras.random.SeedGenerator()

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return tokens
        drawn = keras.random.uniform(keras.ops.shape(tokens), seed=self.seed)
        return tf.where((drawn < self.rate) & (tokens > 0), self.unknown, tokens)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "rate": self.rate, "unknown": self.unknown}


@keras.saving.register_keras_serializable("kerasserole")
class TrimMiddle(keras.layers.Layer):
    """Trim the middle of rows longer than `max_length`, so that the LSTM takes fewer steps.

    Call arguments:
      steps: [batch, time, ...], right-padded.
      lengths: int32 [batch].

    Returns: [batch, at max_length `max_length`, ...].
    """

    def __init__(self, max_length: int, **kwargs: object):
        super().__init__(**kwargs)
        self.max_length = max_length

    def call(self, steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        position = tf.range(tf.minimum(tf.shape(steps)[1], self.max_length))
        skipped = tf.maximum(lengths - self.max_length, 0)[:, None]
        places = position + tf.where(position < self.max_length // 2, 0, skipped)  # [batch, at most `max_length`]
        return tf.gather(steps, places, batch_dims=1)

    def compute_output_shape(self, steps_shape: Shape, lengths_shape: Shape) -> Shape:
        return (steps_shape[0], None, *steps_shape[2:])

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "max_length": self.max_length}


def hash_bigrams(tokens: tf.Tensor, buckets: int, unknown: int | None = None) -> tf.Tensor:
    """Return hashed ids of neighbouring word pairs, [batch, time - 1], from 1; 0 where the second is padding.

    Args:
      tokens: int [batch, time], a tensor or an array.
      unknown: the id of unknown words, which are then hashed alike whatever it is.
    """
    ids = tf.cast(tokens, tf.int64)
    if unknown is not None:
        ids = tf.where(ids == unknown, tf.constant(UNKNOWN, tf.int64), ids)
    first, second = ids[:, :-1], ids[:, 1:]
    mixed = (first * 1_000_003 + second * 8_191 + first * second % 65_537) % buckets + 1
    return tf.where(second > 0, mixed, tf.zeros_like(mixed))


def unique_ids(ids: tf.Tensor) -> tf.Tensor:
    """Return each row's ids in falling order, a repeated one replaced with 0: [batch, time] to [batch, time].

    >>> unique_ids(tf.constant([[3, 5, 3, 0]])).numpy().tolist()
    [[5, 3, 0, 0]]
    """
    ordered = tf.sort(ids, axis=1, direction="DESCENDING")
    again = tf.pad(ordered[:, 1:] == ordered[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(ids)[1]]
    return tf.where(again, tf.zeros_like(ordered), ordered)


def _ids_of_labeled_texts(ids: tf.Tensor, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (text, id) of each different id of each text whose label is known, without padding."""
    distinct = unique_ids(ids).numpy()
    texts, places = np.nonzero((distinct > 0) & (labels >= 0)[:, None])
    return texts, distinct[texts, places]


def _log_ratios(count: np.ndarray) -> np.ndarray:
    """Return naive Bayes log ratios, smoothed and centred over labels; 0 for what was never counted.

    Counts are divided by their label's fraction before 1 is added. Added to bare counts, it would make a word that was
    seen once, under a common label, speak for the rare labels.

    Args:
      count: [rows, labels].
    """
    totals = np.maximum(count.sum(axis=0), 1)
    ratios = np.log(count / (totals / totals.mean()) + 1)
    ratios -= ratios.mean(axis=1, keepdims=True)
    return np.where(count.sum(axis=1, keepdims=True) > 0, ratios, 0.0)


@keras.saving.register_keras_serializable("kerasserole")
class WideBagOfWords(keras.layers.Layer):
    """A linear classifier on a text's different words and word pairs, divided by the root of its length.

    Wide and deep (Cheng et al. 2016), begun from naive Bayes log-count ratios (Wang and Manning 2012) rather than from
    zero: `init_naive_bayes` sets them from the training split.

    Args:
      num_words: ids of words, the last one the unknown word's; 0 is padding.
      num_labels: classes.
      bigram_buckets: hashed word pairs.
      dropout: fraction of words and pairs that is dropped in training.
      lr_multiplier: rows are stored divided by this, so that Adam, whose steps do not depend on the size of gradients,
        moves the logits this many times faster. Few texts with many words are else hardly learned from in few steps.

    Call arguments:
      tokens: int32 [batch, time].
      lengths: int32 [batch].

    Returns: logits [batch, labels].
    """

    def __init__(
        self,
        num_words: int,
        num_labels: int,
        bigram_buckets: int,
        dropout: float,
        lr_multiplier: float,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.num_words, self.num_labels, self.bigram_buckets = num_words, num_labels, bigram_buckets
        self.rate, self.lr_multiplier = dropout, lr_multiplier
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, *shapes: Shape) -> None:
        self.word_rows = self.add_weight(shape=(self.num_words, self.num_labels), initializer="zeros", name="word_rows")
        self.pair_rows = self.add_weight(
            shape=(self.bigram_buckets + 1, self.num_labels), initializer="zeros", name="pair_rows"
        )
        self.bias = self.add_weight(shape=(self.num_labels,), initializer="zeros", name="bias")

    def call(self, tokens: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        total = tf.zeros([tf.shape(tokens)[0], self.num_labels], tf.float32)
        for rows, ids in ((self.word_rows, tokens), (self.pair_rows, self._pairs(tokens))):
            ids = unique_ids(ids)
            present = self.dropout(tf.cast(ids > 0, tf.float32), training=training)
            vectors = tf.cast(tf.gather(rows.value, ids), tf.float32)
            total += tf.reduce_sum(vectors * tf.cast(present, tf.float32)[:, :, None], axis=1)
        return self.lr_multiplier * total / tf.sqrt(tf.cast(lengths, tf.float32))[:, None] + self.bias.value

    def _pairs(self, tokens: tf.Tensor) -> tf.Tensor:
        return hash_bigrams(tokens, self.bigram_buckets, self.num_words - 1)

    def compute_output_shape(self, tokens_shape: Shape, lengths_shape: Shape) -> Shape:
        return (tokens_shape[0], self.num_labels)

    def init_naive_bayes(self, batches: Iterable[tuple[np.ndarray, np.ndarray]], scale: float) -> dict[str, np.ndarray]:
        """Set the rows to scaled naive Bayes log ratios, and the bias to the logs of the labels' fractions.

        Args:
          batches: (tokens [batch, time], label ids [batch]) of the training split; labels below 0 are passed over.
          scale: 1 would be naive Bayes itself.

        Returns: how many texts hold the word or pair of each row, float [rows], by the name of the weight.
        """
        tables = (self.word_rows, self.pair_rows)
        counts = [np.zeros(rows.shape) for rows in tables]
        texts = np.zeros(self.num_labels)
        for tokens, labels in batches:
            texts += np.bincount(labels[labels >= 0], minlength=self.num_labels)
            for count, ids in zip(counts, (tokens, self._pairs(tokens)), strict=True):
                rows, distinct = _ids_of_labeled_texts(ids, labels)
                np.add.at(count, (distinct, labels[rows]), 1)
        for table, count in zip(tables, counts, strict=True):
            table.assign(scale / self.lr_multiplier * _log_ratios(count))
        prior = np.log(np.maximum(texts, 1))
        self.bias.assign(prior - prior.mean())
        return {table.name: count.sum(axis=1) for table, count in zip(tables, counts, strict=True)}

    def get_config(self) -> JsonObject:
        own: JsonObject = {"num_words": self.num_words, "num_labels": self.num_labels}
        own |= {"bigram_buckets": self.bigram_buckets, "dropout": self.rate, "lr_multiplier": self.lr_multiplier}
        return {**super().get_config(), **own}
