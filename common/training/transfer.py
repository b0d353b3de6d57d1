"""Weights of another run in a new one: which are copied, extended with new rows, initialized or unused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import keras
import numpy as np

from common.errors import RunError
from common.runtime.atomic_io import read_json
from common.runtime.run_dir import Run
from common.text.similar_names import match_similar_names
from common.training.base_run import BaseRun
from common.training.weights import iter_named_weights
from common.types import JsonObject, NamedAxis

if TYPE_CHECKING:
    from common.recipe import Recipe

Axes = Mapping[str, Mapping[int, NamedAxis]]
FILE = "transfer.json"  # the report of a run, in its folder
MAX_SHOWN = 4  # weights that are named of each kind


@dataclass(frozen=True)
class WeightTransfer:
    """What becomes of one weight.

    Args:
      copied: values that come from the base run.
      initialized: values that do not.
      rows: (copied, new) names by what the axis stands for, of a weight that is extended.
    """

    copied: int
    initialized: int
    rows: tuple[tuple[int, int], ...] = ()


@dataclass
class TransferReport:
    """What was made of the base run's weights, by path.

    Args:
      transfers: of each of this run's.
      unused: values of the base run's that are not used.
      similar_labels: labels that are new here, with those of the base run that they resemble.
    """

    transfers: dict[str, WeightTransfer] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    similar_labels: list[tuple[str, str]] = field(default_factory=list)

    def sizes_by_outcome(self) -> dict[str, dict[str, int]]:
        """Return values of each weight, by kind."""
        items = self.transfers.items()
        copied = {path: weight.copied for path, weight in items if not weight.initialized}
        extended = {
            path: weight.copied + weight.initialized for path, weight in items if weight.copied and weight.initialized
        }
        initialized = {path: weight.initialized for path, weight in items if not weight.copied}
        return {"copied": copied, "extended": extended, "initialized": initialized, "unused": self.unused}

    @property
    def copied(self) -> frozenset[str]:
        """Paths of the weights that are wholly the base run's."""
        return frozenset(self.sizes_by_outcome()["copied"])

    @property
    def extended(self) -> frozenset[str]:
        """Paths of the weights of which rows are the base run's."""
        return frozenset(self.sizes_by_outcome()["extended"])

    def format_lines(self) -> list[str]:
        """Return the report for people."""
        lines = []
        for kind, counts in self.sizes_by_outcome().items():
            largest = sorted(counts, key=lambda path: -counts[path])
            names = ", ".join(self._format_weight(path) for path in largest[:MAX_SHOWN])
            more = f" and {len(counts) - MAX_SHOWN} more" if len(counts) > MAX_SHOWN else ""
            lines.append(f"  {kind:12}{sum(counts.values()):>12,}  {names}{more}".rstrip())
        return lines

    def _format_weight(self, path: str) -> str:
        weight = self.transfers.get(path)
        if not (weight and weight.copied and weight.initialized and weight.rows):
            return path
        rows = " x ".join(f"{old:,} copied and {new:,} new" for old, new in weight.rows)
        return f"{path} ({rows})"

    def as_json(self) -> JsonObject:
        extended = {
            path: {
                "copied": weight.copied,
                "initialized": weight.initialized,
                "rows": [list(pair) for pair in weight.rows],
            }
            for path, weight in self.transfers.items()
            if weight.copied and weight.initialized
        }
        totals = {kind: sum(counts.values()) for kind, counts in self.sizes_by_outcome().items()}
        return {
            "weights": totals,
            **self.sizes_by_outcome(),
            "extended": extended,
            "similar_labels": [list(pair) for pair in self.similar_labels],
        }


class WeightTransferPlan:
    """The weights that a model has of a base run.

    Args:
      base_run: what it is fine-tuned from.
      axes: what the axes of its weights stand for; None if that is not known.
    """

    def __init__(self, base_run: BaseRun, axes: Axes | None):
        self.base_run, self.axes = base_run, axes
        self.matches: dict[str, list[_AxisMatch]] = {}
        self.report = TransferReport()

    @property
    def copied(self) -> frozenset[str]:
        return self.report.copied

    @property
    def extended(self) -> frozenset[str]:
        return self.report.extended

    def match_weights(self, recipe: Recipe, model: keras.Model) -> frozenset[str]:
        """Work out what becomes of each weight; return the paths of those that are wholly copied.

        Raises:
          RunError: nothing could be copied.
        """
        new_axes, old_axes = recipe.get_weight_axes(), self.axes or {}
        weights, report = self.base_run.weights, TransferReport()
        used = dict.fromkeys(weights, 0)
        similar_labels: dict[str, str] = {}
        for path, variable in iter_named_weights(model):
            shape, old, axes = tuple(variable.shape), weights.get(path), new_axes.get(path, {})
            matches = None if old is None else _match_axes(shape, old.shape, axes, old_axes.get(path))
            for number, axis in axes.items():
                if axis.labels and path in old_axes:
                    similar_labels |= match_similar_names(axis.labels, old_axes[path][number].labels)
            total = int(np.prod(shape))
            if matches is None:
                report.transfers[path] = WeightTransfer(0, total)
                continue
            copied = int(np.prod([match.copied for match in matches]))
            rows = tuple((match.copied, match.new) for match in matches if match.named)
            report.transfers[path] = WeightTransfer(copied, total - copied, rows)
            self.matches[path] = matches
            used[path] = copied
        report.similar_labels = sorted(similar_labels.items())
        report.unused = {path: int(old.size) - used[path] for path, old in weights.items() if old.size > used[path]}
        if not any(weight.copied for weight in report.transfers.values()):
            raise RunError(
                f"Nothing of {self.base_run.path} could be copied: no weight has the name and the shape of one here."
                " Give --init-from a run with the same network."
            )
        self.report = report
        return report.copied

    def copy_weights(self, model: keras.Model, fractions: Mapping[str, np.ndarray] | None = None) -> None:
        """Give the model the base run's values, where `match_weights` has found a place for them.

        Args:
          fractions: as `common.recipe.Recipe.initialize_weights` gives them. Of a row of zeros, of which the base
            run learned nothing, nothing stays.
        """
        for path, variable in iter_named_weights(model):
            if path not in self.matches:
                continue
            old, value = self.base_run.weights[path], variable.numpy()
            if value.ndim == 0:
                variable.assign(old)
                continue
            matches = self.matches[path]
            new_places = [np.flatnonzero(match.base_places >= 0) for match in matches]
            old_places = [match.base_places[places] for match, places in zip(matches, new_places, strict=True)]
            initialized, known = value[np.ix_(*new_places)], old[np.ix_(*old_places)]
            if fractions and path in fractions:
                known = _mix_rows(known, initialized, fractions[path][new_places[0]])
            value[np.ix_(*new_places)] = known
            variable.assign(value)


def _mix_rows(known: np.ndarray, initialized: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Return rows of which a fraction is `known`, and the rest `initialized`, which all of it is where `known` is 0."""
    row_shape = (len(fraction), *[1] * (known.ndim - 1))
    weight = fraction.reshape(row_shape) * known.any(axis=tuple(range(1, known.ndim)), keepdims=True)
    return weight * known + (1 - weight) * initialized


@dataclass(frozen=True)
class _AxisMatch:
    """Where the values along an axis come from.

    Args:
      base_places: the place in the base run by place here, -1 for none.
      copied, new: how many have the same name there, and how many have not.
      named: whether the axis has names.
    """

    base_places: np.ndarray
    copied: int
    new: int
    named: bool


def _match_axes(
    shape: Sequence[int],
    old_shape: Sequence[int],
    axes: Mapping[int, NamedAxis],
    old_axes: Mapping[int, NamedAxis] | None,
) -> list[_AxisMatch] | None:
    """Return where the values along each axis come from; None if nothing fits."""
    if len(shape) != len(old_shape) or (axes and old_axes is None):
        return None
    matches = []
    for number, size in enumerate(shape):
        if number not in axes:
            if size != old_shape[number]:
                return None
            matches.append(_AxisMatch(np.arange(size), size, 0, False))
            continue
        assert old_axes is not None
        known = {name: place for place, name in enumerate(old_axes[number].names)}
        default = known.get(axes[number].init_new_from or "", -1)
        names = axes[number].names
        copied = sum(name in known for name in names)
        if not copied:
            return None
        base_places = np.array([known.get(name, default) for name in names], np.int64)
        matches.append(_AxisMatch(base_places, copied, len(names) - copied, True))
    return matches


def make_base_recipe(base_run: BaseRun | None, recipe_class: type[Recipe]) -> Recipe | None:
    """Return the recipe of a base run, with its settings and assets; None of weights alone.

    Raises:
      RunError: it is damaged.
    """
    if base_run is None or base_run.config is None or base_run.assets is None:
        return None
    try:
        return recipe_class(base_run.config, base_run.assets)
    except (KeyError, TypeError) as error:
        problem = f"lack {error}" if isinstance(error, KeyError) else f"do not fit ({error})"
        raise RunError(f"{base_run.path} is damaged: its assets {problem}. Restore it, or name another run.") from None


def load_transfer_report(run: Run) -> WeightTransferPlan:
    """Return what a run that goes on has to know of its base run: which weights are from there, wholly or in part.

    Raises:
      RunError: its report is missing or damaged.
    """
    report = read_json(run.path / FILE)
    copied, extended = report.get("copied"), report.get("extended")
    if not (isinstance(copied, dict) and isinstance(extended, dict)):
        raise RunError(f"{run.path / FILE} is damaged: it does not tell which weights were copied. Restore it.")
    transfer_plan = WeightTransferPlan(BaseRun(run.path, {}), None)
    transfers = {path: WeightTransfer(int(count), 0) for path, count in copied.items()}
    transfers |= {
        path: WeightTransfer(int(counts["copied"]), int(counts["initialized"])) for path, counts in extended.items()
    }
    transfer_plan.report = TransferReport(transfers)
    return transfer_plan
