"""Examples dealt to parts label by label, so that few of them are enough for each part to have its share of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import floor


def strata(labels: Mapping[float, Sequence[str]]) -> list[list[float]]:
    """The hashes of each label, sorted; the label with the fewest comes first.

    Args:
      labels: of the examples of each hash. Where these differ, the first by alphabet counts.

    >>> strata({0.3: ["a"], 0.1: ["b", "a"], 0.2: ["b"]})
    [[0.2], [0.1, 0.3]]
    """
    found: dict[str, list[float]] = {}
    for place in sorted(labels):
        found.setdefault(min(labels[place]), []).append(place)
    return sorted(found.values(), key=lambda places: (len(places), places))


def cut(found: Sequence[Sequence[float]], sizes: Sequence[float], filled: bool) -> dict[float, int]:
    """The part of each hash, cut by rank within each label.

    A part's share of a label is rounded up or down. What rounding takes from a part or gives it is made up for at the
    next label, which has as many or more, so that the parts as wholes have their shares too. The first part, which is
    training, gets at least one of each label, since what it lacks cannot be learned.

    Args:
      found: of `strata`.
      sizes: shares of the parts, their sum 1.
      filled: no part with a share stays empty, if need be at the cost of a label that is in training then no more.

    >>> cut([[0.5], [0.1, 0.2, 0.3, 0.4]], (0.5, 0.5), False)
    {0.5: 0, 0.1: 0, 0.2: 0, 0.3: 1, 0.4: 1}
    """
    owed = [0.0 for _ in sizes]
    given: list[list[int]] = []
    for places in found:
        counts = [floor(len(places) * size + 1e-9) for size in sizes]
        owed = [one + len(places) * size - count for one, size, count in zip(owed, sizes, counts, strict=True)]
        open_ = [part for part, size in enumerate(sizes) if size > 0]
        for _ in range(len(places) - sum(counts)):
            part = max(open_, key=lambda part: (counts[0] == part == 0, round(owed[part], 9)))
            open_.remove(part)
            counts[part] += 1
            owed[part] -= 1
        given.append(counts)
    for part in range(1, len(sizes) if filled else 0):
        whole = sum(counts[0] for counts in given)
        if sizes[part] > 0 and whole > 1 and not any(counts[part] for counts in given):
            most = max(reversed(given), key=lambda counts: counts[0])
            most[0] -= 1
            most[part] += 1
    return {
        place: part
        for places, counts in zip(found, given, strict=True)
        for place, part in zip(places, chain(*([part] * count for part, count in enumerate(counts))), strict=True)
    }
