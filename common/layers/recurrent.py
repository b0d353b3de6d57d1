"""Recurrent layers for right-padded batches."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasserole")
class ReverseSteps(keras.layers.Layer):
    """The steps of each row in reverse order, its padding left at the end.

    With it a backward LSTM needs no mask: padding comes after the last real step in both directions and cannot
    influence it. Keras's own masking costs 10 to 30% a step on CPUs, and cuDNN refuses some masks.

    Call arguments:
      inputs: [batch, time, ...], right-padded.
      lengths: int32 [batch], at least 1.
    """

    def call(self, inputs: Any, lengths: Any) -> Any:
        return tf.reverse_sequence(inputs, lengths, seq_axis=1, batch_axis=0)

    def compute_output_shape(self, inputs_shape: Any, lengths_shape: Any) -> Any:
        return inputs_shape


def lstm(inputs: Any, lengths: Any, units: int, bidirectional: bool, name: str) -> Any:
    """States of an LSTM over right-padded steps, in one or both directions, [batch, time, units or 2 * units].

    States at padding steps are meaningless: pool or gather with the lengths.

    Args:
      inputs: symbolic [batch, time, features].
      lengths: symbolic int32 [batch].
    """
    forward = keras.layers.LSTM(units, return_sequences=True, name=f"{name}_forward")(inputs)
    if not bidirectional:
        return forward
    reverse = ReverseSteps(name=f"{name}_reverse")
    backward = keras.layers.LSTM(units, return_sequences=True, name=f"{name}_backward")(reverse(inputs, lengths))
    return keras.layers.Concatenate(name=f"{name}_states")([forward, reverse(backward, lengths)])
