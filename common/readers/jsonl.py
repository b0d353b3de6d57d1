"""JSON lines: an object on each line (jsonlines.org), its keys the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.problems import Problems
from common.readers.columns import are_texts, as_text, positions, usable
from common.readers.files import BROKEN, opened_text, sample, suffix
from common.recipe import Example, Field

SUFFIXES = (".jsonl", ".ndjson", ".json")
ARRAY = re.compile(r"\[\s*\{\s*\"")  # of objects
OBJECT = re.compile(r'\{\s*"(?:[^"\\]|\\.)*+"\s*:')  # begun
KEY_ROWS = 50  # objects whose keys are the columns; later ones may hold more


@dataclass(frozen=True)
class JsonLines:
    """A file whose keys are known.

    Args:
      keys: by field.
      problems: is told of every line that cannot be used.
    """

    path: Path
    encoding: str
    keys: dict[str, str]
    fields: tuple[Field, ...] = field(repr=False)
    problems: Problems = field(repr=False, compare=False)

    @property
    def note(self) -> str:
        taken = ", ".join(f'{name} = "{key}"' for name, key in self.keys.items())
        return f"{self.path.name}: JSON lines, {self.encoding}; {taken}"

    def rows(self) -> Iterator[tuple[str, Example]]:
        """(place, example) of every line that can be used, such as ("a.jsonl:2", {"text": "fine", "label": "pos"}).

        Raises:
          DataError: the file cannot be read to its end, or a line is broken and `problems` is strict.
        """
        for number, value, wrong in objects(self.path, self.encoding):
            cells = {}
            if not wrong:
                for name, key in self.keys.items():
                    try:
                        cells[name] = as_text(_cell(value, key))
                    except TypeError as error:
                        wrong = wrong or f'"{key}" {error}'
            yield from usable(f"{self.path.name}:{number}", cells, wrong, self.fields, self.problems)


def is_json_lines(path: Path, text: str) -> bool:
    """Whether a file that begins with `text` holds JSON lines (or an array), by its suffix or its first line."""
    if suffix(path) in SUFFIXES:
        return True
    text = text.lstrip("\ufeff \t\r\n")
    if suffix(path) in (".csv", ".tsv") or not text.startswith(("{", "[")):
        return False
    first, end, _ = text.partition("\n")
    cut = not end and OBJECT.match(first)  # a line that is longer than the sample
    return bool(ARRAY.match(text) or cut or isinstance(_parsed(first), dict))


def json_lines(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], encoding: str | None, problems: Problems
) -> JsonLines:
    """A file of JSON lines, its keys found from the first ones.

    Args: as those of `tables.table`.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or holds no objects.
    """
    encoding, text = sample(path, encoding)
    if text.lstrip("\ufeff \t\r\n").startswith("["):
        raise DataError(f"{path} holds a JSON array: write each object on a line of its own, as jq -c '.[]' does.")
    names: dict[str, str] = {}  # by key what it is called; a key in an object that stands under another is "outer.key"
    first_wrong = ""
    for number, value, wrong in islice(objects(path, encoding), KEY_ROWS):
        for key, inner in value.items():
            if isinstance(inner, dict) and are_texts(fields):
                names |= {f"{key}.{one}": one for one in inner}
            else:
                names[key] = key
        first_wrong = first_wrong or (wrong and f"{path.name}:{number} {wrong}")
    if not names:
        reason = f" ({first_wrong})" if first_wrong else ""
        raise DataError(f"{path} holds no JSON objects{reason}: write one on each line, or name another file.")
    keys = tuple(names)
    found = positions(path.name, keys, tuple(names.values()), fields, columns, advice="give each object a key for each")
    return JsonLines(path, encoding, {name: keys[at] for name, at in found.items()}, tuple(fields), problems)


def _cell(value: Mapping[str, Any], key: str) -> Any:
    """What stands under a key, or under "outer.key" within another object."""
    outer, _, inner = key.partition(".")
    within = value.get(outer)
    return within.get(inner) if key not in value and isinstance(within, dict) else value.get(key)


def objects(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(line, object, what is wrong with it or "") of every line but blank ones; lines end at LF only."""
    with opened_text(path, encoding, "\n") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip("\ufeff \t\r\n")
            if not line:
                continue
            value = _parsed(line)
            if BROKEN in line:
                yield number, {}, f"is not valid {encoding}"
            elif isinstance(value, dict):
                yield number, value, ""
            else:
                yield number, {}, "is not JSON" if value is None else "is JSON, but no object"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
