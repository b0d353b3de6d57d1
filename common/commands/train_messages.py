"""What a training says to people: how it is set up, how it goes, and what was made of another run's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from common.modeling.metrics import UNSEEN
from common.runtime.console import format_duration, print_status
from common.training.distributed import lstm_kernel_name
from common.training.weights import iter_named_weights

if TYPE_CHECKING:
    from common.config import RunConfig
    from common.runtime.run_dir import Run
    from common.training.trainer import EpochResult, Progress, Trainer
    from common.training.transfer import WeightTransferPlan
    from common.types import JsonObject


def print_training_begin(trainer: Trainer, run: Run) -> None:
    """Tell how batches are divided, what computes LSTMs, and how much is trained for how long."""
    has_lstm = any("lstm_cell" in path for path, _ in iter_named_weights(trainer.model))
    print_status(format_batches(trainer) + (f"; LSTM kernel: {lstm_kernel_name()}" if has_lstm else ""))
    length = format_length(trainer.config)
    print_status(f"Training {trainer.model.count_params():,} weights for {length} into {run.path}")


def format_batches(trainer: Trainer) -> str:
    """Format how batches are divided over replicas and parts."""
    config, replicas = trainer.config, trainer.strategy.num_replicas_in_sync
    kind = "tokens" if config.batch_type == "tokens" else "examples"
    size = -(-config.batch_size // (replicas * config.gradient_accumulation_steps))
    in_parts = f" in {config.gradient_accumulation_steps} parts" if config.gradient_accumulation_steps > 1 else ""
    over = f"{replicas} replicas" if replicas > 1 else "one replica"
    return f"Batches of {config.batch_size:,} {kind}{in_parts} on {over}, {size:,} at a time on each"


def format_length(config: RunConfig) -> str:
    """Format how long is trained."""
    if config.epochs is None:
        return f"{config.max_minutes:g} minutes"
    return f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"


def format_progress(progress: Progress) -> str:
    """Format where training stands within an epoch."""
    left = "" if progress.seconds_left is None else f", {format_duration(progress.seconds_left)} left"
    rate = f"{progress.examples_per_second:,.0f} examples/s"
    return f"epoch {progress.epoch}, loss {progress.loss:.4f}, {rate}{left}"


def format_epoch(end: EpochResult, epochs: int | None, monitor: str) -> str:
    """Format the facts of an epoch; a star marks the best so far."""
    facts = end.logs
    total = f"/{epochs}" if epochs else ""
    shown = {name: value for name, value in facts.items() if name in ("loss", "valid_loss", f"valid_{monitor}")}
    rate = f"{facts['examples_per_second']:,.0f} examples/s, {format_duration(facts['seconds'])}"
    values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
    return f"epoch {facts['epoch']}{total}: {values}, {rate}{' *' if end.improved else ''}"


def warn_similar_labels(similar: Iterable[Sequence[str]]) -> None:
    """Warn of labels and the like that are new here and resemble one of the base run's.

    Args:
      similar: pairs, (the new one, the base run's).
    """
    for new, known in similar:
        print_status(
            f'Warning: "{new}" is new, and the base run has "{known}". If they are the same, give them one name, such'
            " as by --label-names, so that what is known of it is kept."
        )


def print_transfer(transfer_plan: WeightTransferPlan, trainer: Trainer) -> None:
    """Tell what was made of the base run's weights, and warn of new ones that are frozen."""
    print_status(f"Weights of {transfer_plan.base_run.path}:")
    for line in transfer_plan.report.format_lines():
        print_status(line)
    frozen = {id(variable) for layer in trainer.plan.phases[-1].frozen_layers for variable in layer.variables}
    initialized = transfer_plan.report.sizes_by_outcome()["initialized"]
    untrained = [
        path for path, variable in iter_named_weights(trainer.model) if id(variable) in frozen and path in initialized
    ]
    if untrained:
        print_status(
            f"Warning: --freeze-through keeps {', '.join(untrained)} as they began, which have nothing of the base run."
            " Leave it out, or freeze fewer parts."
        )


def warn_unseen_labels(part: str, measured: Mapping[str, JsonObject]) -> None:
    """Warn of labels that training lacks."""
    for name, group in measured.items():
        if name.startswith("per_") and UNSEEN in group:
            kind, count = name.removeprefix("per_"), group[UNSEEN]["support"]
            print_status(
                f"Warning: the {part} part has {count:,} of a {kind} that training lacks; they count as wrong."
            )
