"""The formats of files of examples: how each is recognized, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.data.readers.columns import are_texts, is_paired
from common.data.readers.conll import conll
from common.data.readers.csv_files import table
from common.data.readers.gettext import catalogue, is_catalogue
from common.data.readers.jsonl import is_json_lines, json_lines
from common.data.readers.label_studio import annotated, is_export, tagged_annotations
from common.data.readers.parquet import MAGIC, parquet, tagged_parquet
from common.data.readers.reader import Reader
from common.data.readers.tagged import tagged_json_lines
from common.data.readers.tmx import is_memory, memory
from common.errors import ConfigError, DataError, suggestion
from common.row_errors import Problems
from common.runtime import open_file as files
from common.types import Field

HEAD = 4096  # bytes by which a file's kind is known


def columns(given: Sequence[str], fields: Sequence[Field]) -> dict[str, str]:
    """The `--column FIELD=COLUMN` values by field.

    Raises:
      ConfigError: a value without "=" or of a field that there is not.
    """
    names, by_field = [field.name for field in fields], {}
    for value in given:
        name, equals, column = value.partition("=")
        if not equals or not column:
            raise ConfigError(f'--column is "{value}", but must be FIELD=COLUMN, such as {names[0]}=body.')
        if name not in names:
            raise ConfigError(
                f'--column names the field "{name}", but there are only: {", ".join(names)}.{suggestion(name, names)}'
            )
        by_field[name] = column
    return by_field


@dataclass(frozen=True)
class FileRequest:
    """A file of examples, and how the user wants it to be read.

    Args:
      columns: by field, where the user said so.
      label_names: new names of tags by old ones; other labels are renamed elsewhere.
      problems: is told of broken rows when the file is read.
      head: its first bytes.
    """

    path: Path
    fields: tuple[Field, ...]
    columns: Mapping[str, str]
    encoding: str | None
    label_names: Mapping[str, str]
    problems: Problems
    head: bytes

    @cached_property
    def sample(self) -> tuple[str, str]:
        """(encoding, beginning) of a text file.

        Raises:
          ConfigError, DataError: it is none, or not in the encoding that the user gave.
        """
        return files.sample(self.path, self.encoding)

    def is_packed(self) -> bool:
        """Whether it is a Parquet file.

        Raises:
          DataError: only its name says so.
        """
        if not self.head.startswith(MAGIC) and files.suffix(self.path) == ".parquet":
            raise DataError(
                f"{self.path} is no Parquet file, for it does not begin with PAR1: copy or download it again."
            )
        return self.head.startswith(MAGIC)

    def is_json(self) -> bool:
        """Whether it holds JSON, as lines or as an array."""
        return is_json_lines(self.path, self.sample[1])

    def is_annotated(self) -> bool:
        """Whether it holds what an annotation tool exported."""
        return self.is_json() and not are_texts(self.fields) and is_export(self.path, self.sample[0])


FileFormats = Sequence[tuple[Callable[[FileRequest], bool], Callable[[FileRequest], Reader]]]

# Whether a file has a format, and what reads it; the first that fits counts.
TABLE_FORMATS: FileFormats = (
    (
        lambda file: is_paired(file.fields) and is_memory(file.path, file.head),
        lambda file: memory(file.path, file.fields, file.columns, file.problems),
    ),
    (
        lambda file: is_paired(file.fields) and is_catalogue(file.path, file.head),
        lambda file: catalogue(file.path, file.fields, file.encoding, file.problems),
    ),
    (FileRequest.is_packed, lambda file: parquet(file.path, file.fields, file.columns, file.problems)),
    (
        FileRequest.is_annotated,
        lambda file: annotated(file.path, file.fields, file.columns, file.encoding, file.problems),
    ),
    (FileRequest.is_json, lambda file: json_lines(file.path, file.fields, file.columns, file.encoding, file.problems)),
    (lambda file: True, lambda file: table(file.path, file.fields, file.columns, file.encoding, file.problems)),
)
TAGGED_FORMATS: FileFormats = (
    (
        FileRequest.is_packed,
        lambda file: tagged_parquet(file.path, file.fields, file.columns, file.label_names, file.problems),
    ),
    (
        FileRequest.is_annotated,
        lambda file: tagged_annotations(
            file.path, file.fields, file.columns, file.encoding, file.label_names, file.problems
        ),
    ),
    (
        FileRequest.is_json,
        lambda file: tagged_json_lines(
            file.path, file.fields, file.columns, file.encoding, file.label_names, file.problems
        ),
    ),
    (
        lambda file: True,
        lambda file: conll(file.path, file.fields, file.columns, file.encoding, file.label_names, file.problems),
    ),
)


def open_table_file(
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    problems: Problems,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """Open a file of texts and labels by what it holds: Parquet by its first bytes, JSON by suffix or first line.

    All else is a table. Where the fields are two texts, the file may be a gettext catalogue or TMX, which hold them in
    the fields' order. JSON is lines or an array, of rows or of annotated tasks.

    Args:
      column: FIELD=COLUMN values.
      problems: is told of broken rows when the file is read.
      names: new names of tags by old ones; labels are renamed elsewhere.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or of no known kind.
    """
    return _open_file(TABLE_FORMATS, path, fields, column, encoding, problems, names)


def open_tagged_file(
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    problems: Problems,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """As `open_table_file`, of sentences whose tokens have tags; what is neither Parquet nor JSON is a CoNLL file."""
    return _open_file(TAGGED_FORMATS, path, fields, column, encoding, problems, names)


def _open_file(
    formats: FileFormats,
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    problems: Problems,
    names: Mapping[str, str] | None,
) -> Reader:
    by_field = columns(column, fields)
    with files.opened(path) as file:
        head = file.read(HEAD)
    request = FileRequest(path, tuple(fields), by_field, encoding, names or {}, problems, head)
    return next(open_file(request) for has_format, open_file in formats if has_format(request))
