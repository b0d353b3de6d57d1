"""The sentiment recipe: what is learned from the data, how texts become model inputs, and what is served."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from common import check, classifier, encoding, losses, sources, text
from common.config import passes
from common.recipe import Ask, Assets, Axis, Batch, Endpoint, Example, Format, Source, Splits, Tally

from . import data, model
from .config import PREFIXES, SUFFIXES, Config
from .model import HEADS

WORTH = 1  # examples that count as much as what another run knows of a word
LONG = 50  # words; a text that is longer counts as several where the number of epochs is chosen


class Recipe:
    """Text to label."""

    fields = data.FIELDS
    inputs = tuple(field for field in data.FIELDS if field.kind == "text")
    formats: ClassVar[Mapping[str, Format]] = {}
    length_keys = ("tokens",)
    parts: ClassVar[Mapping[str, Sequence[str]]] = {
        "embedding": ("words", "affix_vectors"),
        "encoder": ("lstm_*", "pooling"),
        "head": ("labels", "wide_words", "blend"),
    }
    monitor, monitor_mode = "accuracy", "max"

    def __init__(self, config: Config, assets: Assets):
        self.config, self.assets = config, assets
        self.labels = classifier.Labels(assets)
        self.vocabulary = text.Vocabulary(assets["words"], buckets=1)
        buckets = max(config.affix_buckets, 1)
        self.affixes = text.Affixes(self.vocabulary, assets["words"], PREFIXES, SUFFIXES, buckets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        return sources.load_splits(config, data.FIELDS, lambda: data.snippets(config.offline))

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        labels: Counter[str] = Counter()

        def texts() -> Iterator[list[str]]:
            for batch in encoding.in_batches(train, encoding.ENCODE_BATCH):
                labels.update(example["label"] for example in batch)
                yield [example["text"] for example in batch]

        uses = text.counted(texts())
        words = text.frequent(uses, config.vocabulary, config.min_count)
        own = {"words": words, "word_count": sum(uses.values()), "moving": False}
        return classifier.learned(labels, train, "example") | own

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        found = cls.learn(config, train)
        own = found if train.own is None else cls.learn(config, train.own)
        alike = text.familiar(own["words"], known["words"])
        words = text.extended(known["words"], found["words"])
        return found | {
            "words": words, "familiar": alike, "moving": known.get("moving", True),
            "known_labels": set(found["labels"]) <= set(known["labels"]),
        }  # fmt: skip

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        # The naive Bayes start leaves little to learn, and more passes overfit small sets. Long texts need fewer. A
        # source that knows the labels is soon forgotten; rows of new ones have all to learn.
        examples = max(sum(assets["label_counts"]), assets["word_count"] / LONG)
        most = 8
        if config.init_from is not None:
            most = 5 if assets.get("known_labels") else 20
        return dataclasses.replace(config, epochs=passes(config, assets, examples, 25_000, 3, most, fill=False))

    @classmethod
    def check(cls, config: Config, splits: Splits) -> dict[str, Any]:
        def known(texts: Iterable[Sequence[str]]) -> set[str]:
            return set(text.frequent(text.counted(texts), config.vocabulary, config.min_count))

        return check.text_classification(splits, text.words, known, config.max_length)

    def encode(self, features: Batch) -> Batch:
        words = text.ends(text.words(features["text"]), self.config.max_length - 1)
        ids = self.vocabulary.ids(words)
        # The boundary keeps an empty text from being an empty row.
        boundary = tf.fill([ids.nrows(), 1], text.BOUNDARY)
        tokens = tf.concat([ids, tf.RaggedTensor.from_tensor(boundary)], axis=1)
        affixes = self.affixes.ids(words, ids)
        none = tf.zeros([ids.nrows(), 1, self.config.affix_kinds], tf.int32)
        affixes = tf.concat([affixes, tf.RaggedTensor.from_tensor(none)], axis=1)
        return {"tokens": tokens, "affixes": tf.cast(affixes, tf.uint16)}  # half the size where they are kept

    def encode_target(self, examples: Batch) -> Batch:
        return {"label": self.labels.ids(examples["label"])}

    def build_model(self) -> keras.Model:
        moving = self.assets.get("moving", True)  # runs of old do not say it
        return model.build(self.config, self.vocabulary.size, len(self.labels), moving)

    def begin(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        """Naive Bayes; of another run's rows the less stays the more examples hold the word or pair."""
        if not self.config.pair_buckets:
            return None
        counted = ((features["tokens"], target["label"]) for features, target in batches)
        counts = model.get_layer("wide_words").begin(counted, self.config.wide_scale)
        return {f"wide_words/{name}": WORTH / (WORTH + count) for name, count in counts.items()}

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        words, labels = self.vocabulary.axis(), self.labels.axis()
        return {
            "words/embeddings": {0: words}, "labels/kernel": {1: labels}, "labels/bias": {0: labels},
            # New words begin as naive Bayes has them.
            "wide_words/word_rows": {0: dataclasses.replace(words, like=None), 1: labels},
            "wide_words/pair_rows": {1: labels}, "wide_words/bias": {0: labels},
        }  # fmt: skip

    def warm_up(self, model: keras.Model) -> None:
        return None

    def orthogonal(self, model: keras.Model) -> Sequence[Any]:
        return []

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        pass

    def loss(self, model: keras.Model, target: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self.labels.weights(self.config.class_weights)
        smoothing, lstm_share = self.config.label_smoothing, self.config.lstm_loss
        sums, weights_of = losses.cross_entropy(target["label"], outputs["logits"], smoothing, weights)
        alone, _ = losses.cross_entropy(target["label"], outputs["lstm_logits"], smoothing, weights)
        return (1 - lstm_share) * sums + lstm_share * alone, weights_of

    def measures(self, model: keras.Model) -> classifier.Validation:
        return classifier.Validation(self.labels.names, HEADS)

    def conclude(self, model: keras.Model, measures: classifier.Validation) -> None:
        model.get_layer("blend").shares.assign(measures.fit())

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        return self.labels.score(batches, ask)

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        return self.labels.tally(batches, ask)

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        def classify(text: tf.Tensor) -> Mapping[str, tf.Tensor]:
            features = encoding.densified(self.encode({"text": text}))
            return self.labels.answers(model(features, training=False)["blended"])

        return {"serving_default": Endpoint(classify, {"text": tf.TensorSpec([None], tf.string, "text")})}

    def doubts(self) -> list[str]:
        return self.labels.doubts() + text.strange(self.assets.get("familiar"))

    def odd_inputs(self) -> list[Example]:
        long = "word " * 2_000
        texts = ["", " ", "zxqv wvutsrq", "😀👩‍👩‍👧🇩🇪 ❤️", long, "x" * 10_000, "漢字かな", "a\x00b", b"caf\xe9 \xff\xfe"]
        return [{"text": text} for text in texts]

    def present(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": example["text"], **self.labels.shown(outputs)}

    def uncertainty(self, outputs: Mapping[str, Any], by: str | None) -> float:
        return self.labels.uncertainty(outputs, by)
