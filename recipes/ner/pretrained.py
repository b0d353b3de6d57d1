"""Pretrained word vectors beside the learned ones: which words they add, and the rows of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.data.readers import word_vectors
from common.runtime.open_file import located

from .features import normal

Found = dict[str, np.ndarray]  # vectors by normal form


def _spellings(word: str) -> tuple[str, ...]:
    """How a file may write a word whose normal form this is; the first one found is taken."""
    return word, word.capitalize(), word.upper()


def read(path: str, words: Sequence[str], more: int) -> tuple[Found, int]:
    """Vectors by normal form, those of `words` and of the first `more` rows of the file; and their size.

    Raises:
      DataError: the file is none of word vectors, or damaged.
    """
    wanted = {spelling for word in words for spelling in _spellings(word)}
    file = word_vectors.read(Path(located(path)), wanted, more)
    rows = {word: row for row, word in enumerate(file.words)}
    found: Found = {}
    for word in words:
        spelt = next((one for one in _spellings(word) if one in rows), None)
        if spelt is not None:
            found[word] = file.matrix[rows[spelt]]
    first = file.words[:more]
    if first:
        forms = normal(tf.constant(first)).numpy().tolist()
        for form, spelt in zip(forms, first, strict=True):
            found.setdefault(form.decode("utf-8"), file.matrix[rows[spelt]])
    return found, file.dim


def matrix(found: Found, words: Sequence[str], dim: int, before: int, after: int) -> np.ndarray:
    """The rows of an embedding, float32 [before + words + after, dim], 0 where there is no vector; unit mean length.

    Args:
      before, after: ids that stand for no word.
    """
    rows = np.zeros((before + len(words) + after, dim), np.float32)
    for number, word in enumerate(words):
        if word in found:
            rows[before + number] = found[word]
    lengths = np.linalg.norm(rows, axis=1)
    return rows / max(float(lengths[lengths > 0].mean()) if lengths.any() else 1.0, 1e-6)
