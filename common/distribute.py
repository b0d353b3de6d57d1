"""Where the variables live and the steps run: a tf.distribute strategy from a word."""

from __future__ import annotations

import tensorflow as tf


def strategy() -> tf.distribute.Strategy:
    """The strategy of this process: one device, the first GPU or else the CPU.

    The training loop is written over `strategy.run` and sums over replicas, so that other strategies need no other
    loop.
    """
    return tf.distribute.get_strategy()
