"""Cross entropy against numpy, in sums and weights per example."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.losses import cross_entropy, sequence_cross_entropy

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [-3.0, 4.0, 1.0], [0.0, 1.0, 2.0]])
LABELS = np.array([0, 2, 1, -1])


def by_numpy(labels, logits, smoothing=0.0, class_weights=None):
    """(sums, weights), one example after the other, in float64."""
    sums, weights = [], []
    for label, row in zip(labels, np.asarray(logits, np.float64), strict=True):
        if label < 0:
            sums.append(0.0)
            weights.append(0.0)
            continue
        log_shares = row - np.log(np.sum(np.exp(row - row.max()))) - row.max()
        target = np.full(len(row), smoothing / len(row))
        target[label] += 1 - smoothing
        weights.append(class_weights[label] if class_weights else 1.0)
        sums.append(-weights[-1] * np.sum(target * log_shares))
    return np.array(sums), np.array(weights)


def computed(labels, logits, *more):
    sums, weights = cross_entropy(tf.constant(labels, tf.int32), tf.constant(logits, tf.float32), *more)
    return sums.numpy(), weights.numpy()


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 6),
    classes=st.integers(2, 5),
    smoothing=st.floats(0, 0.9),
    weighted=st.booleans(),
    seed=st.integers(0, 999),
)
def test_cross_entropy_equals_numpy(count, classes, smoothing, weighted, seed):
    random = np.random.default_rng(seed)
    labels, logits = random.integers(-1, classes, count), random.normal(size=(count, classes), scale=4)
    class_weights = random.uniform(0, 3, classes).tolist() if weighted else None
    for found, expected in zip(
        computed(labels, logits, smoothing, class_weights),
        by_numpy(labels, logits, smoothing, class_weights),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_cross_entropy_of_even_logits_is_the_log_of_the_classes():
    sums, weights = computed([0, 1], np.zeros((2, 4)))
    np.testing.assert_allclose(sums, np.log([4, 4]), rtol=1e-6)
    assert weights.tolist() == [1, 1]


def test_cross_entropy_has_a_sum_and_a_weight_for_each_example():
    sums, weights = computed(LABELS, LOGITS)
    assert sums.shape == weights.shape == (4,)
    assert sums.dtype == weights.dtype == np.float32


def test_cross_entropy_of_an_unseen_label_weighs_nothing():
    sums, weights = computed(LABELS, LOGITS, 0.1, [1.0, 2.0, 3.0])
    assert (sums[3], weights[3]) == (0, 0)
    assert np.all(weights[:3] > 0)


def test_cross_entropy_of_an_unseen_label_has_no_gradient():
    logits = tf.constant(LOGITS, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        sums, _ = cross_entropy(tf.constant(LABELS), logits, 0.1)
    gradient = tape.gradient(sums, logits).numpy()
    assert np.all(gradient[3] == 0)
    assert np.all(gradient[:3] != 0)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_cross_entropy_smoothing_is_least_at_the_smoothed_target(smoothing):
    # With softmax(logits) equal to the target, the loss is the target's entropy.
    target = np.array([1 - smoothing + smoothing / 3, smoothing / 3, smoothing / 3])
    sums, _ = computed([0], np.log(target)[None], smoothing)
    np.testing.assert_allclose(sums[0], -np.sum(target * np.log(target)), rtol=1e-5)


def test_cross_entropy_class_weights_scale_sums_and_weights():
    plain, _ = computed(LABELS, LOGITS)
    sums, weights = computed(LABELS, LOGITS, 0.0, [1.0, 0.5, 4.0])
    assert weights.tolist() == [1.0, 4.0, 0.5, 0.0]
    np.testing.assert_allclose(sums, plain * weights, rtol=1e-6)


def test_cross_entropy_of_extreme_logits_is_finite():
    sums, _ = computed([0, 1], [[1e4, -1e4], [1e4, -1e4]])
    assert sums.tolist() == [0, 2e4]


def test_cross_entropy_of_half_precision_logits_is_float32():
    sums, _ = cross_entropy(tf.constant([0]), tf.constant([[1.0, 2.0]], tf.bfloat16))
    assert sums.dtype == tf.float32
    np.testing.assert_allclose(sums.numpy(), [np.log(1 + np.e)], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("drawn", [None, [1, 4, 0, 3, 2]])  # all classes, once each: then nothing is left to chance
def test_sequence_cross_entropy_and_its_gradients_equal_those_of_each_step(smoothing, drawn):
    random = np.random.default_rng(3)
    labels = tf.constant([[3, 1, 0], [2, 0, 0], [4, 4, 1]])
    states, table, bias = (tf.constant(random.normal(size=shape), tf.float32) for shape in ((3, 3, 6), (5, 6), (5,)))
    found = []
    for plain in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([states, table, bias])
            if plain:
                scores = tf.reshape(states, [9, 6]) @ tf.transpose(table) + bias
                sums, _ = cross_entropy(tf.reshape(labels, [9]), scores, smoothing)
                sums = tf.reduce_sum(tf.reshape(sums, [3, 3]) * tf.cast(labels > 0, tf.float32), axis=1)
            else:
                some = None if drawn is None else tf.constant(drawn)
                sums, weights = sequence_cross_entropy(labels, states, table, bias, smoothing, some)
        gradients = tape.gradient(sums, [states, table, bias])
        assert all(isinstance(gradient, tf.Tensor) for gradient in gradients)  # none of some rows alone
        found.append([sums, *map(tf.convert_to_tensor, gradients)])
    assert weights.numpy().tolist() == [2, 1, 3]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_classes_drawn_stand_for_all_that_have_no_score():
    # The scores of the four classes are log 1 to log 4. The labels have class 1, so 3 others remain. Of the drawn ones
    # 1 is no other, and the two of class 3 stand for 1.5 classes each: 2 / (2 + 1.5 * (4 + 4)).
    states, table = tf.ones([1, 1, 1]), tf.math.log(tf.constant([[1.0], [2.0], [3.0], [4.0]]))
    sums, weights = sequence_cross_entropy(
        tf.constant([[1]]), states, table, tf.zeros([4]), drawn=tf.constant([3, 1, 3])
    )
    np.testing.assert_allclose(sums, [-np.log(2 / 14)], rtol=1e-6)
    assert weights.numpy().tolist() == [1]
    # None but the label's own: its share is all there is.
    sums, _ = sequence_cross_entropy(tf.constant([[1]]), states, table, tf.zeros([4]), drawn=tf.constant([1]))
    assert sums.numpy().tolist() == [0]


def test_sums_over_classes_drawn_are_right_on_average():
    random = np.random.default_rng(5)
    labels, states = tf.constant([[3, 9]]), tf.constant(random.normal(size=(1, 2, 4)), tf.float32)
    table = tf.constant(random.normal(size=(30, 4)), tf.float32)
    bias = tf.constant(random.normal(size=30), tf.float32)
    scores = (tf.reshape(states, [2, 4]) @ tf.transpose(table) + bias).numpy().astype(float)
    whole = np.exp(scores).sum(axis=1) / np.exp(scores[[0, 1], [3, 9]])  # one over the share of each label
    found = []
    for seed in range(2000):
        drawn = tf.random.stateless_uniform([40], [seed, 0], 0, 30, tf.int32)
        pair = [
            sequence_cross_entropy(one, states[:, at : at + 1], table, bias, drawn=drawn)[0].numpy()[0]
            for at, one in enumerate((labels[:, :1], labels[:, 1:]))
        ]
        found.append(np.exp(pair))
    spread = np.std(found, axis=0) / np.sqrt(len(found))
    assert (abs(np.mean(found, axis=0) - whole) < 4 * spread).all()
    assert (spread < 0.02 * whole).all()
