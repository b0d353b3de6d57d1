"""Which inputs are most worth labelling: those of which a model is least sure, no two of them alike."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.errors import ConfigError

MEASURES = ("entropy", "margin")  # of a classifier's shares
BUCKETS = 2**16  # of hashed words
LIKE_ANY = 1.0  # a number that all thumbnails share, so that blank ones are alike and others hardly so by it
UNSPACED = "\u3040-\u30ff\u3400-\u9fff"  # scripts without blanks: each character is a word
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")

Vector = tuple[np.ndarray, np.ndarray]  # places and values of what is not 0


def of_shares(shares: np.ndarray, by: str | None) -> float:
    """How unsure a classifier is of an input, from 0, sure, to 1, when all labels that matter are as probable.

    Args:
      shares: of the labels, which sum to 1.
      by: "margin", one less the first share over the second one; else the entropy, over that of equal shares.

    >>> shares = np.array([0.5, 0.5, 0.0])
    >>> round(of_shares(shares, "entropy"), 3), of_shares(shares, "margin")
    (0.631, 1.0)
    """
    if by == "margin":
        second, first = np.sort(np.asarray(shares, np.float64))[-2:]
        return within(1 - (first - second))
    some = np.asarray(shares, np.float64)[np.asarray(shares) > 0]
    return within(float(-(some * np.log(some)).sum()) / math.log(len(shares)))


def of_confidence(confidence: float, by: str | None) -> float:
    """One less the probability that an answer has, where there are no shares of all answers.

    Args:
      by: what the user asked for; must be None.

    Raises:
      ConfigError: it is of shares.
    """
    if by is not None:
        raise ConfigError(
            f"--by {by} is for recipes that give a score for each label, and this one does not: leave it out."
        )
    return within(1 - confidence)


def within(value: float) -> float:
    """A number brought between 0 and 1, which rounding may have left."""
    return min(max(float(value), 0.0), 1.0)


def hashed(text: str) -> Vector:
    """How often each word stands in a text, upper and lower case alike, by its hash.

    >>> [len(values) for _, values in (hashed("A fine, FINE film."), hashed("映画です"), hashed(" "))]
    [3, 4, 0]
    """
    counts = Counter(zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS for word in WORD.findall(text.lower()))
    return np.array(list(counts), np.int64), np.array(list(counts.values()), np.float64)


def thumbnail(shades: np.ndarray) -> Vector:
    """An image in a few numbers: what its shades are above or below their mean.

    Args:
      shades: [height, width, 1], from 0 to 255.
    """
    flat = shades.reshape(-1) / 255.0
    values = np.append(flat - flat.mean(), LIKE_ANY)
    return np.arange(len(values)), values


def diverse(uncertainties: Sequence[float], vectors: Sequence[Vector], count: int) -> list[int]:
    """Which inputs to take, the most worth first.

    Each next one has the largest uncertainty times (1 - its largest cosine with one that is taken already; 0 if that is
    negative), of equal ones the first. This is maximal marginal relevance (Carbonell and Goldstein 1998) with a product
    in place of their weighted difference, so that there is no weight to choose.

    >>> one, other = (np.array([0]), np.array([2.0])), (np.array([1]), np.array([1.0]))
    >>> diverse([0.9, 0.8, 0.3], [one, one, other], 2)
    [0, 2]
    """
    sizes = [len(values) for _, values in vectors]
    owners = np.repeat(np.arange(len(vectors)), sizes)
    places = np.concatenate([places for places, _ in vectors]) if vectors else np.zeros(0, np.int64)
    values = np.concatenate([values for _, values in vectors]) if vectors else np.zeros(0)
    norms = np.sqrt(np.bincount(owners, values**2, len(vectors)))
    values = values / np.maximum(norms, 1e-30)[owners]
    ends = np.cumsum(sizes)
    dense = np.zeros(places.max(initial=0) + 1)
    unlike, left = np.ones(len(vectors)), np.ones(len(vectors), bool)
    chosen: list[int] = []
    for _ in range(min(count, len(vectors))):
        worth = np.where(left, np.asarray(uncertainties) * unlike, -1)
        best = int(worth.argmax())
        chosen.append(best)
        left[best] = False
        own = slice(ends[best] - sizes[best], ends[best])
        dense[places[own]] = values[own]
        cosines = np.bincount(owners, values * dense[places], len(vectors))
        dense[places[own]] = 0
        unlike = np.minimum(unlike, 1 - np.clip(cosines, 0, 1))
    return chosen


@dataclass
class Candidate:
    """An input that may be chosen.

    Args:
      number: how many came before it.
      shown: its prediction, for people and programs.
      vector: by which it is compared.
    """

    uncertainty: float
    number: int
    shown: dict[str, Any]
    vector: Vector


@dataclass
class Pool:
    """The most uncertain of all inputs that were seen, each once; memory does not grow with their number.

    Args:
      most: so many are sure to be kept, and never twice as many or more.
    """

    most: int
    kept: dict[bytes, Candidate] = field(default_factory=dict)
    floor: float = -1.0  # candidates that are no more uncertain have no chance
    seen: int = 0
    holding: np.ndarray = field(default_factory=lambda: np.zeros(BUCKETS))  # how many inputs hold each hashed word

    def wants(self, key: bytes, uncertainty: float) -> bool:
        """Whether to add such an input. Of copies, which have one key, the most uncertain one counts."""
        return uncertainty > (self.kept[key].uncertainty if key in self.kept else self.floor)

    def add(self, key: bytes, candidate: Candidate) -> None:
        """Keeps a candidate, and forgets others when there are too many."""
        self.kept[key] = candidate
        if len(self.kept) >= 2 * self.most:
            best = self.ordered()[: self.most]
            self.floor = best[-1][1].uncertainty
            self.kept = dict(best)

    def ordered(self) -> list[tuple[bytes, Candidate]]:
        """What is kept, the most uncertain first, of equal ones the earlier."""
        return sorted(self.kept.items(), key=lambda item: (-item[1].uncertainty, item[1].number))

    def best(self, count: int, rare: bool) -> list[Candidate]:
        """The chosen ones, the most worth first.

        Args:
          rare: weigh what a vector counts by how few of all inputs hold it (inverse document frequency).
        """
        candidates = [candidate for _, candidate in self.ordered()]
        weights = np.log((1 + self.seen) / (1 + self.holding)) + 1
        vectors = [
            (places, values * weights[places]) if rare else (places, values)
            for places, values in (candidate.vector for candidate in candidates)
        ]
        chosen = diverse([candidate.uncertainty for candidate in candidates], vectors, count)
        return [candidates[index] for index in chosen]
