"""Whether fine-tuning helped: the source, the tuned model and one from scratch on the same held-out examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from common.data.splitting import limited, picked, share
from common.errors import ConfigError, DataError
from common.inference.served_model import Served, of_model
from common.modeling.bootstrap import ALIKE, difference, interval
from common.recipe import Recipe
from common.runtime.atomic_io import load_arrays, save_arrays
from common.runtime.console import display, say, with_progress
from common.runtime.run_dir import Run
from common.training.base_run import Origin, data_of
from common.training.weights import set_model_weights
from common.types import Field, JsonObject, Source, Splits, Tally

if TYPE_CHECKING:
    import tensorflow as tf

    from common.config import RunConfig
    from common.training.distributed import Peers

MAX_EXAMPLES = 2_500  # examples that are compared: intervals are narrow enough, and some recipes are slow to predict
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
        parts = {NEW: self.new, OLD: self.old}
        return {name: limited(part[1], MAX_EXAMPLES) for name, part in parts.items() if part is not None}


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

    recipe_class: type[Recipe]
    held: Held
    strategy: tf.distribute.Strategy
    source: dict[str, np.ndarray] = field(default_factory=dict)
    scratch: dict[str, np.ndarray] = field(default_factory=dict)

    def add_scratch(self, run: Run, config_class: type[RunConfig]) -> None:
        """The run that was trained on the new data alone."""
        config = run.config(config_class)
        recipe = self.recipe_class(config, run.assets())
        self.scratch = self.parts(recipe, config, run.load_best(), Held(self.held.new))

    def parts(
        self, recipe: Recipe, config: RunConfig, weights: Mapping[str, np.ndarray], held: Held
    ) -> dict[str, np.ndarray]:
        """What a model makes of held-out examples."""
        with self.strategy.scope():
            model = recipe.build_model()
        set_model_weights(model, dict(weights))
        by_owner = tallies(of_model(recipe, model, config, self.strategy), held)
        return {owner: tally.parts for owner, tally in by_owner.items()}

    def all_parts(self, tuned: Mapping[str, Tally]) -> dict[str, np.ndarray]:
        """What each held-out example adds to the measure of each model, by the model's name and whose it is."""
        tuned_parts = {owner: tally.parts for owner, tally in tuned.items()}
        models = {"source": self.source, "scratch": self.scratch, "tuned": tuned_parts}
        return {f"{model} {owner}": parts for model, by_owner in models.items() for owner, parts in by_owner.items()}

    def compared(self, tuned: Mapping[str, Tally]) -> JsonObject:
        """See `compared`."""
        return compared(tuned, self.source, self.scratch, self.held.new[0] if self.held.new else "")


def held_out(splits: Splits) -> tuple[str, Source] | None:
    """(name, source) of the part to compare on: the test part, or the validation part where there is none."""
    for name, source in (("test", splits.test), ("valid", splits.valid)):
        if source is not None:
            return name, source
    return None


def _leave_out_trained(held: Held, splits: Splits, base_splits: Splits, fields: Sequence[Field]) -> Held:
    """The held-out examples but those that one of the models has trained on; says how many these are."""

    def leave_out(part: tuple[str, Source] | None, train: Source) -> tuple[str, Source] | None:
        if part is None:
            return None
        trained = {share(example, fields) for example in train}
        count = sum(share(example, fields) in trained for example in part[1])
        if not count:
            return part
        say(f"{count:,} examples of {part[1].name} stand in {train.name}, and are left out of the comparison.")
        return part[0], picked(part[1], "not trained on", fields, lambda hash_: hash_ not in trained)

    return Held(leave_out(held.new, base_splits.train), leave_out(held.old, splits.train))


def _has_common_labels(first: Recipe, second: Recipe) -> bool:
    """Whether two recipes have a label in common, or no labels; else neither can answer the other's questions."""
    first_labels, second_labels = (
        {label for axes in recipe.axes().values() for axis in axes.values() for label in axis.labels}
        for recipe in (first, second)
    )
    return bool(first_labels & second_labels) or not (first_labels or second_labels)


def rivals(
    recipe: Recipe,
    base_run: Origin | None,
    base_recipe: Recipe | None,
    splits: Splits,
    current: Run,
    workers: Peers,
) -> Rivals:
    """What to compare with, the source's part of which is kept in the run's folder, so that it can go on without it.

    Args:
      recipe: of the run.
      base_recipe: of the run that it is fine-tuned from, see `common.training.transfer.recipe_of`.
    """
    held = Held(held_out(splits))
    if base_recipe is None or not _has_common_labels(recipe, base_recipe):
        base_run = None
    if base_run is not None:
        held = _add_base_data(held, splits, base_run, recipe)
    if workers.any(held.old is None):  # where one worker does not see the files
        held.old = None
    compared_models = Rivals(type(recipe), held, workers.strategy)
    path = current.path / FILE
    is_measured = path.exists()
    if not workers.any(not is_measured):
        compared_models.source = load_arrays(path)
    elif base_run is not None and base_recipe is not None and base_run.config is not None:
        compared_models.source = compared_models.parts(base_recipe, base_run.config, base_run.weights, held)
        if workers.chief:
            save_arrays(path, compared_models.source)
    return compared_models


def _add_base_data(held: Held, splits: Splits, base_run: Origin, recipe: Recipe) -> Held:
    """The held-out examples of the run and of its base run, if that one's data can be had."""
    try:
        base_splits = data_of(base_run, type(recipe))
        held.old = held_out(base_splits)
        return _leave_out_trained(held, splits, base_splits, recipe.fields)
    except (DataError, ConfigError, OSError) as error:
        say(f"Whether the source's own task is forgotten is not measured: {error}")
        return held


def tallies(served: Served, held: Held) -> dict[str, Tally]:
    """What each held-out example adds to the measure of a model."""
    by_owner = {}
    with display("Comparing") as shown:
        for owner, source in held.given().items():
            tally = served.tally(with_progress(source, shown))
            if len(tally.parts):
                by_owner[owner] = tally
    return by_owner


def known_to(served: Served, held: tuple[str, Source]) -> JsonObject:
    """A measure of few held-out examples, and between what it lies."""
    tally = served.tally(held[1])
    return {"part": held[0], "examples": len(tally.parts), "measure": tally.measure, "values": interval(tally)}


def doubt(known: JsonObject) -> str:
    """A sentence for people on what `known_to` gave."""
    value, low, high = known["values"]
    meaning = f"{known['measure']} {value:.4f} is known to lie between {low:.4f} and {high:.4f} (95%)"
    if _is_uninformative(known["examples"], low, high):
        meaning = f"little is known of {known['measure']} on others"
    return (
        f"Warning: the {known['part']} part has only {known['examples']:,} examples, by which {meaning}."
        " --folds 5 scores on all of the data."
    )


def _is_uninformative(examples: int, low: float, high: float) -> bool:
    """Whether an interval is that of few examples that are all alike, and so but a point."""
    return examples < ALIKE and low == high


def compared(
    tuned: Mapping[str, Tally], source: Mapping[str, np.ndarray], scratch: Mapping[str, np.ndarray], part: str
) -> JsonObject:
    """The measures with intervals of 95%, and their differences on the same examples, as metrics.json holds them.

    Args:
      tuned: of the fine-tuned model, by whose the examples are.
      source, scratch: what the examples add to the measures of these.
      part: of the new data that was compared on.
    """
    if not tuned:
        return {}
    by_owner: JsonObject = {}
    for owner, tally in tuned.items():
        rows: JsonObject = {"examples": len(tally.parts), "tuned": interval(tally)}
        for model, parts in (("source", source.get(owner)), ("scratch", scratch.get(owner))):
            if parts is not None and len(parts) == len(tally.parts):
                rival = replace(tally, parts=parts)
                rows |= {model: interval(rival), f"tuned_less_{model}": difference(tally, rival)}
        by_owner[owner] = rows
    first = next(iter(tuned.values()))
    return {"measure": first.measure, "higher_is_better": first.higher, "part": part, "examples_of": by_owner}


def over_folds(measured: Sequence[JsonObject]) -> JsonObject:
    """The mean and the standard deviation of each measure of some runs.

    >>> over_folds([{"accuracy": 0.5}, {"accuracy": 0.7}])["measures"]["accuracy"]["mean"]
    0.6
    """
    measures = {}
    for name in (key for key, value in measured[0].items() if isinstance(value, float)):
        values = [float(fold[name]) for fold in measured]
        measures[name] = {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1)), "each": values}
    return {"count": len(measured), "measures": measures}


ROWS = {
    "source": "source",
    "scratch": "from scratch",
    "tuned": "fine-tuned",
    "tuned_less_source": "fine-tuned - source",
    "tuned_less_scratch": "fine-tuned - from scratch",
}


def table(comparison: JsonObject) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) for people."""
    by_owner = comparison["examples_of"]
    headings = [comparison["measure"]]
    for owner, measured in by_owner.items():
        headings.append(f"{owner} {comparison['part'] if owner == NEW else 'held-out'}, {measured['examples']:,}")
    rows = []
    for key, label in ROWS.items():
        if any(key in measured for measured in by_owner.values()):
            sign = "+" if "less" in key else ""
            rows.append([label, *(_format_cell(measured.get(key), sign) for measured in by_owner.values())])
    return headings, rows


def _format_cell(values: tuple[float, float, float] | None, sign: str) -> str:
    if values is None:
        return ""
    value, low, high = (f"{number:{sign}.4f}" for number in values)
    return f"{value} [{low}, {high}]"


def lines(comparison: JsonObject) -> list[str]:
    """The table in plain text, and in sentences what it tells; none where nothing was compared."""
    if not comparison:
        return []
    headings, rows = table(comparison)
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
    return [*shown, *verdicts(comparison)]


def verdicts(comparison: JsonObject) -> list[str]:
    """What the intervals tell, a sentence each."""
    sentences = []
    for owner, rows in comparison["examples_of"].items():
        for model, name in (("source", "the source"), ("scratch", "training from scratch")):
            if f"tuned_less_{model}" in rows:
                sentence = _format_verdict(
                    rows, rows[f"tuned_less_{model}"], owner, name, comparison["higher_is_better"]
                )
                sentences += [sentence] if sentence else []
    return sentences


def _format_verdict(
    rows: JsonObject, values: tuple[float, float, float], owner: str, model: str, higher_is_better: bool
) -> str:
    """What a difference tells; nothing where it is of the base run's own task and may be none."""
    _, low, high = values
    if _is_uninformative(rows["examples"], low, high):
        low, high = -np.inf, np.inf
    sign = 1 if higher_is_better else -1
    task = "" if owner == NEW else " on the source's own task"
    if low * sign > 0 and high * sign > 0:
        return f"Fine-tuned is better than {model}{task}."
    if low * sign < 0 and high * sign < 0:
        remedy = "; --replay 0.2 trains on some of its data, too" if owner == OLD else ""
        return f"Fine-tuned is worse than {model}{task}{remedy}."
    if owner == NEW:
        return f"{rows['examples']:,} examples do not tell whether fine-tuned is better than {model}."
    return ""
