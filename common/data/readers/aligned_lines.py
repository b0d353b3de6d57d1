"""Files whose lines belong together: line n of each makes example n, such as a file of texts and one of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from common.data.readers.columns import make_example
from common.data.readers.reader import Reader
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_text, read_head, text_damage
from common.types import Example, Field


@dataclass(frozen=True)
class AlignedLinesReader(Reader):
    """Files in the order of the fields.

    Args:
      encodings: of each file.
      row_errors: is told of every line that cannot be used.
    """

    paths: tuple[Path, ...]
    encodings: tuple[str, ...]
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        pairs = zip(self.fields, self.paths, strict=True)
        return "line-aligned files; " + ", ".join(f"{field.name} = lines of {path.name}" for field, path in pairs)

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every line that can be used; the location names the first file.

        Lines end at LF or CRLF only. A line that cannot be decoded, or an empty label, is a problem.

        Raises:
          DataError: a file is damaged, or one has more lines than another; or a line is broken and `row_errors` strict.
        """
        count = 0
        with ExitStack() as stack:
            files = [
                stack.enter_context(open_text(path, encoding, "\n"))
                for path, encoding in zip(self.paths, self.encodings, strict=True)
            ]
            for lines in zip_longest(*files):
                if None in lines:
                    counts = [
                        count + (line is not None) + sum(1 for _ in file)
                        for line, file in zip(lines, files, strict=True)
                    ]
                    pairs = zip(self.paths, counts, strict=True)
                    totals = " and ".join(f"{path.name} has {n:,} lines" for path, n in pairs)
                    raise DataError(f"{totals}, but each line of one belongs to one of the other: mend the files.")
                count += 1
                cells = [line.removesuffix("\n").removesuffix("\r") for line in lines]
                if count == 1:
                    cells = [cell.removeprefix("\ufeff") for cell in cells]
                locations = [f"{path.name}:{count}" for path in self.paths]
                damages = (text_damage(cell, name) for cell, name in zip(cells, self.encodings, strict=True))
                wrong = [(location, what) for location, what in zip(locations, damages, strict=True) if what]
                if wrong:
                    self.row_errors.add(*wrong[0])
                    continue
                made, lacks = make_example(
                    {field.name: cell for field, cell in zip(self.fields, cells, strict=True)}, self.fields
                )
                if lacks:
                    empty = [
                        field.kind == "label" and not cell.strip()
                        for field, cell in zip(self.fields, cells, strict=True)
                    ]
                    self.row_errors.add(locations[empty.index(True)], lacks)
                else:
                    yield locations[0], made


def open_aligned_lines(
    paths: Sequence[Path], fields: Sequence[Field], encoding: str | None, row_errors: RowErrors
) -> AlignedLinesReader:
    """Open files that stand in the order of the fields.

    Raises:
      ConfigError: there are more or fewer files than fields, or `encoding` is none.
      DataError: a file is missing, damaged or empty.
    """
    named = ", ".join(field.name for field in fields)
    if len(paths) != len(fields):
        raise ConfigError(f"{len(paths)} files are joined by commas, but there must be {len(fields)}: {named}.")
    encodings = tuple(read_head(path, encoding)[0] for path in paths)
    return AlignedLinesReader(tuple(paths), encodings, tuple(fields), row_errors)
