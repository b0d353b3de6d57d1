"""Whether fine-tuning helped: the base run, the tuned model and one from scratch on the same held-out examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from common.data.example_filters import reservoir_sample
from common.data.splitting import filter_by_hash, hash_fraction
from common.errors import ConfigError, DataError
from common.inference.served_model import Predictor, serve_model
from common.modeling.bootstrap import ALIKE, bootstrap_difference, bootstrap_interval
from common.recipe import Recipe
from common.runtime.atomic_io import load_npz, save_npz
from common.runtime.console import print_status, progress_bar, with_progress
from common.runtime.run_dir import Run
from common.training.base_run import BaseRun, load_base_data
from common.training.weights import set_model_weights
from common.types import ExampleSource, Field, JsonObject, PerExampleMetric, Splits

if TYPE_CHECKING:
    import tensorflow as tf

    from common.config import RunConfig
    from common.training.distributed import WorkerGroup

MAX_EXAMPLES = 2_500  # examples that are compared: intervals are narrow enough, and some recipes are slow to predict
BASE_RUN_METRICS = "base_run_metrics.npz"  # per-example metrics of the base run, so that a run can go on without it
PER_EXAMPLE_METRICS = "per_example_metrics.npz"  # those of all models, to compare several runs by
NEW, BASE = "new", "base_run"  # the held-out examples of the new data, and those of the base run's
OWNERS = {NEW: "new", BASE: "base run's"}  # the same for people


@dataclass
class HeldOutSets:
    """Held-out examples.

    Args:
      new_data: of the run, with the name of the split.
      base_data: of the run that it is fine-tuned from; None if its data cannot be had.
    """

    new_data: tuple[str, ExampleSource] | None
    base_data: tuple[str, ExampleSource] | None = None

    def items(self) -> dict[str, ExampleSource]:
        """Return the examples by whose they are, `MAX_EXAMPLES` of each at most."""
        splits = {NEW: self.new_data, BASE: self.base_data}
        return {owner: reservoir_sample(split[1], MAX_EXAMPLES) for owner, split in splits.items() if split is not None}


@dataclass
class ComparisonModels:
    """What a fine-tuned model is compared with.

    Args:
      recipe_class: of all, from settings and assets.
      held_out: what they are compared on.
      strategy: where models are made.
      base_run: what each held-out example adds to the metric of the base run, by whose it is (see `PerExampleMetric`).
      from_scratch: the same of a model that was trained on the new data alone.
    """

    recipe_class: type[Recipe]
    held_out: HeldOutSets
    strategy: tf.distribute.Strategy
    base_run: dict[str, np.ndarray] = field(default_factory=dict)
    from_scratch: dict[str, np.ndarray] = field(default_factory=dict)

    def add_from_scratch_run(self, run: Run, config_class: type[RunConfig]) -> None:
        """Evaluate the run that was trained on the new data alone."""
        config = run.config(config_class)
        recipe = self.recipe_class(config, run.assets())
        new_alone = HeldOutSets(self.held_out.new_data)
        self.from_scratch = self.evaluate_per_example(recipe, config, run.load_best(), new_alone)

    def evaluate_per_example(
        self, recipe: Recipe, config: RunConfig, weights: Mapping[str, np.ndarray], held_out: HeldOutSets
    ) -> dict[str, np.ndarray]:
        """Return the components of a model's per-example metric on held-out examples, by whose they are."""
        with self.strategy.scope():
            model = recipe.build_model()
        set_model_weights(model, dict(weights))
        by_owner = compute_per_example_metrics(serve_model(recipe, model, config, self.strategy), held_out)
        return {owner: metric.components for owner, metric in by_owner.items()}

    def to_arrays(self, tuned: Mapping[str, PerExampleMetric]) -> dict[str, np.ndarray]:
        """Return what each held-out example adds to the metric of each model, under "MODEL OWNER"."""
        components = {owner: metric.components for owner, metric in tuned.items()}
        models = {"base_run": self.base_run, "from_scratch": self.from_scratch, "tuned": components}
        return {f"{model} {owner}": rows for model, by_owner in models.items() for owner, rows in by_owner.items()}

    def compare(self, tuned: Mapping[str, PerExampleMetric]) -> JsonObject:
        """Compare the fine-tuned model with the others, see `compare_metrics`."""
        split = self.held_out.new_data[0] if self.held_out.new_data else ""
        return compare_metrics(tuned, self.base_run, self.from_scratch, split)


def select_held_out_split(splits: Splits) -> tuple[str, ExampleSource] | None:
    """Return (name, source) of the split to compare on: test, or validation where there is no test split."""
    for name, source in (("test", splits.test), ("valid", splits.valid)):
        if source is not None:
            return name, source
    return None


def _leave_out_trained(
    held_out: HeldOutSets, splits: Splits, base_splits: Splits, fields: Sequence[Field]
) -> HeldOutSets:
    """Leave out the held-out examples that one of the models has trained on; print how many these are."""

    def leave_out(split: tuple[str, ExampleSource] | None, train: ExampleSource) -> tuple[str, ExampleSource] | None:
        if split is None:
            return None
        name, source = split
        trained = {hash_fraction(example, fields) for example in train}
        count = sum(hash_fraction(example, fields) in trained for example in source)
        if not count:
            return split
        print_status(f"{count:,} examples of {source.name} stand in {train.name}, and are left out of the comparison.")
        return name, filter_by_hash(source, "not trained on", fields, lambda hash_: hash_ not in trained)

    return HeldOutSets(leave_out(held_out.new_data, base_splits.train), leave_out(held_out.base_data, splits.train))


def _has_common_labels(first: Recipe, second: Recipe) -> bool:
    """Whether two recipes have a label in common, or no labels; else neither can predict the other's labels."""
    first_labels, second_labels = (
        {label for axes in recipe.get_weight_axes().values() for axis in axes.values() for label in axis.labels}
        for recipe in (first, second)
    )
    return bool(first_labels & second_labels) or not (first_labels or second_labels)


def load_comparison_models(
    recipe: Recipe,
    base_run: BaseRun | None,
    base_recipe: Recipe | None,
    splits: Splits,
    current: Run,
    workers: WorkerGroup,
) -> ComparisonModels:
    """Load what to compare with; the base run's metrics are kept in the run's folder, which can go on without it.

    Args:
      recipe: of the run.
      base_recipe: of the run that it is fine-tuned from, see `common.training.transfer.make_base_recipe`.
    """
    held_out = HeldOutSets(select_held_out_split(splits))
    if base_recipe is None or not _has_common_labels(recipe, base_recipe):
        base_run = None
    if base_run is not None:
        held_out = _add_base_data(held_out, splits, base_run, recipe)
    if workers.any_worker(held_out.base_data is None):  # where one worker does not see the files
        held_out.base_data = None
    models = ComparisonModels(type(recipe), held_out, workers.strategy)
    path = current.path / BASE_RUN_METRICS
    is_measured = path.exists()
    if not workers.any_worker(not is_measured):
        models.base_run = load_npz(path)
    elif base_run is not None and base_recipe is not None and base_run.config is not None:
        models.base_run = models.evaluate_per_example(base_recipe, base_run.config, base_run.weights, held_out)
        if workers.is_chief:
            save_npz(path, models.base_run)
    return models


def _add_base_data(held_out: HeldOutSets, splits: Splits, base_run: BaseRun, recipe: Recipe) -> HeldOutSets:
    """Add the held-out examples of the base run, if its data can be had."""
    try:
        base_splits = load_base_data(base_run, type(recipe))
        held_out.base_data = select_held_out_split(base_splits)
        return _leave_out_trained(held_out, splits, base_splits, recipe.fields)
    except (DataError, ConfigError, OSError) as error:
        print_status(f"Whether the base run's own task is forgotten is not measured: {error}")
        return held_out


def compute_per_example_metrics(predictor: Predictor, held_out: HeldOutSets) -> dict[str, PerExampleMetric]:
    """Compute what each held-out example adds to the metric of a model, by whose the examples are."""
    by_owner = {}
    with progress_bar("Comparing") as progress:
        for owner, source in held_out.items().items():
            metric = predictor.per_example_metric(with_progress(source, progress))
            if len(metric.components):
                by_owner[owner] = metric
    return by_owner


def metric_with_interval(predictor: Predictor, held_out: tuple[str, ExampleSource]) -> JsonObject:
    """Return a metric of few held-out examples with its confidence interval, as metrics.json holds it."""
    split, source = held_out
    metric = predictor.per_example_metric(source)
    return {
        "split": split,
        "examples": len(metric.components),
        "metric": metric.name,
        "ci95": bootstrap_interval(metric),
    }


def format_small_sample_warning(interval: JsonObject) -> str:
    """Format a sentence for people on what `metric_with_interval` gave."""
    value, low, high = interval["ci95"]
    meaning = f"{interval['metric']} {value:.4f} is known to lie between {low:.4f} and {high:.4f} (95%)"
    if _is_uninformative(interval["examples"], low, high):
        meaning = f"little is known of {interval['metric']} on others"
    return (
        f"Warning: the {interval['split']} part has only {interval['examples']:,} examples, by which {meaning}."
        " --cv-folds 5 scores on all of the data."
    )


def _is_uninformative(examples: int, low: float, high: float) -> bool:
    """Whether an interval is that of few examples that are all the same, and so but a point."""
    return examples < ALIKE and low == high


def compare_metrics(
    tuned: Mapping[str, PerExampleMetric],
    base_run: Mapping[str, np.ndarray],
    from_scratch: Mapping[str, np.ndarray],
    split: str,
) -> JsonObject:
    """Return metrics with confidence intervals of 95%, and their differences on the same examples, for metrics.json.

    Args:
      tuned: of the fine-tuned model, by whose the examples are.
      base_run, from_scratch: what the examples add to the metrics of these.
      split: of the new data that was compared on.
    """
    if not tuned:
        return {}
    held_out: JsonObject = {}
    for owner, metric in tuned.items():
        rows: JsonObject = {"examples": len(metric.components), "tuned": bootstrap_interval(metric)}
        for model, difference, components in (
            ("base_run", "tuned_minus_base", base_run.get(owner)),
            ("from_scratch", "tuned_minus_scratch", from_scratch.get(owner)),
        ):
            if components is not None and len(components) == len(metric.components):
                rival = replace(metric, components=components)
                rows |= {model: bootstrap_interval(rival), difference: bootstrap_difference(metric, rival)}
        held_out[owner] = rows
    first = next(iter(tuned.values()))
    return {"metric": first.name, "higher_is_better": first.higher_is_better, "split": split, "held_out": held_out}


def aggregate_folds(fold_metrics: Sequence[JsonObject]) -> JsonObject:
    """Return the mean and the standard deviation of each metric of some runs.

    >>> aggregate_folds([{"accuracy": 0.5}, {"accuracy": 0.7}])["metrics"]["accuracy"]["mean"]
    0.6
    """
    metrics = {}
    for name in (key for key, value in fold_metrics[0].items() if isinstance(value, float)):
        values = [float(fold[name]) for fold in fold_metrics]
        metrics[name] = {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "values": values}
    return {"count": len(fold_metrics), "metrics": metrics}


ROWS = {
    "base_run": "base run",
    "from_scratch": "from scratch",
    "tuned": "fine-tuned",
    "tuned_minus_base": "fine-tuned - base run",
    "tuned_minus_scratch": "fine-tuned - from scratch",
}


def format_table(comparison: JsonObject) -> tuple[list[str], list[list[str]]]:
    """Return (headings, rows) for people."""
    held_out = comparison["held_out"]
    headings = [comparison["metric"]]
    for owner, values in held_out.items():
        split = comparison["split"] if owner == NEW else "held-out"
        headings.append(f"{OWNERS[owner]} {split}, {values['examples']:,}")
    rows = []
    for key, label in ROWS.items():
        if any(key in values for values in held_out.values()):
            sign = "+" if "minus" in key else ""
            rows.append([label, *(_format_cell(values.get(key), sign) for values in held_out.values())])
    return headings, rows


def _format_cell(values: tuple[float, float, float] | None, sign: str) -> str:
    if values is None:
        return ""
    value, low, high = (f"{number:{sign}.4f}" for number in values)
    return f"{value} [{low}, {high}]"


def format_lines(comparison: JsonObject) -> list[str]:
    """Format the table in plain text, and its conclusions; nothing where nothing was compared."""
    if not comparison:
        return []
    headings, rows = format_table(comparison)
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
    return [*lines, *format_conclusions(comparison)]


def format_conclusions(comparison: JsonObject) -> list[str]:
    """Format what the intervals tell, a sentence each."""
    sentences = []
    for owner, rows in comparison["held_out"].items():
        for key, model in (("tuned_minus_base", "the base run"), ("tuned_minus_scratch", "training from scratch")):
            if key in rows:
                sentences.append(_format_verdict(rows, rows[key], owner, model, comparison["higher_is_better"]))
    return [sentence for sentence in sentences if sentence]


def _format_verdict(
    rows: JsonObject, values: tuple[float, float, float], owner: str, model: str, higher_is_better: bool
) -> str:
    """Format what a difference tells; nothing where it is of the base run's own task and may be none."""
    _, low, high = values
    if _is_uninformative(rows["examples"], low, high):
        low, high = -np.inf, np.inf
    sign = 1 if higher_is_better else -1
    task = "" if owner == NEW else " on the base run's own task"
    if low * sign > 0 and high * sign > 0:
        return f"Fine-tuned is better than {model}{task}."
    if low * sign < 0 and high * sign < 0:
        remedy = "; --replay-ratio 0.2 trains on some of its data, too" if owner == BASE else ""
        return f"Fine-tuned is worse than {model}{task}{remedy}."
    if owner == NEW:
        return f"{rows['examples']:,} examples do not tell whether fine-tuned is better than {model}."
    return ""
