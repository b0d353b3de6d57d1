"""Which examples of a source are used: a sample of them, or those without a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from common.data.shared_reading import KeepStep, add_step
from common.types import Example, ExampleSource


def reservoir_sample(source: ExampleSource, limit: int) -> ExampleSource:
    """Return a fixed random sample of so many examples, in their order; all where there are fewer."""
    return add_step(source, lambda: Reservoir(limit))


def filter_examples(source: ExampleSource, find_fault: Callable[[Example], str]) -> ExampleSource:
    """Leave out the examples that have a fault; the source's problems count them by what it is.

    Args:
      find_fault: says what is wrong with an example, or "".
    """

    def keep(example: Example) -> bool:
        if fault := find_fault(example):
            source.row_errors.count_filtered(fault)
        return not fault

    def make_step() -> KeepStep:
        source.row_errors.clear()  # as the source itself does, if it has any
        return KeepStep(keep)

    return add_step(source, make_step)


class Reservoir:
    """A uniform sample in file order (Vitter 1985, algorithm R), since files are often sorted by label."""

    def __init__(self, limit: int):
        self.limit, self.random = limit, Random(limit)
        self.sample: dict[int, tuple[int, Example]] = {}
        self.count = 0

    def push(self, example: Example) -> Iterable[Example]:
        """Return nothing yet."""
        position, self.count = self.count, self.count + 1
        place = position if position < self.limit else self.random.randrange(position + 1)
        if place < self.limit:
            self.sample[place] = position, example
        return ()

    def finish(self) -> Iterable[Example]:
        """Return the sample."""
        return [example for _, example in sorted(self.sample.values(), key=lambda pair: pair[0])]
