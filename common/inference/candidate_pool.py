"""The most uncertain of many inputs, of which those unlike each other are chosen."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from common.types import JsonObject

BUCKETS = 2**16  # of hashed words
LIKE_ANY = 1.0  # a number that all thumbnails share, so that blank ones are alike and others hardly so by it
UNSPACED = "\u3040-\u30ff\u3400-\u9fff"  # scripts without blanks: each character is a word
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")

Vector = tuple[np.ndarray, np.ndarray]  # indices and values of what is not 0


def hash_bag_of_words(text: str) -> Vector:
    """Count each word of a text by its hash, whatever its case.

    >>> [len(hash_bag_of_words(text)[1]) for text in ("A fine, FINE film.", "映画です", " ")]
    [3, 4, 0]
    """
    counts = Counter(zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS for word in WORD.findall(text.lower()))
    return np.array(list(counts), np.int64), np.array(list(counts.values()), np.float64)


def thumbnail_vector(shades: np.ndarray) -> Vector:
    """Return an image in a few numbers: what its shades are above or below their mean.

    Args:
      shades: [height, width, 1], from 0 to 255.
    """
    flat = shades.reshape(-1) / 255.0
    values = np.append(flat - flat.mean(), LIKE_ANY)
    return np.arange(len(values)), values


def maximal_marginal_relevance(uncertainties: Sequence[float], vectors: Sequence[Vector], count: int) -> list[int]:
    """Return which inputs to take, the most worth first.

    Each next one has the largest uncertainty times (1 - its largest cosine with one that is taken already; 0 if that is
    negative), of equal ones the first. This is maximal marginal relevance (Carbonell and Goldstein 1998) with a product
    in place of their weighted difference, so that there is no weight to choose.

    >>> copied, unlike = (np.array([0]), np.array([2.0])), (np.array([1]), np.array([1.0]))
    >>> maximal_marginal_relevance([0.9, 0.8, 0.3], [copied, copied, unlike], 2)
    [0, 2]
    """
    sizes = [len(values) for _, values in vectors]
    owners = np.repeat(np.arange(len(vectors)), sizes)
    indices = np.concatenate([indices for indices, _ in vectors]) if vectors else np.zeros(0, np.int64)
    values = np.concatenate([values for _, values in vectors]) if vectors else np.zeros(0)
    norms = np.sqrt(np.bincount(owners, values**2, len(vectors)))
    values = values / np.maximum(norms, 1e-30)[owners]
    ends = np.cumsum(sizes)
    dense = np.zeros(indices.max(initial=0) + 1)
    dissimilarity, is_left = np.ones(len(vectors)), np.ones(len(vectors), bool)
    chosen: list[int] = []
    for _ in range(min(count, len(vectors))):
        worth = np.where(is_left, np.asarray(uncertainties) * dissimilarity, -1)
        best = int(worth.argmax())
        chosen.append(best)
        is_left[best] = False
        own = slice(ends[best] - sizes[best], ends[best])
        dense[indices[own]] = values[own]
        cosines = np.bincount(owners, values * dense[indices], len(vectors))
        dense[indices[own]] = 0
        dissimilarity = np.minimum(dissimilarity, 1 - np.clip(cosines, 0, 1))
    return chosen


@dataclass
class Candidate:
    """An input that may be chosen.

    Args:
      number: how many came before it.
      record: its prediction, for people and programs.
      vector: by which it is compared.
    """

    uncertainty: float
    number: int
    record: JsonObject
    vector: Vector


@dataclass
class CandidatePool:
    """The most uncertain of all inputs that were seen, each once; memory does not grow with their number.

    Args:
      capacity: so many are sure to be kept, and never twice as many or more.
    """

    capacity: int
    candidates: dict[bytes, Candidate] = field(default_factory=dict)
    floor: float = -1.0  # candidates that are no more uncertain have no chance
    num_seen: int = 0
    document_frequency: np.ndarray = field(
        default_factory=lambda: np.zeros(BUCKETS)
    )  # how many inputs hold each hashed word

    def should_keep(self, key: bytes, uncertainty: float) -> bool:
        """Return whether to add such an input. Of copies, which have one key, the most uncertain one counts."""
        return uncertainty > (self.candidates[key].uncertainty if key in self.candidates else self.floor)

    def add(self, key: bytes, candidate: Candidate) -> None:
        """Keep a candidate, and forget others when there are too many."""
        self.candidates[key] = candidate
        if len(self.candidates) >= 2 * self.capacity:
            best = self.sorted_candidates()[: self.capacity]
            self.floor = best[-1][1].uncertainty
            self.candidates = dict(best)

    def sorted_candidates(self) -> list[tuple[bytes, Candidate]]:
        """Return the candidates, the most uncertain first, of equal ones the earlier."""
        return sorted(self.candidates.items(), key=lambda item: (-item[1].uncertainty, item[1].number))

    def select(self, count: int, rare: bool) -> list[Candidate]:
        """Choose candidates, the most worth first.

        Args:
          rare: weigh what a vector counts by how few of all inputs hold it (inverse document frequency).
        """
        candidates = [candidate for _, candidate in self.sorted_candidates()]
        weights = np.log((1 + self.num_seen) / (1 + self.document_frequency)) + 1
        vectors = [
            (indices, values * weights[indices]) if rare else (indices, values)
            for indices, values in (candidate.vector for candidate in candidates)
        ]
        chosen = maximal_marginal_relevance([candidate.uncertainty for candidate in candidates], vectors, count)
        return [candidates[index] for index in chosen]
