"""Examples dealt to splits label by label, so that few of them are enough for each split to have its share of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import floor


def stratify(labels: Mapping[float, Sequence[str]]) -> list[list[float]]:
    """Return the hashes of each label, sorted; the label with the fewest comes first.

    Args:
      labels: of the examples of each hash. Where these differ, the first by alphabet counts.

    >>> stratify({0.3: ["a"], 0.1: ["b", "a"], 0.2: ["b"]})
    [[0.2], [0.1, 0.3]]
    """
    places_by_label: dict[str, list[float]] = {}
    for place in sorted(labels):
        places_by_label.setdefault(min(labels[place]), []).append(place)
    return sorted(places_by_label.values(), key=lambda places: (len(places), places))


def assign_stratified(groups: Sequence[Sequence[float]], sizes: Sequence[float], filled: bool) -> dict[float, int]:
    """Return the split of each hash, cut by rank within each label.

    A split's share of a label is rounded up or down. What rounding takes from a split or gives it is made up for at the
    next label, which has as many or more, so that the splits as wholes have their shares too. The first split, which is
    training, gets at least one of each label, since what it lacks cannot be learned.

    Args:
      groups: of `stratify`.
      sizes: shares of the splits, their sum 1.
      filled: no split with a share stays empty, if need be at the cost of a label that is in training then no more.

    >>> assign_stratified([[0.5], [0.1, 0.2, 0.3, 0.4]], (0.5, 0.5), False)
    {0.5: 0, 0.1: 0, 0.2: 0, 0.3: 1, 0.4: 1}
    """
    owed = [0.0 for _ in sizes]
    given: list[list[int]] = []
    for places in groups:
        counts = [floor(len(places) * size + 1e-9) for size in sizes]
        owed = [debt + len(places) * size - count for debt, size, count in zip(owed, sizes, counts, strict=True)]
        open_ = [split for split, size in enumerate(sizes) if size > 0]
        for _ in range(len(places) - sum(counts)):
            split = max(open_, key=lambda split: (counts[0] == split == 0, round(owed[split], 9)))
            open_.remove(split)
            counts[split] += 1
            owed[split] -= 1
        given.append(counts)
    for split in range(1, len(sizes) if filled else 0):
        whole = sum(counts[0] for counts in given)
        if sizes[split] > 0 and whole > 1 and not any(counts[split] for counts in given):
            most = max(reversed(given), key=lambda counts: counts[0])
            most[0] -= 1
            most[split] += 1
    return {
        place: split
        for places, counts in zip(groups, given, strict=True)
        for place, split in zip(places, chain(*([split] * count for split, count in enumerate(counts))), strict=True)
    }
