"""How fast this machine trains a model, measured before a training so that it can be fitted to the time given."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from common.training.optimizer import AdamWMuon

TIMED_STEPS = 5  # steps


def measure_throughput(
    model: keras.Model, inputs: Mapping[str, np.ndarray], output: str, optimizer: AdamWMuon
) -> float:
    """Measure how many examples a second are trained on, updates included; takes some seconds, most of them to compile.

    Args:
      inputs: a batch of what the model takes.
      output: the name of a float output [batch, ...]; the mean of its squares stands for a loss.
      optimizer: of all the weights that the model learns, which stay as they are.
    """
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def step(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(batch, training=True)[output]))
        optimizer.apply(tape.gradient(loss, variables), tf.constant(1.0), tf.constant(0.0))
        return loss

    batch = {name: tf.constant(value) for name, value in inputs.items()}
    step(batch)
    seconds = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        step(batch).numpy()
        seconds.append(time.perf_counter() - start)
    return len(next(iter(inputs.values()))) / statistics.median(seconds)
