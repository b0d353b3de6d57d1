"""How many images a batch is to have, and how wide the network can be in the time given."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from common.runtime.console import print_status
from common.training.optimizer import create_optimizer
from common.training.throughput import measure_throughput

from . import model
from .config import Config

NARROWER, WIDTH, WIDER = 8, 16, (32, 64, 128)
# Below so many epochs a network is no better than one of half its width, which sees images over twice as often in the
# same time: see the README for width 16. That wider ones want more is a cautious choice.
FEW, ENOUGH = 10, 20  # epochs, of width 16 and of wider ones
SHORTEST = 1.0  # minutes; below, measuring would take a good part of the time
BATCHES = (16, 32, 64)
STEPS = 32  # in an epoch; with fewer, smaller batches are better: see the README for 100 images


def choose_batch_size(num_examples: int) -> int:
    """Return the largest of `BATCHES` of which an epoch has enough.

    >>> [choose_batch_size(examples) for examples in (20, 1_023, 1_024, 2_048, 60_000)]
    [16, 16, 32, 64, 64]

    Args:
      num_examples: of the training split.
    """
    return max((size for size in BATCHES if size * STEPS <= num_examples), default=BATCHES[0])


@functools.lru_cache  # a config may be settled twice, and is told of once
def choose_width(config: Config, height: int, width: int, channels: int, num_labels: int, num_examples: int) -> int:
    """Return the width that suits `--max-minutes`, see `search_width`, or the default one.

    Measures how fast this machine trains, which takes some seconds for each width tried.

    Args:
      height, width: of images, in pixels.
      num_examples: of the training split.
    """
    if config.max_minutes is None or config.max_minutes < SHORTEST or config.epochs is not None or config.backbone:
        return WIDTH

    def speed(base_filters: int) -> float:
        return _speed(dataclasses.replace(config, base_filters=base_filters), height, width, channels, num_labels)

    chosen, epochs = search_width(speed, 60 * config.max_minutes / max(num_examples, 1))
    print_status(f"Width {chosen}, with which about {epochs:.0f} epochs go into {config.max_minutes:g} minutes here.")
    return chosen


def search_width(speed: Callable[[int], float], seconds: float) -> tuple[int, float]:
    """Return (width, epochs) of the widest network that sees each example often enough, see `FEW`.

    Args:
      speed: examples a second by width.
      seconds: there are for each example.

    >>> search_width(lambda width: 25_600 / width, seconds=0.02)
    (16, 32.0)
    """
    chosen, epochs = WIDTH, speed(WIDTH) * seconds
    if epochs < FEW:
        return NARROWER, speed(NARROWER) * seconds
    for wider in WIDER:
        if epochs < 2 * ENOUGH:  # twice the width takes at least twice the time
            break
        wider_epochs = speed(wider) * seconds
        if wider_epochs < ENOUGH:
            break
        chosen, epochs = wider, wider_epochs
    return chosen, epochs


@functools.lru_cache
def _speed(config: Config, height: int, width: int, channels: int, num_labels: int) -> float:
    network = model.build_model(config, height, width, channels, num_labels, flip=False)
    pixels = np.zeros([config.batch_size, height, width, channels], np.uint8)
    variables = [variable.value for variable in network.trainable_variables]
    updates = create_optimizer(config, variables, model.muon_variables(config, network))
    return measure_throughput(network, {"pixels": pixels}, "logits", updates)
