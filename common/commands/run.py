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

from common import discovery
from common.config import TUNING, RunConfig, settings
from common.errors import ConfigError, PeersLost, RunError, Stopped
from common.runtime.console import display, duration, leave_to_another, say, with_progress
from common.runtime.run_dir import Run, new_path
from common.runtime.tensorflow_setup import import_tensorflow, seed, versions
from common.training.base_run import opened, tuned
from common.training.tf_config import Cluster, cluster

if TYPE_CHECKING:
    import tensorflow as tf

    from common.training.distributed import Peers
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


def find(recipe: str, run_dir: Path | None, resume: Path | None) -> Run | None:
    """The run that is to go on, or None if a new one begins.

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
    identity = discovery.identity(recipe)
    if run.about["recipe"] != identity:
        raise RunError(
            f"{run.path} is a run of {run.about['recipe']}, not of {identity}. Name another folder or recipe."
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
    """Trains and evaluates; returns the run's folder, or None in all but the first of several workers.

    Args:
      recipe, explicit, run_dir, resume: see `RunRequest`.
    """
    started = time.perf_counter()
    request = RunRequest(recipe, explicit, run_dir, resume)
    processes = cluster()
    if processes is not None:
        return _run_together(processes, request, started)
    decision = _decide(request)
    if decision.is_finished:
        _say_finished(recipe, decision.path)
    else:
        strategy = prepare(decision.config)
        from common.training.distributed import Peers

        _carry_out(recipe, decision, Peers(strategy), started)
    return decision.path


def _decide(request: RunRequest) -> RunDecision:
    resumed = find(request.recipe, request.run_dir, request.resume)
    config, _ = settings_of(request.recipe, request.explicit, resumed)
    path = resumed.path if resumed else request.run_dir or new_path(request.recipe, datetime.now())
    is_finished = bool(resumed and resumed.metrics() is not None and not resumed.grown(config))
    return RunDecision(resumed, config, path, is_finished)


def settings_of(recipe: str, explicit: Mapping[str, Any], resumed: Run | None) -> tuple[RunConfig, dict[str, str]]:
    """All settings of a run that goes on, or of a new one; and where those came from that are no defaults."""
    config_class = discovery.load_config(recipe).Config
    if resumed is not None:
        return resumed.merged(config_class, explicit), dict.fromkeys(settings(config_class), str(resumed.path))
    if explicit.get("init_from") is not None:
        values, origins = tuned(recipe, explicit, opened(explicit["init_from"], recipe))
        return config_class(**values), origins
    for name, setting in settings(config_class).items():
        is_of_any_run = setting.metadata["group"] != TUNING or name == "folds"  # folds are of use without a source, too
        if name in explicit and not is_of_any_run and explicit[name] != setting.default:
            raise ConfigError(f"{setting.flag} is of fine-tuning: name by --init-from the run to begin with, too.")
    return config_class(**explicit), {}


def _run_together(processes: Cluster, request: RunRequest, started: float) -> Path | None:
    """A run by several processes, of which worker 0 decides and tells."""
    config_class = discovery.load_config(request.recipe).Config
    say(f"Waiting until all {len(processes.workers)} workers are there: {', '.join(processes.workers)}")
    if processes.index:
        leave_to_another()
    strategy = _create_strategy(config_class(**request.explicit))
    from common.training.distributed import Peers

    workers, path = Peers(strategy), None
    try:
        workers.check_alike(_describe_command(request))
        decision = _decide_together(request, workers)
        path = decision.path
        if decision.is_finished:
            _say_finished(request.recipe, path)
        else:
            _set_arithmetic(decision.config)
            _carry_out(request.recipe, decision, workers, started)
    except Exception as error:
        if not workers.lost(error):
            raise
        raise PeersLost(
            "Another worker is gone, so this one cannot go on."
            f" Start all again{_format_resume_hint(path)}; or launch them with --restarts."
        ) from error
    return path if workers.chief else None


def _decide_together(request: RunRequest, workers: Peers) -> RunDecision:
    """What worker 0 decides, in all workers."""
    from common.commands.run_context import shared

    own = workers.together(lambda: _decide(request) if workers.chief else None)
    is_resumed, name, is_finished = workers.told(
        [own.resumed is not None, str(own.path), own.is_finished] if own else None
    )
    path = Path(name)

    def find_resumed() -> Run | None:
        if own:
            return own.resumed
        return shared(path, workers) if is_resumed else None

    resumed = workers.together(find_resumed)
    config, _ = workers.together(lambda: settings_of(request.recipe, request.explicit, resumed))
    return RunDecision(resumed, config, path, is_finished)


def _format_resume_hint(path: Path | None) -> str:
    if path is None or not (path / "config.json").exists():
        return ""
    return f" with --resume {shlex.quote(str(path))} in place of --run-dir, to go on from the last checkpoint"


def _say_finished(recipe: str, path: Path) -> None:
    say(f"{path} is finished; nothing is left to do. More --epochs or --max-minutes would train it further.")
    _say_next_steps(recipe, path)


def _describe_command(request: RunRequest) -> dict[str, str]:
    """What must be alike in all workers before any data is read."""
    from common.training.encoded_cache import code_hash

    flags = {name: value for name, value in request.explicit.items() if name not in ("devices", "offline")}
    flags |= {"run_dir": request.run_dir, "resume": request.resume}
    facts = {f"--{name.replace('_', '-')}": str(value) for name, value in flags.items() if value is not None}
    facts["the recipe"] = Path(request.recipe).name
    facts["the code (its hash)"] = code_hash(discovery.folder(request.recipe))
    return facts | {f"the version of {name}": version for name, version in versions().items()}


def _carry_out(recipe: str, decision: RunDecision, workers: Peers, started: float) -> None:
    """The run, and those within it that are asked for: on folds of the data, and from scratch."""
    from common.commands.train import train

    path = decision.path
    try:
        metrics, seconds = train(recipe, decision.config, decision.resumed, path, workers)
    except Stopped:
        has_begun = (path / "config.json").exists()
        raise Stopped(_stopped_message(recipe, path, workers) if has_begun else "Stopped.") from None
    for name in ("valid", "test"):
        if name in metrics:
            scores = {key: value for key, value in metrics[name].items() if isinstance(value, float)}
            say(f"{name}: " + ", ".join(f"{score} {value:.4f}" for score, value in scores.items()))
    _say_comparison(metrics)
    say(f"Trained in {duration(seconds)}, {duration(time.perf_counter() - started)} in all.")
    _say_next_steps(recipe, path)


def _say_comparison(metrics: JsonObject) -> None:
    """What the run was compared with, and how far its scores can be trusted, for people."""
    from common.reports.compare import doubt, lines

    if interval := metrics.get("interval"):
        say(doubt(interval))
    if folds := metrics.get("folds"):
        scores = folds["measures"].items()
        means = (f"{name} {score['mean']:.4f} ± {score['deviation']:.4f}" for name, score in scores)
        say(f"{folds['count']} folds, mean and standard deviation: {', '.join(means)}")
    for line in lines(metrics.get("comparison") or {}):
        say(line)


def prepare(config: RunConfig) -> tf.distribute.Strategy:
    """TensorFlow set up as the settings want it, before anything else touches it; the strategy."""
    strategy = _create_strategy(config)
    _set_arithmetic(config)
    return strategy


def _create_strategy(config: RunConfig) -> tf.distribute.Strategy:
    import_tensorflow()
    from common.training.distributed import described, strategy

    chosen, reason = strategy(config.strategy, config.devices)
    say(f"Strategy: {described(chosen)} ({reason})")
    return chosen


def _set_arithmetic(config: RunConfig) -> None:
    """The precision, and whether operations are deterministic."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    names = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    keras.config.set_dtype_policy(names[config.precision])
    if config.deterministic:
        seed(config.seed)
        tf.config.experimental.enable_op_determinism()


def _stopped_message(recipe: str, path: Path, workers: Peers) -> str:
    if workers.count > 1:
        return f"Stopped. Go on by the same command on all workers{_format_resume_hint(path)}."
    return f"Stopped. Go on with: python cli.py run {shlex.quote(recipe)} --resume {shlex.quote(str(path))}"


def _say_next_steps(recipe: str, path: Path) -> None:
    shown, name = shlex.quote(str(path)), shlex.quote(recipe)
    say(f"Report: {path / 'report.html'}")
    say("Next:")
    about = discovery.load_config(recipe).ABOUT
    say(f"  python cli.py predict {shown} {shlex.quote(about.own_input)}")
    say(f"  python cli.py export {shown} --to exports/{shlex.quote(path.name)}")
    if Run.open(path).about["settings"]["data"]:
        say(f"  python cli.py evaluate {shown} --data {about.own_data}")
    say(f"  python cli.py run {name} --data {about.own_data} --init-from {shown}")


def evaluate(
    target: Path,
    data: str,
    options: Mapping[str, Any],
    recipe_path: str | None,
    trust_code: bool,
    devices: str | None = None,
) -> JsonObject:
    """The measures of a run or export over every example of a source, or its test part."""
    from common.commands.train_messages import say_unseen
    from common.data.splitting import whole
    from common.inference.served_model import load
    from common.training.encoded_dataset import problem_lines, say_notes

    served = load(target, recipe_path, trust_code, devices)
    config = replace(served.config, **{"column": (), "label_names": None, "limit": None, **options})
    source, notes = whole(data, served.recipe.fields, config, served.recipe.open_source)
    say_notes(notes)
    with display("Evaluating") as shown:
        measured = served.measures(with_progress(source, shown))
    for line in problem_lines(source):
        say(line)
    say_unseen("evaluated", measured)
    if not measured["examples"]:
        raise ConfigError(f"{data} holds no example to score. Give --data another source.")
    return measured
