"""Tables that name images by their paths, or hold them: CSV, TSV, JSON lines and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from common.data.readers.columns import make_example
from common.data.readers.image_files import OTHERS, ImageEntry, ImageReader, image_field_names
from common.data.readers.parquet import MAGIC, ImageRow, open_image_parquet
from common.row_errors import RowErrors
from common.runtime.open_file import open_compressed
from common.types import Example, Field


class TableReader(Protocol):
    """A reader of tables (see reader.Reader)."""

    @property
    def description(self) -> str: ...

    def rows(self) -> Iterator[tuple[str, Example]]: ...


def open_table_of_images(
    path: Path,
    fields: Sequence[Field],
    chosen: Mapping[str, str],
    texts: Callable[[tuple[Field, ...], RowErrors], TableReader],
    row_errors: RowErrors,
    within: Path | None = None,
) -> ImageReader:
    """Open the images that a table names by their paths, or holds as bytes if it is a Parquet file.

    Paths are relative to the table's folder. In Parquet, an image may also be a struct of bytes and path, as the
    library `datasets` writes it.

    Args:
      chosen: columns by field, where the user said so.
      texts: reads the table, the image being a text.
      within: a folder that no path may lead out of.

    Raises:
      ConfigError: `chosen` names what there is not.
      DataError: the table is missing, damaged or empty, or lacks a column.
    """
    image, _ = image_field_names(fields)
    others = [field for field in fields if field.kind != "image"]
    with open_compressed(path) as file:
        packed = file.read(len(MAGIC)) == MAGIC
    if packed:
        note, rows = open_image_parquet(path, tuple(fields), chosen)
    else:
        note, rows = _open_text_rows(image, fields, texts)

    def entries() -> Iterator[ImageEntry]:
        for location, value, cells, wrong in rows():
            rest, lacks = make_example(cells, others) if not wrong else ({}, "")
            wrong = wrong or lacks
            if isinstance(value, bytes) or wrong or not (value and value.strip()):
                content = value if isinstance(value, bytes) else b""
                yield ImageEntry(
                    location, content, rest, wrong=wrong or ("" if value is not None and content else f"has no {image}")
                )
                continue
            value = value.strip()
            target = _resolve_path(path.parent, value)
            if within is not None and not target.resolve().is_relative_to(within.resolve()):
                wrong = f"names {value}, which is outside of the archive"
            elif target.suffix.lower() in OTHERS:
                wrong = f"names {value}, which is no image"
            yield ImageEntry(location, target, rest, value, wrong)

    return ImageReader(note, image, entries, row_errors)


def _open_text_rows(
    image: str, fields: Sequence[Field], texts: Callable[[tuple[Field, ...], RowErrors], TableReader]
) -> tuple[str, Callable[[], Iterator[ImageRow]]]:
    """A table's note and what reads its rows, the broken ones in their places."""
    broken: list[tuple[str, str]] = []
    as_texts = tuple(Field(field.name, "text", field.aliases) if field.kind == "image" else field for field in fields)
    table = texts(as_texts, RowErrors(on_error=lambda location, what: broken.append((location, what))))

    def take_broken() -> Iterator[ImageRow]:
        while broken:
            location, what = broken.pop(0)
            yield location, None, {}, what

    def rows() -> Iterator[ImageRow]:
        broken.clear()
        for location, example in table.rows():
            yield from take_broken()
            yield location, example.pop(image), example, ""
        yield from take_broken()

    return table.description, rows


def _resolve_path(folder: Path, value: str) -> Path:
    """The path that a table names; a backslash may part folders, as Windows writes them."""
    path = folder / value
    if "\\" in value:
        try:
            path.stat()
        except OSError:
            return folder / value.replace("\\", "/")
    return path
