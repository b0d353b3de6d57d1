"""The raw examples of a run: what a person named, split into training, validation and test."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from random import Random

import numpy as np

from common.config import RunConfig
from common.data.loading import OpenSource, combined, joined, open_table_source
from common.data.readers.field_roles import get_identity_name, get_label_names, get_tags_name
from common.data.readers.note_grid import fingerprint as music_fingerprint
from common.data.shared_reading import NO_SPLIT, KeepStep, SplitReader, SplitRows, add_step, keep_in_memory
from common.data.stratification import cut, strata
from common.errors import ConfigError, DataError
from common.text.tag_schemes import entities
from common.types import Example, Field, Source, Splits

SMALL = 1_000  # examples; fewer are split by label and rank, for cutting the range of hashes is too uneven
FILLED = 10  # different examples; so many are enough for no part to be empty
SMALL_BYTES = 2**26  # of all examples of a small source; it is kept in memory, so that it is read once
SALT = b"kerasserole split 1"  # never changes, so that an example stays in its part for ever
PARTS = ("train", "valid", "test")


def share(example: Example, fields: Sequence[Field]) -> float:
    """Where an example falls between 0 and 1: a hash of its input, so that duplicates never straddle a split.

    Case and blanks do not count, labels and tags neither. An image counts by its bytes. Of several texts only the first
    one counts, so that all translations of a sentence are in one part. A piece of music counts by its notes, however
    they are transposed.
    """
    digest = hashlib.blake2b(content(example[get_identity_name(fields)]), digest_size=8, key=SALT).digest()
    return int.from_bytes(digest, "big") / 2**64


def content(value: object) -> bytes:
    """What of a field counts: the bytes of a file, a piece's notes, or a text but for case and blanks."""
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
    return source if source is None or limit is None else limited(source, limit)


def limited(source: Source, limit: int) -> Source:
    """A fixed random sample of so many examples, in their order; all where there are fewer."""
    return add_step(source, lambda: Reservoir(limit))


def filter_examples(source: Source, find_fault: Callable[[Example], str]) -> Source:
    """Leave out the examples that have a fault; the source's problems count them by what it is.

    Args:
      find_fault: says what is wrong with an example, or "".
    """

    def keep(example: Example) -> bool:
        if fault := find_fault(example):
            source.problems.leave_out(fault)
        return not fault

    def make_step() -> KeepStep:
        source.problems.clear()  # as the source itself does, if it has any
        return KeepStep(keep)

    return add_step(source, make_step)


class Reservoir:
    """A uniform sample in file order (Vitter 1985, algorithm R), since files are often sorted by label."""

    def __init__(self, limit: int):
        self.limit, self.random = limit, Random(limit)
        self.sample: dict[int, tuple[int, Example]] = {}
        self.count = 0

    def push(self, example: Example) -> Iterable[Example]:
        """Nothing yet."""
        position, self.count = self.count, self.count + 1
        place = position if position < self.limit else self.random.randrange(position + 1)
        if place < self.limit:
            self.sample[place] = position, example
        return ()

    def finish(self) -> Iterable[Example]:
        """The sample."""
        return [example for _, example in sorted(self.sample.values(), key=lambda pair: pair[0])]


def by_share(examples: Iterable[Example], fields: Sequence[Field]) -> dict[float, list[str]]:
    """The examples of each `share`, each by its label, or by the rarest kind of its entities; "" where it has none."""
    label, tags = next(iter(get_label_names(fields)), ""), get_tags_name(fields)
    found: dict[float, list[set[str]]] = {}
    examples_of: Counter[str] = Counter()
    for example in examples:
        names = {str(example[label])} if label else {kind for _, _, kind in entities(example[tags])} if tags else set()
        found.setdefault(share(example, fields), []).append(names)
        examples_of.update(names)
    return {
        place: [min(names, key=lambda name: (examples_of[name], name), default="") for names in each]
        for place, each in found.items()
    }


def picked(source: Source, name: str, fields: Sequence[Field], within: Callable[[float], bool]) -> Source:
    """The examples of a source whose `share` is within a part.

    Args:
      name: of the part and of the way in which it is found, for people.
    """

    def read() -> Iterator[Example]:
        return (example for example in source if within(share(example, fields)))

    return Source(f"{source.name} ({name})", read, source.problems, source.repairs)


def split_source(
    source: Source, fields: Sequence[Field], names: Sequence[str], assign: Callable[[float], int]
) -> list[Source]:
    """Split a source; the parts can be read in one pass.

    Args:
      names: of the parts and of the way in which they are found, for people.
      assign: from an example's `share` to the number of its part, or NO_SPLIT.
    """
    rows = SplitRows(source, lambda example: assign(share(example, fields)))
    return [
        Source(f"{source.name} ({name})", SplitReader(rows, number), source.problems, source.repairs)
        for number, name in enumerate(names)
    ]


def _by_hash(source: Source, fields: Sequence[Field], sizes: Sequence[tuple[str, float]]) -> dict[str, Source | None]:
    """Parts by ranges of `share`, in which an example stays whatever is added.

    Args:
      sizes: (name, share) of each part, the sum of shares 1.
    """
    ends = list(accumulate(size for _, size in sizes[:-1]))
    names = [name for name, _ in sizes]
    parts = split_source(
        source, fields, [f"{name}, by hash" for name in names], lambda place: bisect_right(ends, place)
    )
    return dict(zip(names, parts, strict=True))


def _by_rank(
    source: Source, fields: Sequence[Field], sizes: Sequence[tuple[str, float]]
) -> tuple[dict[str, Source | None], str] | None:
    """Parts of a small source, which have their shares of each label, and a note for people; None of another source.

    Within each label the examples are sorted by `share`, and the shares are cut by rank. So the parts do not depend
    on the order of the file, but an example may change its part when others are added.

    Args:
      sizes: as of `_by_hash`.
    """
    if len(sizes) == 1:
        return None
    first = _First(islice(source, SMALL))
    labels = by_share(first, fields)
    count = sum(map(len, labels.values()))
    if not 1 < count < SMALL:
        return None
    if first.examples is not None:
        source = keep_in_memory(source, first.examples)
    part_of = cut(strata(labels), [size for _, size in sizes], len(labels) >= FILLED)
    has_labels = any(map(any, labels.values()))
    names = [name for name, _ in sizes]
    shown = [f"{name}, by {'label' if has_labels else 'rank'}" for name in names]
    parts = split_source(source, fields, shown, lambda place: part_of.get(place, NO_SPLIT))
    counts = [
        str(sum(len(labels[place]) for place, part in part_of.items() if part == number))
        for number in range(len(names))
    ]
    so = "they are split by label" if has_labels else "each part gets just its share"
    note = f"{count} examples are few, so {so} ({', '.join(counts[:-1])} and {counts[-1]})"
    return dict(zip(names, parts, strict=True)), note


class _First:
    """Examples that are kept as they pass, unless they are large together."""

    def __init__(self, source: Iterable[Example]):
        self.source = source
        self.examples: list[Example] | None = []

    def __iter__(self) -> Iterator[Example]:
        size = 0
        for example in self.source:
            size += sum(
                getattr(value, "nbytes", 0) or len(value) for value in example.values() if hasattr(value, "__len__")
            )
            if self.examples is not None and size <= SMALL_BYTES:
                self.examples.append(dict(example))
            else:
                self.examples = None
            yield example


# What gives a recipe's own data and its attribution.
LoadDefault = Callable[[], tuple[Source, dict[str, str]]]


def load_splits(
    config: RunConfig, fields: Sequence[Field], default: LoadDefault, open_source: OpenSource = open_table_source
) -> Splits:
    """Load the parts of a run.

    `--data` alone is split by stable hash, unless it names its parts, or by label where it has few examples. With
    `--valid`, nothing is taken from `--data` and there is no test part but by `--test`.

    Args:
      default: gives the recipe's own data, where `--data` is not given.
      open_source: opens what `--data`, `--valid` and `--test` name.
    """
    sizes = shares(config.split)
    gathered = _Gathered(config, fields, open_source)
    data = gathered.open_all(config.data) if config.data else gathered.open_default(default)
    given = {
        name: next(iter(gathered.open_all(specs).values()))
        for name in ("valid", "test")
        if (specs := getattr(config, name))
    }
    if "" in data and set(data) != {""}:
        raise DataError("Some --data name their parts (train, valid, test) and some do not: give one kind only.")
    if "" in data:
        chosen = _split_whole(data[""], gathered, sizes, given)
    else:
        chosen = _complete_parts(data, gathered, sizes, given)
    chosen |= given
    train = _limited(chosen["train"], config.limit)
    assert train is not None
    valid, test = (_limited(chosen.get(name), config.limit) for name in ("valid", "test"))
    return Splits(train, valid, test, tuple(gathered.notes), combined(gathered.prints), gathered.attribution)


class _Gathered:
    """Opened sources, and what is to be told and kept of them all."""

    def __init__(self, config: RunConfig, fields: Sequence[Field], open_source: OpenSource):
        self.config, self.fields, self.open_source = config, fields, open_source
        self.notes: list[str] = []
        self.prints: list[str] = []
        self.attribution: dict[str, str] = {}

    def open_all(self, specs: Sequence[str]) -> dict[str, Source]:
        """What several values of a setting name together, by part."""
        parts: dict[str, list[Source]] = {}
        for spec in specs:
            opened = self.open_source(spec, self.fields, self.config)
            self.notes.extend(opened.notes)
            self.prints.append(opened.fingerprint)
            for name, source in opened.parts.items():
                parts.setdefault(name, []).append(source)
        return {name: joined(" + ".join(s.name for s in group), group) for name, group in parts.items()}

    def open_default(self, default: LoadDefault) -> dict[str, Source]:
        """The recipe's own data."""
        for flag in ("column", "encoding", "label_names"):
            if getattr(self.config, flag) and not (self.config.valid or self.config.test):
                raise ConfigError(
                    f"--{flag.replace('_', '-')} says how a file is read, but none is given: add --data FILE."
                )
        source, self.attribution = default()
        self.notes.append(source.name)
        self.prints.append(str(sorted(self.attribution.items())))
        return {"": source}


def _split_whole(
    source: Source, gathered: _Gathered, sizes: tuple[float, float, float], given: Collection[str]
) -> dict[str, Source | None]:
    """The parts that are split off a source which names none.

    Args:
      given: names of the parts that are given apart.
    """
    if "valid" in given:
        return {"train": source}
    # The share of a test part that is given apart goes to training.
    own_sizes = (sizes[0] + (sizes[2] if "test" in given else 0), sizes[1], 0 if "test" in given else sizes[2])
    named = [(name, size) for name, size in zip(PARTS, own_sizes, strict=True) if size > 0]
    if gathered.config.data and (few := _by_rank(source, gathered.fields, named)):
        parts, note = few
        gathered.notes.append(note)
        gathered.prints.append("by rank")
        return parts
    return _by_hash(source, gathered.fields, named)


def _complete_parts(
    data: Mapping[str, Source], gathered: _Gathered, sizes: tuple[float, float, float], given: Collection[str]
) -> dict[str, Source | None]:
    """Named parts, and a validation part that is split off training where none is given."""
    if "train" not in data:
        raise DataError(
            f"{gathered.config.data[0]} has no part named train, only {', '.join(data)}: give --data another."
        )
    parts: dict[str, Source | None] = dict(data)
    if "valid" not in data and "valid" not in given and sizes[1]:
        first = sizes[0] / (sizes[0] + sizes[1])
        parts |= _by_hash(data["train"], gathered.fields, (("train", first), ("valid", 1 - first)))
    return parts


def whole(
    spec: str, fields: Sequence[Field], config: RunConfig, open_source: OpenSource = open_table_source
) -> tuple[Source, tuple[str, ...]]:
    """Every example of a source, or its test part if it names parts; and notes for people."""
    opened = open_source(spec, fields, config)
    parts = opened.parts
    source = parts.get("") or parts.get("test") or parts.get("valid") or next(iter(parts.values()))
    return (source if config.limit is None else limited(source, config.limit)), opened.notes
