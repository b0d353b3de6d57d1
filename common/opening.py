"""What a person names as data, opened: a file, a glob, a folder, files joined by commas, or tfds:NAME."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tfds
from common.config import RunConfig
from common.errors import ConfigError, DataError, suggestion
from common.parallel import in_parallel
from common.problems import Problems
from common.readers import files, music
from common.readers.aligned import aligned
from common.readers.annotations import annotated, is_export, tagged_annotations
from common.readers.columns import are_texts, is_paired, unusable
from common.readers.conll import conll
from common.readers.folders import label_folders
from common.readers.gettext import catalogue, is_catalogue
from common.readers.image_sets import Finder, ImageSet
from common.readers.image_tables import image_table
from common.readers.jsonl import is_json_lines, json_lines
from common.readers.labels import label_names
from common.readers.parquet import MAGIC, parquet, tagged_parquet
from common.readers.reader import Reader
from common.readers.tables import table
from common.readers.tagged import Tagged, tagged_json_lines
from common.readers.tmx import is_memory, memory
from common.types import Example, Field, Source

HEAD = 4096  # bytes by which a file's kind is known


def columns(given: Sequence[str], fields: Sequence[Field]) -> dict[str, str]:
    """The `--column FIELD=COLUMN` values by field.

    Raises:
      ConfigError: a value without "=" or of a field that there is not.
    """
    names, found = [field.name for field in fields], {}
    for value in given:
        name, equals, column = value.partition("=")
        if not equals or not column:
            raise ConfigError(f'--column is "{value}", but must be FIELD=COLUMN, such as {names[0]}=body.')
        if name not in names:
            raise ConfigError(
                f'--column names the field "{name}", but there are only: {", ".join(names)}.{suggestion(name, names)}'
            )
        found[name] = column
    return found


@dataclass(frozen=True)
class Opened:
    """What was named, its parts by name if it has any ("train", "valid", "test"), else all under ""."""

    parts: Mapping[str, Source]
    notes: tuple[str, ...]
    fingerprint: str


def opened(spec: str, fields: Sequence[Field], config: RunConfig) -> Opened:
    """What a --data, --valid or --test value names: a file, a glob, a folder, files joined by commas, or tfds:NAME.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    names = label_names(files.located(config.label_names)) if config.label_names else {}
    named = str(sorted(names.items()))
    given = columns(config.column, fields)
    if spec.startswith("tfds:"):
        if is_image(fields):
            read, mark = tfds.image_parts(spec[5:], fields, given, config.offline, config.strict)
            parts = {part: _source(f"{spec} {part}", one, fields, names) for part, one in read.items()}
            return Opened(parts, tuple(one.note for one in read.values()), combined([mark, named]))
        if is_music(fields):
            steps = getattr(config, "steps_per_beat")  # noqa: B009 (only recipes of music have it)
            pieces, mark = tfds.music_parts(spec[5:], fields, given, config.offline, steps, config.strict)
            parts = {part: _source(f"{spec} {part}", one, fields, {}) for part, one in pieces.items()}
            return Opened(parts, tuple(one.note for one in pieces.values()), combined([mark, str(steps)]))
        if is_tagged(fields):
            parts, note, mark = tfds.tagged_parts(spec[5:], fields, given, config.offline, names, config.strict)
            return Opened(parts, (note,), combined([mark, named]))
        parts, note, mark = tfds.opened(spec[5:], fields, given, config.offline)
        renamed = {name: _renamed(source, fields, names, config.strict) for name, source in parts.items()}
        return Opened(renamed, (note,), combined([mark, named]))
    if not spec.strip():
        raise ConfigError("The name of a source is empty: name a file, a folder or tfds:NAME.")
    path = files.located(spec)
    _check_name(spec)
    if is_image(fields):
        return _opened_images(spec, path, fields, config, names)
    if is_music(fields):
        return _opened_music(spec, path, fields, config)
    if path.is_dir():
        if is_tagged(fields):
            raise DataError(f"{spec} is a folder, where a file of tagged sentences is wanted: name one, or a glob.")
        folders = label_folders(path, tuple(fields), config.encoding, config.strict)
        found = {part: _source(f"{spec} {part}".strip(), one, fields, names) for part, one in folders.items()}
        digests = [str(file.relative_to(path)) + digest(file) for one in folders.values() for _, file in one.files()]
        return Opened(found, tuple(one.note for one in folders.values()), combined([*digests, named]))
    if "," in spec and not path.exists():
        if is_tagged(fields):
            told = "joins files by commas, but tokens and their tags stand in one file"
            raise DataError(f"{spec} {told}: name one, or give each by a --data of its own.")
        paths = [files.located(part) for part in spec.split(",")]
        readers: list[Reader] = [aligned(paths, fields, config.encoding, Problems(config.strict))]
    else:
        paths = _named(spec, path)
        readers = [reader(one, fields, config.column, config.encoding, Problems(config.strict), names) for one in paths]
    sources = [_source(spec, one, fields, names) for one in readers]
    notes = tuple(one.note for one in readers)
    return Opened({"": joined(spec, sources)}, notes, combined([*map(digest, paths), named]))


def _opened_images(
    spec: str, path: Path, fields: Sequence[Field], config: RunConfig, names: Mapping[str, str]
) -> Opened:
    """As `opened`, of labelled images."""

    def texts(table: Path, as_texts: tuple[Field, ...], problems: Problems) -> Reader:
        return reader(table, as_texts, config.column, config.encoding, problems)

    finder = Finder(tuple(fields), columns(config.column, fields), texts, digest, config.strict)
    if "," in spec and not path.exists():
        sets: list[ImageSet] = [finder.pair([files.located(part) for part in spec.split(",")])]
    else:
        sets = [finder.found(one, spec if one == path else str(one)) for one in _named(spec, path)]
    if len(sets) > 1 and any(set(one.parts) != {""} for one in sets):
        raise DataError(f"{spec} names several sources, some of which have parts: give each by a --data of its own.")
    parts = {
        part: joined(spec, [_source(f"{spec} {part}".strip(), one.parts[part], fields, names) for one in sets])
        for part in sets[0].parts
    }
    notes = tuple(one.note for found in sets for one in found.parts.values())
    prints = in_parallel(_print, (file for one in sets for file in one.files()))
    return Opened(parts, notes, combined([*prints, str(sorted(names.items()))]))


def _opened_music(spec: str, path: Path, fields: Sequence[Field], config: RunConfig) -> Opened:
    """As `opened`, of pieces of music."""
    if config.column:
        raise ConfigError(
            f"--column says what columns hold, but files of music such as {spec} have none: leave it out."
        )
    steps = getattr(config, "steps_per_beat")  # noqa: B009 (only recipes of music have it)
    by_comma = "," in spec and not path.exists()
    paths = [files.located(one) for one in spec.split(",")] if by_comma else _named(spec, path)
    read, marked = music.opened(spec, paths, steps, config.strict, digest)
    parts = {part: _source(f"{spec} {part}".strip(), one, fields, {}) for part, one in read.items()}
    prints = in_parallel(_print, marked)
    return Opened(parts, tuple(one.note for one in read.values()), combined([*prints, str(steps)]))


def _print(named: tuple[str, Path]) -> str:
    """A file's name and what tells its bytes from others, if it is there."""
    name, path = named
    is_file = os.path.isfile(path)  # noqa: PTH113 (Path.is_file fails where a name is too long)
    return f"{name} {digest(path) if is_file else ''}"


def _check_name(name: str) -> None:
    """Refuses names that no report of a run could hold, before an hour of training."""
    if unusable(name):
        raise DataError(f"{name!a} is not valid utf-8: rename the file.")


def _named(spec: str, path: Path) -> list[Path]:
    """The files that a path or a glob names, sorted."""
    if path.exists() or not any(mark in spec for mark in "*?["):
        return [path]
    matching = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    found = sorted(one for one in map(Path, matching) if one.is_file())
    if not found:
        raise DataError(f"No file matches {spec}: check the path, or name another.")
    for one in found:
        _check_name(str(one))
    return found


def is_tagged(fields: Sequence[Field]) -> bool:
    """Whether examples are sentences whose tokens have tags."""
    return any(field.kind == "tags" for field in fields)


def is_image(fields: Sequence[Field]) -> bool:
    """Whether examples hold images."""
    return any(field.kind == "image" for field in fields)


def is_music(fields: Sequence[Field]) -> bool:
    """Whether examples are pieces of music."""
    return any(field.kind == "events" for field in fields)


def reader(
    path: Path,
    fields: Sequence[Field],
    column: Sequence[str],
    encoding: str | None,
    problems: Problems,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """The reader for what a file holds: Parquet by its first bytes, JSON by suffix or first line, else a table.

    Where fields are tags, the latter is a CoNLL file. Where one is an image, the file names the images by their paths.
    Where they are two texts, the file may be a gettext catalogue or TMX, which hold them in the fields' order. JSON is
    lines or an array, of rows or of annotated tasks.

    Args:
      column: FIELD=COLUMN values.
      problems: is told of broken rows when the file is read.
      names: of tags and entity types; other labels are renamed elsewhere.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or of no known kind.
    """
    given, names = columns(column, fields), names or {}
    if is_image(fields):
        return image_table(
            path, fields, given, lambda texts, told: reader(path, texts, column, encoding, told), problems
        )
    with files.opened(path) as file:
        head = file.read(HEAD)
    if is_paired(fields) and is_memory(path, head):
        return memory(path, tuple(fields), given, problems)
    if is_paired(fields) and is_catalogue(path, head):
        return catalogue(path, tuple(fields), encoding, problems)
    if head.startswith(MAGIC):
        if is_tagged(fields):
            return tagged_parquet(path, tuple(fields), given, names, problems)
        return parquet(path, tuple(fields), given, problems)
    if files.suffix(path) == ".parquet":
        raise DataError(f"{path} is no Parquet file, for it does not begin with PAR1: copy or download it again.")
    found, text = files.sample(path, encoding)
    if is_json_lines(path, text):
        if not are_texts(fields) and is_export(path, found):
            if is_tagged(fields):
                return tagged_annotations(path, tuple(fields), given, encoding, names, problems)
            return annotated(path, tuple(fields), given, encoding, problems)
        if is_tagged(fields):
            return tagged_json_lines(path, tuple(fields), given, encoding, names, problems)
        return json_lines(path, tuple(fields), given, encoding, problems)
    if is_tagged(fields):
        return conll(path, fields, given, encoding, names, problems)
    return table(path, tuple(fields), given, encoding, problems)


def _source(name: str, opened: Reader, fields: Sequence[Field], names: Mapping[str, str]) -> Source:
    """A reader's examples, their labels renamed."""
    labels = [field.name for field in fields if field.kind == "label"] if names else []

    def read() -> Iterator[Example]:
        opened.problems.clear()
        for place, example in opened.rows():
            unknown = next((example[label] for label in labels if example[label] not in names), None)
            if unknown is not None:
                opened.problems.add(place, f'has the label "{unknown}", which --label-names does not name')
                continue
            yield example | {label: names[example[label]] for label in labels}

    return Source(name, read, opened.problems, opened.repairs if isinstance(opened, Tagged) else Problems())


def _renamed(source: Source, fields: Sequence[Field], names: Mapping[str, str], strict: bool) -> Source:
    """A public set's examples, their labels renamed."""

    class Numbered:
        problems, note = Problems(strict), ""

        def rows(self) -> Iterator[tuple[str, Example]]:
            return ((f"{source.name}:{number}", example) for number, example in enumerate(source, 1))

    return _source(source.name, Numbered(), fields, names) if names else source


def digest(path: Path) -> str:
    """What tells a file's bytes from others.

    Raises:
      DataError: there is no such file, or it may not be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except PermissionError:
        raise files.unreadable(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path, or name another file.") from None


def combined(parts: Sequence[str]) -> str:
    """One fingerprint of several."""
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def joined(name: str, sources: Sequence[Source]) -> Source:
    """The examples of several sources, one after the other.

    Parts that were split off one file share its problems, and each tells of all of them; they count once.
    """
    if len(sources) == 1:
        return sources[0]
    problems, repairs = Problems(), Problems()

    def read() -> Iterator[Example]:
        problems.clear()
        repairs.clear()
        told: set[int] = set()
        for source in sources:
            yield from source
            for whole, one in ((problems, source.problems), (repairs, source.repairs)):
                if id(one) not in told:
                    told.add(id(one))
                    whole.merge(one)

    return Source(name, read, problems, repairs)
