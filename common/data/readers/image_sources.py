"""Labelled images wherever they stand: a folder, a table, IDX files, an archive of one of these, or a public set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.config import RunConfig
from common.data.file_formats import open_table_file, parse_column_flags
from common.data.loading import (
    LoadedData,
    SourceRequest,
    concatenate_sources,
    file_digest,
    fingerprint_files,
    make_request,
)
from common.data.readers.archives import is_archive, unpack_to_cache
from common.data.readers.idx import is_idx, open_idx, open_idx_folder
from common.data.readers.image_bytes import sniff_image_format
from common.data.readers.image_files import ImageEntry, ImageReader, image_field_names, open_image_folders
from common.data.readers.image_tables import TableReader, open_table_of_images
from common.data.readers.text_folders import list_folder, list_subfolders
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_compressed, suffix
from common.types import Field

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # .json is mostly something else beside images

# Reads a table of texts: its path, the fields, and what is told of broken rows.
Texts = Callable[[Path, tuple[Field, ...], RowErrors], TableReader]


class FileReader(TableReader, Protocol):
    """A reader that knows the files which it reads."""

    @property
    def row_errors(self) -> RowErrors: ...

    def files(self) -> Iterable[tuple[str, Path]]: ...


@dataclass(frozen=True)
class ImageSet:
    """Readers by part, all under "" if there are no parts, and (name, path) of every file that they read."""

    parts: Mapping[str, FileReader]
    files: Callable[[], Iterable[tuple[str, Path]]] = field(repr=False)


@dataclass(frozen=True)
class ImageSourceFinder:
    """Finds the images that a person named.

    Args:
      column_flags: columns by field, where the user said so.
      open_table: reads tables.
      digest: tells a file's bytes from others.
      strict: a broken image is an error.
    """

    fields: tuple[Field, ...]
    column_flags: Mapping[str, str]
    open_table: Texts
    digest: Callable[[Path], str]
    strict: bool

    def open_pair(self, paths: Sequence[Path]) -> ImageSet:
        """Open two IDX files that a comma joins.

        Raises:
          DataError: they are not.
        """
        reader = open_idx(paths, self.fields, RowErrors(self.strict))
        return ImageSet({"": reader}, reader.files)

    def open_source(self, path: Path, name: str) -> ImageSet:
        """Return what a folder or file holds.

        Args:
          name: of it, for people.

        Raises:
          ConfigError: `column_flags` names columns that there are not.
          DataError: it is missing, damaged or holds no labelled images.
        """
        if path.is_dir():
            return self._folder(path, name)
        if is_archive(path):
            root = unpack_to_cache(path, self.digest(path))
            return ImageSet(self._folder(root, name, root).parts, lambda: [(path.name, path)])
        with open_compressed(path) as file:
            head = file.read(16)
        if is_idx(head):
            return self.open_pair([path])
        if sniff_image_format(head) or _is_other_image(head):
            raise DataError(f"{name} is one image: name a folder that has a folder of images for each label.")
        return self._table(path)

    def _folder(self, path: Path, name: str, within: Path | None = None) -> ImageSet:
        """What a folder holds.

        Args:
          within: the folder that paths in a table must not lead out of, if it came out of an archive.
        """
        if pairs := open_idx_folder(path, self.fields, self.strict):
            return ImageSet(pairs, lambda: [file for reader in pairs.values() for file in reader.files()])
        tables = [file for file in list_folder(path) if suffix(file) in TABLES and not file.name.startswith(".")]
        if len(tables) == 1 and tables[0].is_file():
            try:
                return self._table(tables[0], within)
            except (ConfigError, DataError):
                # Folders of labels may have a table of other things beside them.
                if self.column_flags or not list_subfolders(path):
                    raise
        folders = open_image_folders(path, self.fields, self.strict, name)
        return ImageSet(folders, lambda: [file for reader in folders.values() for file in reader.files()])

    def _table(self, path: Path, within: Path | None = None) -> ImageSet:
        def texts(fields: tuple[Field, ...], row_errors: RowErrors) -> TableReader:
            return self.open_table(path, fields, row_errors)

        table: ImageReader = open_table_of_images(
            path, self.fields, self.column_flags, texts, RowErrors(self.strict), within
        )
        return ImageSet({"": table}, lambda: [(path.name, path), *table.files()])


def _is_other_image(head: bytes) -> bool:
    """Whether a file begins as WebP, TIFF or AVIF, which TensorFlow does not know."""
    return head[8:12] == b"WEBP" or head.startswith((b"II*\0", b"MM\0*")) or head[4:12] == b"ftypavif"


def open_image_source(spec: str, fields: Sequence[Field], config: RunConfig) -> LoadedData:
    """Open labelled images: folders, tables of paths, IDX files, archives, or a public set.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    request = make_request(spec, fields, config)
    return _open_public_images(request) if request.is_public else _open_image_files(request)


def open_image_table(
    path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, row_errors: RowErrors
) -> ImageReader:
    """Open a table that names images by their paths, or holds them; see `file_formats.open_table_file`."""

    def texts(as_texts: tuple[Field, ...], row_errors: RowErrors) -> TableReader:
        return open_table_file(path, as_texts, column, encoding, row_errors)

    return open_table_of_images(path, fields, parse_column_flags(column, fields), texts, row_errors)


def _open_image_files(request: SourceRequest) -> LoadedData:
    spec, config = request.spec, request.config

    def texts(table: Path, as_texts: tuple[Field, ...], row_errors: RowErrors) -> TableReader:
        return open_table_file(table, as_texts, config.column, config.encoding, row_errors)

    finder = ImageSourceFinder(request.fields, request.columns, texts, file_digest, config.strict)
    if request.is_joined:
        sets: list[ImageSet] = [finder.open_pair(request.joined_paths())]
    else:
        sets = [finder.open_source(path, spec if path == request.path else str(path)) for path in request.named_paths()]
    if len(sets) > 1 and any(set(image_set.parts) != {""} for image_set in sets):
        raise DataError(f"{spec} names several sources, some of which have parts: give each by a --data of its own.")
    parts = {
        part: concatenate_sources(spec, [request.make_source(part, image_set.parts[part]) for image_set in sets])
        for part in sets[0].parts
    }
    notes = tuple(reader.description for image_set in sets for reader in image_set.parts.values())
    prints = fingerprint_files(file for image_set in sets for file in image_set.files())
    return LoadedData(parts, notes, request.fingerprint(prints))


def _open_public_images(request: SourceRequest) -> LoadedData:
    """A public set of labelled images, as the files that it was made of."""
    public = request.open_public_set()
    image, _ = image_field_names(request.fields)
    readers = {}
    for part, split in public.splits.items():

        def entries(name: str = f"tfds:{public.name} {split}", split: str = split) -> Iterator[ImageEntry]:
            for number, row in enumerate(public.reader(split, image)(), 1):
                yield ImageEntry(f"{name}:{number}", row.pop(image), row)

        note = f"tfds:{public.full_name} {split}; {public.taken}"
        readers[part] = ImageReader(note, image, entries, RowErrors(request.config.strict))
    return request.make_opened(readers, [public.full_name])
