"""Losses as sums and weights, one pair per example: the loop divides by the global sum of weights."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross entropy in nats and its weight for each example, both [batch].

    Args:
      labels: int [batch]; -1 is a label never seen in training, which weighs 0.
      logits: [batch, classes].
      smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2016).
      class_weights: weight of an example by its label.

    >>> sums, weights = cross_entropy(tf.constant([0, -1]), tf.zeros([2, 2]))
    >>> [round(float(value), 4) for value in sums], weights.numpy().tolist()
    ([0.6931, 0.0], [1.0, 0.0])
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    known = tf.maximum(labels, 0)
    target = tf.one_hot(known, classes, on_value=1 - smoothing + smoothing / classes, off_value=smoothing / classes)
    losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
    weights = tf.cast(labels >= 0, tf.float32)
    if class_weights is not None:
        weights *= tf.gather(tf.constant(class_weights, tf.float32), known)
    return losses * weights, weights


def sequence_cross_entropy(
    labels: tf.Tensor, states: tf.Tensor, table: tf.Tensor, bias: tf.Tensor, smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross entropy in nats and its weight, the number of steps, for each sequence, both [batch].

    Scores are made for real steps only, which spares padding, and one operation takes loss and gradient of them: they
    are by far the largest tensor of a step. What smoothing adds needs just the label's score and the mean of all,
    which comes from the mean of the table.

    Args:
      labels: int [batch, steps]; 0 is padding and counts for nothing.
      states: [batch, steps, units].
      table, bias: [classes, units] and [classes]; a class's score is the product of the state and its row.
      smoothing: as of `cross_entropy`.

    >>> table, bias = tf.zeros([2, 3]), tf.zeros([2])
    >>> sums, weights = sequence_cross_entropy(tf.constant([[1, 0]]), tf.zeros([1, 2, 3]), table, bias)
    >>> [round(float(value), 4) for value in sums], weights.numpy().tolist()
    ([0.6931], [1.0])
    """
    places = tf.where(labels > 0)
    wanted = tf.gather_nd(labels, places)
    asked = tf.gather_nd(states, places)  # [real steps, units]
    scores = tf.matmul(asked, tf.cast(table, asked.dtype), transpose_b=True) + tf.cast(bias, asked.dtype)
    found = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, tf.cast(scores, tf.float32))
    if smoothing:
        exact = tf.cast(asked, tf.float32)
        rows = tf.gather(table, wanted) - tf.reduce_mean(table, axis=0)
        spread = tf.gather(bias, wanted) - tf.reduce_mean(bias)
        found += smoothing * (tf.reduce_sum(exact * rows, axis=1) + spread)
    count = tf.shape(labels, tf.int64)[0]
    sums = tf.math.unsorted_segment_sum(found, places[:, 0], count)
    return sums, tf.reduce_sum(tf.cast(labels > 0, tf.float32), axis=1)
