"""Scores gathered batch by batch, exact at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.types import Ask, Example, JsonObject, Tally

SMALLEST = 1e-7  # a probability is taken to be at least this in log loss
UNSEEN = "(unseen)"  # stands for all labels that training lacks
BINS = 15  # of the calibration error

Entity = tuple[int, int, str]  # start, end and type


def softmax(logits: np.ndarray) -> np.ndarray:
    """Shares that sum to 1, [batch, labels].

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


class Classification:
    """Measures of a classifier that gives a probability for each label.

    Accuracy; macro F1, the mean F1 over the labels that occur or were predicted; precision, recall and F1 per
    label; the confusion matrix (rows true, columns predicted); log loss in nats; expected calibration error over 15
    equal bins of the top score (Guo et al. 2017). An example whose label was never seen in training counts as wrong,
    under the label "(unseen)".

    >>> measures = Classification(["neg", "pos"])
    >>> measures.update(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> measures.result()["accuracy"]
    0.5
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = list(labels)
        self.confusion = np.zeros((len(labels) + 1, len(labels)), np.int64)
        self.log_loss = 0.0
        self.bins = np.zeros((BINS, 3))  # examples, sum of top scores, hits

    def update(self, target: np.ndarray, scores: np.ndarray) -> None:
        """Adds a batch.

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
        """All measures; shares from 0 to 1."""
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


class Entities:
    """Precision, recall and F1 of entities, each right only if its place and its type are; as conlleval has them.

    Over all entities ("micro"), and per type, of which support is the number of true ones. A share of nothing is 0.

    >>> measures = Entities()
    >>> measures.update([(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER"), (3, 4, "ORG")])
    >>> measures.result()["f1"]
    0.5
    """

    def __init__(self) -> None:
        self.examples = 0
        self.right: Counter[str] = Counter()  # by type, as are the next two
        self.true: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def update(self, gold: Iterable[tuple[int, int, str]], predicted: Iterable[tuple[int, int, str]]) -> None:
        """Adds a sentence.

        Args:
          gold, predicted: (start, end, type) of each entity; one that is given twice counts once.
        """
        true, found = ({(start, end, type) for start, end, type in one} for one in (gold, predicted))
        self.examples += 1
        for counter, entities in ((self.right, true & found), (self.true, true), (self.found, found)):
            counter.update(type for _, _, type in entities)

    def result(self) -> JsonObject:
        """All measures; shares from 0 to 1, types sorted."""
        per_type = {}
        for type in sorted(self.true | self.found):
            shares = _shares(self.right[type], self.true[type], self.found[type])
            per_type[type] = {name: shares[name] for name in ("precision", "recall", "f1")}
            per_type[type]["support"] = self.true[type]
        whole = _shares(self.right.total(), self.true.total(), self.found.total())
        return whole | {"examples": self.examples, "entities": self.true.total(), "per_type": per_type}


def _shares(right: int, true: int, found: int) -> JsonObject:
    return {
        "f1": 2 * right / (true + found) if true + found else 0.0,
        "precision": right / found if found else 0.0,
        "recall": right / true if true else 0.0,
    }


class Nothing:
    """No measures besides the loss, for what is scored at the end alone."""

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Passes over a batch."""

    def result(self) -> JsonObject:
        """No measures."""
        return {}


def in_order(ask: Ask, name: str, batch: list[Example]) -> list[JsonObject]:
    """What an endpoint answers for each example of a batch, in their order.

    Args:
      name: of the endpoint.
    """
    rows: dict[int, JsonObject] = {}
    for positions, outputs in ask(name, batch):
        for row, at in enumerate(positions):
            rows[at] = {key: values[row] for key, values in outputs.items()}
    return [rows[at] for at in range(len(batch))]


def tally_of_shares(measure: str, parts: Sequence[tuple[float, float]], higher: bool = True) -> Tally:
    """The tally of a measure that is a sum over another one, such as hits over examples.

    Without any such, it is 0 as in `score`, or nan if less is better.

    Args:
      parts: what each example adds to the two sums, both 0 or more.

    >>> tally = tally_of_shares("accuracy", [(1, 1), (0, 1)])
    >>> float(tally.of(tally.parts.sum(axis=0)))
    0.5
    """

    def of(sums: np.ndarray) -> np.ndarray:
        above, below = sums[..., 0], sums[..., 1]
        return np.divide(above, below, out=np.full_like(above, 0.0 if higher else np.nan), where=below > 0)

    return Tally(measure, higher, np.array(parts, np.float64).reshape(-1, 2), of)


def tally_of_entities(pairs: Iterable[tuple[Iterable[Entity], Iterable[Entity]]]) -> Tally:
    """The tally of the F1 that `Entities` measures.

    Args:
      pairs: true and predicted entities of each example, as `Entities.update` takes them.

    >>> tally = tally_of_entities([([(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER"), (3, 4, "ORG")])])
    >>> float(tally.of(tally.parts.sum(axis=0)))
    0.5
    """
    sets = [(set(gold), set(predicted)) for gold, predicted in pairs]
    return tally_of_shares("f1", [(2 * len(gold & found), len(gold) + len(found)) for gold, found in sets])
