"""Passages that were copied: the longest stretch of notes that a piece shares with the music it was learned from.

Notes are told by how far they are, in steps and in semitones, from the one before, so that what was moved to another
key is found as well. Notes stand in the order of their starts, from high to low.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import numpy as np

MOST = 2_000_000  # notes that are kept; of more, the first
BASE = 1_000_003  # of hashes, which are sums modulo 2**64
BETWEEN = -1  # two pieces


def note_intervals(events: np.ndarray) -> np.ndarray:
    """Return how each note but the first differs from the one before, int32 [notes - 1].

    >>> note_intervals(np.array([[0, 4, 67], [0, 4, 60], [4, 2, 62]])).tolist()
    [121, 1154]
    """
    steps, semitones = np.diff(events[:, 0]), np.diff(events[:, 2])
    return (np.minimum(steps, 4095) * 256 + semitones + 128).astype(np.int32)


class PassageIndex:
    """The intervals of many pieces, to be kept with what was learned."""

    def __init__(self) -> None:
        self.intervals: list[np.ndarray] = []
        self.count = 0

    def add(self, events: np.ndarray) -> None:
        """Add a piece, unless there are too many already."""
        if self.count < MOST and len(events):
            self.intervals += [note_intervals(events), np.array([BETWEEN], np.int32)]
            self.count += len(events)

    def serialize(self) -> str:
        """Return all of them as text."""
        whole = np.concatenate(self.intervals) if self.intervals else np.zeros(0, np.int32)
        return base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode("ascii")


def deserialize_passages(text: str) -> np.ndarray:
    """Return the intervals that `PassageIndex.serialize` wrote, BETWEEN after each piece."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.int32)


def longest_copied_passage(pieces: Iterable[np.ndarray], known: np.ndarray) -> int:
    """Return the most notes in a row of any of the pieces that also stand in the known music, in this or another key.

    Args:
      pieces: events of each.
      known: as `deserialize_passages` gives it.

    >>> tune = np.array([[0, 1, 60], [1, 1, 62], [2, 1, 64], [3, 1, 60]])
    >>> known = PassageIndex()
    >>> known.add(tune + [0, 0, 5])
    >>> longest_copied_passage([tune], deserialize_passages(known.serialize()))
    4
    """
    longest = 0
    for events in pieces:
        own = note_intervals(events) if len(events) else np.zeros(0, np.int32)
        # Whoever shares a passage shares each part of it, so that the longest is found by halving.
        low, high = longest, len(own) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if _shares(own, known, middle):
                low = middle
            else:
                high = middle
        longest = max(longest, low)
    return longest + 1 if longest else int(bool(len(known)) and any(len(events) for events in pieces))


def _shares(own: np.ndarray, known: np.ndarray, length: int) -> bool:
    """Return whether a window of this length stands in both, and in the known music within a piece."""
    if length > min(len(own), len(known)):
        return False
    breaks = np.concatenate([[0], np.cumsum(known == BETWEEN)])
    whole = breaks[length:] == breaks[:-length]
    marks = np.where(whole, _marks(known, length), 0)
    own_marks = _marks(own, length)
    places: dict[int, list[int]] = {}
    for place in np.flatnonzero(whole & np.isin(marks, own_marks)).tolist():
        places.setdefault(int(marks[place]), []).append(place)
    return any(
        np.array_equal(known[place : place + length], own[at : at + length])
        for at, mark in enumerate(own_marks.tolist())
        for place in places.get(mark, ())
    )


def _marks(values: np.ndarray, length: int) -> np.ndarray:
    """Return a hash of each window of this length, uint64 [windows], in time logarithmic in the length."""
    windows = len(values) - length + 1
    block, size, done, left = values.astype(np.uint64) + np.uint64(2), 1, 0, length
    hashes = np.zeros(windows, np.uint64)
    while left:
        factor = np.uint64(pow(BASE, size, 2**64))
        if left & 1:
            hashes = hashes * factor + block[done : done + windows]
            done += size
        left >>= 1
        if left:
            block = block[: len(block) - size] * factor + block[size:]
            size *= 2
    return hashes
