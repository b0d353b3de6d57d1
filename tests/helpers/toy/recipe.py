"""A recipe as small as they come: a linear classifier on hashed words, which trains in a second."""

from collections import Counter
from collections.abc import Mapping

import keras
import tensorflow as tf

from common.data.splitting import load_splits
from common.modeling.classification import ClassificationHead, build_label_assets
from common.modeling.layers.embedding import Embedding
from common.modeling.losses import cross_entropy
from common.recipe import Recipe
from common.types import Assets, Batch, ExampleSource, Field, Splits

from .config import Config


class ToyRecipe(Recipe[Config]):
    fields = (Field("text", "text"), Field("label", "label"))
    head: ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        return load_splits(config, cls.fields)  # there is no default data

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        return build_label_assets(Counter(example["label"] for example in train), train, "example")

    def encode(self, features: Batch) -> Batch:
        words = tf.strings.split(tf.strings.join(["^ ", features["text"]]))  # so that no text is without a word
        return {"words": tf.cast(tf.strings.to_hash_bucket_fast(words, self.config.buckets), tf.int32) + 1}

    def encode_targets(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        words = keras.Input([None], dtype="int32", name="words")
        scores = Embedding(self.config.buckets + 1, len(self.head.labels), name="scores")(words)
        present = keras.ops.cast(keras.ops.not_equal(words, 0), "float32")[..., None]
        return keras.Model({"words": words}, {"logits": keras.ops.sum(scores * present, axis=1)}, name="toy")

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        return cross_entropy(target["label"], outputs["logits"])

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        return self.head.prediction_outputs(model(features, training=False)["logits"])
