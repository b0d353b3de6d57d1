"""The data report for texts with one label each: lengths, unknown words, copies, and what stands under two labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from common.data.check_common import (
    UnusedRows,
    collect_split_stats,
    count_split_overlaps,
    hash_normalized_text,
    label_warnings,
    leakage_warnings,
    name_overlaps,
    quantiles,
)
from common.data.encoding import ENCODE_BATCH, batch_examples
from common.types import ExampleSource, JsonObject, Splits


@dataclass
class _TextStats:
    """What a part holds; memory is bounded by its distinct texts, which are hashed.

    Args:
      max_length: words that the model would keep of a text.
    """

    max_length: int
    labels: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    fingerprints: set[int] = field(default_factory=set)
    empty: int = 0
    duplicates: int = 0
    clashes: int = 0  # texts with another label elsewhere
    clash: str = ""  # the first one
    words: int = 0
    unknown: int = 0  # words

    @property
    def count(self) -> int:
        """How many examples it has."""
        return self.labels.total()

    def add(self, text: str, label: str, first_labels: dict[int, str]) -> None:
        """Count an example.

        Args:
          first_labels: by fingerprint the first label that a text had in any part; is added to.
        """
        self.labels[label] += 1
        self.empty += not text.strip()
        mark = hash_normalized_text(text)
        self.duplicates += mark in self.fingerprints
        self.fingerprints.add(mark)
        if first_labels.setdefault(mark, label) != label:
            self.clash = self.clash if self.clashes else text
            self.clashes += 1

    def add_words(self, words: tf.RaggedTensor, vocabulary: set[str]) -> None:
        """Count the words of a batch of texts, and those that a vocabulary lacks."""
        self.lengths.update(words.row_lengths().numpy().tolist())
        tokens = words.values.numpy().tolist()
        self.words += len(tokens)
        self.unknown += sum(token.decode("utf-8") not in vocabulary for token in tokens)

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""
        return {
            "examples": self.count,
            "labels": dict(sorted(self.labels.items())),
            "words": quantiles(self.lengths),
            "unknown_words": round(self.unknown / max(self.words, 1), 4),
            "longer_than_kept": sum(count for length, count in self.lengths.items() if length > self.max_length),
            "empty_texts": self.empty,
            "duplicates": self.duplicates,
            "two_labels": self.clashes,
        }


def check_text_classification(
    splits: Splits,
    tokenize: Callable[[tf.Tensor], tf.RaggedTensor],
    learn_vocabulary: Callable[[Iterable[Sequence[str]]], set[str]],
    max_length: int,
) -> JsonObject:
    """Return the report for texts with one label each; streams every part once, the training part twice.

    Args:
      tokenize: splits a batch of texts into words.
      learn_vocabulary: gives the vocabulary that would be learned from batches of training texts.
      max_length: words that the model would keep of a text.

    Raises:
      DataError: the training part holds nothing.
    """
    tokenize_batch = tf.function(tokenize, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    vocabulary = learn_vocabulary(
        [example["text"] for example in batch] for batch in batch_examples(splits.train, ENCODE_BATCH)
    )
    first_labels: dict[int, str] = {}

    def survey(source: ExampleSource, earlier: Mapping[str, _TextStats]) -> _TextStats:
        part = _TextStats(max_length)
        for batch in batch_examples(source, ENCODE_BATCH):
            part.add_words(tokenize_batch(tf.constant([example["text"] for example in batch])), vocabulary)
            for example in batch:
                part.add(example["text"], example["label"], first_labels)
        return part

    parts, seen, warnings = collect_split_stats(splits, survey, "examples", _describe_broken_rows, _list_warnings)
    overlap = name_overlaps(count_split_overlaps({name: part.fingerprints for name, part in seen.items()}))
    return {
        "data": list(splits.descriptions),
        "parts": parts,
        "overlap": overlap,
        "advised_max_length": parts["train"]["words"]["99%"],
        "warnings": warnings + leakage_warnings(overlap, "text"),
    }


def _describe_broken_rows(source: ExampleSource) -> UnusedRows:
    left_out = {"left_out": dict(source.row_errors.left)} if source.row_errors.left else {}
    rows = {"broken_rows": source.row_errors.count, "first_broken_rows": source.row_errors.first_errors()}
    return UnusedRows(rows | left_out)


def _list_warnings(name: str, part: _TextStats, train: _TextStats) -> list[str]:
    warnings = label_warnings(name, part.labels, set() if part is train else set(train.labels))
    if part.empty:
        warnings.append(f"{part.empty:,} texts of the {name} part are empty.")
    if part.clashes:
        warnings.append(
            f"{part.clashes:,} texts of the {name} part also occur with another label, such as: {part.clash[:60]!r}."
        )
    return warnings
