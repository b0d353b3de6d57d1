"""Splits of one source that are read in one pass, and what is kept of a pass so that it need not be made again."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from common.data.example_file import ExampleFile
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Example, ExampleSource

NO_SPLIT = -1  # of examples that are in no split


class Step(Protocol):
    """What becomes of examples in one pass, one after the other."""

    def push(self, example: Example) -> Iterable[Example]: ...

    def finish(self) -> Iterable[Example]: ...


class KeepStep:
    """Lets examples through for which `keep` holds."""

    def __init__(self, keep: Callable[[Example], bool]):
        self.keep = keep

    def push(self, example: Example) -> Iterable[Example]:
        """Return the example, or nothing."""
        return (example,) if self.keep(example) else ()

    def finish(self) -> Iterable[Example]:
        """Return nothing more."""
        return ()


class SplitRows:
    """The examples of a source and the split of each, which the first whole pass works out and the others know.

    Args:
      assign: the number of an example's split, from 0 to 126, or NO_SPLIT.
    """

    def __init__(self, source: ExampleSource, assign: Callable[[Example], int]):
        self.source, self.assign = source, assign
        self.splits: np.ndarray | None = None  # int8 [examples]

    def __iter__(self) -> Iterator[tuple[int, Example]]:
        """(split, example) of every example.

        Raises:
          DataError: a later pass has fewer or more examples, so that they cannot be known by their place.
        """
        return self._first_pass() if self.splits is None else self._later_pass(self.splits)

    def _first_pass(self) -> Iterator[tuple[int, Example]]:
        splits = array("b")
        for example in self.source:
            splits.append(self.assign(example))
            yield splits[-1], example
        self.splits = np.array(splits, np.int8)

    def _later_pass(self, splits: np.ndarray) -> Iterator[tuple[int, Example]]:
        count = 0
        for count, example in enumerate(self.source, 1):
            if count > len(splits):
                break
            yield int(splits[count - 1]), example
        if count != len(splits):
            raise DataError(
                f"{self.source.name} has changed while it was read: it had {len(splits):,} examples before. Run again."
            )


@dataclass(frozen=True)
class SplitReader:
    """Reads one split of some rows, through steps.

    Args:
      steps: make what each pass puts examples through, in this order.
    """

    rows: SplitRows
    split: int
    steps: tuple[Callable[[], Step], ...] = ()

    def __call__(self) -> Iterator[Example]:
        """The examples, in a pass of their own."""
        chain = _Chain(self)
        for split, example in self.rows:
            if split == self.split:
                yield from chain.push(example)
        yield from chain.finish()


class _Chain:
    """The steps of one pass of a reader, one behind the other."""

    def __init__(self, reader: SplitReader):
        self.split = reader.split
        self.steps = [make_step() for make_step in reader.steps]

    def push(self, example: Example, first: int = 0) -> Iterable[Example]:
        """Return what an example gives, from a step on."""
        examples: Iterable[Example] = (example,)
        for step in self.steps[first:]:
            examples = [result for current in examples for result in step.push(current)]
        return examples

    def finish(self) -> Iterator[Example]:
        """Yield what the steps still hold."""
        for number, step in enumerate(self.steps, 1):
            for example in step.finish():
                yield from self.push(example, number)


def add_step(source: ExampleSource, make_step: Callable[[], Step]) -> ExampleSource:
    """Return the source, its examples put through a step, which is made anew for each pass."""
    read = source.read
    if isinstance(read, SplitReader):
        return replace(source, read=replace(read, steps=(*read.steps, make_step)))

    def through() -> Iterator[Example]:
        step = make_step()
        for example in read():
            yield from step.push(example)
        yield from step.finish()

    return replace(source, read=through)


def get_shared_rows(source: ExampleSource) -> SplitRows | None:
    """Return the rows that a source is a split of, which it may share with others; None of another source."""
    return source.read.rows if isinstance(source.read, SplitReader) else None


def read_together(sources: Mapping[str, ExampleSource]) -> Iterator[tuple[str, Example]]:
    """Yield (name, example) of every example of some sources; splits of the same rows are read in one pass.

    The examples of each are in their order.
    """
    left = dict(sources)
    while left:
        name = next(iter(left))
        rows = get_shared_rows(left[name])
        if rows is None:
            yield from ((name, example) for example in left.pop(name))
            continue
        readers = {other: source.read for other, source in left.items() if isinstance(source.read, SplitReader)}
        chains = {other: _Chain(reader) for other, reader in readers.items() if reader.rows is rows}
        by_split: dict[int, list[str]] = {}
        for other, chain in chains.items():
            by_split.setdefault(chain.split, []).append(other)
        for split, example in rows:
            for other in by_split.get(split, ()):
                yield from ((other, result) for result in chains[other].push(example))
        for other, chain in chains.items():
            yield from ((other, result) for result in chain.finish())
            del left[other]


class HeldOutExamples:
    """The held-out splits of the rows of training, written to files in one pass and read from there again and again.

    Args:
      sources: by name.
      folder: for the files.
    """

    def __init__(self, sources: Mapping[str, ExampleSource], folder: Path):
        self.sources, self.folder = dict(sources), folder
        self.files: dict[str, ExampleFile] = {}
        self.is_filled = False

    def open_files(self) -> None:
        """Begin anew with empty files."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files = {name: ExampleFile(self.folder) for name in self.sources}
        self.is_filled = False

    def append(self, name: str, example: Example) -> None:
        """Keep an example of a source, if it is one of these."""
        if name in self.files:
            self.files[name].append(example)

    def fill(self) -> None:
        """Read the sources, if that was not done.

        Raises:
          DataError: there is no room for the files.
        """
        if self.is_filled:
            return
        try:
            self.open_files()
            for name, example in read_together(self.sources):
                self.append(name, example)
        except OSError as error:
            raise DataError(
                f"The held-out examples cannot be written to {self.folder} ({error.strerror or error}): make room"
                " there, or set XDG_CACHE_HOME to a folder on another disk."
            ) from None
        self.is_filled = True

    def kept(self) -> dict[str, ExampleSource]:
        """Return the same sources, read from the files."""

        def reading(name: str) -> Callable[[], Iterator[Example]]:
            def read() -> Iterator[Example]:
                self.fill()
                yield from self.files[name].read()

            return read

        return {name: replace(source, read=reading(name)) for name, source in self.sources.items()}

    def close(self) -> None:
        """Remove the files."""
        for file in self.files.values():
            file.close()
        self.files.clear()


def continue_reading(source: ExampleSource, examples: Sequence[Example], rest: Iterator[Example]) -> ExampleSource:
    """Return a source whose next pass goes on behind examples that were read already; later passes begin anew.

    Args:
      examples: the first ones.
      rest: the pass that gave them.
    """
    started = [itertools.chain(examples, rest)]

    def read() -> Iterator[Example]:
        return started.pop() if started else source.read()

    return replace(source, read=read)


def keep_in_memory(source: ExampleSource, examples: Sequence[Example]) -> ExampleSource:
    """Return a source of examples that were read already, whose problems are those of that pass."""
    copies = [(row_errors, RowErrors()) for row_errors in (source.row_errors, source.repairs)]
    for row_errors, copy in copies:
        copy.merge(row_errors)

    def read() -> Iterator[Example]:
        for row_errors, copy in copies:
            row_errors.clear()
            row_errors.merge(copy)
        return (dict(example) for example in examples)

    return replace(source, read=read)


class ExampleBuffer:
    """Examples that are kept as they pass, unless they are large together.

    Args:
      max_bytes: of all of them.
    """

    def __init__(self, source: Iterable[Example], max_bytes: int):
        self.source, self.max_bytes = source, max_bytes
        self.examples: list[Example] | None = []

    def __iter__(self) -> Iterator[Example]:
        size = 0
        for example in self.source:
            size += sum(
                getattr(value, "nbytes", 0) or len(value) for value in example.values() if hasattr(value, "__len__")
            )
            if self.examples is not None and size <= self.max_bytes:
                self.examples.append(dict(example))
            else:
                self.examples = None
            yield example
