"""The sentiment recipe: what is learned from the data, how texts become model inputs, and what is predicted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import passes
from common.data.check_text import text_classification
from common.data.splitting import load_splits
from common.modeling import classification, losses
from common.recipe import Recipe
from common.text import vocabulary
from common.types import Assets, Axis, Batch, JsonObject, Source, Splits

from . import data, model
from .config import PREFIXES, SUFFIXES, Config

WORTH = 1  # examples that count as much as what another run knows of a word
LONG = 50  # words; a text that is longer counts as several where the number of epochs is chosen


class SentimentRecipe(Recipe[Config]):
    """Text to label."""

    fields = data.FIELDS
    length_keys = ("tokens",)
    parts = model.PARTS
    extendable_assets = ("words",)
    head: classification.ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = classification.ClassificationHead(assets, blended=model.HEADS)
        self.vocabulary = vocabulary.Vocabulary(assets["words"], buckets=1)
        buckets = max(config.affix_buckets, 1)
        self.affixes = vocabulary.Affixes(self.vocabulary, assets["words"], PREFIXES, SUFFIXES, buckets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        return load_splits(config, data.FIELDS, lambda: data.snippets(config.offline))

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        labels: Counter[str] = Counter()
        uses = vocabulary.counted(classification.read_texts(train, labels))
        words = vocabulary.frequent(uses, config.vocabulary, config.min_count)
        learned = classification.learned(labels, train, "example")
        return learned | {"words": words, "word_count": sum(uses.values()), "moving": False}

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        assets = cls.learn(config, train)
        own = assets if train.own is None else cls.learn(config, train.own)
        return cls.extend_known(assets, known) | {
            "familiar": vocabulary.familiar(own["words"], known["words"]),
            "moving": known.get("moving", True),  # runs of old do not say it
            "known_labels": set(assets["labels"]) <= set(known["labels"]),
        }

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        # The naive Bayes start leaves little to learn, and more passes overfit small sets. Long texts need fewer. A
        # source that knows the labels is soon forgotten; rows of new ones have all to learn.
        examples = max(sum(assets["label_counts"]), assets["word_count"] / LONG)
        most = 8 if config.init_from is None else 5 if assets.get("known_labels") else 20
        return dataclasses.replace(config, epochs=passes(config, assets, examples, 25_000, 3, most, fill=False))

    @classmethod
    def check(cls, config: Config, splits: Splits) -> JsonObject:
        def known(texts: Iterable[Sequence[str]]) -> set[str]:
            return set(vocabulary.frequent(vocabulary.counted(texts), config.vocabulary, config.min_count))

        return text_classification(splits, vocabulary.words, known, config.max_length)

    def encode(self, features: Batch) -> Batch:
        words = vocabulary.ends(vocabulary.words(features["text"]), self.config.max_length - 1)
        ids = self.vocabulary.ids(words)
        # The boundary keeps an empty text from being an empty row.
        boundary = tf.fill([ids.nrows(), 1], vocabulary.BOUNDARY)
        none = tf.zeros([ids.nrows(), 1, self.config.affix_kinds], tf.int32)
        tokens = tf.concat([ids, tf.RaggedTensor.from_tensor(boundary)], axis=1)
        affixes = tf.concat([self.affixes.ids(words, ids), tf.RaggedTensor.from_tensor(none)], axis=1)
        return {"tokens": tokens, "affixes": tf.cast(affixes, tf.uint16)}  # half the size where they are kept

    def encode_target(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        return model.build(self.config, self.vocabulary.size, len(self.head.labels), self.assets.get("moving", True))

    def begin(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        """Naive Bayes; of another run's rows the less stays the more examples hold the word or pair."""
        if not self.config.pair_buckets:
            return None
        texts = ((features["tokens"], target["label"]) for features, target in batches)
        counts = model.get_layer("wide_words").begin(texts, self.config.wide_scale)
        return {f"wide_words/{name}": WORTH / (WORTH + count) for name, count in counts.items()}

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        words, labels = self.vocabulary.axis(), self.head.named_axis()
        wide_words = dataclasses.replace(words, like=None)  # new ones begin as naive Bayes has them
        wide = {"word_rows": {0: wide_words, 1: labels}, "pair_rows": {1: labels}, "bias": {0: labels}}
        network = {"words/embeddings": {0: words}, "labels/kernel": {1: labels}, "labels/bias": {0: labels}}
        return network | {f"wide_words/{name}": axes for name, axes in wide.items()}

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        def cross_entropy(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            class_weights = self.head.class_weights(self.config.class_weights)
            return losses.cross_entropy(target["label"], logits, self.config.label_smoothing, class_weights)

        (both, weights), (lstm, _) = cross_entropy(outputs["logits"]), cross_entropy(outputs["lstm_logits"])
        return (1 - self.config.lstm_loss) * both + self.config.lstm_loss * lstm, weights

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        return self.head.prediction_outputs(model(features, training=False)["blended"])
