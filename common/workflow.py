"""What the commands do: a run from data to metrics, and its evaluation. The command line is a thin parser over this."""

from __future__ import annotations

import os
import platform
import shlex
import signal
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
from common.errors import ConfigError, RunError, Stopped
from common.metrics import UNSEEN
from common.progress import display, duration, say
from common.recipe import Splits
from common.runs import GROWING, Run, new_path

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


def run(recipe: str, given: Mapping[str, Any], run_dir: Path | None = None, resume: Path | None = None) -> Path:
    """Trains and evaluates; returns the run's folder.

    Args:
      recipe: a name or path.
      given: settings that the user gave; the others have their defaults, or are those of the run that goes on.
      run_dir: where the run is or shall be.
      resume: a run that goes on.
    """
    config_class = recipes.load_config(recipe).Config
    old = find(recipe, run_dir, resume)
    config = old.merged(config_class, given) if old else config_class(**given)
    if old and old.metrics() is not None:
        stored = old.config(config_class)
        if all(getattr(config, name) == getattr(stored, name) for name in GROWING):
            say(
                f"{old.path} is finished; nothing is left to do. More --epochs or --max-minutes would train it further."
            )
            _next_steps(recipe, old.path)
            return old.path
    return _train(recipe, config, old, run_dir)


def _train(recipe: str, config: Any, old: Run | None, run_dir: Path | None) -> Path:
    began = time.perf_counter()
    prepare(config)
    from common.distribute import strategy
    from common.prepare import prepared
    from common.train import Trainer, check_batches

    imported = time.perf_counter()
    check_batches(recipes.load(recipe), config)
    lock = old.lock() if old else None
    ready = prepared(recipe, config, versions(), *((old.assets(), old.about["data"]["fingerprint"]) if old else ()))
    task, config, splits, stores = ready.task, ready.config, ready.splits, ready.stores
    path = old.path if old else run_dir or new_path(recipe, datetime.now())
    try:
        for doubt in task.doubts():
            say(f"Warning: {doubt}")
        if old:
            current = old
            current.reopen(config)
        else:
            facts = {
                "versions": versions(),
                "created": datetime.now().astimezone().isoformat(timespec="seconds"),
                "data": {
                    "notes": list(splits.notes), "fingerprint": splits.fingerprint,
                    "attribution": dict(splits.attribution),
                },
            }  # fmt: skip
            held_out = splits.test or splits.valid or splits.train
            samples = list(islice(held_out, SAMPLES))
            current = Run.create(path, recipe, config, ready.assets, samples, facts)
            lock = current.lock()
        counts = {name: len(store) for name, store in stores.items()}
        say("Examples: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        seconds = {"data": time.perf_counter() - imported}

        seed(config.seed)
        checkpoint = current.load_checkpoint()
        parts = (stores["train"], stores.get("valid"))
        trainer = Trainer(task, config, *parts, strategy(), fresh=checkpoint is None)
        if checkpoint:
            trainer.restore(*checkpoint)
            say(f"Resumed {path} at epoch {trainer.epoch + 1}, step {trainer.step}.")
        say(f"Training {trainer.model.count_params():,} weights for {_bound(config)} into {path}")
        _fit(recipe, trainer, current, config)
        seconds["training"] = trainer.seconds
        metrics = _final(task, trainer.model, current, config, splits, counts, seconds)
    except KeyboardInterrupt:
        raise Stopped(_go_on(recipe, path) if (path / "config.json").exists() else "Stopped.") from None
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
    return path


def _bound(config: Any) -> str:
    if config.epochs is None:
        return f"{config.max_minutes:g} minutes"
    return f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"


def prepare(config: Any) -> None:
    """TensorFlow set up as the settings want it, before anything else touches it."""
    from common.quiet import import_tensorflow

    tf = import_tensorflow()
    import keras

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
            os.write(2, b"\nStopping after this step, with a checkpoint; again to stop at once.\n")

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _fit(recipe: str, trainer: Any, current: Run, config: Any) -> None:
    from common.report import Curves
    from common.train import EpochEnd

    history = current.history()[: trainer.epoch]
    curves = Curves(current.path / "tensorboard")
    saved = time.monotonic()
    total = trainer.steps * config.epochs if config.epochs else None
    with display("Training") as shown, interruptible() as caught:
        for fact in trainer.fit():
            if isinstance(fact, EpochEnd):
                history.append(fact.facts)
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
            late = time.monotonic() - saved > config.checkpoint_minutes * 60
            if isinstance(fact, EpochEnd) or late or caught:
                current.save_checkpoint(*trainer.state())
                saved = time.monotonic()
            if caught:
                raise Stopped(_go_on(recipe, current.path))


def _go_on(recipe: str, path: Path) -> str:
    return f"Stopped. Go on with: python cli.py run {shlex.quote(recipe)} --resume {shlex.quote(str(path))}"


def _epoch_line(fact: Any, epochs: int | None, monitor: str) -> str:
    facts = fact.facts
    of = f"/{epochs}" if epochs else ""
    shown = {k: v for k, v in facts.items() if k in ("loss", "valid_loss", f"valid_{monitor}")}
    rate = f"{facts['examples_per_second']:,.0f} examples/s, {duration(facts['seconds'])}"
    values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
    return f"epoch {facts['epoch']}{of}: {values}, {rate}{' *' if fact.improved else ''}"


def _final(
    task: Any, model: Any, current: Run, config: Any, splits: Splits, counts: dict[str, int], seconds: dict[str, float]
) -> dict[str, Any]:
    from common.endpoints import of_model
    from common.prepare import counted
    from common.report import write_report
    from common.weights import set_model_weights

    began = time.perf_counter()
    set_model_weights(model, current.load_best())
    served = of_model(task, model, config)
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
    target: Path, data: str, options: Mapping[str, Any], named: str | None, trust_code: bool
) -> dict[str, Any]:
    """The measures of a run or export over every example of a source, or its test part."""
    from common import endpoints, sources
    from common.prepare import counted, problem_lines, say_notes

    served = endpoints.load(target, named, trust_code)
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
