"""The formats of files of examples: how each is recognized, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.data.readers.columns import all_text_fields, is_text_pair
from common.data.readers.conll import open_conll
from common.data.readers.csv_files import open_csv
from common.data.readers.gettext import is_gettext, open_gettext
from common.data.readers.jsonl import is_json_lines, open_json_lines
from common.data.readers.label_studio import is_label_studio_export, open_labeled_tasks, open_span_tasks
from common.data.readers.parquet import MAGIC, open_parquet, open_tagged_parquet
from common.data.readers.reader import Reader
from common.data.readers.tagged import open_tagged_jsonl
from common.data.readers.tmx import is_tmx, open_tmx
from common.errors import ConfigError, DataError, did_you_mean
from common.row_errors import RowErrors
from common.runtime.open_file import open_compressed, read_head, suffix
from common.types import Field

HEAD = 4096  # bytes by which a file's kind is known


def parse_column_flags(given: Sequence[str], fields: Sequence[Field]) -> dict[str, str]:
    """Return the `--column FIELD=COLUMN` values by field.

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
                f'--column names the field "{name}", but there are only: {", ".join(names)}.{did_you_mean(name, names)}'
            )
        by_field[name] = column
    return by_field


@dataclass(frozen=True)
class FileRequest:
    """A file of examples, and how the user wants it to be read.

    Args:
      columns: by field, where the user said so.
      label_names: new names of tags by old ones; other labels are renamed elsewhere.
      row_errors: is told of broken rows when the file is read.
      head: its first bytes.
    """

    path: Path
    fields: tuple[Field, ...]
    columns: Mapping[str, str]
    encoding: str | None
    label_names: Mapping[str, str]
    row_errors: RowErrors
    head: bytes

    @cached_property
    def sample(self) -> tuple[str, str]:
        """(encoding, beginning) of a text file.

        Raises:
          ConfigError, DataError: it is none, or not in the encoding that the user gave.
        """
        return read_head(self.path, self.encoding)

    def is_packed(self) -> bool:
        """Return whether it is a Parquet file.

        Raises:
          DataError: only its name says so.
        """
        if not self.head.startswith(MAGIC) and suffix(self.path) == ".parquet":
            raise DataError(
                f"{self.path} is no Parquet file, for it does not begin with PAR1: copy or download it again."
            )
        return self.head.startswith(MAGIC)

    def is_json(self) -> bool:
        """Return whether it holds JSON, as lines or as an array."""
        return is_json_lines(self.path, self.sample[1])

    def is_annotated(self) -> bool:
        """Return whether it holds what an annotation tool exported."""
        return self.is_json() and not all_text_fields(self.fields) and is_label_studio_export(self.path, self.sample[0])


FileFormats = Sequence[tuple[Callable[[FileRequest], bool], Callable[[FileRequest], Reader]]]

# Whether a file has a format, and what reads it; the first that fits counts.
TABLE_FORMATS: FileFormats = (
    (
        lambda file: is_text_pair(file.fields) and is_tmx(file.path, file.head),
        lambda file: open_tmx(file.path, file.fields, file.columns, file.row_errors),
    ),
    (
        lambda file: is_text_pair(file.fields) and is_gettext(file.path, file.head),
        lambda file: open_gettext(file.path, file.fields, file.encoding, file.row_errors),
    ),
    (FileRequest.is_packed, lambda file: open_parquet(file.path, file.fields, file.columns, file.row_errors)),
    (
        FileRequest.is_annotated,
        lambda file: open_labeled_tasks(file.path, file.fields, file.columns, file.encoding, file.row_errors),
    ),
    (
        FileRequest.is_json,
        lambda file: open_json_lines(file.path, file.fields, file.columns, file.encoding, file.row_errors),
    ),
    (lambda file: True, lambda file: open_csv(file.path, file.fields, file.columns, file.encoding, file.row_errors)),
)
TAGGED_FORMATS: FileFormats = (
    (
        FileRequest.is_packed,
        lambda file: open_tagged_parquet(file.path, file.fields, file.columns, file.label_names, file.row_errors),
    ),
    (
        FileRequest.is_annotated,
        lambda file: open_span_tasks(
            file.path, file.fields, file.columns, file.encoding, file.label_names, file.row_errors
        ),
    ),
    (
        FileRequest.is_json,
        lambda file: open_tagged_jsonl(
            file.path, file.fields, file.columns, file.encoding, file.label_names, file.row_errors
        ),
    ),
    (
        lambda file: True,
        lambda file: open_conll(file.path, file.fields, file.columns, file.encoding, file.label_names, file.row_errors),
    ),
)


def open_table_file(
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    row_errors: RowErrors,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """Open a file of texts and labels by what it holds: Parquet by its first bytes, JSON by suffix or first line.

    All else is a table. Where the fields are two texts, the file may be a gettext catalogue or TMX, which hold them in
    the fields' order. JSON is lines or an array, of rows or of annotated tasks.

    Args:
      column: FIELD=COLUMN values.
      row_errors: is told of broken rows when the file is read.
      names: new names of tags by old ones; labels are renamed elsewhere.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or of no known kind.
    """
    return _open_file(TABLE_FORMATS, path, fields, column, encoding, row_errors, names)


def open_tagged_file(
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    row_errors: RowErrors,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """Open a file of sentences whose tokens have tags; what is neither Parquet nor JSON is a CoNLL file."""
    return _open_file(TAGGED_FORMATS, path, fields, column, encoding, row_errors, names)


def _open_file(
    formats: FileFormats,
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    row_errors: RowErrors,
    names: Mapping[str, str] | None,
) -> Reader:
    by_field = parse_column_flags(column, fields)
    with open_compressed(path) as file:
        head = file.read(HEAD)
    request = FileRequest(path, tuple(fields), by_field, encoding, names or {}, row_errors, head)
    return next(open_file(request) for has_format, open_file in formats if has_format(request))
