"""Scores gathered batch by batch, exact at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.types import Ask, Example, JsonObject, PerExampleMetric

SMALLEST = 1e-7  # a probability is taken to be at least this in log loss
UNSEEN = "(unseen)"  # stands for all labels that training lacks
BINS = 15  # of the calibration error

Entity = tuple[int, int, str]  # start, end and type


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, which sum to 1, [batch, labels].

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


class ClassificationMetrics:
    """Metrics of a classifier that gives a probability for each label.

    Accuracy; macro F1, the mean F1 over the labels that occur or were predicted; precision, recall and F1 per
    label; the confusion matrix (rows true, columns predicted); log loss in nats; expected calibration error over 15
    equal bins of the top score (Guo et al. 2017). An example whose label was never seen in training counts as wrong,
    under the label "(unseen)".

    >>> metrics = ClassificationMetrics(["neg", "pos"])
    >>> metrics.update_state(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> metrics.result()["accuracy"]
    0.5
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = list(labels)
        self.confusion = np.zeros((len(labels) + 1, len(labels)), np.int64)
        self.log_loss = 0.0
        self.bins = np.zeros((BINS, 3))  # examples, sum of top scores, hits

    def update_state(self, target: np.ndarray, scores: np.ndarray) -> None:
        """Add a batch.

        Args:
          target: label ids [batch]; -1 for a label never seen in training.
          scores: probabilities [batch, labels].
        """
        target, scores = np.asarray(target), np.asarray(scores, np.float64)
        predicted, top = scores.argmax(axis=1), scores.max(axis=1)
        np.add.at(self.confusion, (target, predicted), 1)  # row -1 is the last one
        true = np.where(target >= 0, scores[np.arange(len(target)), target], 0)
        self.log_loss -= np.log(np.maximum(true, SMALLEST)).sum()
        places = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
        np.add.at(self.bins, places, np.stack([np.ones_like(top), top, predicted == target], axis=1))

    def result(self) -> JsonObject:
        """Return all metrics; ratios from 0 to 1."""
        count = int(self.confusion.sum())
        hits, support, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        per_label = {}
        for index, label in enumerate(self.labels):
            precision = hits[index] / predicted[index] if predicted[index] else 0.0
            recall = hits[index] / support[index] if support[index] else 0.0
            f1 = 2 * hits[index] / max(int(support[index] + predicted[index]), 1)
            per_label[label] = {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support[index]),
            }
        labels, confusion = self.labels, self.confusion[:-1]
        if support[-1]:
            per_label[UNSEEN] = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": int(support[-1])}
            labels, confusion = [*labels, UNSEEN], self.confusion
        occurring = [
            m["f1"] for i, m in enumerate(per_label.values()) if support[i] or (i < len(hits) and predicted[i])
        ]
        filled = self.bins[self.bins[:, 0] > 0]
        gaps = np.abs(filled[:, 1] - filled[:, 2])
        return {
            "examples": count,
            "accuracy": float(hits.sum() / max(count, 1)),
            "macro_f1": float(np.mean(occurring)) if occurring else 0.0,
            "log_loss": float(self.log_loss / max(count, 1)),
            "calibration_error": float(gaps.sum() / max(count, 1)),
            "per_label": per_label,
            "confusion_matrix": {"labels": labels, "rows": confusion.tolist()},
        }


class EntityMetrics:
    """Precision, recall and F1 of entities, each right only if its place and its type are; as conlleval has them.

    Over all entities ("micro"), and per type, of which support is the number of true ones. A ratio to nothing is 0.

    >>> metrics = EntityMetrics()
    >>> metrics.update_state([(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER"), (3, 4, "ORG")])
    >>> metrics.result()["f1"]
    0.5
    """

    def __init__(self) -> None:
        self.examples = 0
        self.right: Counter[str] = Counter()  # by type, as are the next two
        self.true: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()

    def update_state(self, gold: Iterable[tuple[int, int, str]], predicted: Iterable[tuple[int, int, str]]) -> None:
        """Add a sentence.

        Args:
          gold, predicted: (start, end, type) of each entity; one that is given twice counts once.
        """
        gold_set, predicted_set = (
            {(start, end, type) for start, end, type in entities} for entities in (gold, predicted)
        )
        self.examples += 1
        for counter, entities in (
            (self.right, gold_set & predicted_set),
            (self.true, gold_set),
            (self.predicted, predicted_set),
        ):
            counter.update(type for _, _, type in entities)

    def result(self) -> JsonObject:
        """Return all metrics; ratios from 0 to 1, types sorted."""
        per_type = {}
        for type in sorted(self.true | self.predicted):
            scores = _entity_scores(self.right[type], self.true[type], self.predicted[type])
            per_type[type] = {name: scores[name] for name in ("precision", "recall", "f1")}
            per_type[type]["support"] = self.true[type]
        whole = _entity_scores(self.right.total(), self.true.total(), self.predicted.total())
        return whole | {"examples": self.examples, "entities": self.true.total(), "per_type": per_type}


def _entity_scores(right: int, true: int, predicted: int) -> JsonObject:
    return {
        "f1": 2 * right / (true + predicted) if true + predicted else 0.0,
        "precision": right / predicted if predicted else 0.0,
        "recall": right / true if true else 0.0,
    }


class NoMetrics:
    """No metrics besides the loss, for what is scored at the end alone."""

    def update_state(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Pass over a batch."""

    def result(self) -> JsonObject:
        """No metrics."""
        return {}


def collect_in_order(ask: Ask, name: str, batch: list[Example]) -> list[JsonObject]:
    """Return what an endpoint answers for each example of a batch, in their order.

    Args:
      name: of the endpoint.
    """
    rows: dict[int, JsonObject] = {}
    for positions, outputs in ask(name, batch):
        for row, at in enumerate(positions):
            rows[at] = {key: values[row] for key, values in outputs.items()}
    return [rows[at] for at in range(len(batch))]


def ratio_metric(name: str, terms: Sequence[tuple[float, float]], higher_is_better: bool = True) -> PerExampleMetric:
    """Return a metric that is one sum over another, such as hits over examples.

    Where the other is 0, it is 0, or nan if less is better.

    Args:
      terms: what each example adds to the two sums, both 0 or more.

    >>> metric = ratio_metric("accuracy", [(1, 1), (0, 1)])
    >>> float(metric.aggregate(metric.components.sum(axis=0)))
    0.5
    """

    def divide_sums(sums: np.ndarray) -> np.ndarray:
        numerator, denominator = sums[..., 0], sums[..., 1]
        return np.divide(
            numerator,
            denominator,
            out=np.full_like(numerator, 0.0 if higher_is_better else np.nan),
            where=denominator > 0,
        )

    return PerExampleMetric(name, higher_is_better, np.array(terms, np.float64).reshape(-1, 2), divide_sums)


def entity_f1_metric(pairs: Iterable[tuple[Iterable[Entity], Iterable[Entity]]]) -> PerExampleMetric:
    """Return the F1 of `EntityMetrics` as what each example adds to it.

    Args:
      pairs: true and predicted entities of each example, as `EntityMetrics.update_state` takes them.

    >>> metric = entity_f1_metric([([(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER"), (3, 4, "ORG")])])
    >>> float(metric.aggregate(metric.components.sum(axis=0)))
    0.5
    """
    sets = [(set(gold), set(predicted)) for gold, predicted in pairs]
    return ratio_metric("f1", [(2 * len(gold & predicted), len(gold) + len(predicted)) for gold, predicted in sets])
