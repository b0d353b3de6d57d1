"""The raw examples of a run: what a person named, split into training, validation and test."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice

import numpy as np

from common.config import RunConfig
from common.data.example_filters import reservoir_sample
from common.data.loading import OpenSource, combine_fingerprints, concatenate_sources, open_table_source
from common.data.readers.field_roles import get_identity_name, get_label_names, get_tags_name
from common.data.readers.note_grid import hash_piece as music_fingerprint
from common.data.shared_reading import (
    NO_SPLIT,
    ExampleBuffer,
    SplitReader,
    SplitRows,
    continue_reading,
    keep_in_memory,
)
from common.data.stratification import assign_stratified, stratify
from common.errors import ConfigError, DataError
from common.text.tag_schemes import tags_to_spans
from common.types import Example, ExampleSource, Field, Splits

SMALL = 1_000  # examples; fewer are split by label and rank, for cutting the range of hashes is too uneven
FILLED = 10  # different examples; so many are enough for no split to be empty
SMALL_BYTES = 2**26  # of all examples of a small source; it is kept in memory, so that it is read once
SALT = b"kerasserole split 1"  # never changes, so that an example stays in its split for ever
SPLITS = ("train", "valid", "test")


def hash_fraction(example: Example, fields: Sequence[Field]) -> float:
    """Return where an example falls between 0 and 1: a hash of its input, so that duplicates never straddle a split.

    Case and blanks do not count, labels and tags neither. An image counts by its bytes. Of several texts only the first
    one counts, so that all translations of a sentence are in one split. A piece of music counts by its notes, however
    they are transposed.
    """
    digest = hashlib.blake2b(hashable_content(example[get_identity_name(fields)]), digest_size=8, key=SALT).digest()
    return int.from_bytes(digest, "big") / 2**64


def hashable_content(value: object) -> bytes:
    """Return what of a field counts: the bytes of a file, a piece's notes, or a text but for case and blanks."""
    if isinstance(value, np.ndarray):
        return music_fingerprint(value)
    return value if isinstance(value, bytes) else " ".join(str(value).lower().split()).encode("utf-8", "replace")


def parse_split(split: str) -> tuple[float, float, float]:
    """Return the three shares of `--split`, their sum 1.

    >>> parse_split("80,10,10")
    (0.8, 0.1, 0.1)

    Raises:
      ConfigError: they are not three numbers of which the first is above 0.
    """
    try:
        fractions = [float(number) for number in split.split(",")]
        good = len(fractions) == 3 and min(fractions) >= 0 and fractions[0] > 0 and sum(fractions) < float("inf")
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f'--split is "{split}", but must be three shares such as 80,10,10, the first above 0.')
    total = sum(fractions)
    return fractions[0] / total, fractions[1] / total, fractions[2] / total


def _limited(source: ExampleSource | None, limit: int | None) -> ExampleSource | None:
    return source if source is None or limit is None else reservoir_sample(source, limit)


def group_by_hash(examples: Iterable[Example], fields: Sequence[Field]) -> dict[float, list[str]]:
    """Return the labels of the examples of each `hash_fraction`.

    An example with entities counts by the rarest kind of them, and one without any has the label "".
    """
    label, tags = next(iter(get_label_names(fields)), ""), get_tags_name(fields)
    names_by_place: dict[float, list[set[str]]] = {}
    examples_of: Counter[str] = Counter()
    for example in examples:
        names = (
            {str(example[label])} if label else {kind for _, _, kind in tags_to_spans(example[tags])} if tags else set()
        )
        names_by_place.setdefault(hash_fraction(example, fields), []).append(names)
        examples_of.update(names)
    return {
        place: [min(names, key=lambda name: (examples_of[name], name), default="") for names in each]
        for place, each in names_by_place.items()
    }


def filter_by_hash(
    source: ExampleSource, name: str, fields: Sequence[Field], within: Callable[[float], bool]
) -> ExampleSource:
    """Return the examples of a source whose `hash_fraction` is within a split.

    Args:
      name: of the split and of the way in which it is found, for people.
    """

    def read() -> Iterator[Example]:
        return (example for example in source if within(hash_fraction(example, fields)))

    return ExampleSource(f"{source.name} ({name})", read, source.row_errors, source.repairs)


def split_source(
    source: ExampleSource, fields: Sequence[Field], names: Sequence[str], assign: Callable[[float], int]
) -> list[ExampleSource]:
    """Split a source; the splits can be read in one pass.

    Args:
      names: of the splits and of the way in which they are found, for people.
      assign: from an example's `hash_fraction` to the number of its split, or NO_SPLIT.
    """
    rows = SplitRows(source, lambda example: assign(hash_fraction(example, fields)))
    return [
        ExampleSource(f"{source.name} ({name})", SplitReader(rows, number), source.row_errors, source.repairs)
        for number, name in enumerate(names)
    ]


def _by_hash(
    source: ExampleSource, fields: Sequence[Field], sizes: Sequence[tuple[str, float]]
) -> dict[str, ExampleSource | None]:
    """Splits by ranges of `hash_fraction`, in which an example stays whatever is added.

    Args:
      sizes: (name, share) of each split, the sum of shares 1.
    """
    ends = list(accumulate(size for _, size in sizes[:-1]))
    names = [name for name, _ in sizes]
    splits = split_source(
        source, fields, [f"{name}, by hash" for name in names], lambda place: bisect_right(ends, place)
    )
    return dict(zip(names, splits, strict=True))


def _read_first(source: ExampleSource, fields: Sequence[Field]) -> tuple[dict[float, list[str]], ExampleSource]:
    """Read up to SMALL examples; return their labels by `hash_fraction`, and the source, which keeps what was read.

    The next pass of the source goes on behind these examples, unless they are too large to be kept.
    """
    rest = iter(source)
    first = ExampleBuffer(islice(rest, SMALL), SMALL_BYTES)
    labels = group_by_hash(first, fields)
    if first.examples is None:
        return labels, source
    if len(first.examples) < SMALL:
        return labels, keep_in_memory(source, first.examples)
    return labels, continue_reading(source, first.examples, rest)


def _by_rank(
    source: ExampleSource,
    fields: Sequence[Field],
    sizes: Sequence[tuple[str, float]],
    labels: Mapping[float, list[str]],
) -> tuple[dict[str, ExampleSource | None], str]:
    """Split a small source so that the parts have their shares of each label; return them and a note for people.

    Within each label the examples are sorted by `hash_fraction`, and the shares are cut by rank. So the splits do not
    depend on the order of the file, but an example may change its split when others are added.

    Args:
      sizes: as of `_by_hash`.
      labels: of all examples, by `hash_fraction`.
    """
    count = sum(map(len, labels.values()))
    split_of = assign_stratified(stratify(labels), [size for _, size in sizes], len(labels) >= FILLED)
    has_labels = any(map(any, labels.values()))
    names = [name for name, _ in sizes]
    shown = [f"{name}, by {'label' if has_labels else 'rank'}" for name in names]
    splits = split_source(source, fields, shown, lambda place: split_of.get(place, NO_SPLIT))
    counts = [
        str(sum(len(labels[place]) for place, split in split_of.items() if split == number))
        for number in range(len(names))
    ]
    so = "they are split by label" if has_labels else "each part gets just its share"
    note = f"{count} examples are few, so {so} ({', '.join(counts[:-1])} and {counts[-1]})"
    return dict(zip(names, splits, strict=True)), note


# What gives a recipe's own data and its attribution.
LoadDefault = Callable[[], tuple[ExampleSource, dict[str, str]]]


def load_splits(
    config: RunConfig,
    fields: Sequence[Field],
    default: LoadDefault | None = None,
    open_source: OpenSource = open_table_source,
) -> Splits:
    """Load the splits of a run.

    `--data` alone is split by stable hash, unless it names its splits, or by label where it has few examples. With
    `--valid`, nothing is taken from `--data` and there is no test split but by `--test`.

    Args:
      default: gives the recipe's own data, where `--data` is not given; None if it has none.
      open_source: opens what `--data`, `--valid` and `--test` name.

    Raises:
      ConfigError: neither `--data` is given nor has the recipe data of its own.
    """
    sizes = parse_split(config.split)
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
        chosen = _complete_splits(data, gathered, sizes, given)
    chosen |= given
    train = _limited(chosen["train"], config.limit)
    assert train is not None
    valid, test = (_limited(chosen.get(name), config.limit) for name in ("valid", "test"))
    return Splits(
        train, valid, test, tuple(gathered.notes), combine_fingerprints(gathered.prints), gathered.attribution
    )


class _Gathered:
    """Opened sources, and what is to be told and kept of them all."""

    def __init__(self, config: RunConfig, fields: Sequence[Field], open_source: OpenSource):
        self.config, self.fields, self.open_source = config, fields, open_source
        self.notes: list[str] = []
        self.prints: list[str] = []
        self.attribution: dict[str, str] = {}

    def open_all(self, specs: Sequence[str]) -> dict[str, ExampleSource]:
        """Open what several values of a setting name together, by split."""
        splits: dict[str, list[ExampleSource]] = {}
        for spec in specs:
            opened = self.open_source(spec, self.fields, self.config)
            self.notes.extend(opened.descriptions)
            self.prints.append(opened.fingerprint)
            for name, source in opened.splits.items():
                splits.setdefault(name, []).append(source)
        return {name: concatenate_sources(" + ".join(s.name for s in group), group) for name, group in splits.items()}

    def open_default(self, default: LoadDefault | None) -> dict[str, ExampleSource]:
        """Open the recipe's own data."""
        for flag in ("column", "encoding", "label_names"):
            if getattr(self.config, flag) and not (self.config.valid or self.config.test):
                raise ConfigError(
                    f"--{flag.replace('_', '-')} says how a file is read, but none is given: add --data FILE."
                )
        if default is None:
            raise ConfigError("This recipe has no data of its own: give --data FILE.")
        source, self.attribution = default()
        self.notes.append(source.name)
        self.prints.append(str(sorted(self.attribution.items())))
        return {"": source}


def _split_whole(
    source: ExampleSource, gathered: _Gathered, sizes: tuple[float, float, float], given: Collection[str]
) -> dict[str, ExampleSource | None]:
    """The splits that are split off a source which names none.

    Args:
      given: names of the splits that are given apart.
    """
    if "valid" in given:
        return {"train": source}
    # The share of a test split that is given apart goes to training.
    own_sizes = (sizes[0] + (sizes[2] if "test" in given else 0), sizes[1], 0 if "test" in given else sizes[2])
    named = [(name, size) for name, size in zip(SPLITS, own_sizes, strict=True) if size > 0]
    if gathered.config.data and len(named) > 1:
        labels, source = _read_first(source, gathered.fields)
        if 1 < sum(map(len, labels.values())) < SMALL:
            splits, note = _by_rank(source, gathered.fields, named, labels)
            gathered.notes.append(note)
            gathered.prints.append("by rank")
            return splits
    return _by_hash(source, gathered.fields, named)


def _complete_splits(
    data: Mapping[str, ExampleSource], gathered: _Gathered, sizes: tuple[float, float, float], given: Collection[str]
) -> dict[str, ExampleSource | None]:
    """Named splits, and a validation split that is split off training where none is given."""
    if "train" not in data:
        raise DataError(
            f"{gathered.config.data[0]} has no part named train, only {', '.join(data)}: give --data another."
        )
    splits: dict[str, ExampleSource | None] = dict(data)
    if "valid" not in data and "valid" not in given and sizes[1]:
        first = sizes[0] / (sizes[0] + sizes[1])
        splits |= _by_hash(data["train"], gathered.fields, (("train", first), ("valid", 1 - first)))
    return splits


def load_single_source(
    spec: str, fields: Sequence[Field], config: RunConfig, open_source: OpenSource = open_table_source
) -> tuple[ExampleSource, tuple[str, ...]]:
    """Return every example of a source, or its test split if it names splits; and notes for people."""
    opened = open_source(spec, fields, config)
    splits = opened.splits
    source = splits.get("") or splits.get("test") or splits.get("valid") or next(iter(splits.values()))
    return (source if config.limit is None else reservoir_sample(source, config.limit)), opened.descriptions
