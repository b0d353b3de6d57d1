"""What the commands do: a run from data to metrics, and its evaluation. The command line is a thin parser over this."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import recipes
from common.cluster import Cluster, cluster
from common.config import TUNING, settings
from common.errors import ConfigError, PeersLost, RunError, Stopped
from common.origin import opened, tuned
from common.progress import display, duration, leave_to_another, say
from common.runs import Run, new_path
from common.session import say_unseen, seed, shared, train, versions


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
    mine = recipes.identity(recipe)
    if run.about["recipe"] != mine:
        raise RunError(f"{run.path} is a run of {run.about['recipe']}, not of {mine}. Name another folder or recipe.")
    _check_writable(run.path)
    return run


def _check_writable(path: Path) -> None:
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise RunError(f"{there} is a file, so {path} cannot be made in it. Name another --run-dir.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{there} cannot be written to. Name another --run-dir, or change its permissions.")


def run(recipe: str, given: Mapping[str, Any], run_dir: Path | None = None, resume: Path | None = None) -> Path | None:
    """Trains and evaluates; returns the run's folder, or None in all but the first of several workers.

    Args:
      recipe: a name or path.
      given: settings that the user gave; the others have their defaults, or are those of the run that goes on.
      run_dir: where the run is or shall be.
      resume: a run that goes on.
    """
    began = time.perf_counter()
    workers = cluster()
    if workers is not None:
        return _run_together(workers, recipe, given, run_dir, resume, began)
    old, config, path, finished = _decided(recipe, given, run_dir, resume)
    if not finished:
        strategy = prepare(config)
        from common.distribute import Peers

        _carry_out(recipe, config, old, path, Peers(strategy), began)
    else:
        _say_finished(recipe, path)
    return path


def _decided(
    recipe: str, given: Mapping[str, Any], run_dir: Path | None, resume: Path | None
) -> tuple[Run | None, Any, Path, bool]:
    """(the run that goes on, the settings, the run's folder, whether nothing is left to do)."""
    old = find(recipe, run_dir, resume)
    config, _ = settings_of(recipe, given, old)
    path = old.path if old else run_dir or new_path(recipe, datetime.now())
    return old, config, path, bool(old and old.metrics() is not None and not old.grown(config))


def settings_of(recipe: str, given: Mapping[str, Any], old: Run | None) -> tuple[Any, dict[str, str]]:
    """All settings of a run that goes on, or of a new one; and where those came from that are no defaults."""
    config_class = recipes.load_config(recipe).Config
    if old is not None:
        return old.merged(config_class, given), dict.fromkeys(settings(config_class), str(old.path))
    if given.get("init_from") is not None:
        values, where = tuned(recipe, given, opened(given["init_from"], recipe))
        return config_class(**values), where
    for name, setting in settings(config_class).items():
        alone = setting.metadata["group"] != TUNING or name == "folds"  # folds are of use without a source, too
        if name in given and not alone and given[name] != setting.default:
            raise ConfigError(f"{setting.flag} is of fine-tuning: name by --init-from the run to begin with, too.")
    return config_class(**given), {}


def _run_together(
    workers: Cluster, recipe: str, given: Mapping[str, Any], run_dir: Path | None, resume: Path | None, began: float
) -> Path | None:
    """A run by several processes, of which worker 0 decides and tells."""
    config_class = recipes.load_config(recipe).Config
    say(f"Waiting until all {len(workers.workers)} workers are there: {', '.join(workers.workers)}")
    if workers.index:
        leave_to_another()
    strategy = _devices(config_class(**given))
    from common.distribute import Peers

    peers, path = Peers(strategy), None
    try:
        peers.check_alike(_command(recipe, given, run_dir, resume))
        mine = peers.together(lambda: _decided(recipe, given, run_dir, resume) if peers.chief else None)
        goes_on, name, finished = peers.told([mine[0] is not None, str(mine[2]), mine[3]] if mine else None)
        path = Path(name)
        old = peers.together(lambda: mine[0] if mine else shared(path, peers) if goes_on else None)
        config, _ = peers.together(lambda: settings_of(recipe, given, old))
        if finished:
            _say_finished(recipe, path)
        else:
            _arithmetic(config)
            _carry_out(recipe, config, old, path, peers, began)
    except Exception as error:
        if not peers.lost(error):
            raise
        raise PeersLost(
            f"Another worker is gone, so this one cannot go on. Start all again{_resuming(path)}; or launch them with"
            " --restarts."
        ) from error
    return path if peers.chief else None


def _resuming(path: Path | None) -> str:
    if path is None or not (path / "config.json").exists():
        return ""
    return f" with --resume {shlex.quote(str(path))} in place of --run-dir, to go on from the last checkpoint"


def _say_finished(recipe: str, path: Path) -> None:
    say(f"{path} is finished; nothing is left to do. More --epochs or --max-minutes would train it further.")
    _next_steps(recipe, path)


def _command(recipe: str, given: Mapping[str, Any], run_dir: Path | None, resume: Path | None) -> dict[str, str]:
    """What must be alike in all workers before any data is read."""
    from common.prepare import code_hash

    flags = {name: value for name, value in given.items() if name not in ("devices", "offline")}
    named = {**flags, "run_dir": run_dir, "resume": resume}
    told = {f"--{name.replace('_', '-')}": str(value) for name, value in named.items() if value is not None}
    code = {"the recipe": Path(recipe).name, "the code (its hash)": code_hash(recipes.folder(recipe))}
    return told | code | {f"the version of {name}": version for name, version in versions().items()}


def _carry_out(recipe: str, config: Any, old: Run | None, path: Path, peers: Any, began: float) -> None:
    """The run, and those within it that are asked for: on folds of the data, and from scratch."""
    try:
        metrics, seconds = train(recipe, config, old, path, peers)
    except Stopped:
        raise Stopped(_go_on(recipe, path, peers) if (path / "config.json").exists() else "Stopped.") from None
    for part in ("valid", "test"):
        if part in metrics:
            scores = {k: v for k, v in metrics[part].items() if isinstance(v, float)}
            say(f"{part}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    _tell_more(metrics)
    say(f"Trained in {duration(seconds)}, {duration(time.perf_counter() - began)} in all.")
    _next_steps(recipe, path)


def _tell_more(metrics: Mapping[str, Any]) -> None:
    """What the run was compared with, and how far its scores can be trusted, for people."""
    from common import comparison

    if interval := metrics.get("interval"):
        say(comparison.doubt(interval))
    if folds := metrics.get("folds"):
        means = (f"{name} {one['mean']:.4f} ± {one['deviation']:.4f}" for name, one in folds["measures"].items())
        say(f"{folds['count']} folds, mean and standard deviation: {', '.join(means)}")
    for line in comparison.lines(metrics.get("comparison") or {}):
        say(line)


def prepare(config: Any) -> Any:
    """TensorFlow set up as the settings want it, before anything else touches it; the strategy."""
    chosen = _devices(config)
    _arithmetic(config)
    return chosen


def _devices(config: Any) -> Any:
    """The strategy."""
    from common.quiet import import_tensorflow

    import_tensorflow()
    from common.distribute import described, strategy

    chosen, why = strategy(config.strategy, config.devices)
    say(f"Strategy: {described(chosen)} ({why})")
    return chosen


def _arithmetic(config: Any) -> None:
    """The precision, and whether operations are deterministic."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    names = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    keras.config.set_dtype_policy(names[config.precision])
    if config.deterministic:
        seed(config.seed)
        tf.config.experimental.enable_op_determinism()


def _go_on(recipe: str, path: Path, peers: Any) -> str:
    if peers.count > 1:
        return f"Stopped. Go on by the same command on all workers{_resuming(path)}."
    return f"Stopped. Go on with: python cli.py run {shlex.quote(recipe)} --resume {shlex.quote(str(path))}"


def _next_steps(recipe: str, path: Path) -> None:
    shown, name = shlex.quote(str(path)), shlex.quote(recipe)
    say(f"Report: {path / 'report.html'}")
    say("Next:")
    about = recipes.load_config(recipe).ABOUT
    say(f"  python cli.py predict {shown} {shlex.quote(about.own_input)}")
    say(f"  python cli.py export {shown} --to exports/{shlex.quote(path.name)}")
    if Run.open(path).about["settings"]["data"]:
        say(f"  python cli.py evaluate {shown} --data {about.own_data}")
    say(f"  python cli.py run {name} --data {about.own_data} --init-from {shown}")


def evaluate(
    target: Path,
    data: str,
    options: Mapping[str, Any],
    named: str | None,
    trust_code: bool,
    devices: str | None = None,
) -> dict[str, Any]:
    """The measures of a run or export over every example of a source, or its test part."""
    from common import endpoints, sources
    from common.prepare import counted, problem_lines, say_notes

    served = endpoints.load(target, named, trust_code, devices)
    config = replace(served.config, **{"column": (), "label_names": None, "limit": None, **options})
    open_source = getattr(served.recipe, "open_source", sources.open_table_source)
    source, notes = sources.whole(data, served.recipe.fields, config, open_source)
    say_notes(notes)
    with display("Evaluating") as shown:
        measured = served.measures(counted(source, shown))
    for line in problem_lines(source):
        say(line)
    say_unseen("evaluated", measured)
    if not measured["examples"]:
        raise ConfigError(f"{data} holds no example to score. Give --data another source.")
    return measured
