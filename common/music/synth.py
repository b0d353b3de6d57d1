"""Sound out of events: a few partials that die away, as of a plucked string, in WAV."""

from __future__ import annotations

import io
import wave

import numpy as np

PARTIALS = (1.0, 0.5, 0.3, 0.15, 0.1, 0.06)  # their loudness
DECAY = 1.5  # seconds until the first partial of middle C has sunk to 1 / e; the n-th one is n times as fast
ATTACK, RELEASE = 0.008, 0.08  # seconds in which a note rises, and in which it fades after its end
TAIL = 0.5  # seconds after the last note
LONGEST = 12.0  # decay times, after which a note that is still held is no longer heard
PEAK = 0.9
BLOCK = 2**18  # samples that are converted at a time


def synthesize_wav(events: np.ndarray, steps_per_beat: int, tempo: float, rate: int = 44100, steps: int = 0) -> bytes:
    """Return a WAV file: 16 bits, one channel, its loudest sample at 0.9 of full scale; without notes it is silent.

    Takes about six bytes of memory a sample. Each pitch is made once, as long as its longest note needs it: as every
    note of it begins in the same phase, the shorter ones are its beginnings.

    Args:
      events: int32 [notes, 3], rows (start, duration, pitch).
      steps_per_beat: steps of a quarter note.
      tempo: quarter notes a minute.
      rate: samples a second.
      steps: how many the piece has, if it may be longer than its notes.
    """
    step = 60 / (tempo * steps_per_beat) * rate  # samples
    starts = np.rint(events[:, 0] * step).astype(np.int64)
    ends = np.rint((events[:, 0] + events[:, 1]) * step).astype(np.int64)
    end = max(int(ends.max(initial=0)), round(steps * step))
    mixed = np.zeros(end + round(TAIL * rate), np.float32)
    for pitch in np.unique(events[:, 2]):
        its = events[:, 2] == pitch
        held = np.minimum(ends[its] - starts[its], int(LONGEST * _decay(pitch) * rate))
        tone = _make_tone(pitch, int(held.max()) + round(RELEASE * rate), rate)
        for start, samples in zip(starts[its], held, strict=True):
            note = _fade(tone, int(samples), rate)
            mixed[start : start + len(note)] += note
    peak = max(mixed.max(initial=0), -mixed.min(initial=0))
    scale = PEAK * 32767 / peak if peak > 0 else 0.0
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, rate, len(mixed), "NONE", "not compressed"))
        for at in range(0, len(mixed), BLOCK):
            file.writeframesraw(np.rint(mixed[at : at + BLOCK] * scale).astype("<i2").tobytes())
    return written.getvalue()


def pitch_to_hz(pitch: float) -> float:
    """Return the frequency of a MIDI pitch, in hertz.

    >>> pitch_to_hz(69), pitch_to_hz(57)
    (440.0, 220.0)
    """
    return float(440 * 2 ** ((pitch - 69) / 12))


def _decay(pitch: float) -> float:
    return float(DECAY * 2 ** ((60 - pitch) / 24))  # low strings sound longer


def _make_tone(pitch: float, samples: int, rate: int) -> np.ndarray:
    """A note without beginning and end: float32 [samples].

    The n-th partial is the n-th power of the first one, an oscillation that decays. None is above half the rate, where
    it would sound as another one.
    """
    time = np.arange(samples) / rate
    first = np.exp((2j * np.pi * pitch_to_hz(pitch) - 1 / _decay(pitch)) * time)
    total = np.zeros_like(first)
    for index in range(len(PARTIALS), 0, -1):  # by Horner's rule
        audible = index * pitch_to_hz(pitch) < 0.45 * rate
        total = (total + (PARTIALS[index - 1] if audible else 0)) * first
    return total.imag.astype(np.float32)


def _fade(tone: np.ndarray, held: int, rate: int) -> np.ndarray:
    """A note of `held` samples, and of those of its release, that rises and falls without a click."""
    release, attack = round(RELEASE * rate), round(ATTACK * rate)
    note = tone[: held + release].copy()
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / attack)
    note[:attack] *= rise[: len(note)]
    note[held:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(release) / release)
    return note
