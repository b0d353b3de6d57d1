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
from common.data.batching import evaluation_batches, specs
from common.data.encoding import FEATURE, TARGET
from common.data.example_store import Store
from common.errors import RunError, TrainingError
from common.modeling.metrics import Nothing
from common.training.distributed import Peers, spread_random_states
from common.training.epoch_batches import EpochBatches
from common.training.optimizer import AdamW
from common.training.phases import first_step, phase_at
from common.training.time_budget import TimeBudget
from common.training.train_step import Tensors, TrainStep, select_columns
from common.training.training_setup import initialize_weights, make_optimizer, make_plan, select_floats
from common.training.transfer import Inherited
from common.training.weights import get_checkpoint_arrays, model_weights, random_states, set_checkpoint_arrays
from common.types import JsonObject

if TYPE_CHECKING:
    from common.recipe import Recipe

EVALUATION_BATCH = 256
MIN_WEIGHT = 40  # of the loss, examples or steps, of the validation part; less chooses nothing but by chance


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
class EpochEnd:
    """The facts of an epoch, as history.jsonl holds them."""

    facts: JsonObject
    improved: bool  # these weights are the best so far
    last: bool


def check_batches(recipe: Recipe | type[Recipe], config: RunConfig) -> None:
    """Before any data is read, check whether the recipe's examples have what batches are bounded by.

    Raises:
      TrainingError: batches are to be bounded by tokens, and there are none.
    """
    if config.batch_type == "tokens" and not recipe.length_keys:
        raise TrainingError("--batch-type tokens needs sequences, and these examples have none. Leave it out.")


def _check_ends(config: RunConfig, train: Store) -> None:
    if not len(train):
        raise TrainingError("No training step could be made: the training part is empty. Give more --data.")
    if config.epochs is None and config.max_minutes is None:
        raise TrainingError("Training would never end: give --epochs or --max-minutes.")


class Trainer:
    """A model in training.

    Args:
      recipe: see common.recipe.Recipe.
      config: the shared settings; `config.epochs` None means no limit, which then needs `config.max_minutes`.
      train, valid: stores whose columns are named feature/... and target/...; valid may be None.
      strategy: where variables live and steps run.
      fresh: the training begins, so that the recipe sets the first weights; else a state is restored next.
      inherited: what a fine-tuned run has of another.

    Raises:
      TrainingError: there is nothing to train on, or no end.
      ConfigError: no part of the network could learn.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: RunConfig,
        train: Store,
        valid: Store | None,
        strategy: tf.distribute.Strategy,
        fresh: bool = True,
        inherited: Inherited | None = None,
    ):
        _check_ends(config, train)
        check_batches(recipe, config)
        self.recipe, self.config, self.strategy = recipe, config, strategy
        self.peers, self.inherited = Peers(strategy), inherited
        self.train, self.valid = train, valid if valid is not None and len(valid) else None
        with strategy.scope():
            self.model = recipe.build_model()
            recipe.check_outputs(self.model)
            if fresh:
                initialize_weights(recipe, self.model, train, self.peers, inherited)
            self.plan = make_plan(recipe, config, self.model, inherited)
            updates = make_optimizer(recipe, config, self.model, self.plan)
        spread_random_states(strategy, random_states(self.model))
        self.train_step = TrainStep(recipe, config, self.peers, self.model, updates, self.plan, specs(train, None))
        names = (prefix + name for name in recipe.length_keys for prefix in (FEATURE, TARGET))
        self.length_keys = [name for name in names if name in train.columns]
        self.batches = EpochBatches(train, config, self.length_keys, self.train_step.row_multiple)
        self.epoch, self.step = 0, 0  # finished epochs, steps of the present one
        self.steps = len(self.batches.order_epoch(0))
        self.budget = TimeBudget(config, self.steps, len(train), len(self.valid) if self.valid is not None else 0)
        self.sums = np.zeros(2)  # of this epoch: loss, weight
        self.epoch_seconds, self.waited = 0.0, 0.0
        self.best_epoch = 0
        self.best: tuple[float, ...] | None = None  # (score, -loss), the higher the better
        self.tells_little = False  # the validation part, by which then no weights are chosen or fitted

    @property
    def optimizer(self) -> AdamW:
        return self.train_step.optimizer

    @property
    def phase(self) -> int:
        return self.train_step.phase

    @property
    def seconds(self) -> float:
        return self.budget.seconds

    def evaluate(self, store: Store, conclude: bool = False) -> JsonObject:
        """Return loss and the recipe's measures over a store, with the averaged weights if there are.

        Each batch is one replica's, and all processes have the result.

        Args:
          conclude: let the recipe set what it fits on this store, the validation part, unless that is very small.
        """
        measures = self.recipe.measures(self.model)
        is_scored = not isinstance(measures, Nothing)

        def forward(batches: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
            return self.train_step.evaluate(batches, with_outputs=is_scored)

        loss = weight = 0.0
        with self.averaged():
            batches = evaluation_batches(store, EVALUATION_BATCH, self.length_keys)
            for rows, (sums, weights, *outputs) in self.peers.spread(batches, forward):
                loss, weight = loss + float(sums), weight + float(weights)
                if is_scored:
                    targets = select_columns(rows, TARGET)
                    measures.update(targets, self.train_step.pack_outputs(outputs))
            if conclude and weight >= MIN_WEIGHT:
                self.recipe.conclude(self.model, measures)
                self.peers.broadcast(select_floats(self.model.non_trainable_variables))
        return {"loss": loss / max(weight, 1e-9), "weight": weight, **measures.result()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
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

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights to keep, by variable path: averaged ones if there are."""
        with self.averaged():
            return model_weights(self.model)

    def finished(self) -> bool:
        """Whether the epochs or the time are used up, or patience is at its end."""
        by_epochs = self.config.epochs is not None and self.epoch >= self.config.epochs
        return by_epochs or self.budget.is_used_up() or (self.step == 0 and self._has_lost_patience())

    def fit(self) -> Iterator[Progress | EpochEnd]:
        """Train to the end, yielding facts; the state may be saved between any two of them.

        Raises:
          TrainingError: the loss is no longer a finite number.
        """
        while not self.finished():
            self.recipe.begin_epoch(self.model, self.epoch)
            order = self.batches.order_epoch(self.epoch)
            self.ends = np.cumsum([(batch >= 0).sum() for batch in order])
            iterator = iter(self.batches.open_epoch(order, self.step, self.peers))
            while self.step < self.steps and not self.budget.is_used_up():
                yield self._make_steps(iterator)
            yield self._end_epoch()

    def _has_lost_patience(self) -> bool:
        if self.config.epochs is None or not self.config.patience or self.valid is None:
            return False
        # Layers that learn only later may yet make it better.
        all_learn = first_step(self.plan.phases, len(self.plan.phases) - 1, self._total_steps()) / self.steps
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
            count = min(count, first_step(phases, self.phase + 1, self._total_steps()) - self._steps_done())
        return min(count, self.steps - self.step)

    def _find_due_phase(self) -> int:
        """Return the phase that the next step belongs to; none that has begun comes back."""
        phases, total, done = self.plan.phases, self._total_steps(), self._steps_done()
        if self._ends_by_time():
            due = phase_at(phases, self.budget.seconds / self.budget.limit)
        else:
            due = max(number for number in range(len(phases)) if first_step(phases, number, total) <= done)
        return max(due, self.phase)

    def _make_steps(self, batches: Iterator[tuple[Tensors, tf.Tensor]]) -> Progress:
        start = time.perf_counter()
        if (due := self._find_due_phase()) > self.phase:
            self.train_step.begin_phase(due)
            self.optimizer.restart()
        count, is_compiled = self._count_steps(), self.train_step.is_compiled
        progress = self.budget.used_fraction if self._ends_by_time() else None
        loss, weight, waited, bad_step = self.train_step.run(
            batches, count, self._steps_done(), self._total_steps(), progress
        )
        if bad_step is not None:
            raise TrainingError(
                f"The loss was no finite number at step {bad_step + 1} (epoch {self.epoch + 1}); the last checkpoint is"
                f" kept. Lower --learning-rate (now {self.config.learning_rate:g}), or lower --clip-norm."
            )
        self.sums += loss, weight
        (seconds,) = self.peers.agreed(time.perf_counter() - start)
        # The first call of a process compiles, which says nothing of the speed to come.
        self.budget.steps_per_second = count / seconds if is_compiled else 0.0
        self.budget.seconds += seconds
        self.step += count
        self.epoch_seconds += seconds
        self.waited += waited
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
        return float(self.sums[0] / max(self.sums[1], 1e-9))

    def _end_epoch(self) -> EpochEnd:
        start = time.perf_counter()
        facts: JsonObject = {"epoch": self.epoch + 1, "loss": self._mean_loss(), "steps": self.step}
        improved = True
        if self.valid is not None:
            measured = self.evaluate(self.valid, conclude=True)
            self.tells_little = measured["weight"] < MIN_WEIGHT
            scalars = {name: v for name, v in measured.items() if name != "weight" and isinstance(v, int | float)}
            facts |= {f"valid_{name}": value for name, value in scalars.items()}
            improved = self._update_best(measured)
        (seconds,) = self.peers.agreed(time.perf_counter() - start)
        facts |= {
            "seconds": self.epoch_seconds + seconds,
            "examples_per_second": self._count_examples() / max(self.epoch_seconds, 1e-9),
            "input_share": None if self.config.deterministic else self.waited / max(self.epoch_seconds, 1e-9),
        }
        self.budget.validation_seconds = seconds
        self.budget.seconds += seconds
        self.epoch += 1
        if improved:
            self.best_epoch = self.epoch
        self.step, self.sums, self.epoch_seconds, self.waited = 0, np.zeros(2), 0.0, 0.0
        return EpochEnd(facts, improved, self.finished())

    def _update_best(self, measured: Mapping[str, float]) -> bool:
        """Return whether these are the best measures so far, or tell too little to be told apart."""
        score = measured[self.recipe.monitor] * (1 if self.recipe.monitor_mode == "max" else -1)
        rank = self.peers.agreed(score, -measured["loss"])
        improved = self.best is None or rank > self.best or self.tells_little
        if improved:
            self.best = rank
        return improved

    # The state to go on from

    def state(self) -> tuple[dict[str, np.ndarray], JsonObject]:
        """Return all that training depends on: arrays by name, and numbers as a JSON object."""
        numbers = {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.budget.seconds,
            "sums": self.sums.tolist(),
            "epoch_seconds": self.epoch_seconds,
            "waited": self.waited,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "validation_seconds": self.budget.validation_seconds,
            "steps": self.steps,
            "phase": self.phase,
        }
        return get_checkpoint_arrays(self.model, self.optimizer.state()), numbers

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: JsonObject) -> None:
        """Go back to a state.

        Raises:
          RunError: the state is of another model or other data.
        """
        if numbers["steps"] != self.steps:
            raise RunError(
                f"The checkpoint is of data with {numbers['steps']} batches an epoch, and this has {self.steps}."
                " Resume with the same data, or start a new run."
            )
        set_checkpoint_arrays(self.model, self.optimizer.state(), arrays)
        spread_random_states(self.strategy, random_states(self.model))
        self.epoch, self.step = numbers["epoch"], numbers["step"]
        self.budget.seconds, self.budget.validation_seconds = numbers["seconds"], numbers["validation_seconds"]
        self.sums = np.array(numbers["sums"])
        self.epoch_seconds, self.waited = numbers["epoch_seconds"], numbers["waited"]
        self.best_epoch = numbers["best_epoch"]
        self.best = tuple(numbers["best"]) if numbers["best"] is not None else None
        if numbers["phase"] > self.phase:
            self.train_step.begin_phase(numbers["phase"])
