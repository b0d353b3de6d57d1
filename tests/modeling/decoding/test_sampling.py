"""Greedy decoding and sampling: against a beam of one, and against the frequencies of a softmax."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.decoding_models import (
    END,
    START,
    Pairs,
    Prefixes,
    assert_same,
    decode_greedily,
    draw_samples,
    fixed_step,
    search_beams,
    search_in_python,
    searches,
    seeds,
)


@given(searches())
@settings(max_examples=40, deadline=None)
def test_greedy_equals_a_beam_of_one(search):
    model, max_length, _, _, penalty, _, no_repeat_ngram_size = search
    attended = isinstance(model, Prefixes)
    options = {
        "start": START,
        "end": END,
        "max_length": tf.constant(max_length),
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    options["length_penalty"] = penalty
    one = decode_greedily(model.step, model.state(), 2, return_attention=attended, **options)
    other = search_beams(model.step, model.state(), 2, num_beams=1, return_attention=attended, **options)
    for row in range(2):
        expected, margin = search_in_python(
            model, row, max_length[row], 1, penalty, no_repeat_ngram_size=no_repeat_ngram_size
        )
        assume(margin > 1e-4)
        assert_same(one, row, expected, 1)
    for name in ("tokens", "lengths", "log_probs", "scores", *(["attention"] if attended else [])):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_start_may_differ_by_row():
    follows = tf.constant(np.eye(4, k=1, dtype=np.float32) * 20)  # 0 1 2 3
    result = decode_greedily(
        lambda state, tokens, position: (state, tf.gather(follows, tokens)),
        (),
        3,
        start=tf.constant([0, 1, 2]),
        end=3,
        max_length=5,
    )
    assert result.tokens.numpy().tolist() == [[[1, 2, 0, 0, 0]], [[2, 0, 0, 0, 0]], [[0] * 5]]


def test_greedy_and_sample_stop_when_all_rows_have_ended():
    positions = []

    def step(state, tokens, position):
        positions.append(int(position))
        return state, tf.one_hot(tf.where(state[:, 0] <= position, END, 2), 3) * 50

    options = {"start": START, "end": END, "max_length": 50}
    result = decode_greedily(step, tf.constant([[1], [4]]), 2, **options)
    assert result.lengths.numpy().tolist() == [[1], [4]]
    assert positions == [0, 1, 2, 3, 4]
    result = draw_samples(step, tf.constant([[1], [4]]), 2, seed=tf.constant([1, 2]), **options)
    assert result.lengths.numpy().tolist() == [[1], [4]]
    assert positions == [0, 1, 2, 3, 4] * 2


def test_sample_goes_on_where_all_tokens_are_blocked():
    result = draw_samples(
        fixed_step([1 / 3] * 3), (), 8, start=0, end=None, max_length=5, seed=[3, 4], no_repeat_ngram_size=1
    )
    assert result.lengths.numpy().tolist() == [[5]] * 8
    assert all(set(row[0, :3]) == {0, 1, 2} for row in result.tokens.numpy())
    np.testing.assert_allclose(result.log_probs, np.full((8, 1), 5 * np.log(1 / 3)), rtol=1e-5)


SHARES = np.float64([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SHARES),
        ({"temperature": 0.5}, SHARES**2 / 0.3),
        ({"temperature": 2.0}, SHARES**0.5 / (SHARES**0.5).sum()),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, SHARES),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),  # .4 + .3 is less
        ({"top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.0}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.75}, [0, 4 / 7, 0, 3 / 7]),  # of 4/9, 3/9 and 2/9 the first two hold 7/9
        ({"temperature": 0.5, "top_p": 0.8}, [0, 16 / 25, 0, 9 / 25]),  # 16/30 + 9/30
        ({"temperature": 0}, [0, 1, 0, 0]),
    ],
)
def test_sample_has_the_frequencies_of_the_softmax(options, expected):
    result = draw_samples(
        fixed_step(SHARES), (), 20000, start=0, end=None, max_length=1, seed=tf.constant([1, 2]), **options
    )
    tokens = result.tokens.numpy().ravel()
    counts = np.bincount(tokens, minlength=4) / 20000
    np.testing.assert_allclose(counts, expected, atol=0.015)  # four standard deviations
    assert ((counts > 0) == (np.asarray(expected) > 0)).all()
    np.testing.assert_allclose(result.log_probs.numpy().ravel(), np.log(SHARES)[tokens], rtol=1e-5)


def test_sample_is_the_same_for_the_same_seed_alone():
    model = Pairs(3, 6, 20)

    def decoded(seed, temperature, top_k, top_p):
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return draw_samples(model.step, (), 4, start=0, end=None, max_length=20, seed=seed, **options).tokens

    scalars = [tf.TensorSpec([], dtype) for dtype in (tf.float32, tf.int32, tf.float32)]
    graph = tf.function(decoded, input_signature=[tf.TensorSpec([2], tf.int32), *scalars])
    for top_k, top_p in ((0, 1.0), (3, 0.9)):
        first = decoded(tf.constant([5, 6]), 1.0, top_k, top_p).numpy()
        again = graph(tf.constant([5, 6]), tf.constant(1.0), tf.constant(top_k), tf.constant(top_p)).numpy()
        assert first.tobytes() == again.tobytes()
        for other in ([5, 7], [6, 6]):
            assert (decoded(tf.constant(other), 1.0, top_k, top_p).numpy() != first).any()


def test_sample_draws_anew_at_each_position_and_for_each_row():
    result = draw_samples(fixed_step([0.25] * 4), (), 400, start=0, end=None, max_length=30, seed=tf.constant([1, 2]))
    tokens = result.tokens[:, 0].numpy()
    assert np.mean(tokens[:, 1:] == tokens[:, :-1]) == pytest.approx(0.25, abs=0.02)
    assert np.mean(tokens[1:] == tokens[:-1]) == pytest.approx(0.25, abs=0.02)


def test_sample_of_a_row_with_its_own_seed_is_the_same_whatever_stands_beside_it():
    model = Pairs(3, 6, 40)
    seeds = tf.constant([[5, 6], [7, 8], [5, 6], [9, 9]])
    options = {
        "temperature": tf.constant([1.0, 0.7, 1.0, 0.0]),
        "top_k": tf.constant([0, 3, 0, 0]),
        "top_p": tf.constant([1.0, 0.9, 1.0, 1.0]),
        "max_length": tf.constant([20, 40, 20, 5]),
    }

    def drawn(rows):
        chosen = {name: tf.gather(values, rows) for name, values in options.items()}
        return draw_samples(model.step, (), len(rows), start=0, end=None, seed=tf.gather(seeds, rows), **chosen)

    together = drawn([0, 1, 2, 3])
    for row in range(4):
        alone = drawn([row])
        length = int(alone.lengths[0, 0])
        assert length == int(options["max_length"][row])
        np.testing.assert_array_equal(together.tokens[row, 0, :length], alone.tokens[0, 0, :length])
    np.testing.assert_array_equal(together.tokens[0], together.tokens[2])
    assert (together.tokens[0, 0, :20].numpy() != together.tokens[1, 0, :20].numpy()).any()


def test_sample_with_limits_of_each_row_draws_within_them():
    shares = tf.repeat(tf.constant(np.log(SHARES), tf.float32)[None], 3000, axis=0)
    kind = np.arange(3000) % 3  # all tokens; the two best; 0.6 of the sum, which are the two best
    result = draw_samples(
        lambda state, tokens, position: (state, shares),
        (),
        3000,
        start=0,
        end=None,
        max_length=1,
        seed=tf.stack([tf.range(3000), tf.fill([3000], 7)], axis=1),
        top_k=tf.constant(np.where(kind == 1, 2, 0)),
        top_p=tf.constant(np.where(kind == 2, 0.6, 1.0)),
    )
    tokens = result.tokens.numpy().ravel()
    for number, expected in enumerate((SHARES, [0, 4 / 7, 0, 3 / 7], [0, 4 / 7, 0, 3 / 7])):
        counts = np.bincount(tokens[kind == number], minlength=4) / 1000
        np.testing.assert_allclose(counts, expected, atol=0.065)  # four standard deviations
        assert ((counts > 0) == (np.asarray(expected) > 0)).all()


@given(seeds, st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_sample_of_temperature_zero_is_greedy(seed, no_repeat_ngram_size):
    model = Prefixes(seed, 4, 4, rows=3)
    options = {
        "start": START,
        "end": END,
        "max_length": tf.constant([4, 0, 3]),
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    greedy = decode_greedily(model.step, model.state(), 3, **options)
    drawn = draw_samples(model.step, model.state(), 3, seed=tf.constant([seed, 1], tf.int64), temperature=0, **options)
    for name in ("tokens", "lengths", "log_probs", "scores"):
        np.testing.assert_array_equal(getattr(greedy, name), getattr(drawn, name))


def test_sample_without_end_runs_to_the_longest_of_each_row():
    result = draw_samples(
        fixed_step([0.5, 0.25, 0.25]),
        (),
        3,
        start=0,
        end=None,
        max_length=tf.constant([0, 2, 4]),
        seed=tf.constant([1, 2]),
    )
    assert result.lengths.numpy().tolist() == [[0], [2], [4]]
    tokens = result.tokens[:, 0].numpy()
    logs = [sum(np.log([0.5, 0.25, 0.25])[tokens[row, :n]]) for row, n in enumerate((0, 2, 4))]
    np.testing.assert_allclose(result.log_probs[:, 0], logs, rtol=1e-5)
    assert not tokens[1, 2:].any()
