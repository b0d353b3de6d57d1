"""A folder for each label, with a text file for each example, as the archive of IMDb reviews unpacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.data.readers.columns import text_error, yield_if_valid
from common.data.readers.reader import Reader
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import (
    COMPRESSIONS,
    detect_encoding,
    is_binary,
    open_compressed,
    permission_error,
    suffix,
    text_damage,
)
from common.types import Example, Field

PARTS = {"train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid"}
PARTS |= {"dev": "valid", "test": "test", "testing": "test"}
UNLABELLED = ("unsup", "unlabeled", "unlabelled", "unsupervised")  # folders of texts without a label
SUFFIXES = (".txt", ".text", "")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True)
class LabelFolderReader(Reader):
    """A folder whose sub-folders are labels.

    Args:
      labels: the names of the sub-folders, sorted.
      left_out: sub-folders of texts without a label.
      row_errors: is told of every file that cannot be used.
    """

    path: Path
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    encoding: str | None
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        listed = ", ".join(self.labels[:5]) + (f" and {len(self.labels) - 5} more" if len(self.labels) > 5 else "")
        without = f"; {', '.join(self.left_out)} left out, as it has no label" if self.left_out else ""
        return f"{self.path}: a folder of text files for each label: {listed}{without}"

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield (label, file) of every text file, sorted by label and name; hidden files are passed over."""
        for label in self.labels:
            for path in list_folder(self.path / label):
                if path.is_file() and not path.name.startswith("."):
                    yield label, path

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sound file, such as ("pos/1.txt", {"text": "fine", "label": "pos"}).

        Line ends at the end of a text are no part of it.

        Raises:
          DataError: a file or folder cannot be read, or a file is broken and `row_errors` is strict.
        """
        text, target = (next(field.name for field in self.fields if field.kind == kind) for kind in ("text", "label"))
        for label, path in self.files():
            location = f"{label}/{path.name}".encode("utf-8", "backslashreplace").decode()  # a name may be any bytes
            if suffix(path) not in SUFFIXES and not _is_number(suffix(path)):
                self.row_errors.add(location, f"is no text file (its name ends in {suffix(path)}, not .txt)")
                continue
            with open_compressed(path) as file:
                data = file.read()
            encoding, content = detect_encoding(data, True, self.encoding)
            wrong = "is binary data, not text" if is_binary(content, encoding) else text_damage(content, encoding)
            cells = {text: content.lstrip("\ufeff").rstrip("\r\n"), target: label}
            yield from yield_if_valid(location, cells, wrong, self.fields, self.row_errors)


def open_label_folders(
    path: Path, fields: tuple[Field, ...], encoding: str | None, strict: bool = False
) -> dict[str, LabelFolderReader]:
    """Open folders of labels by part: "train", "valid" and "test" if `path` has folders of such names, else "".

    Raises:
      ConfigError: an example holds other things than a text and a label.
      DataError: there are no sub-folders with files, two are the same part, or a folder cannot be read.
    """
    if sorted(field.kind for field in fields) != ["label", "text"]:
        raise ConfigError(f"{path} is a folder, where a file is wanted: name a file in it.")
    readers = {}
    for part, folder in (find_split_folders(path) or {"": path}).items():
        names = [subfolder.name for subfolder in list_subfolders(folder)]
        labels = tuple(name for name in names if name.casefold() not in UNLABELLED)
        left_out = tuple(name for name in names if name.casefold() in UNLABELLED)
        if not labels:
            tables = next((file for file in list_folder(folder) if suffix(file) in TABLES), None)
            remedy = f"name its files, such as '{folder}/*{_get_suffixes(tables)}'" if tables else "name another"
            raise DataError(f"{folder} has no folder of text files for each label: {remedy}.")
        if odd := next((name for name in labels if text_error(name)), None):
            raise DataError(f"{folder} has a folder whose name is not valid utf-8, {odd!a}: rename it.")
        readers[part] = LabelFolderReader(folder, labels, left_out, encoding, tuple(fields), RowErrors(strict))
        if not any(readers[part].files()):
            raise DataError(f"The folders in {folder} hold no files: name another folder, or one of them.")
    return readers


def find_split_folders(path: Path) -> dict[str, Path]:
    """Return the folders "train", "valid" and "test" of a folder, by whichever of their usual names.

    Raises:
      DataError: two are the same part.
    """
    parts: dict[str, Path] = {}
    for folder in list_subfolders(path):
        part = PARTS.get(folder.name.casefold(), "")
        if part in parts:
            pair = f"{parts[part].name} and {folder.name}"
            raise DataError(f"{path} has two folders of its {part} part, {pair}: move one of them out.")
        if part:
            parts[part] = folder
    return parts


def list_subfolders(path: Path) -> list[Path]:
    """Return folders in a folder, sorted by name, without hidden ones."""
    return [folder for folder in list_folder(path) if folder.is_dir() and not folder.name.startswith(".")]


def _get_suffixes(path: Path) -> str:
    """The suffixes of a table, as they are written: ".csv.gz" of "a.2019.csv.gz"."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() in COMPRESSIONS else path.suffixes[-1:])


def _is_number(suffix: str) -> bool:
    return suffix[1:].isdecimal()  # the files of 20 Newsgroups are named 10.5 and the like by some


def list_folder(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted by name.

    Raises:
      DataError: it is no folder, does not exist or may not be read.
    """
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except PermissionError:
        raise permission_error(folder) from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file, where a folder for each label is wanted: name another.") from None
    except FileNotFoundError:
        raise DataError(f"{folder} does not exist: check the path, or name another.") from None
