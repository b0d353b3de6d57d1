"""Broken rows: counted, the first ones kept to show, an error at once where the user asked to be strict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from common.errors import DataError

SHOWN = 20


class RowErrors:
    """What could not be used while data was read.

    Args:
      strict: the first problem is an error.
      on_error: takes the location and what is wrong, for each.

    >>> problems = RowErrors()
    >>> problems.add("reviews.csv:17", "has 1 cell where the header has 2")
    >>> problems.count, problems.first_errors()
    (1, ['reviews.csv:17 has 1 cell where the header has 2'])
    """

    def __init__(self, strict: bool = False, on_error: Callable[[str, str], None] | None = None):
        self.strict, self.on_error = strict, on_error
        self.clear()

    def clear(self) -> None:
        """Forget all; each pass over the data begins with it."""
        self.count = 0
        self.first: list[tuple[str, str]] = []
        self.kinds: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def add(self, location: str, what: str, kind: str = "") -> None:
        """Count one broken row.

        Args:
          kind: what is wrong without particulars, of which there are few; where a reader tells it apart.

        Raises:
          DataError: in strict mode.
        """
        if self.strict:
            raise DataError(f"{location} {what}. Mend the row, or leave out --strict to skip it.")
        if self.on_error:
            self.on_error(location, what)
        self.count += 1
        self.kinds[kind] += 1
        if len(self.first) < SHOWN:
            self.first.append((location, what))

    def merge(self, other: RowErrors) -> None:
        """Add what another counted."""
        self.count += other.count
        self.first = (self.first + other.first)[:SHOWN]
        self.kinds += other.kinds
        self.left += other.left

    def count_filtered(self, why: str) -> None:
        """Count a row that is sound but not wanted, which is no error in strict mode.

        Args:
          why: without particulars, such as "with two equal sides".
        """
        self.left[why] += 1

    def filtered_summary(self) -> str:
        """Return what was left out, by reason, or "".

        >>> problems = RowErrors()
        >>> problems.count_filtered("with an empty side")
        >>> problems.filtered_summary()
        '1 with an empty side'
        """
        return ", ".join(f"{count:,} {why}" for why, count in self.left.most_common())

    def summary(self) -> str:
        """Return a sentence on how many rows are broken and the first of them, or ""; to stand behind another one."""
        if not self.count:
            return ""
        rows = "row is" if self.count == 1 else "rows are"
        return f" {self.count:,} {rows} broken, first {self.first_errors()[0]}."

    def first_errors(self) -> list[str]:
        """Return the first broken rows, one line each."""
        return [f"{location} {what}" for location, what in self.first]
