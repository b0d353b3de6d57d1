"""Pieces as tokens of frames, and back, against a piano roll made note by note."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.music import frame_tokens
from common.music.frame_tokens import FRAME, HELD, STRUCK


@st.composite
def pieces(draw):
    """(events as the readers give them, steps): notes of one pitch do not overlap."""
    steps = draw(st.integers(0, 12))
    free: dict[int, int] = {}
    rows = []
    if steps:
        chosen = st.tuples(st.integers(0, steps - 1), st.integers(1, 6), st.sampled_from([0, 59, 60, 61, 127]))
        for start, duration, pitch in sorted(draw(st.lists(chosen, max_size=15))):
            if start >= free.get(pitch, 0):
                duration = min(duration, steps - start)
                rows.append((start, duration, pitch))
                free[pitch] = start + duration
    rows.sort(key=lambda row: (row[0], -row[2]))
    return np.array(rows, np.int32).reshape(-1, 3), steps


def ragged(many):
    return tf.RaggedTensor.from_row_lengths(
        tf.constant(np.concatenate([events for events, _ in many])), [len(events) for events, _ in many]
    )


def tokens_by_hand(events, steps, held):
    found = []
    for step in range(steps):
        sounding = {}
        for start, duration, pitch in events.tolist():
            if start <= step < start + duration:
                begins = step == start or not held
                sounding[pitch] = (STRUCK if begins else HELD) + pitch
        found += [sounding[pitch] for pitch in sorted(sounding, reverse=True)] + [FRAME]
    return found


@given(st.lists(pieces(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_tokens_are_those_of_each_frame_from_high_to_low(many, held):
    found = frame_tokens.events_to_tokens(ragged(many), tf.constant([steps for _, steps in many]), held)
    assert found.to_list() == [tokens_by_hand(*piece, held) for piece in many]


@given(st.lists(pieces(), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_stands_on_the_grid_comes_back_as_it_was(many):
    tokens = frame_tokens.events_to_tokens(ragged(many), tf.constant([steps for _, steps in many]))
    events, lengths = frame_tokens.tokens_to_events(tokens.to_tensor())
    assert lengths.numpy().tolist() == [len(one) for one, _ in many]
    for (expected, _), row, length in zip(many, events.numpy(), lengths.numpy(), strict=True):
        assert row[:length].tolist() == expected.tolist()
        assert not row[length:].any()


@given(st.lists(pieces(), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_grid_holds_the_tokens_of_each_frame(many):
    tokens = frame_tokens.events_to_tokens(ragged(many), tf.constant([steps for _, steps in many]))
    found = frame_tokens.tokens_to_frames(tokens.to_tensor()).numpy()
    assert found.shape[1] == max(1, *(steps for _, steps in many))
    for row, flat in zip(found, tokens.to_list(), strict=True):
        assert [token for frame in row.tolist() for token in frame if token] == flat
        ends = [frame.tolist().index(FRAME) for frame in row if frame.any()]
        assert len(ends) == flat.count(FRAME)
        assert not any(frame[end + 1 :].any() for frame, end in zip(row, ends, strict=False))


def test_notes_that_overlap_are_struck_again_and_what_lies_beyond_is_cut():
    events = tf.RaggedTensor.from_row_lengths(tf.constant([[0, 3, 60], [1, 9, 60], [7, 2, 50], [2, 0, 70]]), [4])
    tokens = frame_tokens.events_to_tokens(events, tf.constant([4]))
    assert tokens.to_list() == [[STRUCK + 60, FRAME, STRUCK + 60, FRAME, HELD + 60, FRAME, HELD + 60, FRAME]]
    found, lengths = frame_tokens.tokens_to_events(tokens.to_tensor())
    assert found.numpy().tolist() == [[[0, 1, 60], [1, 3, 60]]]
    assert lengths.numpy().tolist() == [2]


def test_pitches_that_there_are_not_and_odd_times_are_no_notes():
    events = tf.constant([[0, 2, 200], [0, 1, -1], [0, 1, 128], [-2, 3, 60], [9, 1, 61], [0, -4, 62]])
    tokens = frame_tokens.events_to_tokens(tf.RaggedTensor.from_row_lengths(events, [6]), tf.constant([2]))
    assert tokens.to_list() == [[STRUCK + 60, FRAME, HELD + 60, FRAME]]


def test_note_that_goes_on_from_nothing_begins_there():
    found, _ = frame_tokens.tokens_to_events(tf.constant([[FRAME, HELD + 60, FRAME, HELD + 60, FRAME]]))
    assert found.numpy().tolist() == [[[1, 2, 60]]]


def test_no_pieces_and_pieces_of_nothing_have_no_tokens():
    none = tf.RaggedTensor.from_row_lengths(tf.zeros([0, 3], tf.int32), tf.zeros([0], tf.int64))
    assert frame_tokens.events_to_tokens(none, tf.zeros([0], tf.int32)).to_list() == []
    one = tf.RaggedTensor.from_row_lengths(tf.zeros([0, 3], tf.int32), [0])
    assert frame_tokens.events_to_tokens(one, tf.constant([0])).to_list() == [[]]
    assert frame_tokens.events_to_tokens(one, tf.constant([2])).to_list() == [[FRAME, FRAME]]
    assert frame_tokens.tokens_to_events(tf.zeros([2, 0], tf.int32))[0].shape == (2, 0, 3)
    assert frame_tokens.tokens_to_frames(tf.zeros([2, 0], tf.int32)).shape == (2, 1, 1)


def test_pitches_of_tokens():
    tokens = tf.constant([0, FRAME, STRUCK, STRUCK + 127, HELD, HELD + 60])
    assert frame_tokens.token_pitches(tokens).numpy().tolist() == [
        -1,
        -1,
        0,
        127,
        0,
        60,
    ]
