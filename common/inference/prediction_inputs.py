"""The inputs of predictions, from the command line, a file or stdin, as they arrive."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from common.data.file_formats import HEAD
from common.data.readers.gettext import is_gettext
from common.data.readers.gettext_fill import open_messages
from common.data.readers.input_reader import OnError, get_input_reader
from common.data.readers.jsonl import SUFFIXES
from common.inference.predict_request import PredictRequest
from common.row_errors import RowErrors
from common.runtime.console import print_status
from common.runtime.open_file import (
    ERRORS,
    detect_encoding,
    expand_path,
    missing_bom_error,
    open_compressed,
    open_text,
    read_head,
    suffix,
    text_damage,
)
from common.types import Example, Field

ROWS = (".csv", ".tsv", ".parquet", *SUFFIXES)  # files whose rows have columns; all others hold one input a line


def _read_lines(file: Iterable[str], name: str, field: str, encoding: str, on_error: OnError) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
        if damage := text_damage(text, encoding):
            on_error(f"{name}:{number}", damage)
        else:
            yield {field: text, "place": f"{name}:{number}"}


class SkippedInputs:
    """Tells of each bad input, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, location: str, message: str) -> None:
        self.count += 1
        print_status(f"{location} {message}; it is left out.")


def read_inputs(
    source: str,
    inputs: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    on_error: OnError,
) -> Iterator[Example]:
    """Yield the inputs in a file or stdin (-): lines of text, a catalogue's messages, or by suffix rows with columns.

    Where the input is an image, lines are names of files. Each has its place, such as "a.csv:2".

    Args:
      encoding: as the user gave it; None finds that of a file, and takes stdin for UTF-8.
      on_error: is told the place of a bad input and what is wrong with it.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file cannot be read.
    """
    if source == "-":
        stdin_encoding, _ = detect_encoding(b"", False, encoding)
        stdin = io.TextIOWrapper(sys.stdin.buffer, stdin_encoding, ERRORS, newline="\n")
        try:
            yield from _read_lines(stdin, "stdin", inputs[0].name, stdin_encoding, on_error)
        except UnicodeError:
            raise missing_bom_error(stdin_encoding) from None
        finally:
            stdin.detach()  # else it would be closed
        return
    path = expand_path(source)
    reader = get_input_reader(inputs)
    if reader.reads_catalogs and is_catalogue_file(path):
        catalogue = open_messages(path, encoding)
        print_status(f"Input: {catalogue.description}")
        rows = catalogue.rows(inputs[0], RowErrors(on_error=on_error))
        yield from ({**example, "place": location} for location, example in rows)
        return
    if has_columns(path):
        table = reader.open_table(path, inputs, column, encoding, RowErrors(on_error=on_error))
        print_status(f"Input: {table.description}")
        yield from ({**example, "place": location} for location, example in table.rows())
        return
    with open_compressed(path) as file:
        is_empty = not file.read(1)
    if not is_empty:
        file_encoding, _ = read_head(path, encoding)
        with open_text(path, file_encoding, "\n") as lines:
            yield from _read_lines(lines, path.name, inputs[0].name, file_encoding, on_error)


def has_columns(path: Path) -> bool:
    """Return whether a file's rows have columns, by its name."""
    return suffix(path) in ROWS


def is_catalogue_file(path: Path) -> bool:
    """Return whether a file is a message catalogue, by its name and its first bytes."""
    with open_compressed(path) as file:
        return is_gettext(path, file.read(HEAD))


def _collect_waiting(items: Iterator[Example], chunk: int) -> Iterator[list[Example]]:
    """Lists of what has arrived, so that a slow source is answered at once and a fast one in large batches."""
    arrived: queue.Queue[Example | BaseException | None] = queue.Queue(maxsize=2 * chunk)

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
            if len(batch) == chunk:
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


def iter_input_batches(inputs: Sequence[Field], request: PredictRequest, on_error: OnError) -> Iterator[list[Example]]:
    """Yield what a person gave, as it arrives, each with its place; see `read_inputs`."""
    reader, source = get_input_reader(inputs), request.source
    if not source:
        items = reader.read_arguments(request.texts, on_error)
    else:
        items = read_inputs(source, inputs, request.column, request.encoding, on_error)
        if not has_columns(expand_path(source)):
            items = reader.read_lines(items, on_error)
    yield from _collect_waiting(items, reader.chunk_size)
