"""The data report for pieces of music: lengths, voices, keys, copies, also transposed ones, and what was skipped."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from common.data.check_common import (
    UnusedRows,
    collect_split_stats,
    count_split_overlaps,
    missing_validation_warning,
    quantiles,
)
from common.data.readers.note_grid import KEYS, hash_piece
from common.types import Example, ExampleSource, JsonObject, Splits

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MANY_SHORT, SHORT = 0.5, 16  # share of the pieces that may have fewer steps without a word
MANY_SILENT = 0.5  # share of the frames that may be silent without a word
MANY_VOICES = 10


def key_name(key: int) -> str:
    """Return a key for people.

    >>> key_name(1), key_name(22), key_name(0)
    ('C major', 'A minor', 'not known')
    """
    return f"{TONICS[(key - 1) % 12]} {'major' if key <= 12 else 'minor'}" if 1 <= key <= KEYS else "not known"


def count_voices(events: np.ndarray, steps: int) -> np.ndarray:
    """Return how many notes sound in each step, int64 [steps].

    >>> count_voices(np.array([[0, 2, 64], [0, 1, 60]]), 3).tolist()
    [2, 1, 0]
    """
    changes = np.zeros(steps + 1, np.int64)
    np.add.at(changes, events[:, 0], 1)
    np.add.at(changes, events[:, 0] + events[:, 1], -1)
    return np.cumsum(changes)[:-1]


@dataclass
class _MusicStats:
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
    exact: set[int] = field(default_factory=set)  # digests of notes
    transposable: set[int] = field(default_factory=set)  # of notes without regard to transposition
    duplicates: int = 0
    transposed: int = 0

    def add(self, piece: Example) -> None:
        events = piece["events"]
        self.count += 1
        self.notes += len(events)
        self.steps[piece["steps"]] += 1
        self.sounding.update(count_voices(events, piece["steps"]).tolist())
        self.durations.update(events[:, 1].tolist())
        self.lowest = min(self.lowest, events[:, 2].min(initial=127))
        self.highest = max(self.highest, events[:, 2].max(initial=0))
        self.keys[piece["key"]] += 1
        self.bars[piece["bar"]] += 1
        if tempo := piece.get("tempo"):
            self.tempos[round(tempo)] += 1
        digest = _hash_bytes(np.ascontiguousarray(events, "<i4").tobytes())
        transposable_digest = _hash_bytes(hash_piece(events))
        self.duplicates += digest in self.exact
        self.transposed += transposable_digest in self.transposable and digest not in self.exact
        self.exact.add(digest)
        self.transposable.add(transposable_digest)

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""
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
            "keys": dict(sorted(names.items(), key=lambda item: (-item[1], item[0]))),
            "bars": bars,
            "tempos": quantiles(self.tempos) if self.tempos else None,
            "duplicates": self.duplicates,
            "duplicates_transposed": self.transposed,
        }

    def mean(self) -> float:
        """Return how many notes sound in a step."""
        return sum(count * times for count, times in self.sounding.items()) / max(self.sounding.total(), 1)


def _hash_bytes(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def check_music(splits: Splits) -> JsonObject:
    """Return the report for pieces of music; reads every part once.

    Pieces are the same if all their notes are. Those that are only transposed are counted apart. Steps, polyphony and
    silence are of the grid.

    Raises:
      DataError: the training part holds nothing.
    """

    def survey(source: ExampleSource, earlier: Mapping[str, _MusicStats]) -> _MusicStats:
        part = _MusicStats()
        for piece in source:
            part.add(piece)
        return part

    parts, seen, warnings = collect_split_stats(splits, survey, "pieces", _describe_skipped, _list_warnings)
    warnings += missing_validation_warning(splits)
    exact = count_split_overlaps({name: part.exact for name, part in seen.items()})
    transposed = count_split_overlaps({name: part.transposable for name, part in seen.items()})
    overlap: dict[str, int] = {}
    for (first, second), count in transposed.items():
        overlap[f"{first} and {second}"] = exact[first, second]
        overlap[f"{first} and {second}, also transposed"] = count
        if count:
            pieces = "piece stands" if count == 1 else "pieces stand"
            warnings.append(
                f"{count:,} {pieces} in both {first} and {second}, some perhaps transposed: scores there would be too"
                f" good. Remove {'it' if count == 1 else 'them'} from one."
            )
    return {"data": list(splits.descriptions), "parts": parts, "overlap": overlap, "warnings": warnings}


def _describe_skipped(source: ExampleSource) -> UnusedRows:
    row_errors = source.row_errors
    return UnusedRows(
        {
            "left_out": dict(row_errors.left.most_common()) or None,
            "skipped": row_errors.count,
            "first_skipped": row_errors.first_errors(),
        }
    )


def _list_warnings(name: str, part: _MusicStats, train: _MusicStats) -> list[str]:
    warnings = []
    short = sum(count for steps, count in part.steps.items() if steps < SHORT)
    if short > MANY_SHORT * part.count:
        warnings.append(f"{short:,} of the {part.count:,} pieces of the {name} part have under {SHORT} steps.")
    silent = part.sounding[0] / max(part.sounding.total(), 1)
    if silent > MANY_SILENT:
        warnings.append(f"{silent:.0%} of the steps of the {name} part are silent: cut the silence out of the pieces.")
    if part.mean() > MANY_VOICES:
        warnings.append(f"{part.mean():.0f} notes sound at a time in the {name} part: are these whole orchestras?")
    if part is not train and (part.lowest < train.lowest or part.highest > train.highest):
        warnings.append(
            f"Pitches of the {name} part go from {part.lowest} to {part.highest}, those of training from "
            f"{train.lowest} to {train.highest}."
        )
    if part.duplicates + part.transposed and part is train:
        count = part.duplicates + part.transposed
        warnings.append(
            f"{count:,} {'piece repeats' if count == 1 else 'pieces repeat'} another one of the {name} part."
        )
    return warnings
