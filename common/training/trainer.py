"""The one training loop: steps over `strategy.run`, validation, best weights, early stop, and a state to go on from.

Our own because Keras 3's `fit` fails under MultiWorkerMirroredStrategy (keras#20585) and cannot resume within an epoch.
The loop yields facts; printing and saving belong to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.config import RunConfig
from common.data.batching import batch_spec, iter_eval_batches
from common.data.encoding import FEATURE, TARGET
from common.data.example_store import ExampleStore
from common.errors import RunError, TrainingError
from common.modeling.metrics import NoMetrics
from common.training.distributed import WorkerGroup, offset_replica_seeds
from common.training.epoch_batches import EpochBatches
from common.training.optimizer import AdamWMuon
from common.training.phases import phase_index, phase_start_step
from common.training.time_budget import TimeBudget
from common.training.train_step import Tensors, TrainStep, select_columns
from common.training.training_setup import (
    initialize_weights,
    make_optimizer,
    make_plan,
    select_floats,
    validate_batch_type,
    validate_ends,
)
from common.training.transfer import WeightTransferPlan
from common.training.weights import (
    get_checkpoint_arrays,
    get_model_weights,
    seed_generator_states,
    set_checkpoint_arrays,
)
from common.types import JsonObject

if TYPE_CHECKING:
    from common.recipe import Recipe

EVALUATION_BATCH = 256
MIN_WEIGHT = 40  # of the loss, examples or steps, of the validation split; less chooses nothing but by chance


@dataclass(frozen=True)
class Progress:
    """Where training stands after a call of several steps."""

    epoch: int  # from 1
    step: int  # steps of this epoch done
    steps: int  # steps of the epoch in all
    loss: float  # mean of this epoch so far, per unit of weight
    examples_per_second: float
    seconds_left: float | None  # an estimate, of the whole training; None before there is one


@dataclass(frozen=True)
class EpochResult:
    """The facts of an epoch, as history.jsonl holds them."""

    logs: JsonObject
    improved: bool  # these weights are the best so far
    last: bool


class Trainer:
    """A model in training.

    Args:
      recipe: see common.recipe.Recipe.
      config: the shared settings; `config.epochs` None means no limit, which then needs `config.max_minutes`.
      train, valid: stores whose columns are named feature/... and target/...; valid may be None.
      strategy: where variables live and steps run.
      starts_fresh: the recipe sets the first weights; else a state is restored next.
      transfer_plan: what a fine-tuned run has of another.

    Raises:
      TrainingError: there is nothing to train on, or no end.
      ConfigError: no part of the network could learn.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: RunConfig,
        train: ExampleStore,
        valid: ExampleStore | None,
        strategy: tf.distribute.Strategy,
        starts_fresh: bool = True,
        transfer_plan: WeightTransferPlan | None = None,
    ):
        validate_ends(config, train)
        validate_batch_type(recipe, config)
        self.recipe, self.config, self.strategy = recipe, config, strategy
        self.workers, self.transfer_plan = WorkerGroup(strategy), transfer_plan
        self.train, self.valid = train, valid if valid is not None and len(valid) else None
        with strategy.scope():
            self.model = recipe.build_model()
            recipe.check_outputs(self.model)
            if starts_fresh:
                initialize_weights(recipe, self.model, train, self.workers, transfer_plan)
            self.plan = make_plan(recipe, config, self.model, transfer_plan)
            updates = make_optimizer(recipe, config, self.model, self.plan)
        offset_replica_seeds(strategy, seed_generator_states(self.model))
        self.train_step = TrainStep(
            recipe, config, self.workers, self.model, updates, self.plan, batch_spec(train, None)
        )
        names = (prefix + name for name in recipe.length_features for prefix in (FEATURE, TARGET))
        self.length_keys = [name for name in names if name in train.columns]
        self.batches = EpochBatches(train, config, self.length_keys, self.train_step.row_multiple)
        self.epoch, self.step = 0, 0  # finished epochs, steps of the present one
        self.steps = len(self.batches.order_epoch(0))
        self.budget = TimeBudget(config, self.steps, len(train), len(self.valid) if self.valid is not None else 0)
        self.loss_sum_and_weight = np.zeros(2)  # of this epoch: loss, weight
        self.epoch_seconds, self.input_wait_seconds = 0.0, 0.0
        self.best_epoch = 0
        self.best_score: tuple[float, ...] | None = None  # (score, -loss), the higher the better
        self.valid_is_too_small = False  # to choose or to fit weights by

    @property
    def optimizer(self) -> AdamWMuon:
        return self.train_step.optimizer

    @property
    def phase(self) -> int:
        return self.train_step.phase

    @property
    def seconds(self) -> float:
        return self.budget.seconds

    def evaluate(self, store: ExampleStore, conclude: bool = False) -> JsonObject:
        """Return loss and the recipe's metrics over a store, with the averaged weights if there are.

        Each batch is one replica's, and all processes have the result.

        Args:
          conclude: let the recipe set what it fits on this store, the validation part, unless that is very small.
        """
        metrics = self.recipe.make_metrics(self.model)
        is_scored = not isinstance(metrics, NoMetrics)

        def forward(batches: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
            return self.train_step.evaluate(batches, with_outputs=is_scored)

        loss = weight = 0.0
        with self.use_ema_weights():
            batches = iter_eval_batches(store, EVALUATION_BATCH, self.length_keys)
            for rows, (sums, weights, *outputs) in self.workers.map_over_replicas(batches, forward):
                loss, weight = loss + float(sums), weight + float(weights)
                if is_scored:
                    targets = select_columns(rows, TARGET)
                    metrics.update_state(targets, self.train_step.pack_outputs(outputs))
            if conclude and weight >= MIN_WEIGHT:
                self.recipe.on_validation_end(self.model, metrics)
                self.workers.broadcast_variables(select_floats(self.model.non_trainable_variables))
        return {"loss": loss / max(weight, 1e-9), "weight": weight, **metrics.result()}

    @contextmanager
    def use_ema_weights(self) -> Iterator[None]:
        """Give the model the averaged weights within the block."""
        pairs = list(zip(self.optimizer.variables, self.optimizer.averages, strict=False))
        values = [variable.numpy() for variable, _ in pairs]
        for variable, average in pairs:
            variable.assign(average.read_value())
        try:
            yield
        finally:
            for (variable, _), value in zip(pairs, values, strict=True):
                variable.assign(value)

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return the weights to keep, by variable path: averaged ones if there are."""
        with self.use_ema_weights():
            return get_model_weights(self.model)

    def is_finished(self) -> bool:
        """Whether the epochs or the time are used up, or patience is at its end."""
        by_epochs = self.config.epochs is not None and self.epoch >= self.config.epochs
        return by_epochs or self.budget.is_used_up() or (self.step == 0 and self._has_lost_patience())

    def fit(self) -> Iterator[Progress | EpochResult]:
        """Train to the end, yielding facts; the state may be saved between any two of them.

        Raises:
          TrainingError: the loss is no longer a finite number.
        """
        while not self.is_finished():
            self.recipe.on_epoch_begin(self.model, self.epoch)
            order = self.batches.order_epoch(self.epoch)
            self.ends = np.cumsum([(batch >= 0).sum() for batch in order])
            iterator = iter(self.batches.open_epoch(order, self.step, self.workers))
            while self.step < self.steps and not self.budget.is_used_up():
                yield self._make_steps(iterator)
            yield self._end_epoch()

    def _has_lost_patience(self) -> bool:
        if self.config.epochs is None or not self.config.patience or self.valid is None:
            return False
        # Layers that learn only later may yet make it better.
        all_learn = phase_start_step(self.plan.phases, len(self.plan.phases) - 1, self._total_steps()) / self.steps
        return self.epoch - max(self.best_epoch, all_learn) >= self.config.patience

    def _steps_done(self) -> int:
        return self.epoch * self.steps + self.step

    def _total_steps(self) -> int:
        return self.steps * (self.config.epochs or 1)

    def _ends_by_time(self) -> bool:
        return self.budget.ends_by_time(self.epoch, self.step)

    def _count_steps(self) -> int:
        """Return how many steps the next call makes: at most to the end of the phase or of the epoch."""
        count = self.budget.count_call_steps()
        phases = self.plan.phases
        if self.phase < len(phases) - 1 and not self._ends_by_time():
            count = min(count, phase_start_step(phases, self.phase + 1, self._total_steps()) - self._steps_done())
        return min(count, self.steps - self.step)

    def _find_due_phase(self) -> int:
        """Return the phase that the next step belongs to; none that has begun comes back."""
        phases, total, done = self.plan.phases, self._total_steps(), self._steps_done()
        if self._ends_by_time():
            due = phase_index(phases, self.budget.seconds / self.budget.limit)
        else:
            due = max(number for number in range(len(phases)) if phase_start_step(phases, number, total) <= done)
        return max(due, self.phase)

    def _make_steps(self, batches: Iterator[tuple[Tensors, tf.Tensor]]) -> Progress:
        start = time.perf_counter()
        if (due := self._find_due_phase()) > self.phase:
            self.train_step.begin_phase(due)
            self.optimizer.reset_moments()
        count, is_compiled = self._count_steps(), self.train_step.is_compiled
        progress = self.budget.used_fraction if self._ends_by_time() else None
        loss, weight, waited, bad_step = self.train_step.run(
            batches, count, self._steps_done(), self._total_steps(), progress
        )
        if bad_step is not None:
            raise TrainingError(
                f"The loss was no finite number at step {bad_step + 1} (epoch {self.epoch + 1}); the last checkpoint is"
                f" kept. Lower --learning-rate (now {self.config.learning_rate:g}), or lower --global-clipnorm."
            )
        self.loss_sum_and_weight += loss, weight
        (seconds,) = self.workers.broadcast_floats(time.perf_counter() - start)
        # The first call of a process compiles, which says nothing of the speed to come.
        self.budget.steps_per_second = count / seconds if is_compiled else 0.0
        self.budget.seconds += seconds
        self.step += count
        self.epoch_seconds += seconds
        self.input_wait_seconds += waited
        return Progress(
            self.epoch + 1,
            self.step,
            self.steps,
            self._mean_loss(),
            self._count_examples() / self.epoch_seconds,
            self.budget.estimate_remaining(self.epoch, self.step),
        )

    def _count_examples(self) -> int:
        return int(self.ends[self.step - 1]) if self.step else 0

    def _mean_loss(self) -> float:
        return float(self.loss_sum_and_weight[0] / max(self.loss_sum_and_weight[1], 1e-9))

    def _end_epoch(self) -> EpochResult:
        start = time.perf_counter()
        facts: JsonObject = {"epoch": self.epoch + 1, "loss": self._mean_loss(), "steps": self.step}
        improved = True
        if self.valid is not None:
            measured = self.evaluate(self.valid, conclude=True)
            self.valid_is_too_small = measured["weight"] < MIN_WEIGHT
            scalars = {name: v for name, v in measured.items() if name != "weight" and isinstance(v, int | float)}
            facts |= {f"valid_{name}": value for name, value in scalars.items()}
            improved = self._update_best(measured)
        (seconds,) = self.workers.broadcast_floats(time.perf_counter() - start)
        wait_ratio = self.input_wait_seconds / max(self.epoch_seconds, 1e-9)
        facts |= {
            "seconds": self.epoch_seconds + seconds,
            "examples_per_second": self._count_examples() / max(self.epoch_seconds, 1e-9),
            "input_wait_ratio": None if self.config.deterministic else wait_ratio,
        }
        self.budget.validation_seconds = seconds
        self.budget.seconds += seconds
        self.epoch += 1
        if improved:
            self.best_epoch = self.epoch
        self.step, self.loss_sum_and_weight, self.epoch_seconds, self.input_wait_seconds = 0, np.zeros(2), 0.0, 0.0
        return EpochResult(facts, improved, self.is_finished())

    def _update_best(self, measured: Mapping[str, float]) -> bool:
        """Return whether these are the best metrics so far, or of too few examples to choose by."""
        score = measured[self.recipe.monitor] * (1 if self.recipe.monitor_mode == "max" else -1)
        rank = self.workers.broadcast_floats(score, -measured["loss"])
        improved = self.best_score is None or rank > self.best_score or self.valid_is_too_small
        if improved:
            self.best_score = rank
        return improved

    # The state to go on from

    def state_dict(self) -> tuple[dict[str, np.ndarray], JsonObject]:
        """Return all that training depends on: arrays by name, and numbers as a JSON object."""
        numbers = {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.budget.seconds,
            "loss_sum_and_weight": self.loss_sum_and_weight.tolist(),
            "epoch_seconds": self.epoch_seconds,
            "input_wait_seconds": self.input_wait_seconds,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "validation_seconds": self.budget.validation_seconds,
            "steps": self.steps,
            "phase": self.phase,
        }
        return get_checkpoint_arrays(self.model, self.optimizer.variables_by_name()), numbers

    def load_state_dict(self, arrays: Mapping[str, np.ndarray], numbers: JsonObject) -> None:
        """Go back to a state.

        Raises:
          RunError: the state is of another model or other data.
        """
        if numbers["steps"] != self.steps:
            raise RunError(
                f"The checkpoint is of data with {numbers['steps']} batches an epoch, and this has {self.steps}."
                " Resume with the same data, or start a new run."
            )
        set_checkpoint_arrays(self.model, self.optimizer.variables_by_name(), arrays)
        offset_replica_seeds(self.strategy, seed_generator_states(self.model))
        self.epoch, self.step = numbers["epoch"], numbers["step"]
        self.budget.seconds, self.budget.validation_seconds = numbers["seconds"], numbers["validation_seconds"]
        self.loss_sum_and_weight = np.array(numbers["loss_sum_and_weight"])
        self.epoch_seconds, self.input_wait_seconds = numbers["epoch_seconds"], numbers["input_wait_seconds"]
        self.best_epoch = numbers["best_epoch"]
        self.best_score = tuple(numbers["best_score"]) if numbers["best_score"] is not None else None
        if numbers["phase"] > self.phase:
            self.train_step.begin_phase(numbers["phase"])
