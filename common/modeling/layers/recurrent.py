"""Recurrent layers for right-padded batches."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.types import JsonObject

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kerasserole")
class ReverseSequence(keras.layers.Layer):
    """The steps of each row in reverse order, its padding left at the end.

    With it a backward LSTM needs no mask: padding comes after the last real step in both directions and cannot
    influence it. Keras's own masking costs 10 to 30% a step on CPUs, and cuDNN refuses some masks.

    Call arguments:
      inputs: [batch, time, ...], right-padded.
      lengths: int32 [batch], at least 1.
    """

    def call(self, inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        return tf.reverse_sequence(inputs, lengths, seq_axis=1, batch_axis=0)

    def compute_output_shape(self, inputs_shape: Shape, lengths_shape: Shape) -> Shape:
        return inputs_shape


@keras.saving.register_keras_serializable("kerasserole")
class FusedLSTM(keras.layers.LSTM):
    """Keras's LSTM that returns all states, with the same weights, several times as fast to train on CPUs.

    Keras multiplies inputs by their kernel step by step, and takes the gradient of the loop as it stands. Here the
    products that do not need the state before are taken over all steps at once, and so are the gradients of both
    kernels (after Appleyard et al. 2016, who do it for GPUs); the gradient is written out, since TensorFlow's own keeps
    every intermediate of the loop and transposes the kernel anew in each step. Where TensorFlow has a GPU, cuDNN's
    kernel runs, by Keras, as for a mask.

    Call arguments: those of Keras's layer.

    Returns: [batch, time, units].
    """

    def __init__(self, units: int, name: str | None = None):
        super().__init__(units, return_sequences=True, name=name)

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        if mask is not None or tf.config.list_logical_devices("GPU"):
            return super().call(sequences, initial_state, mask, training)
        kernel, recurrent, bias = (
            tf.cast(variable.value, self.compute_dtype)
            for variable in (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        )
        by_time = tf.transpose(sequences, [1, 0, 2])
        driven = tf.matmul(tf.reshape(by_time, [-1, by_time.shape[2]]), kernel) + bias
        driven = tf.reshape(driven, tf.concat([tf.shape(by_time)[:2], [4 * self.units]], axis=0))
        if initial_state is None:
            initial_state = [tf.zeros([tf.shape(by_time)[1], self.units], driven.dtype)] * 2
        first = [tf.cast(state, driven.dtype) for state in initial_state]
        states = tf.transpose(_compute_states(driven, recurrent, *first), [1, 0, 2])
        return tf.ensure_shape(states, [*sequences.shape[:2], self.units])

    def get_config(self) -> JsonObject:
        return {"units": self.units, "name": self.name}


@tf.custom_gradient
def _compute_states(
    driven: tf.Tensor, recurrent: tf.Tensor, first_state: tf.Tensor, first_cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(states [time, batch, units], their gradient) of an LSTM.

    Args:
      driven: [time, batch, 4 * units], what the inputs add to the gates: input, forget, new, output.
      recurrent: [units, 4 * units].
      first_state, first_cell: [batch, units], before the first step.
    """
    time, batch, units = tf.shape(driven)[0], tf.shape(driven)[1], recurrent.shape[0]
    nothing = tf.zeros([batch, units], driven.dtype)

    def arrays(*sizes: int) -> list[tf.TensorArray]:
        return [tf.TensorArray(driven.dtype, time, element_shape=[None, size]) for size in sizes]

    def step(at: tf.Tensor, state: tf.Tensor, cell: tf.Tensor, *outputs: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        i, f, new, o = tf.split(driven[at] + tf.matmul(state, recurrent), 4, axis=1)
        i, f, new, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(new), tf.sigmoid(o)
        cell = f * cell + i * new
        state = o * tf.tanh(cell)
        values = state, cell, tf.concat([i, f, new, o], axis=1)
        return at + 1, state, cell, *(array.write(at, value) for array, value in zip(outputs, values, strict=True))

    begin = tf.constant(0), first_state, first_cell, *arrays(units, units, 4 * units)
    results = tf.while_loop(lambda at, *_: at < time, step, begin, parallel_iterations=1)
    states, cells, gates = (array.stack() for array in results[3:])

    def gradient(of_states: tf.Tensor) -> tuple[tf.Tensor, ...]:
        i, f, new, o = tf.split(gates, 4, axis=2)
        before = tf.concat([first_cell[None], cells[:-1]], axis=0)
        bent = tf.tanh(cells)
        to_cell = o * (1 - bent * bent)
        # What a gradient of the cell is multiplied by to become one of the gates i, f and new; and of the state, of o.
        through = tf.concat([new * i * (1 - i), before * f * (1 - f), i * (1 - new * new)], axis=2)
        to_output = bent * o * (1 - o)
        back = tf.transpose(recurrent)

        def step(
            at: tf.Tensor, of_state: tf.Tensor, of_cell: tf.Tensor, gradients: tf.TensorArray
        ) -> tuple[tf.Tensor, ...]:
            of_state += of_states[at]
            of_cell += of_state * to_cell[at]
            of_gates = tf.concat([tf.tile(of_cell, [1, 3]) * through[at], of_state * to_output[at]], axis=1)
            return at - 1, tf.matmul(of_gates, back), of_cell * f[at], gradients.write(at, of_gates)

        begin = time - 1, nothing, nothing, *arrays(4 * units)
        _, of_state, of_cell, gradients = tf.while_loop(lambda at, *_: at >= 0, step, begin, parallel_iterations=1)
        of_gates = gradients.stack()
        came = tf.concat([first_state[None], states[:-1]], axis=0)
        flat = tf.reshape(came, [-1, units]), tf.reshape(of_gates, [-1, 4 * units])
        return of_gates, tf.matmul(*flat, transpose_a=True), of_state, of_cell

    return states, gradient


def lstm_states(inputs: tf.Tensor, lengths: tf.Tensor, units: int, bidirectional: bool, name: str) -> tf.Tensor:
    """Return states of an LSTM over right-padded steps, in one or both directions, [batch, time, units or 2 * units].

    States at padding steps are meaningless: pool or gather with the lengths.

    Args:
      inputs: symbolic [batch, time, features].
      lengths: symbolic int32 [batch].
    """
    forward = FusedLSTM(units, name=f"{name}_forward")(inputs)
    if not bidirectional:
        return forward
    reverse = ReverseSequence(name=f"{name}_reverse")
    backward = FusedLSTM(units, name=f"{name}_backward")(reverse(inputs, lengths))
    return keras.layers.Concatenate(name=f"{name}_states")([forward, reverse(backward, lengths)])
