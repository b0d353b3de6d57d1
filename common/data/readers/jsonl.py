"""JSON lines, an object on each line (jsonlines.org), or an array of objects; their keys are the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from common.data.readers.columns import all_text_fields, cell_to_text, match_columns, quote_list, yield_if_valid
from common.data.readers.json_array import BLANKS, is_array, iter_json_array
from common.data.readers.reader import Reader
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import BROKEN, open_text, read_head, suffix
from common.types import Example, Field, JsonObject

SUFFIXES = (".jsonl", ".ndjson", ".json")
ARRAY = re.compile(r"\[\s*\{\s*\"")  # of objects
OBJECT = re.compile(r'\{\s*"(?:[^"\\]|\\.)*+"\s*:')  # begun
NOT_LABELLED = "not labelled"  # why a row is left out
KEY_ROWS = 50  # objects whose keys are the columns; later ones may hold more


# (location, object, what is wrong with it or "") of each row of a file; the location is such as "a.jsonl:2".
Rows = Iterator[tuple[str, JsonObject, str]]


@dataclass(frozen=True)
class JsonLinesReader(Reader):
    """A file whose keys are known.

    Args:
      summary: how the file was understood, for people.
      read: starts a pass.
      keys: by field.
      row_errors: is told of every row that cannot be used, and of those without a label, which are left out.
    """

    summary: str
    read: Callable[[], Rows] = field(repr=False)
    keys: dict[str, str]
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sound row, such as ("a.jsonl:2", {"text": "fine", "label": "pos"}).

        Raises:
          DataError: the file cannot be read to its end, or a row is broken and `row_errors` is strict.
        """
        labels = {self.keys[field.name] for field in self.fields if field.kind == "label"}
        for location, value, wrong in self.read():
            cells: dict[str, str | None] = {}
            labelled = True
            for name, key in self.keys.items() if not wrong else ():
                cell = _get_cell(value, key)
                try:
                    if key in labels and (choices := _get_choices(cell)) is not None:
                        labelled = bool(choices)
                        cell = _get_only_label(choices) if choices else None
                    cells[name] = cell_to_text(cell)
                except TypeError as error:
                    wrong = wrong or f'"{key}" {error}'
            if labelled:
                yield from yield_if_valid(location, cells, wrong, self.fields, self.row_errors)
            else:
                self.row_errors.count_filtered(NOT_LABELLED)


def is_json_lines(path: Path, text: str) -> bool:
    """Return whether a file that begins with `text` holds JSON lines (or an array), by its suffix or its first line."""
    if suffix(path) in SUFFIXES:
        return True
    text = text.lstrip(BLANKS)
    if suffix(path) in (".csv", ".tsv") or not text.startswith(("{", "[")):
        return False
    first, end, _ = text.partition("\n")
    cut = not end and OBJECT.match(first)  # a line that is longer than the sample
    return bool(ARRAY.match(text) or cut or isinstance(_parse_line(first), dict))


def open_json_lines(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], encoding: str | None, row_errors: RowErrors
) -> JsonLinesReader:
    """Open a file of JSON lines or with an array of objects, its keys found from the first ones.

    Args: as those of `tables.table`.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or holds no objects.
    """
    encoding, text = read_head(path, encoding)
    names: dict[str, str] = {}  # by key what it is called; a key in an object that stands under another is "outer.key"
    first_wrong = ""
    for location, value, wrong in islice(iter_json_objects(path, encoding), KEY_ROWS):
        for key, inner in value.items():
            if isinstance(inner, dict) and all_text_fields(fields):
                names |= {f"{key}.{inner_key}": inner_key for inner_key in inner}
            else:
                names[key] = key
        first_wrong = first_wrong or (wrong and f"{location} {wrong}")
    if not names:
        reason = f" ({first_wrong})" if first_wrong else ""
        raise DataError(f"{path} holds no JSON objects{reason}: write one on each line, or name another file.")
    keys = tuple(names)
    indices = match_columns(
        path.name, keys, tuple(names.values()), fields, columns, advice="give each object a key for each"
    )
    taken = ", ".join(f'{name} = "{keys[at]}"' for name, at in indices.items())
    layout = "JSON array" if text.lstrip(BLANKS).startswith("[") else "JSON lines"
    note = f"{path.name}: {layout}, {encoding}; {taken}"
    by_field = {name: keys[at] for name, at in indices.items()}
    return JsonLinesReader(note, lambda: iter_json_objects(path, encoding), by_field, tuple(fields), row_errors)


def _get_cell(value: Mapping[str, object], key: str) -> object:
    """What stands under a key, or under "outer.key" within another object."""
    outer, _, inner = key.partition(".")
    within = value.get(outer)
    return within.get(inner) if key not in value and isinstance(within, dict) else value.get(key)


def _get_choices(value: object) -> list[object] | None:
    """The labels in a list, as tools for annotation write them: ["pos"] or {"choices": ["pos"]}; None of all else."""
    choices = value.get("choices") if isinstance(value, dict) else value
    return choices if isinstance(choices, list) else None


def _get_only_label(labels: list[object]) -> object:
    """The only one of some labels."""
    if any(isinstance(label, list | dict) for label in labels):
        raise TypeError("holds a list of spans or of other things, where one label is wanted")
    if len(labels) > 1:
        raise TypeError(f"holds {len(labels):,} labels ({quote_list(map(str, labels))}), where one is wanted")
    return labels[0]


def iter_json_objects(path: Path, encoding: str) -> Rows:
    """Yield the object on every line but blank ones, lines ending at LF only; or every element of an array.

    Raises:
      DataError: the file cannot be read to its end.
    """
    with open_text(path, encoding, "\n") as file:
        in_array = is_array(file)
    with open_text(path, encoding, "\n") as file:
        if in_array:
            for number, (value, written) in enumerate(iter_json_array(path.name, file), 1):
                yield _make_row(f"{path.name}: row {number}", value, written, encoding)
            return
        for number, line in enumerate(file, 1):
            if line := line.strip(BLANKS):
                yield _make_row(f"{path.name}:{number}", _parse_line(line), line, encoding)


def _make_row(location: str, value: object, written: str, encoding: str) -> tuple[str, JsonObject, str]:
    if BROKEN in written:
        return location, {}, f"is not valid {encoding}"
    if isinstance(value, dict):
        return location, value, ""
    return location, {}, "is not JSON" if value is None and written != "null" else "is JSON, but no object"


def _parse_line(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
