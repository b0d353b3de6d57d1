"""Parquet files, read in pieces by pyarrow: typed columns, with the label names that Hugging Face's files carry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.readers.columns import all_text_fields, cell_to_text, match_columns, yield_if_valid
from common.data.readers.raw_sentence import RawSentence, make_sentence
from common.data.readers.reader import Reader
from common.data.readers.tagged import TaggedReader, open_tagged, tag_field_names
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import corrupt_file_error, permission_error
from common.types import Example, Field

if TYPE_CHECKING:  # imported where it is used, for most runs need none
    import pyarrow
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
ROWS = 1024  # at a time
IMAGES = 32  # the same, of rows that hold images
BUFFER = 2**20  # bytes; without one, pyarrow reads whole column chunks, which may be the whole file

# Location, an image's content or its path, the other fields' cells, and what is wrong with the row or "".
ImageRow = tuple[str, bytes | str | None, dict[str, str | None], str]


@dataclass(frozen=True)
class ParquetReader(Reader):
    """A file whose columns are known.

    Args:
      columns: by field.
      names: by column the names of labels that are kept as numbers from 0.
      row_errors: is told of every row that cannot be used.
    """

    path: Path
    columns: dict[str, str]
    names: dict[str, list[str]]
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        named = {name: " (named)" if column in self.names else "" for name, column in self.columns.items()}
        taken = ", ".join(f'{name} = "{column}"{named[name]}' for name, column in self.columns.items())
        return f"{self.path.name}: Parquet; {taken}"

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sound row; the location counts rows from 1, such as "a.parquet:2".

        Raises:
          DataError: the file cannot be read to its end, or a row is broken and `row_errors` is strict.
        """
        number = 0
        with _open_file(self.path) as file:
            for batch in file.iter_batches(ROWS, columns=sorted(set(self.columns.values()))):
                values = {name: _read_values(_get_column(batch, column)) for name, column in self.columns.items()}
                for index in range(len(batch)):
                    number += 1
                    cells, wrong = {}, ""
                    for name, column in self.columns.items():
                        try:
                            cells[name] = self._to_text(column, values[name][index])
                        except (TypeError, UnicodeDecodeError) as error:
                            broken = isinstance(error, UnicodeDecodeError)
                            wrong = wrong or ("is not valid utf-8" if broken else f'"{column}" {error}')
                    yield from yield_if_valid(f"{self.path.name}:{number}", cells, wrong, self.fields, self.row_errors)

    def _to_text(self, column: str, value: object) -> str | None:
        names = self.names.get(column)
        if names and isinstance(value, int):
            return names[value] if 0 <= value < len(names) else None  # -1 means that there is none
        return cell_to_text(value.decode("utf-8") if isinstance(value, bytes) else value)


def open_parquet(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], row_errors: RowErrors
) -> ParquetReader:
    """Open a Parquet file, its columns found by name.

    Args: as those of `tables.table`.

    Raises:
      ConfigError: `columns` name what there is not.
      DataError: the file is missing, damaged or empty, lacks a column, or a column is of no fitting type.
    """
    taken, types, metadata = _match_columns(path, fields, columns)
    for name, type in types.items():
        if not _is_plain(type):
            held = f'The column "{taken[name]}" of {path} holds {type}, not texts or numbers'
            raise DataError(f"{held}: name another by --column {name}=NAME.")
    return ParquetReader(path, taken, _read_label_names(metadata), tuple(fields), row_errors)


def open_tagged_parquet(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], names: Mapping[str, str], row_errors: RowErrors
) -> TaggedReader:
    """Open a Parquet file whose rows hold lists of tokens and of tags, or a text and its spans.

    Args:
      names: of types, as for `tagged.tagged`.

    Raises: as `open_parquet` does.
    """
    from pyarrow import types as kinds

    taken, types, metadata = _match_columns(path, fields, columns)
    tokens, tags = tag_field_names(fields)
    is_list = {
        name: kinds.is_list(type) or kinds.is_large_list(type) or kinds.is_fixed_size_list(type)
        for name, type in types.items()
    }
    for name, what in ((tokens, "a text or a list of tokens"), (tags, "a list of tags or of spans")):
        fits = is_list[name] or (_is_plain(types[name]) if name == tokens else kinds.is_struct(types[name]))
        if not fits:
            held = f'The column "{taken[name]}" of {path} holds {types[name]}, not {what}'
            raise DataError(f"{held}: name another by --column {name}=NAME.")
    classes = _read_label_names(metadata).get(taken[tags], [])

    def name_tags(values: object) -> object:
        """Tags by the names that the file has for their numbers; -1 and the like are none."""
        if not classes or not isinstance(values, list):
            return values
        return [(classes[tag] if 0 <= tag < len(classes) else None) if isinstance(tag, int) else tag for tag in values]

    def read() -> Iterator[RawSentence]:
        number = 0
        with _open_file(path) as file:
            for batch in file.iter_batches(ROWS, columns=sorted(set(taken.values()))):
                for index in range(len(batch)):
                    number += 1
                    location = f"{path.name}:{number}"
                    try:
                        row = {name: batch.column(column)[index].as_py() for name, column in taken.items()}
                    except UnicodeDecodeError:
                        yield make_sentence(location, None, None, "is not valid utf-8")
                    else:
                        yield make_sentence(location, row[tokens], name_tags(row[tags]))

    named = {name: " (named)" if name == tags and classes else "" for name in taken}
    note = ", ".join(f'{name} = "{column}"{named[name]}' for name, column in taken.items())
    return open_tagged(path.name, f"{path.name}: Parquet; {note}", read, names, row_errors)


def open_image_parquet(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str]
) -> tuple[str, Callable[[], Iterator[ImageRow]]]:
    """Return a note on a Parquet file of images, and what reads its rows.

    An image is bytes, a path, or a struct of both, of which the bytes are taken if there are any.

    Raises: as `open_parquet` does.
    """
    from pyarrow import types as kinds

    taken, types, metadata = _match_columns(path, fields, columns)
    image = next(field.name for field in fields if field.kind == "image")
    for name, type in types.items():
        struct = kinds.is_struct(type) and {type.field(at).name for at in range(type.num_fields)} & {"bytes", "path"}
        if not (_is_plain(type) or (struct and name == image)):
            held = f'The column "{taken[name]}" of {path} holds {type}, not {"images" if name == image else "labels"}'
            raise DataError(f"{held}: name another by --column {name}=NAME.")
    table = ParquetReader(path, taken, _read_label_names(metadata), fields, RowErrors())

    def read() -> Iterator[ImageRow]:
        number = 0
        with _open_file(path) as file:
            for batch in file.iter_batches(IMAGES, columns=sorted(set(taken.values()))):
                for index in range(len(batch)):
                    number += 1
                    value, cells, wrong = None, {}, ""
                    for name, column in taken.items():
                        try:
                            cell = batch.column(column)[index].as_py()
                            if name != image:
                                cells[name] = table._to_text(column, cell)
                            elif isinstance(cell, dict):
                                value = cell.get("bytes") or cell.get("path")
                            else:
                                value = cell if isinstance(cell, bytes) else cell_to_text(cell)
                        except (TypeError, UnicodeDecodeError) as error:
                            broken = isinstance(error, UnicodeDecodeError)
                            wrong = wrong or ("is not valid utf-8" if broken else f'"{column}" {error}')
                    yield f"{path.name}:{number}", value, cells, wrong

    return table.description, read


def _match_columns(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, pyarrow.DataType], Mapping[bytes, bytes]]:
    """The column of each field and its type, and what the file says of itself."""
    with _open_file(path) as file:
        if not file.metadata.num_rows:
            raise DataError(f"{path} holds no row: name another file.")
        schema = file.schema_arrow
    there = [(column.name, column.name, column.type) for column in schema]
    if all_text_fields(fields):
        there = [text for column in schema for text in _list_texts(column)]
    names = [name for name, _, _ in there]
    indices = match_columns(path.name, names, [short for _, short, _ in there], fields, columns)
    taken = {name: names[at] for name, at in indices.items()}
    for column in taken.values():
        if names.count(column) > 1:
            raise DataError(f'{path} has several columns named "{column}": rename all but one.')
    return taken, {name: there[at][2] for name, at in indices.items()}, schema.metadata or {}


def _list_texts(column: pyarrow.Field) -> list[tuple[str, str, pyarrow.DataType]]:
    """(name, what it is called, type) of a column, or of each in it if it is a struct."""
    from pyarrow import types

    if not types.is_struct(column.type):
        return [(column.name, column.name, column.type)]
    inner = [column.type.field(at) for at in range(column.type.num_fields)]
    return [(f"{column.name}.{child.name}", child.name, child.type) for child in inner]


def _get_column(batch: pyarrow.RecordBatch, name: str) -> pyarrow.Array:
    """A column of a batch, or "struct.column" in one, where rows without the struct hold nothing."""
    if name in batch.schema.names:
        return batch.column(name)
    outer, _, inner = name.partition(".")
    struct = batch.column(outer)
    at = struct.type.get_field_index(inner)
    return struct.flatten()[at]  # field() would show what a missing struct hides


def _read_label_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of ClassLabel features, as the library `datasets` writes them into a file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    single = {key: _get_item_feature(feature) for key, feature in features}
    classes = {
        key: feature
        for key, feature in single.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    named = {key: feature.get("names") for key, feature in classes.items()}
    return {key: [str(name) for name in names] for key, names in named.items() if isinstance(names, list)}


def _get_item_feature(feature: object) -> object:
    """The feature of a sequence's items, or itself if it is none."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature", feature) if isinstance(feature, dict) else feature


def _is_plain(type: pyarrow.DataType) -> bool:
    """Whether a text stands for each value of an Arrow type."""
    from pyarrow import types

    if types.is_dictionary(type):
        type = type.value_type
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    bytes_ = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return any(is_type(type) for is_type in (*texts, *bytes_, *numbers))


def _read_values(column: pyarrow.Array) -> list[object]:
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        # As bytes, so that one text that is no UTF-8 does not cost its neighbours.
        large = pyarrow.types.is_large_string(column.type)
        column = column.view(pyarrow.large_binary() if large else pyarrow.binary())
    return column.to_pylist()


@contextmanager
def _open_file(path: Path) -> Iterator[ParquetFile]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow to be read ({error}): run make setup.") from None
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path} is a compressed Parquet file, which cannot be read in pieces: unpack it.")
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path, or name another file.") from None
    except PermissionError:
        raise permission_error(path) from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of names of columns
        raise corrupt_file_error(path, error) from None
