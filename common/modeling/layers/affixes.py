"""A vector of a word out of its hashed beginnings and ends."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.modeling.layers.embedding import Embedding
from common.types import JsonObject

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kerasserole")
class AffixEmbedding(keras.layers.Layer):
    """The vectors of a word's beginnings and ends, summed and divided by the root of their number.

    With them an unknown word is not a blank: "un-" and "-less" say much (after Bojanowski et al. 2017, who take all
    character n-grams; affixes alone scored the same here at less cost).

    Args:
      buckets: hashed affixes; id 0 means none.

    Call arguments:
      affixes: any integers [batch, time, kinds].

    Returns: [batch, time, units].
    """

    def __init__(self, buckets: int, units: int, **kwargs: object):
        super().__init__(**kwargs)
        self.buckets, self.units = buckets, units
        start = keras.initializers.RandomUniform(-0.1, 0.1)
        self.rows = Embedding(buckets + 1, units, embeddings_initializer=start, name="rows")

    def build(self, shape: Shape) -> None:
        self.rows.build(shape)

    def call(self, affixes: tf.Tensor) -> tf.Tensor:
        affixes = tf.cast(affixes, tf.int32)
        vectors = self.rows(affixes)  # [batch, time, kinds, units]
        present = tf.cast(affixes > 0, vectors.dtype)
        count = tf.reduce_sum(present, axis=-1, keepdims=True)
        return tf.reduce_sum(vectors * present[..., None], axis=2) / tf.sqrt(tf.maximum(count, 1))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], self.units)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "buckets": self.buckets, "units": self.units}
