"""Beam search against enumeration and against a search in plain Python."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.modeling.decoding.ops import repeat_rows
from tests.helpers.decoding_models import (
    END,
    SOURCE,
    START,
    Pairs,
    Prefixes,
    assert_same,
    enumerate_hypotheses,
    fixed_step,
    hypotheses,
    penalties,
    search_beams,
    search_in_python,
    searches,
    seeds,
)


@given(seeds, penalties, st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=30, deadline=None)
def test_beam_search_equals_enumeration_of_a_model_of_prefixes(seed, penalty, coverage, masked):
    model, max_length = Prefixes(seed, 3, 3, rows=3, masked=masked), [3, 1, 2]
    mask = [[1, 1, 1], [1, 0, 1], [1, 1, 0]]
    result = search_beams(
        model.step,
        model.state(15),
        3,
        start=START,
        end=END,
        max_length=tf.constant(max_length),
        num_beams=15,
        n_best=15,
        length_penalty=penalty,
        coverage_penalty=coverage,
        source_mask=tf.constant(mask),
    )
    for row in range(3):
        assert_same(result, row, enumerate_hypotheses(model, row, max_length[row], penalty, coverage, mask[row]), 15)


@given(seeds, penalties)
@settings(max_examples=20, deadline=None)
def test_beam_search_equals_enumeration_of_a_model_of_pairs(seed, penalty):
    model = Pairs(seed, 4, 3)
    result = search_beams(
        model.step,
        model.state(),
        1,
        start=START,
        end=END,
        max_length=3,
        num_beams=40,
        n_best=40,
        length_penalty=penalty,
    )
    expected = enumerate_hypotheses(model, 0, 3, penalty)
    assert len(expected) == 40  # 1 + 3 + 9 + 27
    assert_same(result, 0, expected, 40)


@given(searches(), st.sampled_from([None, None, 1.0, 1.6]))
@settings(max_examples=60, deadline=None)
def test_beam_search_equals_a_plain_one(search, beam_stop_ratio):
    model, max_length, beam, n_best, penalty, coverage, no_repeat_ngram_size = search
    attended = isinstance(model, Prefixes)
    result = search_beams(
        model.step,
        model.state(beam),
        2,
        start=START,
        end=END,
        max_length=tf.constant(max_length),
        num_beams=beam,
        n_best=n_best,
        length_penalty=penalty,
        coverage_penalty=coverage,
        no_repeat_ngram_size=no_repeat_ngram_size,
        return_attention=attended,
        beam_stop_ratio=beam_stop_ratio,
    )
    assert result.tokens.shape == (2, n_best, max(max_length))
    for row in range(2):
        expected, margin = search_in_python(
            model,
            row,
            max_length[row],
            beam,
            penalty,
            coverage,
            no_repeat_ngram_size=no_repeat_ngram_size,
            beam_stop_ratio=beam_stop_ratio,
            n_best=n_best,
        )
        assume(margin > 1e-4)
        assert_same(result, row, expected, n_best)
        if attended:
            assert result.attention.shape == (2, n_best, max(max_length), SOURCE)
            for number, (_, _, tokens) in enumerate(hypotheses(result, row)):
                own = result.attention[row, number].numpy()
                for at in range(len(tokens)):
                    np.testing.assert_array_equal(own[at], model.attends(row, tokens[:at]))
                assert not own[len(tokens) :].any()


@given(
    seeds,
    st.integers(0, 5),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0, 2]),
)
@settings(max_examples=12, deadline=None)
def test_rows_that_are_done_are_taken_out_and_change_nothing(seed, rows, beam, penalty, coverage, no_repeat_ngram_size):
    """With a memory of each row, rows are fewer and fewer; each finds what it finds alone, with all it looks at."""
    random = np.random.default_rng(seed)
    max_length = random.integers(0, 7, rows).astype(np.int32)
    logits = random.normal(0, 1.5, (rows, 7, 4, 4)).astype(np.float32)  # by row, position and last token
    attention = random.random((rows, 7, 3)).astype(np.float32)
    seen = []

    def step(state, tokens, position, memory):
        of_row, looks = (repeat_rows(one, beam) for one in memory)
        scores = tf.gather(tf.gather(of_row, position, axis=1), tokens, batch_dims=1)
        seen.append(tf.shape(tokens)[0])
        sums = state + tokens  # of the tokens so far, on which the scores depend, too
        return sums, scores * (1 + 0.1 * tf.cast(sums % 3, tf.float32))[:, None], looks[:, position]

    def result(of):
        memory = tf.constant(logits[of]), tf.constant(attention[of])
        return search_beams(
            step,
            tf.zeros([len(of) * beam], tf.int32),
            len(of),
            start=START,
            end=END,
            max_length=tf.constant(max_length[of]),
            num_beams=beam,
            n_best=beam,
            length_penalty=penalty,
            coverage_penalty=coverage,
            no_repeat_ngram_size=no_repeat_ngram_size,
            memory=memory,
            source_mask=tf.ones([len(of), 3]),
        )

    together = result(np.arange(rows))
    sizes = [int(one) for one in seen]
    assert sizes == sorted(sizes, reverse=True)
    for row in range(rows):
        alone = result(np.array([row]))
        for name in ("tokens", "lengths", "scores", "log_probs"):
            one, other = getattr(alone, name)[0].numpy(), getattr(together, name)[row].numpy()
            # Sums over the axis of a batch of another size may round differently.
            np.testing.assert_allclose(one, other[:, : one.shape[1]] if name == "tokens" else other, rtol=1e-6)


def test_steps_get_cheaper_as_rows_are_done():
    seen = []

    def step(state, tokens, position, memory):
        seen.append(tf.shape(memory)[0])
        return state, tf.math.log(tf.constant([0.2, 0.2, 0.3, 0.3])) + tf.zeros([tf.shape(tokens)[0], 1])

    max_length = tf.constant([0, 0, 0, 4, 1, 9])
    result = search_beams(
        step, (), 6, start=START, end=END, max_length=max_length, num_beams=1, length_penalty=0.0, memory=tf.range(6)
    )
    assert result.lengths[:, 0].numpy().tolist() == max_length.numpy().tolist()
    # A tenth of six is less than one: so whenever some are done, they are taken out.
    assert [int(one) for one in seen] == [6, 3, 2, 2, 2, 1, 1, 1, 1, 1]


def test_few_rows_that_are_done_stay_until_they_are_a_tenth():
    seen = []

    def step(state, tokens, position, memory):
        seen.append(tf.shape(memory)[0])
        return state, tf.math.log(tf.constant([0.2, 0.2, 0.3, 0.3])) + tf.zeros([tf.shape(tokens)[0], 1])

    max_length = tf.constant([0, 2, *[5] * 18])
    search_beams(
        step, (), 20, start=START, end=END, max_length=max_length, num_beams=1, length_penalty=0.0, memory=tf.range(20)
    )
    assert [int(one) for one in seen] == [20, 20, 20, 18, 18, 18]


def test_length_penalty_and_coverage_worked_by_hand():
    logits, looks = np.log(np.float32([[0.5, 0.25, 0.25]])), np.float32([[0.5, 0.25, 0.25]])
    result = search_beams(
        lambda state, tokens, position: (state, logits, looks),
        (),
        1,
        start=START,
        end=END,
        max_length=0,
        num_beams=1,
        coverage_penalty=0.5,
        source_mask=tf.constant([[True, True, False]]),
    )
    # The length is 1, so that the normaliser is 1; log 1/4 + (log 1/2 + log 1/4) / 2 = -3.5 log 2.
    assert result.scores.numpy() == pytest.approx(-3.5 * np.log(2), rel=1e-6)
    assert result.log_probs.numpy() == pytest.approx(-2 * np.log(2), rel=1e-6)
    assert result.attention is None


def test_source_never_attended_to_leaves_a_finite_score():
    logits, looks = tf.zeros([2, 3]), tf.constant([[1.0, 0.0]] * 2)
    result = search_beams(
        lambda *_: ((), logits, looks), (), 1, start=START, end=END, max_length=1, num_beams=2, coverage_penalty=1.0
    )
    assert np.isfinite(result.scores.numpy()).all()


@pytest.mark.parametrize(
    ("max_length", "beam_stop_ratio", "steps"),
    [(50, None, 3), (1000, None, 4), (1000, 1.0, 3), (1000, 12.0, 3), (1000, 250.0, 4)],
)
def test_beam_search_stops_once_nothing_better_can_come(max_length, beam_stop_ratio, steps):
    # 2 2 END has the log probability 3 log .98 and the score -.0455. The best that goes on has then 2 log .98 + log .01
    # = -4.65, so at most -.50 after 50 tokens, but -.028 after 1000. One step later it has log .01 less: -.055. If it
    # ended next, it would have 4 tokens: so 12 times its length is 48 tokens, and 250 times 1000.
    logits = np.log(np.float32([[0.005, 0.01, 0.98, 0.005], [0.01, 0.98, 0.005, 0.005]]))
    calls = tf.Variable(0)

    def step(state, tokens, position):
        calls.assign_add(1)
        return state, tf.repeat(tf.gather(logits, tf.cast(position >= 2, tf.int32))[None], tf.shape(tokens)[0], axis=0)

    @tf.function
    def decoded(batch):
        result = search_beams(
            step, (), batch, start=START, end=END, max_length=max_length, num_beams=2, beam_stop_ratio=beam_stop_ratio
        )
        return result.tokens, result.scores

    tokens, scores = decoded(tf.constant(2))
    assert calls.numpy() == steps
    assert tokens[:, 0, :4].numpy().tolist() == [[2, 2, 0, 0]] * 2
    np.testing.assert_allclose(scores, [[3 * np.log(0.98) / (8 / 6)]] * 2, rtol=1e-4)


def test_beam_search_goes_on_where_a_negative_penalty_favours_short_ones():
    # The end at once scores log .3 = -1.204; 2 END scores (log .6 + log .99) 7/6 = -.608, but 50 tokens at best
    # log .6 * 56/6 = -4.8.
    logits = np.log(np.float32([[0.05, 0.3, 0.6, 0.05], [0.003, 0.99, 0.004, 0.003]]))

    def step(state, tokens, position):
        return state, tf.repeat(logits[min(int(position), 1)][None], tf.shape(tokens)[0], axis=0)

    result = search_beams(step, (), 1, start=START, end=END, max_length=50, num_beams=2, length_penalty=-1.0)
    assert hypotheses(result, 0)[0][2] == (2,)
    assert result.scores.numpy() == pytest.approx((np.log(0.6) + np.log(0.99)) * 7 / 6, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2, "n_best": 3}, "n_best must be from 1 to num_beams, 2, not 3"),
        ({"num_beams": 0}, "n_best must be from 1 to num_beams, 0, not 1"),
        ({"num_beams": 1, "coverage_penalty": -0.1}, "coverage_penalty must not be negative; it is -0.1"),
        ({"num_beams": 1, "beam_stop_ratio": 0.5}, "beam_stop_ratio must be at least 1, not 0.5"),
        ({"num_beams": 1, "no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be 0 or more, not -1"),
        ({"num_beams": 1, "return_attention": True}, "returns no attention"),
        ({"num_beams": 1, "coverage_penalty": 0.1}, "returns no attention"),
    ],
)
def test_beam_search_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        search_beams(fixed_step([0.5, 0.5]), (), 1, start=START, end=END, max_length=2, **options)
