"""Layers between pieces and states."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from common.modeling.layers.dropout import ByteDropout
from common.modeling.layers.transformer import MASKED, sinusoidal_positions
from common.text.subwords import PADDING, START
from common.types import JsonObject, Shape

from .config import Config


@keras.saving.register_keras_serializable("kerasserole")
class TiedEmbedding(keras.layers.Layer):
    """Embed pieces, with their positions, and score pieces by the same table (Press and Wolf 2017).

    Args:
      vocabulary_size: pieces.
      units: of a vector.
      max_length: positions that have vectors; 0 for no positions.
      dropout: fraction of the sums of vector and place that is dropped in training.
      num_scored: of how many pieces it makes scores, the first ones.

    Call arguments:
      ids: int32 [batch, steps].
      first: place of the first step.

    Returns: [batch, steps, units].
    """

    def __init__(
        self, vocabulary_size: int, units: int, max_length: int, dropout: float, num_scored: int, **kwargs: object
    ):
        super().__init__(**kwargs)
        self.vocabulary_size, self.units, self.max_length = vocabulary_size, units, max_length
        self.dropout, self.num_scored = dropout, num_scored
        self.drop = ByteDropout(dropout, name="drop")

    def build(self, ids_shape: Shape) -> None:
        scaled = keras.initializers.RandomNormal(stddev=self.units**-0.5)
        # Some rows are cast, once they are summed up, rather than the whole table.
        table = {"shape": (self.vocabulary_size, self.units), "initializer": scaled, "name": "table"}
        self.table = self.add_weight(**table, autocast=False)
        if self.num_scored:
            self.bias = self.add_weight(shape=(self.num_scored,), initializer="zeros", name="bias")

    def call(self, ids: tf.Tensor, first: tf.Tensor = 0, training: bool = False) -> tf.Tensor:
        vectors = tf.gather(self.table.value, ids) * self.units**0.5
        if self.max_length:
            # Beyond the places there are, the last one serves.
            at = tf.minimum(first + tf.range(tf.shape(ids)[1]), self.max_length - 1)
            vectors += tf.gather(tf.constant(sinusoidal_positions(self.max_length, self.units)), at)
        return self.drop(tf.cast(vectors, self.compute_dtype), training=training)

    def output_weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return table [num_scored, units] and bias [num_scored] of the scores."""
        return self.table.value[: self.num_scored], self.bias.value

    def output_projection(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return a function that makes scores, [rows, units] to [rows, num_scored], at many steps.

        For these the table is turned once: few states are multiplied by it up to twice as fast then.
        """
        table, bias = (tf.cast(weight, dtype) for weight in self.output_weights())
        turned = tf.transpose(table)
        return lambda states: tf.matmul(states, turned) + bias

    def compute_output_shape(self, ids_shape: Shape, *others: Shape) -> Shape:
        return (*ids_shape, self.units)

    def get_config(self) -> JsonObject:
        own = {"vocabulary_size": self.vocabulary_size, "units": self.units, "max_length": self.max_length}
        return {**super().get_config(), **own, "dropout": self.dropout, "num_scored": self.num_scored}


@keras.saving.register_keras_serializable("kerasserole")
class PaddingBias(keras.layers.Layer):
    """What hides padding from attention: [batch, places] ids to float32 [batch, 1, 1, places]."""

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.where(ids == PADDING, MASKED, 0.0)[:, None, None, :]

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1, shape[1]


@keras.saving.register_keras_serializable("kerasserole")
class SequenceLengths(keras.layers.Layer):
    """How many ids of each row are no padding: [batch, places] to int32 [batch]."""

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(ids != PADDING, tf.int32), axis=1)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape[:1]


@keras.saving.register_keras_serializable("kerasserole")
class ShiftRight(keras.layers.Layer):
    """What stands before each piece of a target, int32 [batch, steps], and what hides later steps from each.

    Returns: (ids, float32 [1, 1, steps, steps]).
    """

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        steps = tf.shape(ids)[1]
        before = tf.pad(ids[:, :-1], [[0, 0], [1, 0]], constant_values=START)
        places = tf.range(steps)
        return before, tf.where(places[None, :] > places[:, None], MASKED, 0.0)[None, None]

    def compute_output_shape(self, shape: Shape) -> tuple[Shape, Shape]:
        return shape, (1, 1, shape[1], shape[1])


def add_sampled_ids(
    config: Config, num_pieces: int, target: keras.KerasTensor, states: keras.KerasTensor
) -> dict[str, keras.KerasTensor]:
    """Return a network's outputs: `states`, and with --num-sampled `drawn`, see `losses.sequence_cross_entropy`."""
    outputs = {"states": states}
    if config.num_sampled:
        outputs["drawn"] = SampledIds(num_pieces, config.num_sampled, name="drawn")(target)
    return outputs


@keras.saving.register_keras_serializable("kerasserole")
class SampledIds(keras.layers.Layer):
    """Ids that are scored besides those of a batch, drawn at random: int32 [samples] in training, else [0].

    Args:
      vocabulary_size: ids that there are.
      num_samples: how many are drawn; an id may come twice.
    """

    def __init__(self, vocabulary_size: int, num_samples: int, **kwargs: object):
        super().__init__(**kwargs)
        self.vocabulary_size, self.num_samples = vocabulary_size, num_samples
        self.seed = keras.random.SeedGenerator()

    def build(self, ids_shape: Shape) -> None:
        pass

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return tf.zeros([0], tf.int32)
        return tf.random.stateless_uniform([self.num_samples], self.seed.next(), 0, self.vocabulary_size, tf.int32)

    def compute_output_shape(self, ids_shape: Shape) -> Shape:
        return (None,)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "num_samples": self.num_samples}
