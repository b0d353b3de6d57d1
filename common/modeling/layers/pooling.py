"""One vector for a right-padded sequence of them."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.types import JsonObject

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kerasserole")
class Pooling(keras.layers.Layer):
    """The states of the real steps, pooled: [batch, time, units] to [batch, units].

    Args:
      kind: "max", "mean", "last" (of the forward direction the last real step, of the backward direction the
        first one), or "attention" (a learned softmax over steps, Yang et al. 2016 without the hidden layer).
      bidirectional: the second half of the units runs backward; for "last" only.

    Call arguments:
      states: [batch, time, units].
      lengths: int32 [batch], at least 1.
    """

    def __init__(self, kind: str, bidirectional: bool = False, **kwargs: object):
        super().__init__(**kwargs)
        if kind not in ("max", "mean", "last", "attention"):
            raise ValueError(f'kind must be "max", "mean", "last" or "attention", not {kind!r}')
        self.kind, self.bidirectional = kind, bidirectional
        if kind == "attention":
            self.energy = keras.layers.Dense(1, name="energy")

    def build(self, states_shape: Shape, lengths_shape: Shape | None = None) -> None:
        if self.kind == "attention":
            self.energy.build(states_shape)

    def call(self, states: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        present = tf.sequence_mask(lengths, tf.shape(states)[1])[:, :, None]  # [batch, time, 1]
        if self.kind == "max":
            return tf.reduce_max(tf.where(present, states, states.dtype.min), axis=1)
        if self.kind == "mean":
            total = tf.reduce_sum(tf.where(present, states, tf.zeros_like(states)), axis=1)
            return total / tf.cast(lengths, states.dtype)[:, None]
        if self.kind == "last":
            forward, backward = tf.split(states, 2, axis=-1) if self.bidirectional else (states, None)
            last = tf.gather(forward, lengths - 1, batch_dims=1)
            return last if backward is None else tf.concat([last, backward[:, 0]], axis=-1)
        energies = tf.cast(self.energy(states), tf.float32)  # [batch, time, 1]
        shares = tf.nn.softmax(tf.where(present, energies, energies.dtype.min), axis=1)
        return tf.reduce_sum(states * tf.cast(shares, states.dtype), axis=1)

    def compute_output_shape(self, states_shape: Shape, lengths_shape: Shape | None = None) -> Shape:
        return (states_shape[0], states_shape[-1])

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "kind": self.kind, "bidirectional": self.bidirectional}
