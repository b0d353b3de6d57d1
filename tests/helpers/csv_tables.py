"""Tables of texts and labels as `open_csv` reads them."""

from pathlib import Path
from typing import Any

import pytest

from common.data.readers import csv_files
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Field

TEXT = Field("text", "text", ("review", "sentence"))
LABEL = Field("label", "label", ("sentiment", "stars"))
BOTH = (TEXT, LABEL)


def table(
    path: Path,
    fields: tuple[Field, ...] = BOTH,
    encoding: str | None = None,
    row_errors: RowErrors | None = None,
    **columns: str,
) -> csv_files.CsvReader:
    return csv_files.open_csv(path, fields, columns, encoding, row_errors or RowErrors())


def pairs(path: Path, **settings: Any) -> list[tuple[str, str]]:
    """(text, label) of every row; none may be broken."""
    row_errors = RowErrors(strict=True)
    return [(row["text"], row["label"]) for _, row in table(path, row_errors=row_errors, **settings)]


def broken(path: Path, **settings: Any) -> tuple[list[str], list[str]]:
    """What is wrong with which row, and the rows that are left."""
    row_errors = RowErrors()
    rows = [row["text"] for _, row in table(path, row_errors=row_errors, **settings)]
    return row_errors.first_errors(), rows


def message(path: Path, error: type[Exception] = DataError, **settings: Any) -> str:
    with pytest.raises(error) as caught:
        list(table(path, **settings))
    return str(caught.value)
