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
