"""How many images a batch is to have, and how wide the network can be in the time given."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from common.runtime.console import say
from common.training.optimizer import optimizer
from common.training.throughput import examples_per_second

from . import model
from .config import Config

NARROWER, WIDTH, WIDER = 8, 16, (32, 64, 128)
# Below so many epochs a network is no better than one of half its width, which sees images over twice as often in the
# same time: see the README for width 16. That wider ones want more is a cautious choice.
FEW, ENOUGH = 10, 20  # epochs, of width 16 and of wider ones
SHORTEST = 1.0  # minutes; below, measuring would take a good part of the time
BATCHES = (16, 32, 64)
STEPS = 32  # in an epoch; with fewer, smaller batches are better: see the README for 100 images


def batch_size(examples: int) -> int:
    """The largest of `BATCHES` of which an epoch has enough.

    >>> [batch_size(examples) for examples in (20, 1_023, 1_024, 2_048, 60_000)]
    [16, 16, 32, 64, 64]

    Args:
      examples: of the training part.
    """
    return max((size for size in BATCHES if size * STEPS <= examples), default=BATCHES[0])


@functools.lru_cache  # a config may be settled twice, and is told of once
def width(config: Config, height: int, wide: int, channels: int, labels: int, examples: int) -> int:
    """The width that suits `--max-minutes`, see `suited`, or the default one.

    Measures how fast this machine trains, which takes some seconds for each width tried.

    Args:
      wide: of images, in pixels, as `height`.
      examples: of the training part.
    """
    if config.max_minutes is None or config.max_minutes < SHORTEST or config.epochs is not None or config.backbone:
        return WIDTH

    def speed(tried: int) -> float:
        return _speed(dataclasses.replace(config, width=tried), height, wide, channels, labels)

    chosen, epochs = suited(speed, 60 * config.max_minutes / max(examples, 1))
    say(f"Width {chosen}, with which about {epochs:.0f} epochs go into {config.max_minutes:g} minutes here.")
    return chosen


def suited(speed: Callable[[int], float], seconds: float) -> tuple[int, float]:
    """(width, epochs) of the widest network that sees each example often enough, see `FEW`.

    Args:
      speed: examples a second by width.
      seconds: there are for each example.

    >>> suited(lambda width: 25_600 / width, seconds=0.02)
    (16, 32.0)
    """
    chosen, epochs = WIDTH, speed(WIDTH) * seconds
    if epochs < FEW:
        return NARROWER, speed(NARROWER) * seconds
    for wider in WIDER:
        if epochs < 2 * ENOUGH:  # twice the width takes at least twice the time
            break
        found = speed(wider) * seconds
        if found < ENOUGH:
            break
        chosen, epochs = wider, found
    return chosen, epochs


@functools.lru_cache
def _speed(config: Config, height: int, wide: int, channels: int, labels: int) -> float:
    network = model.build(config, height, wide, channels, labels, flip=False)
    pixels = np.zeros([config.batch_size, height, wide, channels], np.uint8)
    variables = [variable.value for variable in network.trainable_variables]
    updates = optimizer(config, variables, model.orthogonal(config, network))
    return examples_per_second(network, {"pixels": pixels}, "logits", updates)
