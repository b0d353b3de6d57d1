"""Layers between pieces and states."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from common.modeling.layers.dropout import Dropout
from common.modeling.layers.transformer import MASKED, positions
from common.text.subwords import PADDING, START
from common.types import JsonObject, Shape

from .config import Config


@keras.saving.register_keras_serializable("kerasserole")
class Pieces(keras.layers.Layer):
    """Vectors of pieces, with their places, and with the same table the scores of pieces (Press and Wolf 2017).

    Args:
      count: of pieces.
      units: of a vector.
      longest: sequence that there are places for; 0 for no places.
      dropout: share of the sums of vector and place that is dropped in training.
      scored: of how many pieces it makes scores, the first ones.

    Call arguments:
      ids: int32 [batch, steps].
      first: place of the first step.

    Returns: [batch, steps, units].
    """

    def __init__(self, count: int, units: int, longest: int, dropout: float, scored: int, **kwargs: object):
        super().__init__(**kwargs)
        self.count, self.units, self.longest, self.dropout, self.scored = count, units, longest, dropout, scored
        self.drop = Dropout(dropout, name="drop")

    def build(self, ids_shape: Shape) -> None:
        scaled = keras.initializers.RandomNormal(stddev=self.units**-0.5)
        # Some rows are cast, once they are summed up, rather than the whole table.
        table = {"shape": (self.count, self.units), "initializer": scaled, "name": "table"}
        self.table = self.add_weight(**table, autocast=False)
        if self.scored:
            self.bias = self.add_weight(shape=(self.scored,), initializer="zeros", name="bias")

    def call(self, ids: tf.Tensor, first: tf.Tensor = 0, training: bool = False) -> tf.Tensor:
        vectors = tf.gather(self.table.value, ids) * self.units**0.5
        if self.longest:
            # Beyond the places there are, the last one serves.
            at = tf.minimum(first + tf.range(tf.shape(ids)[1]), self.longest - 1)
            vectors += tf.gather(tf.constant(positions(self.longest, self.units)), at)
        return self.drop(tf.cast(vectors, self.compute_dtype), training=training)

    def scoring(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Table [scored, units] and bias [scored] of the scores."""
        return self.table.value[: self.scored], self.bias.value

    def scorer(self, dtype: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """What makes scores, [rows, units] to [rows, scored], at many steps.

        For these the table is turned once: few states are multiplied by it up to twice as fast then.
        """
        table, bias = (tf.cast(one, dtype) for one in self.scoring())
        turned = tf.transpose(table)
        return lambda states: tf.matmul(states, turned) + bias

    def compute_output_shape(self, ids_shape: Shape, *others: Shape) -> Shape:
        return (*ids_shape, self.units)

    def get_config(self) -> JsonObject:
        own = {"count": self.count, "units": self.units, "longest": self.longest, "dropout": self.dropout}
        return {**super().get_config(), **own, "scored": self.scored}


@keras.saving.register_keras_serializable("kerasserole")
class Unseen(keras.layers.Layer):
    """What hides padding from attention: [batch, places] ids to float32 [batch, 1, 1, places]."""

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.where(ids == PADDING, MASKED, 0.0)[:, None, None, :]

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1, shape[1]


@keras.saving.register_keras_serializable("kerasserole")
class Lengths(keras.layers.Layer):
    """How many ids of each row are no padding: [batch, places] to int32 [batch]."""

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(ids != PADDING, tf.int32), axis=1)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape[:1]


@keras.saving.register_keras_serializable("kerasserole")
class Before(keras.layers.Layer):
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


def with_drawn(config: Config, pieces: int, target: tf.Tensor, states: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of a network: `states`, and with --sampled `drawn`, see `losses.sequence_cross_entropy`."""
    found = {"states": states}
    if config.sampled:
        found["drawn"] = Drawn(pieces, config.sampled, name="drawn")(target)
    return found


@keras.saving.register_keras_serializable("kerasserole")
class Drawn(keras.layers.Layer):
    """Ids that are scored besides those of a batch, drawn at random: int32 [samples] in training, else [0].

    Args:
      count: of ids that there are.
      samples: how many are drawn; an id may come twice.
    """

    def __init__(self, count: int, samples: int, **kwargs: object):
        super().__init__(**kwargs)
        self.count, self.samples = count, samples
        self.seed = keras.random.SeedGenerator()

    def build(self, ids_shape: Shape) -> None:
        pass

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return tf.zeros([0], tf.int32)
        return tf.random.stateless_uniform([self.samples], self.seed.next(), 0, self.count, tf.int32)

    def compute_output_shape(self, ids_shape: Shape) -> Shape:
        return (None,)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "count": self.count, "samples": self.samples}
