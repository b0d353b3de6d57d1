"""Parts of one source that are read in one pass, and what is kept of a pass so that it need not be made again."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from common.errors import DataError
from common.row_errors import Problems
from common.types import Example, Source

NO_SPLIT = -1  # of examples that are in no part


class Step(Protocol):
    """What becomes of examples in one pass, one after the other."""

    def push(self, example: Example) -> Iterable[Example]: ...

    def finish(self) -> Iterable[Example]: ...


class KeepStep:
    """Lets examples through for which `keep` holds."""

    def __init__(self, keep: Callable[[Example], bool]):
        self.keep = keep

    def push(self, example: Example) -> Iterable[Example]:
        """The example, or nothing."""
        return (example,) if self.keep(example) else ()

    def finish(self) -> Iterable[Example]:
        """Nothing more."""
        return ()


class SplitRows:
    """The examples of a source and the split of each, which the first whole pass works out and the others know.

    Args:
      assign: the number of an example's split, from 0 to 126, or NO_SPLIT.
    """

    def __init__(self, source: Source, assign: Callable[[Example], int]):
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
        """What an example gives, from a step on."""
        examples: Iterable[Example] = (example,)
        for step in self.steps[first:]:
            examples = [result for one in examples for result in step.push(one)]
        return examples

    def finish(self) -> Iterator[Example]:
        """What the steps still hold."""
        for number, step in enumerate(self.steps, 1):
            for example in step.finish():
                yield from self.push(example, number)


def add_step(source: Source, make_step: Callable[[], Step]) -> Source:
    """The source, its examples put through a step, which is made anew for each pass."""
    read = source.read
    if isinstance(read, SplitReader):
        return replace(source, read=replace(read, steps=(*read.steps, make_step)))

    def through() -> Iterator[Example]:
        step = make_step()
        for example in read():
            yield from step.push(example)
        yield from step.finish()

    return replace(source, read=through)


def rows_of(source: Source) -> SplitRows | None:
    """The rows that a source is a split of, which it may share with others; None of another source."""
    return source.read.rows if isinstance(source.read, SplitReader) else None


def read_together(sources: Mapping[str, Source]) -> Iterator[tuple[str, Example]]:
    """(name, example) of every example of some sources; those that are splits of the same rows are read in one pass.

    The examples of each are in their order.
    """
    left = dict(sources)
    while left:
        name = next(iter(left))
        rows = rows_of(left[name])
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


class ExampleFile:
    """Examples in a file without a name, which is gone when this process is or when it is closed.

    Args:
      folder: on whose disk it is.
    """

    def __init__(self, folder: Path):
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)
        self.ends = array("q", [0])

    def append(self, example: Example) -> None:
        """Writes an example behind the others."""
        written = pickle.dumps(example, pickle.HIGHEST_PROTOCOL)
        self.file.write(written)
        self.ends.append(self.ends[-1] + len(written))

    def read(self) -> Iterator[Example]:
        """The examples, in the order in which they were written."""
        self.file.flush()
        for start, end in zip(self.ends, self.ends[1:], strict=False):
            example: Example = pickle.loads(os.pread(self.file.fileno(), end - start, start))  # noqa: S301 (our own)
            yield example

    def close(self) -> None:
        """Removes it."""
        self.file.close()


class HeldOutExamples:
    """The held-out splits of the rows of training, written to files in one pass and read from there again and again.

    Args:
      sources: by name.
      folder: for the files.
    """

    def __init__(self, sources: Mapping[str, Source], folder: Path):
        self.sources, self.folder = dict(sources), folder
        self.files: dict[str, ExampleFile] = {}
        self.is_filled = False

    def open_files(self) -> None:
        """Begins anew with empty files."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files = {name: ExampleFile(self.folder) for name in self.sources}
        self.is_filled = False

    def append(self, name: str, example: Example) -> None:
        """Keeps an example of a source, if it is one of these."""
        if name in self.files:
            self.files[name].append(example)

    def fill(self) -> None:
        """Reads the sources, if that was not done.

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

    def kept(self) -> dict[str, Source]:
        """The same sources, read from the files."""

        def reading(name: str) -> Callable[[], Iterator[Example]]:
            def read() -> Iterator[Example]:
                self.fill()
                yield from self.files[name].read()

            return read

        return {name: replace(source, read=reading(name)) for name, source in self.sources.items()}

    def close(self) -> None:
        """Removes the files."""
        for file in self.files.values():
            file.close()
        self.files.clear()


def keep_in_memory(source: Source, examples: Sequence[Example]) -> Source:
    """A source of examples that were read already, whose problems are those of that pass."""
    kept = [(problems, Problems()) for problems in (source.problems, source.repairs)]
    for problems, copy in kept:
        copy.merge(problems)

    def read() -> Iterator[Example]:
        for problems, copy in kept:
            problems.clear()
            problems.merge(copy)
        return (dict(example) for example in examples)

    return replace(source, read=read)
