"""Raw examples from what a person named: files, or tfds:NAME; and their split into training, validation and test."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

from common import tfds
from common.config import RunConfig
from common.errors import ConfigError, DataError, suggestion
from common.problems import Problems
from common.readers import files
from common.readers.aligned import aligned
from common.readers.columns import unusable
from common.readers.folders import label_folders
from common.readers.jsonl import is_json_lines, json_lines
from common.readers.labels import label_names
from common.readers.parquet import MAGIC, parquet
from common.readers.tables import table
from common.recipe import Example, Field, Source, Splits

SALT = b"kerasserole split 1"  # never changes, so that an example stays in its part for ever
PARTS = ("train", "valid", "test")


def share(example: Example, fields: Sequence[Field]) -> float:
    """Where an example falls between 0 and 1: a hash of its input, so that duplicates never straddle a split.

    Case and blanks do not count, labels neither.
    """
    texts = [" ".join(str(example[field.name]).lower().split()) for field in fields if field.kind != "label"]
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=8, key=SALT).digest()
    return int.from_bytes(digest, "big") / 2**64


def shares(split: str) -> tuple[float, float, float]:
    """The three shares of `--split`, their sum 1.

    >>> shares("80,10,10")
    (0.8, 0.1, 0.1)

    Raises:
      ConfigError: they are not three numbers of which the first is above 0.
    """
    try:
        parts = [float(part) for part in split.split(",")]
        good = len(parts) == 3 and min(parts) >= 0 and parts[0] > 0 and sum(parts) < float("inf")
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f'--split is "{split}", but must be three shares such as 80,10,10, the first above 0.')
    return parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts)


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


class Reader(Protocol):
    """What every module of common/readers gives for a file."""

    @property
    def problems(self) -> Problems: ...

    @property
    def note(self) -> str: ...

    def rows(self) -> Iterator[tuple[str, Example]]: ...


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
        parts, note, mark = tfds.opened(spec[5:], fields, given, config.offline)
        renamed = {name: _renamed(source, fields, names, config.strict) for name, source in parts.items()}
        return Opened(renamed, (note,), _combined([mark, named]))
    if not spec.strip():
        raise ConfigError("The name of a source is empty: name a file, a folder or tfds:NAME.")
    path = files.located(spec)
    _check_name(spec)
    if path.is_dir():
        folders = label_folders(path, tuple(fields), config.encoding, config.strict)
        found = {part: _source(f"{spec} {part}".strip(), one, fields, names) for part, one in folders.items()}
        digests = [str(file.relative_to(path)) + _digest(file) for one in folders.values() for _, file in one.files()]
        return Opened(found, tuple(one.note for one in folders.values()), _combined([*digests, named]))
    if "," in spec and not path.exists():
        paths = [files.located(part) for part in spec.split(",")]
        readers: list[Reader] = [aligned(paths, fields, config.encoding, Problems(config.strict))]
    else:
        paths = _named(spec, path)
        readers = [reader(one, fields, config.column, config.encoding, Problems(config.strict)) for one in paths]
    sources = [_source(spec, one, fields, names) for one in readers]
    notes = tuple(one.note for one in readers)
    return Opened({"": _joined(spec, sources)}, notes, _combined([*map(_digest, paths), named]))


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


def reader(
    path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, problems: Problems
) -> Reader:
    """The reader for what a file holds: Parquet by its first bytes, JSON lines by suffix or first line, else a table.

    Args:
      column: FIELD=COLUMN values.
      problems: is told of broken rows when the file is read.

    Raises:
      ConfigError: `column` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or of no known kind.
    """
    given = columns(column, fields)
    with files.opened(path) as file:
        magic = file.read(len(MAGIC))
    if magic == MAGIC:
        return parquet(path, tuple(fields), given, problems)
    if files.suffix(path) == ".parquet":
        raise DataError(f"{path} is no Parquet file, for it does not begin with PAR1: copy or download it again.")
    _, text = files.sample(path, encoding)
    if is_json_lines(path, text):
        return json_lines(path, tuple(fields), given, encoding, problems)
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

    return Source(name, read, opened.problems)


def _renamed(source: Source, fields: Sequence[Field], names: Mapping[str, str], strict: bool) -> Source:
    """A public set's examples, their labels renamed."""

    class Numbered:
        problems, note = Problems(strict), ""

        def rows(self) -> Iterator[tuple[str, Example]]:
            return ((f"{source.name}:{number}", example) for number, example in enumerate(source, 1))

    return _source(source.name, Numbered(), fields, names) if names else source


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except PermissionError:
        raise files.unreadable(path) from None


def _combined(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _joined(name: str, sources: Sequence[Source]) -> Source:
    if len(sources) == 1:
        return sources[0]
    problems = Problems()

    def read() -> Iterator[Example]:
        problems.clear()
        for source in sources:
            yield from source
            problems.merge(source.problems)

    return Source(name, read, problems)


def _limited(source: Source | None, limit: int | None) -> Source | None:
    if source is None or limit is None:
        return source

    def read() -> Iterator[Example]:
        # A uniform sample in file order (Vitter 1985, algorithm R), since files are often sorted by label.
        random = Random(limit)
        kept: dict[int, tuple[int, Example]] = {}
        for position, example in enumerate(source):
            place = position if position < limit else random.randrange(position + 1)
            if place < limit:
                kept[place] = position, example
        return iter([example for _, example in sorted(kept.values(), key=lambda pair: pair[0])])

    return replace(source, read=read)


def _picked(source: Source, name: str, fields: Sequence[Field], low: float, high: float) -> Source:
    def read() -> Iterator[Example]:
        return (example for example in source if low <= share(example, fields) < high)

    return Source(f"{source.name} ({name}, by hash)", read, source.problems)


def splits(config: RunConfig, fields: Sequence[Field], default: Callable[[], tuple[Source, dict[str, str]]]) -> Splits:
    """The parts of a run.

    `--data` alone is split by stable hash, unless it names its parts. With `--valid`, nothing is taken from `--data`
    and there is no test part but by `--test`.

    Args:
      default: gives the recipe's own data and its attribution, where `--data` is not given.
    """
    parts = shares(config.split)
    notes: list[str] = []
    prints: list[str] = []
    attribution: dict[str, str] = {}

    def gather(specs: Sequence[str]) -> dict[str, Source]:
        found: dict[str, list[Source]] = {}
        for spec in specs:
            one = opened(spec, fields, config)
            notes.extend(one.notes)
            prints.append(one.fingerprint)
            for name, source in one.parts.items():
                found.setdefault(name, []).append(source)
        return {name: _joined(" + ".join(s.name for s in group), group) for name, group in found.items()}

    if config.data:
        data = gather(config.data)
    else:
        for flag in ("column", "encoding", "label_names"):
            if getattr(config, flag) and not (config.valid or config.test):
                raise ConfigError(
                    f"--{flag.replace('_', '-')} says how a file is read, but none is given: add --data FILE."
                )
        source, attribution = default()
        data = {"": source}
        notes.append(source.name)
        prints.append(str(sorted(attribution.items())))
    given = {name: next(iter(gather(specs).values())) for name in ("valid", "test") if (specs := getattr(config, name))}
    if "" in data and set(data) != {""}:
        raise DataError("Some --data name their parts (train, valid, test) and some do not: give one kind only.")
    if "" in data and "valid" in given:
        chosen: dict[str, Source | None] = {"train": data[""]}
    elif "" in data:
        # The share of a test part that is given apart goes to training.
        sizes = (parts[0] + (parts[2] if "test" in given else 0), parts[1], 0 if "test" in given else parts[2])
        named = [(name, size) for name, size in zip(PARTS, sizes, strict=True) if size > 0]
        chosen, low = {}, 0.0
        for name, size in named:
            high = 1.0 if name == named[-1][0] else low + size
            chosen[name] = _picked(data[""], name, fields, low, high)
            low = high
    else:
        chosen = dict(data)
        if "train" not in data:
            raise DataError(f"{config.data[0]} has no part named train, only {', '.join(data)}: give --data another.")
        if "valid" not in data and "valid" not in given and parts[1]:
            cut = parts[0] / (parts[0] + parts[1])
            chosen["train"] = _picked(data["train"], "train", fields, 0, cut)
            chosen["valid"] = _picked(data["train"], "valid", fields, cut, 2.0)
    chosen |= given
    train = _limited(chosen["train"], config.limit)
    assert train is not None
    valid, test = (_limited(chosen.get(name), config.limit) for name in ("valid", "test"))
    fingerprint = _combined(prints)
    return Splits(train, valid, test, tuple(notes), fingerprint, attribution)


def whole(spec: str, fields: Sequence[Field], config: RunConfig) -> tuple[Source, tuple[str, ...]]:
    """Every example of a source, or its test part if it names parts; and notes for people."""
    one = opened(spec, fields, config)
    source = one.parts.get("") or one.parts.get("test") or one.parts.get("valid") or next(iter(one.parts.values()))
    limited = _limited(source, config.limit)
    assert limited is not None
    return limited, one.notes
