"""The data report for labelled images: sizes, kinds, copies and what cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.check import at_shares, label_warnings, leaks, nothing, overlaps, quantiles, unvalidated
from common.problems import Problems
from common.readers.pictures import facts, kind
from common.types import Source, Splits

MODES = {"1": "grey", "L": "grey", "LA": "grey, transparent", "P": "palette", "PA": "palette", "RGB": "colour"}
MODES |= {"RGBA": "colour, transparent"}
GREY = ("grey", "grey, transparent")
SMALL = 8  # pixels; little can be seen in fewer
PLACES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}  # of which ratios are told
LONG = 4  # times as long as wide; resizing distorts this much


@dataclass
class _Seen:
    """What a part holds; memory is bounded by its distinct images, of which hashes are kept, and its distinct sizes."""

    labels: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    ratios: Counter[float] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    marks: set[int] = field(default_factory=set)
    duplicates: int = 0
    clashes: int = 0  # images with another label elsewhere
    clash: str = ""  # the first one's labels

    def add(self, data: bytes, label: str, labels_of: dict[int, str]) -> None:
        """Counts an example.

        Args:
          labels_of: by mark the first label that an image had in any part; is added to.
        """
        width, height, mode = facts(data)
        self.labels[label] += 1
        self.widths[width] += 1
        self.heights[height] += 1
        self.ratios[round(width / height, 2 if width > height else 4)] += 1
        self.modes[MODES.get(mode, mode)] += 1
        self.kinds[kind(data)] += 1
        mark = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        self.duplicates += mark in self.marks
        self.marks.add(mark)
        if (first := labels_of.setdefault(mark, label)) != label:
            self.clashes += 1
            self.clash = self.clash or f'"{first}" and "{label}"'

    def facts(self) -> dict[str, Any]:
        """What is told of it."""
        return {
            "examples": self.labels.total(),
            "labels": dict(sorted(self.labels.items())),
            "rarest_label": round(min(self.labels.values()) / self.labels.total(), 4),
            "commonest_label": round(max(self.labels.values()) / self.labels.total(), 4),
            "width": quantiles(self.widths),
            "height": quantiles(self.heights),
            "width_by_height": at_shares(self.ratios, PLACES),
            "modes": dict(self.modes.most_common()),
            "files": dict(self.kinds.most_common()),
            "duplicates": self.duplicates,
            "two_labels": self.clashes,
        }


def labelled_images(splits: Splits, image: str = "image") -> dict[str, Any]:
    """The report for images with one label each; streams every part once.

    Images are the same if their files are. Files that are read as PNG count as such. The share of width by height is
    that of images as people see them.

    Args:
      image: what an example calls its image.

    Raises:
      DataError: the training part holds nothing.
    """
    parts: dict[str, Any] = {}
    seen: dict[str, _Seen] = {}
    labels_of: dict[int, str] = {}
    told: list[Problems] = []
    warnings: list[str] = []
    for name, source in splits.given():
        part = _Seen()
        for example in source:
            part.add(example[image], example["label"], labels_of)
        if not part.labels:
            if name == "train":
                raise nothing(source)
            warnings.append(f"The {name} part is empty.")
            parts[name] = {"examples": 0}
            continue
        parts[name] = part.facts()
        if not any(source.problems is one for one in told):  # parts split off one source share what cannot be used
            told.append(source.problems)
            parts[name] |= _broken(source)
            warnings += _unusable(source)
        warnings += label_warnings(name, part.labels, set(seen["train"].labels) if "train" in seen else set())
        warnings += _warnings(name, part, seen)
        seen[name] = part
    warnings += unvalidated(splits)
    named = {f"{a} and {b}": n for (a, b), n in overlaps({name: part.marks for name, part in seen.items()}).items()}
    warnings += leaks(named, "image")
    return {"data": list(splits.notes), "parts": parts, "overlap": named, "warnings": warnings}


def _broken(source: Source) -> dict[str, Any]:
    kinds = {kind or "is a broken row": count for kind, count in source.problems.kinds.most_common()}
    return {
        "broken": source.problems.count,
        "broken_because_it": kinds or None,
        "first_broken": source.problems.lines(),
    }


def _unusable(source: Source) -> list[str]:
    if not (count := source.problems.count):
        return []
    what, first = ("One image", "it") if count == 1 else (f"{count:,} images", "the first one")
    return [f"{what} of {source.name.partition(' (')[0]} cannot be used: {first}, {source.problems.lines()[0]}."]


def _warnings(name: str, part: _Seen, seen: Mapping[str, _Seen]) -> list[str]:
    found = []
    if part.clashes:
        occur = "image of the {} part also occurs" if part.clashes == 1 else "images of the {} part also occur"
        found.append(f"{part.clashes:,} {occur.format(name)} with another label, such as with {part.clash}.")
    small = max(sum(n for side, n in sides.items() if side < SMALL) for sides in (part.widths, part.heights))
    if small:
        found.append(f"{_images(small, name)} under {SMALL} pixels wide or high: little can be seen there.")
    long = sum(n for ratio, n in part.ratios.items() if not 1 / LONG <= ratio <= LONG)
    if long:
        found.append(f"{_images(long, name)} over {LONG} times as long as wide, and resizing distorts what they show.")
    train = seen.get("train")
    if train and all(mode in GREY for mode in train.modes) != all(mode in GREY for mode in part.modes):
        grey, colour = ("training", f"the {name} part")
        if all(mode in GREY for mode in part.modes):
            grey, colour = colour, grey
        found.append(f"All images of {grey} are grey, but those of {colour} are not: scores may not carry over.")
    return found


def _images(count: int, name: str) -> str:
    return f"{count:,} image{' of the ' + name + ' part is' if count == 1 else 's of the ' + name + ' part are'}"
