"""Pieces of music on a grid of steps: notes rounded to it, and what tells one piece from another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.types import Example

MOST_STEPS = 1_000_000  # of a piece; one made to fill the memory has more
EXACT = 1e-6  # steps that a time may lie beside the grid and not count as moved
KEYS = 24  # 1 to 12 are major on C, C#, ..., B and 13 to 24 minor; 0 is not known


class UnreadablePiece(ValueError):
    """Why a file gives no piece: the rest of a sentence that begins with the file's name."""


@dataclass
class QuantizationStats:
    """What became of the notes of a piece.

    Args:
      notes: that are left.
      moved: of these how many did not begin or end on the grid.
      dropped: that fell together with another one of the same pitch.
      drums: that were left out, since their numbers are no pitches.
    """

    notes: int = 0
    moved: int = 0
    dropped: int = 0
    drums: int = 0

    def __add__(self, other: QuantizationStats) -> QuantizationStats:
        return QuantizationStats(
            self.notes + other.notes,
            self.moved + other.moved,
            self.dropped + other.dropped,
            self.drums + other.drums,
        )


class PieceResult(NamedTuple):
    """A piece in a file that may hold several, or why there is none.

    Args:
      location: within the file, such as "train piece 17", or "" if the file is the piece.
      part: "train", "valid" or "test" where the file says so, or "".
      piece: None if it cannot be used.
      wrong: the rest of a sentence that begins with the location, or "".
    """

    location: str
    part: str
    piece: Example | None
    quantised: QuantizationStats
    wrong: str = ""


def quantize_notes(notes: Iterable[tuple[float, float, int]], drums: int = 0) -> tuple[np.ndarray, QuantizationStats]:
    """Return events int32 [notes, 3] of (start, end, pitch), times being in steps; and what became of the notes.

    Starts and ends go to the nearest step, from the middle to the later one. A note of no length gets one step. Of
    notes of one pitch that begin together the longest stays, and one that lasts when the next begins is cut there.

    >>> events, stats = quantize_notes([(0, 1.5, 60), (0, 1, 60), (1, 3, 60), (1, 1.1, 64)])
    >>> events.tolist()
    [[0, 1, 60], [1, 1, 64], [1, 2, 60]]
    >>> stats
    QuantizationStats(notes=3, moved=2, dropped=1, drums=0)

    Args:
      drums: how many were left out before.

    Raises:
      Unusable: there are no notes, a pitch is none of MIDI, or the piece has more than MOST_STEPS steps.
    """
    rows = np.array(list(notes), np.float64).reshape(-1, 3)
    if not len(rows):
        raise UnreadablePiece(f"holds no notes but {drums:,} of drums" if drums else "holds no notes")
    if not np.isfinite(rows).all() or rows[:, :2].min() < 0:
        raise UnreadablePiece("has a note at a time that is none")
    check_piece_length(float(rows[:, :2].max()))
    if rows[:, 2].min() < 0 or rows[:, 2].max() > 127:
        odd = next(pitch for pitch in rows[:, 2].tolist() if not 0 <= pitch <= 127)
        raise UnreadablePiece(f"has a pitch of {odd:.0f}, where 0 to 127 are pitches of MIDI")
    times = np.floor(rows[:, :2] + 0.5)
    times[:, 1] = np.maximum(times[:, 1], times[:, 0] + 1)
    moved = np.any(np.abs(times - rows[:, :2]) > EXACT, axis=1)
    starts, ends, pitches = times[:, 0].astype(np.int64), times[:, 1].astype(np.int64), rows[:, 2].astype(np.int64)
    order = np.lexsort((-ends, starts, pitches))
    starts, ends, pitches, moved = starts[order], ends[order], pitches[order], moved[order]
    first = np.ones(len(rows), bool)
    first[1:] = (pitches[1:] != pitches[:-1]) | (starts[1:] != starts[:-1])
    starts, ends, pitches, moved = starts[first], ends[first], pitches[first], moved[first]
    same = pitches[1:] == pitches[:-1]
    ends[:-1] = np.where(same, np.minimum(ends[:-1], starts[1:]), ends[:-1])
    order = np.lexsort((-pitches, starts))
    events = np.stack([starts, ends - starts, pitches], axis=1)[order].astype(np.int32)
    return events, QuantizationStats(len(events), int(moved.sum()), int((~first).sum()), drums)


def check_piece_length(steps: float) -> None:
    """Refuse pieces that are too long.

    Raises:
      Unusable: there are more than MOST_STEPS.
    """
    if not steps <= MOST_STEPS:
        raise UnreadablePiece(f"is {steps:,.0f} steps long, where at most {MOST_STEPS:,} can be used")


def make_piece_example(
    events: np.ndarray, steps: float, bar: float = 0, key: int = 0, file: str = "", tempo: float = 0
) -> Example:
    """Return the example of these events.

    Args:
      steps: how long the piece is by itself; at least as long as its notes.
      bar: steps of a bar; one that is not whole is not known.
      tempo: the first one, in quarter notes a minute; 0 if it is not known.

    Raises:
      Unusable: there are more than MOST_STEPS steps.
    """
    check_piece_length(steps)
    last = int((events[:, 0] + events[:, 1]).max()) if len(events) else 0
    bar = int(bar) if bar == int(bar) and bar <= MOST_STEPS else 0
    length = max(int(steps + 0.5), last)
    return {"events": events, "steps": length, "bar": bar, "key": key, "tempo": float(tempo), "file": file}


def hash_piece(events: np.ndarray) -> bytes:
    """Return what pieces of the same notes share, also if one is transposed.

    >>> low, high = np.array([[0, 4, 60], [4, 4, 64]]), np.array([[0, 4, 62], [4, 4, 66]])
    >>> hash_piece(low) == hash_piece(high), hash_piece(low) == hash_piece(low[:1])
    (True, False)
    """
    if len(events):
        events = events - [0, 0, events[:, 2].min()]
    return np.ascontiguousarray(events, "<i4").tobytes()


def key_id(tonic: int, mode: str) -> int:
    """Return the number of a key, 0 if the mode is neither major nor minor.

    Args:
      tonic: its pitch class, 0 for C.

    >>> key_id(0, "major"), key_id(9, "minor"), key_id(2, "dorian")
    (1, 22, 0)
    """
    return tonic % 12 + {"major": 1, "minor": 13}[mode] if mode in ("major", "minor") else 0


def key_from_signature(sharps: int, events: np.ndarray) -> int:
    """Return the key with such a signature whose tonic is the last bass note of the piece, 0 if there is none.

    Args:
      sharps: how many, below 0 for flats.

    >>> key_from_signature(1, np.array([[0, 4, 67], [0, 4, 52]]))  # one sharp, at the end E: E minor
    17
    """
    if not len(events):
        return 0
    ends = events[:, 0] + events[:, 1]
    bass = int(events[ends == ends.max(), 2].min()) % 12
    major = 7 * sharps % 12
    return key_id(bass, {0: "major", 9: "minor"}.get((bass - major) % 12, ""))
