"""Files whose lines belong together: line n of each makes example n, such as a file of texts and one of labels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from common.errors import ConfigError, DataError
from common.problems import Problems
from common.readers import ERRORS, damage, opened, sample
from common.recipe import Example, Field


def aligned(
    paths: Sequence[Path], fields: Sequence[Field], encoding: str | None, problems: Problems
) -> Iterator[Example]:
    """The examples of one pass; the files stand in the order of the fields.

    Lines end at LF or CRLF only. A line that cannot be decoded, or an empty label, is a problem and is left out.

    Raises:
      ConfigError: there are more or fewer files than fields.
      DataError: a file is missing or damaged, or one has more lines than another.
    """
    named = ", ".join(field.name for field in fields)
    if len(paths) != len(fields):
        raise ConfigError(f"{len(paths)} files are joined by commas, but there must be {len(fields)}: {named}.")
    encodings = [sample(path, encoding)[0] for path in paths]
    numbers = [0] * len(paths)
    with ExitStack() as stack:
        files = [
            io.TextIOWrapper(stack.enter_context(opened(path)), name, ERRORS, newline="\n")
            for path, name in zip(paths, encodings, strict=True)
        ]
        for lines in zip_longest(*files):
            numbers = [number + (line is not None) for number, line in zip(numbers, lines, strict=True)]
            if None in lines:
                numbers = [number + sum(1 for _ in file) for number, file in zip(numbers, files, strict=True)]
                counts = " and ".join(f"{path.name} has {n:,} lines" for path, n in zip(paths, numbers, strict=True))
                raise DataError(f"{counts}, but each line of one belongs to one of the other: mend the files.")
            cells = [line.removesuffix("\n").removesuffix("\r") for line in lines]
            if numbers[0] == 1:
                cells = [cell.removeprefix("\ufeff") for cell in cells]
            wrong = [(path, damage([cell], name)) for path, cell, name in zip(paths, cells, encodings, strict=True)]
            empty = [
                path
                for path, field, cell in zip(paths, fields, cells, strict=True)
                if field.kind == "label" and not cell.strip()
            ]
            for path, what in [*wrong, *((path, "has no label") for path in empty)]:
                if what:
                    problems.add(f"{path.name}:{numbers[0]}", what)
                    break
            else:
                yield {
                    field.name: cell.strip() if field.kind == "label" else cell
                    for field, cell in zip(fields, cells, strict=True)
                }
