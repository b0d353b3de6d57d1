"""The data report for labelled images: sizes, kinds, copies and what cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.data.check_common import (
    UnusedRows,
    at_shares,
    clash_warnings,
    label_warnings,
    leaks,
    name_overlaps,
    overlaps,
    quantiles,
    surveys,
    unvalidated,
)
from common.data.readers.image_bytes import facts, kind
from common.types import JsonObject, Source, Splits

MODES = {"1": "grey", "L": "grey", "LA": "grey, transparent", "P": "palette", "PA": "palette", "RGB": "colour"}
MODES |= {"RGBA": "colour, transparent"}
GREY = ("grey", "grey, transparent")
SMALL = 8  # pixels; little can be seen in fewer
PLACES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}  # of which ratios are told
LONG = 4  # times as long as wide; resizing distorts this much


@dataclass
class _ImageStats:
    """What a part holds; memory is bounded by its distinct images, of which hashes are kept, and its distinct sizes."""

    labels: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    ratios: Counter[float] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    fingerprints: set[int] = field(default_factory=set)
    duplicates: int = 0
    clashes: int = 0  # images with another label elsewhere
    clash: str = ""  # the first one's labels

    @property
    def count(self) -> int:
        """How many examples it has."""
        return self.labels.total()

    def add(self, data: bytes, label: str, first_labels: dict[int, str]) -> None:
        """Counts an example.

        Args:
          first_labels: by mark the first label that an image had in any part; is added to.
        """
        width, height, mode = facts(data)
        self.labels[label] += 1
        self.widths[width] += 1
        self.heights[height] += 1
        self.ratios[round(width / height, 2 if width > height else 4)] += 1
        self.modes[MODES.get(mode, mode)] += 1
        self.kinds[kind(data)] += 1
        mark = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        self.duplicates += mark in self.fingerprints
        self.fingerprints.add(mark)
        if (first := first_labels.setdefault(mark, label)) != label:
            self.clashes += 1
            self.clash = self.clash or f'"{first}" and "{label}"'

    def is_grey(self) -> bool:
        """Whether no image has colours."""
        return all(mode in GREY for mode in self.modes)

    def facts(self) -> JsonObject:
        """What is told of it."""
        return {
            "examples": self.count,
            "labels": dict(sorted(self.labels.items())),
            "rarest_label": round(min(self.labels.values()) / self.count, 4),
            "commonest_label": round(max(self.labels.values()) / self.count, 4),
            "width": quantiles(self.widths),
            "height": quantiles(self.heights),
            "width_by_height": at_shares(self.ratios, PLACES),
            "modes": dict(self.modes.most_common()),
            "files": dict(self.kinds.most_common()),
            "duplicates": self.duplicates,
            "two_labels": self.clashes,
        }


def labelled_images(splits: Splits, image: str = "image") -> JsonObject:
    """The report for images with one label each; streams every part once.

    Images are the same if their files are. Files that are read as PNG count as such. The share of width by height is
    that of images as people see them.

    Args:
      image: what an example calls its image.

    Raises:
      DataError: the training part holds nothing.
    """
    first_labels: dict[int, str] = {}

    def survey(source: Source, earlier: Mapping[str, _ImageStats]) -> _ImageStats:
        part = _ImageStats()
        for example in source:
            part.add(example[image], example["label"], first_labels)
        return part

    parts, seen, warnings = surveys(splits, survey, "examples", _describe_unusable, _list_warnings)
    warnings += unvalidated(splits)
    overlap = name_overlaps(overlaps({name: part.fingerprints for name, part in seen.items()}))
    warnings += leaks(overlap, "image")
    return {"data": list(splits.notes), "parts": parts, "overlap": overlap, "warnings": warnings}


def _describe_unusable(source: Source) -> UnusedRows:
    problems = source.problems
    kinds = {kind or "is a broken row": count for kind, count in problems.kinds.most_common()}
    rows = {"broken": problems.count, "broken_because_it": kinds or None, "first_broken": problems.lines()}
    if not problems.count:
        return UnusedRows(rows)
    what, first = ("One image", "it") if problems.count == 1 else (f"{problems.count:,} images", "the first one")
    warning = f"{what} of {source.name.partition(' (')[0]} cannot be used: {first}, {problems.lines()[0]}."
    return UnusedRows(rows, [warning])


def _list_warnings(name: str, part: _ImageStats, train: _ImageStats) -> list[str]:
    warnings = label_warnings(name, part.labels, set() if part is train else set(train.labels))
    warnings += clash_warnings(part.clashes, name, "image", f"another label, such as with {part.clash}.")
    small = max(sum(n for side, n in sides.items() if side < SMALL) for sides in (part.widths, part.heights))
    if small:
        warnings.append(f"{_count_images(small, name)} under {SMALL} pixels wide or high: little can be seen there.")
    long = sum(n for ratio, n in part.ratios.items() if not 1 / LONG <= ratio <= LONG)
    if long:
        what = f"over {LONG} times as long as wide, and resizing distorts what they show"
        warnings.append(f"{_count_images(long, name)} {what}.")
    if part.is_grey() != train.is_grey():
        grey, colour = ("training", f"the {name} part")
        if part.is_grey():
            grey, colour = colour, grey
        warnings.append(f"All images of {grey} are grey, but those of {colour} are not: scores may not carry over.")
    return warnings


def _count_images(count: int, name: str) -> str:
    return f"{count:,} image{' of the ' + name + ' part is' if count == 1 else 's of the ' + name + ' part are'}"
