"""Classification of whatever it may be: labels and their ids, what is predicted, and its exact metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.errors import DataError
from common.modeling.heads import Head
from common.modeling.layers.blend import fit_blend_weights
from common.modeling.metrics import ClassificationMetrics, collect_in_order, ratio_metric, softmax
from common.modeling.uncertainty import classification_uncertainty
from common.text.similar_names import similar_label_warnings
from common.types import (
    Ask,
    Assets,
    Example,
    ExampleSource,
    JsonObject,
    Metrics,
    NamedAxis,
    OutputRow,
    PerExampleMetric,
)

if TYPE_CHECKING:
    import keras

# Logits on which a blend is fitted; more would take gigabytes, and tell little of so few weights.
MAX_FIT_LOGITS = 5_000_000


def build_label_assets(labels: Counter[str], train: ExampleSource, what: str) -> Assets:
    """Return the assets of which `ClassificationHead` is made: labels, sorted, and how many examples each has.

    Args:
      labels: counted in the training part.
      what: an example is, for people.

    Raises:
      DataError: there are fewer than two.
    """
    if len(labels) < 2:
        present = f'only the label "{next(iter(labels))}"' if labels else f"no {what}"
        broken = train.row_errors.summary()
        raise DataError(
            f"{train.name}: there is {present}, but a classifier needs two labels.{broken} Give more --data."
        )
    return {"labels": sorted(labels), "label_counts": [labels[label] for label in sorted(labels)]}


class ClassificationHead(Head):
    """Labels of a classifier by their ids, and the metrics of what is predicted for them.

    Args:
      assets: hold what `build_label_assets` gave.
      blended: names of the outputs that the layer "blend" makes the output "blended" of (see
        `common.modeling.layers.blend.LogitBlend`); the weights of the blend are then fitted on the validation
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

    def named_axis(self) -> NamedAxis:
        """Return what an axis by label stands for."""
        return NamedAxis(self.labels, labels=self.labels)

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

    def make_metrics(self, model: keras.Model) -> BlendedClassificationMetrics:
        return BlendedClassificationMetrics(self.labels, self.blended)

    def on_validation_end(self, model: keras.Model, metrics: Metrics) -> None:
        if self.blended and isinstance(metrics, BlendedClassificationMetrics):
            model.get_layer("blend").shares.assign(metrics.fit_blend_weights())

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        metrics = ClassificationMetrics(self.labels)
        ids = {label: index for index, label in enumerate(self.labels)}
        for batch in batches:
            for positions, outputs in ask("serving_default", batch):
                metrics.update_state(np.array([ids.get(batch[at]["label"], -1) for at in positions]), outputs["scores"])
        return metrics.result()

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        """Return the accuracy as what each example adds to it; a label that training lacks is a miss."""
        hits = [
            self.labels[outputs["scores"].argmax()] == example["label"]
            for batch in batches
            for example, outputs in zip(batch, collect_in_order(ask, "serving_default", batch), strict=True)
        ]
        return ratio_metric("accuracy", [(hit, 1) for hit in hits])

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        scores = dict(zip(self.labels, map(float, outputs["scores"]), strict=True))
        return {"label": outputs["label"].decode("utf-8"), "score": float(outputs["score"]), "scores": scores}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return the entropy or the margin of the probabilities; see common/modeling/uncertainty.py."""
        return classification_uncertainty(outputs["scores"], by)

    def data_warnings(self) -> list[str]:
        """Return labels that differ in case or blanks only, for people."""
        return similar_label_warnings(self.labels)


class BlendedClassificationMetrics:
    """Classification metrics of a model's logits, and the weights of their blend that fit best.

    Args:
      labels: their names.
      heads: names of the outputs that `common.modeling.layers.blend.LogitBlend` makes the output "blended" of,
        each logits [batch, labels]; those that the model lacks are passed over. Without any, "logits" is measured.
    """

    def __init__(self, labels: list[str], heads: Sequence[str] = ()):
        self.labels, self.heads = labels, heads
        self.metrics = ClassificationMetrics(labels)
        self.logits: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def update_state(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Add a batch: int32 [batch] "label", and the model's outputs."""
        if self.heads:
            self.logits.append(np.stack([outputs[name] for name in self.heads if name in outputs]))
            self.targets.append(target["label"])
        self.metrics.update_state(target["label"], softmax(outputs["blended" if self.heads else "logits"]))

    def fit_blend_weights(self) -> np.ndarray:
        """Return the weights, [heads], of the best blend, which is what is measured from now on."""
        logits, targets = np.concatenate(self.logits, axis=1), np.concatenate(self.targets)
        every = -(-logits.size // MAX_FIT_LOGITS)
        shares = fit_blend_weights(logits[:, ::every], targets[::every])
        self.metrics = ClassificationMetrics(self.labels)
        self.metrics.update_state(targets, softmax(np.tensordot(shares, logits, axes=1)))
        return shares

    def result(self) -> JsonObject:
        """Return the metrics as `common.modeling.metrics.ClassificationMetrics` gives them."""
        return self.metrics.result()
