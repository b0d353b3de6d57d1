"""Images and labels in the IDX files of MNIST (yann.lecun.com/exdb/mnist), plain or compressed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from common.data.readers.image_bytes import encode_png, size_error
from common.data.readers.image_files import image_field_names
from common.data.readers.reader import Reader
from common.data.readers.text_folders import PARTS, list_folder
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_compressed
from common.types import Example, Field

IMAGES, LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"  # bytes in three dimensions and in one
MAGICS = (IMAGES, LABELS)
NAME = re.compile(r"(?P<before>.*?)images(?P<between>[-_.]?)idx3(?P<after>[-_.]?ubyte(\.gz|\.xz|\.bz2|\.zst)?)", re.I)
PART = re.compile(r"(?:^|[-_.])(train|t10k|test|valid|validation|val)[-_.]", re.I)
REMEDY = "copy or download both again"


@dataclass(frozen=True)
class IdxReader(Reader):
    """A file of images and one of their labels, "0" to "255".

    Args:
      count: of images, as of labels.
      shape: height and width of each.
    """

    images: Path
    labels: Path
    count: int
    shape: tuple[int, int]
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        height, width = self.shape
        return f"{self.images.name}, {self.labels.name}: {self.count:,} IDX images of {width} x {height}"

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield (name, path) of both."""
        return ((path.name, path) for path in (self.images, self.labels))

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every image, as PNG, such as ("train-images-idx3-ubyte:1", {"image": ..., ...}).

        Raises:
          DataError: a file holds less or more than its head says.
        """
        image, label = image_field_names(self.fields)
        number, size = 0, self.shape[0] * self.shape[1]
        pairs = zip_longest(_read_records(self.images, 16, size), _read_records(self.labels, 8, 1), fillvalue=b"")
        for number, (pixels, code) in enumerate(pairs, 1):
            if number > self.count:
                raise self._length_error(self.images if pixels else self.labels, "more")
            if len(pixels) < size or not code:
                raise self._length_error(self.images if len(pixels) < size else self.labels, "less")
            data = encode_png(np.frombuffer(pixels, np.uint8).reshape(self.shape))
            yield f"{self.images.name}:{number}", {image: data} | ({label: str(code[0])} if label else {})
        if number < self.count:
            raise self._length_error(self.images, "less")

    def _length_error(self, path: Path, how: str) -> DataError:
        partner = self.labels if path == self.images else self.images
        promised = f"holds {how} than the {self.count:,} that its head and that of {partner.name} say"
        return DataError(f"{path} {promised}: {REMEDY}.")


def open_idx(paths: Sequence[Path], fields: Sequence[Field], row_errors: RowErrors) -> IdxReader:
    """Open a file of images and one of labels, in either order; or the images alone, if the labels lie beside them.

    Raises:
      DataError: a file is missing, damaged, of another kind, or their counts differ.
    """
    if len(paths) == 1:
        beside = find_label_file(paths[0])
        if not beside.is_file():
            raise DataError(
                f"{paths[0]} needs a file of labels beside it, {beside.name}: give both, joined by a comma."
            )
        paths = [paths[0], beside]
    if len(paths) != 2:
        raise DataError(f"{len(paths)} files are joined by commas, where IDX files come in pairs, images and labels.")
    heads = [_read_head(path) for path in paths]
    kinds = [head[:4] for head in heads]
    if sorted(kinds) != sorted(MAGICS):
        said = " and ".join(f"{path} {_describe_magic(magic)}" for path, magic in zip(paths, kinds, strict=True))
        raise DataError(f"{said}: give an IDX file of images and one of labels.")
    first = kinds.index(IMAGES)
    images, labels = paths[first], paths[1 - first]
    count, height, width = (int.from_bytes(heads[first][at : at + 4], "big") for at in (4, 8, 12))
    others = int.from_bytes(heads[1 - first][4:8], "big")
    if count != others:
        raise DataError(f"{images} holds {count:,} images, but {labels} {others:,} labels: {REMEDY}.")
    if not height * width * count or size_error(width, height):
        raise DataError(f"{images} with {labels} holds {count:,} images of {width:,} x {height:,} pixels: {REMEDY}.")
    return IdxReader(images, labels, count, (height, width), tuple(fields), row_errors)


def open_idx_folder(folder: Path, fields: Sequence[Field], strict: bool) -> dict[str, IdxReader]:
    """Open pairs of IDX files in a folder by part, "" for one of no known name; nothing if there are none.

    Raises:
      DataError: as `open_idx`, or two pairs are the same part.
    """
    readers: dict[str, IdxReader] = {}
    for path in list_folder(folder):
        if not NAME.fullmatch(path.name) or path.name.startswith(".") or not path.is_file():
            continue
        word = PART.search(path.name)
        part = "test" if word and word[1].lower() == "t10k" else PARTS[word[1].lower()] if word else ""
        if part in readers:
            pair = f"{readers[part].images.name} and {path.name}"
            raise DataError(f"{folder} has two IDX files of one part, {pair}: name one, or move it out.")
        readers[part] = open_idx([path], fields, RowErrors(strict))
    if "" in readers and len(readers) > 1:
        raise DataError(f"{folder} has IDX files of named parts and {readers[''].images.name}: move that out.")
    return readers


def is_idx(head: bytes) -> bool:
    """Return whether a file of images or of labels begins so."""
    return head[:4] in MAGICS


def find_label_file(images: Path) -> Path:
    """Return where the labels of a file of images are by custom, packed or not.

    >>> find_label_file(Path("train-images-idx3-ubyte.gz")).name
    'train-labels-idx1-ubyte.gz'
    """
    match = NAME.fullmatch(images.name)
    name = f"{match['before']}labels{match['between']}idx1{match['after']}" if match else f"{images.name}-labels"
    packed = images.with_name(name)
    plain = packed.with_name(re.sub(r"\.(gz|xz|bz2|zst)$", "", name))
    return plain if plain.is_file() and not packed.is_file() else packed


def _read_records(path: Path, head: int, size: int) -> Iterator[bytes]:
    """What follows a file's head, in pieces; opened here, so that what is wrong with it names it and not the other."""
    with open_compressed(path) as file:
        file.read(head)
        yield from iter(partial(file.read, size), b"")


def _read_head(path: Path) -> bytes:
    with open_compressed(path) as file:
        head = file.read(16)
    return bytes(head).ljust(16, b"\0") if head[:4] in MAGICS and len(head) >= 8 else bytes(head[:4])


def _describe_magic(magic: bytes) -> str:
    names = {IMAGES: "holds images", LABELS: "holds labels"}
    return names.get(magic) or (f"is no IDX file (it begins with {magic.hex()})" if magic else "is empty")
