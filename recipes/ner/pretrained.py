"""Pretrained word vectors beside the learned ones: which words they add, and the rows of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.data.readers.word_vectors import load_word_vectors
from common.errors import DataError
from common.runtime.open_file import expand_path

from .config import Config
from .features import normalize_words

VectorsByForm = dict[str, np.ndarray]  # vectors by normal form


def _spellings(word: str) -> tuple[str, ...]:
    """Return how a file may write a word whose normal form this is; the first one found is taken."""
    return word, word.capitalize(), word.upper()


def load_vectors(path: str, words: Sequence[str], num_more: int) -> tuple[VectorsByForm, int]:
    """Return vectors by normal form, those of `words` and of the first `num_more` rows of the file; and their size.

    Raises:
      DataError: the file is none of word vectors, or damaged.
    """
    wanted = {spelling for word in words for spelling in _spellings(word)}
    file = load_word_vectors(Path(expand_path(path)), wanted, num_more)
    rows = {word: row for row, word in enumerate(file.words)}
    vectors: VectorsByForm = {}
    for word in words:
        spelt = next((spelling for spelling in _spellings(word) if spelling in rows), None)
        if spelt is not None:
            vectors[word] = file.matrix[rows[spelt]]
    first = file.words[:num_more]
    if first:
        forms = normalize_words(tf.constant(first)).numpy().tolist()
        for form, spelt in zip(forms, first, strict=True):
            vectors.setdefault(form.decode("utf-8"), file.matrix[rows[spelt]])
    return vectors, file.dim


def extend_words(config: Config, words: list[str], name: str) -> tuple[list[str], int]:
    """Return words with those that `--pretrained-vectors` adds, and the size of its vectors, 0 without any.

    Args:
      name: of the data that the words are of, for people.

    Raises:
      DataError: the file is none of word vectors, or has no vector of any word.
    """
    if not config.pretrained_vectors:
        return words, 0
    vectors, dim = load_vectors(config.pretrained_vectors, words, config.pretrained_vocabulary_size)
    if not vectors:
        raise DataError(f"{config.pretrained_vectors} has no vector of any word of {name}: name another file.")
    return [*words, *sorted(set(vectors) - set(words))], dim


def embedding_matrix(vectors: VectorsByForm, words: Sequence[str], dim: int, before: int, after: int) -> np.ndarray:
    """Return the rows of an embedding, float32 [before + words + after, dim], of unit mean length; 0 without a vector.

    Args:
      before, after: ids that stand for no word.
    """
    rows = np.zeros((before + len(words) + after, dim), np.float32)
    for number, word in enumerate(words):
        if word in vectors:
            rows[before + number] = vectors[word]
    lengths = np.linalg.norm(rows, axis=1)
    return rows / max(float(lengths[lengths > 0].mean()) if lengths.any() else 1.0, 1e-6)
