"""Losses as sums and weights, one pair per example: the loop divides by the global sum of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    labels: tf.Tensor, states: tf.Tensor, logits: Callable[[tf.Tensor], tf.Tensor], smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross entropy in nats and its weight, the number of steps, for each sequence, both [batch].

    Args:
      labels: int [batch, steps]; 0 is padding and counts for nothing.
      states: [batch, steps, units].
      logits: makes scores [n, classes] of states [n, units]; it is asked for real steps only, which spares padding.
      smoothing: as of `cross_entropy`.

    >>> sums, weights = sequence_cross_entropy(tf.constant([[1, 0]]), tf.zeros([1, 2, 3]), lambda states: states[:, :2])
    >>> [round(float(value), 4) for value in sums], weights.numpy().tolist()
    ([0.6931], [1.0])
    """
    places = tf.where(labels > 0)
    asked = tf.cast(logits(tf.gather_nd(states, places)), tf.float32)
    wanted = tf.gather_nd(labels, places)
    best = tf.gather(asked, wanted, batch_dims=1)
    found = tf.reduce_logsumexp(asked, axis=1) - (1 - smoothing) * best - smoothing * tf.reduce_mean(asked, axis=1)
    count = tf.shape(labels, tf.int64)[0]
    sums = tf.math.unsorted_segment_sum(found, places[:, 0], count)
    return sums, tf.reduce_sum(tf.cast(labels > 0, tf.float32), axis=1)
