"""Labelled image files, looked at once and read in order; and a folder of them for each label."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.data.readers.columns import unusable
from common.data.readers.image_bytes import Unusable, broken, usable
from common.data.readers.reader import Reader
from common.data.readers.text_folders import UNLABELLED, listed, part_folders, sub_folders
from common.errors import DataError
from common.row_errors import Problems
from common.runtime.open_file import unreadable
from common.runtime.parallel import in_parallel
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


class Entry(NamedTuple):
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
class Images(Reader):
    """Labelled images in a fixed order.

    Args:
      summary: how they were found, for people.
      image: name of the field that holds them.
      entries: lists them anew.
      problems: is told of every image that cannot be used.
      good: locations of files that were decoded once and stay as they are.
      bad: by location, why others cannot be used; so no pass but the first one decodes a file for this.
    """

    summary: str
    image: str
    entries: Callable[[], Iterator[Entry]] = field(repr=False, compare=False)
    problems: Problems = field(repr=False, compare=False)
    good: set[str] = field(default_factory=set, repr=False, compare=False)
    bad: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def files(self) -> Iterator[tuple[str, Path]]:
        """(location, path) of every image that is a file of its own."""
        return ((entry.location, entry.file) for entry in self.entries() if isinstance(entry.file, Path))

    def rows(self) -> Iterator[tuple[str, Example]]:
        """(location, example) of every image that can be used, such as ("cats/1.jpg", {"image": b"...", ...}).

        Raises:
          DataError: a file or folder may not be read, or an image is broken and `problems` is strict.
        """
        for entries in in_parallel(self._check_entries, _group_entries(self.entries())):
            for entry, data, wrong in entries:
                if wrong:
                    self.problems.add(entry.location, wrong, _simplify_reason(wrong, entry))
                else:
                    yield entry.location, {self.image: data, **entry.cells}

    def _check_entries(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes, str]]:
        """Each entry, its image as bytes that can be used, and why there are none or ""."""
        checked: list[tuple[Entry, bytes, str]] = []
        unknown = []
        for entry in entries:
            data, wrong = b"", entry.wrong or self.bad.get(entry.location, "")
            if not wrong:
                try:
                    read = entry.file if isinstance(entry.file, bytes) else _read_content(entry.file)
                    data = read if entry.location in self.good else usable(read, verify=False)
                    if data is read and entry.location not in self.good:
                        unknown.append(len(checked))
                except Unusable as error:
                    wrong = self._refuse(entry, str(error))
            checked.append((entry, data, wrong))
        reasons = broken([checked[at][1] for at in unknown]) if unknown else []
        for at, reason in zip(unknown, reasons, strict=True):
            entry, data, _ = checked[at]
            checked[at] = entry, data, self._refuse(entry, reason) if reason else ""
            if not reason:
                self.good.add(entry.location)
        return checked

    def _refuse(self, entry: Entry, reason: str) -> str:
        """Why an entry cannot be used, from now on."""
        wrong = f"names {entry.named}, which {reason}" if entry.named else reason
        self.bad[entry.location] = wrong
        return wrong


def image_folders(path: Path, fields: Sequence[Field], strict: bool = False, name: str = "") -> dict[str, Images]:
    """Folders of labels by part: "train", "valid" and "test" if `path` has folders of such names, else "".

    A label's images may lie deeper in its folder.

    Args:
      name: of the folder, for people, if not its path.

    Raises:
      DataError: there are no sub-folders with files, two are the same part, or a folder may not be read.
    """
    name = name or str(path)
    parts, inside = part_folders(path), sub_folders(path)
    if len(inside) > len(parts) and not all(map(sub_folders, parts.values())):
        parts = {}  # trains, beside buses and cars
    readers = {}
    for part, folder in (parts or {"": path}).items():
        readers[part] = _open_folder(folder, path, f"{name}/{folder.name}" if part else name, fields, strict)
    return readers


def _open_folder(folder: Path, root: Path, name: str, fields: Sequence[Field], strict: bool) -> Images:
    """The images in the folders of labels of a part.

    Args:
      root: the folder that the user named.
      name: of `folder`, for people.
    """
    image, label = named(fields)
    subfolders = [path for path in sub_folders(folder) if path.name.casefold() not in IGNORED]
    labels = [path for path in subfolders if path.name.casefold() not in UNLABELLED]
    if not labels:
        remedy = "name another, or a table of paths and labels"
        raise DataError(f"{name} has no folder of images for each label: {remedy}.")
    if odd := next((path.name for path in labels if unusable(path.name)), None):
        raise DataError(f"{name} has a folder whose name is not valid utf-8, {odd!a}: rename it.")

    def entries() -> Iterator[Entry]:
        for label_folder in labels:
            for file in _walk_files(label_folder, frozenset([label_folder.resolve()])):
                location = str(file.relative_to(root)).encode("utf-8", "backslashreplace").decode()
                wrong = "is no image" if file.suffix.lower() in OTHERS else ""
                yield Entry(location, file, {label: label_folder.name} if label else {}, wrong=wrong)

    reader = Images(_describe_folder(folder, name, subfolders, labels), image, entries, Problems(strict))
    if not any(entries()):
        raise DataError(f"The folders in {name} hold no files: name another folder, or one of them.")
    return reader


def _describe_folder(folder: Path, name: str, subfolders: Sequence[Path], labels: Sequence[Path]) -> str:
    """How a folder was understood, for people: its labels, and what is left out."""
    loose = sum(path.suffix.lower() in SUFFIXES and not path.name.startswith(".") for path in listed(folder))
    first = ", ".join(path.name for path in labels[:5]) + (f" and {len(labels) - 5} more" if labels[5:] else "")
    note = f"{name}: a folder of images for each label: {first}"
    if without := ", ".join(path.name for path in subfolders if path not in labels):
        note += f"; {without} left out, as it has no label"
    if loose:
        note += f"; {loose:,} image{'s' if loose > 1 else ''} beside the folders left out, as they have no label"
    return note


def named(fields: Sequence[Field]) -> tuple[str, str]:
    """The names of the image and of the label, "" where examples hold none."""
    first = {field.kind: field.name for field in reversed(fields)}
    return first["image"], first.get("label", "")


def _group_entries(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Entries in lists that are worth a thread's while and hold few bytes."""
    gathered: list[Entry] = []
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
    for path in listed(folder):
        if path.name.startswith(".") or path.name.casefold() in IGNORED:
            continue
        if not path.is_dir():
            yield path
        elif (real := path.resolve()) not in above:
            yield from _walk_files(path, above | {real})


def _simplify_reason(wrong: str, entry: Entry) -> str:
    """Why an image cannot be used, without particulars.

    >>> _simplify_reason("names b.jpg, which is a broken JPEG file (cut off or damaged)", Entry("", b"", {}, "b.jpg"))
    'is a broken JPEG file'
    """
    wrong = wrong.removeprefix(f"names {entry.named}, which ") if entry.named else wrong
    return wrong.partition(" (")[0].partition(",")[0]


def _read_content(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Unusable("is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("is a pipe or device")
        if status.st_size > MOST_BYTES:
            raise Unusable(f"is too large, for it holds over {MOST_BYTES:,} bytes")
        return path.read_bytes()
    except PermissionError:
        raise unreadable(path) from None
    except OSError as error:
        if error.errno in NOWHERE:
            raise Unusable("is not there") from None
        raise DataError(f"{path} cannot be read ({error.strerror or error}): name another file.") from None
