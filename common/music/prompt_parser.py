"""What a person types of music: notes to begin with, a length, a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from common.errors import ConfigError

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SIGNS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1, "##": 2, "bb": -2}
LONGEST = 1_000_000  # steps
SIGN = "(##|bb|#|♯|b|♭|)"
NOTE = re.compile(rf"([A-Ga-g]){SIGN}(-?\d)")
NUMBER = re.compile(r"\d{1,3}")
BEATS = re.compile(r"\d{1,6}(\.\d{1,6}|/\d{1,6})?")
LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)")
UNITS = ("bar", "beat", "step", "s")
KEY = re.compile(rf"([A-Ga-g]){SIGN}\s*(.*)")
MODES = {"": 0, "M": 0, "maj": 0, "major": 0, "m": 12, "min": 12, "minor": 12}
WANTED = 'write notes such as "C4", "F#3:0.5" or "60", chords such as "C4+E4+G4:2", and "r" for a rest'


def parse_notes(text: str, steps_per_beat: int) -> np.ndarray:
    """Return the notes of a line of them, one after another: int32 [notes, 3], rows (start, duration, pitch).

    Items stand between blanks: a note, notes joined by "+" that sound together, or "r", a rest. Notes are names with
    their octave (C4 is middle C) or MIDI numbers. Each lasts a beat, or the beats that stand behind a colon.

    Raises:
      ConfigError: an item is none of these, or off the grid.

    >>> parse_notes("C4:0.5 r:0.5 C4+E4", 4).tolist()
    [[0, 2, 60], [4, 4, 64], [4, 4, 60]]
    """
    rows, now = [], 0
    for pitches, duration in _parse_items(text, steps_per_beat):
        rows += [(now, duration, pitch) for pitch in pitches]
        now += duration
    return np.array(rows, np.int32).reshape(-1, 3)


def prompt_length(text: str, steps_per_beat: int) -> int:
    """Return how long such a line of notes is, rests at its end included.

    >>> prompt_length("C4 r:2", 4)
    12
    """
    return sum(duration for _, duration in _parse_items(text, steps_per_beat))


def _parse_items(text: str, steps_per_beat: int) -> Iterator[tuple[list[int], int]]:
    """(pitches from high to low, steps) of each item."""
    for place, item in enumerate(text.split(), 1):
        subject = f'The prompt\'s item {place}, "{item}",'
        names, colon, beats = item.partition(":")
        duration = Fraction(1)
        if colon:
            if not BEATS.fullmatch(beats) or not (numbers := _parse_fraction(beats)):
                raise ConfigError(f"{subject} has no number of beats behind its colon: {WANTED}.")
            duration = numbers
        if (duration * steps_per_beat).denominator > 1:
            raise ConfigError(
                f"{subject} does not end on the grid, for a beat has {steps_per_beat} steps: "
                f"give it a multiple of 1/{steps_per_beat} beats."
            )
        if duration * steps_per_beat > LONGEST:
            raise ConfigError(f"{subject} is too long: give it at most {LONGEST // steps_per_beat} beats.")
        pitches = set()
        for name in () if names in ("r", "R") else names.split("+"):
            pitch = _parse_pitch(name)
            if pitch is None:
                raise ConfigError(f"{subject} is no note, chord or rest: {WANTED}.")
            if not 0 <= pitch <= 127:
                raise ConfigError(f"{subject} is beyond MIDI's range: notes go from C-1 (0) to G9 (127).")
            pitches.add(pitch)
        yield sorted(pitches, reverse=True), int(duration * steps_per_beat)


def _parse_fraction(text: str) -> Fraction | None:
    """A number such as 0.5 or 1/3; None for a division by zero."""
    try:
        return Fraction(text)
    except ZeroDivisionError:
        return None


def _parse_pitch(name: str) -> int | None:
    """The MIDI number of a name or number, which may be out of range; None if it is neither."""
    if NUMBER.fullmatch(name):
        return int(name)
    if match := NOTE.fullmatch(name):
        letter, sign, octave = match.groups()
        return LETTERS[letter.upper()] + SIGNS[sign] + 12 * (int(octave) + 1)
    return None


def parse_length(text: str, steps_per_beat: int, bar: int, tempo: float) -> int:
    """Return the steps of a length such as "16bars", "32 beats", "30s" or "64steps", rounded to whole ones.

    Args:
      steps_per_beat: steps of a quarter note, which is a beat.
      bar: steps of a bar, 0 if not known.
      tempo: quarter notes a minute.

    Raises:
      ConfigError: it is no length, none of at least one step, or in bars when those are not known.

    >>> parse_length("2 bars", 4, 12, 120), parse_length("30s", 4, 12, 120)
    (24, 240)
    """
    match = LENGTH.fullmatch(text.strip().lower())
    unit = {"sec": "s", "second": "s", "": "s"}.get(word := match[2].removesuffix("s"), word) if match else ""
    if not match or unit not in UNITS:
        raise ConfigError(f'The length "{text}" cannot be read: write such as "16bars", "32beats", "64steps" or "30s".')
    if unit == "bar" and not bar:
        raise ConfigError(
            f'The length "{text}" is in bars, but how long a bar is is not known: give beats, such as "32beats".'
        )
    second = Fraction(tempo) / 60 * steps_per_beat
    each = {"bar": Fraction(bar), "beat": Fraction(steps_per_beat), "step": Fraction(1), "s": second}
    count = round(Fraction(match[1]) * each[unit])
    if not 1 <= count <= LONGEST:
        raise ConfigError(f'The length "{text}" is {count:,} steps: there must be from 1 to {LONGEST:,}.')
    return count


def parse_key(text: str) -> int:
    """Return the number of a key: 0 for none, 1 to 12 major on C, C#, ..., B, 13 to 24 minor.

    Raises:
      ConfigError: it is no key.

    >>> [parse_key(text) for text in ("", "C", "G major", "a minor", "F#m", "Bb")]
    [0, 1, 8, 22, 19, 11]
    """
    if not text.strip():
        return 0
    match = KEY.fullmatch(text.strip())
    mode = match[3] if match else ""
    mode = mode if mode in MODES else mode.lower()
    if not match or mode not in MODES:
        raise ConfigError(f'"{text}" is no key: write such as "G major", "g minor", "F#m" or "Bb".')
    return 1 + (LETTERS[match[1].upper()] + SIGNS[match[2]]) % 12 + MODES[mode]
