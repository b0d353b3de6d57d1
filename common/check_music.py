"""The data report for pieces of music: lengths, voices, keys, copies, also transposed ones, and what was skipped."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.check import overlaps, quantiles, surveys, unvalidated
from common.readers.grid import KEYS, fingerprint
from common.types import Source, Splits

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MANY_SHORT, SHORT = 0.5, 16  # share of the pieces that may have fewer steps without a word
MANY_SILENT = 0.5  # share of the frames that may be silent without a word
MANY_VOICES = 10


def key_name(key: int) -> str:
    """A key for people.

    >>> key_name(1), key_name(22), key_name(0)
    ('C major', 'A minor', 'not known')
    """
    return f"{TONICS[(key - 1) % 12]} {'major' if key <= 12 else 'minor'}" if 1 <= key <= KEYS else "not known"


def voices(events: np.ndarray, steps: int) -> np.ndarray:
    """How many notes sound in each step, int64 [steps].

    >>> voices(np.array([[0, 2, 64], [0, 1, 60]]), 3).tolist()
    [2, 1, 0]
    """
    changes = np.zeros(steps + 1, np.int64)
    np.add.at(changes, events[:, 0], 1)
    np.add.at(changes, events[:, 0] + events[:, 1], -1)
    return np.cumsum(changes)[:-1]


@dataclass
class _Seen:
    """What a part holds."""

    count: int = 0
    notes: int = 0
    steps: Counter[int] = field(default_factory=Counter)
    sounding: Counter[int] = field(default_factory=Counter)  # steps by how many notes sound
    durations: Counter[int] = field(default_factory=Counter)
    lowest: int = 127
    highest: int = 0
    keys: Counter[int] = field(default_factory=Counter)
    bars: Counter[int] = field(default_factory=Counter)
    tempos: Counter[int] = field(default_factory=Counter)  # those that are known
    same: set[int] = field(default_factory=set)  # digests of notes
    alike: set[int] = field(default_factory=set)  # of notes without regard to transposition
    duplicates: int = 0
    transposed: int = 0

    def add(self, piece: dict[str, Any]) -> None:
        events = piece["events"]
        self.count += 1
        self.notes += len(events)
        self.steps[piece["steps"]] += 1
        self.sounding.update(voices(events, piece["steps"]).tolist())
        self.durations.update(events[:, 1].tolist())
        self.lowest = min(self.lowest, events[:, 2].min(initial=127))
        self.highest = max(self.highest, events[:, 2].max(initial=0))
        self.keys[piece["key"]] += 1
        self.bars[piece["bar"]] += 1
        if tempo := piece.get("tempo"):
            self.tempos[round(tempo)] += 1
        exact, mark = _digest(np.ascontiguousarray(events, "<i4").tobytes()), _digest(fingerprint(events))
        self.duplicates += exact in self.same
        self.transposed += mark in self.alike and exact not in self.same
        self.same.add(exact)
        self.alike.add(mark)

    def facts(self) -> dict[str, Any]:
        """What is told of it."""
        frames = self.sounding.total()
        names = Counter({key_name(key): count for key, count in self.keys.items()})
        bars = {f"{bar} steps" if bar else "not known": count for bar, count in self.bars.most_common()}
        return {
            "pieces": self.count,
            "notes": self.notes,
            "steps": quantiles(self.steps),
            "all_steps": frames,
            "note_steps": quantiles(self.durations),
            "voices_by_step": {"mean": round(self.mean(), 2), "most": max(self.sounding, default=0)},
            "silent_steps": round(self.sounding[0] / max(frames, 1), 4),
            "pitches": {"lowest": int(self.lowest), "highest": int(self.highest)},
            "keys": dict(sorted(names.items(), key=lambda one: (-one[1], one[0]))),
            "bars": bars,
            "tempos": quantiles(self.tempos) if self.tempos else None,
            "duplicates": self.duplicates,
            "duplicates_transposed": self.transposed,
        }

    def mean(self) -> float:
        """How many notes sound in a step."""
        return sum(count * times for count, times in self.sounding.items()) / max(self.sounding.total(), 1)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def music(splits: Splits) -> dict[str, Any]:
    """The report for pieces of music; reads every part once.

    Pieces are the same if all their notes are. Those that are only transposed are counted apart. Steps, polyphony and
    silence are of the grid.

    Raises:
      DataError: the training part holds nothing.
    """

    def survey(examples: Source) -> _Seen:
        part = _Seen()
        for piece in examples:
            part.add(piece)
        return part

    parts, seen, warnings = surveys(splits, survey, "pieces", _not_used, _warnings)
    warnings += unvalidated(splits)
    same = overlaps({name: part.same for name, part in seen.items()})
    alike = overlaps({name: part.alike for name, part in seen.items()})
    overlap: dict[str, int] = {}
    for (a, b), count in alike.items():
        overlap[f"{a} and {b}"] = same[a, b]
        overlap[f"{a} and {b}, also transposed"] = count
        if count:
            pieces = "piece stands" if count == 1 else "pieces stand"
            warnings.append(
                f"{count:,} {pieces} in both {a} and {b}, some perhaps transposed: scores there would be too good. "
                f"Remove {'it' if count == 1 else 'them'} from one."
            )
    return {"data": list(splits.notes), "parts": parts, "overlap": overlap, "warnings": warnings}


def _not_used(examples: Source) -> dict[str, Any]:
    problems = examples.problems
    return {
        "left_out": dict(problems.left.most_common()) or None,
        "skipped": problems.count,
        "first_skipped": problems.lines(),
    }


def _warnings(name: str, part: _Seen, train: _Seen) -> list[str]:
    found = []
    short = sum(count for steps, count in part.steps.items() if steps < SHORT)
    if short > MANY_SHORT * part.count:
        found.append(f"{short:,} of the {part.count:,} pieces of the {name} part have under {SHORT} steps.")
    silent = part.sounding[0] / max(part.sounding.total(), 1)
    if silent > MANY_SILENT:
        found.append(f"{silent:.0%} of the steps of the {name} part are silent: cut the silence out of the pieces.")
    if part.mean() > MANY_VOICES:
        found.append(f"{part.mean():.0f} notes sound at a time in the {name} part: are these whole orchestras?")
    if part is not train and (part.lowest < train.lowest or part.highest > train.highest):
        found.append(
            f"Pitches of the {name} part go from {part.lowest} to {part.highest}, those of training from "
            f"{train.lowest} to {train.highest}."
        )
    if part.duplicates + part.transposed and part is train:
        count = part.duplicates + part.transposed
        found.append(f"{count:,} {'piece repeats' if count == 1 else 'pieces repeat'} another one of the {name} part.")
    return found
