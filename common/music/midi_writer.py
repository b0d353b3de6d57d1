"""Standard MIDI Files out of events: in the graph, in core TensorFlow operations, and the same bytes in Python."""

from __future__ import annotations

import io
from math import lcm

import numpy as np
import tensorflow as tf

DIVISION = 480  # ticks of a quarter note, or a multiple of it
MOST_TICKS = 2**15 - 1  # of a quarter note, by the format
ON, OFF = 0x90, 0x80  # on the first channel
ON_VELOCITY, OFF_VELOCITY = 80, 64
SLOWEST = 2**24 - 1  # microseconds of a quarter note, by the format
NOTHING = 256  # stands for no byte


def ticks_per_quarter(steps_per_beat: int) -> int:
    """Return ticks of a quarter note, so that a step has a whole number of them.

    >>> ticks_per_quarter(4), ticks_per_quarter(7)
    (480, 3360)
    """
    ticks = lcm(DIVISION, steps_per_beat)
    return ticks if ticks <= MOST_TICKS else steps_per_beat


def encode_midi_batch(events: tf.Tensor, lengths: tf.Tensor, steps_per_beat: int, tempo: tf.Tensor) -> tf.Tensor:
    """Complete files of type 0, one a piece: string [batch].

    Written in core TensorFlow operations alone, so that a SavedModel can hold it. A piece ends with its last note.

    Args:
      events: int32 [batch, notes, 3], rows (start, duration, pitch) in any order; of one pitch no two overlap.
      lengths: int32 [batch], how many rows are notes; those after them are padding.
      steps_per_beat: steps of a quarter note.
      tempo: float32 [batch], quarter notes a minute.

    >>> files = encode_midi_batch(tf.constant([[[0, 4, 60]]]), tf.constant([1]), 4, tf.constant([120.0]))
    >>> files.numpy()[0][22:].hex(" ")
    '00 ff 51 03 07 a1 20 00 90 3c 50 83 60 80 3c 40 00 ff 2f 00'
    """
    ticks = ticks_per_quarter(steps_per_beat)
    size = tf.shape(events)[0]
    start, duration, pitch = tf.unstack(tf.cast(events, tf.int64), axis=2)  # each [batch, notes]
    step = ticks // steps_per_beat
    # A number that orders messages: ticks, then ends before beginnings, then pitch.
    keys = [(start + duration) * step * 256 + pitch, start * step * 256 + 128 + pitch]
    given = tf.sequence_mask(lengths, tf.shape(events)[1])
    last = tf.constant(2**62, tf.int64)
    keys = tf.sort(tf.concat([tf.where(given, key, last) for key in keys], 1), axis=1)  # [batch, messages]
    there = keys < last
    now = tf.where(there, keys // 256, 0)
    delta = now - tf.pad(now[:, :-1], [[0, 0], [1, 0]])
    begins = keys // 128 % 2 == 1
    status = tf.where(begins, ON, OFF)
    running = status == tf.pad(status[:, :-1], [[0, 0], [1, 0]])  # then the status is not repeated
    parts = [
        *(tf.where(delta >= 128**n, delta // 128**n % 128 + 128, NOTHING) for n in (3, 2, 1)),
        delta % 128,
        tf.where(running, NOTHING, status),
        keys % 128,
        tf.where(begins, ON_VELOCITY, OFF_VELOCITY),
    ]
    messages = tf.stack([tf.where(there, tf.cast(part, tf.int32), NOTHING) for part in parts], 2)
    messages = tf.reshape(messages, [size, 7 * tf.shape(keys)[1]])
    beat = tf.round(60e6 / tf.cast(tempo, tf.float64))
    beat = tf.cast(tf.clip_by_value(beat, 1, SLOWEST), tf.int32)
    # The tempo takes 7 bytes, the end of the track 4.
    length = 11 + tf.reduce_sum(tf.cast(messages != NOTHING, tf.int32), axis=1)
    codes = [
        _tile_bytes(b"MThd\0\0\0\6\0\0\0\1" + ticks.to_bytes(2, "big") + b"MTrk", size),
        _to_big_endian(length, 4),
        _tile_bytes(b"\0\xff\x51\3", size),
        _to_big_endian(beat, 3),
        messages,
        _tile_bytes(b"\0\xff\x2f\0", size),
    ]
    letters = tf.constant([bytes([code]) for code in range(256)] + [b""])
    return tf.strings.reduce_join(tf.gather(letters, tf.concat(codes, 1)), axis=1)  # [batch]


def _tile_bytes(content: bytes, size: tf.Tensor) -> tf.Tensor:
    """The bytes as numbers for each piece: int32 [size, bytes]."""
    return tf.tile(tf.constant([list(content)]), [size, 1])


def _to_big_endian(number: tf.Tensor, count: int) -> tf.Tensor:
    """The bytes of numbers, highest first: int32 [batch, count]."""
    return tf.stack([number // 256**n % 256 for n in range(count - 1, -1, -1)], 1)


def encode_midi(events: np.ndarray, steps_per_beat: int, tempo: float) -> bytes:
    """Return the same file as that of `encode_midi_batch`, for one piece.

    Args:
      events: int32 [notes, 3].
      steps_per_beat: steps of a quarter note.
      tempo: quarter notes a minute.
    """
    import mido

    ticks = ticks_per_quarter(steps_per_beat)
    step = ticks // steps_per_beat
    timed = []  # (tick, whether it begins, pitch)
    for start, duration, pitch in events.tolist():
        timed += [(start * step, True, pitch), ((start + duration) * step, False, pitch)]
    beat = min(max(round(60e6 / float(np.float32(tempo))), 1), SLOWEST)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=beat)])
    now = 0
    for tick, begins, pitch in sorted(timed):
        kind, velocity = ("note_on", ON_VELOCITY) if begins else ("note_off", OFF_VELOCITY)
        track.append(mido.Message(kind, note=pitch, velocity=velocity, time=tick - now))
        now = tick
    written = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=ticks, tracks=[track]).save(file=written)
    return written.getvalue()
