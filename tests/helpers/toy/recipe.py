"""A recipe as small as they come: a linear classifier on hashed words, which trains in a second."""

from collections import Counter

import keras
import tensorflow as tf

from common.data.splitting import load_splits
from common.modeling.classification import ClassificationHead, build_label_assets
from common.modeling.layers.embedding import Embedding
from common.modeling.losses import cross_entropy
from common.recipe import Recipe
from common.types import Field

from .config import Config


class ToyRecipe(Recipe[Config]):
    fields = (Field("text", "text"), Field("label", "label"))

    def __init__(self, config, assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets)

    @classmethod
    def load_data(cls, config):
        return load_splits(config, cls.fields, None)  # there is no default data

    @classmethod
    def build_assets(cls, config, train):
        return build_label_assets(Counter(example["label"] for example in train), train, "example")

    def encode(self, features):
        words = tf.strings.split(tf.strings.join(["^ ", features["text"]]))  # so that no text is without a word
        return {"words": tf.cast(tf.strings.to_hash_bucket_fast(words, self.config.buckets), tf.int32) + 1}

    def encode_targets(self, examples):
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self):
        words = keras.Input([None], dtype="int32", name="words")
        scores = Embedding(self.config.buckets + 1, len(self.head.labels), name="scores")(words)
        present = keras.ops.cast(keras.ops.not_equal(words, 0), "float32")[..., None]
        return keras.Model({"words": words}, {"logits": keras.ops.sum(scores * present, axis=1)}, name="toy")

    def compute_loss(self, model, target, outputs):
        return cross_entropy(target["label"], outputs["logits"])

    def predict(self, model, features):
        return self.head.prediction_outputs(model(features, training=False)["logits"])
