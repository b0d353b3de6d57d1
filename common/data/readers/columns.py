"""Which column of a table holds which field of an example, and its cells as the text they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import islice

from common.errors import ConfigError, DataError, did_you_mean
from common.row_errors import RowErrors
from common.text.languages import language_code
from common.types import Example, Field

MOST_LABELS = 50  # a column with more different values is no label, unless it is said to be one


def validate_field_names(columns: Mapping[str, str], fields: Sequence[Field]) -> None:
    """Refuse columns of fields that there are not.

    Raises:
      ConfigError: there is one.
    """
    names = [field.name for field in fields]
    for name in columns:
        if name not in names:
            raise ConfigError(
                f"--column names the field {name}, but there are only: {', '.join(names)}.{did_you_mean(name, names)}"
            )


def cell_to_text(value: object) -> str | None:
    """Return a cell of a typed table as text, None if it is empty.

    >>> cell_to_text(3), cell_to_text(3.0), cell_to_text(True), cell_to_text("3.0"), cell_to_text(None)
    ('3', '3', 'true', '3.0', None)

    Raises:
      TypeError: it is a list or another thing that no text stands for.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):  # whole numbers become these where a column has gaps
        return None if value != value else str(value).removesuffix(".0")
    raise TypeError(f"holds a {type(value).__name__}, not a text")


def make_example(cells: Mapping[str, str | None], fields: Sequence[Field]) -> tuple[Example, str]:
    """Return the example that a row's cells make, labels without surrounding blanks; and what is wrong with it, or "".

    Args:
      cells: by field.
    """
    made: Example = {}
    for field in fields:
        cell = cells.get(field.name)
        if field.kind == "label":
            cell = (cell or "").strip() or None
        if cell is None:
            return {}, f"has no {field.name}"
        if wrong := text_error(cell):
            return {}, wrong
        made[field.name] = cell
    return made, ""


def yield_if_valid(
    location: str, cells: Mapping[str, str | None], wrong: str, fields: Sequence[Field], row_errors: RowErrors
) -> Iterator[tuple[str, Example]]:
    """Yield (location, example) of a row, or nothing if it cannot be used, of which the problems are told.

    Args:
      cells: by field; not looked at if something is wrong already.
      wrong: what is, or "".
    """
    made: Example = {}
    if not wrong:
        made, wrong = make_example(cells, fields)
    if wrong:
        row_errors.add(location, wrong)
    else:
        yield location, made


def text_error(cell: str) -> str:
    r"""Return why a text cannot be used, or "".

    >>> text_error("fine"), text_error("half of \ud83d")
    ('', 'holds half a character (a lone surrogate)')
    """
    if "\0" in cell:
        return "holds a NUL byte"
    try:
        cell.encode()
    except UnicodeEncodeError:  # as escapes of JSON can say it, where a text was cut
        return "holds half a character (a lone surrogate)"
    return ""


def all_text_fields(fields: Sequence[Field]) -> bool:
    """Return whether an example is several texts, which files may keep together.

    A row is then such as {"translation": {"en": ..., "de": ...}}.
    """
    return len(fields) > 1 and all(field.kind == "text" for field in fields)


def is_text_pair(fields: Sequence[Field]) -> bool:
    """Return whether examples are two texts, such as a sentence and its translation."""
    return [field.kind for field in fields] == ["text", "text"]


def is_other_language(column: str, field: Field) -> bool:
    """Return whether a column is named as a language, and the field's names say that it holds another.

    >>> is_other_language("fr", Field("target", "text", ("de", "german")))
    True
    >>> is_other_language("fr", Field("target", "text", ("rendering",)))
    False
    """
    meant = {code for name in field.aliases if (code := language_code(name))}
    return bool(meant) and language_code(column) is not None and language_code(column) not in meant


def quote_list(cells: Iterable[str]) -> str:
    short = [cell if len(cell) <= 30 else cell[:29] + "…" for cell in islice(cells, 31)]
    return ", ".join(f'"{cell}"' for cell in short[:30]) + (", …" if len(short) > 30 else "")


def match_columns(
    name: str,
    first: Sequence[str],
    header: Sequence[str] | None,
    fields: Sequence[Field],
    columns: Mapping[str, str],
    rows: Iterable[Sequence[str]] = (),
    advice: str = "name another file",
) -> dict[str, int]:
    """Return the column of each field: as given, else by name, else by what is left or what the rows hold.

    Args:
      name: of the file, for messages.
      first: the first row or the names of the columns.
      header: the names of the columns, if they have any.
      columns: by field a column's name, or its number from 1, where the user gave one.
      rows: the first ones; looked at where there is no header.
      advice: what to do if there are fewer columns than fields.

    Raises:
      ConfigError: `columns` name what there is not.
      DataError: a field's column cannot be told.
    """
    validate_field_names(columns, fields)
    matcher = _ColumnMatcher(name, first, header, fields)
    matcher.take_chosen(columns)
    if matcher.width < len(fields):
        few = f"{name} has too few columns ({matcher.width}) for {' and '.join(field.name for field in fields)}"
        raise DataError(f"{few}: {advice}. {matcher.description}.")
    matcher.take_named()
    matcher.take_remaining(rows)
    if missing := matcher.missing():
        raise matcher.missing_error(missing)
    return {field.name: matcher.taken[field.name] for field in fields}


@dataclass
class _ColumnMatcher:
    """Finds the column of each field, step by step, the surest way first.

    Args:
      name, first, header, fields: as those of `match_columns`.
      taken: columns by field.
    """

    name: str
    first: Sequence[str]
    header: Sequence[str] | None
    fields: Sequence[Field]
    taken: dict[str, int] = dataclass_field(default_factory=dict)

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.first)

    @property
    def description(self) -> str:
        """The columns that there are, for messages."""
        return f"{'Its columns are' if self.header else 'It has no header, its first row is'}: {quote_list(self.first)}"

    def missing(self) -> list[Field]:
        """Return the fields without a column."""
        return [field for field in self.fields if field.name not in self.taken]

    def free(self) -> list[int]:
        """Return the columns that are no field's."""
        return [index for index in range(self.width) if index not in self.taken.values()]

    def take_chosen(self, columns: Mapping[str, str]) -> None:
        """Take the columns that the user named or numbered."""
        self.taken = {field: self._find_chosen(field, column) for field, column in columns.items()}
        if len(set(self.taken.values())) < len(self.taken):
            flags = " ".join(f"--column {field}={column}" for field, column in columns.items())
            raise ConfigError(
                f"{flags} names one column of {self.name} twice: give each field its own. {self.description}."
            )

    def _find_chosen(self, field: str, column: str) -> int:
        column = column.strip()
        folded = self._folded_header()
        if column.casefold() in folded:
            return folded.index(column.casefold())
        if column.isdecimal() and len(column) < 10 and 1 <= int(column) <= self.width:
            return int(column) - 1
        remedy = f"Name one, or give its number from 1 to {self.width}.{did_you_mean(column, self.header or ())}"
        raise ConfigError(f"--column {field}={column}: {self.name} has no such column. {self.description}. {remedy}")

    def take_named(self) -> None:
        """Take columns that are named as their fields, or by another name that a field is known by."""
        folded = self._folded_header()
        for field in self.missing():
            names = [name.casefold() for name in (field.name, *field.aliases)]
            fitting = (index for name in names for index, cell in enumerate(folded) if cell == name)
            index = next((index for index in fitting if index not in self.taken.values()), None)
            if index is not None:
                self.taken[field.name] = index

    def take_remaining(self, rows: Iterable[Sequence[str]]) -> None:
        """Take columns by what the first rows hold; or the only one that is left, if it has a name."""
        missing, free = self.missing(), self.free()
        if self.header is None:
            self.taken |= _guess_columns(missing, free, rows)
        elif len(missing) == len(free) == 1 and not is_other_language(self.header[free[0]], missing[0]):
            self.taken[missing[0].name] = free[0]

    def missing_error(self, missing: Sequence[Field]) -> DataError:
        """Return the error that some fields have no column."""
        names = (missing[0].name, *missing[0].aliases)
        near = next(filter(None, (did_you_mean(name, self.header or ()) for name in names)), "")
        flags = " ".join(f"--column {field.name}=NAME" for field in missing)
        numbers = "its number" if len(missing) == 1 else "their numbers"
        remedy = f"Say so by {flags}, or by {numbers} from 1 to {self.width}."
        return DataError(f"{self.name}: which column is the {names[0]}? {self.description}. {remedy}{near}")

    def _folded_header(self) -> list[str]:
        return [cell.casefold() for cell in self.header or ()]


def _guess_columns(fields: Sequence[Field], free: Sequence[int], rows: Iterable[Sequence[str]]) -> dict[str, int]:
    """Columns of fields by what rows hold: labels repeat, texts are long. Nothing where that leaves a doubt.

    Where there is just a column for each of several texts, they stand in the order of the fields.
    """
    if len(fields) == len(free) and (len(fields) == 1 or all_text_fields(fields)):
        return {field.name: index for field, index in zip(fields, free, strict=True)}
    kinds = {field.kind: field.name for field in fields}
    if not fields or len(kinds) < len(fields) or not set(kinds) <= {"text", "label"}:
        return {}
    hashes: dict[int, set[int]] = {index: set() for index in free}  # of cells, for one may be large
    lengths, count = dict.fromkeys(free, 0), 0
    for row in rows:
        count += 1
        for index in free:
            hashes[index].add(hash(row[index]))
            lengths[index] += len(row[index])
    if len(fields) == len(free):
        label = min(free, key=lambda index: (len(hashes[index]), lengths[index], -index))  # it mostly comes last
        return {kinds["label"]: label, kinds["text"]: next(index for index in free if index != label)}
    columns = {}
    if "text" in kinds:
        columns[kinds["text"]] = max(free, key=lambda index: lengths[index])
    if "label" in kinds:
        rest = [index for index in free if index not in columns.values()]
        labels = [index for index in rest if len(hashes[index]) <= MOST_LABELS and len(hashes[index]) < count]
        if len(labels) != 1:  # two columns that repeat, such as a language beside the label: the user must say
            return {}
        columns[kinds["label"]] = labels[0]
    return columns
