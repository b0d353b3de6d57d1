"""The sentiment recipe: what is learned from the data, how texts become model inputs, and what is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from common.config import resolve_epochs
from common.data.check_text import check_text_classification
from common.data.encoding import iter_texts
from common.data.splitting import load_splits
from common.modeling.classification import ClassificationHead, build_label_assets
from common.modeling.losses import cross_entropy
from common.recipe import Recipe
from common.text import vocabulary
from common.types import Assets, Batch, ExampleSource, JsonObject, NamedAxis, Splits

from . import data, model
from .config import PREFIXES, SUFFIXES, Config

BASE_RUN_WEIGHT = 1  # examples that count as much as what a base run knows of a word
WORDS_PER_EXAMPLE = 50  # words; a text that is longer counts as several where the number of epochs is chosen


class SentimentRecipe(Recipe[Config]):
    """Text to label."""

    fields = data.FIELDS
    length_features = ("tokens",)
    layer_groups = model.LAYER_GROUPS
    extendable_assets = ("words",)
    head: ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets, blended=model.HEADS)
        self.vocabulary = vocabulary.Vocabulary(assets["words"], buckets=1)
        sizes = PREFIXES, SUFFIXES, max(config.affix_buckets, 1)
        self.affixes = vocabulary.AffixHasher(self.vocabulary, assets["words"], *sizes)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        return load_splits(config, data.FIELDS, lambda: data.load_movie_reviews(config.offline))

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        labels: Counter[str] = Counter()
        counts = vocabulary.count_words(iter_texts(train, labels))
        words = vocabulary.most_frequent(counts, config.vocabulary_size, config.min_count)
        return build_label_assets(labels, train, "example") | {"words": words, "num_words": counts.total()}

    @classmethod
    def extend_assets(cls, config: Config, train: ExampleSource, known: Assets) -> Assets:
        assets = cls.build_assets(config, train)
        own = assets if train.without_replay is None else cls.build_assets(config, train.without_replay)
        return cls.extend_known(assets, known) | {
            "known_word_fraction": vocabulary.known_word_fraction(own["words"], known["words"]),
            "labels_all_known": set(assets["labels"]) <= set(known["labels"]),
        }

    @classmethod
    def resolve_defaults(cls, config: Config, assets: Assets) -> Config:
        # Naive Bayes leaves little to learn, long texts less. A base run that knows the labels is soon forgotten.
        examples = max(sum(assets["label_counts"]), assets["num_words"] / WORDS_PER_EXAMPLE)
        max_epochs = 8 if config.init_from is None else 5 if assets.get("labels_all_known") else 20
        return replace(config, epochs=resolve_epochs(config, assets, examples, 25_000, 3, max_epochs, fill=False))

    @classmethod
    def check_data(cls, config: Config, splits: Splits) -> JsonObject:
        def get_vocabulary(texts: Iterable[Sequence[str]]) -> set[str]:
            counts = vocabulary.count_words(texts)
            return set(vocabulary.most_frequent(counts, config.vocabulary_size, config.min_count))

        return check_text_classification(splits, vocabulary.tokenize, get_vocabulary, config.max_length)

    def encode(self, features: Batch) -> Batch:
        words = vocabulary.trim_middle(vocabulary.tokenize(features["text"]), self.config.max_length - 1)
        ids = self.vocabulary.lookup(words)
        # The boundary keeps an empty text from being an empty row.
        boundary = tf.RaggedTensor.from_tensor(tf.fill([ids.nrows(), 1], vocabulary.BOUNDARY))
        no_affixes = tf.RaggedTensor.from_tensor(tf.zeros([ids.nrows(), 1, self.config.num_affixes], tf.int32))
        affixes = tf.concat([self.affixes.lookup(words, ids), no_affixes], axis=1)
        return {"tokens": tf.concat([ids, boundary], axis=1), "affixes": tf.cast(affixes, tf.uint16)}  # less to cache

    def encode_targets(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        return model.build_model(self.config, self.vocabulary.size, len(self.head.labels))

    def initialize_weights(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], inherited: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        if not self.config.bigram_buckets:
            return None
        texts = ((features["tokens"], target["label"]) for features, target in batches)
        counts = model.get_layer("wide_words").init_naive_bayes(texts, self.config.naive_bayes_scale)
        return {f"wide_words/{name}": BASE_RUN_WEIGHT / (BASE_RUN_WEIGHT + count) for name, count in counts.items()}

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        words, labels = self.vocabulary.named_axis(), self.head.named_axis()
        wide_words = replace(words, init_new_from=None)  # new ones begin as naive Bayes has them
        network = {"words/embeddings": {0: words}, "labels/kernel": {1: labels}, "labels/bias": {0: labels}}
        wide = {"wide_words/word_rows": {0: wide_words, 1: labels}, "wide_words/pair_rows": {1: labels}}
        return network | wide | {"wide_words/bias": {0: labels}}

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        labels, lstm_weight = target["label"], self.config.lstm_loss_weight
        options = self.config.label_smoothing, self.head.class_weights(self.config.class_weights)
        both, weights = cross_entropy(labels, outputs["logits"], *options)
        lstm, _ = cross_entropy(labels, outputs["lstm_logits"], *options)
        return (1 - lstm_weight) * both + lstm_weight * lstm, weights

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        return self.head.prediction_outputs(model(features, training=False)["blended"])
