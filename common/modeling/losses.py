"""Losses as sums and weights, one pair per example: the loop divides by the global sum of weights."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return cross entropy in nats and its weight for each example, both [batch].

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
    labels: tf.Tensor,
    states: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor,
    smoothing: float = 0.0,
    drawn: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return cross entropy in nats and its weight, the number of steps, for each sequence, both [batch].

    Scores are made for real steps only, which spares padding, and one operation takes loss and gradient of them: they
    are by far the largest tensor of a step. What smoothing adds needs just the label's score and the mean of all,
    which comes from the mean of the table.

    Args:
      labels: int [batch, steps]; 0 is padding and counts for nothing.
      states: [batch, steps, units].
      table, bias: [classes, units] and [classes]; a class's score is the product of the state and its row.
      smoothing: as of `cross_entropy`.
      drawn: int [samples], classes drawn uniformly. Scores are then made for the classes that the labels have and for
        these alone, of which each stands for as many as it takes to make up for all that have no score: so the sum in
        the softmax is right on average (importance sampling, Bengio and Senecal 2008). Of many classes this spares
        most of the work. What smoothing adds stays exact.

    >>> table, bias = tf.zeros([2, 3]), tf.zeros([2])
    >>> sums, weights = sequence_cross_entropy(tf.constant([[1, 0]]), tf.zeros([1, 2, 3]), table, bias)
    >>> [round(float(value), 4) for value in sums], weights.numpy().tolist()
    ([0.6931], [1.0])
    """
    places = tf.where(labels > 0)
    targets = tf.gather_nd(labels, places)
    inputs = tf.gather_nd(states, places)  # [real steps, units]
    weights, shifts, columns = (table, bias, targets) if drawn is None else _sample_classes(table, bias, targets, drawn)
    scores = tf.matmul(inputs, tf.cast(weights, inputs.dtype), transpose_b=True) + tf.cast(shifts, inputs.dtype)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(columns, tf.cast(scores, tf.float32))
    if smoothing:
        exact = tf.cast(inputs, tf.float32)
        difference = tf.gather(table, targets) - tf.reduce_mean(table, axis=0)
        bias_difference = tf.gather(bias, targets) - tf.reduce_mean(bias)
        losses += smoothing * (tf.reduce_sum(exact * difference, axis=1) + bias_difference)
    count = tf.shape(labels, tf.int64)[0]
    sums = tf.math.unsorted_segment_sum(losses, places[:, 0], count)
    return sums, tf.reduce_sum(tf.cast(labels > 0, tf.float32), axis=1)


def _sample_classes(
    table: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, drawn: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (table, bias) of the targets' classes and of others drawn, and where the targets stand among them."""
    target_classes, columns = tf.unique(tf.cast(targets, drawn.dtype))
    num_classes = tf.shape(bias)[0]
    shape = tf.cast(num_classes, target_classes.dtype)[None]
    is_target = tf.scatter_nd(target_classes[:, None], tf.ones_like(target_classes, tf.bool), shape)
    others = tf.boolean_mask(drawn, ~tf.gather(is_target, drawn))
    num_left = tf.cast(num_classes - tf.size(target_classes), tf.float32)
    shift = tf.math.log(num_left / tf.maximum(tf.cast(tf.size(others), tf.float32), 1.0))
    classes = tf.concat([target_classes, others], axis=0)
    shifts = tf.concat([tf.zeros_like(target_classes, tf.float32), tf.fill([tf.size(others)], shift)], axis=0)
    # The gradient of what is reshaped is dense, as without a sample: all rows are updated at every step.
    table, bias = tf.reshape(table, tf.shape(table)), tf.reshape(bias, tf.shape(bias))
    return tf.gather(table, classes), tf.gather(bias, classes) + shifts, columns
