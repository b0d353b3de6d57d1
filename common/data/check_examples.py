"""The data report of a recipe that has none of its own: how many examples each split holds, and with which labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.data.check_common import UnusedRows, collect_split_stats, label_warnings, missing_validation_warning
from common.data.readers.field_roles import get_label_names
from common.types import ExampleSource, Field, JsonObject, Splits


class ExampleSurvey:
    """Counts of the examples of a split and of their labels.

    Args:
      source: the split.
      label: name of the field that holds a label; None where there is none.
    """

    def __init__(self, source: ExampleSource, label: str | None):
        self.count = 0
        self.labels: Counter[str] = Counter()
        for example in source:
            self.count += 1
            if label is not None:
                self.labels[example[label]] += 1

    def to_dict(self) -> JsonObject:
        """Return what the report says of the split."""
        return {"examples": self.count} | ({"labels": dict(sorted(self.labels.items()))} if self.labels else {})


def check_examples(splits: Splits, fields: Sequence[Field]) -> JsonObject:
    """Report what each split holds; streams each once.

    Raises:
      DataError: the training split holds nothing.
    """
    label = next(iter(get_label_names(fields)), None)

    def unused(source: ExampleSource) -> UnusedRows:
        return UnusedRows(
            {"broken_rows": source.row_errors.count, "first_broken_rows": source.row_errors.first_errors()}
        )

    def warn(name: str, split: ExampleSurvey, train: ExampleSurvey) -> list[str]:
        known = set() if split is train else set(train.labels)
        return label_warnings(name, split.labels, known) if split.labels else []

    parts, _, warnings = collect_split_stats(
        splits, lambda source, earlier: ExampleSurvey(source, label), "examples", unused, warn
    )
    return {
        "data": list(splits.descriptions),
        "parts": parts,
        "overlap": {},
        "warnings": warnings + missing_validation_warning(splits),
    }
