"""What a training begins with, found out in this order: its data, what it is fine-tuned from, the run's folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO

from common.commands.train_messages import warn_similar_labels
from common.config import RunConfig, validate_config_values
from common.config_io import config_to_dict
from common.discovery import load_recipe
from common.errors import RunError
from common.recipe import Recipe
from common.runtime.console import print_status
from common.runtime.run_dir import Run
from common.runtime.tensorflow_setup import library_versions
from common.training.base_run import BaseRun, load_base_run, script_mismatch_warnings
from common.training.distributed import WorkerGroup
from common.training.encoded_dataset import PreparedRun, prepare_run
from common.training.phases import group_layers, validate_freeze_options
from common.training.training_setup import validate_batch_type
from common.training.transfer import WeightTransferPlan, make_base_recipe
from common.types import Splits

SAMPLES = 32  # held-out inputs that a run keeps to prove its export with

Fold = tuple[int, int]  # (number from 0, of how many)


@dataclass
class RunContext:
    """What the phases of a training share.

    Args:
      recipe_path: a name or path.
      config: the settings, those that depend on the data filled in.
      requested: the settings as they were asked for.
      path: the run's folder.
      workers: the processes that train together.
      fold: on which of the folds of the data this run is scored; None for a run of its own.
      resumed: the run that goes on; None for a new one.
      lock: keeps other processes from the run's folder as long as it is open.
      base_run: what the run is fine-tuned from; None also where a run that goes on does without.
      base_recipe: the recipe of the base run, if it is more than a file of weights.
      prepared: the data.
      counts: numbers of examples, by part.
      seconds: by phase.
    """

    recipe_path: str
    config: RunConfig
    requested: RunConfig
    path: Path
    workers: WorkerGroup
    fold: Fold | None
    resumed: Run | None
    lock: IO[str] | None
    base_run: BaseRun | None
    base_recipe: Recipe | None
    prepared: PreparedRun
    recipe: Recipe
    counts: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def splits(self) -> Splits:
        return self.prepared.splits

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run goes on from a state of its own."""
        return self.resumed is not None and _has_checkpoint(self.resumed)

    def close(self) -> None:
        """Remove what is not kept, and let others into the run's folder."""
        self.prepared.close()
        if self.lock:
            self.lock.close()


# Load


def load_context(
    recipe_path: str, config: RunConfig, resumed: Run | None, path: Path, workers: WorkerGroup, fold: Fold | None
) -> RunContext:
    """Lock the run that goes on, and read and encode the data."""
    recipe_class = load_recipe(recipe_path)
    requested = resumed.requested_settings(config) if resumed else config
    validate_batch_type(recipe_class, config)
    validate_freeze_options(config, list(recipe_class.layer_groups))
    lock = workers.run_and_share_errors(lambda: resumed.lock() if resumed and workers.is_chief else None)
    assets = resumed.assets() if resumed else None
    fingerprint = resumed.metadata["data"]["fingerprint"] if resumed else None
    has_checkpoint = resumed is not None and _has_checkpoint(resumed)
    base_run = workers.run_and_share_errors(lambda: _open_base_run(recipe_path, config, has_checkpoint))
    base_recipe = workers.run_and_share_errors(lambda: make_base_recipe(base_run, recipe_class))
    data = workers.run_and_share_errors(
        lambda: prepare_run(recipe_path, config, library_versions(), assets, fingerprint, base_run, fold)
    )
    return RunContext(
        recipe_path=recipe_path,
        config=data.config,
        requested=requested,
        path=path,
        workers=workers,
        fold=fold,
        resumed=resumed,
        lock=lock,
        base_run=base_run,
        base_recipe=base_recipe,
        prepared=data,
        recipe=data.recipe,
        counts={name: len(store) for name, store in data.stores.items()},
    )


def _has_checkpoint(run: Run) -> bool:
    return (run.path / "checkpoint.npz").exists()


def _open_base_run(recipe_path: str, config: RunConfig, has_checkpoint: bool) -> BaseRun | None:
    """What a run is fine-tuned from; once it has begun, it can do without, unless it trains on that one's data, too."""
    if config.init_from is None:
        return None
    try:
        return load_base_run(config.init_from, recipe_path)
    except RunError as error:
        if not has_checkpoint or config.replay_ratio:
            raise
        print_status(f"What is forgotten is not measured: {error}")
        return None


# Agree


def agree_on_data(context: RunContext) -> None:
    """Check that all workers have the same data, and take over worker 0's settings.

    Raises:
      RunError: they have not.
    """
    workers, assets = context.workers, context.prepared.assets
    if workers.count == 1:
        return
    learned = hashlib.blake2b(json.dumps(assets, sort_keys=True).encode(), digest_size=8).hexdigest()
    workers.assert_identical(
        {
            "the data (its hash)": context.splits.fingerprint,
            "what was learned from it (its hash)": learned,
            "its number of examples": str(context.counts),
        }
    )
    # What was fitted to a machine's speed is fitted to that of worker 0.
    config_class = type(context.config)
    values = validate_config_values(config_class, workers.broadcast_json(config_to_dict(context.config)), "worker 0")
    agreed = config_class(**values)
    if agreed != context.config:
        context.config = agreed
        context.recipe = type(context.recipe)(agreed, assets)


def warn_of_data(context: RunContext) -> None:
    warnings = context.recipe.data_warnings()
    if context.base_run is not None:
        warnings = [*warnings, *script_mismatch_warnings(context.base_run, context.splits.train, context.recipe.fields)]
    for warning in warnings:
        print_status(f"Warning: {warning}")


def check_transfer(context: RunContext) -> None:
    """Work out what a new run will have of its base run, before anything is written.

    Raises:
      RunError: nothing fits.
      ConfigError: the phases of the training do not fit the network.
    """
    network = context.recipe.build_model()
    transfer_plan = plan_inheritance(context)
    transfer_plan.match_weights(context.recipe, network)
    validate_freeze_options(context.config, list(group_layers(network, context.recipe.layer_groups)))
    warn_similar_labels(transfer_plan.report.similar_labels)


def plan_inheritance(context: RunContext) -> WeightTransferPlan:
    assert context.base_run is not None
    axes = None if context.base_recipe is None else context.base_recipe.get_weight_axes()
    return WeightTransferPlan(context.base_run, axes)


# The folder


def open_run(context: RunContext) -> Run:
    """Open the run's folder, made or opened again by worker 0, and locked."""
    workers = context.workers
    run = workers.run_and_share_errors(lambda: _create_or_reopen(context) if workers.is_chief else context.resumed)
    return workers.run_and_share_errors(lambda: run or open_shared_run(context.path, workers))


def _create_or_reopen(context: RunContext) -> Run:
    if context.resumed:
        context.resumed.mark_unfinished(context.config, context.requested)
        return context.resumed
    splits = context.splits
    facts = {
        "requested_settings": config_to_dict(context.requested),
        "versions": library_versions(),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "data": {
            "descriptions": list(splits.descriptions),
            "fingerprint": splits.fingerprint,
            "attribution": dict(splits.attribution),
        },
    }
    held_out = splits.test or splits.valid or splits.train
    samples = list(islice(held_out, SAMPLES))
    run = Run.create(context.path, context.recipe_path, context.config, context.prepared.assets, samples, facts)
    context.lock = run.lock()
    return run


def open_shared_run(path: Path, workers: WorkerGroup) -> Run:
    """Open the run that worker 0 has made."""
    if not (path / "config.json").exists():
        raise RunError(
            f"Worker {workers.index} does not see {path.absolute()}, which worker 0 has made. Name a --run-dir on a"
            " disk that all machines share."
        )
    return Run.open(path)
