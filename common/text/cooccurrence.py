"""First vectors of the pieces of two languages, so that those that translate each other are alike from the start."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CHUNK = 2_000_000  # pairs of pieces that are counted at a time
MOST = 300_000  # pairs of texts that are looked at; of more, the first
OVERSAMPLING, ROUNDS = 16, 3  # of the decomposition


def init_embeddings_from_cooccurrence(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], sources: int, targets: int, units: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of all pieces, float32 [sources, units] and [targets, units].

    The inner product of two grows with how much oftener the pieces stand in the same pair of texts than by chance: they
    are the factors of the matrix of positive pointwise mutual information (Levy and Goldberg 2014), here of pieces of
    one language with those of the other. What happens to stand together once counts for nothing, and a piece of which
    nothing is known gets a random vector.

    Args:
      pairs: ids of texts and of their translations, int [rows, places] and [rows, steps], 0 for padding.
      sources, targets: how many pieces each language has.
    """
    counts, source_counts, target_counts, texts = _count_pairs(pairs, sources, targets)
    expected = source_counts[:, None] * target_counts / max(texts, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(counts > 1, np.maximum(np.log(counts / expected), 0), 0).astype(np.float32)
    random = np.random.default_rng(seed)
    left, sizes, right = _decompose(information, units, random)
    # Turned at random, so that no unit holds more than others.
    turn = np.linalg.qr(random.normal(size=(units, units)))[0][: len(sizes)].astype(np.float32)
    return _normalize(left * np.sqrt(sizes) @ turn, random), _normalize(right * np.sqrt(sizes) @ turn, random)


def _count_pairs(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], sources: int, targets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """In how many pairs two pieces stand [sources, targets], and each [sources], [targets]; and how many pairs."""
    counts = np.zeros(sources * targets, np.float32)
    singles = [np.zeros(sources), np.zeros(targets)]
    held: list[np.ndarray] = []
    texts = size = 0

    def add() -> None:
        if held:
            keys, times = np.unique(np.concatenate(held), return_counts=True)
            counts[keys] += times
            held.clear()

    for source, target in pairs:
        for source_row, target_row in zip(source, target, strict=True):
            if texts == MOST:
                break
            texts += 1
            sides = [np.unique(ids[ids > 0]) for ids in (source_row, target_row)]
            for single, ids in zip(singles, sides, strict=True):
                single[ids] += 1
            keys = (sides[0].astype(np.int64)[:, None] * targets + sides[1]).ravel()
            held.append(keys)
            size += len(keys)
            if size >= CHUNK:
                add()
                size = 0
    add()
    return counts.reshape(sources, targets), singles[0], singles[1], texts


def _decompose(matrix: np.ndarray, rank: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The greatest singular values, with their left and right vectors as columns (Halko et al. 2011, algorithm 4.4)."""
    width = min(rank + OVERSAMPLING, *matrix.shape)
    basis = np.linalg.qr(matrix @ random.normal(size=(matrix.shape[1], width)).astype(np.float32))[0]
    for _ in range(ROUNDS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    left, sizes, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :rank], sizes[:rank], right[:rank].T


def _normalize(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows of length 1; random ones for those that are nothing."""
    nothing = np.linalg.norm(rows, axis=1) < 1e-3
    rows = np.where(nothing[:, None], random.normal(size=rows.shape), rows)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
