"""Broken rows: counted, the first ones kept to show, an error at once where the user asked to be strict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from common.errors import DataError

SHOWN = 20


class Problems:
    """What could not be used while data was read.

    Args:
      strict: the first problem is an error.
      tell: takes the place and what is wrong, for each.

    >>> problems = Problems()
    >>> problems.add("reviews.csv:17", "has 1 cell where the header has 2")
    >>> problems.count, problems.lines()
    (1, ['reviews.csv:17 has 1 cell where the header has 2'])
    """

    def __init__(self, strict: bool = False, tell: Callable[[str, str], None] | None = None):
        self.strict, self.tell = strict, tell
        self.clear()

    def clear(self) -> None:
        """Forgets all; each pass over the data begins with it."""
        self.count = 0
        self.first: list[tuple[str, str]] = []
        self.kinds: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def add(self, place: str, what: str, kind: str = "") -> None:
        """Counts one broken row.

        Args:
          kind: what is wrong without particulars, of which there are few; where a reader tells it apart.

        Raises:
          DataError: in strict mode.
        """
        if self.strict:
            raise DataError(f"{place} {what}. Mend the row, or leave out --strict to skip it.")
        if self.tell:
            self.tell(place, what)
        self.count += 1
        self.kinds[kind] += 1
        if len(self.first) < SHOWN:
            self.first.append((place, what))

    def merge(self, other: Problems) -> None:
        """Adds what another counted."""
        self.count += other.count
        self.first = (self.first + other.first)[:SHOWN]
        self.kinds += other.kinds
        self.left += other.left

    def leave_out(self, why: str) -> None:
        """Counts a row that is sound but not wanted, which is no error in strict mode.

        Args:
          why: without particulars, such as "with two equal sides".
        """
        self.left[why] += 1

    def left_out(self) -> str:
        """What was left out, by reason, or "".

        >>> problems = Problems()
        >>> problems.leave_out("with an empty side")
        >>> problems.left_out()
        '1 with an empty side'
        """
        return ", ".join(f"{count:,} {why}" for why, count in self.left.most_common())

    def summary(self) -> str:
        """A sentence on how many rows are broken and the first of them, or ""; to stand behind another one."""
        if not self.count:
            return ""
        rows = "row is" if self.count == 1 else "rows are"
        return f" {self.count:,} {rows} broken, first {self.lines()[0]}."

    def lines(self) -> list[str]:
        """The first broken rows, one line each."""
        return [f"{place} {what}" for place, what in self.first]
