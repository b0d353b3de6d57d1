"""What people see of long work, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")
SHOWN_EVERY = 1000  # examples
LINE_SECONDS = 10.0  # how often a plain line is written
_muted: list[bool] = []  # not empty once another process tells of the same work


def mute() -> None:
    """Say nothing from now on in this process, for another one does the same work and tells of it."""
    _muted.append(True)


def is_printing() -> bool:
    """Whether this process says what it does."""
    return not _muted


def print_status(message: str) -> None:
    """Print a line for people."""
    if is_printing():
        print(message, file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Format a time span for people.

    >>> format_duration(3.21), format_duration(75), format_duration(7322)
    ('3.2 s', '1:15 min', '2:02 h')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"


class ProgressBar:
    """A named piece of work that advances; `show` takes how far it is and what to say of it."""

    def __init__(self, name: str, bar: Progress | None = None, task: TaskID | None = None):
        self.name, self.bar, self.task = name, bar, task
        self.last_said = time.monotonic()

    def update(self, done: float, total: float | None, text: str) -> None:
        """Say where the work stands; cheap to call often."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, text=text)
        elif time.monotonic() - self.last_said >= LINE_SECONDS:
            self.last_said = time.monotonic()
            print_status(f"{self.name}: {f'{done:.0f} of {total:.0f}, ' if total else f'{done:.0f}, '}{text}")


@contextmanager
def progress_bar(name: str) -> Iterator[ProgressBar]:
    """Show a bar that vanishes at the end; only lines every few seconds where stderr is no terminal."""
    if not sys.stderr.isatty() or not is_printing():
        yield ProgressBar(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield ProgressBar(name, bar, bar.add_task(name, total=None, text=""))


def with_progress(items: Iterable[Item], shown: ProgressBar) -> Iterator[Item]:
    """Pass examples on, and show now and then how many there have been."""
    for number, item in enumerate(items, 1):
        if number % SHOWN_EVERY == 0:
            shown.update(number, None, f"{number:,} examples")
        yield item
