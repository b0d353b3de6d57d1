"""Tables of texts and labels as `open_csv` reads them."""

import pytest

from common.data.readers import csv_files
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Field

TEXT = Field("text", "text", ("review", "sentence"))
LABEL = Field("label", "label", ("sentiment", "stars"))
BOTH = (TEXT, LABEL)


def table(path, fields=BOTH, encoding=None, row_errors=None, **columns):
    return csv_files.open_csv(path, fields, columns, encoding, row_errors or RowErrors())


def pairs(path, **settings):
    """(text, label) of every row; none may be broken."""
    row_errors = RowErrors(strict=True)
    return [(row["text"], row["label"]) for _, row in table(path, row_errors=row_errors, **settings)]


def broken(path, **settings):
    """What is wrong with which row, and the rows that are left."""
    row_errors = RowErrors()
    rows = [row["text"] for _, row in table(path, row_errors=row_errors, **settings)]
    return row_errors.first_errors(), rows


def message(path, error=DataError, **settings):
    with pytest.raises(error) as caught:
        list(table(path, **settings))
    return str(caught.value)
