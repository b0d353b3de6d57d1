"""A recipe as small as they come: a linear classifier on hashed words, which trains in a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import keras
import tensorflow as tf

from common.data import splitting
from common.errors import ConfigError
from common.modeling import losses
from common.modeling.classification import ClassificationHead, learned
from common.modeling.layers.embedding import Embedding
from common.recipe import Recipe
from common.types import Assets, Batch, Field, Source, Splits

from .config import Config


def no_default() -> tuple[Source, dict[str, str]]:
    """Refuse to train without data."""
    raise ConfigError("The toy has no data of its own: give --data.")


class ToyRecipe(Recipe[Config]):
    """Text to label."""

    fields = (Field("text", "text"), Field("label", "label"))
    head: ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        return splitting.load_splits(config, cls.fields, no_default)

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        return learned(Counter(example["label"] for example in train), train, "example")

    def encode(self, features: Batch) -> Batch:
        words = tf.strings.split(tf.strings.join(["^ ", features["text"]]))  # so that no text is without a word
        return {"words": tf.cast(tf.strings.to_hash_bucket_fast(words, self.config.buckets), tf.int32) + 1}

    def encode_target(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        words = keras.Input([None], dtype="int32", name="words")
        scores = Embedding(self.config.buckets + 1, len(self.head.labels), name="scores")(words)
        present = keras.ops.cast(keras.ops.not_equal(words, 0), "float32")[..., None]
        return keras.Model({"words": words}, {"logits": keras.ops.sum(scores * present, axis=1)}, name="toy")

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        return losses.cross_entropy(target["label"], outputs["logits"])

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        return self.head.prediction_outputs(model(features, training=False)["logits"])
