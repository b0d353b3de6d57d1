"""Labelled images wherever they stand: a folder, a table, IDX files, an archive of one of these, or a public set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.config import RunConfig
from common.data.file_formats import columns, open_table_file
from common.data.loading import Opened, SourceRequest, digest, file_prints, joined, make_request
from common.data.readers import idx
from common.data.readers.archives import is_archive, unpacked
from common.data.readers.image_bytes import kind
from common.data.readers.image_files import Entry, Images, image_folders, named
from common.data.readers.image_tables import Rows, image_table
from common.data.readers.text_folders import listed, sub_folders
from common.errors import ConfigError, DataError
from common.row_errors import Problems
from common.runtime.open_file import opened, suffix
from common.types import Field

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # .json is mostly something else beside images

# Reads a table of texts: its path, the fields, and what is told of broken rows.
Texts = Callable[[Path, tuple[Field, ...], Problems], Rows]


class Filed(Rows, Protocol):
    """A reader that knows the files which it reads."""

    @property
    def problems(self) -> Problems: ...

    def files(self) -> Iterable[tuple[str, Path]]: ...


@dataclass(frozen=True)
class ImageSet:
    """Readers by part, all under "" if there are no parts, and (name, path) of every file that they read."""

    parts: Mapping[str, Filed]
    files: Callable[[], Iterable[tuple[str, Path]]] = field(repr=False)


@dataclass(frozen=True)
class Finder:
    """Finds the images that a person named.

    Args:
      given: columns by field, where the user said so.
      texts: reads tables.
      digest: tells a file's bytes from others.
      strict: a broken image is an error.
    """

    fields: tuple[Field, ...]
    given: Mapping[str, str]
    texts: Texts
    digest: Callable[[Path], str]
    strict: bool

    def pair(self, paths: Sequence[Path]) -> ImageSet:
        """Two IDX files that a comma joins.

        Raises:
          DataError: they are not.
        """
        one = idx.idx(paths, self.fields, Problems(self.strict))
        return ImageSet({"": one}, one.files)

    def found(self, path: Path, name: str) -> ImageSet:
        """What a folder or file holds.

        Args:
          name: of it, for people.

        Raises:
          ConfigError: `given` names columns that there are not.
          DataError: it is missing, damaged or holds no labelled images.
        """
        if path.is_dir():
            return self._folder(path, name)
        if is_archive(path):
            root = unpacked(path, self.digest(path))
            return ImageSet(self._folder(root, name, root).parts, lambda: [(path.name, path)])
        with opened(path) as file:
            head = file.read(16)
        if idx.is_idx(head):
            return self.pair([path])
        if kind(head) or _is_other_image(head):
            raise DataError(f"{name} is one image: name a folder that has a folder of images for each label.")
        return self._table(path)

    def _folder(self, path: Path, name: str, within: Path | None = None) -> ImageSet:
        """What a folder holds.

        Args:
          within: the folder that paths in a table must not lead out of, if it came out of an archive.
        """
        if pairs := idx.idx_folder(path, self.fields, self.strict):
            return ImageSet(pairs, lambda: [file for one in pairs.values() for file in one.files()])
        tables = [one for one in listed(path) if suffix(one) in TABLES and not one.name.startswith(".")]
        if len(tables) == 1 and tables[0].is_file():
            try:
                return self._table(tables[0], within)
            except (ConfigError, DataError):
                # Folders of labels may have a table of other things beside them.
                if self.given or not sub_folders(path):
                    raise
        folders = image_folders(path, self.fields, self.strict, name)
        return ImageSet(folders, lambda: [file for one in folders.values() for file in one.files()])

    def _table(self, path: Path, within: Path | None = None) -> ImageSet:
        def texts(fields: tuple[Field, ...], problems: Problems) -> Rows:
            return self.texts(path, fields, problems)

        table: Images = image_table(path, self.fields, self.given, texts, Problems(self.strict), within)
        return ImageSet({"": table}, lambda: [(path.name, path), *table.files()])


def _is_other_image(head: bytes) -> bool:
    """Whether a file begins as WebP, TIFF or AVIF, which TensorFlow does not know."""
    return head[8:12] == b"WEBP" or head.startswith((b"II*\0", b"MM\0*")) or head[4:12] == b"ftypavif"


def open_image_source(spec: str, fields: Sequence[Field], config: RunConfig) -> Opened:
    """Opens labelled images: folders, tables of paths, IDX files, archives, or a public set.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    request = make_request(spec, fields, config)
    return _open_public_images(request) if request.is_public else _open_image_files(request)


def open_image_table(
    path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, problems: Problems
) -> Images:
    """Open a table that names images by their paths, or holds them; see `file_formats.open_table_file`."""

    def texts(as_texts: tuple[Field, ...], problems: Problems) -> Rows:
        return open_table_file(path, as_texts, column, encoding, problems)

    return image_table(path, fields, columns(column, fields), texts, problems)


def _open_image_files(request: SourceRequest) -> Opened:
    spec, config = request.spec, request.config

    def texts(table: Path, as_texts: tuple[Field, ...], problems: Problems) -> Rows:
        return open_table_file(table, as_texts, config.column, config.encoding, problems)

    finder = Finder(request.fields, request.columns, texts, digest, config.strict)
    if request.is_joined:
        sets: list[ImageSet] = [finder.pair(request.joined_paths())]
    else:
        sets = [finder.found(path, spec if path == request.path else str(path)) for path in request.named_paths()]
    if len(sets) > 1 and any(set(image_set.parts) != {""} for image_set in sets):
        raise DataError(f"{spec} names several sources, some of which have parts: give each by a --data of its own.")
    parts = {
        part: joined(spec, [request.make_source(part, image_set.parts[part]) for image_set in sets])
        for part in sets[0].parts
    }
    notes = tuple(reader.description for image_set in sets for reader in image_set.parts.values())
    prints = file_prints(file for image_set in sets for file in image_set.files())
    return Opened(parts, notes, request.fingerprint(prints))


def _open_public_images(request: SourceRequest) -> Opened:
    """A public set of labelled images, as the files that it was made of."""
    public = request.open_public_set()
    image, _ = named(request.fields)
    readers = {}
    for part, split in public.splits.items():

        def entries(name: str = f"tfds:{public.name} {split}", split: str = split) -> Iterator[Entry]:
            for number, row in enumerate(public.reader(split, image)(), 1):
                yield Entry(f"{name}:{number}", row.pop(image), row)

        note = f"tfds:{public.full_name} {split}; {public.taken}"
        readers[part] = Images(note, image, entries, Problems(request.config.strict))
    return request.make_opened(readers, [public.full_name])
