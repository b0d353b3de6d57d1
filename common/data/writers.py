"""Rows as the content of files of any kind that a person may have; the readers of common/readers read them back."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Row = Mapping[str, object]


def to_csv(rows: Sequence[Row], separator: str = ",") -> bytes:
    """Return a table with a header, cut at commas or tabs.

    >>> to_csv([{"text": "No, thanks", "label": "neg"}])
    b'text,label\\n"No, thanks",neg\\n'
    """
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return file.getvalue().encode()


def to_jsonl(rows: Iterable[object]) -> bytes:
    """Return a JSON object, or list, on each line.

    >>> to_jsonl([{"text": "schön"}]).decode()
    '{"text": "schön"}\\n'
    """
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def to_json_array(rows: Iterable[object]) -> bytes:
    """Return one JSON list, with an object or list on each line.

    >>> to_json_array([{"text": "schön"}, {"text": "no"}]).decode()
    '[{"text": "schön"},\\n{"text": "no"}]\\n'
    """
    return ("[" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "]\n").encode()


def to_parquet(rows: Sequence[Row]) -> bytes:
    """Return a Parquet file whose columns are the keys of the rows."""
    import pyarrow
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), file)
    return file.getvalue()


def to_table_files(name: str, rows: Sequence[Row]) -> dict[str, bytes]:
    """Return the same rows as CSV, TSV, JSON lines and Parquet, by file names that begin with `name`."""
    return {
        f"{name}.csv": to_csv(rows),
        f"{name}.tsv": to_csv(rows, "\t"),
        f"{name}.jsonl": to_jsonl(rows),
        f"{name}.parquet": to_parquet(rows),
    }


def to_text_lines(texts: Iterable[str]) -> bytes:
    """Return a text on each line.

    >>> to_text_lines(["one", "two"])
    b'one\\ntwo\\n'
    """
    return "".join(text + "\n" for text in texts).encode()


def to_gettext_files(name: str, pairs: Sequence[tuple[str, str]], language: str) -> dict[str, bytes]:
    """Return messages and translations as gettext catalogues, .po and .mo, by file names that begin with `name`."""
    import polib

    file = polib.POFile(wrapwidth=0)
    file.metadata = {"Language": language, "MIME-Version": "1.0", "Content-Type": "text/plain; charset=UTF-8"}
    file.extend(polib.POEntry(msgid=message, msgstr=translation) for message, translation in pairs)
    return {f"{name}.po": f"{file}\n".encode(), f"{name}.mo": file.to_binary()}


def to_tmx(pairs: Iterable[tuple[str, str]], source: str, target: str) -> bytes:
    """Return a translation memory, TMX 1.4.

    Args:
      source, target: codes of the languages.
    """

    def variant(language: str, text: str) -> str:
        return f'      <tuv xml:lang="{language}"><seg>{escape(text)}</seg></tuv>\n'

    units = "".join(
        f"    <tu>\n{variant(source, source_text)}{variant(target, target_text)}    </tu>\n"
        for source_text, target_text in pairs
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
        f'  <header creationtool="kerasserole" creationtoolversion="1" segtype="sentence" o-tmf="none" adminlang="en"'
        f' srclang="{source}" datatype="plaintext"/>\n  <body>\n{units}  </body>\n</tmx>\n'
    ).encode()


def to_zip(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of files by their names, the same bytes whenever it is made."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def to_idx(values: ArrayLike) -> bytes:
    """Return an IDX file, which MNIST is made of, of bytes in one dimension (labels) or three (images of one size).

    >>> to_idx([7, 2]).hex(" ")
    '00 00 08 01 00 00 00 02 07 02'
    """
    import numpy as np

    array = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
