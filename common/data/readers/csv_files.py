"""Tables in CSV and TSV files: how a file is laid out, found once, and its rows, one at a time."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from common.data.readers.columns import all_text_fields, match_columns, yield_if_valid
from common.data.readers.reader import Reader
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_text, read_head, suffix, text_damage
from common.text.languages import language_code
from common.types import Example, Field

DELIMITER_ROWS, GUESS_ROWS = 50, 1000
LONGEST_CELL = 100_000_000  # characters; the csv module's own limit of 131,072 is less than a long document
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}  # in order of preference
QUOTED = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"(?=\t|\Z)')  # a whole cell of a tab file
_csv_limit = threading.Lock()  # the csv module has one limit for the whole process

Row = tuple[int, list[str], str]  # line where it starts, cells, what is wrong with it or ""


@dataclass(frozen=True)
class CsvReader(Reader):
    """A file whose layout is known; its rows can be read as often as one likes.

    Args:
      header: the first row's cells without surrounding blanks, or None if that row is an example.
      positions: column of each field, from 0, in the fields' order.
      width: number of columns.
      row_errors: is told of every row that cannot be used.
    """

    path: Path
    delimiter: str
    encoding: str
    header: tuple[str, ...] | None
    positions: dict[str, int]
    width: int
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        """How the file was understood, for people."""
        layout = f"{DELIMITERS[self.delimiter]}-separated" if self.width > 1 else "one column"
        names = self.header or [""] * self.width
        columns = {name: f'"{names[at]}"' if names[at] else f"column {at + 1}" for name, at in self.positions.items()}
        taken = ", ".join(f"{name} = {column}" for name, column in columns.items())
        return f"{self.path.name}: {layout}, {self.encoding}, {'header' if self.header else 'no header'}; {taken}"

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sound row, such as ("a.csv:2", {"text": "fine", "label": "pos"}).

        Raises:
          DataError: the file cannot be read to its end, or a row is broken and `row_errors` is strict.
        """
        with _open_rows(self.path, self.encoding, self.delimiter) as rows:
            if self.header is not None:
                next(rows, None)
            for number, cells, wrong in rows:
                location = f"{self.path.name}:{number}"
                wrong = wrong or text_damage("".join(cells), self.encoding)
                if not wrong and len(cells) != self.width:
                    cell = "cell" if len(cells) == 1 else "cells"
                    wrong = f"has {len(cells)} {cell} where the first row has {self.width}"
                named = {} if wrong else {name: cells[at] for name, at in self.positions.items()}
                yield from yield_if_valid(location, named, wrong, self.fields, self.row_errors)

    __iter__ = rows


def open_csv(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], encoding: str | None, row_errors: RowErrors
) -> CsvReader:
    """Open a CSV or TSV file, plain or compressed by gzip or xz, its layout found from its bytes.

    Args:
      fields: all that an example must hold.
      columns: by field a column's name or its number from 1, where the user gave one.
      encoding: as the user gave it; None finds it.
      row_errors: is told of broken rows when the table is read.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or no such table.
    """
    encoding, text = read_head(path, encoding)
    delimiter = _detect_delimiter(path, text)
    with _open_rows(path, encoding, delimiter) as rows:
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path} is empty: name a file with a row for each example.")
        number, cells, wrong = first
        if wrong := wrong or text_damage("".join(cells), encoding):
            remedy = "Mend that row, or say by --encoding NAME how the file is written."
            raise DataError(f"{path.name}:{number} {wrong}, so the columns cannot be known. {remedy}")
        known = {name.casefold() for field in fields for name in (field.name, *field.aliases)}
        # A number is no name: the first row of examples may well hold the label 2.
        known |= {given.strip().casefold() for given in columns.values() if not given.strip().isdecimal()}
        named = any(cell.strip().casefold() in known for cell in cells)
        if not named and all_text_fields(fields):  # but "en" and "de" are none
            named = all(language_code(cell) for cell in cells)
        header = tuple(cell.strip() for cell in cells) if named else None
        start = first if header is None else next(rows, None)
        if start is None:
            raise DataError(f"{path} has a header but no rows: add a row for each example, or name another file.")
        counts: Counter[bool] = Counter()

        def sound() -> Iterator[list[str]]:
            for _, row, wrong in islice(chain([start], rows), GUESS_ROWS):
                counts[fits := len(row) == len(cells) and not wrong] += 1
                if fits:
                    yield row

        advice = "separate cells by commas (.csv) or tabs (.tsv)"
        indices = match_columns(path.name, cells, header, fields, columns, sound(), advice)
        if counts[False] > counts[True]:  # such as prose whose first line holds a comma
            few = f"only {counts[True]:,} of its first {counts.total():,} rows have {len(cells)} cells as the first one"
            raise DataError(f"{path} is no table, for {few}: {advice}.")
    return CsvReader(path, delimiter, encoding, header, indices, len(cells), fields, row_errors)


# Rows and cells


@contextmanager
def _open_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Iterator[Row]]:
    with open_text(path, encoding, "\n" if delimiter == "\t" else "") as lines:
        yield _read_rows(lines, delimiter)


def _read_rows(lines: io.TextIOBase, delimiter: str) -> Iterator[Row]:
    """Every row but blank lines. In a single column a line of blanks is a text, an empty line still is none."""
    unmarked = chain([lines.readline().lstrip("\ufeff")], lines)  # some programs mark a marked file again
    width = 0  # of the first row
    for row in _read_tab_rows(unmarked) if delimiter == "\t" else _read_csv_rows(unmarked, delimiter):
        _, cells, wrong = row
        if wrong or "".join(cells).strip() or len(cells) > 1 or (cells and width == 1):
            width = width or len(cells)
            yield row


def _read_tab_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            line = line[:-2] if line.endswith("\r\n") else line[:-1]
        yield number, split_tsv_line(line) if line else [], ""


def split_tsv_line(line: str) -> list[str]:
    r"""Return the cells of a line of a tab file, where a quote is most often just a quote.

    >>> split_tsv_line('"Not "bad"\t1')
    ['"Not "bad"', '1']
    >>> split_tsv_line('"A ""bad"" film"\t1')
    ['A "bad" film', '1']
    """
    if '"' not in line:
        return line.split("\t")
    cells, at = [], 0
    while at <= len(line):
        if match := QUOTED.match(line, at):
            cells.append(match[1].replace('""', '"'))
            at = match.end() + 1
        else:
            end = line.find("\t", at)
            end = len(line) if end < 0 else end
            cells.append(line[at:end])
            at = end + 1
    return cells


def _read_csv_rows(lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    exhausted = False

    def feed() -> Iterator[str]:
        nonlocal exhausted
        yield from lines
        exhausted = True

    reader = csv.reader(feed(), delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            cells = _read_csv_row(reader)
        except csv.Error as error:
            yield number, [], f"is not CSV ({error})"
            continue
        if cells is None:
            return
        # The reader asks for a line after the last one only from within a quoted cell.
        yield number, cells, "opens a quote that is never closed, which loses the rest of the file" if exhausted else ""


def _read_csv_row(reader: Iterator[list[str]]) -> list[str] | None:
    with _csv_limit:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(before)


# Layout


def _detect_delimiter(path: Path, text: str) -> str:
    """By suffix a tab, or that with which the most first rows are as wide as the first one."""
    named = suffix(path)
    lines = [line for line in islice(io.StringIO(text), DELIMITER_ROWS) if line.strip()]
    if named == ".tsv" or (named != ".csv" and 2 * sum("\t" in line for line in lines) > len(lines)):
        return "\t"

    def consistency(delimiter: str) -> float:
        stream = io.StringIO(text, newline="\n" if delimiter == "\t" else "")
        widths = [len(cells) for _, cells, _ in islice(_read_rows(stream, delimiter), DELIMITER_ROWS)]
        return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0

    return max(DELIMITERS, key=consistency)
