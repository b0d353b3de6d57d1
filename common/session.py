"""One run, from its data to its measures, and the runs within it: on folds of the data, and from scratch."""

from __future__ import annotations

import hashlib
import json
import os
import platform
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
from common.config import TUNING, checked, settings
from common.config_io import as_json
from common.errors import RunError, Stopped
from common.files import save_arrays, write_json
from common.metrics import UNSEEN
from common.origin import Origin, opened, tuned_defaults
from common.origin import doubts as origin_doubts
from common.progress import display, duration, say, tells
from common.recipe import Splits
from common.runs import Run
from common.signals import handled

FEW = 200  # held-out examples; of fewer it is told how little they tell
SAMPLES = 32  # held-out inputs that a run keeps to prove its export with


def versions() -> dict[str, str]:
    """What a run was made with."""
    import keras
    import numpy as np
    import tensorflow as tf

    found = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    return {"kerasserole": __version__, "python": platform.python_version(), **found}


def seed(value: int) -> None:
    """Starts all random numbers, so that a model built next is the same every time."""
    import keras

    keras.utils.set_random_seed(value)


def train(
    recipe: str, config: Any, old: Run | None, path: Path, peers: Any, fold: tuple[int, int] | None = None
) -> tuple[dict[str, Any], float]:
    """(the measures, seconds of training) of a run."""
    joined = time.perf_counter()
    from common import comparison, transfer
    from common.distribute import kernel
    from common.prepare import prepared
    from common.train import Trainer, check_batches
    from common.tuning import check_plan, parts_of
    from common.weights import named_weights

    recipe_class, asked = recipes.load(recipe), old.asked(config) if old else config
    check_batches(recipe_class, config)
    check_plan(config, list(recipe_class.parts))
    lock = peers.together(lambda: old.lock() if old and peers.chief else None)
    assets, fingerprint = (old.assets(), old.about["data"]["fingerprint"]) if old else (None, None)
    begun = old is not None and (old.path / "checkpoint.npz").exists()
    origin = peers.together(lambda: _origin(recipe, config, begun))
    source = peers.together(lambda: transfer.recipe_of(origin, recipe_class))
    ready = peers.together(lambda: prepared(recipe, config, versions(), assets, fingerprint, origin, fold))
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
        doubts = origin_doubts(origin, splits.train, recipe_class.fields) if origin else []
        for doubt in [*task.doubts(), *doubts]:
            say(f"Warning: {doubt}")
        whose = None if source is None else source.axes()
        if origin is not None and not begun:  # of which nothing may fit: that is known before anything is written
            network, planned = task.build_model(), transfer.Inherited(origin, whose)
            planned.plan(task, network)
            check_plan(config, list(parts_of(network, recipe_class.parts)))
            _tell_unlike(planned.report)
        current, lock = peers.together(
            lambda: _begun(recipe, config, asked, old, path, ready, lock) if peers.chief else (old, lock)
        )
        current = peers.together(lambda: current or shared(path, peers))
        say("Examples: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        seconds = {"data": time.perf_counter() - joined}

        folds = _folds(recipe, config, asked, path, peers) if config.folds else None
        rivals = None
        if config.init_from is not None and fold is None:
            rivals = comparison.rivals(task, origin, source, splits, current, peers)
            if config.compare:
                _within(recipe, _from_scratch(recipe, asked), asked, path / "scratch", peers)
                rivals.add_scratch(Run.open(path / "scratch"), type(config))
        seed(config.seed)
        checkpoint = current.load_checkpoint()
        peers.check_alike({"the checkpoint": json.dumps(checkpoint[1]) if checkpoint else "none"})
        parts = (stores["train"], stores.get("valid"))
        inherited = None
        if config.init_from is not None:
            inherited = transfer.of_run(current) if checkpoint else transfer.Inherited(origin, whose)
        trainer = Trainer(task, config, *parts, peers.strategy, checkpoint is None, inherited)
        if inherited is not None and checkpoint is None:
            _tell_transfer(inherited, trainer, current)
        if checkpoint:
            trainer.restore(*checkpoint)
            say(f"Resumed {path} at epoch {trainer.epoch + 1}, step {trainer.step}.")
        lstm = any("lstm_cell" in path for path, _ in named_weights(trainer.model))
        say(_batches(config, peers) + (f"; LSTM kernel: {kernel()}" if lstm else ""))
        say(f"Training {trainer.model.count_params():,} weights for {_bound(config)} into {path}")
        _fit(trainer, current, config)
        seconds["training"] = trainer.seconds
        if trainer.tells_little:
            say("The validation part is too small to choose weights by: the last ones are kept.")
        metrics = _final(task, trainer, current, config, splits, counts, seconds, folds, rivals, fold)
        peers.any(False)  # worker 0 has written all: only now may the others leave it
    except KeyboardInterrupt:
        raise Stopped("Stopped.") from None
    finally:
        ready.close()
        if lock:
            lock.close()
    return metrics, seconds["training"]


def _within(
    recipe: str, config: Any, asked: Any, path: Path, peers: Any, fold: tuple[int, int] | None = None
) -> dict[str, Any]:
    """The measures of a run that is kept within another, which goes on where it was.

    Args:
      config: with which it begins.
      asked: the settings that the outer run was asked for, of which it may have been given more since.
    """
    old = peers.together(lambda: Run.open(path) if (path / "config.json").exists() else None)
    if old is not None:
        config = replace(old.config(type(config)), **old.grown(asked))
        if (found := old.metrics()) is not None and not old.grown(config):
            return found
    say(f"Training in {path}")
    return train(recipe, config, old, path, peers, fold)[0]


def _folds(recipe: str, config: Any, asked: Any, path: Path, peers: Any) -> dict[str, Any]:
    """The measures of a model for each fold of the data, trained on the others and scored on it."""
    from common.comparison import over_folds

    inner = replace(config, folds=None, compare=False)
    found = [
        _within(recipe, inner, asked, path / f"fold-{number + 1}", peers, (number, config.folds))
        for number in range(config.folds)
    ]
    return over_folds([one["test"] for one in found])


def _origin(recipe: str, config: Any, begun: bool) -> Origin | None:
    """What a run is fine-tuned from; once it has begun, it can do without, unless it trains on that one's data, too."""
    if config.init_from is None:
        return None
    try:
        return opened(config.init_from, recipe)
    except RunError as error:
        if not begun or config.replay:
            raise
        say(f"What is forgotten is not measured: {error}")
        return None


def _from_scratch(recipe: str, config: Any) -> Any:
    """The settings of a run on the same data that begins with nothing: none is of fine-tuning."""
    tuned = {name for name, value in tuned_defaults(recipe).items() if getattr(config, name) == value}
    defaults = {
        name: one.default for name, one in settings(type(config)).items()
        if one.metadata["group"] == TUNING or name in tuned
    }  # fmt: skip
    return replace(config, **defaults)


def _tell_unlike(report: Any) -> None:
    """Labels and the like that are new here and resemble one of the source's, for people."""
    for mine, theirs in report.unlike:
        say(
            f'Warning: "{mine}" is new, and the source has "{theirs}". If they are the same, give them one name, such'
            " as by --label-names, so that what is known of it is kept."
        )


def _tell_transfer(inherited: Any, trainer: Any, current: Run) -> None:
    """What was made of the source's weights, for people and for the run's folder."""
    from common.transfer import FILE
    from common.weights import named_weights

    report = inherited.report
    say(f"Weights of {inherited.origin.path}:")
    for line in report.lines():
        say(line)
    still = {id(variable) for layer in trainer.plan.phases[-1].still for variable in layer.variables}
    fresh = report.kinds()["fresh"]
    random = [path for path, variable in named_weights(trainer.model) if id(variable) in still and path in fresh]
    if random:
        say(
            f"Warning: --freeze keeps {', '.join(random)} as they began, which have nothing of the source. Leave it"
            " out, or freeze fewer parts."
        )
    if trainer.peers.chief:
        write_json(current.path / FILE, report.as_json())


def _begun(recipe: str, config: Any, asked: Any, old: Run | None, path: Path, ready: Any, lock: Any) -> tuple[Run, Any]:
    """(the run's folder, made or opened again; what keeps others from it)."""
    if old:
        old.reopen(config, asked)
        return old, lock
    splits = ready.splits
    facts = {
        "asked": as_json(asked),
        "versions": versions(),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "data": {
            "notes": list(splits.notes), "fingerprint": splits.fingerprint, "attribution": dict(splits.attribution),
        },
    }  # fmt: skip
    held_out = splits.test or splits.valid or splits.train
    current = Run.create(path, recipe, config, ready.assets, list(islice(held_out, SAMPLES)), facts)
    return current, current.lock()


def shared(path: Path, peers: Any) -> Run:
    """The run that worker 0 has made."""
    if not (path / "config.json").exists():
        raise RunError(
            f"Worker {peers.index} does not see {path.absolute()}, which worker 0 has made. Name a --run-dir on a disk"
            " that all machines share."
        )
    return Run.open(path)


def _batches(config: Any, peers: Any) -> str:
    """How batches are divided, for people."""
    kind = "tokens" if config.batch_type == "tokens" else "examples"
    replicas, parts = peers.strategy.num_replicas_in_sync, config.accumulate
    share = -(-config.batch_size // (replicas * parts))
    in_parts = f" in {parts} parts" if parts > 1 else ""
    over = f"{replicas} replicas" if replicas > 1 else "one replica"
    return f"Batches of {config.batch_size:,} {kind}{in_parts} on {over}, {share:,} at a time on each"


def _bound(config: Any) -> str:
    if config.epochs is None:
        return f"{config.max_minutes:g} minutes"
    return f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"


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


def _fit(trainer: Any, current: Run, config: Any) -> None:
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
                raise Stopped("Stopped.")


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
    folds: dict[str, Any] | None,
    rivals: Any,
    fold: tuple[int, int] | None,
) -> dict[str, Any]:
    from common import comparison
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
                say_unseen(part, measured)
                metrics[part] = {k: v for k, v in measured.items() if k != "examples"}
                counts[part] = measured["examples"]
    if rivals is not None:
        tallies = comparison.tallies(served, rivals.held)
        metrics["comparison"] = rivals.compared(tallies)
        if trainer.peers.chief:
            save_arrays(current.path / comparison.COMPARED, rivals.all_parts(tallies))
    if fold is None and (held := comparison.held_out(splits)) is not None and 0 < counts.get(held[0], 0) < FEW:
        metrics["interval"] = comparison.known_to(served, held)
    if folds is not None:
        metrics["folds"] = folds
    seconds["evaluation"] = time.perf_counter() - began
    metrics |= {"examples": counts, "seconds": {name: round(value, 3) for name, value in seconds.items()}}
    if trainer.peers.chief:
        write_report(current, metrics)
        current.finish(metrics)
    return metrics


def say_unseen(part: str, measured: Mapping[str, Any]) -> None:
    for name, group in measured.items():
        if name.startswith("per_") and UNSEEN in group:
            kind, count = name.removeprefix("per_"), group[UNSEEN]["support"]
            say(f"Warning: the {part} part has {count:,} of a {kind} that training lacks; they count as wrong.")
