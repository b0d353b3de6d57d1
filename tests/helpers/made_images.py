"""Pictures made by hand, for tests of what reads them."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def pixels(height: int = 9, width: int = 7, seed: int = 0) -> np.ndarray:
    """Random colour, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(
    kind: str = "PNG", mode: str = "RGB", seed: int = 0, size: tuple[int, int] = (9, 7), **settings: Any
) -> bytes:
    """A file of some kind and mode; `size` is height and width."""
    return written(Image.fromarray(pixels(*size, seed)).convert(mode), kind, **settings)


def written(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def held(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by the letter of its specification.

    Args:
      colour: 0 for grey, 2 for colour.
      rows: each begins with its filter, 0.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def idx(array: npt.ArrayLike) -> bytes:
    """An IDX file of bytes."""
    array = np.asarray(array, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def made(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes files by their path in a folder; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
