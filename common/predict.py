"""Predictions for inputs from anywhere, one JSON object each, in order, as they come."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from common import readers
from common.endpoints import Served
from common.errors import DataError
from common.problems import Problems
from common.progress import say
from common.recipe import Example, Field
from common.sources import columns

CHUNK = 512  # inputs that are predicted together when so many are waiting
TABLES = (".csv", ".tsv")


def _lines(file: IO[bytes], name: str, field: str, report: Callable[[str, str], None]) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        try:
            yield {field: line.rstrip(b"\r\n").decode("utf-8")}
        except UnicodeDecodeError:
            report(f"{name}:{number}", "is not valid utf-8")


def _json_lines(file: IO[bytes], name: str, field: str, report: Callable[[str, str], None]) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            report(f"{name}:{number}", "is not JSON")
            continue
        if not isinstance(value, dict) or not isinstance(value.get(field), str):
            report(f"{name}:{number}", f'is no object with a text "{field}"')
            continue
        yield {field: value[field]}


def examples(
    source: str,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    report: Callable[[str, str], None],
) -> Iterator[Example]:
    """The inputs that a file or stdin (-) holds: lines of text, or by suffix JSON lines or a table.

    Args:
      report: is told the place of a bad input and what is wrong with it.

    Raises:
      DataError: the file cannot be read.
    """
    inputs = tuple(field for field in fields if field.kind != "label")
    if source == "-":
        yield from _lines(sys.stdin.buffer, "stdin", inputs[0].name, report)
        return
    path = Path(source).expanduser()
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if any(suffix in TABLES for suffix in suffixes):
        problems = Problems()
        table = readers.table(path, inputs, columns(column, inputs), encoding, problems)
        say(f"Input: {table.note}")
        told = 0
        for _, example in table.rows():
            yield example
            told = _tell(problems, told, report)
        _tell(problems, told, report)
        return
    try:
        with open(path, "rb") as file:
            read = _json_lines if ".jsonl" in suffixes else _lines
            yield from read(file, path.name, inputs[0].name, report)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give --input an existing file.") from None


def _tell(problems: Problems, told: int, report: Callable[[str, str], None]) -> int:
    for place, what in problems.first[told:]:
        report(place, what)
    return len(problems.first)


def _waiting(items: Iterator[Example]) -> Iterator[list[Example]]:
    """Lists of what has arrived, so that a slow source is answered at once and a fast one in large batches."""
    arrived: queue.Queue[Any] = queue.Queue(maxsize=2 * CHUNK)

    def read() -> None:
        try:
            for item in items:
                arrived.put(item)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        batch: list[Example] = []
        item = arrived.get()
        while isinstance(item, dict):
            batch.append(item)
            if len(batch) == CHUNK:
                break
            try:
                item = arrived.get_nowait()
            except queue.Empty:
                break
        if batch:
            yield batch
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return


def predict(
    served: Served, texts: Sequence[str], source: str | None, column: Sequence[str], encoding: str | None,
    emit: Callable[[str], Any],
) -> int:  # fmt: skip
    """Writes one JSON line per input; returns how many inputs were bad.

    Args:
      texts: inputs as such, or none.
      source: a file, or - for stdin.
      emit: takes a line.
    """
    bad = 0

    def report(place: str, what: str) -> None:
        nonlocal bad
        bad += 1
        say(f"{place} {what}; it is left out.")

    first = next(field.name for field in served.recipe.fields if field.kind != "label")
    given = iter([{first: text} for text in texts])
    items = examples(source, served.recipe.fields, column, encoding, report) if source else given
    for batch in _waiting(items):
        for prediction in served.predictions(batch):
            emit(json.dumps(prediction, ensure_ascii=False))
    return bad
