"""Classification of whatever it may be: labels and their ids, what is predicted, and its exact metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.data.encoding import ENCODE_BATCH, in_batches
from common.errors import DataError
from common.modeling.heads import Head
from common.modeling.layers.blend import fitted_shares
from common.modeling.metrics import Classification, in_order, softmax, tally_of_shares
from common.modeling.uncertainty import of_shares
from common.text.similar_names import similar_label_warnings
from common.types import Ask, Assets, Axis, Example, JsonObject, Measures, OutputRow, Source, Tally

if TYPE_CHECKING:
    import keras

FITTED = 5_000_000  # logits on which a blend is fitted; more would take gigabytes, and tell little of so few weights


def learned(labels: Counter[str], train: Source, what: str) -> Assets:
    """The assets of which `ClassificationHead` is made: labels, sorted, and how many examples each has.

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


def read_texts(source: Source, labels: Counter[str]) -> Iterator[list[str]]:
    """Yield the texts of a source in batches, counting their labels on the way."""
    for batch in in_batches(source, ENCODE_BATCH):
        labels.update(example["label"] for example in batch)
        yield [example["text"] for example in batch]


class ClassificationHead(Head):
    """Labels of a classifier by their ids, and the metrics of what is predicted for them.

    Args:
      assets: hold what `learned` gave.
      blended: names of the outputs that the layer "blend" makes the output "blended" of (see
        `common.modeling.layers.blend.Blend`); the weights of the blend are then fitted on the validation
        split. Without any, "logits" are measured.
    """

    required_outputs = ("label", "score", "scores")
    monitor, monitor_mode = "accuracy", "max"

    def __init__(self, assets: Assets, blended: Sequence[str] = ()):
        self.labels: list[str] = assets["labels"]
        self.counts: list[int] = assets["label_counts"]
        self.blended = tuple(blended)
        ids = tf.range(len(self.labels), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(self.labels, ids), -1)

    def lookup(self, labels: tf.Tensor) -> tf.Tensor:
        """Return the ids of labels, int32 [batch]; -1 for those that training lacks."""
        return self.table.lookup(labels)

    def named_axis(self) -> Axis:
        """Return what an axis by label stands for."""
        return Axis(self.labels, labels=self.labels)

    def class_weights(self, kind: str) -> list[float] | None:
        """Return what an example weighs by its label; None if all weigh the same.

        Args:
          kind: as `--class-weights` says: "none", or "balanced" for labels to weigh the same altogether.
        """
        if kind == "none":
            return None
        counts = np.array(self.counts, np.float64)
        return (counts.sum() / (len(counts) * counts)).tolist()

    def prediction_outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what a recipe predicts from logits [batch, labels].

        Returns: label, string [batch]; score, its probability, [batch]; scores, those of all, [batch, labels].
        """
        scores = tf.nn.softmax(logits)
        return {
            "label": tf.gather(tf.constant(self.labels), tf.argmax(scores, axis=1)),
            "score": tf.reduce_max(scores, axis=1),
            "scores": scores,
        }

    def make_metrics(self, model: keras.Model) -> Validation:
        return Validation(self.labels, self.blended)

    def on_validation_end(self, model: keras.Model, metrics: Measures) -> None:
        if self.blended and isinstance(metrics, Validation):
            model.get_layer("blend").shares.assign(metrics.fit())

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        measures = Classification(self.labels)
        ids = {label: index for index, label in enumerate(self.labels)}
        for batch in batches:
            for positions, outputs in ask("serving_default", batch):
                measures.update(np.array([ids.get(batch[at]["label"], -1) for at in positions]), outputs["scores"])
        return measures.result()

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        """Return the accuracy as what each example adds to it; a label that training lacks is a miss."""
        hits = [
            self.labels[outputs["scores"].argmax()] == example["label"]
            for batch in batches
            for example, outputs in zip(batch, in_order(ask, "serving_default", batch), strict=True)
        ]
        return tally_of_shares("accuracy", [(hit, 1) for hit in hits])

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        scores = dict(zip(self.labels, map(float, outputs["scores"]), strict=True))
        return {"label": outputs["label"].decode("utf-8"), "score": float(outputs["score"]), "scores": scores}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return the entropy or the margin of the probabilities; see common/modeling/uncertainty.py."""
        return of_shares(outputs["scores"], by)

    def data_warnings(self) -> list[str]:
        """Return labels that differ in case or blanks only, for people."""
        return similar_label_warnings(self.labels)


class Validation:
    """Classification metrics of a model's logits, and the weights of their blend that fit best.

    Args:
      labels: their names.
      heads: names of the outputs that `common.modeling.layers.blend.Blend` makes the output "blended" of, each logits
        [batch, labels]; those that the model lacks are passed over. Without any, the output "logits" is measured.
    """

    def __init__(self, labels: list[str], heads: Sequence[str] = ()):
        self.labels, self.heads = labels, heads
        self.measures = Classification(labels)
        self.logits: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Add a batch: int32 [batch] "label", and the model's outputs."""
        if self.heads:
            self.logits.append(np.stack([outputs[name] for name in self.heads if name in outputs]))
            self.targets.append(target["label"])
        self.measures.update(target["label"], softmax(outputs["blended" if self.heads else "logits"]))

    def fit(self) -> np.ndarray:
        """Return the weights, [heads], of the best blend, which is what is measured from now on."""
        logits, targets = np.concatenate(self.logits, axis=1), np.concatenate(self.targets)
        every = -(-logits.size // FITTED)
        shares = fitted_shares(logits[:, ::every], targets[::every])
        self.measures = Classification(self.labels)
        self.measures.update(targets, softmax(np.tensordot(shares, logits, axes=1)))
        return shares

    def result(self) -> JsonObject:
        """Return the metrics as `common.modeling.metrics.Classification` gives them."""
        return self.measures.result()
