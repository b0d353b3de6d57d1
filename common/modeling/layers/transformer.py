"""Layers of a Transformer, each for whole sequences and for one step with what the steps before left (Vaswani 2017).

Blocks normalise before each part (Xiong et al. 2020), which trains without a long warm-up.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from common.modeling.layers.dropout import ByteDropout
from common.modeling.layers.normalization import LayerNormalization
from common.types import JsonObject

MASKED = -1e4  # added to scores of what must not be seen; within the range of float16

Shape = tuple[int | None, ...]


def sinusoidal_positions(length: int, units: int) -> np.ndarray:
    """Return sinusoids of places in a sequence, float32 [length, units]: sines, then cosines (Vaswani et al. 2017).

    >>> sinusoidal_positions(2, 4).astype(float).round(2).tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.84, 0.01, 0.54, 1.0]]
    """
    rates = np.exp(-math.log(10_000) * np.arange(units // 2) / max(units // 2, 1))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _product(states: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """[batch * steps, columns]: one product of all steps.

    A product of three by two axes is one for each row of the batch, whose gradient for the matrix is made for each row
    before it is summed: that was half of the time of a training step.
    """
    return tf.matmul(tf.reshape(states, [-1, states.shape[-1]]), matrix)


@keras.saving.register_keras_serializable("kerasserole")
class Attention(keras.layers.Layer):
    """Attention of several heads, each over its share of the units.

    Args:
      units: of queries and outputs, a multiple of `heads`.
      dropout: share of the attention weights that is dropped in training.

    Call arguments:
      queries: [batch, steps, units].
      memory: [batch, places, units], that is looked at.
      unseen: float, added to the scores: 0, or `MASKED` where a place must not be seen; [batch or 1, 1, steps or 1,
        places].

    Returns: [batch, steps, units].
    """

    def __init__(self, units: int, heads: int, dropout: float = 0.0, **kwargs: object):
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(f"{units} units cannot be shared by {heads} heads")
        self.units, self.heads, self.dropout = units, heads, dropout
        self.drop = ByteDropout(dropout, name="drop")

    def build(self, queries_shape: Shape, memory_shape: Shape | None = None, unseen_shape: Shape | None = None) -> None:
        def matrix(name: str, rows: int | None, columns: int) -> keras.Variable:
            return self.add_weight(shape=(rows, columns), initializer="glorot_uniform", name=name)

        self.query = matrix("query", queries_shape[-1], self.units)
        self.key = matrix("key", (memory_shape or queries_shape)[-1], self.units)
        self.value = matrix("value", (memory_shape or queries_shape)[-1], self.units)
        self.output_matrix = matrix("output", self.units, self.units)
        self.query_bias, self.value_bias, self.output_bias = (
            self.add_weight(shape=(self.units,), initializer="zeros", name=f"{name}_bias")
            for name in ("query", "value", "output")
        )

    def call(self, queries: tf.Tensor, memory: tf.Tensor, unseen: tf.Tensor, training: bool = False) -> tf.Tensor:
        if queries is memory:
            asked, keys, values = self._project(queries, self._query, self._key, self._value)
        else:
            asked, (keys, values) = self._project(queries, self._query)[0], self.project_kv(memory)
        return self._read(asked, keys, values, unseen, training)[0]

    def project_kv(self, memory: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the keys and the values of each position, [batch, heads, positions, units / heads] each."""
        keys, values = self._project(memory, self._key, self._value)
        return keys, values

    def attend(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, unseen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(outputs [batch, steps, units], weights [batch, heads, steps, places])."""
        return self._read(self._project(queries, self._query)[0], keys, values, unseen)

    @property
    def _query(self) -> tuple[tf.Tensor, tf.Tensor]:
        return self.query.value, self.query_bias.value

    @property
    def _key(self) -> tuple[tf.Tensor, tf.Tensor]:
        # A bias of keys adds the same to all scores of a query, which the softmax takes away.
        return self.key.value, tf.zeros_like(self.value_bias.value)

    @property
    def _value(self) -> tuple[tf.Tensor, tf.Tensor]:
        return self.value.value, self.value_bias.value

    def _project(self, states: tf.Tensor, *weights: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
        """Multiply the states by each (matrix, bias), by head: [batch, heads, steps, units / heads]; in one product."""
        matrix, bias = (tf.cast(tf.concat(group, axis=-1), states.dtype) for group in zip(*weights, strict=True))
        shape = [tf.shape(states)[0], tf.shape(states)[1], len(weights), self.heads, self.units // self.heads]
        projected = tf.reshape(_product(states, matrix) + bias, shape)
        return tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))

    def _read(
        self, asked: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, unseen: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        scores = tf.matmul(asked * (self.units // self.heads) ** -0.5, keys, transpose_b=True)
        weights = tf.nn.softmax(scores + tf.cast(unseen, scores.dtype))
        read = tf.matmul(self.drop(weights, training=training), values)
        shape = [tf.shape(read)[0], tf.shape(read)[2], self.units]
        read = tf.reshape(tf.transpose(read, [0, 2, 1, 3]), shape)
        output, bias = (tf.cast(v.value, read.dtype) for v in (self.output_matrix, self.output_bias))
        return tf.reshape(_product(read, output) + bias, shape), weights

    def compute_output_shape(
        self, queries_shape: Shape, memory_shape: Shape | None = None, unseen_shape: Shape | None = None
    ) -> Shape:
        return (*queries_shape[:-1], self.units)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "units": self.units, "heads": self.heads, "dropout": self.dropout}


class _Block(keras.layers.Layer):
    """What encoder and decoder blocks have in common: normalised layers whose outputs are added to their inputs."""

    def __init__(self, units: int, heads: int, inner: int, dropout: float = 0.0, **kwargs: object):
        super().__init__(**kwargs)
        self.units, self.heads, self.inner, self.dropout = units, heads, inner, dropout
        self.own = Attention(units, heads, dropout, name="own")
        self.own_norm = LayerNormalization(name="own_norm")
        self.inner_norm = LayerNormalization(name="inner_norm")
        self.widen = keras.layers.Dense(inner, activation="relu", name="widen")
        self.narrow = keras.layers.Dense(units, name="narrow")
        self.drop = ByteDropout(dropout, name="drop")

    def _build_shared(self, shape: Shape) -> None:
        self.own.build(shape, shape)
        self.own_norm.build(shape)
        self.inner_norm.build(shape)
        self.widen.build(shape)
        self.narrow.build((*shape[:-1], self.inner))

    def _inner(self, states: tf.Tensor, training: bool) -> tf.Tensor:
        hidden = self.drop(self.widen(self.inner_norm(states)), training=training)
        return states + self.drop(self.narrow(hidden), training=training)

    def compute_output_shape(self, shape: Shape, *others: Shape) -> Shape:
        return shape

    def get_config(self) -> JsonObject:
        own = {"units": self.units, "heads": self.heads, "inner": self.inner, "dropout": self.dropout}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasserole")
class TransformerEncoderLayer(_Block):
    """Attention over the sequence itself, then two dense layers.

    Args:
      inner: units between the dense layers.

    Call arguments:
      states: [batch, places, units].
      unseen: see `Attention`.
    """

    def build(self, states_shape: Shape, unseen_shape: Shape | None = None) -> None:
        self._build_shared(states_shape)

    def call(self, states: tf.Tensor, unseen: tf.Tensor, training: bool = False) -> tf.Tensor:
        seen = self.own_norm(states)
        states += self.drop(self.own(seen, seen, unseen, training=training), training=training)
        return self._inner(states, training)


@keras.saving.register_keras_serializable("kerasserole")
class TransformerDecoderLayer(_Block):
    """Attention over the steps so far, attention over a memory, then two dense layers.

    Call arguments:
      states: [batch, steps, units].
      memory: [batch, places, units].
      later: see `Attention`; hides the steps after each.
      unseen: see `Attention`; hides places of the memory.
    """

    def __init__(self, units: int, heads: int, inner: int, dropout: float = 0.0, **kwargs: object):
        super().__init__(units, heads, inner, dropout, **kwargs)
        self.across = Attention(units, heads, dropout, name="across")
        self.across_norm = LayerNormalization(name="across_norm")

    def build(
        self,
        states_shape: Shape,
        memory_shape: Shape | None = None,
        later_shape: Shape | None = None,
        unseen_shape: Shape | None = None,
    ) -> None:
        self._build_shared(states_shape)
        self.across.build(states_shape, memory_shape)
        self.across_norm.build(states_shape)

    def call(
        self, states: tf.Tensor, memory: tf.Tensor, later: tf.Tensor, unseen: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        seen = self.own_norm(states)
        states += self.drop(self.own(seen, seen, later, training=training), training=training)
        looked = self.across(self.across_norm(states), memory, unseen, training=training)
        states += self.drop(looked, training=training)
        return self._inner(states, training)

    def step(
        self,
        states: tf.Tensor,
        cache: tuple[tf.Tensor, tf.Tensor],
        memory: tuple[tf.Tensor, tf.Tensor],
        unseen: tf.Tensor,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        """(states [rows, 1, units], cache, attention over the memory [rows, places]) of one step.

        Each row of the memory belongs to as many rows in succession as there are for each, such as the beams of a
        sentence. They look at it as steps of one sequence would, so that it need not be there for each of them.

        Args:
          states: [rows, 1, units].
          cache: keys and values of the steps so far, [rows, heads, steps, size] each.
          memory: its keys and values, as `across.keys_values` gives them, [batch, heads, places, size] each.
          unseen: hides places of the memory, [batch, 1, 1, places].
        """
        seen = self.own_norm(states)
        keys, values = (tf.concat(pair, axis=2) for pair in zip(cache, self.own.project_kv(seen), strict=True))
        states += self.own.attend(seen, keys, values, 0.0)[0]
        rows, batch = tf.shape(states)[0], tf.shape(memory[0])[0]
        asked = tf.reshape(self.across_norm(states), [batch, rows // tf.maximum(batch, 1), self.units])
        looked, weights = self.across.attend(asked, *memory, unseen)
        states = self._inner(states + tf.reshape(looked, [rows, 1, self.units]), training=False)
        weights = tf.reduce_mean(tf.cast(weights, tf.float32), axis=1)
        return states, (keys, values), tf.reshape(weights, [rows, tf.shape(memory[0])[2]])
