"""Inputs of the kind that break models, by the kind of input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from common.data.readers.image_bytes import encode_png

TEXTS: tuple[str | bytes, ...] = (
    "",
    " ",
    "\n",
    "zxqv wvutsrq",
    "ümläut ß",
    "😀👩‍👩‍👧🇩🇪 ❤️",
    "word " * 2_000,
    "x" * 10_000,
    "漢字かな。",
    "a\x00b",
    b"caf\xe9 \xff\xfe",
)
SHAPES = ((1, 1), (1, 5000), (5000, 1), (3, 2), (97, 211))  # height and width of images


@functools.cache
def image_files() -> list[bytes]:
    """Return PNG and JPEG files of very small, long and high images, in grey and in color."""
    random = np.random.default_rng(0)
    grey = [random.integers(0, 256, shape, np.uint8) for shape in SHAPES]
    color = [random.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]
    files = [encode_png(image) for image in [*grey, *color]]
    for image in (grey[-1][..., None], color[-1]):
        files.append(tf.io.encode_jpeg(tf.constant(image)).numpy())
    return files


def _token_lists() -> list[object]:
    return [[""], ["a", "", "b"], *([text] for text in TEXTS), ["word"] * 1_300]


def _note_events() -> list[object]:
    notes: list[list[list[int]]] = [[], [[0, 1, 0]], [[3, 2, 127], [3, 1, 127]]]
    return [np.array(rows, np.int32).reshape(-1, 3) for rows in notes]


MAKERS: Mapping[str, Callable[[], list[object]]] = {  # by the kind of an input
    "text": lambda: list(TEXTS),
    "image": lambda: list(image_files()),
    "tokens": _token_lists,
    "events": _note_events,
    "number": lambda: [0, 1],
}


def values(kind: str) -> list[object]:
    """Return edge cases of an input.

    Args:
      kind: of the field, see `common.types.Field`.

    >>> values("tokens")[:2], len(values("number"))
    ([[''], ['a', '', 'b']], 2)
    """
    return MAKERS[kind]()
