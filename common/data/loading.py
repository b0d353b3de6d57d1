"""What a person names as data, opened: a file, a glob, a folder, files joined by commas, or tfds:NAME."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.config import RunConfig
from common.data import tfds
from common.data.file_formats import open_table_file, open_tagged_file, parse_column_flags
from common.data.readers.aligned_lines import open_aligned_lines
from common.data.readers.columns import text_error
from common.data.readers.field_roles import get_label_names
from common.data.readers.label_names import read_label_names
from common.data.readers.raw_sentence import RawSentence, make_sentence
from common.data.readers.reader import Reader
from common.data.readers.tagged import TaggedReader, open_tagged, tag_field_names
from common.data.readers.text_folders import open_label_folders
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import expand_path, permission_error
from common.runtime.parallel import parallel_map
from common.types import Example, ExampleSource, Field

PUBLIC = "tfds:"


@dataclass(frozen=True)
class LoadedData:
    """What was named, its parts by name if it has any ("train", "valid", "test"), else all under ""."""

    splits: Mapping[str, ExampleSource]
    descriptions: tuple[str, ...]
    fingerprint: str


# Opens what a --data, --valid or --test value names; a recipe gives its own where its data are no texts.
OpenSource = Callable[[str, Sequence[Field], Any], LoadedData]  # the last is the recipe's Config


@dataclass(frozen=True)
class SourceRequest:
    """What a --data, --valid or --test value names, and how the user wants it to be read.

    Args:
      label_names: new names of labels by old ones.
      columns: by field, where the user said so.
    """

    spec: str
    fields: tuple[Field, ...]
    config: RunConfig
    label_names: Mapping[str, str]
    columns: Mapping[str, str]

    @property
    def is_public(self) -> bool:
        """Whether a public data set is named."""
        return self.spec.startswith(PUBLIC)

    @cached_property
    def path(self) -> Path:
        """The named path, which may be a glob or paths joined by commas.

        Raises:
          ConfigError: the name is empty.
          DataError: no report could hold it.
        """
        if not self.spec.strip():
            raise ConfigError("The name of a source is empty: name a file, a folder or tfds:NAME.")
        path = expand_path(self.spec)
        _check_name(self.spec)
        return path

    @property
    def is_joined(self) -> bool:
        """Whether a comma joins several paths."""
        return "," in self.spec and not self.path.exists()

    def joined_paths(self) -> list[Path]:
        """Return the paths that commas join."""
        return [expand_path(part) for part in self.spec.split(",")]

    def named_paths(self) -> list[Path]:
        """Return the one path that is named, or the files that match a glob, sorted.

        Raises:
          DataError: no file does.
        """
        if self.path.exists() or not any(mark in self.spec for mark in "*?["):
            return [self.path]
        matching = glob.glob(str(self.path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        paths = sorted(path for path in map(Path, matching) if path.is_file())
        if not paths:
            raise DataError(f"No file matches {self.spec}: check the path, or name another.")
        for path in paths:
            _check_name(str(path))
        return paths

    def open_public_set(self, fields: Sequence[Field] | None = None) -> tfds.PublicSet:
        """Open the public data set of this name; see `tfds.open_public_set`."""
        return tfds.open_public_set(
            self.spec.removeprefix(PUBLIC), fields or self.fields, self.columns, self.config.offline
        )

    def make_source(self, part: str, reader: Reader) -> ExampleSource:
        """Return a reader's examples, their labels renamed."""
        return _source(f"{self.spec} {part}".strip(), reader, self.fields, self.label_names)

    def make_opened(self, readers: Mapping[str, Reader], prints: Iterable[str]) -> LoadedData:
        """Return all parts of a source, each of one reader.

        Args:
          prints: what tells its content from others.
        """
        parts = {part: self.make_source(part, reader) for part, reader in readers.items()}
        return LoadedData(parts, tuple(reader.description for reader in readers.values()), self.fingerprint(prints))

    def fingerprint(self, prints: Iterable[str]) -> str:
        """Return what tells content that is read in this way from other."""
        return combine_fingerprints([*prints, str(sorted(self.label_names.items()))])


def make_request(spec: str, fields: Sequence[Field], config: RunConfig) -> SourceRequest:
    """Return what is named, and how to read it.

    Raises:
      ConfigError: `--column` or `--label-names` are wrong.
    """
    names = read_label_names(expand_path(config.label_names)) if config.label_names else {}
    return SourceRequest(spec, tuple(fields), config, names, parse_column_flags(config.column, fields))


def open_table_source(spec: str, fields: Sequence[Field], config: RunConfig) -> LoadedData:
    """Open texts and labels: tables, folders of labels, line-aligned files, catalogues, or a public set.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    request = make_request(spec, fields, config)
    if request.is_public:
        return _open_public_texts(request)
    path = request.path
    if path.is_dir():
        folders = open_label_folders(path, request.fields, config.encoding, config.strict)
        digests = (
            str(file.relative_to(path)) + file_digest(file) for reader in folders.values() for _, file in reader.files()
        )
        return request.make_opened(folders, list(digests))
    if request.is_joined:
        paths = request.joined_paths()
        lines = open_aligned_lines(paths, request.fields, config.encoding, RowErrors(config.strict))
        return request.make_opened({"": lines}, map(file_digest, paths))
    return _open_files(request, open_table_file)


def open_tagged_source(spec: str, fields: Sequence[Field], config: RunConfig) -> LoadedData:
    """Open sentences whose tokens have tags: CoNLL files, JSON, Parquet, exported annotations, or a public set.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    request = make_request(spec, fields, config)
    if request.is_public:
        return _open_public_sentences(request)
    if request.path.is_dir():
        raise DataError(f"{spec} is a folder, where a file of tagged sentences is wanted: name one, or a glob.")
    if request.is_joined:
        raise DataError(
            f"{spec} joins files by commas, but tokens and their tags stand in one file: name one, or give each by a"
            " --data of its own."
        )
    return _open_files(request, open_tagged_file)


def _open_files(request: SourceRequest, open_file: Callable[..., Reader]) -> LoadedData:
    """The examples of some files, one after the other."""
    config, paths = request.config, request.named_paths()
    readers = [
        open_file(path, request.fields, config.column, config.encoding, RowErrors(config.strict), request.label_names)
        for path in paths
    ]
    source = concatenate_sources(request.spec, [request.make_source("", reader) for reader in readers])
    return LoadedData(
        {"": source}, tuple(reader.description for reader in readers), request.fingerprint(map(file_digest, paths))
    )


def _open_public_texts(request: SourceRequest) -> LoadedData:
    public = request.open_public_set()
    parts = {}
    for part, split in public.splits.items():
        source = ExampleSource(f"tfds:{public.name} {split}", public.reader(split))
        numbered = NumberedReader(source, RowErrors(request.config.strict))
        renamed = _source(source.name, numbered, request.fields, request.label_names)
        parts[part] = renamed if request.label_names else source
    note = f"tfds:{public.full_name}; {public.taken}"
    return LoadedData(parts, (note,), request.fingerprint([public.full_name]))


def _open_public_sentences(request: SourceRequest) -> LoadedData:
    public = request.open_public_set()
    tokens, tags = tag_field_names(request.fields)
    parts, notes = {}, []
    for part, split in public.splits.items():
        name, read = f"tfds:{public.name} {split}", public.reader(split)

        def sentences(name: str = name, read: Callable[[], Iterator[Example]] = read) -> Iterator[RawSentence]:
            for number, row in enumerate(read(), 1):
                yield make_sentence(f"{name}:{number}", row[tokens], row[tags])

        reader = open_tagged(name, split, sentences, request.label_names, RowErrors(request.config.strict))
        notes.append(reader.description.replace("; ", ", "))
        parts[part] = _source(name, reader, request.fields, {})
    note = f"tfds:{public.full_name}; {public.taken}; {'; '.join(notes)}"
    return LoadedData(parts, (note,), request.fingerprint([public.full_name]))


@dataclass(frozen=True)
class NumberedReader:
    """The examples of a source, whose places are their numbers from 1."""

    source: ExampleSource
    row_errors: RowErrors
    description: str = ""

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (place, example) of every example."""
        return ((f"{self.source.name}:{number}", example) for number, example in enumerate(self.source, 1))


def _check_name(name: str) -> None:
    """Refuses names that no report of a run could hold, before an hour of training."""
    if text_error(name):
        raise DataError(f"{name!a} is not valid utf-8: rename the file.")


def _source(name: str, reader: Reader, fields: Sequence[Field], names: Mapping[str, str]) -> ExampleSource:
    """A reader's examples, their labels renamed."""
    labels = get_label_names(fields) if names else []

    def read() -> Iterator[Example]:
        reader.row_errors.clear()
        for place, example in reader.rows():
            unknown = next((example[label] for label in labels if example[label] not in names), None)
            if unknown is not None:
                reader.row_errors.add(place, f'has the label "{unknown}", which --label-names does not name')
                continue
            yield example | {label: names[example[label]] for label in labels}

    return ExampleSource(
        name, read, reader.row_errors, reader.repairs if isinstance(reader, TaggedReader) else RowErrors()
    )


def fingerprint_files(named: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """Yield what tells each of the files, (name, path), from others; its name alone where it is not there."""
    return parallel_map(_print, named)


def _print(named: tuple[str, Path]) -> str:
    """A file's name and what tells its bytes from others, if it is there."""
    name, path = named
    is_file = os.path.isfile(path)  # noqa: PTH113 (Path.is_file fails where a name is too long)
    return f"{name} {file_digest(path) if is_file else ''}"


def file_digest(path: Path) -> str:
    """Return what tells a file's bytes from others.

    Raises:
      DataError: there is no such file, or it may not be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except PermissionError:
        raise permission_error(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path, or name another file.") from None


def combine_fingerprints(parts: Sequence[str]) -> str:
    """Return one fingerprint of several."""
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def concatenate_sources(name: str, sources: Sequence[ExampleSource]) -> ExampleSource:
    """Return the examples of several sources, one after the other.

    Parts that were split off one file share its problems, and each tells of all of them; they count once.
    """
    if len(sources) == 1:
        return sources[0]
    row_errors, repairs = RowErrors(), RowErrors()

    def read() -> Iterator[Example]:
        row_errors.clear()
        repairs.clear()
        merged: set[int] = set()
        for source in sources:
            yield from source
            for total, own in ((row_errors, source.row_errors), (repairs, source.repairs)):
                if id(own) not in merged:
                    merged.add(id(own))
                    total.merge(own)

    return ExampleSource(name, read, row_errors, repairs)
