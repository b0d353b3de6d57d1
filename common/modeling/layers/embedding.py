"""Vectors of ids."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasserole")
class Embedding(keras.layers.Embedding):
    """Keras's embedding, which in training on CPUs reads no more than the rows asked for.

    Keras reads the variable and then takes the rows; once an optimizer has changed single rows of it, TensorFlow copies
    the whole table at each such read. Of mixed precision Keras takes care, with a cast of the table.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if self.compute_dtype != self.variable_dtype:
            return super().call(inputs)
        return tf.gather(self.embeddings.value, tf.cast(inputs, tf.int32))
