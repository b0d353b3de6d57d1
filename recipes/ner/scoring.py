"""How good the entities are that are found: metrics, the fitted bias of O, and predictions as JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from common.modeling.heads import Head
from common.modeling.metrics import UNSEEN, EntityMetrics, collect_in_order, entity_f1_metric
from common.modeling.uncertainty import confidence_uncertainty
from common.text.similar_names import similar_label_warnings
from common.text.tag_schemes import tags_to_spans
from common.types import Ask, Example, JsonObject, Metrics, OutputRow, PerExampleMetric

from . import tagging, writing

BIASES = np.arange(-4, 2.25, 0.5)  # that are tried for O
FITTED_ON = 5_000  # about so many sentences of the validation split

Span = tuple[int, int, str]  # start, end (excluded) and type
Decode = Callable[[keras.Model, tf.Tensor, tf.Tensor], tf.Tensor]  # (model, emissions, lengths) to ids of the best tags


class TaggingHead(Head):
    """Entities of sentences, measured as conlleval does.

    Args:
      types: of entities.
      scheme: of the tags that the model scores.
      decode: the best tags of emissions.
    """

    required_outputs = ("tags", "scores", "lengths")
    monitor, monitor_mode = "f1", "max"

    def __init__(self, types: list[str], scheme: str, decode: Decode):
        self.types, self.scheme, self.decode = types, scheme, decode
        self.compiled: tuple[keras.Model, Callable[[np.ndarray, np.ndarray], tf.Tensor]] | None = None

    def make_metrics(self, model: keras.Model) -> EntityValidation:
        if self.compiled is None or self.compiled[0] is not model:  # compiled once, not for each epoch
            specs = [tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([None], tf.int32)]
            decode = functools.partial(self.decode, model)
            self.compiled = model, tf.function(decode, input_signature=specs, autograph=False)
        bias = float(model.get_layer("outside").bias.numpy())
        return EntityValidation([*self.types, UNSEEN], self.scheme, self.compiled[1], bias)

    def on_validation_end(self, model: keras.Model, metrics: Metrics) -> None:
        if isinstance(metrics, EntityValidation):
            model.get_layer("outside").bias.assign(metrics.fit_bias())

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        given, raw = EntityMetrics(), EntityMetrics()
        for batch in batches:
            for example, outputs in zip(batch, collect_in_order(ask, "serving_default", batch), strict=True):
                gold, predicted = gold_spans(example), predicted_spans(outputs)
                raw.update_state(gold, predicted)
                if "entities" in example:
                    given.update_state(gold, predicted)
            tokenised = [example for example in batch if "entities" not in example]
            for example, outputs in zip(tokenised, collect_in_order(ask, "tokens", tokenised), strict=True):
                given.update_state(tags_to_spans(example["tags"]), predicted_entities(example, outputs))
        measured = given.result()
        measured["per_type"] = self._known(measured["per_type"])
        return {"f1": measured.pop("f1"), "f1_raw_text": raw.result()["f1"], **measured}

    def _known(self, per_type: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
        """Return the same with all types that training lacks under one name."""
        known = {kind: scores for kind, scores in per_type.items() if kind in self.types}
        count = sum(scores["support"] for kind, scores in per_type.items() if kind not in self.types)
        return known | ({UNSEEN: {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": count}} if count else {})

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        def pairs() -> Iterator[tuple[list[Span], list[Span]]]:
            for batch in batches:
                # Each as its data has it, one by characters and the other by tokens.
                texts = [example for example in batch if "entities" in example]
                tokenised = [example for example in batch if "entities" not in example]
                of_text = iter(collect_in_order(ask, "serving_default", texts))
                of_tokens = iter(collect_in_order(ask, "tokens", tokenised))
                for example in batch:
                    if "entities" in example:
                        yield gold_spans(example), predicted_spans(next(of_text))
                    else:
                        yield tags_to_spans(example["tags"]), predicted_entities(example, next(of_tokens))

        return entity_f1_metric(pairs())

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        return {"entities": writing.format_entities(example, outputs)}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return that of the least certain entity, or token outside of any."""
        return confidence_uncertainty(outputs["scores"][: int(outputs["lengths"])].min(initial=1.0), by)

    def data_warnings(self) -> list[str]:
        return similar_label_warnings(self.types)


def gold_spans(example: Example) -> list[Span]:
    """Return the true entities of an example by the characters where they stand in its text."""
    if "entities" in example:
        return [(start, end, kind) for start, end, kind in example["entities"]]
    ends = np.cumsum([len(token) + 1 for token in example["tokens"]]) - 1
    starts = ends - [len(token) for token in example["tokens"]]
    return [(int(starts[first]), int(ends[last - 1]), kind) for first, last, kind in tags_to_spans(example["tags"])]


def predicted_spans(outputs: OutputRow) -> list[Span]:
    """Return the entities that are found in a text, by characters; `outputs` is one row of serving_default."""
    return [(start, end, kind) for start, end, kind, _ in writing.entity_spans(outputs)]


def predicted_entities(example: Example, outputs: OutputRow) -> list[Span]:
    """Return the entities that are found among tokens, by these; `outputs` is one row of the endpoint "tokens"."""
    return tags_to_spans([tag.decode("utf-8") for tag in outputs["tags"][: len(example["tokens"])]])


class EntityValidation:
    """Entity metrics of the model's outputs, with `bias` added to the score of O."""

    def __init__(
        self, types: list[str], scheme: str, decode: Callable[[np.ndarray, np.ndarray], tf.Tensor], bias: float
    ):
        self.types, self.scheme, self.decode, self.bias = types, scheme, decode, bias
        # Of each batch: trained emissions, lengths, true entities.
        self.batches: list[tuple[np.ndarray, np.ndarray, list[list[Span]]]] = []

    def update_state(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Add a batch: int32 [batch, time] "tags", and the model's outputs."""
        lengths = outputs["lengths"]
        true = [self._entities(row[:length]) for row, length in zip(target["tags"], lengths, strict=True)]
        self.batches.append((outputs["emissions"], lengths, true))

    def _entities(self, row: np.ndarray) -> list[Span]:
        return [(first, last, self.types[kind]) for first, last, kind in tagging.decode_entities(row, self.scheme)]

    def _measure(self, bias: float, batches: Iterable[tuple[np.ndarray, np.ndarray, list[list[Span]]]]) -> JsonObject:
        measures = EntityMetrics()
        for emissions, lengths, true in batches:
            moved = emissions.copy()
            moved[:, :, 0] += bias
            tags = self.decode(moved, lengths).numpy()
            for gold, row, length in zip(true, tags, lengths, strict=True):
                measures.update_state(gold, self._entities(row[:length]))
        return measures.result()

    def fit_bias(self) -> float:
        """Return what added to the score of O gives the best F1, the smallest such; it is measured with from now on."""
        # They come sorted by length, so of many every second or third batch, and so on.
        count = sum(len(true) for _, _, true in self.batches)
        sample = self.batches[:: -(-count // FITTED_ON) or 1]
        self.bias = float(max(sorted(BIASES, key=abs), key=lambda bias: self._measure(bias, sample)["f1"]))
        return self.bias

    def result(self) -> JsonObject:
        """Return the metrics as `common.modeling.metrics.EntityMetrics` gives them."""
        return self._measure(self.bias, self.batches)
