"""Tables of text and labels in CSV and TSV files: how a file is laid out, found once, and its rows, one at a time."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import lzma
import re
import stat
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError, suggestion
from common.problems import Problems
from common.recipe import Field

SAMPLE = 2**20  # bytes from which the encoding and the delimiter are taken
DELIMITER_ROWS, GUESS_ROWS, MOST_LABELS = 50, 1000, 50
LONGEST_CELL = 100_000_000  # characters; the csv module's own limit of 131,072 is less than a long document
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}  # in order of preference
BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROLS = {chr(code) for code in range(32)} - set("\t\n\v\f\r\x1b")
QUOTED = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"(?=\t|\Z)')  # a whole cell of a tab file
BROKEN = "\udc80"  # stands where bytes could not be decoded: a lone surrogate, which no valid text holds
ERRORS = "kerasserole-mark"
_csv_limit = threading.Lock()  # the csv module has one limit for the whole process

Row = tuple[int, list[str], str]  # line where it starts, cells, what is wrong with it or ""


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return BROKEN, error.end


codecs.register_error(ERRORS, _mark)


@dataclass(frozen=True)
class Table:
    """A file whose layout is known; its rows can be read as often as one likes.

    Args:
      header: the first row's cells without surrounding blanks, or None if that row is an example.
      positions: column of each field, from 0, in the fields' order.
      width: number of columns.
      problems: is told of every row that cannot be used.
    """

    path: Path
    delimiter: str
    encoding: str
    header: tuple[str, ...] | None
    positions: dict[str, int]
    width: int
    fields: tuple[Field, ...] = field(repr=False)
    problems: Problems = field(repr=False, compare=False)

    @property
    def note(self) -> str:
        """How the file was understood, for people."""
        layout = f"{DELIMITERS[self.delimiter]}-separated" if self.width > 1 else "one column"
        names = self.header or [""] * self.width
        columns = {name: f'"{names[at]}"' if names[at] else f"column {at + 1}" for name, at in self.positions.items()}
        taken = ", ".join(f"{name} = {column}" for name, column in columns.items())
        return f"{self.path.name}: {layout}, {self.encoding}, {'header' if self.header else 'no header'}; {taken}"

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(place, example) of every row that can be used, such as ("a.csv:2", {"text": "fine", "label": "pos"}).

        Raises:
          DataError: the file cannot be read to its end, or a row is broken and `problems` is strict.
        """
        labels = [field.name for field in self.fields if field.kind == "label"]
        with _opened_rows(self.path, self.encoding, self.delimiter) as rows:
            if self.header is not None:
                next(rows, None)
            for number, cells, wrong in rows:
                place = f"{self.path.name}:{number}"
                wrong = wrong or damage(cells, self.encoding)
                if not wrong and len(cells) != self.width:
                    cell = "cell" if len(cells) == 1 else "cells"
                    wrong = f"has {len(cells)} {cell} where the first row has {self.width}"
                if not wrong:
                    example = {name: cells[at] for name, at in self.positions.items()}
                    for name in labels:
                        example[name] = example[name].strip()
                        wrong = wrong or ("" if example[name] else f"has no {name}")
                if wrong:
                    self.problems.add(place, wrong)
                else:
                    yield place, example

    __iter__ = rows


def table(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], encoding: str | None, problems: Problems
) -> Table:
    """A CSV or TSV file, plain or compressed by gzip or xz, its layout found from its bytes.

    Args:
      fields: all that an example must hold.
      columns: by field a column's name or its number from 1, where the user gave one.
      encoding: as the user gave it; None finds it.
      problems: is told of broken rows when the table is read.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or no such table.
    """
    for name in columns:
        if name not in (names := [field.name for field in fields]):
            raise ConfigError(
                f"--column names the field {name}, but there are only: {', '.join(names)}.{suggestion(name, names)}"
            )
    encoding, text = sample(path, encoding)
    delimiter = _delimiter(path, text)
    with _opened_rows(path, encoding, delimiter) as rows:
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path} is empty: name a file with a row for each example.")
        number, cells, wrong = first
        if wrong := wrong or damage(cells, encoding):
            remedy = "Mend that row, or say by --encoding NAME how the file is written."
            raise DataError(f"{path.name}:{number} {wrong}, so the columns cannot be known. {remedy}")
        known = {name.casefold() for field in fields for name in (field.name, *field.names)}
        # A number is no name: the first row of examples may well hold the label 2.
        known |= {given.strip().casefold() for given in columns.values() if not given.strip().isdecimal()}
        header = tuple(cell.strip() for cell in cells) if any(c.strip().casefold() in known for c in cells) else None
        start = first if header is None else next(rows, None)
        if start is None:
            raise DataError(f"{path} has a header but no rows: add a row for each example, or name another file.")
        sound = (row for _, row, wrong in chain([start], rows) if len(row) == len(cells) and not wrong)
        positions = _positions(path.name, cells, header, fields, columns, islice(sound, GUESS_ROWS))
    return Table(path, delimiter, encoding, header, positions, len(cells), fields, problems)


# Bytes and encoding


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A binary file, decompressed. What goes wrong while it is open becomes a DataError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path} is a folder, not a table: name a .csv or .tsv file.")
        if not stat.S_ISREG(mode):  # a pipe gives its bytes once, and they are needed twice
            raise DataError(f"{path} is a pipe or device, which cannot be read twice: save it as a file first.")
        with open(path, "rb") as plain:
            magic = plain.read(6)
            plain.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=plain) as unzipped:
                    yield unzipped
            elif magic == b"\xfd7zXZ\x00":
                with lzma.LZMAFile(plain) as unpacked:
                    yield unpacked
            else:
                yield plain
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is damaged ({error}): copy or download the compressed file again.") from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path, or name another file.") from None
    except PermissionError:
        raise DataError(f"{path} may not be read: change its permissions, or name another file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): name another file.") from None


def sample(path: Path, given: str | None) -> tuple[str, str]:
    """The encoding, and the beginning of the file as text."""
    with opened(path) as file:
        data = file.read(SAMPLE)
    if not data:
        raise DataError(f"{path} is empty: name a file with a row for each example.")
    final = len(data) < SAMPLE  # else the last character may be cut
    marked = next((name for bom, name in BOMS if data.startswith(bom)), None)
    try:
        if given is not None:
            io.TextIOWrapper(io.BytesIO(b"a"), given, ERRORS).read()
    except (LookupError, ValueError):
        raise ConfigError(f'--encoding is "{given}", which is none that Python knows: try utf-8 or cp1252.') from None
    if marked and (given is None or codecs.lookup(given).name.startswith("utf")):
        encoding = marked  # a mark is surer than a person who says utf-8 of utf-16
    elif given is not None:
        encoding = given
    else:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(data, final)
            encoding = "utf-8"
        except UnicodeDecodeError:
            encoding = "cp1252"
    text = codecs.getincrementaldecoder(encoding)(ERRORS).decode(data, final)
    if "\0" in text and _is_binary(text, encoding):
        remedy = "save it as CSV or TSV in UTF-8, or say by --encoding NAME (such as utf-16-le) how it is written"
        raise DataError(f"{path} is binary data, not text: {remedy}.")
    return encoding, text


def _is_binary(text: str, encoding: str) -> bool:
    """Whether NULs are in its nature, not strays in a row: compressed bytes are a tenth controls, text hardly any."""
    odd = sum(count for char, count in Counter(text).items() if char in CONTROLS or char == BROKEN)
    limit = 0.02 if encoding == "cp1252" or BROKEN in text else 0.2
    return "\0" in text.partition("\n")[0] or odd > limit * len(text)


# Rows and cells


@contextmanager
def _opened_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Iterator[Row]]:
    with opened(path) as file:
        if file.read(3) != codecs.BOM_UTF8:  # skipped here too, for someone may call a marked file latin-1
            file.seek(0)
        with io.TextIOWrapper(file, encoding, ERRORS, newline="\n" if delimiter == "\t" else "") as lines:
            yield _rows(lines, delimiter)


def _rows(lines: io.TextIOBase, delimiter: str) -> Iterator[Row]:
    """Every row but blank lines. In a single column a line of blanks is a text, an empty line still is none."""
    unmarked = chain([lines.readline().lstrip("\ufeff")], lines)  # some programs mark a marked file again
    width = 0  # of the first row
    for row in _tab_rows(unmarked) if delimiter == "\t" else _csv_rows(unmarked, delimiter):
        _, cells, wrong = row
        if wrong or "".join(cells).strip() or len(cells) > 1 or (cells and width == 1):
            width = width or len(cells)
            yield row


def _tab_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            line = line[:-2] if line.endswith("\r\n") else line[:-1]
        yield number, tab_cells(line) if line else [], ""


def tab_cells(line: str) -> list[str]:
    r"""The cells of a line of a tab file, where a quote is most often just a quote.

    >>> tab_cells('"Not "bad"\t1')
    ['"Not "bad"', '1']
    >>> tab_cells('"A ""bad"" film"\t1')
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


def _csv_rows(lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    exhausted = False

    def feed() -> Iterator[str]:
        nonlocal exhausted
        yield from lines
        exhausted = True

    reader = csv.reader(feed(), delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            cells = _next_csv_row(reader)
        except csv.Error as error:
            yield number, [], f"is not CSV ({error})"
            continue
        if cells is None:
            return
        # The reader asks for a line after the last one only from within a quoted cell.
        yield number, cells, "opens a quote that is never closed, which loses the rest of the file" if exhausted else ""


def _next_csv_row(reader: Iterator[list[str]]) -> list[str] | None:
    with _csv_limit:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(before)


def damage(cells: Iterable[str], encoding: str) -> str:
    for cell in cells:
        if BROKEN in cell:
            return f"is not valid {encoding}"
        if "\0" in cell:
            return "holds a NUL byte"
    return ""


# Layout


def _delimiter(path: Path, text: str) -> str:
    """By suffix a tab, or that with which the most first rows are as wide as the first one."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".xz")]
    suffix = suffixes[-1] if suffixes else ""
    lines = [line for line in islice(io.StringIO(text), DELIMITER_ROWS) if line.strip()]
    if suffix == ".tsv" or (suffix != ".csv" and 2 * sum("\t" in line for line in lines) > len(lines)):
        return "\t"

    def consistency(delimiter: str) -> float:
        stream = io.StringIO(text, newline="\n" if delimiter == "\t" else "")
        widths = [len(cells) for _, cells, _ in islice(_rows(stream, delimiter), DELIMITER_ROWS)]
        return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0

    return max(DELIMITERS, key=consistency)


def _listed(cells: Iterable[str]) -> str:
    short = [cell if len(cell) <= 30 else cell[:29] + "…" for cell in islice(cells, 31)]
    return ", ".join(f'"{cell}"' for cell in short[:30]) + (", …" if len(short) > 30 else "")


def _positions(
    name: str,
    first: Sequence[str],
    header: Sequence[str] | None,
    fields: Sequence[Field],
    columns: Mapping[str, str],
    rows: Iterable[Sequence[str]],
) -> dict[str, int]:
    """The column of each field: as given, else by name, else by what is left or what the rows hold."""
    has = f"{'Its columns are' if header else 'It has no header, its first row is'}: {_listed(first)}"
    width = len(first)
    found = {field: _given(name, field, column, header, width, has) for field, column in columns.items()}
    if len(set(found.values())) < len(found):
        given = " ".join(f"--column {field}={column}" for field, column in columns.items())
        raise ConfigError(f"{given} names one column of {name} twice: give each field its own. {has}.")
    if width < len(fields):
        few = f"{name} has too few columns ({width}) for {' and '.join(field.name for field in fields)}"
        raise DataError(f"{few}: separate cells by commas (.csv) or tabs (.tsv). {has}.")
    folded = [cell.casefold() for cell in header or ()]
    for one in fields:
        names = [known.casefold() for known in (one.name, *one.names)]
        fitting = [at for known in names for at, cell in enumerate(folded) if cell == known]
        free = [at for at in fitting if at not in found.values()]
        if free and one.name not in found:
            found[one.name] = free[0]
    left = [one for one in fields if one.name not in found]
    free = [at for at in range(width) if at not in found.values()]
    if header is None:
        found |= _guessed(left, free, rows)
    elif len(left) == len(free) == 1:  # such as the other one of two columns
        found[left[0].name] = free[0]
    for one in left:
        if one.name not in found:
            near = (suggestion(known, header or ()) for known in (one.name, *one.names))
            remedy = f"Say so by --column {one.name}=NAME, or by its number from 1 to {width}."
            raise DataError(f"{name}: which column is the {one.name}? {has}. {remedy}{next(filter(None, near), '')}")
    return {one.name: found[one.name] for one in fields}


def _given(name: str, field: str, column: str, header: Sequence[str] | None, width: int, has: str) -> int:
    """The column that the user named or numbered."""
    column = column.strip()
    folded = [cell.casefold() for cell in header or ()]
    if column.casefold() in folded:
        return folded.index(column.casefold())
    if column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    remedy = f"Name one, or give its number from 1 to {width}.{suggestion(column, header or ())}"
    raise ConfigError(f"--column {field}={column}: {name} has no such column. {has}. {remedy}")


def _guessed(fields: Sequence[Field], free: Sequence[int], rows: Iterable[Sequence[str]]) -> dict[str, int]:
    """Columns of fields by what rows hold: labels repeat, texts are long. Nothing where that leaves a doubt."""
    if len(fields) == len(free) == 1:
        return {fields[0].name: free[0]}
    kinds = {field.kind: field.name for field in fields}
    if not fields or len(kinds) < len(fields) or not set(kinds) <= {"text", "label"}:
        return {}
    values: dict[int, set[int]] = {at: set() for at in free}  # hashes, for a cell may be large
    length, count = dict.fromkeys(free, 0), 0
    for row in rows:
        count += 1
        for at in free:
            values[at].add(hash(row[at]))
            length[at] += len(row[at])
    if len(fields) == len(free):
        label = min(free, key=lambda at: (len(values[at]), length[at], -at))  # the label mostly comes last
        return {kinds["label"]: label, kinds["text"]: next(at for at in free if at != label)}
    found = {}
    if "text" in kinds:
        found[kinds["text"]] = max(free, key=lambda at: length[at])
    if "label" in kinds:
        rest = [at for at in free if at not in found.values()]
        labels = [at for at in rest if len(values[at]) <= MOST_LABELS and len(values[at]) < count]
        if len(labels) != 1:  # two columns that repeat, such as a language beside the label: the user must say
            return {}
        found[kinds["label"]] = labels[0]
    return found
