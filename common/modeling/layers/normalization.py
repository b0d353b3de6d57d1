"""Batch normalization in one operation, and layer normalization with a gradient in few."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from common.types import JsonObject

_COUNTED = threading.local()  # replicas of a process are traced by a thread each


@contextmanager
def batch_stats_mask(rows: tf.Tensor | None) -> Iterator[None]:
    """Within it, and in this thread, take statistics of batches of some of a replica's rows alone.

    Args:
      rows: float32 [batch], 1 for a row that counts and 0 for one that does not; None if all count.
    """
    _COUNTED.rows = rows
    try:
        yield
    finally:
        _COUNTED.rows = None


@keras.saving.register_keras_serializable("kerasserole")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization over all replicas, of images; on one replica by TensorFlow's fused operation.

    Keras works the moments out apart and then normalises, in float32, which on CPUs takes a large part of a training
    step of a convolutional network. The statistics for inference are the same: of the population, not Bessel's.

    Call arguments:
      inputs: [batch, height, width, channels].
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        name: str | None = None,
        dtype: str | keras.DTypePolicy | None = None,
    ):
        super().__init__(momentum=momentum, epsilon=epsilon, synchronized=True, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        replicas = tf.distribute.get_replica_context()
        alone = replicas is not None and replicas.num_replicas_in_sync == 1
        if mask is not None or not alone or self.compute_dtype == "float16":
            return super().call(inputs, training, mask)
        learning = bool(training and self.trainable)
        variables = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        scale, offset, mean, variance = (tf.cast(variable.value, tf.float32) for variable in variables)
        nothing = tf.zeros([0])
        normal, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            epsilon=self.epsilon,
            is_training=learning,
            mean=nothing if learning else mean,
            variance=nothing if learning else variance,
        )
        if learning:
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
            batch_variance *= (count - 1) / count
            self.moving_mean.assign(mean * self.momentum + batch_mean * (1 - self.momentum))
            self.moving_variance.assign(variance * self.momentum + batch_variance * (1 - self.momentum))
        return normal

    def _moments(self, inputs: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance, [channels] each, over all replicas, by one exchange where Keras has three."""
        replicas = tf.distribute.get_replica_context()
        if mask is not None or replicas is None:
            return super()._moments(inputs, mask)
        rows, axes, channels = getattr(_COUNTED, "rows", None), list(range(len(inputs.shape) - 1)), inputs.shape[-1]
        counted, count = inputs, tf.cast(tf.shape(inputs)[0], inputs.dtype)
        if rows is not None:
            counted = inputs * tf.reshape(tf.cast(rows, inputs.dtype), [-1] + [1] * (len(inputs.shape) - 1))
            count = tf.reduce_sum(tf.cast(rows, inputs.dtype))
        count *= tf.cast(tf.reduce_prod(tf.shape(inputs)[1:-1]), inputs.dtype)
        sums = [tf.reduce_sum(counted, axes), tf.reduce_sum(counted * inputs, axes), count[None]]
        total = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat(sums, axis=0))
        mean, squares = total[:channels] / total[-1], total[channels:-1] / total[-1]
        return mean, tf.maximum(squares - tf.square(mean), 0.0)

    def get_config(self) -> JsonObject:
        return {"momentum": self.momentum, "epsilon": self.epsilon, "name": self.name, "dtype": self.dtype_policy.name}


@keras.saving.register_keras_serializable("kerasserole")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras's layer normalization of the last axis, with its gradient written out (Ba et al. 2016).

    TensorFlow's own gradient goes through each operation of it; on CPUs that is three times as much memory traffic.

    Call arguments:
      inputs: [..., units].
    """

    def __init__(self, epsilon: float = 1e-5, name: str | None = None, dtype: str | keras.DTypePolicy | None = None):
        super().__init__(epsilon=epsilon, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        normalized = _normalize(
            tf.cast(inputs, tf.float32), self.gamma.value.read_value(), self.beta.value.read_value(), self.epsilon
        )
        return tf.cast(normalized, self.compute_dtype)

    def get_config(self) -> JsonObject:
        return {"epsilon": self.epsilon, "name": self.name, "dtype": self.dtype_policy.name}


def _normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    @tf.custom_gradient
    def normalized(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def mean(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(values, axis=-1, keepdims=True)

        centred = inputs - mean(inputs)
        rate = tf.math.rsqrt(mean(tf.square(centred)) + epsilon)
        normal = centred * rate

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            to_normal = upstream * gamma
            back = rate * (to_normal - mean(to_normal) - normal * mean(to_normal * normal))
            flat = [tf.reshape(value, [-1, inputs.shape[-1]]) for value in (upstream * normal, upstream)]
            return back, tf.reduce_sum(flat[0], axis=0), tf.reduce_sum(flat[1], axis=0)

        return normal * gamma + beta, gradient

    return normalized(inputs, gamma, beta)
