"""Predictions for inputs from anywhere, one JSON object each, in order, as they come."""

from __future__ import annotations

import glob
import io
import json
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.endpoints import Served
from common.errors import ConfigError, suggestion
from common.file_formats import HEAD, open_table_file
from common.files import replacing
from common.problems import Problems
from common.progress import say
from common.readers import files, pictures
from common.readers.columns import unusable
from common.readers.gettext import is_catalogue
from common.readers.image_sets import open_image_table
from common.readers.jsonl import SUFFIXES
from common.readers.messages import messages
from common.recipe import Example, Field, Format

JSON = "json"  # the format of every recipe
DEFAULT, ALIGNMENT = "serving_default", "alignment"  # endpoints that are asked
CHUNK = 512  # inputs that are predicted together when so many are waiting
CHUNK_IMAGES = 64  # the same of images, of which each may hold megabytes
EXPLAINED = ".explained.png"  # ends the names of pictures that we write; a folder's are no inputs
ROWS = (".csv", ".tsv", ".parquet", *SUFFIXES)  # files whose rows have columns; all others hold one input a line


def _lines(
    file: Iterable[str], name: str, field: str, encoding: str, report: Callable[[str, str], None]
) -> Iterator[Example]:
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
        if wrong := files.damage(text, encoding):
            report(f"{name}:{number}", wrong)
        else:
            yield {field: text, "place": f"{name}:{number}"}


def _typed(texts: Sequence[str], field: str, report: Callable[[str, str], None]) -> Iterator[Example]:
    for number, text in enumerate(texts, 1):
        if wrong := unusable(text):
            report(f"input {number}", wrong)
        else:
            yield {field: text, "place": f"input {number}"}


class LeftOut:
    """Tells of each bad input, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, place: str, what: str) -> None:
        self.count += 1
        say(f"{place} {what}; it is left out.")


def _inputs(paths: Iterable[Path]) -> list[Path]:
    """Those that are files of the user's, sorted."""
    return sorted(
        path for path in paths
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(EXPLAINED)
    )  # fmt: skip


def _images(names: Iterable[str], field: str, report: Callable[[str, str], None]) -> Iterator[Example]:
    """Images by their names: files, all files in folders, or globs; each with its name as "file" and as its place."""
    for name in names:
        path = files.located(name)
        if path.is_dir():
            found = _inputs(path.rglob("*"))
        elif not path.exists() and any(mark in name for mark in "*?["):
            found = _inputs(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        else:
            found = [path]
        if not found:
            report(name, "holds no file" if path.is_dir() else "matches no file")
        for file in found:
            shown = str(file).encode("utf-8", "backslashreplace").decode()  # a name may be any bytes
            try:
                yield {field: pictures.usable(file.read_bytes()), "file": shown, "place": shown}
            except pictures.Unusable as error:
                report(shown, str(error))
            except OSError as error:
                report(shown, f"cannot be read ({error.strerror or error})")


def examples(
    source: str,
    inputs: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    report: Callable[[str, str], None],
) -> Iterator[Example]:
    """The inputs that a file or stdin (-) holds: lines of text, a catalogue's messages, or by suffix rows with columns.

    Where the input is an image, lines are names of files. Each has its place, such as "a.csv:2".

    Args:
      encoding: as the user gave it; None finds that of a file, and takes stdin for UTF-8.
      report: is told the place of a bad input and what is wrong with it.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file cannot be read.
    """
    if source == "-":
        found, _ = files.decoding(b"", False, encoding)
        stdin = io.TextIOWrapper(sys.stdin.buffer, found, files.ERRORS, newline="\n")
        try:
            yield from _lines(stdin, "stdin", inputs[0].name, found, report)
        except UnicodeError:
            raise files.unmarked(found) from None
        finally:
            stdin.detach()  # else it would be closed
        return
    path = files.located(source)
    if inputs[0].kind == "text" and _is_catalogue(path):
        catalogue = messages(path, encoding)
        say(f"Input: {catalogue.note}")
        rows = catalogue.rows(inputs[0], Problems(tell=report))
        yield from ({**example, "place": place} for place, example in rows)
        return
    if files.suffix(path) in ROWS:
        open_file = open_image_table if inputs[0].kind == "image" else open_table_file
        reader = open_file(path, tuple(inputs), column, encoding, Problems(tell=report))
        say(f"Input: {reader.note}")
        yield from ({**example, "place": place} for place, example in reader.rows())
        return
    with files.opened(path) as file:
        empty = not file.read(1)
    if not empty:
        found, _ = files.sample(path, encoding)
        with files.opened_text(path, found, "\n") as lines:
            yield from _lines(lines, path.name, inputs[0].name, found, report)


def _is_catalogue(path: Path) -> bool:
    with files.opened(path) as file:
        return is_catalogue(path, file.read(HEAD))


def _waiting(items: Iterator[Example], chunk: int) -> Iterator[list[Example]]:
    """Lists of what has arrived, so that a slow source is answered at once and a fast one in large batches."""
    arrived: queue.Queue[Any] = queue.Queue(maxsize=2 * chunk)

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


def batches(
    inputs: Sequence[Field], texts: Sequence[str], source: str | None, column: Sequence[str], encoding: str | None,
    report: Callable[[str, str], None],
) -> Iterator[list[Example]]:  # fmt: skip
    """What a person gave, as it arrives, each with its place; see `predict` and `examples`."""
    first = inputs[0]
    items = examples(source, inputs, column, encoding, report) if source else iter(())
    if first.kind != "image":
        items = items if source else _typed(texts, first.name, report)
    elif not source or files.suffix(files.located(source)) not in ROWS:
        names = (line[first.name].strip() for line in items) if source else texts
        items = _images(filter(None, names), first.name, report)
    yield from _waiting(items, CHUNK_IMAGES if first.kind == "image" else CHUNK)


def best(shown: dict[str, Any], count: int) -> dict[str, Any]:
    """A prediction with its `count` largest scores only, from the largest down."""
    if "scores" not in shown:
        raise ConfigError("--top-k is for recipes that give a score for each label, and this one does not.")
    order = sorted(shown["scores"].items(), key=lambda pair: -pair[1])
    return shown | {"scores": dict(order[:count])}


@dataclass
class Explanations:
    """Pictures of what in images made for their labels, written next to each image, or into a folder.

    Args:
      folder: None for next to the image.
    """

    folder: Path | None = None
    written: int = 0

    def write(self, served: Served, examples: Sequence[Example]) -> None:
        """Writes one for each example, which gets its name as "explanation".

        Raises:
          ConfigError: the recipe explains nothing, or there is no place to write to.
        """
        if "explain" not in served.calls:
            raise ConfigError("--explain is for recipes that have an endpoint named explain, and this one has none.")
        for positions, outputs in served.outputs("explain", examples):
            for row, position in enumerate(positions):
                example = examples[position]
                place = self._place(example)
                with replacing(place) as file:
                    file.write(served.recipe.explanation(example, {name: v[row] for name, v in outputs.items()}))
                example["explanation"] = str(place)

    def _place(self, example: Example) -> Path:
        self.written += 1
        if self.folder is None:
            if "file" not in example:
                raise ConfigError("--explain writes next to files, and this input is none. Give --explain-to FOLDER.")
            return Path(example["file"] + EXPLAINED)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = Path(example["file"]).name if "file" in example else "input"
        return self.folder / f"{self.written:04d}-{name}{EXPLAINED}"


def _filled(served: Served, source: str | None, encoding: str | None, chosen: Format) -> str:
    """The catalogue that a source names, with predictions of the messages that have no translation.

    Raises:
      ConfigError: it is none.
    """
    if not source or source == "-" or not _is_catalogue(path := files.located(source)):
        raise ConfigError("This --format fills in a message catalogue: name one by --input, such as messages.po.")
    name = served.recipe.inputs[0].name

    def translated(texts: list[str]) -> list[str]:
        return served.predictions([{name: text} for text in texts], chosen.one)

    text, count = messages(path, encoding).filled(translated)
    say(f"{count:,} entries of {path.name} are filled in and marked fuzzy.")
    return text


def predict(
    served: Served, texts: Sequence[str], source: str | None, column: Sequence[str], encoding: str | None,
    emit: Callable[[str], Any], format: str = JSON, top: int | None = None, explanations: Explanations | None = None,
    alignment: bool = False,
) -> int:  # fmt: skip
    """Writes one JSON line per input, or what another format makes of it; returns how many inputs were bad.

    Args:
      texts: inputs as such, or none.
      source: a file, or - for stdin.
      emit: takes a line, or several.
      format: one of the recipe's, or "json".
      top: show so many scores only, the largest first; None for all, in the order of the labels.
      explanations: write these, too.
      alignment: add to each JSON object which words of input and prediction belong together.

    Raises:
      ConfigError: the recipe has no such format, scores, explanations or alignments.
    """
    recipe = served.recipe
    if alignment and ALIGNMENT not in served.calls:
        raise ConfigError("--alignment is for recipes that have an endpoint named alignment, and this one has none.")
    for flag, wanted in (("--alignment", alignment), ("--top-k", top is not None)):
        if wanted and format != JSON:
            raise ConfigError(f"{flag} is about JSON objects, and --format is {format}: leave one of them out.")

    def as_json(example: Example, one: Mapping[str, Any]) -> str:
        shown = recipe.present(example, one)
        if top is not None:
            shown = best(shown, top)
        if "explanation" in example:
            shown["explanation"] = example["explanation"]
        if alignment:
            shown[ALIGNMENT] = recipe.alignment(example, one)
        return json.dumps(shown, ensure_ascii=False)

    formats = {JSON: Format(as_json), **recipe.formats}
    if format not in formats:
        raise ConfigError(
            f'--format is "{format}", but must be one of: {", ".join(formats)}.{suggestion(format, formats)}'
        )
    chosen = formats[format]
    if chosen.catalogue:
        emit(_filled(served, source, encoding, chosen))
        return 0
    report = LeftOut()
    endpoint = ALIGNMENT if alignment else DEFAULT
    if chosen.begin:
        emit(chosen.begin)
    for batch in batches(recipe.inputs, texts, source, column, encoding, report):
        if explanations:
            explanations.write(served, batch)
        for prediction in served.predictions(batch, chosen.one, endpoint):
            emit(prediction)
    if chosen.end:
        emit(chosen.end)
    return report.count


def make(
    served: Served, wishes: Any, texts: Sequence[str], source: str | None, encoding: str | None,
    emit: Callable[[str], Any],
) -> int:  # fmt: skip
    """Writes what a recipe makes up, a JSON line and the files of each; returns how many inputs were bad.

    Args:
      wishes: of the recipe's class.
      texts, source: inputs, one a line; without any, the recipe begins from nothing.

    Raises:
      ConfigError: a wish cannot be fulfilled; nothing is written then.
    """
    report = LeftOut()
    name = served.recipe.inputs[0].name
    field = Field(name, "text")
    items = examples(source, (field,), (), encoding, report) if source else _typed(texts, name, report)
    lines = [example[name] for example in items]
    if (source or texts) and not lines:
        return report.count

    def answer(endpoint: str, asked: list[Example]) -> list[Mapping[str, Any]]:
        return served.predictions(asked, lambda _, outputs: outputs, endpoint)

    for one in served.recipe.made(wishes, lines, answer):
        for path, content in one.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(content)
        files = {"files": [str(path) for path, _ in one.files]} if one.files else {}
        emit(json.dumps(one.shown | files, ensure_ascii=False))
    return report.count
