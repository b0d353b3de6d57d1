"""Dropout whose random numbers cost a quarter of what floats would."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

STEPS = 256  # a byte decides over each value


@keras.saving.register_keras_serializable("kerasserole")
class Dropout(keras.layers.Layer):
    """Sets a share of the values to 0 in training and scales up the rest (Srivastava et al. 2014).

    Keras draws a float for each value, which took a tenth of a Transformer's training step on CPUs; here it is a byte.
    So the share is rounded to 256ths, and the scale fits the rounded one.

    Args:
      rate: share of the values, from 0 to below 1.

    Call arguments:
      inputs: floats of any shape.

    Returns: the same shape.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"the share that is dropped must be from 0 to below 1, not {rate}")
        self.rate = rate
        self.seed = keras.random.SeedGenerator()
        self.supports_masking = True

    def build(self, inputs_shape: Any = None) -> None:
        pass

    def call(self, inputs: Any, training: bool = False) -> Any:
        dropped = min(max(round(self.rate * STEPS), 1), STEPS - 1) if self.rate else 0
        if not training or not dropped:
            return inputs
        shape = tf.shape(inputs)
        count = tf.reduce_prod(shape)
        words = tf.random.stateless_uniform([count // 8 + 1], self.seed.next(), None, None, tf.uint64)
        drawn = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], shape)
        kept = tf.cast(drawn >= tf.constant(dropped, tf.uint8), inputs.dtype)
        return inputs * (kept * (STEPS / (STEPS - dropped)))

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}
