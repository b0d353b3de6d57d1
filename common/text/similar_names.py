"""Names that are alike: labels that differ in case or blanks only, and new names that look like old ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

MIN_PREFIX = 3  # characters of a name that begins another one
CUTOFF = 0.8  # similarity of names that look alike, as difflib measures it


def similar_label_warnings(labels: Iterable[str]) -> list[str]:
    """Return a warning of each group of labels that differ in case or blanks only.

    >>> similar_label_warnings(["Pos", "pos", "neg"])
    ['The labels "Pos" and "pos" differ in case or blanks only: if they are one, make them so by --label-names.']
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(" ".join(label.casefold().split()), []).append(label)
    listed = [" and ".join(f'"{label}"' for label in group) for group in groups.values() if len(group) > 1]
    remedy = "if they are one, make them so by --label-names"
    return [f"The labels {names} differ in case or blanks only: {remedy}." for names in listed]


def match_similar_names(new: Sequence[str], old: Sequence[str]) -> dict[str, str]:
    """Return names that are only here, with those that are only there and look alike, but for numbers.

    >>> match_similar_names(["pos", "Neg", "rest", "class 2"], ["positive", "neg", "other", "class 1"])
    {'pos': 'positive', 'Neg': 'neg'}
    """
    old_only = {name.casefold().strip(): name for name in old if name not in set(new)}
    matches = {}
    for name in new:
        similar = None if name in set(old) else _find_similar(name.casefold().strip(), list(old_only))
        if similar is not None:
            matches[name] = old_only[similar]
    return matches


def _find_similar(name: str, candidates: Sequence[str]) -> str | None:
    """The first candidate that begins a name or is begun by it, else the most similar one, if their numbers agree."""
    by_prefix = (
        candidate
        for candidate in candidates
        if min(len(candidate), len(name)) >= MIN_PREFIX and (candidate.startswith(name) or name.startswith(candidate))
    )
    near = next(by_prefix, None) or next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=CUTOFF)), None)
    return near if near is not None and re.findall(r"\d+", near) == re.findall(r"\d+", name) else None
