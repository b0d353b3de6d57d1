"""The batches of each epoch of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common.config import RunConfig
from common.data.batching import (
    choose_bucket_boundaries,
    get_lengths,
    make_train_dataset,
    shuffle_batches,
    shuffle_token_batches,
)
from common.data.example_store import ExampleStore
from common.training.distributed import WorkerGroup


class EpochBatches:
    """The batches of each epoch, whose examples are of like lengths.

    Args:
      row_multiple: of which the rows of a batch are a multiple.
    """

    def __init__(self, train: ExampleStore, config: RunConfig, length_keys: Sequence[str], row_multiple: int):
        self.train, self.config, self.length_keys, self.row_multiple = train, config, length_keys, row_multiple
        self.lengths = get_lengths(train, length_keys) if length_keys else None
        self.padded: list[int] | None = None
        if self.lengths is not None and self.lengths.shape[1] == 1:
            self.padded = choose_bucket_boundaries(self.lengths[:, 0])

    def order_epoch(self, epoch: int) -> Sequence[np.ndarray]:
        """Return which examples stand in which batch of an epoch."""
        seed, size = self.config.seed, self.config.batch_size
        if self.config.batch_type == "examples":
            return list(shuffle_batches(len(self.train), size, seed, epoch, self.lengths, self.row_multiple))
        assert self.lengths is not None  # by check_batches
        return shuffle_token_batches(self.lengths, size, seed, epoch, self.row_multiple)

    def open_epoch(self, order: Sequence[np.ndarray], step: int, workers: WorkerGroup) -> tf.data.Dataset:
        """Return the batches of an epoch from a step on, as far as they are this process's."""
        key = self.length_keys[0] if self.length_keys else None
        process = (workers.index, workers.count)
        return make_train_dataset(
            self.train, order, key, step, self.padded, self.config.gradient_accumulation_steps, process
        )
