"""Whether fine-tuning helped: the source, the tuned model and one from scratch on the same held-out examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common.bootstrap import ALIKE, difference, interval
from common.endpoints import Served, of_model
from common.errors import ConfigError, DataError
from common.files import load_arrays, save_arrays
from common.origin import Origin, data_of
from common.prepare import counted
from common.progress import display, say
from common.runs import Run
from common.sources import limited, picked, share
from common.types import Field, Source, Splits, Tally
from common.weights import set_model_weights

MOST = 2_500  # examples that are compared: intervals are narrow enough, and some recipes are slow to predict
FILE = "source.npz"  # what the source got right, so that a run can go on without it
COMPARED = "compared.npz"  # what all of them got right, to compare several runs by
NEW, OLD = "new", "source's"  # the held-out examples of the new data, and those of the source's own


@dataclass
class Held:
    """Held-out examples.

    Args:
      new: of the run, with the name of the part.
      old: of the run that it is fine-tuned from; None if its data cannot be had.
    """

    new: tuple[str, Source] | None
    old: tuple[str, Source] | None = None

    def given(self) -> dict[str, Source]:
        """By whose they are."""
        named = {NEW: self.new, OLD: self.old}
        return {name: limited(one[1], MOST) for name, one in named.items() if one is not None}


@dataclass
class Rivals:
    """What a fine-tuned model is compared with.

    Args:
      recipe_class: of all, from settings and assets.
      held: what they are compared on.
      strategy: where models are made.
      source: what each held-out example adds to the measure of the source, by whose it is (see `Tally`).
      scratch: the same of a model that was trained on the new data alone.
    """

    recipe_class: Any
    held: Held
    strategy: Any
    source: dict[str, np.ndarray] = field(default_factory=dict)
    scratch: dict[str, np.ndarray] = field(default_factory=dict)

    def add_scratch(self, run: Run, config_class: Any) -> None:
        """The run that was trained on the new data alone."""
        recipe = self.recipe_class(run.config(config_class), run.assets())
        self.scratch = self.parts(recipe, run.load_best(), Held(self.held.new))

    def parts(self, recipe: Any, weights: Mapping[str, np.ndarray], held: Held) -> dict[str, np.ndarray]:
        """What a model makes of held-out examples."""
        with self.strategy.scope():
            model = recipe.build_model()
        set_model_weights(model, dict(weights))
        found = tallies(of_model(recipe, model, recipe.config, self.strategy), held)
        return {name: tally.parts for name, tally in found.items()}

    def all_parts(self, tuned: Mapping[str, Tally]) -> dict[str, np.ndarray]:
        """What each held-out example adds to the measure of each model, by the model's name and whose it is."""
        every = {"source": self.source, "scratch": self.scratch, "tuned": {of: one.parts for of, one in tuned.items()}}
        return {f"{model} {of}": parts for model, each in every.items() for of, parts in each.items()}

    def compared(self, tuned: Mapping[str, Tally]) -> dict[str, Any]:
        """See `compared`."""
        return compared(tuned, self.source, self.scratch, self.held.new[0] if self.held.new else "")


def held_out(splits: Splits) -> tuple[str, Source] | None:
    """(name, source) of the part to compare on: the test part, or the validation part where there is none."""
    for name, source in (("test", splits.test), ("valid", splits.valid)):
        if source is not None:
            return name, source
    return None


def _apart(held: Held, splits: Splits, old: Splits, fields: Sequence[Field]) -> Held:
    """The held-out examples but those that one of the models has trained on; says how many these are."""

    def without(part: tuple[str, Source] | None, train: Source) -> tuple[str, Source] | None:
        if part is None:
            return None
        known = {share(example, fields) for example in train}
        seen = sum(share(example, fields) in known for example in part[1])
        if not seen:
            return part
        say(f"{seen:,} examples of {part[1].name} stand in {train.name}, and are left out of the comparison.")
        return part[0], picked(part[1], "not trained on", fields, lambda place: place not in known)

    return Held(without(held.new, old.train), without(held.old, splits.train))


def _alike(one: Any, other: Any) -> bool:
    """Whether two recipes have a label in common, or no labels; else neither can answer the other's questions."""
    names = [
        {name for axes in recipe.axes().values() for axis in axes.values() for name in axis.labels}
        for recipe in (one, other)
    ]
    return bool(names[0] & names[1]) or not (names[0] or names[1])


def rivals(task: Any, origin: Origin | None, source: Any, splits: Splits, current: Run, peers: Any) -> Rivals:
    """What to compare with, the source's part of which is kept in the run's folder, so that it can go on without it.

    Args:
      task: the recipe of the run.
      source: that of the origin, see `common.transfer.recipe_of`.
    """
    held, recipe_class = Held(held_out(splits)), type(task)
    if source is None or not _alike(task, source):
        origin = None
    if origin is not None:
        try:
            old = data_of(origin, recipe_class)
            held.old = held_out(old)
            held = _apart(held, splits, old, task.fields)
        except (DataError, ConfigError, OSError) as error:
            say(f"Whether the source's own task is forgotten is not measured: {error}")
    if peers.any(held.old is None):  # where one worker does not see the files
        held.old = None
    found = Rivals(recipe_class, held, peers.strategy)
    path = current.path / FILE
    known = path.exists()
    if not peers.any(not known):
        found.source = load_arrays(path)
    elif origin is not None:
        found.source = found.parts(source, origin.weights, held)
        if peers.chief:
            save_arrays(path, found.source)
    return found


def tallies(served: Served, held: Held) -> dict[str, Tally]:
    """What each held-out example adds to the measure of a model."""
    found = {}
    with display("Comparing") as shown:
        for name, source in held.given().items():
            tally = served.tally(counted(source, shown))
            if len(tally.parts):
                found[name] = tally
    return found


def known_to(served: Served, held: tuple[str, Source]) -> dict[str, Any]:
    """A measure of few held-out examples, and between what it lies."""
    tally = served.tally(held[1])
    return {"part": held[0], "examples": len(tally.parts), "measure": tally.measure, "values": interval(tally)}


def doubt(found: Mapping[str, Any]) -> str:
    """A sentence for people on what `known_to` gave."""
    value, low, high = found["values"]
    known = f"{found['measure']} {value:.4f} is known to lie between {low:.4f} and {high:.4f} (95%)"
    if _tells_nothing(found["examples"], low, high):
        known = f"little is known of {found['measure']} on others"
    return (
        f"Warning: the {found['part']} part has only {found['examples']:,} examples, by which {known}."
        " --folds 5 scores on all of the data."
    )


def _tells_nothing(examples: int, low: float, high: float) -> bool:
    """Whether an interval is that of few examples that are all alike, and so but a point."""
    return examples < ALIKE and low == high


def compared(
    tuned: Mapping[str, Tally], source: Mapping[str, np.ndarray], scratch: Mapping[str, np.ndarray], part: str
) -> dict[str, Any]:
    """The measures with intervals of 95%, and their differences on the same examples, as metrics.json holds them.

    Args:
      tuned: of the fine-tuned model, by whose the examples are.
      source, scratch: what the examples add to the measures of these.
      part: of the new data that was compared on.
    """
    found: dict[str, Any] = {}
    for name, tally in tuned.items():
        rows: dict[str, Any] = {"examples": len(tally.parts), "tuned": interval(tally)}
        others = {"source": source.get(name), "scratch": scratch.get(name)}
        for other, parts in others.items():
            if parts is not None and len(parts) == len(tally.parts):
                theirs = replace(tally, parts=parts)
                rows |= {other: interval(theirs), f"tuned_less_{other}": difference(tally, theirs)}
        found[name] = rows
    if not found:
        return {}
    some = next(iter(tuned.values()))
    return {"measure": some.measure, "higher_is_better": some.higher, "part": part, "examples_of": found}


def over_folds(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean and the standard deviation of each measure of some runs.

    >>> over_folds([{"accuracy": 0.5}, {"accuracy": 0.7}])["measures"]["accuracy"]["mean"]
    0.6
    """
    measures = {}
    for name in (key for key, value in measured[0].items() if isinstance(value, float)):
        each = [float(one[name]) for one in measured]
        measures[name] = {"mean": float(np.mean(each)), "deviation": float(np.std(each, ddof=1)), "each": each}
    return {"count": len(measured), "measures": measures}


ROWS = {
    "source": "source", "scratch": "from scratch", "tuned": "fine-tuned", "tuned_less_source": "fine-tuned - source",
    "tuned_less_scratch": "fine-tuned - from scratch",
}  # fmt: skip


def table(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) for people."""
    of = comparison["examples_of"]
    headings = [comparison["measure"]]
    headings += [f"{name} {comparison['part'] if name == NEW else 'held-out'}, {of[name]['examples']:,}" for name in of]
    rows = []
    for key, label in ROWS.items():
        if any(key in one for one in of.values()):
            sign = "+" if "less" in key else ""
            cells = [_shown(one[key], sign) if key in one else "" for one in of.values()]
            rows.append([label, *cells])
    return headings, rows


def _shown(values: tuple[float, float, float], sign: str) -> str:
    value, low, high = (f"{one:{sign}.4f}" for one in values)
    return f"{value} [{low}, {high}]"


def lines(comparison: Mapping[str, Any]) -> list[str]:
    """The table in plain text, and in sentences what it tells; none where nothing was compared."""
    if not comparison:
        return []
    headings, rows = table(comparison)
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
    return [*shown, *verdicts(comparison)]


def verdicts(comparison: Mapping[str, Any]) -> list[str]:
    """What the intervals tell, a sentence each."""
    better, found = 1 if comparison["higher_is_better"] else -1, []
    names = {"source": "the source", "scratch": "training from scratch"}
    for name, rows in comparison["examples_of"].items():
        for other, words in names.items():
            if f"tuned_less_{other}" not in rows:
                continue
            _, low, high = rows[f"tuned_less_{other}"]
            where = "" if name == NEW else " on the source's own task"
            if _tells_nothing(rows["examples"], low, high):
                low, high = -np.inf, np.inf
            if low * better > 0 and high * better > 0:
                found.append(f"Fine-tuned is better than {words}{where}.")
            elif low * better < 0 and high * better < 0:
                remedy = "; --replay 0.2 trains on some of its data, too" if name == OLD else ""
                found.append(f"Fine-tuned is worse than {words}{where}{remedy}.")
            elif name == NEW:
                found.append(f"{rows['examples']:,} examples do not tell whether fine-tuned is better than {words}.")
    return found
