"""What is owed comes, once and no more, whichever loop decodes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.constrained_decoding import constrain_step
from tests.helpers.decoding_models import decode_greedily, draw_samples, search_beams

END, VOCABULARY, MAX_LENGTH = 0, 6, 30
HELD = np.array([[0, 0], [0, 0], [1, 0], [0, 1], [1, 0], [1, 1]], np.float32)  # by token, of two things


def tables(seed):
    """A model whose next token depends on the last one alone; ends are likely, so that all is soon over."""
    logits = np.random.default_rng(seed).normal(0, 3, [VOCABULARY, VOCABULARY]).astype(np.float32)
    logits[:, END] += 3
    return tf.constant(logits)


def stepper(table, owed):
    def step(state, tokens, position):
        return state, tf.gather(table, tokens)

    return constrain_step(step, tf.zeros([len(owed), 1]), tf.constant(HELD), tf.constant(owed, tf.float32), END)


def check(result, owed):
    """Whether the best hypothesis of each row holds all that is owed; or not more, where it had to end."""
    for tokens, (length, *_), row in zip(result.tokens.numpy(), result.lengths.numpy(), owed, strict=True):
        held = HELD[tokens[0, :length]].sum(axis=0)
        assert (held <= row).all()
        assert length == MAX_LENGTH or (held == row).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), owed=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=3))
def test_what_is_owed_comes_and_no_more(seed, owed):
    common = {"start": 1, "end": END, "max_length": MAX_LENGTH}
    beams = np.repeat(owed, 3, axis=0)
    check(search_beams(*stepper(tables(seed), beams), len(owed), num_beams=3, **common), owed)
    check(decode_greedily(*stepper(tables(seed), owed), len(owed), **common), owed)
    # An end may be drawn before its time, in one draw of e ** 20.
    check(draw_samples(*stepper(tables(seed), owed), len(owed), seed=tf.constant([seed, 1]), **common), owed)


def test_an_end_gives_way_to_what_is_missing():
    # Token 1 ends next in all likelihood, and so does token 2, which holds what is owed and is rarer than others.
    table = tf.math.log(tf.constant([[0.90, 0.06, 0.04, 1e-9, 1e-9, 1e-9]] * VOCABULARY))
    result = decode_greedily(*stepper(table, [[1, 0], [0, 0]]), 2, start=1, end=END, max_length=MAX_LENGTH)
    assert result.tokens[:, 0, 0].numpy().tolist() == [2, 0]
    assert result.lengths[:, 0].numpy().tolist() == [1, 0]
    # 0.90 of the end and its own 0.04 of all but the tokens that hold the other thing; then the end, with 0.9 of 0.96.
    assert float(result.log_probs[0, 0]) == pytest.approx(np.log(0.94 * 0.90 / 0.96), abs=1e-5)


def test_without_a_place_for_it_a_hypothesis_ends_all_the_same():
    # Only tokens 0 and 1 can come, neither of which holds what is owed.
    table = tf.constant(np.where(np.arange(VOCABULARY) < 2, 0.0, -np.inf)[None].repeat(VOCABULARY, 0), tf.float32)
    result = search_beams(*stepper(table, [[1, 0]] * 2), 1, start=1, end=END, max_length=4, num_beams=2)
    assert np.isfinite(result.scores.numpy()).all()


def test_with_nothing_owed_and_nothing_held_the_step_is_the_models():
    table = tables(3)
    plain = decode_greedily(
        lambda state, tokens, position: (state, tf.gather(table, tokens)),
        tf.zeros([1, 1]),
        1,
        start=1,
        end=END,
        max_length=9,
    )
    step, state = constrain_step(
        lambda state, tokens, position: (state, tf.gather(table, tokens)),
        tf.zeros([1, 1]),
        tf.zeros([VOCABULARY, 2]),
        tf.zeros([1, 2]),
        END,
    )
    heeding = decode_greedily(step, state, 1, start=1, end=END, max_length=9)
    np.testing.assert_array_equal(plain.tokens, heeding.tokens)
    np.testing.assert_array_equal(plain.scores, heeding.scores)


def test_what_no_token_holds_is_not_asked_for():
    held = np.pad(HELD, [[0, 0], [0, 1]])  # nothing holds the third thing
    table = tables(5)

    def step(state, tokens, position):
        return state, tf.gather(table, tokens)

    result = [
        decode_greedily(
            *constrain_step(step, tf.zeros([1, 1]), tf.constant(held), tf.constant([owed], tf.float32), END),
            1,
            start=1,
            end=END,
            max_length=9,
        )
        for owed in ([1, 0, 0], [1, 0, 5])
    ]
    np.testing.assert_array_equal(result[0].tokens, result[1].tokens)
    np.testing.assert_array_equal(result[0].scores, result[1].scores)
