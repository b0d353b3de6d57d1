"""Which column of a table holds which field of an example, and its cells as the text they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from common import languages
from common.errors import ConfigError, DataError, suggestion
from common.problems import Problems
from common.types import Example, Field

MOST_LABELS = 50  # a column with more different values is no label, unless it is said to be one


def check_fields(columns: Mapping[str, str], fields: Sequence[Field]) -> None:
    """Refuses columns of fields that there are not.

    Raises:
      ConfigError: there is one.
    """
    names = [field.name for field in fields]
    for name in columns:
        if name not in names:
            raise ConfigError(
                f"--column names the field {name}, but there are only: {', '.join(names)}.{suggestion(name, names)}"
            )


def as_text(value: Any) -> str | None:
    """A cell of a typed table as text, None if it is empty.

    >>> as_text(3), as_text(3.0), as_text(True), as_text("3.0"), as_text(None)
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


def example(cells: Mapping[str, str | None], fields: Sequence[Field]) -> tuple[Example, str]:
    """The example that a row's cells make, labels without surrounding blanks; and what is wrong with it, or "".

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
        if wrong := unusable(cell):
            return {}, wrong
        made[field.name] = cell
    return made, ""


def usable(
    place: str, cells: Mapping[str, str | None], wrong: str, fields: Sequence[Field], problems: Problems
) -> Iterator[tuple[str, Example]]:
    """(place, example) of a row, or nothing if it cannot be used, of which the problems are told.

    Args:
      cells: by field; not looked at if something is wrong already.
      wrong: what is, or "".
    """
    made: Example = {}
    if not wrong:
        made, wrong = example(cells, fields)
    if wrong:
        problems.add(place, wrong)
    else:
        yield place, made


def unusable(cell: str) -> str:
    r"""Why a text cannot be used, or "".

    >>> unusable("fine"), unusable("half of \ud83d")
    ('', 'holds half a character (a lone surrogate)')
    """
    if "\0" in cell:
        return "holds a NUL byte"
    try:
        cell.encode()
    except UnicodeEncodeError:  # as escapes of JSON can say it, where a text was cut
        return "holds half a character (a lone surrogate)"
    return ""


def are_texts(fields: Sequence[Field]) -> bool:
    """Whether an example is several texts, which files may keep together: {"translation": {"en": ..., "de": ...}}."""
    return len(fields) > 1 and all(field.kind == "text" for field in fields)


def is_paired(fields: Sequence[Field]) -> bool:
    """Whether examples are two texts, such as a sentence and its translation."""
    return [field.kind for field in fields] == ["text", "text"]


def is_other_language(column: str, field: Field) -> bool:
    """Whether a column is named as a language, and the field's names say that it holds another.

    >>> is_other_language("fr", Field("target", "text", ("de", "german")))
    True
    >>> is_other_language("fr", Field("target", "text", ("rendering",)))
    False
    """
    meant = {code for name in field.names if (code := languages.code(name))}
    return bool(meant) and languages.code(column) is not None and languages.code(column) not in meant


def listed(cells: Iterable[str]) -> str:
    short = [cell if len(cell) <= 30 else cell[:29] + "…" for cell in islice(cells, 31)]
    return ", ".join(f'"{cell}"' for cell in short[:30]) + (", …" if len(short) > 30 else "")


def positions(
    name: str,
    first: Sequence[str],
    header: Sequence[str] | None,
    fields: Sequence[Field],
    columns: Mapping[str, str],
    rows: Iterable[Sequence[str]] = (),
    advice: str = "name another file",
) -> dict[str, int]:
    """The column of each field: as given, else by name, else by what is left or what the rows hold.

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
    check_fields(columns, fields)
    has = f"{'Its columns are' if header else 'It has no header, its first row is'}: {listed(first)}"
    width = len(first)
    found = {field: _given(name, field, column, header, width, has) for field, column in columns.items()}
    if len(set(found.values())) < len(found):
        given = " ".join(f"--column {field}={column}" for field, column in columns.items())
        raise ConfigError(f"{given} names one column of {name} twice: give each field its own. {has}.")
    if width < len(fields):
        few = f"{name} has too few columns ({width}) for {' and '.join(field.name for field in fields)}"
        raise DataError(f"{few}: {advice}. {has}.")
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
    elif len(left) == len(free) == 1 and not is_other_language(header[free[0]], left[0]):
        found[left[0].name] = free[0]  # the other one of two columns
    if lacking := [one for one in left if one.name not in found]:
        one = lacking[0]
        near = (suggestion(known, header or ()) for known in (one.name, *one.names))
        flags = " ".join(f"--column {lacks.name}=NAME" for lacks in lacking)
        numbers = "its number" if len(lacking) == 1 else "their numbers"
        remedy = f"Say so by {flags}, or by {numbers} from 1 to {width}."
        raise DataError(f"{name}: which column is the {one.name}? {has}. {remedy}{next(filter(None, near), '')}")
    return {one.name: found[one.name] for one in fields}


def _given(name: str, field: str, column: str, header: Sequence[str] | None, width: int, has: str) -> int:
    """The column that the user named or numbered."""
    column = column.strip()
    folded = [cell.casefold() for cell in header or ()]
    if column.casefold() in folded:
        return folded.index(column.casefold())
    if column.isdecimal() and len(column) < 10 and 1 <= int(column) <= width:
        return int(column) - 1
    remedy = f"Name one, or give its number from 1 to {width}.{suggestion(column, header or ())}"
    raise ConfigError(f"--column {field}={column}: {name} has no such column. {has}. {remedy}")


def _guessed(fields: Sequence[Field], free: Sequence[int], rows: Iterable[Sequence[str]]) -> dict[str, int]:
    """Columns of fields by what rows hold: labels repeat, texts are long. Nothing where that leaves a doubt.

    Where there is just a column for each of several texts, they stand in the order of the fields.
    """
    if len(fields) == len(free) and (len(fields) == 1 or are_texts(fields)):
        return {field.name: at for field, at in zip(fields, free, strict=True)}
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
