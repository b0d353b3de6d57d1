"""Learning rates: the highest one of a run, and what it is at each moment of a training."""

from __future__ import annotations

import tensorflow as tf

from common.config import RunConfig


def peak_learning_rate(config: RunConfig) -> float:
    """Return the highest learning rate, for the batch size that was asked for.

    As it is; or in proportion to the batch size over the recipe's default, or that of most where the recipe fits it to
    the data (linear: Goyal et al. 2017), or to the root of that (Malladi et al. 2022, for Adam).
    """
    ratio = config.batch_size / (type(config).batch_size or RunConfig.batch_size)
    return config.learning_rate * {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[config.lr_batch_scaling]


def learning_rate_at(progress: tf.Tensor, peak: float, warmup: float, schedule: str) -> tf.Tensor:
    """Return the learning rate at a fraction of the training, from 0 to 1.

    Linear warm-up from 0, then constant, linear to 0, cosine to 0 (Loshchilov and Hutter 2017, without restarts), or
    falling with the inverse square root of the steps (Vaswani et al. 2017).

    >>> [round(float(learning_rate_at(tf.constant(p), 1.0, 0.5, "linear")), 2) for p in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    rise = progress / max(warmup, 1e-9)
    rest = tf.clip_by_value((progress - warmup) / (1 - warmup), 0.0, 1.0)
    decay = {
        "constant": tf.ones_like(rest),
        "linear": 1 - rest,
        "cosine": 0.5 * (1 + tf.cos(3.141592653589793 * rest)),
        "inverse-sqrt": tf.math.rsqrt(tf.maximum(progress / max(warmup, 0.01), 1.0)),
    }
    return peak * tf.where(progress < warmup, rise, decay[schedule])
