"""One run, from its data to its measures, and the runs within it: on folds of the data, and from scratch.

Its phases: load the data, agree with the other workers, start or resume, fit, evaluate.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from common.commands.run_context import (
    Fold,
    RunContext,
    agree_on_data,
    check_transfer,
    load_context,
    open_run,
    plan_inheritance,
    warn_of_data,
)
from common.commands.train_messages import format_epoch, format_progress, say_training_begins, say_transfer, say_unseen
from common.config import TUNING, RunConfig, settings
from common.errors import Stopped
from common.inference.served_model import Served, of_model
from common.reports import compare
from common.reports.report import Curves, write_report
from common.runtime.atomic_io import save_arrays, write_json
from common.runtime.console import display, say, tells, with_progress
from common.runtime.run_dir import Run
from common.runtime.signals import handled
from common.runtime.tensorflow_setup import seed
from common.training.base_run import tuned_defaults
from common.training.distributed import Peers
from common.training.trainer import EpochEnd, Trainer
from common.training.transfer import FILE, of_run
from common.training.weights import set_model_weights
from common.types import JsonObject

FEW = 200  # held-out examples; of fewer it is told how little they tell


def train(
    recipe: str, config: RunConfig, resumed: Run | None, path: Path, workers: Peers, fold: Fold | None = None
) -> tuple[JsonObject, float]:
    """(the measures, seconds of training) of a run."""
    started = time.perf_counter()
    context = load_context(recipe, config, resumed, path, workers, fold)
    try:
        agree_on_data(context)
        warn_of_data(context)
        if context.base_run is not None and not context.has_checkpoint:
            check_transfer(context)
        run = open_run(context)
        say("Examples: " + ", ".join(f"{name} {count:,}" for name, count in context.counts.items()))
        context.seconds["data"] = time.perf_counter() - started

        folds = _train_folds(context) if context.config.folds else None
        rivals = _load_rivals(context, run) if context.config.init_from is not None and fold is None else None
        trainer = _start_or_resume(context, run)
        say_training_begins(trainer, run)
        _fit(trainer, run)
        context.seconds["training"] = trainer.seconds
        if trainer.tells_little:
            say("The validation part is too small to choose weights by: the last ones are kept.")
        metrics = _evaluate(context, run, trainer, folds, rivals)
        workers.any(False)  # worker 0 has written all: only now may the others leave it
    except KeyboardInterrupt:
        raise Stopped("Stopped.") from None
    finally:
        context.close()
    return metrics, context.seconds["training"]


# Start or resume


def _start_or_resume(context: RunContext, run: Run) -> Trainer:
    """A trainer with its first weights, or with those of the last checkpoint."""
    config, stores = context.config, context.prepared.stores
    seed(config.seed)
    checkpoint = run.load_checkpoint()
    context.workers.check_alike({"the checkpoint": json.dumps(checkpoint[1]) if checkpoint else "none"})
    inherited = None
    if config.init_from is not None:
        inherited = of_run(run) if checkpoint else plan_inheritance(context)
    trainer = Trainer(
        context.recipe,
        config,
        stores["train"],
        stores.get("valid"),
        context.workers.strategy,
        checkpoint is None,
        inherited,
    )
    if checkpoint:
        trainer.restore(*checkpoint)
        say(f"Resumed {run.path} at epoch {trainer.epoch + 1}, step {trainer.step}.")
    elif inherited is not None:
        say_transfer(inherited, trainer)
        if context.workers.chief:
            write_json(run.path / FILE, inherited.report.as_json())
    return trainer


# Runs within a run


def _train_within(context: RunContext, config: RunConfig, path: Path, fold: Fold | None = None) -> JsonObject:
    """The measures of a run that is kept within another, which goes on where it was.

    Args:
      context: of the outer run, of which more may have been asked for since.
      config: with which the inner one begins.
    """
    resumed = context.workers.together(lambda: Run.open(path) if (path / "config.json").exists() else None)
    if resumed is not None:
        config = replace(resumed.config(type(config)), **resumed.grown(context.requested))
        if (metrics := resumed.metrics()) is not None and not resumed.grown(config):
            return metrics
    say(f"Training in {path}")
    return train(context.recipe_path, config, resumed, path, context.workers, fold)[0]


def _train_folds(context: RunContext) -> JsonObject:
    """The measures of a model for each fold of the data, trained on the others and scored on it."""
    count = context.config.folds
    assert count is not None
    config = replace(context.config, folds=None, compare=False)
    metrics = [
        _train_within(context, config, context.path / f"fold-{number + 1}", (number, count)) for number in range(count)
    ]
    return compare.over_folds([fold_metrics["test"] for fold_metrics in metrics])


def _load_rivals(context: RunContext, run: Run) -> compare.Rivals:
    """What the fine-tuned model is compared with; a run from scratch is made where it is asked for."""
    rivals = compare.rivals(context.recipe, context.base_run, context.base_recipe, context.splits, run, context.workers)
    if context.config.compare:
        path = context.path / "scratch"
        _train_within(context, _make_from_scratch_config(context.recipe_path, context.requested), path)
        rivals.add_scratch(Run.open(path), type(context.config))
    return rivals


def _make_from_scratch_config(recipe_path: str, config: RunConfig) -> RunConfig:
    """The settings of a run on the same data that begins with nothing: none is of fine-tuning."""
    tuned = {name for name, value in tuned_defaults(recipe_path).items() if getattr(config, name) == value}
    defaults = {
        name: setting.default
        for name, setting in settings(type(config)).items()
        if setting.metadata["group"] == TUNING or name in tuned
    }
    return replace(config, **defaults)


# Fit


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Within the block the first Ctrl-C or SIGTERM only fills the list; a second one interrupts at once."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        # Not by a stream, which may be in the midst of a line of ours: it refuses to be called from within itself.
        with suppress(OSError):
            if tells():
                os.write(2, b"\nStopping after this step, with a checkpoint; again to stop at once.\n")

    with handled(handle):
        yield caught


def _fit(trainer: Trainer, run: Run) -> None:
    """Trains to the end, and keeps weights, history and checkpoints in the run's folder.

    Raises:
      Stopped: the user asked for it; the checkpoint is written.
    """
    workers, config = trainer.peers, trainer.config
    record_epoch = _make_epoch_recorder(trainer, run)
    saved = time.monotonic()
    total = trainer.steps * config.epochs if config.epochs else None
    with display("Training") as shown, interruptible() as caught:
        for fact in trainer.fit():
            if isinstance(fact, EpochEnd):
                record_epoch(fact)
                say(format_epoch(fact, config.epochs, trainer.recipe.monitor))
            elif total:
                shown.show((fact.epoch - 1) * fact.steps + fact.step, total, format_progress(fact))
            else:
                assert config.max_minutes is not None
                shown.show(trainer.seconds, config.max_minutes * 60, format_progress(fact))
            is_stopped = workers.any(bool(caught))
            is_due = time.monotonic() - saved > config.checkpoint_minutes * 60
            if workers.chief and (isinstance(fact, EpochEnd) or is_due or is_stopped):
                run.save_checkpoint(*trainer.state())
                saved = time.monotonic()
            if is_stopped:
                workers.any(False)  # the others leave when worker 0 has saved
                raise Stopped("Stopped.")


def _make_epoch_recorder(trainer: Trainer, run: Run) -> Callable[[EpochEnd], None]:
    """What writes the facts of an epoch, and the weights where they are the best; in worker 0 alone."""
    history = run.history()[: trainer.epoch]
    if not trainer.peers.chief:
        return lambda end: None
    curves = Curves(run.path / "tensorboard")

    def record(end: EpochEnd) -> None:
        history.append(end.facts)
        curves.add(trainer.epoch, end.facts)
        if end.improved:
            run.save_best(trainer.weights())
        run.write_history(history)

    return record


# Evaluate


def _evaluate(
    context: RunContext, run: Run, trainer: Trainer, folds: JsonObject | None, rivals: compare.Rivals | None
) -> JsonObject:
    """The measures of the best weights, which worker 0 writes as the last thing of a run."""
    started = time.perf_counter()
    trainer.peers.any(False)  # the best weights are written
    set_model_weights(trainer.model, run.load_best())
    served = of_model(context.recipe, trainer.model, context.config, trainer.strategy)
    metrics = _measure_splits(context, served)
    if rivals is not None:
        tallies = compare.tallies(served, rivals.held)
        metrics["comparison"] = rivals.compared(tallies)
        if trainer.peers.chief:
            save_arrays(run.path / compare.COMPARED, rivals.all_parts(tallies))
    held_out = compare.held_out(context.splits)
    if context.fold is None and held_out is not None and 0 < context.counts.get(held_out[0], 0) < FEW:
        metrics["interval"] = compare.known_to(served, held_out)
    if folds is not None:
        metrics["folds"] = folds
    context.seconds["evaluation"] = time.perf_counter() - started
    seconds = {name: round(value, 3) for name, value in context.seconds.items()}
    metrics |= {"examples": context.counts, "seconds": seconds}
    if trainer.peers.chief:
        write_report(run, metrics)
        run.finish(metrics)
    return metrics


def _measure_splits(context: RunContext, served: Served) -> JsonObject:
    """The measures of each part that is not trained on and not empty; counts its examples, too."""
    metrics: JsonObject = {}
    with display("Evaluating") as shown:
        for name, source in (("valid", context.splits.valid), ("test", context.splits.test)):
            if source is None:
                continue
            measured = served.measures(with_progress(source, shown))
            if measured["examples"]:
                say_unseen(name, measured)
                metrics[name] = {key: value for key, value in measured.items() if key != "examples"}
                context.counts[name] = measured["examples"]
    return metrics
