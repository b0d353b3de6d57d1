"""The labels of a classifier: their ids, what its endpoint answers, its exact measures; whatever it classifies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from common import metrics, uncertain
from common.errors import DataError
from common.layers.blend import fitted_shares
from common.recipe import Ask, Assets, Axis, Example, Source, Tally
from common.similar_names import similar_label_warnings

FITTED = 5_000_000  # logits on which a blend is fitted; more would take gigabytes, and tell little of so few weights


def learned(labels: Counter[str], train: Source, what: str) -> Assets:
    """The assets of which `Labels` is made: labels, sorted, and how many examples each has.

    Args:
      labels: counted in the training part.
      what: an example is, for people.

    Raises:
      DataError: there are fewer than two.
    """
    if len(labels) < 2:
        found = f'only the label "{next(iter(labels))}"' if labels else f"no {what}"
        broken = train.problems.summary()
        raise DataError(f"{train.name}: there is {found}, but a classifier needs two labels.{broken} Give more --data.")
    return {"labels": sorted(labels), "label_counts": [labels[label] for label in sorted(labels)]}


class Labels:
    """The labels of a classifier, in the order of their ids.

    Args:
      assets: hold what `learned` gave.
    """

    def __init__(self, assets: Assets):
        self.names: list[str] = assets["labels"]
        self.counts: list[int] = assets["label_counts"]
        ids = tf.range(len(self.names), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(self.names, ids), -1)

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, labels: tf.Tensor) -> tf.Tensor:
        """Ids of labels, int32 [batch]; -1 for those that training lacks."""
        return self.table.lookup(labels)

    def axis(self) -> Axis:
        """What an axis by label stands for."""
        return Axis(self.names, labels=self.names)

    def weights(self, kind: str) -> list[float] | None:
        """What an example weighs by its label; None if all weigh the same.

        Args:
          kind: as `--class-weights` says: "none", or "balanced" for labels to weigh the same altogether.
        """
        if kind == "none":
            return None
        counts = np.array(self.counts, np.float64)
        return (counts.sum() / (len(counts) * counts)).tolist()

    def answers(self, logits: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """What an endpoint gives: label, string [batch]; score, its share, [batch]; scores, of all, [batch, labels]."""
        scores = tf.nn.softmax(logits)
        return {
            "label": tf.gather(tf.constant(self.names), tf.argmax(scores, axis=1)),
            "score": tf.reduce_max(scores, axis=1),
            "scores": scores,
        }

    def shown(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """One row of an endpoint's answers as a JSON object."""
        scores = dict(zip(self.names, map(float, outputs["scores"]), strict=True))
        return {"label": outputs["label"].decode("utf-8"), "score": float(outputs["score"]), "scores": scores}

    def uncertainty(self, outputs: Mapping[str, Any], by: str | None) -> float:
        """How unsure one row of an endpoint's answers is, from 0 to 1; see common/uncertain.py."""
        return uncertain.of_shares(outputs["scores"], by)

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        """The exact measures of what serving_default answers, against raw examples."""
        measures = metrics.Classification(self.names)
        ids = {label: index for index, label in enumerate(self.names)}
        for batch in batches:
            for positions, outputs in ask("serving_default", batch):
                measures.update(np.array([ids.get(batch[at]["label"], -1) for at in positions]), outputs["scores"])
        return measures.result()

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        """The accuracy as what each example adds to it; a label that training lacks is a miss."""
        hits = [
            self.names[outputs["scores"].argmax()] == example["label"]
            for batch in batches
            for example, outputs in zip(batch, metrics.in_order(ask, "serving_default", batch), strict=True)
        ]
        return metrics.tally_of_shares("accuracy", [(hit, 1) for hit in hits])

    def doubts(self) -> list[str]:
        """Labels that differ in case or blanks only, for people."""
        return similar_label_warnings(self.names)


class Validation:
    """Classification measures of a model that blends logits, and the weights of the blend that fit best.

    Args:
      labels: their names.
      heads: names of the outputs that `common.layers.blend.Blend` makes the output "blended" of, each logits
        [batch, labels]; those that the model lacks are passed over.
    """

    def __init__(self, labels: list[str], heads: Sequence[str]):
        self.labels, self.heads = labels, heads
        self.measures = metrics.Classification(labels)
        self.logits: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Adds a batch: int32 [batch] "label", and the model's outputs."""
        self.logits.append(np.stack([outputs[name] for name in self.heads if name in outputs]))
        self.targets.append(target["label"])
        self.measures.update(target["label"], metrics.softmax(outputs["blended"]))

    def fit(self) -> np.ndarray:
        """The weights, [heads], of the best blend, which is what is measured from now on."""
        logits, targets = np.concatenate(self.logits, axis=1), np.concatenate(self.targets)
        every = -(-logits.size // FITTED)
        shares = fitted_shares(logits[:, ::every], targets[::every])
        self.measures = metrics.Classification(self.labels)
        self.measures.update(targets, metrics.softmax(np.tensordot(shares, logits, axes=1)))
        return shares

    def result(self) -> dict[str, Any]:
        """As `common.metrics.Classification` gives them."""
        return self.measures.result()
