"""The conditional random field against enumeration of all taggings."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.layers import crf

NEVER = -np.inf


def taggings(tags, length):
    return np.array(list(itertools.product(range(tags), repeat=length)), int).reshape(tags**length, length)


def score(emissions, path, moves):
    """The score of one tagging in float64, term by term."""
    if not len(path):
        return 0.0
    total = float(moves.start[path[0]]) + float(moves.end[path[-1]])
    total += sum(float(emissions[t, tag]) for t, tag in enumerate(path))
    return total + sum(float(moves.matrix[a, b]) for a, b in itertools.pairwise(path))


def log_sum(values):
    values = np.asarray(values, np.float64)
    most = values.max()
    return most + np.log(np.exp(values - most).sum())


def brute(emissions, length, moves):
    """(taggings, their probabilities, log of the sum of all)."""
    paths = taggings(len(moves.start), length)
    scores = np.array([score(emissions, path, moves) for path in paths])
    partition = log_sum(scores)
    return paths, np.exp(scores - partition), partition


@st.composite
def row_errors(draw, most_tags=4, most_time=4, forbid=True, scale=3.0):
    """(emissions, lengths, moves, weights, tags) with every length from 0 to the longest; tags are allowed ones."""
    seed = draw(st.integers(0, 2**32 - 1))
    count, time = draw(st.integers(1, most_tags)), draw(st.integers(1, most_time))
    random = np.random.default_rng(seed)
    lengths = np.arange(time + 1)
    emissions = random.normal(0, scale, (time + 1, time, count)).astype(np.float32)
    weights = crf.Transitions(
        *(random.normal(0, scale, s).astype(np.float32) for s in ((count,), (count, count), (count,)))
    )
    allowed = [random.random(w.shape) > (0.4 if forbid and draw(st.booleans()) else -1) for w in weights]
    for one in allowed:  # the first tag may do anything, so that there is a tagging
        one[0] = True
    allowed[1][:, 0] = True
    moves = crf.Transitions(*(np.where(a, w, NEVER).astype(np.float32) for a, w in zip(allowed, weights, strict=True)))
    tags = np.full((time + 1, time), 7 % count)  # what stands beyond the length does not matter
    for row, length in enumerate(lengths):
        good = [p for p in taggings(count, length) if score(emissions[row], p, moves) > NEVER]
        tags[row, :length] = good[random.integers(len(good))]
    return emissions, lengths, moves, weights, tags


@given(row_errors())
@settings(max_examples=60, deadline=None)
def test_log_likelihood_equals_enumeration(problem):
    emissions, lengths, moves, _, tags = problem
    found = crf.log_likelihood(emissions, tags, lengths, crf.Transitions(*map(tf.constant, moves))).numpy()
    for row, length in enumerate(lengths):
        expected = score(emissions[row], tags[row, :length], moves) - brute(emissions[row], length, moves)[2]
        assert found[row] == pytest.approx(expected, abs=2e-5)


@given(row_errors())
@settings(max_examples=60, deadline=None)
def test_gradient_equals_counts_less_expected_counts(problem):
    emissions, lengths, moves, weights, tags = problem
    values = [tf.constant(emissions), *map(tf.constant, weights)]
    rows = np.linspace(0.5, 2, len(lengths)).astype(np.float32)  # each row weighs differently
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = crf.log_likelihood(
            values[0], tags, lengths, crf.Transitions(*map(tf.constant, moves)), crf.Transitions(*values[1:])
        )
        total = tf.reduce_sum(found * rows)
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(total, values)]
    expected = [np.zeros(v.shape) for v in values]
    for row, length in enumerate(lengths):
        paths, shares, _ = brute(emissions[row], length, moves)
        for path, share in [(tags[row, :length], -1.0), *zip(paths, shares, strict=True)]:
            if length and share:
                expected[1][path[0]] -= share * rows[row]
                expected[3][path[-1]] -= share * rows[row]
                for t, tag in enumerate(path):
                    expected[0][row, t, tag] -= share * rows[row]
                for pair in itertools.pairwise(path):
                    expected[2][pair] -= share * rows[row]
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5)


@given(row_errors(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_best_paths_equal_enumeration(problem, count):
    emissions, lengths, moves, _, _ = problem
    found, scores = crf.viterbi_n_best(emissions, lengths, crf.Transitions(*map(tf.constant, moves)), count)
    for row, length in enumerate(lengths):
        paths, _, _ = brute(emissions[row], length, moves)
        expected = sorted((score(emissions[row], path, moves) for path in paths), reverse=True)
        expected = [one for one in expected if one > NEVER][:count]
        np.testing.assert_allclose(scores[row, : len(expected)], expected, atol=2e-5)
        assert (scores[row, len(expected) :].numpy() == NEVER).all()
        distinct = set()
        for number, value in enumerate(expected):
            path = found[row, number].numpy()
            assert score(emissions[row], path[:length], moves) == pytest.approx(value, abs=2e-5)
            assert not path[length:].any()
            distinct.add(tuple(path))
        assert len(distinct) == len(expected)


@given(row_errors())
@settings(max_examples=40, deadline=None)
def test_marginals_and_segments_equal_enumeration(problem):
    emissions, lengths, moves, _, tags = problem
    tensors = crf.Transitions(*map(tf.constant, moves))
    found = crf.marginals(emissions, lengths, tensors).numpy()
    random = np.random.default_rng(len(lengths))
    begins = random.random(tags.shape) < 0.4
    segments = crf.segment_probability(emissions, tags, begins, lengths, tensors).numpy()
    for row, length in enumerate(lengths):
        paths, shares, _ = brute(emissions[row], length, moves)
        starts = [t for t in range(length) if t == 0 or begins[row, t]]
        for t in range(tags.shape[1]):
            if t >= length:
                assert not found[row, t].any() and not segments[row, t]
                continue
            for tag in range(len(moves.start)):
                assert found[row, t, tag] == pytest.approx(shares[paths[:, t] == tag].sum(), abs=2e-5)
            first = max(s for s in starts if s <= t)
            last = min([s for s in starts if s > t] + [length])
            same = (paths[:, first:last] == tags[row, first:last]).all(axis=1)
            assert segments[row, t] == pytest.approx(shares[same].sum(), abs=2e-5)


@given(row_errors(most_tags=3, most_time=3))
@settings(max_examples=5, deadline=None)
def test_same_under_xla_and_in_a_graph(problem):
    emissions, lengths, moves, _, tags = problem

    def everything(emissions, tags, lengths, *moves):
        with tf.GradientTape() as tape:
            tape.watch(emissions)
            likelihood = crf.log_likelihood(emissions, tags, lengths, crf.Transitions(*moves))
        paths = crf.viterbi_n_best(emissions, lengths, crf.Transitions(*moves), 2)
        return likelihood, tape.gradient(likelihood, emissions), *paths

    values = [tf.constant(emissions), tf.constant(tags, tf.int32), tf.constant(lengths, tf.int32)]
    values += map(tf.constant, moves)
    expected = everything(*values)
    unknown = [tf.TensorSpec([None] * value.shape.rank, value.dtype) for value in values[:3]]
    unknown[0] = tf.TensorSpec([None, None, emissions.shape[2]])
    unknown += [tf.TensorSpec(value.shape, value.dtype) for value in values[3:]]
    graphs = tf.function(everything, input_signature=unknown), tf.function(everything, jit_compile=True)
    for compiled in graphs:
        for one, other in zip(compiled(*values), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_long_rows_neither_overflow_nor_underflow():
    random = np.random.default_rng(0)
    emissions = random.normal(0, 30, (2, 1300, 5)).astype(np.float32)
    moves = crf.Transitions(*(tf.constant(random.normal(0, 30, s), tf.float32) for s in ((5,), (5, 5), (5,))))
    lengths = np.array([1300, 700])
    tags, _ = crf.viterbi_n_best(emissions, lengths, moves)
    likelihood = crf.log_likelihood(emissions, tags[:, 0], lengths, moves).numpy()
    assert np.isfinite(likelihood).all()
    assert (likelihood <= 0.5).all()
    # A float64 forward pass of NumPy.
    for row, length in enumerate(lengths):
        start, between, end = (m.numpy().astype(np.float64) for m in moves)
        path, ahead, expected = tags[row, 0].numpy(), start + emissions[row, 0], 0.0
        for t in range(length):
            if t:
                ways = ahead[:, None] + between
                most = ways.max(axis=0)
                ahead = most + np.log(np.exp(ways - most).sum(axis=0)) + emissions[row, t]
        expected = score(emissions[row], path[:length], moves) - log_sum(ahead + end)
        assert likelihood[row] == pytest.approx(expected, abs=2e-3)


def test_layer_rejects_wrong_shapes():
    with pytest.raises(ValueError, match=r"shape \(2,\), not \(3,\)"):
        crf.CRF(3, start=[1, 1])
    with pytest.raises(ValueError, match="scores of 4 tags, not of 3"):
        crf.CRF(3)(np.zeros((1, 2, 4)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_layer_trains_in_a_keras_model_of_any_precision(policy):
    # A tag is told by the tag before it alone, which scores of single tokens cannot learn.
    keras.utils.set_random_seed(1)
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = crf.CRF(3, start=[1, 0, 0], between=[[0, 1, 0], [0, 0, 1], [1, 0, 0]])
        words = keras.Input([None, 2])
        model = keras.Model(words, layer(keras.layers.Dense(3, name="scores")(words)))
        model.compile(keras.optimizers.Adam(0.1), loss=layer.loss)
        tags = np.array([[0, 1, 2, 0], [0, 1, -1, -1]])
        history = model.fit(np.zeros((2, 4, 2)), tags, epochs=2, verbose=0).history["loss"]
        assert history[-1] == pytest.approx(0, abs=1e-3)  # one tagging is allowed for each length
        found, logs = layer.decode(model(np.zeros((2, 4, 2))), np.array([4, 2]))
        assert found.numpy().tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
        assert logs.numpy() == pytest.approx([0, 0], abs=1e-3)
    finally:
        keras.config.set_dtype_policy(kept)


def test_layer_trains_after_masked_layers():
    keras.utils.set_random_seed(1)
    layer = crf.CRF(2, name="crf")
    words = keras.Input([None], dtype="int32")
    vectors = keras.layers.Embedding(3, 4, mask_zero=True)(words)
    states = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))(vectors)
    model = keras.Model(words, layer(keras.layers.Dense(2)(states)))
    model.compile(keras.optimizers.Adam(0.1), loss=layer.loss)
    x, y = np.array([[1, 2, 2, 1], [2, 1, 0, 0]]), np.array([[0, 1, 1, 0], [1, 0, -1, -1]])
    model.fit(x, y, epochs=30, verbose=0)
    found, _ = layer.decode(model(x), np.array([4, 2]))
    assert found.numpy().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]


def test_layer_is_rebuilt_from_its_config():
    layer = crf.CRF(2, between=[[1, 0], [1, 1]], name="crf")
    again = crf.CRF.from_config(layer.get_config())
    again.build((None, None, 2))
    assert again.transitions.matrix.numpy().tolist() == [[0, NEVER], [0, 0]]


def test_forbidden_gold_tagging_has_probability_zero():
    layer = crf.CRF(2, between=[[1, 0], [1, 1]])
    layer.build((None, None, 2))
    found = layer.log_likelihood(tf.zeros([1, 2, 2]), tf.constant([[0, 1]]), tf.constant([2]))
    assert found.numpy().tolist() == [NEVER]
