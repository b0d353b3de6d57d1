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
from common.commands.train_messages import (
    format_epoch,
    format_progress,
    print_training_begin,
    print_transfer,
    warn_unseen_labels,
)
from common.config import TUNING, RunConfig, get_config_fields
from common.errors import Interrupted
from common.inference.served_model import Predictor, serve_model
from common.reports.compare import (
    PER_EXAMPLE_METRICS,
    ComparisonModels,
    aggregate_folds,
    compute_per_example_metrics,
    load_comparison_models,
    metric_with_interval,
    select_held_out_split,
)
from common.reports.report import TensorBoardWriter, write_report
from common.runtime.atomic_io import save_npz, write_json
from common.runtime.console import is_printing, print_status, progress_bar, with_progress
from common.runtime.run_dir import Run
from common.runtime.signals import handle_stop_signals
from common.runtime.tensorflow_setup import set_seed
from common.training.base_run import fine_tune_defaults
from common.training.distributed import WorkerGroup
from common.training.trainer import EpochResult, Trainer
from common.training.transfer import FILE, load_transfer_report
from common.training.weights import set_model_weights
from common.types import JsonObject

FEW = 200  # held-out examples; of fewer it is told how little they tell


def train_run(
    recipe: str, config: RunConfig, resumed: Run | None, path: Path, workers: WorkerGroup, fold: Fold | None = None
) -> tuple[JsonObject, float]:
    """Train a run; return (its measures, seconds of training)."""
    started = time.perf_counter()
    context = load_context(recipe, config, resumed, path, workers, fold)
    try:
        agree_on_data(context)
        warn_of_data(context)
        if context.base_run is not None and not context.has_checkpoint:
            check_transfer(context)
        run = open_run(context)
        print_status("Examples: " + ", ".join(f"{name} {count:,}" for name, count in context.counts.items()))
        context.seconds["data"] = time.perf_counter() - started

        folds = _train_folds(context) if context.config.cv_folds else None
        rivals = _load_rivals(context, run) if context.config.init_from is not None and fold is None else None
        trainer = _start_or_resume(context, run)
        print_training_begin(trainer, run)
        _fit(trainer, run)
        context.seconds["training"] = trainer.seconds
        if trainer.valid_is_too_small:
            print_status("The validation part is too small to choose weights by: the last ones are kept.")
        metrics = _evaluate(context, run, trainer, folds, rivals)
        workers.any_worker(False)  # worker 0 has written all: only now may the others leave it
    except KeyboardInterrupt:
        raise Interrupted("Stopped.") from None
    finally:
        context.close()
    return metrics, context.seconds["training"]


# Start or resume


def _start_or_resume(context: RunContext, run: Run) -> Trainer:
    """A trainer with its first weights, or with those of the last checkpoint."""
    config, stores = context.config, context.prepared.stores
    set_seed(config.seed)
    checkpoint = run.load_checkpoint()
    context.workers.assert_identical({"the checkpoint": json.dumps(checkpoint[1]) if checkpoint else "none"})
    transfer_plan = None
    if config.init_from is not None:
        transfer_plan = load_transfer_report(run) if checkpoint else plan_inheritance(context)
    trainer = Trainer(
        context.recipe,
        config,
        stores["train"],
        stores.get("valid"),
        context.workers.strategy,
        checkpoint is None,
        transfer_plan,
    )
    if checkpoint:
        trainer.load_state_dict(*checkpoint)
        print_status(f"Resumed {run.path} at epoch {trainer.epoch + 1}, step {trainer.step}.")
    elif transfer_plan is not None:
        print_transfer(transfer_plan, trainer)
        if context.workers.is_chief:
            write_json(run.path / FILE, transfer_plan.report.as_json())
    return trainer


# Runs within a run


def _train_within(context: RunContext, config: RunConfig, path: Path, fold: Fold | None = None) -> JsonObject:
    """The measures of a run that is kept within another, which goes on where it was.

    Args:
      context: of the outer run, of which more may have been asked for since.
      config: with which the inner one begins.
    """
    resumed = context.workers.run_and_share_errors(lambda: Run.open(path) if (path / "config.json").exists() else None)
    if resumed is not None:
        config = replace(resumed.config(type(config)), **resumed.extended_settings(context.requested))
        if (metrics := resumed.metrics()) is not None and not resumed.extended_settings(config):
            return metrics
    print_status(f"Training in {path}")
    return train_run(context.recipe_path, config, resumed, path, context.workers, fold)[0]


def _train_folds(context: RunContext) -> JsonObject:
    """The measures of a model for each fold of the data, trained on the others and scored on it."""
    count = context.config.cv_folds
    assert count is not None
    config = replace(context.config, cv_folds=None, compare_from_scratch=False)
    metrics = [
        _train_within(context, config, context.path / f"fold-{number + 1}", (number, count)) for number in range(count)
    ]
    return aggregate_folds([fold_metrics["test"] for fold_metrics in metrics])


def _load_rivals(context: RunContext, run: Run) -> ComparisonModels:
    """What the fine-tuned model is compared with; a run from scratch is made where it is asked for."""
    rivals = load_comparison_models(
        context.recipe, context.base_run, context.base_recipe, context.splits, run, context.workers
    )
    if context.config.compare_from_scratch:
        path = context.path / "from_scratch"
        _train_within(context, _make_from_scratch_config(context.recipe_path, context.requested), path)
        rivals.add_from_scratch_run(Run.open(path), type(context.config))
    return rivals


def _make_from_scratch_config(recipe_path: str, config: RunConfig) -> RunConfig:
    """The settings of a run on the same data that begins with nothing: none is of fine-tuning."""
    tuned = {name for name, value in fine_tune_defaults(recipe_path).items() if getattr(config, name) == value}
    defaults = {
        name: setting.default
        for name, setting in get_config_fields(type(config)).items()
        if setting.metadata["group"] == TUNING or name in tuned
    }
    return replace(config, **defaults)


# Fit


@contextmanager
def graceful_interrupt() -> Iterator[list[int]]:
    """Let the first Ctrl-C or SIGTERM within the block only fill the list; a second one interrupts at once."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        # Not by a stream, which may be in the midst of a line of ours: it refuses to be called from within itself.
        with suppress(OSError):
            if is_printing():
                os.write(2, b"\nStopping after this step, with a checkpoint; again to stop at once.\n")

    with handle_stop_signals(handle):
        yield caught


def _fit(trainer: Trainer, run: Run) -> None:
    """Trains to the end, and keeps weights, history and checkpoints in the run's folder.

    Raises:
      Stopped: the user asked for it; the checkpoint is written.
    """
    workers, config = trainer.workers, trainer.config
    record_epoch = _make_epoch_recorder(trainer, run)
    saved = time.monotonic()
    total = trainer.steps * config.epochs if config.epochs else None
    with progress_bar("Training") as shown, graceful_interrupt() as caught:
        for fact in trainer.fit():
            if isinstance(fact, EpochResult):
                record_epoch(fact)
                print_status(format_epoch(fact, config.epochs, trainer.recipe.monitor))
            elif total:
                shown.update((fact.epoch - 1) * fact.steps + fact.step, total, format_progress(fact))
            else:
                assert config.max_minutes is not None
                shown.update(trainer.seconds, config.max_minutes * 60, format_progress(fact))
            is_stopped = workers.any_worker(bool(caught))
            is_due = time.monotonic() - saved > config.checkpoint_minutes * 60
            if workers.is_chief and (isinstance(fact, EpochResult) or is_due or is_stopped):
                run.save_checkpoint(*trainer.state_dict())
                saved = time.monotonic()
            if is_stopped:
                workers.any_worker(False)  # the others leave when worker 0 has saved
                raise Interrupted("Stopped.")


def _make_epoch_recorder(trainer: Trainer, run: Run) -> Callable[[EpochResult], None]:
    """What writes the facts of an epoch, and the weights where they are the best; in worker 0 alone."""
    history = run.history()[: trainer.epoch]
    if not trainer.workers.is_chief:
        return lambda end: None
    curves = TensorBoardWriter(run.path / "tensorboard")

    def record(end: EpochResult) -> None:
        history.append(end.logs)
        curves.add(trainer.epoch, end.logs)
        if end.improved:
            run.save_best(trainer.get_weights())
        run.write_history(history)

    return record


# Evaluate


def _evaluate(
    context: RunContext, run: Run, trainer: Trainer, folds: JsonObject | None, rivals: ComparisonModels | None
) -> JsonObject:
    """The measures of the best weights, which worker 0 writes as the last thing of a run."""
    started = time.perf_counter()
    trainer.workers.any_worker(False)  # the best weights are written
    set_model_weights(trainer.model, run.load_best())
    served = serve_model(context.recipe, trainer.model, context.config, trainer.strategy)
    metrics = _measure_splits(context, served)
    if rivals is not None:
        tallies = compute_per_example_metrics(served, rivals.held_out)
        metrics["comparison"] = rivals.compare(tallies)
        if trainer.workers.is_chief:
            save_npz(run.path / PER_EXAMPLE_METRICS, rivals.to_arrays(tallies))
    held_out = select_held_out_split(context.splits)
    if context.fold is None and held_out is not None and 0 < context.counts.get(held_out[0], 0) < FEW:
        metrics["interval"] = metric_with_interval(served, held_out)
    if folds is not None:
        metrics["folds"] = folds
    context.seconds["evaluation"] = time.perf_counter() - started
    seconds = {name: round(value, 3) for name, value in context.seconds.items()}
    metrics |= {"examples": context.counts, "seconds": seconds}
    if trainer.workers.is_chief:
        write_report(run, metrics)
        run.write_metrics(metrics)
    return metrics


def _measure_splits(context: RunContext, served: Predictor) -> JsonObject:
    """The measures of each part that is not trained on and not empty; counts its examples, too."""
    metrics: JsonObject = {}
    with progress_bar("Evaluating") as shown:
        for name, source in (("valid", context.splits.valid), ("test", context.splits.test)):
            if source is None:
                continue
            measured = served.compute_metrics(with_progress(source, shown))
            if measured["examples"]:
                warn_unseen_labels(name, measured)
                metrics[name] = {key: value for key, value in measured.items() if key != "examples"}
                context.counts[name] = measured["examples"]
    return metrics
