"""The compiled part of training: several steps in one call, over all replicas, and the forward pass of evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from common.config import RunConfig
from common.data.encoding import FEATURE, TARGET
from common.errors import TrainingError
from common.modeling.layers.normalization import batch_stats_mask
from common.training.distributed import WorkerGroup
from common.training.optimizer import AdamWMuon, Gradient
from common.training.phases import TrainingPlan
from common.training.schedules import learning_rate_at, peak_learning_rate

if TYPE_CHECKING:
    from common.recipe import Recipe

Tensors = dict[str, tf.Tensor]
LossAndWeight = tuple[tf.Tensor, tf.Tensor]  # sums


def select_columns(rows: Mapping[str, tf.Tensor], prefix: str) -> Tensors:
    """Return those of the columns whose names begin with the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in rows.items() if name.startswith(prefix)}


class TrainStep:
    """A model's training steps, compiled for one phase of the training after the other.

    Args:
      workers: the processes whose replicas make the steps.
      optimizer: made in the scope of their strategy, as the model is.
      signature: of an evaluation batch.

    Raises:
      TrainingError: no weight is left that could learn.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: RunConfig,
        workers: WorkerGroup,
        model: keras.Model,
        optimizer: AdamWMuon,
        plan: TrainingPlan,
        signature: Mapping[str, tf.TensorSpec],
    ):
        self.recipe, self.config, self.workers, self.strategy = recipe, config, workers, workers.strategy
        self.model, self.optimizer, self.plan = model, optimizer, plan
        self.row_multiple = (
            self.strategy.num_replicas_in_sync * config.gradient_accumulation_steps
        )  # of which batches are a multiple
        self.begin_phase(0)
        signatures = [signature] * workers.local
        self._evaluate = tf.function(self._evaluate_batches, input_signature=signatures, autograph=False)

    def begin_phase(self, number: int) -> None:
        """Compile the steps anew, with the layers as they are that do not learn in this phase.

        Raises:
          TrainingError: no weight is left that could learn.
        """
        self.phase = number
        for layer in {id(layer): layer for phase in self.plan.phases for layer in phase.frozen_layers}.values():
            layer.trainable = True
        for layer in self.plan.phases[number].frozen_layers:
            layer.trainable = False
        learning_ids = {id(variable.value) for variable in self.model.trainable_variables}
        self.learns = [id(variable) in learning_ids for variable in self.optimizer.variables]
        if not any(self.learns):
            raise TrainingError("No weight is left that could learn. Freeze less of the network.")
        self.is_compiled = False
        # No loop is one of Python's, which AutoGraph would have to rewrite: without it the first step comes in half the
        # time.
        self._run_steps = tf.function(self._many_steps, autograph=False)

    def run(
        self, batches: Iterator[tuple[Tensors, tf.Tensor]], count: int, first: int, total: int, progress: float | None
    ) -> tuple[float, float, float, int | None]:
        """Make steps; return their losses and weights summed, the seconds of waiting for input, and the bad step.

        Args:
          batches: an iterator over (rows, whether they are real).
          count: how many steps.
          first, total: how many were made before, and how many there are in all.
          progress: the fraction of the training that is done, by which the learning rate goes; None for first / total.

        Returns: the bad step is the first whose loss is no finite number; None if there is none.
        """
        loss, weight, waited, bad_step = self._run_steps(
            batches,
            tf.constant(count, tf.int64),
            tf.constant(first, tf.int64),
            tf.constant(float(total)),
            tf.constant(-1.0 if progress is None else progress, tf.float32),
        )
        self.is_compiled = True
        return float(loss), float(weight), float(waited), int(bad_step) if int(bad_step) >= 0 else None

    def evaluate(self, batches: Sequence[Mapping[str, np.ndarray]], with_outputs: bool) -> list[list[np.ndarray]]:
        """Return of each batch the sums of losses and of weights, and the flattened outputs if they are wanted.

        Args:
          batches: one for each replica of this process.
        """
        tensors = [{name: tf.constant(value) for name, value in rows.items()} for rows in batches]
        results = self._evaluate(*tensors)
        self._output_structure = results[0][0]
        return [
            [tensor.numpy() for tensor in (loss, weight, *(tf.nest.flatten(outputs) if with_outputs else ()))]
            for outputs, loss, weight in results
        ]

    def pack_outputs(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the model's outputs, as it gives them, of those that `evaluate` has flattened."""
        return tf.nest.pack_sequence_as(self._output_structure, arrays)

    def get_inputs(self, rows: Mapping[str, tf.Tensor]) -> Tensors:
        """Return what the model takes: encoded features, and targets where a decoder is told what stood before."""
        named = select_columns(rows, TARGET) | select_columns(rows, FEATURE)
        return {tensor.name: named[tensor.name] for tensor in self.model.inputs}

    def get_learning_rate(self, progress: tf.Tensor) -> tf.Tensor:
        """Return the rate at a fraction of the training; each phase has a rise of its own, the last one a schedule."""
        phases, number, config = self.plan.phases, self.phase, self.config
        start, end = phases[number - 1].end if number else 0.0, phases[number].end
        schedule = config.lr_schedule if number == len(phases) - 1 else "constant"
        peak = peak_learning_rate(config) * phases[number].lr_multiplier
        return learning_rate_at((progress - start) / (end - start), peak, config.warmup_ratio, schedule)

    # On one replica

    def _compute_gradients(
        self, rows: Tensors, is_real: tf.Tensor
    ) -> tuple[list[Gradient | None], tf.Tensor, tf.Tensor]:
        """Return the gradient of the scaled sum of losses for each variable, the sum of losses, the sum of weights."""
        # Every replica gets the rows of all in this process and takes its own: batches are formed and padded globally.
        count = (is_real.shape[0] or tf.shape(is_real)[0]) // self.workers.local
        start = self.workers.local_replica_id() * count
        rows, is_real = tf.nest.map_structure(lambda column: column[start : start + count], (rows, is_real))
        with batch_stats_mask(self._mask_batch_rows(start, count)), tf.GradientTape() as tape:
            outputs = self.model(self.get_inputs(rows), training=True)
            sums, weights = self.recipe.compute_loss(self.model, select_columns(rows, TARGET), outputs)
            loss, weight = tf.reduce_sum(sums * is_real), tf.reduce_sum(weights * is_real)
            if self.model.losses:
                loss += tf.add_n(self.model.losses) * weight
            scaled = loss * self.optimizer.scale
        variables = [v for v, learns in zip(self.optimizer.variables, self.learns, strict=True) if learns]
        gradients = iter(tape.gradient(scaled, variables))
        return [next(gradients) if learns else None for learns in self.learns], loss, weight

    def _mask_batch_rows(self, start: int | tf.Tensor, count: int | tf.Tensor) -> tf.Tensor | None:
        """Tell which rows of a replica the batch would have on one device: float32 [count]; None for all.

        The others only make it divisible. A part of a batch has statistics of its own, on any device.

        Args:
          start, count: of the rows of all replicas in this process, the first that are this one's, and how many.
        """
        config = self.config
        if (
            config.gradient_accumulation_steps > 1
            or config.batch_type == "tokens"
            or config.batch_size % self.row_multiple == 0
        ):
            return None
        first = self.workers.index * self.workers.local * count + start
        return tf.cast(first + tf.range(count) < config.batch_size, tf.float32)

    def _update_on_replica(self, rows: Tensors, is_real: tf.Tensor, rate: tf.Tensor) -> LossAndWeight:
        gradients, loss, weight = self._compute_gradients(rows, is_real)
        self.optimizer.apply(gradients, weight, rate)
        return loss, weight

    def _accumulate_on_replica(self, rows: Tensors, is_real: tf.Tensor) -> LossAndWeight:
        gradients, loss, weight = self._compute_gradients(rows, is_real)
        self.optimizer.accumulate(gradients, weight)
        return loss, weight

    def _apply_on_replica(self, rate: tf.Tensor) -> None:
        self.optimizer.apply_accumulated(self.learns, rate)

    # On all replicas

    def _many_steps(
        self,
        batches: Iterator[tuple[Tensors, tf.Tensor]],
        count: tf.Tensor,
        first: tf.Tensor,
        total: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        """Run `count` steps; `first` steps were made before, of `total`; progress >= 0 overrides first / total."""

        def advance(
            index: tf.Tensor, bad_step: tf.Tensor, loss: tf.Tensor, weight: tf.Tensor, waited: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            # Counted from the start of the training, so that a resumed run rounds as the uninterrupted one does.
            now = tf.where(progress >= 0, progress, tf.cast(first + index, tf.float32) / total)
            step_loss, step_weight, step_waited = self._one_step(batches, self.get_learning_rate(now), loss)
            bad_step = tf.where(tf.math.is_finite(step_loss), bad_step, first + index)
            return index + 1, bad_step, loss + step_loss, weight + step_weight, waited + step_waited

        start = (
            tf.zeros([], tf.int64),
            tf.constant(-1, tf.int64),
            tf.zeros([]),
            tf.zeros([]),
            tf.zeros([], tf.float64),
        )

        def goes_on(index: tf.Tensor, bad_step: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return (index < count) & (bad_step < 0)

        # A replica that ran ahead into the next step would mix up the exchange of gradients (measured).
        _, bad_step, *sums = tf.while_loop(goes_on, advance, start, parallel_iterations=1)
        return *sums, bad_step

    def _one_step(
        self, batches: Iterator[tuple[Tensors, tf.Tensor]], rate: tf.Tensor, before: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return loss, weight, and seconds of waiting for input, of a step that begins once `before` is there."""
        if self.config.gradient_accumulation_steps == 1:
            rows, is_real, waited = self._get_next(batches, before)
            return *self._sum_replicas(self.strategy.run(self._update_on_replica, args=(rows, is_real, rate))), waited

        def accumulate(
            number: tf.Tensor, loss: tf.Tensor, weight: tf.Tensor, waited: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            rows, is_real, part_waited = self._get_next(batches, loss)
            sums = self.strategy.run(self._accumulate_on_replica, args=(rows, is_real))
            part_loss, part_weight = self._sum_replicas(sums)
            return number + 1, loss + part_loss, weight + part_weight, waited + part_waited

        def goes_on(number: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return number < self.config.gradient_accumulation_steps

        start = (tf.constant(0), before * 0, tf.zeros([]), tf.zeros([], tf.float64))
        _, loss, weight, waited = tf.while_loop(goes_on, accumulate, start, parallel_iterations=1)
        self.strategy.run(self._apply_on_replica, args=(rate,))
        return loss, weight, waited

    def _get_next(
        self, batches: Iterator[tuple[Tensors, tf.Tensor]], before: tf.Tensor
    ) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return rows, whether they are real, and seconds of waiting for them; asked for once `before` is there."""
        start = self._get_time([before])
        with tf.control_dependencies([start]):
            rows, is_real = next(batches)
        return rows, is_real, self._get_time(tf.nest.flatten(rows)) - start

    def _sum_replicas(self, values: LossAndWeight) -> LossAndWeight:
        loss, weight = (self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in values)
        return loss, weight

    def _get_time(self, after: list[tf.Tensor]) -> tf.Tensor:
        """Return seconds once `after` are there; 0 under op determinism, which forbids to look at the time."""
        with tf.control_dependencies(after):
            return tf.zeros([], tf.float64) if self.config.deterministic else tf.timestamp()

    def _evaluate_batch(self, rows: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        outputs = self.model(self.get_inputs(rows), training=False)
        sums, weights = self.recipe.compute_loss(self.model, select_columns(rows, TARGET), outputs)
        return outputs, tf.reduce_sum(sums), tf.reduce_sum(weights)

    def _evaluate_batches(self, *batches: Tensors) -> list[tuple[Tensors, tf.Tensor, tf.Tensor]]:
        return self.workers.run_on_replicas(self._evaluate_batch, batches)
