"""Pieces of music as tokens of frames, and back, in graph. Core TensorFlow ops only, for any server.

A frame is what sounds within one step of the grid. Its tokens are its notes from high to low, then FRAME, its end; an
empty frame is FRAME alone. A note that begins in a frame and one that goes on sounding have tokens of their own, so
that every piece on the grid comes back as it was.
"""

from __future__ import annotations

import tensorflow as tf

PADDING, FRAME = 0, 1
PITCHES = 128  # of MIDI
STRUCK, HELD = 2, 2 + PITCHES  # token of the lowest note that begins, and of the lowest that goes on
TOKENS = 2 + 2 * PITCHES


def token_pitches(tokens: tf.Tensor) -> tf.Tensor:
    """Return the MIDI number of each token, -1 where it is no note."""
    return tf.where(tokens >= STRUCK, (tokens - STRUCK) % PITCHES, -1)


def events_to_tokens(events: tf.RaggedTensor, steps: tf.Tensor, held: bool = True) -> tf.RaggedTensor:
    """Return tokens of each piece, int32 [batch, (tokens)].

    Notes of one pitch that overlap become one that is struck again. What lies beyond the piece's steps is cut.

    Args:
      events: int32 [batch, (notes), 3], each a start, a duration and a pitch; of duration 0, or with
        a pitch that MIDI has not, they are no notes.
      steps: int32 [batch], frames of each piece.
      held: whether notes that go on differ from those that begin; else all begin anew in each frame.

    >>> one = tf.RaggedTensor.from_row_lengths(tf.constant([[0, 2, 60], [0, 1, 64]]), [2])
    >>> events_to_tokens(one, tf.constant([3])).to_list()
    [[66, 62, 1, 190, 1, 1]]
    """
    rows = tf.cast(events.value_rowids(), tf.int64)
    starts, durations, notes = tf.unstack(tf.cast(events.values, tf.int64), axis=1)
    steps = tf.cast(steps, tf.int64)
    limits = tf.gather(steps, rows)
    starts = tf.clip_by_value(starts, 0, limits)
    real = tf.logical_and(notes >= 0, notes < PITCHES)
    ends = tf.minimum(starts + tf.where(real, tf.maximum(durations, 0), 0), limits)
    cells = tf.ragged.range(starts, ends)  # [notes, (steps)]
    of = cells.value_rowids()
    later = tf.cast(cells.values > tf.gather(starts, of), tf.int64) if held else tf.zeros_like(cells.values)
    # One number a cell, in the order in which tokens stand; of equal notes the one that begins stands first.
    most = tf.reduce_max(tf.concat([steps, [0]], axis=0))
    frames = tf.gather(rows, of) * most + cells.values
    keys = (frames * (PITCHES + 1) + (PITCHES - 1 - tf.gather(notes, of))) * 2 + later
    every = tf.ragged.range(steps)
    ends_of_frames = (every.value_rowids() * most + every.values) * (PITCHES + 1) + PITCHES
    keys = tf.sort(tf.concat([keys, ends_of_frames * 2], axis=0))
    fresh = tf.concat([[True], keys[1:] // 2 != keys[:-1] // 2], axis=0)[: tf.size(keys)]
    keys = tf.boolean_mask(keys, fresh)
    place = keys // 2 % (PITCHES + 1)
    notes = tf.where(keys % 2 == 1, HELD, STRUCK) + tf.cast(PITCHES - 1 - place, tf.int32)
    tokens = tf.where(place == PITCHES, FRAME, notes)
    owners = keys // 2 // (PITCHES + 1) // tf.maximum(most, 1)
    return tf.RaggedTensor.from_value_rowids(tokens, owners, tf.size(steps, tf.int64), validate=False)


def tokens_to_frames(tokens: tf.Tensor) -> tf.Tensor:
    """Return the tokens by frame, int32 [batch, frames, most tokens of a frame]; 0 after each frame's end.

    There is at least one frame.

    Args:
      tokens: int32 [batch, time], whole frames, then padding.

    >>> tokens_to_frames(tf.constant([[66, 62, 1, 190, 1]])).numpy().tolist()
    [[[66, 62, 1], [190, 1, 0]]]
    """
    places = tf.where(tokens != PADDING)
    values = tf.gather_nd(tokens, places)
    frames = tf.cast(
        tf.gather_nd(tf.cumsum(tf.cast(tokens == FRAME, tf.int32), axis=1, exclusive=True), places), tf.int64
    )
    count = tf.reduce_max(tf.concat([frames, [0]], axis=0)) + 1
    rows = places[:, 0]
    owners = rows * count + frames
    order = tf.range(tf.size(values, tf.int64))
    slots = order - tf.gather(tf.math.segment_min(order, owners), owners)
    most = tf.reduce_max(tf.concat([slots, [0]], axis=0)) + 1
    shape = tf.stack([tf.shape(tokens, tf.int64)[0], count, most])
    return tf.scatter_nd(tf.stack([rows, frames, slots], axis=1), values, shape)


def tokens_to_events(tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (events int32 [batch, notes, 3], lengths int32 [batch]) of tokens, by start, then from high to low.

    A note that goes on though it did not sound in the frame before begins there. Padding may stand anywhere.

    Args:
      tokens: int32 [batch, time].

    >>> events, lengths = tokens_to_events(tf.constant([[66, 62, 1, 190, 1, 1]]))
    >>> events.numpy().tolist(), lengths.numpy().tolist()
    ([[[0, 1, 64], [0, 2, 60]]], [2])
    """
    frames = tf.cumsum(tf.cast(tokens == FRAME, tf.int32), axis=1, exclusive=True)
    batch, steps = tf.shape(tokens, tf.int64)[0], tf.cast(tf.shape(tokens)[1], tf.int64) + 1
    places = tf.where(tokens >= STRUCK)  # [cells, 2]
    cells = tf.gather_nd(tokens, places)
    rows, starts = places[:, 0], tf.cast(tf.gather_nd(frames, places), tf.int64)
    # By piece, pitch and step, so that the cells of a note follow each other.
    keys = (rows * PITCHES + tf.cast(token_pitches(cells), tf.int64)) * steps + starts
    order = tf.argsort(keys)
    keys, cells = tf.gather(keys, order), tf.gather(cells, order)
    goes_on = tf.concat([[False], keys[1:] == keys[:-1] + 1], axis=0)[: tf.size(keys)]
    begins = tf.logical_not(tf.logical_and(goes_on, cells >= HELD))
    note = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    durations = tf.math.bincount(note, minlength=tf.reduce_sum(tf.cast(begins, tf.int32)))
    first = tf.boolean_mask(keys, begins)
    start, pitch, row = first % steps, first // steps % PITCHES, first // steps // PITCHES
    order = tf.argsort((row * steps + start) * PITCHES + PITCHES - 1 - pitch)
    values = tf.stack([tf.cast(start, tf.int32), durations, tf.cast(pitch, tf.int32)], axis=1)
    ragged = tf.RaggedTensor.from_value_rowids(tf.gather(values, order), tf.gather(row, order), batch, validate=False)
    return ragged.to_tensor(0, shape=[None, None, 3]), tf.cast(ragged.row_lengths(), tf.int32)
