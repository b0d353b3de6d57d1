"""Raw examples from what a person named: files, or tfds:NAME; and their split into training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from common import readers, tfds
from common.aligned import aligned
from common.config import RunConfig
from common.errors import ConfigError, DataError, suggestion
from common.problems import Problems
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


@dataclass(frozen=True)
class Opened:
    """One named source, its parts by name if it has any ("train", "valid", "test"), else all under ""."""

    parts: Mapping[str, Source]
    note: str
    fingerprint: str


def opened(spec: str, fields: Sequence[Field], config: RunConfig) -> Opened:
    """What a --data, --valid or --test value names.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    if spec.startswith("tfds:"):
        parts, note, mark = tfds.opened(spec[5:], fields, columns(config.column, fields), config.offline)
        return Opened(parts, note, mark)
    path = Path(spec).expanduser()
    problems = Problems(config.strict)
    if "," in spec and not path.exists():
        return _opened_aligned(spec, fields, config, problems)
    table = readers.table(path, tuple(fields), columns(config.column, fields), config.encoding, problems)

    def read() -> Iterator[Example]:
        problems.clear()
        for _, example in table.rows():
            yield example

    return Opened({"": Source(spec, read, problems)}, table.note, _digest(path))


def _opened_aligned(spec: str, fields: Sequence[Field], config: RunConfig, problems: Problems) -> Opened:
    paths = [Path(part).expanduser() for part in spec.split(",")]

    def read() -> Iterator[Example]:
        problems.clear()
        return aligned(paths, fields, config.encoding, problems)

    for _ in aligned(paths, fields, config.encoding, Problems()):  # so that unequal files are refused at once
        pass
    note = f"{spec}; " + ", ".join(f"{f.name} = lines of {p.name}" for f, p in zip(fields, paths, strict=True))
    return Opened({"": Source(spec, read, problems)}, note, "".join(map(_digest, paths)))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _joined(name: str, sources: Sequence[Source], problems: Problems) -> Source:
    if len(sources) == 1:
        return sources[0]

    def read() -> Iterator[Example]:
        problems.clear()
        for source in sources:
            yield from source
            problems.count += source.problems.count
            problems.first += source.problems.first

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
            notes.append(one.note)
            prints.append(one.fingerprint)
            for name, source in one.parts.items():
                found.setdefault(name, []).append(source)
        return {name: _joined(" + ".join(s.name for s in group), group, Problems()) for name, group in found.items()}

    if config.data:
        data = gather(config.data)
    else:
        for flag in ("column", "encoding"):
            if getattr(config, flag) and not (config.valid or config.test):
                raise ConfigError(f"--{flag} says how a file is read, but none is given: add --data FILE.")
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
    fingerprint = hashlib.blake2b("\n".join(prints).encode(), digest_size=16).hexdigest()
    return Splits(train, valid, test, tuple(notes), fingerprint, attribution)


def whole(spec: str, fields: Sequence[Field], config: RunConfig) -> tuple[Source, str]:
    """Every example of a source, or its test part if it names parts; and a note for people."""
    one = opened(spec, fields, config)
    source = one.parts.get("") or one.parts.get("test") or one.parts.get("valid") or next(iter(one.parts.values()))
    limited = _limited(source, config.limit)
    assert limited is not None
    return limited, one.note
