"""First vectors of pieces out of what stands together in pairs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text import cooccurrence


def dictionary(count, words, seed=0):
    """Sentences of some words each, and the same with word 3 + n in the place of 3 + (n * 7 + 2) % words."""
    random = np.random.default_rng(seed)
    source = np.stack([random.permutation(words)[:4] for _ in range(count)])
    target = (source * 7 + 2) % words
    return [(np.pad(source + 3, [(0, 0), (0, 2)]), random.permuted(target, axis=1) + 3)]


def test_words_are_nearest_to_their_translations():
    words = 30
    source, target = cooccurrence.init_embeddings_from_cooccurrence(
        dictionary(400, words), words + 3, words + 3, 16, seed=1
    )
    assert source.shape == target.shape == (33, 16)
    assert source.dtype == target.dtype == np.float32
    alike = source[3:] @ target[3:].T
    assert (alike.argmax(axis=1) == (np.arange(words) * 7 + 2) % words).mean() > 0.9


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 20), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_vectors_have_length_one_whatever_is_known(sources, targets, units, rows):
    random = np.random.default_rng(rows)
    pairs = [(random.integers(0, sources, (rows, 3)), random.integers(0, targets, (rows, 2)))]
    found = cooccurrence.init_embeddings_from_cooccurrence(pairs, sources, targets, units, seed=2)
    for one, count in zip(found, (sources, targets), strict=True):
        assert one.shape == (count, units)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=1e-5)
    again = cooccurrence.init_embeddings_from_cooccurrence(pairs, sources, targets, units, seed=2)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_counts_are_those_of_texts_not_of_repetitions(monkeypatch):
    monkeypatch.setattr(cooccurrence, "CHUNK", 3)  # several chunks
    pairs = [(np.array([[1, 1, 2], [2, 0, 0]]), np.array([[1, 1], [1, 2]]))]
    counts, sources, targets, texts = cooccurrence._count_pairs(pairs, 3, 3)
    assert counts.tolist() == [[0, 0, 0], [0, 1, 0], [0, 2, 1]]
    assert (sources.tolist(), targets.tolist(), texts) == ([0, 1, 2], [0, 2, 1], 2)


def test_decomposition_is_numpys_on_a_matrix_of_low_rank():
    random = np.random.default_rng(0)
    matrix = (random.normal(size=(40, 5)) @ random.normal(size=(5, 30))).astype(np.float32)
    left, sizes, right = cooccurrence._decompose(matrix, 5, random)
    np.testing.assert_allclose(left * sizes @ right.T, matrix, atol=1e-4)
    np.testing.assert_allclose(sizes, np.linalg.svd(matrix, compute_uv=False)[:5], rtol=1e-4)
