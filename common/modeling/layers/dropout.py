"""Dropout whose random numbers cost a quarter of what floats would."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.types import JsonObject

STEPS = 256  # a byte decides over each value
SHARE = "dropout_share"

Shape = tuple[int | None, ...]


def scale_dropout(model: keras.Model, share: float) -> None:
    """Let the layers of this kind in a model drop only this share of what they else do, from 0 to 1."""
    for variable in model.variables:
        if variable.path.endswith(SHARE):
            variable.assign(share)


@keras.saving.register_keras_serializable("kerasserole")
class ByteDropout(keras.layers.Layer):
    """Set a fraction of the values to 0 in training and scale up the rest (Srivastava et al. 2014).

    Keras draws a float for each value, which took a tenth of a Transformer's training step on CPUs; here it is a byte.
    So the share is rounded to 256ths, and the scale fits the rounded one.

    Args:
      rate: share of the values, from 0 to below 1.

    Call arguments:
      inputs: floats of any shape.

    Returns: the same shape.
    """

    def __init__(self, rate: float, **kwargs: object):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"the share that is dropped must be from 0 to below 1, not {rate}")
        self.rate = rate
        self.seed = keras.random.SeedGenerator()
        # Made here, where no layer around it has a name yet: that of the generator is one of its own.
        name = f"{self.seed.name}_{SHARE}"
        self.share = self.add_weight(shape=(), initializer="ones", trainable=False, autocast=False, name=name)
        self.supports_masking = True

    def build(self, inputs_shape: Shape | None = None) -> None:
        pass

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        dropped = tf.clip_by_value(tf.round(self.rate * self.share.value * STEPS), 0, STEPS - 1)
        shape = tf.shape(inputs)
        count = tf.reduce_prod(shape)
        words = tf.random.stateless_uniform([count // 8 + 1], self.seed.next(), None, None, tf.uint64)
        drawn = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], shape)
        mask = tf.cast(drawn >= tf.cast(dropped, tf.uint8), inputs.dtype)
        return inputs * (mask * tf.cast(STEPS / (STEPS - dropped), inputs.dtype))

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        return inputs_shape

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "rate": self.rate}
