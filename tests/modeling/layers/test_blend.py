"""Blended classifiers: the sum, and weights that fit held-out examples."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.classification import BlendedClassificationMetrics
from common.modeling.layers.blend import LogitBlend, fit_blend_weights


def loss(shares, heads, target):
    """Cross entropy in sum with the pull towards 1, by TensorFlow."""
    mixed = np.tensordot(shares, heads, axes=1)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target, mixed)
    return float(tf.reduce_sum(entropy)) + 10 * ((np.asarray(shares) - 1) ** 2).sum() / 2


def made(seed, examples=40, labels=3, heads=2):
    random = np.random.default_rng(seed)
    target = random.integers(0, labels, examples)
    signal = np.eye(labels)[target] * random.uniform(0, 4, [heads, 1, 1])
    return signal + random.normal(0, 1.5, [heads, examples, labels]), target


def test_blend_is_the_sum_until_its_shares_are_set():
    layer = LogitBlend()
    heads = [tf.constant([[1.0, 2.0]]), tf.constant([[10.0, 20.0]])]
    assert layer(heads).numpy().tolist() == [[11.0, 22.0]]
    layer.shares.assign([2.0, 0.5])
    assert layer(heads).numpy().tolist() == [[7.0, 14.0]]
    assert layer.trainable_weights == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), labels=st.integers(2, 4), heads=st.integers(1, 3), examples=st.integers(1, 60))
def test_fitted_shares_are_the_best_there_are(seed, labels, heads, examples):
    logits, target = made(seed, examples, labels, heads)
    shares = fit_blend_weights(logits, target)
    least = loss(shares, logits, target)
    assert (shares >= 0).all()
    for head in range(heads):  # convex, so that no small step is better
        for change in (-0.01, 0.01):
            other = shares.copy()
            other[head] = max(other[head] + change, 0)
            assert loss(other, logits, target) >= least - 1e-6


def test_a_head_that_says_nothing_gets_a_small_share():
    logits, target = made(3, examples=2000)
    noise = np.random.default_rng(0).normal(0, 1.5, logits.shape[1:])
    shares = fit_blend_weights(np.stack([logits[0], noise]), target)
    assert abs(shares[1]) < 0.1 * shares[0]


def test_one_head_gets_its_temperature():
    # Right three times of four at logits of 4: log(3) would be right.
    logits = np.tile([[4.0, 0.0]], (4000, 1))[None]
    target = np.arange(4000) % 4 == 0
    assert fit_blend_weights(logits, target.astype(int))[0] == pytest.approx(np.log(3) / 4, abs=1e-3)


def test_examples_without_a_known_label_say_nothing():
    logits, target = made(1)
    more = np.concatenate([logits, 9 * np.ones_like(logits)], axis=1)
    np.testing.assert_allclose(
        fit_blend_weights(more, np.concatenate([target, -np.ones_like(target)])), fit_blend_weights(logits, target)
    )
    assert fit_blend_weights(logits, -np.ones_like(target)).tolist() == [1.0, 1.0]


def test_validation_measures_what_it_fitted():
    # Right three times of four, sure as of 4 nats and then as of log(3): the entropy of a quarter.
    logits = np.tile(np.array([[4.0, 0.0]], np.float32), (4000, 1))
    outputs = {"logits": logits, "blended": logits}
    measures = BlendedClassificationMetrics(["a", "b"], ["logits", "lacking"])
    for part in (slice(0, 1000), slice(1000, 4000)):
        target = {"label": (np.arange(4000)[part] % 4 == 0).astype(np.int32)}
        measures.update_state(target, {name: one[part] for name, one in outputs.items()})
    entropy = {"before": 1 + np.log1p(np.exp(-4)), "after": np.log(4) - 0.75 * np.log(3)}
    found = {"before": measures.result(), "share": measures.fit_blend_weights(), "after": measures.result()}
    assert found["share"] == pytest.approx([np.log(3) / 4], abs=1e-3)
    for when, value in entropy.items():
        assert found[when]["log_loss"] == pytest.approx(value, abs=1e-3)
        assert found[when]["accuracy"] == 0.75
    assert found["before"]["calibration_error"] == pytest.approx(1 / (1 + np.exp(-4)) - 0.75)
    assert found["after"]["calibration_error"] < 1e-3
