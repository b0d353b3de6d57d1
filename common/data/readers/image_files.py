"""Labelled image files, looked at once and read in order; and a folder of them for each label."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.data.readers.columns import text_error
from common.data.readers.image_bytes import InvalidImage, find_decode_errors, to_tf_decodable
from common.data.readers.reader import Reader
from common.data.readers.text_folders import UNLABELLED, find_split_folders, list_folder, list_subfolders
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import permission_error
from common.runtime.parallel import parallel_map
from common.types import Example, Field

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave beside pictures; hidden files too
# Files that are plainly something else and may be large; all others are known by their first bytes.
TEXTS = (".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".py")
ARRAYS = (".npy", ".npz", ".mat", ".h5", ".pkl", ".parquet", ".zip", ".gz", ".xz", ".tar", ".tgz", ".mp4", ".mov")
OTHERS = (*TEXTS, *ARRAYS)
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm")
MOST_BYTES = 2**30  # of a file; no image within our bound of pixels comes near it
TOGETHER, TOGETHER_BYTES = 64, 2**23  # files that are looked at in one go
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class ImageEntry(NamedTuple):
    """An image that is listed somewhere and was not looked at yet.

    Args:
      location: for people, and no two are the same.
      file: where it stands, or its content.
      cells: the other fields.
      named: as what a table names it, or "".
      wrong: why it cannot be used, or "".
    """

    location: str
    file: Path | bytes
    cells: Mapping[str, str]
    named: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class ImageReader(Reader):
    """Labelled images in a fixed order.

    Args:
      summary: how they were found, for people.
      image: name of the field that holds them.
      entries: lists them anew.
      row_errors: is told of every image that cannot be used.
      valid: locations of files that were decoded once and stay as they are.
      invalid: by location, why others cannot be used; so no pass but the first one decodes a file for this.
    """

    summary: str
    image: str
    entries: Callable[[], Iterator[ImageEntry]] = field(repr=False, compare=False)
    row_errors: RowErrors = field(repr=False, compare=False)
    valid: set[str] = field(default_factory=set, repr=False, compare=False)
    invalid: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield (location, path) of every image that is a file of its own."""
        return ((entry.location, entry.file) for entry in self.entries() if isinstance(entry.file, Path))

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every image that can be used, such as ("cats/1.jpg", {"image": b"...", ...}).

        Raises:
          DataError: a file or folder may not be read, or an image is broken and `row_errors` is strict.
        """
        for entries in parallel_map(self._check_entries, _group_entries(self.entries())):
            for entry, data, wrong in entries:
                if wrong:
                    self.row_errors.add(entry.location, wrong, _simplify_reason(wrong, entry))
                else:
                    yield entry.location, {self.image: data, **entry.cells}

    def _check_entries(self, entries: Sequence[ImageEntry]) -> list[tuple[ImageEntry, bytes, str]]:
        """Each entry, its image as bytes that can be used, and why there are none or ""."""
        checked: list[tuple[ImageEntry, bytes, str]] = []
        unknown = []
        for entry in entries:
            data, wrong = b"", entry.wrong or self.invalid.get(entry.location, "")
            if not wrong:
                try:
                    read = entry.file if isinstance(entry.file, bytes) else _read_content(entry.file)
                    data = read if entry.location in self.valid else to_tf_decodable(read, verify=False)
                    if data is read and entry.location not in self.valid:
                        unknown.append(len(checked))
                except InvalidImage as error:
                    wrong = self._refuse(entry, str(error))
            checked.append((entry, data, wrong))
        reasons = find_decode_errors([checked[at][1] for at in unknown]) if unknown else []
        for at, reason in zip(unknown, reasons, strict=True):
            entry, data, _ = checked[at]
            checked[at] = entry, data, self._refuse(entry, reason) if reason else ""
            if not reason:
                self.valid.add(entry.location)
        return checked

    def _refuse(self, entry: ImageEntry, reason: str) -> str:
        """Why an entry cannot be used, from now on."""
        wrong = f"names {entry.named}, which {reason}" if entry.named else reason
        self.invalid[entry.location] = wrong
        return wrong


def open_image_folders(
    path: Path, fields: Sequence[Field], strict: bool = False, name: str = ""
) -> dict[str, ImageReader]:
    """Open folders of labels by part: "train", "valid" and "test" if `path` has folders of such names, else "".

    A label's images may lie deeper in its folder.

    Args:
      name: of the folder, for people, if not its path.

    Raises:
      DataError: there are no sub-folders with files, two are the same part, or a folder may not be read.
    """
    name = name or str(path)
    parts, inside = find_split_folders(path), list_subfolders(path)
    if len(inside) > len(parts) and not all(map(list_subfolders, parts.values())):
        parts = {}  # trains, beside buses and cars
    readers = {}
    for part, folder in (parts or {"": path}).items():
        readers[part] = _open_folder(folder, path, f"{name}/{folder.name}" if part else name, fields, strict)
    return readers


def _open_folder(folder: Path, root: Path, name: str, fields: Sequence[Field], strict: bool) -> ImageReader:
    """The images in the folders of labels of a part.

    Args:
      root: the folder that the user named.
      name: of `folder`, for people.
    """
    image, label = image_field_names(fields)
    subfolders = [path for path in list_subfolders(folder) if path.name.casefold() not in IGNORED]
    labels = [path for path in subfolders if path.name.casefold() not in UNLABELLED]
    if not labels:
        remedy = "name another, or a table of paths and labels"
        raise DataError(f"{name} has no folder of images for each label: {remedy}.")
    if odd := next((path.name for path in labels if text_error(path.name)), None):
        raise DataError(f"{name} has a folder whose name is not valid utf-8, {odd!a}: rename it.")

    def entries() -> Iterator[ImageEntry]:
        for label_folder in labels:
            for file in _walk_files(label_folder, frozenset([label_folder.resolve()])):
                location = str(file.relative_to(root)).encode("utf-8", "backslashreplace").decode()
                wrong = "is no image" if file.suffix.lower() in OTHERS else ""
                yield ImageEntry(location, file, {label: label_folder.name} if label else {}, wrong=wrong)

    reader = ImageReader(_describe_folder(folder, name, subfolders, labels), image, entries, RowErrors(strict))
    if not any(entries()):
        raise DataError(f"The folders in {name} hold no files: name another folder, or one of them.")
    return reader


def _describe_folder(folder: Path, name: str, subfolders: Sequence[Path], labels: Sequence[Path]) -> str:
    """How a folder was understood, for people: its labels, and what is left out."""
    loose = sum(path.suffix.lower() in SUFFIXES and not path.name.startswith(".") for path in list_folder(folder))
    first = ", ".join(path.name for path in labels[:5]) + (f" and {len(labels) - 5} more" if labels[5:] else "")
    note = f"{name}: a folder of images for each label: {first}"
    if without := ", ".join(path.name for path in subfolders if path not in labels):
        note += f"; {without} left out, as it has no label"
    if loose:
        note += f"; {loose:,} image{'s' if loose > 1 else ''} beside the folders left out, as they have no label"
    return note


def image_field_names(fields: Sequence[Field]) -> tuple[str, str]:
    """Return the names of the image and of the label, "" where examples hold none."""
    first = {field.kind: field.name for field in reversed(fields)}
    return first["image"], first.get("label", "")


def _group_entries(entries: Iterator[ImageEntry]) -> Iterator[list[ImageEntry]]:
    """Entries in lists that are worth a thread's while and hold few bytes."""
    gathered: list[ImageEntry] = []
    size = 0
    for entry in entries:
        gathered.append(entry)
        size += len(entry.file) if isinstance(entry.file, bytes) else _get_size(entry.file)
        if len(gathered) == TOGETHER or size > TOGETHER_BYTES:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # said where it is read
        return 0


def _walk_files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Files at any depth, sorted by path.

    Args:
      above: the folders that lead here, for a link may lead back to one.
    """
    for path in list_folder(folder):
        if path.name.startswith(".") or path.name.casefold() in IGNORED:
            continue
        if not path.is_dir():
            yield path
        elif (real := path.resolve()) not in above:
            yield from _walk_files(path, above | {real})


def _simplify_reason(wrong: str, entry: ImageEntry) -> str:
    """Why an image cannot be used, without particulars.

    >>> entry = ImageEntry("", b"", {}, "b.jpg")
    >>> _simplify_reason("names b.jpg, which is a broken JPEG file (cut off or damaged)", entry)
    'is a broken JPEG file'
    """
    wrong = wrong.removeprefix(f"names {entry.named}, which ") if entry.named else wrong
    return wrong.partition(" (")[0].partition(",")[0]


def _read_content(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InvalidImage("is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidImage("is a pipe or device")
        if status.st_size > MOST_BYTES:
            raise InvalidImage(f"is too large, for it holds over {MOST_BYTES:,} bytes")
        return path.read_bytes()
    except PermissionError:
        raise permission_error(path) from None
    except OSError as error:
        if error.errno in NOWHERE:
            raise InvalidImage("is not there") from None
        raise DataError(f"{path} cannot be read ({error.strerror or error}): name another file.") from None
