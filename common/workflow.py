"""What the commands do: a run from data to metrics, and its evaluation. The command line is a thin parser over this."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import recipes
from common import __version__
from common.cluster import Cluster, cluster
from common.config import as_json, checked
from common.errors import ConfigError, PeersLost, RunError, Stopped
from common.metrics import UNSEEN
from common.progress import display, duration, leave_to_another, say, tells
from common.recipe import Splits
from common.runs import GROWING, Run, new_path
from common.signals import handled

SAMPLES = 32  # held-out inputs that a run keeps to prove its export with


def versions() -> dict[str, str]:
    """What a run was made with."""
    import keras
    import numpy as np
    import tensorflow as tf

    found = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    return {"kerasserole": __version__, "python": platform.python_version(), **found}


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
    folder = recipes.folder(recipe)
    mine = str(folder) if folder.parent != recipes.HERE else folder.name
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

        _train(recipe, config, old, path, Peers(strategy), began)
    else:
        _say_finished(recipe, path)
    return path


def _decided(
    recipe: str, given: Mapping[str, Any], run_dir: Path | None, resume: Path | None
) -> tuple[Run | None, Any, Path, bool]:
    """(the run that goes on, the settings, the run's folder, whether nothing is left to do)."""
    config_class = recipes.load_config(recipe).Config
    old = find(recipe, run_dir, resume)
    config = old.merged(config_class, given) if old else config_class(**given)
    path = old.path if old else run_dir or new_path(recipe, datetime.now())
    return old, config, path, bool(old and old.metrics() is not None and not _grown(config, old.config(config_class)))


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
        old = peers.together(lambda: mine[0] if mine else _shared(path, peers) if goes_on else None)
        config = old.merged(config_class, given) if old else config_class(**given)
        if finished:
            _say_finished(recipe, path)
        else:
            _arithmetic(config)
            _train(recipe, config, old, path, peers, began)
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


def _grown(config: Any, stored: Any) -> bool:
    return any(getattr(config, name) != getattr(stored, name) for name in GROWING)


def _command(recipe: str, given: Mapping[str, Any], run_dir: Path | None, resume: Path | None) -> dict[str, str]:
    """What must be alike in all workers before any data is read."""
    from common.prepare import code_hash

    flags = {name: value for name, value in given.items() if name not in ("devices", "offline")}
    named = {**flags, "run_dir": run_dir, "resume": resume}
    told = {f"--{name.replace('_', '-')}": str(value) for name, value in named.items() if value is not None}
    code = {"the recipe": Path(recipe).name, "the code (its hash)": code_hash(recipes.folder(recipe))}
    return told | code | {f"the version of {name}": version for name, version in versions().items()}


def _train(recipe: str, config: Any, old: Run | None, path: Path, peers: Any, began: float) -> None:
    joined = time.perf_counter()
    from common.distribute import kernel
    from common.prepare import prepared
    from common.train import Trainer, check_batches

    check_batches(recipes.load(recipe), config)
    lock = peers.together(lambda: old.lock() if old and peers.chief else None)
    going_on = (old.assets(), old.about["data"]["fingerprint"]) if old else ()
    ready = peers.together(lambda: prepared(recipe, config, versions(), *going_on))
    task, config, splits, stores = ready.task, ready.config, ready.splits, ready.stores
    try:
        counts = {name: len(store) for name, store in stores.items()}
        if peers.count > 1:
            learned = hashlib.blake2b(json.dumps(ready.assets, sort_keys=True).encode(), digest_size=8).hexdigest()
            peers.check_alike({
                "the data (its hash)": splits.fingerprint, "what was learned from it (its hash)": learned,
                "its number of examples": str(counts),
            })  # fmt: skip
            # What was fitted to a machine's speed is fitted to that of worker 0.
            config = type(config)(**checked(type(config), peers.told(as_json(config)), "worker 0"))
            task = type(task)(config, ready.assets)
        for doubt in task.doubts():
            say(f"Warning: {doubt}")
        current, lock = peers.together(
            lambda: _begun(recipe, config, old, path, ready, lock) if peers.chief else (old, lock)
        )
        current = peers.together(lambda: current or _shared(path, peers))
        say("Examples: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        seconds = {"data": time.perf_counter() - joined}

        seed(config.seed)
        checkpoint = current.load_checkpoint()
        peers.check_alike({"the checkpoint": json.dumps(checkpoint[1]) if checkpoint else "none"})
        parts = (stores["train"], stores.get("valid"))
        trainer = Trainer(task, config, *parts, peers.strategy, fresh=checkpoint is None)
        if checkpoint:
            trainer.restore(*checkpoint)
            say(f"Resumed {path} at epoch {trainer.epoch + 1}, step {trainer.step}.")
        say(f"{_batches(config, peers)}; LSTM kernel: {kernel()}")
        say(f"Training {trainer.model.count_params():,} weights for {_bound(config)} into {path}")
        _fit(recipe, trainer, current, config)
        seconds["training"] = trainer.seconds
        metrics = _final(task, trainer, current, config, splits, counts, seconds)
        peers.any(False)  # worker 0 has written all: only now may the others leave it
    except KeyboardInterrupt:
        raise Stopped(_go_on(recipe, path, peers) if (path / "config.json").exists() else "Stopped.") from None
    finally:
        ready.close()
        if lock:
            lock.close()
    for part in ("valid", "test"):
        if part in metrics:
            scores = {k: v for k, v in metrics[part].items() if isinstance(v, float)}
            say(f"{part}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    say(f"Trained in {duration(seconds['training'])}, {duration(time.perf_counter() - began)} in all.")
    _next_steps(recipe, path)


def _begun(recipe: str, config: Any, old: Run | None, path: Path, ready: Any, lock: Any) -> tuple[Run, Any]:
    """(the run's folder, made or opened again; what keeps others from it)."""
    if old:
        old.reopen(config)
        return old, lock
    splits = ready.splits
    facts = {
        "versions": versions(),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "data": {
            "notes": list(splits.notes), "fingerprint": splits.fingerprint, "attribution": dict(splits.attribution),
        },
    }  # fmt: skip
    held_out = splits.test or splits.valid or splits.train
    current = Run.create(path, recipe, config, ready.assets, list(islice(held_out, SAMPLES)), facts)
    return current, current.lock()


def _shared(path: Path, peers: Any) -> Run:
    """The run that worker 0 has made."""
    if not (path / "config.json").exists():
        raise RunError(
            f"Worker {peers.index} does not see {path.absolute()}, which worker 0 has made. Name a --run-dir on a disk"
            " that all machines share."
        )
    return Run.open(path)


def _batches(config: Any, peers: Any) -> str:
    """How batches are divided, for people."""
    kind = "pieces" if config.batch_type == "tokens" else "examples"
    replicas, parts = peers.strategy.num_replicas_in_sync, config.accumulate
    share = -(-config.batch_size // (replicas * parts))
    in_parts = f" in {parts} parts" if parts > 1 else ""
    over = f"{replicas} replicas" if replicas > 1 else "one replica"
    return f"Batches of {config.batch_size:,} {kind}{in_parts} on {over}, {share:,} at a time on each"


def _bound(config: Any) -> str:
    if config.epochs is None:
        return f"{config.max_minutes:g} minutes"
    return f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"


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


def seed(value: int) -> None:
    """Starts all random numbers, so that a model built next is the same every time."""
    import keras

    keras.utils.set_random_seed(value)


def _say_unseen(part: str, measured: Mapping[str, Any]) -> None:
    for name, group in measured.items():
        if name.startswith("per_") and UNSEEN in group:
            kind, count = name.removeprefix("per_"), group[UNSEEN]["support"]
            say(f"Warning: the {part} part has {count:,} of a {kind} that training lacks; they count as wrong.")


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Within the block the first Ctrl-C or SIGTERM only fills the list; a second one interrupts at once."""
    caught: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        # Not by a stream, which may be in the midst of a line of ours: it refuses to be called from within itself.
        with suppress(OSError):
            if tells():
                os.write(2, b"\nStopping after this step, with a checkpoint; again to stop at once.\n")

    with handled(handle):
        yield caught


def _fit(recipe: str, trainer: Any, current: Run, config: Any) -> None:
    from common.report import Curves
    from common.train import EpochEnd

    peers = trainer.peers
    history = current.history()[: trainer.epoch]
    curves = Curves(current.path / "tensorboard") if peers.chief else None
    saved = time.monotonic()
    total = trainer.steps * config.epochs if config.epochs else None
    with display("Training") as shown, interruptible() as caught:
        for fact in trainer.fit():
            if isinstance(fact, EpochEnd):
                history.append(fact.facts)
                if curves is not None:
                    curves.add(trainer.epoch, fact.facts)
                    if fact.improved:
                        current.save_best(trainer.weights())
                    current.write_history(history)
                say(_epoch_line(fact, config.epochs, trainer.recipe.monitor))
            else:
                left = "" if fact.seconds_left is None else f", {duration(fact.seconds_left)} left"
                shown.show(
                    (fact.epoch - 1) * fact.steps + fact.step if total else trainer.seconds,
                    total or config.max_minutes * 60,
                    f"epoch {fact.epoch}, loss {fact.loss:.4f}, {fact.examples_per_second:,.0f} examples/s{left}",
                )
            stopped = peers.any(bool(caught))
            late = time.monotonic() - saved > config.checkpoint_minutes * 60
            if peers.chief and (isinstance(fact, EpochEnd) or late or stopped):
                current.save_checkpoint(*trainer.state())
                saved = time.monotonic()
            if stopped:
                peers.any(False)  # the others leave when worker 0 has saved
                raise Stopped(_go_on(recipe, current.path, peers))


def _go_on(recipe: str, path: Path, peers: Any) -> str:
    if peers.count > 1:
        return f"Stopped. Go on by the same command on all workers{_resuming(path)}."
    return f"Stopped. Go on with: python cli.py run {shlex.quote(recipe)} --resume {shlex.quote(str(path))}"


def _epoch_line(fact: Any, epochs: int | None, monitor: str) -> str:
    facts = fact.facts
    of = f"/{epochs}" if epochs else ""
    shown = {k: v for k, v in facts.items() if k in ("loss", "valid_loss", f"valid_{monitor}")}
    rate = f"{facts['examples_per_second']:,.0f} examples/s, {duration(facts['seconds'])}"
    values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
    return f"epoch {facts['epoch']}{of}: {values}, {rate}{' *' if fact.improved else ''}"


def _final(
    task: Any,
    trainer: Any,
    current: Run,
    config: Any,
    splits: Splits,
    counts: dict[str, int],
    seconds: dict[str, float],
) -> dict[str, Any]:
    from common.endpoints import of_model
    from common.prepare import counted
    from common.report import write_report
    from common.weights import set_model_weights

    began = time.perf_counter()
    trainer.peers.any(False)  # the best weights are written
    set_model_weights(trainer.model, current.load_best())
    served = of_model(task, trainer.model, config, trainer.strategy)
    metrics: dict[str, Any] = {}
    with display("Evaluating") as shown:
        for part in ("valid", "test"):
            source = getattr(splits, part)
            measured = served.measures(counted(source, shown)) if source is not None else {"examples": 0}
            if measured["examples"]:
                _say_unseen(part, measured)
                metrics[part] = {k: v for k, v in measured.items() if k != "examples"}
                counts[part] = measured["examples"]
    seconds["evaluation"] = time.perf_counter() - began
    metrics |= {"examples": counts, "seconds": {name: round(value, 3) for name, value in seconds.items()}}
    if trainer.peers.chief:
        write_report(current, metrics)
        current.finish(metrics)
    return metrics


def _next_steps(recipe: str, path: Path) -> None:
    shown, name = shlex.quote(str(path)), shlex.quote(recipe)
    say(f"Report: {path / 'report.html'}")
    say("Next:")
    about = recipes.load_config(recipe).ABOUT
    say(f"  python cli.py predict {shown} {shlex.quote(about.own_input)}")
    say(f"  python cli.py export {shown} --to exports/{shlex.quote(path.name)}")
    if Run.open(path).about["settings"]["data"]:
        say(f"  python cli.py evaluate {shown} --data {about.own_data}")
    else:
        say(f"  python cli.py run {name} --data {about.own_data}")


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
    source, notes = sources.whole(data, served.recipe.fields, config)
    say_notes(notes)
    with display("Evaluating") as shown:
        measured = served.measures(counted(source, shown))
    for line in problem_lines(source):
        say(line)
    _say_unseen("evaluated", measured)
    if not measured["examples"]:
        raise ConfigError(f"{data} holds no example to score. Give --data another source.")
    return measured
