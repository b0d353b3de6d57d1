"""The inputs of predictions, from the command line, a file or stdin, as they arrive."""

from __future__ import annotations

import glob
import io
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from common.data.file_formats import HEAD, open_table_file
from common.data.readers.columns import unusable
from common.data.readers.gettext import is_catalogue
from common.data.readers.gettext_fill import messages
from common.data.readers.image_bytes import Unusable, usable
from common.data.readers.image_sources import open_image_table
from common.data.readers.jsonl import SUFFIXES
from common.inference.predict_request import PredictRequest
from common.row_errors import Problems
from common.runtime import open_file as files
from common.runtime.console import say
from common.types import Example, Field

CHUNK = 512  # inputs that are predicted together when so many are waiting
CHUNK_IMAGES = 64  # the same of images, of which each may hold megabytes
EXPLAINED = ".explained.png"  # ends the names of pictures that we write; a folder's are no inputs
ROWS = (".csv", ".tsv", ".parquet", *SUFFIXES)  # files whose rows have columns; all others hold one input a line

OnError = Callable[[str, str], None]  # takes the location of a bad input, and what is wrong with it


def _read_lines(file: Iterable[str], name: str, field: str, encoding: str, on_error: OnError) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
        if damage := files.damage(text, encoding):
            on_error(f"{name}:{number}", damage)
        else:
            yield {field: text, "place": f"{name}:{number}"}


def read_texts(texts: Sequence[str], field: str, on_error: OnError) -> Iterator[Example]:
    """Yield what stands on the command line as examples."""
    for number, text in enumerate(texts, 1):
        if damage := unusable(text):
            on_error(f"input {number}", damage)
        else:
            yield {field: text, "place": f"input {number}"}


class LeftOut:
    """Tells of each bad input, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, location: str, message: str) -> None:
        self.count += 1
        say(f"{location} {message}; it is left out.")


def _select_user_files(paths: Iterable[Path]) -> list[Path]:
    """Those that are files of the user's, sorted."""
    files_only = (path for path in paths if path.is_file())
    return sorted(path for path in files_only if not path.name.startswith(".") and not path.name.endswith(EXPLAINED))


def _read_images(names: Iterable[str], field: str, on_error: OnError) -> Iterator[Example]:
    """Images by their names: files, all files in folders, or globs; each with its name as "file" and as its place."""
    for name in names:
        path = files.located(name)
        if path.is_dir():
            paths = _select_user_files(path.rglob("*"))
        elif not path.exists() and any(mark in name for mark in "*?["):
            paths = _select_user_files(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        else:
            paths = [path]
        if not paths:
            on_error(name, "holds no file" if path.is_dir() else "matches no file")
        for file in paths:
            shown = str(file).encode("utf-8", "backslashreplace").decode()  # a name may be any bytes
            try:
                yield {field: usable(file.read_bytes()), "file": shown, "place": shown}
            except Unusable as error:
                on_error(shown, str(error))
            except OSError as error:
                on_error(shown, f"cannot be read ({error.strerror or error})")


def examples(
    source: str,
    inputs: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    on_error: OnError,
) -> Iterator[Example]:
    """The inputs that a file or stdin (-) holds: lines of text, a catalogue's messages, or by suffix rows with columns.

    Where the input is an image, lines are names of files. Each has its place, such as "a.csv:2".

    Args:
      encoding: as the user gave it; None finds that of a file, and takes stdin for UTF-8.
      on_error: is told the place of a bad input and what is wrong with it.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file cannot be read.
    """
    if source == "-":
        stdin_encoding, _ = files.decoding(b"", False, encoding)
        stdin = io.TextIOWrapper(sys.stdin.buffer, stdin_encoding, files.ERRORS, newline="\n")
        try:
            yield from _read_lines(stdin, "stdin", inputs[0].name, stdin_encoding, on_error)
        except UnicodeError:
            raise files.unmarked(stdin_encoding) from None
        finally:
            stdin.detach()  # else it would be closed
        return
    path = files.located(source)
    if inputs[0].kind == "text" and is_catalogue_file(path):
        catalogue = messages(path, encoding)
        say(f"Input: {catalogue.description}")
        rows = catalogue.rows(inputs[0], Problems(tell=on_error))
        yield from ({**example, "place": location} for location, example in rows)
        return
    if files.suffix(path) in ROWS:
        open_file = open_image_table if inputs[0].kind == "image" else open_table_file
        reader = open_file(path, tuple(inputs), column, encoding, Problems(tell=on_error))
        say(f"Input: {reader.description}")
        yield from ({**example, "place": location} for location, example in reader.rows())
        return
    with files.opened(path) as file:
        is_empty = not file.read(1)
    if not is_empty:
        file_encoding, _ = files.sample(path, encoding)
        with files.opened_text(path, file_encoding, "\n") as lines:
            yield from _read_lines(lines, path.name, inputs[0].name, file_encoding, on_error)


def is_catalogue_file(path: Path) -> bool:
    """Whether a file is a message catalogue, by its name and its first bytes."""
    with files.opened(path) as file:
        return is_catalogue(path, file.read(HEAD))


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


def batches(inputs: Sequence[Field], request: PredictRequest, on_error: OnError) -> Iterator[list[Example]]:
    """What a person gave, as it arrives, each with its place; see `examples`."""
    first, source = inputs[0], request.source
    items = examples(source, inputs, request.column, request.encoding, on_error) if source else iter(())
    if first.kind != "image":
        items = items if source else read_texts(request.texts, first.name, on_error)
    elif not source or files.suffix(files.located(source)) not in ROWS:
        names = (line[first.name].strip() for line in items) if source else request.texts
        items = _read_images(filter(None, names), first.name, on_error)
    yield from _collect_waiting(items, CHUNK_IMAGES if first.kind == "image" else CHUNK)
