"""The data report: what each part holds and what is wrong with it, before an hour of training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from common.data.splitting import hashable_content
from common.errors import DataError
from common.row_errors import RowErrors
from common.text.similar_names import similar_label_warnings
from common.types import ExampleSource, JsonObject, Splits

if TYPE_CHECKING:  # imported where it is used, for a report in JSON needs no tables
    from rich.console import RenderableType
    from rich.table import Table

SEVERAL = 3  # examples of a thing that are shown
RARE = 5  # a label with fewer examples than this is hardly learned
SHOWN = 60  # labels that stand in the table
UNBALANCED = 10  # times that the commonest label may outnumber the rarest without a word


def quantiles(lengths: Counter[int]) -> dict[str, int]:
    """Return median, 95% and 99% quantile and maximum of counted lengths.

    >>> quantiles(Counter({1: 98, 2: 1, 50: 1}))
    {'median': 1, '95%': 1, '99%': 2, 'max': 50}
    """
    places = {"median": 0.5, "95%": 0.95, "99%": 0.99, "max": 1.0}
    return {name: int(value) for name, value in weighted_quantiles(lengths, places).items()}


def weighted_quantiles(counted: Counter[int] | Counter[float], places: Mapping[str, float]) -> dict[str, float]:
    """Return for each name the smallest of counted numbers that such a share of all does not exceed.

    >>> weighted_quantiles(Counter({0.5: 1, 2.0: 3}), {"min": 0.0, "median": 0.5})
    {'min': 0.5, 'median': 2.0}
    """
    values = np.array(sorted(counted))
    below = np.cumsum([counted[value] for value in values])
    return {name: float(values[np.searchsorted(below, share * below[-1] - 1e-9)]) for name, share in places.items()}


def hash_normalized_text(text: str) -> int:
    """Return a number that texts share if they differ in case and blanks only."""
    return int.from_bytes(hashlib.blake2b(hashable_content(text), digest_size=8).digest(), "big")


def count_split_overlaps(seen: Mapping[str, set[int]]) -> dict[tuple[str, str], int]:
    """Return how many fingerprints each two parts share.

    >>> count_split_overlaps({"train": {1, 2}, "valid": {2, 3}})
    {('train', 'valid'): 1}
    """
    return {(a, b): len(seen[a] & seen[b]) for a, b in combinations(seen, 2)}


def empty_train_error(train: ExampleSource) -> DataError:
    """Return the error that a training part is empty."""
    broken = train.row_errors.summary()
    return DataError(f"{train.name} holds no training example.{broken} Give --data another source or --split.")


class SplitStats(Protocol):
    """What a part holds."""

    @property
    def count(self) -> int:
        """How many examples it has."""

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""


S = TypeVar("S", bound=SplitStats)


class UnusedRows(NamedTuple):
    """What is told of rows that could not be used, and the warnings about them."""

    facts: Mapping[str, object]
    warnings: Sequence[str] = ()


def collect_split_stats(
    splits: Splits,
    survey: Callable[[ExampleSource, Mapping[str, S]], S],
    unit: str,
    unused: Callable[[ExampleSource], UnusedRows],
    warn: Callable[[str, S, S], list[str]],
) -> tuple[dict[str, JsonObject], dict[str, S], list[str]]:
    """Return (what is told of each part, what each holds that is not empty, warnings), each part read once, in order.

    Args:
      survey: reads a part, being given what those before it hold, by name.
      unit: what examples are called, such as "pairs".
      unused: what is told of what could not be used; once of parts that were split off one source.
      warn: warnings about a part, by its name, what it holds and what the training part holds.

    Raises:
      DataError: the training part holds nothing.
    """
    parts: dict[str, JsonObject] = {}
    seen: dict[str, S] = {}
    reported: list[RowErrors] = []
    warnings: list[str] = []
    for name, source in splits.items():
        part = survey(source, seen)
        if not part.count:
            if name == "train":
                raise empty_train_error(source)
            warnings.append(f"The {name} part is empty.")
            parts[name] = {unit: 0}
            continue
        parts[name] = part.to_dict()
        if not any(source.row_errors is row_errors for row_errors in reported):
            reported.append(source.row_errors)
            rows = unused(source)
            parts[name] |= rows.facts
            warnings += rows.warnings
        seen[name] = part
        warnings += warn(name, part, seen["train"])
    return parts, seen, warnings


def name_overlaps(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Return counts of pairs of parts by names for people.

    >>> name_overlaps({("train", "test"): 2})
    {'train and test': 2}
    """
    return {f"{first} and {second}": count for (first, second), count in counts.items()}


def clash_warnings(count: int, name: str, unit: str, difference: str) -> list[str]:
    """Return a warning if examples of a part also occur with another label, or with other tags.

    >>> clash_warnings(1, "train", "image", 'another label, such as with "cat" and "dog".')
    ['1 image of the train part also occurs with another label, such as with "cat" and "dog".']

    Args:
      unit: what an example is called.
      difference: how the others differ, to the end of the sentence.
    """
    occur = f"{unit} of the {name} part also occurs" if count == 1 else f"{unit}s of the {name} part also occur"
    return [f"{count:,} {occur} with {difference}"] if count else []


def missing_validation_warning(splits: Splits) -> list[str]:
    """Return a warning if there is no part for validation."""
    warning = "There is no part for validation, so that the last weights are kept. See --valid and --split."
    return [warning] if splits.valid is None else []


def leakage_warnings(overlap: Mapping[str, int], what: str) -> list[str]:
    """Return a warning of each pair of parts that share texts, or images.

    >>> leakage_warnings({"train and valid": 0, "train and test": 7}, "text")
    ['7 texts stand in both train and test: scores there would be too good. Remove them from one.']
    """
    warnings = []
    for pair, count in overlap.items():
        stand, them = (f"{what} stands", "it") if count == 1 else (f"{what}s stand", "them")
        if count:
            warnings.append(
                f"{count:,} {stand} in both {pair}: scores there would be too good. Remove {them} from one."
            )
    return warnings


def label_warnings(part: str, labels: Counter[str], known_labels: set[str]) -> list[str]:
    """Return what is odd in the labels of a part.

    Args:
      known_labels: those of training; none if this is the training part.
    """
    warnings = []
    if not known_labels and len(labels) == 1:
        warnings.append(f'The {part} part has only the label "{next(iter(labels))}"; a classifier needs two.')
    rare = [label for label, count in sorted(labels.items()) if count < RARE]
    if not known_labels and rare:
        warnings.append(f"Labels with fewer than {RARE} examples in the {part} part: {', '.join(rare[:SEVERAL])}.")
    most, least = max(labels.values()), min(labels.values())
    if not known_labels and most > UNBALANCED * least:
        warnings.append(
            f"The commonest label occurs {most / least:.0f} times as often as the rarest; see --class-weights."
        )
    if known_labels and (unseen := sorted(set(labels) - known_labels)):
        warnings.append(
            f"Labels of the {part} part that training lacks, always counted as wrong: {', '.join(unseen[:SEVERAL])}."
        )
    if known_labels and (missing := sorted(known_labels - set(labels))):
        warnings.append(f"Labels that the {part} part lacks: {', '.join(missing[:SEVERAL])}.")
    return warnings + similar_label_warnings(labels)


def format_data_report(report: JsonObject) -> RenderableType:
    """Return the report as a rich renderable for people."""
    from rich.console import Group
    from rich.text import Text

    parts = report["parts"]
    before = [Text(f"Data: {note}") for note in report["data"]]
    after = [Text(f"In both {pair}: {count:,}") for pair, count in report["overlap"].items()]
    for name, value in report.items():
        if name.startswith("advised_"):
            after.append(Text(f"Advised --{name[8:].replace('_', '-')}: {value}"))
    for name, part in parts.items():
        for key, first in part.items():
            if key.startswith("first_"):
                after += [Text(f"{key.split('_')[1]}, {name}: {line}") for line in first]
    after += [Text(f"Warning: {warning}", style="yellow") for warning in report["warnings"]]
    return Group(*before, Text(), _make_table(parts), Text(), *after)


def _make_table(parts: Mapping[str, JsonObject]) -> Table:
    """A table with a column for each part."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", *parts, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for key in dict.fromkeys(key for part in parts.values() for key in part):
        values = [part.get(key) for part in parts.values()]
        if key.startswith("first_") or all(value is None for value in values):
            continue
        if any(isinstance(value, dict) for value in values):
            table.add_row(Text(key.replace("_", " "), style="bold"))
            inner = list(dict.fromkeys(name for value in values if value for name in value))
            for name in inner[:SHOWN]:
                cells = [(value or {}).get(name) for value in values]
                table.add_row(Text(f"  {name}"), *(_format_cell(cell, key) for cell in cells))
            if len(inner) > SHOWN:
                table.add_row(Text(f"  and {len(inner) - SHOWN:,} more, see --json"))
        else:
            table.add_row(key.replace("_", " "), *(_format_cell(value, key) for value in values))
    return table


def _format_cell(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    is_ratio = "_by_" in key or key.endswith("ratio")  # all else is a share
    return f"{value:.2f}" if is_ratio else f"{value:.1%}"
