"""The raw examples of a run: what a person named, split into training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from common.config import RunConfig
from common.errors import ConfigError, DataError
from common.opening import combined, joined, opened
from common.readers.grid import fingerprint as music_fingerprint
from common.recipe import Example, Field, Source, Splits

SALT = b"kerasserole split 1"  # never changes, so that an example stays in its part for ever
PARTS = ("train", "valid", "test")


def share(example: Example, fields: Sequence[Field]) -> float:
    """Where an example falls between 0 and 1: a hash of its input, so that duplicates never straddle a split.

    Case and blanks do not count, labels and tags neither. An image counts by its bytes. Of several texts only the first
    one counts, so that all translations of a sentence are in one part. A piece of music counts by its notes, however
    they are transposed.
    """
    # Of tokens the text in which they stand, so that another way to cut it moves nothing.
    named = (
        "text" if field.kind == "tokens" else field.name for field in fields if field.kind not in ("label", "tags")
    )
    digest = hashlib.blake2b(_content(example[next(named)]), digest_size=8, key=SALT).digest()
    return int.from_bytes(digest, "big") / 2**64


def _content(value: Any) -> bytes:
    """What of a field counts."""
    if isinstance(value, np.ndarray):
        return music_fingerprint(value)
    return value if isinstance(value, bytes) else " ".join(str(value).lower().split()).encode("utf-8", "replace")


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

    return Source(f"{source.name} ({name}, by hash)", read, source.problems, source.repairs)


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
        return {name: joined(" + ".join(s.name for s in group), group) for name, group in found.items()}

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
    fingerprint = combined(prints)
    return Splits(train, valid, test, tuple(notes), fingerprint, attribution)


def whole(spec: str, fields: Sequence[Field], config: RunConfig) -> tuple[Source, tuple[str, ...]]:
    """Every example of a source, or its test part if it names parts; and notes for people."""
    one = opened(spec, fields, config)
    source = one.parts.get("") or one.parts.get("test") or one.parts.get("valid") or next(iter(one.parts.values()))
    limited = _limited(source, config.limit)
    assert limited is not None
    return limited, one.notes
