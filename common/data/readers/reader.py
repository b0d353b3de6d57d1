"""What every reader of a file gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from common.row_errors import RowErrors
from common.types import Example


class Reader(Protocol):
    """A file, or several, whose examples can be read as often as one likes and in the same order."""

    if TYPE_CHECKING:  # when it runs, this is a field of the dataclasses that are readers

        @property
        def row_errors(self) -> RowErrors:
            """Is told of every row that cannot be used."""

    @property
    @abstractmethod
    def description(self) -> str:
        """How the file was understood, for people."""

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every row that can be used."""
