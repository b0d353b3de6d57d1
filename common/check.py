"""The data report: what each part holds and what is wrong with it, before an hour of training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from common.encoding import ENCODE_BATCH, in_batches
from common.errors import DataError
from common.problems import Problems
from common.recipe import Source, Splits
from common.sources import content

SEVERAL = 3  # examples of a thing that are shown
RARE = 5  # a label with fewer examples than this is hardly learned
SHOWN = 60  # labels that stand in the table
UNBALANCED = 10  # times that the commonest label may outnumber the rarest without a word


def quantiles(lengths: Counter[int]) -> dict[str, int]:
    """Median, 95% and 99% quantile and maximum of counted lengths.

    >>> quantiles(Counter({1: 98, 2: 1, 50: 1}))
    {'median': 1, '95%': 1, '99%': 2, 'max': 50}
    """
    places = {"median": 0.5, "95%": 0.95, "99%": 0.99, "max": 1.0}
    return {name: int(value) for name, value in at_shares(lengths, places).items()}


def at_shares(counted: Counter[Any], places: Mapping[str, float]) -> dict[str, float]:
    """Of counted numbers, for each name the smallest that such a share of all does not exceed.

    >>> at_shares(Counter({0.5: 1, 2.0: 3}), {"min": 0.0, "median": 0.5})
    {'min': 0.5, 'median': 2.0}
    """
    values = np.array(sorted(counted))
    below = np.cumsum([counted[value] for value in values])
    return {name: float(values[np.searchsorted(below, share * below[-1] - 1e-9)]) for name, share in places.items()}


def fingerprint(text: str) -> int:
    """A number that texts share if they differ in case and blanks only."""
    return int.from_bytes(hashlib.blake2b(content(text), digest_size=8).digest(), "big")


def text_classification(
    splits: Splits,
    words: Callable[[tf.Tensor], tf.RaggedTensor],
    known: Callable[[Iterable[Sequence[str]]], set[str]],
    cut: int,
) -> dict[str, Any]:
    """The report for texts with one label each; streams every part once, the training part twice.

    Args:
      words: splits a batch of texts.
      known: the vocabulary that would be learned from batches of training texts.
      cut: words that the model would keep of a text.

    Raises:
      DataError: a part holds nothing at all.
    """
    parts: dict[str, Any] = {}
    seen: dict[str, set[int]] = {}
    labels_of: dict[int, str] = {}
    warnings: list[str] = []
    train_labels: set[str] = set()
    told: list[Problems] = []
    split = tf.function(words, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    vocabulary = known([e["text"] for e in batch] for batch in in_batches(splits.train, ENCODE_BATCH))
    for name, source in splits.given():
        labels: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        prints: set[int] = set()
        clash: list[str] = []
        duplicates = empty = unknown = total = 0
        for batch in in_batches(source, ENCODE_BATCH):
            rows = split(tf.constant([example["text"] for example in batch]))
            lengths.update(rows.row_lengths().numpy().tolist())
            tokens = rows.values.numpy().tolist()
            total += len(tokens)
            unknown += sum(token.decode("utf-8") not in vocabulary for token in tokens)
            for example in batch:
                labels[example["label"]] += 1
                empty += not example["text"].strip()
                mark = fingerprint(example["text"])
                if mark in prints:
                    duplicates += 1
                if labels_of.setdefault(mark, example["label"]) != example["label"]:
                    clash.append(example["text"])
                prints.add(mark)
        if not labels:
            warnings.append(f"The {name} part is empty.")
            parts[name] = {"examples": 0}
            continue
        parts[name] = {
            "examples": sum(labels.values()),
            "labels": dict(sorted(labels.items())),
            "words": quantiles(lengths),
            "unknown_words": round(unknown / max(total, 1), 4),
            "longer_than_kept": sum(count for length, count in lengths.items() if length > cut),
            "empty_texts": empty,
            "duplicates": duplicates,
            "two_labels": len(clash),
        }
        if source.problems not in told:  # parts split off one file share its broken rows
            told.append(source.problems)
            parts[name] |= {"broken_rows": source.problems.count, "first_broken_rows": source.problems.lines()}
            parts[name] |= {"left_out": dict(source.problems.left)} if source.problems.left else {}
        warnings += label_warnings(name, labels, train_labels)
        train_labels = train_labels or set(labels)
        if empty:
            warnings.append(f"{empty:,} texts of the {name} part are empty.")
        if clash:
            warnings.append(
                f"{len(clash):,} texts of the {name} part also occur with another label, such as: {clash[0][:60]!r}."
            )
        seen[name] = prints
    if not parts.get("train", {}).get("examples"):
        raise nothing(splits.train)
    overlap = {f"{a} and {b}": count for (a, b), count in overlaps(seen).items()}
    warnings += leaks(overlap, "text")
    return {
        "data": list(splits.notes),
        "parts": parts,
        "overlap": overlap,
        "advised_max_length": parts["train"]["words"]["99%"],
        "warnings": warnings,
    }


def overlaps(seen: Mapping[str, set[int]]) -> dict[tuple[str, str], int]:
    """How many fingerprints each two parts share.

    >>> overlaps({"train": {1, 2}, "valid": {2, 3}})
    {('train', 'valid'): 1}
    """
    return {(a, b): len(seen[a] & seen[b]) for a, b in combinations(seen, 2)}


def nothing(train: Source) -> DataError:
    """That a training part is empty."""
    broken = train.problems.summary()
    return DataError(f"{train.name} holds no training example.{broken} Give --data another source or --split.")


class Survey(Protocol):
    """What a part holds."""

    count: int  # of its examples

    def facts(self) -> dict[str, Any]:
        """What is told of it."""


S = TypeVar("S", bound=Survey)


def surveys(
    splits: Splits,
    survey: Callable[[Source], S],
    unit: str,
    unused: Callable[[Source], dict[str, Any]],
    warn: Callable[[str, S, S], list[str]],
) -> tuple[dict[str, Any], dict[str, S], list[str]]:
    """(what is told of each part, what each that is not empty holds, warnings), the parts in order, each read once.

    Args:
      unit: what examples are called, such as "pairs".
      unused: what is told of what could not be used; once of parts that were split off one source.
      warn: warnings about a part, by its name, what it holds and what the training part holds.

    Raises:
      DataError: the training part holds nothing.
    """
    parts: dict[str, Any] = {}
    seen: dict[str, S] = {}
    told: list[Problems] = []
    warnings: list[str] = []
    for name, source in splits.given():
        part = survey(source)
        if not part.count:
            if name == "train":
                raise nothing(source)
            warnings.append(f"The {name} part is empty.")
            parts[name] = {unit: 0}
            continue
        parts[name] = part.facts()
        if not any(source.problems is one for one in told):
            told.append(source.problems)
            parts[name] |= unused(source)
        seen[name] = part
        warnings += warn(name, part, seen["train"])
    return parts, seen, warnings


def unvalidated(splits: Splits) -> list[str]:
    """A warning if there is no part for validation."""
    told = "There is no part for validation, so that the last weights are kept. See --valid and --split."
    return [told] if splits.valid is None else []


def leaks(overlap: Mapping[str, int], what: str) -> list[str]:
    """A warning of each pair of parts that share texts, or images.

    >>> leaks({"train and valid": 0, "train and test": 7}, "text")
    ['7 texts stand in both train and test: scores there would be too good. Remove them from one.']
    """
    found = []
    for pair, count in overlap.items():
        stand, them = (f"{what} stands", "it") if count == 1 else (f"{what}s stand", "them")
        if count:
            found.append(f"{count:,} {stand} in both {pair}: scores there would be too good. Remove {them} from one.")
    return found


def label_warnings(part: str, labels: Counter[str], known: set[str]) -> list[str]:
    """What is odd in the labels of a part.

    Args:
      known: the labels of training; none if this is the training part.
    """
    found = []
    if not known and len(labels) == 1:
        found.append(f'The {part} part has only the label "{next(iter(labels))}"; a classifier needs two.')
    rare = [label for label, count in sorted(labels.items()) if count < RARE]
    if not known and rare:
        found.append(f"Labels with fewer than {RARE} examples in the {part} part: {', '.join(rare[:SEVERAL])}.")
    most, least = max(labels.values()), min(labels.values())
    if not known and most > UNBALANCED * least:
        found.append(
            f"The commonest label occurs {most / least:.0f} times as often as the rarest; see --class-weights."
        )
    if known and (unseen := sorted(set(labels) - known)):
        found.append(
            f"Labels of the {part} part that training lacks, always counted as wrong: {', '.join(unseen[:SEVERAL])}."
        )
    if known and (missing := sorted(known - set(labels))):
        found.append(f"Labels that the {part} part lacks: {', '.join(missing[:SEVERAL])}.")
    return found + alike(labels)


def alike(labels: Iterable[str]) -> list[str]:
    """A warning of each group of labels that differ in case or blanks only.

    >>> alike(["Pos", "pos", "neg"])
    ['The labels "Pos" and "pos" differ in case or blanks only: if they are one, make them so by --label-names.']
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(" ".join(label.casefold().split()), []).append(label)
    listed = [" and ".join(f'"{label}"' for label in group) for group in groups.values() if len(group) > 1]
    remedy = "if they are one, make them so by --label-names"
    return [f"The labels {names} differ in case or blanks only: {remedy}." for names in listed]


def lines(report: Mapping[str, Any]) -> Any:
    """The report as a rich renderable for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts = report["parts"]
    table = Table("", *parts, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    keys = list(dict.fromkeys(key for part in parts.values() for key in part))
    for key in keys:
        values = [part.get(key) for part in parts.values()]
        if key.startswith("first_") or all(value is None for value in values):
            continue
        if any(isinstance(value, dict) for value in values):
            table.add_row(Text(key.replace("_", " "), style="bold"))
            inner = list(dict.fromkeys(name for value in values if value for name in value))
            for name in inner[:SHOWN]:
                shown = [(value or {}).get(name) for value in values]
                table.add_row(Text(f"  {name}"), *(_cell(one, key) for one in shown))
            if len(inner) > SHOWN:
                table.add_row(Text(f"  and {len(inner) - SHOWN:,} more, see --json"))
        else:
            table.add_row(key.replace("_", " "), *(_cell(value, key) for value in values))
    below = [Text(f"Data: {note}") for note in report["data"]]
    after = [Text(f"In both {pair}: {count:,}") for pair, count in report["overlap"].items()]
    for name, value in report.items():
        if name.startswith("advised_"):
            after.append(Text(f"Advised --{name[8:].replace('_', '-')}: {value}"))
    for name, part in parts.items():
        for key, first in part.items():
            if key.startswith("first_"):
                after += [Text(f"{key.split('_')[1]}, {name}: {line}") for line in first]
    after += [Text(f"Warning: {warning}", style="yellow") for warning in report["warnings"]]
    return Group(*below, Text(), table, Text(), *after)


def _cell(value: Any, key: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    is_ratio = "_by_" in key or key.endswith("ratio")  # all else is a share
    return f"{value:.2f}" if is_ratio else f"{value:.1%}"
