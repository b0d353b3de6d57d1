"""What the commands do: a run from data to metrics, and its evaluation. The command line is a thin parser over this."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config import TUNING, RunConfig, get_config_fields
from common.discovery import load_recipe_config, recipe_dir, recipe_id
from common.errors import ConfigError, Interrupted, RunError, WorkerLostError
from common.runtime.console import format_duration, mute, print_status, progress_bar, with_progress
from common.runtime.run_dir import Run, make_run_path
from common.runtime.tensorflow_setup import import_tensorflow, library_versions, set_seed
from common.training.base_run import load_base_run, resolve_fine_tune_settings
from common.training.tf_config import WorkerSpec, read_tf_config

if TYPE_CHECKING:
    import tensorflow as tf

    from common.training.distributed import WorkerGroup
    from common.types import JsonObject


@dataclass(frozen=True)
class RunRequest:
    """What a person asks `run` for.

    Args:
      recipe: a name or path.
      explicit: settings that the user gave; the others have their defaults, or are those of the run that goes on.
      run_dir: where the run is or shall be.
      resume: a run that goes on.
    """

    recipe: str
    explicit: Mapping[str, Any]
    run_dir: Path | None = None
    resume: Path | None = None


@dataclass(frozen=True)
class RunDecision:
    """What is made of a request.

    Args:
      resumed: the run that goes on; None for a new one.
      path: the run's folder.
      is_finished: nothing is left to do.
    """

    resumed: Run | None
    config: RunConfig
    path: Path
    is_finished: bool


def find_run_to_resume(recipe: str, run_dir: Path | None, resume: Path | None) -> Run | None:
    """Return the run that is to go on, or None if a new one begins.

    Raises:
      RunError: the folder holds something else, a run of another recipe, or cannot be written.
    """
    if resume is not None:
        run = Run.open(resume)
    elif run_dir is None or not run_dir.exists():
        _check_writable(run_dir or Path("runs"))
        return None
    elif not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file, not a folder. Name a new or empty folder by --run-dir.")
    elif (run_dir / "config.json").exists():
        run = Run.open(run_dir)
    else:
        if any(run_dir.iterdir()):
            raise RunError(f"{run_dir} holds files but no run. Name a new or empty folder by --run-dir.")
        _check_writable(run_dir)
        return None
    identity = recipe_id(recipe)
    if run.metadata["recipe"] != identity:
        raise RunError(
            f"{run.path} is a run of {run.metadata['recipe']}, not of {identity}. Name another folder or recipe."
        )
    _check_writable(run.path)
    return run


def _check_writable(path: Path) -> None:
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise RunError(f"{existing} is a file, so {path} cannot be made in it. Name another --run-dir.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{existing} cannot be written to. Name another --run-dir, or change its permissions.")


def run(
    recipe: str, explicit: Mapping[str, Any], run_dir: Path | None = None, resume: Path | None = None
) -> Path | None:
    """Train and evaluate; return the run's folder, or None in all but the first of several workers.

    Args:
      recipe, explicit, run_dir, resume: see `RunRequest`.
    """
    started = time.perf_counter()
    request = RunRequest(recipe, explicit, run_dir, resume)
    processes = read_tf_config()
    if processes is not None:
        return _run_together(processes, request, started)
    decision = _decide(request)
    if decision.is_finished:
        _say_finished(recipe, decision.path)
    else:
        strategy = setup_tensorflow(decision.config)
        from common.training.distributed import WorkerGroup

        _carry_out(recipe, decision, WorkerGroup(strategy), started)
    return decision.path


def _decide(request: RunRequest) -> RunDecision:
    resumed = find_run_to_resume(request.recipe, request.run_dir, request.resume)
    config, _ = resolve_settings(request.recipe, request.explicit, resumed)
    path = resumed.path if resumed else request.run_dir or make_run_path(request.recipe, datetime.now())
    is_finished = bool(resumed and resumed.metrics() is not None and not resumed.extended_settings(config))
    return RunDecision(resumed, config, path, is_finished)


def resolve_settings(recipe: str, explicit: Mapping[str, Any], resumed: Run | None) -> tuple[RunConfig, dict[str, str]]:
    """Return all settings of a run that goes on, or of a new one; and where those came from that are no defaults."""
    config_class = load_recipe_config(recipe).Config
    if resumed is not None:
        return resumed.resume_config(config_class, explicit), dict.fromkeys(
            get_config_fields(config_class), str(resumed.path)
        )
    if explicit.get("init_from") is not None:
        values, origins = resolve_fine_tune_settings(recipe, explicit, load_base_run(explicit["init_from"], recipe))
        return config_class(**values), origins
    for name, setting in get_config_fields(config_class).items():
        is_of_any_run = (
            setting.metadata["group"] != TUNING or name == "cv_folds"
        )  # folds are of use without a source, too
        if name in explicit and not is_of_any_run and explicit[name] != setting.default:
            raise ConfigError(f"{setting.flag} is of fine-tuning: name by --init-from the run to begin with, too.")
    return config_class(**explicit), {}


def _run_together(processes: WorkerSpec, request: RunRequest, started: float) -> Path | None:
    """A run by several processes, of which worker 0 decides and tells."""
    config_class = load_recipe_config(request.recipe).Config
    print_status(f"Waiting until all {len(processes.workers)} workers are there: {', '.join(processes.workers)}")
    if processes.index:
        mute()
    strategy = _create_strategy(config_class(**request.explicit))
    from common.training.distributed import WorkerGroup

    workers, path = WorkerGroup(strategy), None
    try:
        workers.assert_identical(_describe_command(request))
        decision = _decide_together(request, workers)
        path = decision.path
        if decision.is_finished:
            _say_finished(request.recipe, path)
        else:
            _set_arithmetic(decision.config)
            _carry_out(request.recipe, decision, workers, started)
    except Exception as error:
        if not workers.is_worker_failure(error):
            raise
        raise WorkerLostError(
            "Another worker is gone, so this one cannot go on."
            f" Start all again{_format_resume_hint(path)}; or launch them with --max-restarts."
        ) from error
    return path if workers.is_chief else None


def _decide_together(request: RunRequest, workers: WorkerGroup) -> RunDecision:
    """What worker 0 decides, in all workers."""
    from common.commands.run_context import open_shared_run

    own = workers.run_and_share_errors(lambda: _decide(request) if workers.is_chief else None)
    is_resumed, name, is_finished = workers.broadcast_json(
        [own.resumed is not None, str(own.path), own.is_finished] if own else None
    )
    path = Path(name)

    def find_resumed() -> Run | None:
        if own:
            return own.resumed
        return open_shared_run(path, workers) if is_resumed else None

    resumed = workers.run_and_share_errors(find_resumed)
    config, _ = workers.run_and_share_errors(lambda: resolve_settings(request.recipe, request.explicit, resumed))
    return RunDecision(resumed, config, path, is_finished)


def _format_resume_hint(path: Path | None) -> str:
    if path is None or not (path / "config.json").exists():
        return ""
    return f" with --resume {shlex.quote(str(path))} in place of --run-dir, to go on from the last checkpoint"


def _say_finished(recipe: str, path: Path) -> None:
    print_status(f"{path} is finished; nothing is left to do. More --epochs or --max-minutes would train it further.")
    _say_next_steps(recipe, path)


def _describe_command(request: RunRequest) -> dict[str, str]:
    """What must be alike in all workers before any data is read."""
    from common.training.encoded_cache import code_hash

    flags = {name: value for name, value in request.explicit.items() if name not in ("devices", "offline")}
    flags |= {"run_dir": request.run_dir, "resume": request.resume}
    facts = {f"--{name.replace('_', '-')}": str(value) for name, value in flags.items() if value is not None}
    facts["the recipe"] = Path(request.recipe).name
    facts["the code (its hash)"] = code_hash(recipe_dir(request.recipe))
    return facts | {f"the version of {name}": version for name, version in library_versions().items()}


def _carry_out(recipe: str, decision: RunDecision, workers: WorkerGroup, started: float) -> None:
    """The run, and those within it that are asked for: on folds of the data, and from scratch."""
    from common.commands.train import train_run

    path = decision.path
    try:
        metrics, seconds = train_run(recipe, decision.config, decision.resumed, path, workers)
    except Interrupted:
        has_begun = (path / "config.json").exists()
        raise Interrupted(_stopped_message(recipe, path, workers) if has_begun else "Stopped.") from None
    for name in ("valid", "test"):
        if name in metrics:
            scores = {key: value for key, value in metrics[name].items() if isinstance(value, float)}
            print_status(f"{name}: " + ", ".join(f"{score} {value:.4f}" for score, value in scores.items()))
    _say_comparison(metrics)
    print_status(f"Trained in {format_duration(seconds)}, {format_duration(time.perf_counter() - started)} in all.")
    _say_next_steps(recipe, path)


def _say_comparison(metrics: JsonObject) -> None:
    """What the run was compared with, and how far its scores can be trusted, for people."""
    from common.reports.compare import format_lines, format_small_sample_warning

    if interval := metrics.get("interval"):
        print_status(format_small_sample_warning(interval))
    if folds := metrics.get("folds"):
        scores = folds["metrics"].items()
        means = (f"{name} {score['mean']:.4f} ± {score['std']:.4f}" for name, score in scores)
        print_status(f"{folds['count']} folds, mean and standard deviation: {', '.join(means)}")
    for line in format_lines(metrics.get("comparison") or {}):
        print_status(line)


def setup_tensorflow(config: RunConfig) -> tf.distribute.Strategy:
    """Set up TensorFlow as the settings want it, before anything else touches it; return the strategy."""
    strategy = _create_strategy(config)
    _set_arithmetic(config)
    return strategy


def _create_strategy(config: RunConfig) -> tf.distribute.Strategy:
    import_tensorflow()
    from common.training.distributed import create_strategy, describe_strategy

    chosen, reason = create_strategy(config.strategy, config.devices)
    print_status(f"Strategy: {describe_strategy(chosen)} ({reason})")
    return chosen


def _set_arithmetic(config: RunConfig) -> None:
    """The precision, and whether operations are deterministic."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.config.set_dtype_policy(config.precision)
    if config.deterministic:
        set_seed(config.seed)
        tf.config.experimental.enable_op_determinism()


def _stopped_message(recipe: str, path: Path, workers: WorkerGroup) -> str:
    if workers.count > 1:
        return f"Stopped. Go on by the same command on all workers{_format_resume_hint(path)}."
    return f"Stopped. Go on with: python cli.py run {shlex.quote(recipe)} --resume {shlex.quote(str(path))}"


def _say_next_steps(recipe: str, path: Path) -> None:
    shown, name = shlex.quote(str(path)), shlex.quote(recipe)
    print_status(f"Report: {path / 'report.html'}")
    print_status("Next:")
    about = load_recipe_config(recipe).ABOUT
    print_status(f"  python cli.py predict {shown} {shlex.quote(about.example_input)}")
    print_status(f"  python cli.py export {shown} --output-dir exports/{shlex.quote(path.name)}")
    if Run.open(path).metadata["settings"]["data"]:
        print_status(f"  python cli.py evaluate {shown} --data {about.example_data}")
    print_status(f"  python cli.py run {name} --data {about.example_data} --init-from {shown}")


def evaluate(
    target: Path,
    data: str,
    options: Mapping[str, Any],
    recipe_path: str | None,
    trust_code: bool,
    devices: str | None = None,
) -> JsonObject:
    """Return the measures of a run or export over every example of a source, or its test part."""
    from common.commands.train_messages import warn_unseen_labels
    from common.data.splitting import load_single_source
    from common.inference.served_model import load_predictor
    from common.training.encoded_dataset import format_row_errors, log_data_notes

    served = load_predictor(target, recipe_path, trust_code, devices)
    config = replace(served.config, **{"column": (), "label_names": None, "limit": None, **options})
    source, notes = load_single_source(data, served.recipe.fields, config, served.recipe.open_source)
    log_data_notes(notes)
    with progress_bar("Evaluating") as shown:
        measured = served.compute_metrics(with_progress(source, shown))
    for line in format_row_errors(source):
        print_status(line)
    warn_unseen_labels("evaluated", measured)
    if not measured["examples"]:
        raise ConfigError(f"{data} holds no example to score. Give --data another source.")
    return measured
