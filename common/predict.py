"""Predictions for inputs from anywhere, one JSON object each, in order, as they come."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from common import sources
from common.endpoints import Served
from common.problems import Problems
from common.progress import say
from common.readers import files
from common.readers.jsonl import SUFFIXES
from common.recipe import Example, Field

CHUNK = 512  # inputs that are predicted together when so many are waiting
ROWS = (".csv", ".tsv", ".parquet", *SUFFIXES)  # files whose rows have columns; all others hold one input a line


def _lines(file: IO[bytes], name: str, field: str, report: Callable[[str, str], None]) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        try:
            yield {field: line.rstrip(b"\r\n").decode("utf-8")}
        except UnicodeDecodeError:
            report(f"{name}:{number}", "is not valid utf-8")


def examples(
    source: str,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    report: Callable[[str, str], None],
) -> Iterator[Example]:
    """The inputs that a file or stdin (-) holds: lines of text, or by suffix rows with columns.

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
    if files.suffix(path) in ROWS:
        reader = sources.reader(path, inputs, column, encoding, Problems(tell=report))
        say(f"Input: {reader.note}")
        yield from (example for _, example in reader.rows())
    else:
        with files.opened(path) as file:
            yield from _lines(file, path.name, inputs[0].name, report)


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
