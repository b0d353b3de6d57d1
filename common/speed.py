"""How fast this machine trains a model, measured before a training so that it can be fitted to the time given."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

TIMED = 5  # steps


def examples_per_second(model: Any, inputs: Mapping[str, Any], output: str) -> float:
    """How many examples of a batch a second goes forward and backward; takes some seconds, most of them to compile.

    Args:
      inputs: a batch of what the model takes.
      output: the name of a float output [batch, ...]; the mean of its squares stands for a loss.
    """

    @tf.function(autograph=False)
    def step(batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(batch, training=True)[output]))
        return [tf.reduce_sum(one) for one in tape.gradient(loss, [v.value for v in model.trainable_variables])]

    batch = {name: tf.constant(value) for name, value in inputs.items()}
    step(batch)
    seconds = []
    for _ in range(TIMED):
        began = time.perf_counter()
        step(batch)[0].numpy()
        seconds.append(time.perf_counter() - began)
    return len(next(iter(inputs.values()))) / statistics.median(seconds)
