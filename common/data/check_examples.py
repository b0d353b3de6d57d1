"""The data report of a recipe that has none of its own: how many examples each split holds, and with which labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.data.check_common import UnusedRows, label_warnings, surveys, unvalidated
from common.types import Field, JsonObject, Source, Splits


class ExampleSurvey:
    """Counts of the examples of a split and of their labels.

    Args:
      source: the split.
      label: name of the field that holds a label; None where there is none.
    """

    def __init__(self, source: Source, label: str | None):
        self.count = 0
        self.labels: Counter[str] = Counter()
        for example in source:
            self.count += 1
            if label is not None:
                self.labels[example[label]] += 1

    def facts(self) -> JsonObject:
        """Return what the report says of the split."""
        return {"examples": self.count} | ({"labels": dict(sorted(self.labels.items()))} if self.labels else {})


def check_examples(splits: Splits, fields: Sequence[Field]) -> JsonObject:
    """Report what each split holds; streams each once.

    Raises:
      DataError: the training split holds nothing.
    """
    label = next((field.name for field in fields if field.kind == "label"), None)

    def unused(source: Source) -> UnusedRows:
        return UnusedRows({"broken_rows": source.problems.count, "first_broken_rows": source.problems.lines()})

    def warn(name: str, split: ExampleSurvey, train: ExampleSurvey) -> list[str]:
        known = set() if split is train else set(train.labels)
        return label_warnings(name, split.labels, known) if split.labels else []

    parts, _, warnings = surveys(splits, lambda source, earlier: ExampleSurvey(source, label), "examples", unused, warn)
    return {
        "data": list(splits.notes),
        "parts": parts,
        "overlap": {},
        "warnings": warnings + unvalidated(splits),
    }
