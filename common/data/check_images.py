"""The data report for labelled images: sizes, kinds, copies and what cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.data.check_common import (
    UnusedRows,
    clash_warnings,
    collect_split_stats,
    count_split_overlaps,
    label_warnings,
    leakage_warnings,
    missing_validation_warning,
    name_overlaps,
    quantiles,
    weighted_quantiles,
)
from common.data.readers.image_bytes import image_size_and_mode, sniff_image_format
from common.types import ExampleSource, JsonObject, Splits

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
        """Count an example.

        Args:
          first_labels: by mark the first label that an image had in any part; is added to.
        """
        width, height, mode = image_size_and_mode(data)
        self.labels[label] += 1
        self.widths[width] += 1
        self.heights[height] += 1
        self.ratios[round(width / height, 2 if width > height else 4)] += 1
        self.modes[MODES.get(mode, mode)] += 1
        self.kinds[sniff_image_format(data)] += 1
        mark = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        self.duplicates += mark in self.fingerprints
        self.fingerprints.add(mark)
        if (first := first_labels.setdefault(mark, label)) != label:
            self.clashes += 1
            self.clash = self.clash or f'"{first}" and "{label}"'

    def is_grey(self) -> bool:
        """Return whether no image has colours."""
        return all(mode in GREY for mode in self.modes)

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""
        return {
            "examples": self.count,
            "labels": dict(sorted(self.labels.items())),
            "rarest_label": round(min(self.labels.values()) / self.count, 4),
            "commonest_label": round(max(self.labels.values()) / self.count, 4),
            "width": quantiles(self.widths),
            "height": quantiles(self.heights),
            "width_by_height": weighted_quantiles(self.ratios, PLACES),
            "modes": dict(self.modes.most_common()),
            "files": dict(self.kinds.most_common()),
            "duplicates": self.duplicates,
            "two_labels": self.clashes,
        }


def check_images(splits: Splits, image: str = "image") -> JsonObject:
    """Return the report for images with one label each; streams every part once.

    Images are the same if their files are. Files that are read as PNG count as such. The share of width by height is
    that of images as people see them.

    Args:
      image: what an example calls its image.

    Raises:
      DataError: the training part holds nothing.
    """
    first_labels: dict[int, str] = {}

    def survey(source: ExampleSource, earlier: Mapping[str, _ImageStats]) -> _ImageStats:
        part = _ImageStats()
        for example in source:
            part.add(example[image], example["label"], first_labels)
        return part

    parts, seen, warnings = collect_split_stats(splits, survey, "examples", _describe_unusable, _list_warnings)
    warnings += missing_validation_warning(splits)
    overlap = name_overlaps(count_split_overlaps({name: part.fingerprints for name, part in seen.items()}))
    warnings += leakage_warnings(overlap, "image")
    return {"data": list(splits.descriptions), "parts": parts, "overlap": overlap, "warnings": warnings}


def _describe_unusable(source: ExampleSource) -> UnusedRows:
    row_errors = source.row_errors
    kinds = {kind or "is a broken row": count for kind, count in row_errors.kinds.most_common()}
    rows = {"broken": row_errors.count, "broken_because_it": kinds or None, "first_broken": row_errors.first_errors()}
    if not row_errors.count:
        return UnusedRows(rows)
    what, first = ("One image", "it") if row_errors.count == 1 else (f"{row_errors.count:,} images", "the first one")
    warning = f"{what} of {source.name.partition(' (')[0]} cannot be used: {first}, {row_errors.first_errors()[0]}."
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
