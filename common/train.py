"""The one training loop: steps over `strategy.run`, validation, best weights, early stop, and a state to go on from.

Our own because Keras 3's `fit` fails under MultiWorkerMirroredStrategy (keras#20585) and cannot resume within an epoch.
The loop yields facts; printing and saving belong to the caller.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from common.config import OWN_SHARE, RunConfig
from common.distribute import Peers, spread_random_states
from common.encoding import FEATURE, TARGET
from common.errors import RunError, TrainingError
from common.layers.normalization import counting
from common.metrics import Nothing
from common.optimize import learning_rate, optimizer
from common.pipeline import (
    epoch_order,
    evaluation_batches,
    lengths_of,
    padded_lengths,
    specs,
    token_batches,
    training_batches,
)
from common.store import Store
from common.transfer import Inherited
from common.tuning import fine_tuned, first_step, phase_at, warmed_up
from common.weights import model_weights, named_weights, random_states, set_model_weights

CALL_SECONDS = 0.5  # a call of the compiled loop takes about so long: often enough for progress, signals and limits
EVALUATION_BATCH = 256
FEW = 40  # weights of the loss, examples or steps, of the validation part; fewer choose nothing but by chance


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

    facts: dict[str, Any]
    improved: bool  # these weights are the best so far
    last: bool


def _own(train: Store, assets: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The training part in batches, without what is replayed of a source's, which stands last."""
    own = round(len(train) * assets.get(OWN_SHARE, 1.0))
    for start in range(0, own, EVALUATION_BATCH):
        yield train.rows(np.arange(start, min(start + EVALUATION_BATCH, own)))


def _part(rows: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name[len(prefix) :]: value for name, value in rows.items() if name.startswith(prefix)}


def _floats(variables: Sequence[Any]) -> list[Any]:
    """Those of floating point, which random states are not."""
    return [variable for variable in variables if "float" in variable.dtype]


def check_batches(recipe: Any, config: RunConfig) -> None:
    """Before any data is read: whether the recipe's examples have what batches are bounded by.

    Raises:
      TrainingError: batches are to be bounded by tokens, and there are none.
    """
    if config.batch_type == "tokens" and not recipe.length_keys:
        raise TrainingError("--batch-type tokens needs sequences, and these examples have none. Leave it out.")


def peak_rate(config: RunConfig) -> float:
    """The highest learning rate, for the batch size that was asked for.

    As it is; or in proportion to the batch size over the recipe's default, or that of most where the recipe fits it to
    the data (linear: Goyal et al. 2017), or to the root of that (Malladi et al. 2022, for Adam).
    """
    larger = config.batch_size / (type(config).batch_size or RunConfig.batch_size)
    return config.learning_rate * {"none": 1.0, "linear": larger, "root": larger**0.5}[config.scale_rate]


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
        self, recipe: Any, config: RunConfig, train: Store, valid: Store | None, strategy: tf.distribute.Strategy,
        fresh: bool = True, inherited: Inherited | None = None,
    ):  # fmt: skip
        if not len(train):
            raise TrainingError("No training step could be made: the training part is empty. Give more --data.")
        if config.epochs is None and config.max_minutes is None:
            raise TrainingError("Training would never end: give --epochs or --max-minutes.")
        check_batches(recipe, config)
        self.recipe, self.config, self.strategy = recipe, config, strategy
        self.peers, self.inherited = Peers(strategy), inherited
        self.train, self.valid = train, valid if valid is not None and len(valid) else None
        with strategy.scope():
            self.model = recipe.build_model()
            if fresh:
                kept = inherited.plan(recipe, self.model) if inherited else ()
                batches = ((_part(batch, FEATURE), _part(batch, TARGET)) for batch in _own(train, recipe.assets))
                shares = recipe.begin(self.model, batches, kept)
                if inherited:
                    inherited.apply(self.model, shares)
                self.peers.broadcast(_floats(self.model.variables))  # which other processors may have rounded otherwise
            warm_up = recipe.warm_up(self.model)
            if inherited:
                rate = warm_up.rate if warm_up else 1.0
                self.plan = fine_tuned(config, self.model, recipe.parts, inherited.kept, inherited.extended, rate)
            else:
                self.plan = warmed_up(warm_up)
            named = {path: v.value for path, v in named_weights(self.model) if v.trainable}
            paths = {id(variable): path for path, variable in named.items()}
            variables = [v.value for v in self.model.trainable_variables]
            self.optimizer = optimizer(
                config, variables, recipe.orthogonal(self.model), gathering=config.accumulate > 1,
                rates=[self.plan.rates.get(paths[id(v)], 1.0) for v in variables],
                anchored=[named[path] for path in self.plan.anchored if path in named], anchor=config.anchor,
            )  # fmt: skip
        spread_random_states(strategy, random_states(self.model))
        found = (kind + name for name in recipe.length_keys for kind in (FEATURE, TARGET))
        self.length_keys = [key for key in found if key in train.columns]
        self.lengths = lengths_of(train, self.length_keys) if self.length_keys else None
        alike = self.lengths is not None and self.lengths.shape[1] == 1
        self.padded = padded_lengths(self.lengths[:, 0]) if self.lengths is not None and alike else None
        self.rows = strategy.num_replicas_in_sync * config.accumulate  # rows of a batch are a multiple of this
        self.epoch, self.step, self.seconds = 0, 0, 0.0  # finished epochs, steps of the present one, time in training
        self.steps = len(self._order())
        self.sums = np.zeros(2)  # of this epoch: loss, weight
        self.epoch_seconds, self.waited = 0.0, 0.0
        self.best_epoch = 0
        self.best: tuple[float, ...] | None = None  # (score, -loss), the higher the better
        self.per_second = 0.0  # steps; the latest estimate
        self.validation_seconds = 0.0
        self.tells_little = False  # the validation part, by which then no weights are chosen or fitted
        self._begin_phase(0)
        signature = [specs(train, None)] * self.peers.local
        self._forward = tf.function(self._evaluate_batches, input_signature=signature, autograph=False)

    def _begin_phase(self, number: int) -> None:
        """Compiles the steps anew, with the layers as they are that do not learn in this phase."""
        self.phase = number
        for layer in {id(one): one for phase in self.plan.phases for one in phase.still}.values():
            layer.trainable = True
        for layer in self.plan.phases[number].still:
            layer.trainable = False
        learning = {id(variable.value) for variable in self.model.trainable_variables}
        self.learning = [id(variable) in learning for variable in self.optimizer.variables]
        if not any(self.learning):
            raise TrainingError("No weight is left that could learn. Freeze less of the network.")
        self._compiled = False
        # No loop is one of Python's, which AutoGraph would have to rewrite: without it the first step comes in half the
        # time.
        self._steps = tf.function(self._many_steps, autograph=False)

    # The compiled part

    def _replica_gradients(self, rows: dict[str, tf.Tensor], real: tf.Tensor) -> tuple[list[Any], Any, Any]:
        """(gradient of the scaled sum of losses for each variable, sum of losses, sum of weights) of one replica."""
        # Every replica gets the rows of all in this process and takes its own: batches are formed and padded globally.
        share = (real.shape[0] or tf.shape(real)[0]) // self.peers.local
        start = self.peers.replica() * share
        rows, real = tf.nest.map_structure(lambda whole: whole[start : start + share], (rows, real))
        with counting(self._counted(start, share)), tf.GradientTape() as tape:
            outputs = self.model(self._inputs(rows), training=True)
            sums, weights = self.recipe.loss(self.model, _part(rows, TARGET), outputs)
            loss, weight = tf.reduce_sum(sums * real), tf.reduce_sum(weights * real)
            if self.model.losses:
                loss += tf.add_n(self.model.losses) * weight
            scaled = loss * self.optimizer.scale
        learning = [v for v, learns in zip(self.optimizer.variables, self.learning, strict=True) if learns]
        found = iter(tape.gradient(scaled, learning))
        return [next(found) if learns else None for learns in self.learning], loss, weight

    def _counted(self, start: Any, share: Any) -> Any:
        """Of a replica's rows, which are those that the batch would have on one device: float32 [share]; None for all.

        The others only make it divisible. A part of a batch has statistics of its own, on any device.

        Args:
          start, share: of the rows of all replicas in this process, the first that are this one's, and how many.
        """
        config = self.config
        if config.accumulate > 1 or config.batch_type == "tokens" or config.batch_size % self.rows == 0:
            return None
        first = self.peers.index * self.peers.local * share + start
        return tf.cast(first + tf.range(share) < config.batch_size, tf.float32)

    def _replica_step(self, rows: dict[str, tf.Tensor], real: tf.Tensor, rate: tf.Tensor) -> tuple[Any, Any]:
        gradients, loss, weight = self._replica_gradients(rows, real)
        self.optimizer.apply(gradients, weight, rate)
        return loss, weight

    def _replica_part(self, rows: dict[str, tf.Tensor], real: tf.Tensor) -> tuple[Any, Any]:
        gradients, loss, weight = self._replica_gradients(rows, real)
        self.optimizer.gather(gradients, weight)
        return loss, weight

    def _replica_end(self, rate: tf.Tensor) -> None:
        self.optimizer.apply_gathered(self.learning, rate)

    def _inputs(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the model takes: encoded features, and targets where a decoder is told what stood before."""
        named = _part(rows, TARGET) | _part(rows, FEATURE)
        return {one.name: named[one.name] for one in self.model.inputs}

    def _many_steps(
        self, iterator: Any, count: tf.Tensor, first: tf.Tensor, total: tf.Tensor, share: tf.Tensor
    ) -> tuple[Any, ...]:
        """Runs `count` steps; `first` steps were made before, of `total`; share >= 0 overrides first / total."""

        def step(index: Any, bad: Any, loss: Any, weight: Any, waited: Any) -> tuple[Any, ...]:
            # Counted from the start of the training, so that a resumed run rounds as the uninterrupted one does.
            progress = tf.where(share >= 0, share, tf.cast(first + index, tf.float32) / total)
            step_loss, step_weight, step_waited = self._one_step(iterator, self._rate(progress), loss)
            bad = tf.where(tf.math.is_finite(step_loss), bad, first + index)
            return index + 1, bad, loss + step_loss, weight + step_weight, waited + step_waited

        start = (
            tf.zeros([], tf.int64),
            tf.constant(-1, tf.int64),
            tf.zeros([]),
            tf.zeros([]),
            tf.zeros([], tf.float64),
        )
        # A replica that ran ahead into the next step would mix up the exchange of gradients (measured).
        _, bad, *sums = tf.while_loop(
            lambda index, bad, *_: (index < count) & (bad < 0), step, start, parallel_iterations=1
        )  # fmt: skip
        return *sums, bad

    def _one_step(self, iterator: Any, rate: tf.Tensor, before: tf.Tensor) -> tuple[Any, Any, Any]:
        """(loss, weight, seconds of waiting for input) of a step that begins once `before` is there."""
        if self.config.accumulate == 1:
            rows, real, waited = self._next(iterator, before)
            return *self._over_replicas(self.strategy.run(self._replica_step, args=(rows, real, rate))), waited

        def part(number: Any, loss: Any, weight: Any, waited: Any) -> tuple[Any, ...]:
            rows, real, part_waited = self._next(iterator, loss)
            part_loss, part_weight = self._over_replicas(self.strategy.run(self._replica_part, args=(rows, real)))
            return number + 1, loss + part_loss, weight + part_weight, waited + part_waited

        start = (tf.constant(0), before * 0, tf.zeros([]), tf.zeros([], tf.float64))
        _, *sums = tf.while_loop(
            lambda number, *_: number < self.config.accumulate, part, start, parallel_iterations=1
        )  # fmt: skip
        self.strategy.run(self._replica_end, args=(rate,))
        return tuple(sums)

    def _next(self, iterator: Any, before: tf.Tensor) -> tuple[Any, Any, Any]:
        """(rows, whether they are real, seconds of waiting for them), asked for once `before` is there."""
        asked = self._clock([before])
        with tf.control_dependencies([asked]):
            rows, real = next(iterator)
        return rows, real, self._clock(tf.nest.flatten(rows)) - asked

    def _over_replicas(self, values: tuple[Any, Any]) -> tuple[Any, Any]:
        first, second = (self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in values)
        return first, second

    def _rate(self, progress: tf.Tensor) -> tf.Tensor:
        """The learning rate at a share of the training; each phase has a rise of its own, the last one a schedule."""
        phases, number, config = self.plan.phases, self.phase, self.config
        start, end = phases[number - 1].end if number else 0.0, phases[number].end
        schedule = config.schedule if number == len(phases) - 1 else "constant"
        peak = peak_rate(config) * phases[number].rate
        return learning_rate((progress - start) / (end - start), peak, config.warmup, schedule)

    def _clock(self, after: list[tf.Tensor]) -> tf.Tensor:
        """Seconds once `after` are there; 0 under op determinism, which forbids to look at the time."""
        with tf.control_dependencies(after):
            return tf.zeros([], tf.float64) if self.config.deterministic else tf.timestamp()

    def _evaluate_batch(self, rows: dict[str, tf.Tensor]) -> tuple[Any, Any, Any]:
        outputs = self.model(self._inputs(rows), training=False)
        sums, weights = self.recipe.loss(self.model, _part(rows, TARGET), outputs)
        return outputs, tf.reduce_sum(sums), tf.reduce_sum(weights)

    def _evaluate_batches(self, *batches: dict[str, tf.Tensor]) -> list[Any]:
        return self.peers.on_replicas(self._evaluate_batch, batches)

    # The host part

    def evaluate(self, store: Store, conclude: bool = False) -> dict[str, Any]:
        """Loss and the recipe's measures over every example of a store, with the averaged weights if there are.

        Each batch is one replica's, and all processes have the result.

        Args:
          conclude: let the recipe set what it fits on this store, the validation part, unless that is very small.
        """
        measures = self.recipe.measures(self.model)
        scored = not isinstance(measures, Nothing)
        structure: list[Any] = []

        def forward(batches: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
            found = self._forward(*[{name: tf.constant(value) for name, value in rows.items()} for rows in batches])
            structure[:] = [found[0][0]]
            return [
                [one.numpy() for one in (sums, weights, *(tf.nest.flatten(outputs) if scored else ()))]
                for outputs, sums, weights in found
            ]

        loss = weight = 0.0
        with self.averaged():
            batches = evaluation_batches(store, EVALUATION_BATCH, self.length_keys)
            for rows, (sums, weights, *outputs) in self.peers.spread(batches, forward):
                loss, weight = loss + float(sums), weight + float(weights)
                if scored:
                    measures.update(_part(rows, TARGET), tf.nest.pack_sequence_as(structure[0], outputs))
            if conclude and weight >= FEW:
                self.recipe.conclude(self.model, measures)
                self.peers.broadcast(_floats(self.model.non_trainable_variables))
        return {"loss": loss / max(weight, 1e-9), "weight": weight, **measures.result()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        pairs = list(zip(self.optimizer.variables, self.optimizer.averages, strict=False))
        kept = [variable.numpy() for variable, _ in pairs]
        for variable, average in pairs:
            variable.assign(average.read_value())
        try:
            yield
        finally:
            for (variable, _), value in zip(pairs, kept, strict=True):
                variable.assign(value)

    def weights(self) -> dict[str, np.ndarray]:
        """The weights to keep, by variable path: averaged ones if there are."""
        with self.averaged():
            return model_weights(self.model)

    @property
    def _limit(self) -> float:
        return math.inf if self.config.max_minutes is None else self.config.max_minutes * 60

    @property
    def _by_time(self) -> bool:
        """Whether the time is used up before the epochs are, as it seems now; the schedule then follows the clock."""
        if self.config.epochs is None:
            return True
        return bool(self.per_second) and self.seconds + self._seconds_of_epochs() > self._limit

    def _waited_too_long(self) -> bool:
        if self.config.epochs is None or not self.config.patience or self.valid is None:
            return False
        # Layers that learn only later may yet make it better.
        all_learn = first_step(self.plan.phases, len(self.plan.phases) - 1, self._total()) / self.steps
        return self.epoch - max(self.best_epoch, all_learn) >= self.config.patience

    def finished(self) -> bool:
        """Whether the epochs or the time are used up, or patience is at its end."""
        by_epochs = self.config.epochs is not None and self.epoch >= self.config.epochs
        return by_epochs or self._out_of_time() or (self.step == 0 and self._waited_too_long())

    def _validation_cost(self) -> float:
        """Seconds of the next validation: as the last one; before the first, a forward pass is a third of a step."""
        if self.validation_seconds or self.valid is None or not self.per_second:
            return self.validation_seconds
        return len(self.valid) / (3 * self.per_second * len(self.train) / self.steps)

    def _out_of_time(self) -> bool:
        return self.seconds + self._validation_cost() >= self._limit

    def _call_steps(self) -> int:
        """How many steps the next call makes."""
        wanted = 1 if not self.per_second else max(1, round(CALL_SECONDS * self.per_second))
        if self.per_second and self._limit < math.inf:
            left = self._limit - self.seconds - self._validation_cost()
            wanted = min(wanted, max(1, int(left * self.per_second)))
        if not self._last_phase and not self._by_time:
            wanted = min(wanted, first_step(self.plan.phases, self.phase + 1, self._total()) - self._made())
        return min(wanted, self.steps - self.step)

    def _made(self) -> int:
        return self.epoch * self.steps + self.step

    def _total(self) -> int:
        return self.steps * (self.config.epochs or 1)

    @property
    def _last_phase(self) -> bool:
        return self.phase == len(self.plan.phases) - 1

    def _due_phase(self) -> int:
        """The phase that the next step belongs to; none that has begun comes back."""
        phases = self.plan.phases
        if self._by_time:
            due = phase_at(phases, self.seconds / self._limit)
        else:
            due = max(n for n in range(len(phases)) if first_step(phases, n, self._total()) <= self._made())
        return max(due, self.phase)

    def _seconds_left(self) -> float | None:
        by_time = self._limit - self.seconds
        if self.config.epochs is None or not self.per_second:
            return by_time if by_time < math.inf else None
        return min(by_time, self._seconds_of_epochs())

    def _seconds_of_epochs(self) -> float:
        """How long the epochs that are left take, at the present speed."""
        assert self.config.epochs is not None
        steps = self._total() - self._made()
        return steps / self.per_second + (self.config.epochs - self.epoch) * self._validation_cost()

    def _order(self) -> Sequence[np.ndarray]:
        """Which examples stand in which batch of the present epoch."""
        seed, size = self.config.seed, self.config.batch_size
        if self.config.batch_type == "examples":
            return list(epoch_order(len(self.train), size, seed, self.epoch, self.lengths, self.rows))
        assert self.lengths is not None  # by check_batches
        return token_batches(self.lengths, size, seed, self.epoch, self.rows)

    def fit(self) -> Iterator[Progress | EpochEnd]:
        """Trains to the end, yielding facts; the state may be saved between any two of them.

        Raises:
          TrainingError: the loss is no longer a finite number.
        """
        while not self.finished():
            self.recipe.begin_epoch(self.model, self.epoch)
            order = self._order()
            self.ends = np.cumsum([(batch >= 0).sum() for batch in order])
            key = self.length_keys[0] if self.length_keys else None
            share = (self.peers.index, self.peers.count)
            batches = training_batches(
                self.train, order, key, self.step, self.padded, self.config.accumulate, share
            )  # fmt: skip
            iterator = iter(batches)
            while self.step < self.steps and not self._out_of_time():
                yield self._call(iterator)
            yield self._end_epoch()

    def _call(self, iterator: Any) -> Progress:
        began = time.perf_counter()
        if (due := self._due_phase()) > self.phase:
            self._begin_phase(due)
            self.optimizer.restart()
        count = self._call_steps()
        share = min(1.0, self.seconds / self._limit) if self._by_time else -1.0
        loss, weight, waited, bad = self._steps(
            iterator,
            tf.constant(count, tf.int64),
            tf.constant(self._made(), tf.int64),
            tf.constant(float(self._total())),
            tf.constant(share, tf.float32),
        )
        if int(bad) >= 0:
            raise TrainingError(
                f"The loss was no finite number at step {int(bad) + 1} (epoch {self.epoch + 1}); the last checkpoint is"
                f" kept. Lower --learning-rate (now {self.config.learning_rate:g}), or lower --clip-norm."
            )
        self.sums += float(loss), float(weight)
        (seconds,) = self.peers.agreed(time.perf_counter() - began)
        # The first call of a process compiles, which says nothing of the speed to come.
        self.per_second = count / seconds if self._compiled else 0.0
        self._compiled = True
        self.step += count
        self.seconds += seconds
        self.epoch_seconds += seconds
        self.waited += float(waited)
        done = int(self.ends[self.step - 1]) if self.step else 0
        return Progress(
            self.epoch + 1, self.step, self.steps, float(self.sums[0] / max(self.sums[1], 1e-9)),
            done / self.epoch_seconds, self._seconds_left(),
        )  # fmt: skip

    def _end_epoch(self) -> EpochEnd:
        began = time.perf_counter()
        facts: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "loss": float(self.sums[0] / max(self.sums[1], 1e-9)),
            "steps": self.step,
        }
        improved = True
        if self.valid is not None:
            measured = self.evaluate(self.valid, conclude=True)
            self.tells_little = measured["weight"] < FEW
            scalars = {f"valid_{k}": v for k, v in measured.items() if k != "weight" and isinstance(v, int | float)}
            facts |= scalars
            score = measured[self.recipe.monitor] * (1 if self.recipe.monitor_mode == "max" else -1)
            rank = self.peers.agreed(score, -measured["loss"])
            improved = self.best is None or rank > self.best or self.tells_little
            if improved:
                self.best = rank
        (seconds,) = self.peers.agreed(time.perf_counter() - began)
        done = int(self.ends[self.step - 1]) if self.step else 0
        facts |= {
            "seconds": self.epoch_seconds + seconds,
            "examples_per_second": done / max(self.epoch_seconds, 1e-9),
            "input_share": None if self.config.deterministic else self.waited / max(self.epoch_seconds, 1e-9),
        }
        self.validation_seconds = seconds
        self.seconds += seconds
        self.epoch += 1
        if improved:
            self.best_epoch = self.epoch
        self.step, self.sums, self.epoch_seconds, self.waited = 0, np.zeros(2), 0.0, 0.0
        return EpochEnd(facts, improved, self.finished())

    # The state to go on from

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that training depends on: arrays by name, and numbers as a JSON object."""
        arrays = {f"model/{k}": v for k, v in model_weights(self.model).items()}
        arrays |= {f"random/{i}": v.numpy() for i, v in enumerate(random_states(self.model))}
        arrays |= {f"optimizer/{k}": v.numpy() for k, v in self.optimizer.state().items()}
        numbers = {
            "epoch": self.epoch, "step": self.step, "seconds": self.seconds, "sums": self.sums.tolist(),
            "epoch_seconds": self.epoch_seconds, "waited": self.waited, "best_epoch": self.best_epoch,
            "best": self.best, "validation_seconds": self.validation_seconds, "steps": self.steps,
            "phase": self.phase,
        }  # fmt: skip
        return arrays, numbers

    def restore(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Goes back to a state.

        Raises:
          RunError: the state is of another model or other data.
        """
        if numbers["steps"] != self.steps:
            raise RunError(
                f"The checkpoint is of data with {numbers['steps']} batches an epoch, and this has {self.steps}."
                " Resume with the same data, or start a new run."
            )
        set_model_weights(self.model, {k[6:]: v for k, v in arrays.items() if k.startswith("model/")})
        for name, variables in (
            ("random", {str(i): v for i, v in enumerate(random_states(self.model))}),
            ("optimizer", self.optimizer.state()),
        ):
            for key, variable in variables.items():
                value = arrays.get(f"{name}/{key}")
                if value is None or value.shape != variable.shape:
                    raise RunError(f"The checkpoint lacks {name}/{key}, or holds it in another shape.")
                variable.assign(value)
        spread_random_states(self.strategy, random_states(self.model))
        self.epoch, self.step, self.seconds = numbers["epoch"], numbers["step"], numbers["seconds"]
        self.sums = np.array(numbers["sums"])
        self.epoch_seconds, self.waited = numbers["epoch_seconds"], numbers["waited"]
        self.best_epoch = numbers["best_epoch"]
        self.best = tuple(numbers["best"]) if numbers["best"] is not None else None
        self.validation_seconds = numbers["validation_seconds"]
        if numbers["phase"] > self.phase:
            self._begin_phase(numbers["phase"])
