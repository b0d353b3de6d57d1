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


def moves(events: np.ndarray) -> np.ndarray:
    """How each note but the first differs from the one before, int32 [notes - 1].

    >>> moves(np.array([[0, 4, 67], [0, 4, 60], [4, 2, 62]])).tolist()
    [121, 1154]
    """
    steps, semitones = np.diff(events[:, 0]), np.diff(events[:, 2])
    return (np.minimum(steps, 4095) * 256 + semitones + 128).astype(np.int32)


class Passages:
    """The moves of many pieces, to be kept with what was learned."""

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []
        self.count = 0

    def add(self, events: np.ndarray) -> None:
        """One more piece, unless there are too many already."""
        if self.count < MOST and len(events):
            self.found += [moves(events), np.array([BETWEEN], np.int32)]
            self.count += len(events)

    def packed(self) -> str:
        """All of them as text."""
        whole = np.concatenate(self.found) if self.found else np.zeros(0, np.int32)
        return base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode("ascii")


def unpacked(text: str) -> np.ndarray:
    """The moves that `Passages.packed` wrote, BETWEEN after each piece."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.int32)


def longest(pieces: Iterable[np.ndarray], known: np.ndarray) -> int:
    """The most notes in a row of any of the pieces that also stand in the known music, in this or another key.

    Args:
      pieces: events of each.
      known: as `unpacked` gives it.

    >>> tune = np.array([[0, 1, 60], [1, 1, 62], [2, 1, 64], [3, 1, 60]])
    >>> known = Passages()
    >>> known.add(tune + [0, 0, 5])
    >>> longest([tune], unpacked(known.packed()))
    4
    """
    most = 0
    for events in pieces:
        own = moves(events) if len(events) else np.zeros(0, np.int32)
        # Whoever shares a passage shares each part of it, so that the longest is found by halving.
        low, high = most, len(own) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if _shares(own, known, middle):
                low = middle
            else:
                high = middle
        most = max(most, low)
    return most + 1 if most else int(bool(len(known)) and any(len(one) for one in pieces))


def _shares(own: np.ndarray, known: np.ndarray, length: int) -> bool:
    """Whether some window of this length stands in both, and in the known music within a piece."""
    if length > min(len(own), len(known)):
        return False
    breaks = np.concatenate([[0], np.cumsum(known == BETWEEN)])
    whole = breaks[length:] == breaks[:-length]
    marks = np.where(whole, _marks(known, length), 0)
    mine = _marks(own, length)
    alike: dict[int, list[int]] = {}
    for place in np.flatnonzero(whole & np.isin(marks, mine)).tolist():
        alike.setdefault(int(marks[place]), []).append(place)
    return any(
        np.array_equal(known[place : place + length], own[at : at + length])
        for at, mark in enumerate(mine.tolist())
        for place in alike.get(mark, ())
    )


def _marks(values: np.ndarray, length: int) -> np.ndarray:
    """A hash of each window of this length, uint64 [windows]; in time that grows with the logarithm of the length."""
    windows = len(values) - length + 1
    block, size, done, left = values.astype(np.uint64) + np.uint64(2), 1, 0, length
    found = np.zeros(windows, np.uint64)
    while left:
        factor = np.uint64(pow(BASE, size, 2**64))
        if left & 1:
            found = found * factor + block[done : done + windows]
            done += size
        left >>= 1
        if left:
            block = block[: len(block) - size] * factor + block[size:]
            size *= 2
    return found
