"""Weights of another run in a new one: which are kept, extended with new rows, fresh or dropped."""

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
from common.training.base_run import Origin
from common.training.weights import named_weights
from common.types import Axis, JsonObject

if TYPE_CHECKING:
    from common.recipe import Recipe

Axes = Mapping[str, Mapping[int, Axis]]
FILE = "transfer.json"  # the report of a run, in its folder
MAX_SHOWN = 4  # weights that are named of each kind


@dataclass(frozen=True)
class Moved:
    """What becomes of one weight.

    Args:
      kept: values that come from the source.
      fresh: values that do not.
      rows: (kept, new) names by what the axis stands for, of a weight that is extended.
    """

    kept: int
    fresh: int
    rows: tuple[tuple[int, int], ...] = ()


@dataclass
class Report:
    """What was made of the source's weights, by path.

    Args:
      moved: of each of this run's.
      dropped: values of the source's that are not used.
      unlike: labels that are new here, with those of the source that they resemble.
    """

    moved: dict[str, Moved] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    unlike: list[tuple[str, str]] = field(default_factory=list)

    def kinds(self) -> dict[str, dict[str, int]]:
        """Return values of each weight, by kind."""
        kept = {path: moved.kept for path, moved in self.moved.items() if not moved.fresh}
        extended = {path: moved.kept + moved.fresh for path, moved in self.moved.items() if moved.kept and moved.fresh}
        fresh = {path: moved.fresh for path, moved in self.moved.items() if not moved.kept}
        return {"kept": kept, "extended": extended, "fresh": fresh, "dropped": self.dropped}

    @property
    def kept(self) -> frozenset[str]:
        """Paths of the weights that are wholly the source's."""
        return frozenset(self.kinds()["kept"])

    @property
    def extended(self) -> frozenset[str]:
        """Paths of the weights of which rows are the source's."""
        return frozenset(self.kinds()["extended"])

    def lines(self) -> list[str]:
        """Return the report for people."""
        lines = []
        for kind, counts in self.kinds().items():
            largest = sorted(counts, key=lambda path: -counts[path])
            names = ", ".join(self._format_weight(path) for path in largest[:MAX_SHOWN])
            more = f" and {len(counts) - MAX_SHOWN} more" if len(counts) > MAX_SHOWN else ""
            lines.append(f"  {kind:9}{sum(counts.values()):>12,}  {names}{more}".rstrip())
        return lines

    def _format_weight(self, path: str) -> str:
        moved = self.moved.get(path)
        if not (moved and moved.kept and moved.fresh and moved.rows):
            return path
        rows = " x ".join(f"{old:,} kept and {new:,} new" for old, new in moved.rows)
        return f"{path} ({rows})"

    def as_json(self) -> JsonObject:
        extended = {
            path: {"kept": moved.kept, "fresh": moved.fresh, "rows": [list(pair) for pair in moved.rows]}
            for path, moved in self.moved.items()
            if moved.kept and moved.fresh
        }
        totals = {kind: sum(counts.values()) for kind, counts in self.kinds().items()}
        return {"weights": totals, **self.kinds(), "extended": extended, "unlike": [list(pair) for pair in self.unlike]}


class Inherited:
    """The weights that a model has of a source.

    Args:
      origin: the source.
      axes: what the axes of its weights stand for; None if that is not known.
    """

    def __init__(self, origin: Origin, axes: Axes | None):
        self.origin, self.axes = origin, axes
        self.matches: dict[str, list[_AxisMatch]] = {}
        self.report = Report()

    @property
    def kept(self) -> frozenset[str]:
        return self.report.kept

    @property
    def extended(self) -> frozenset[str]:
        return self.report.extended

    def plan(self, recipe: Recipe, model: keras.Model) -> frozenset[str]:
        """Work out what becomes of each weight; return the paths of those that are wholly kept.

        Raises:
          RunError: nothing could be kept.
        """
        new_axes, old_axes = recipe.axes(), self.axes or {}
        weights, report = self.origin.weights, Report()
        used = dict.fromkeys(weights, 0)
        unlike: dict[str, str] = {}
        for path, variable in named_weights(model):
            shape, old, axes = tuple(variable.shape), weights.get(path), new_axes.get(path, {})
            matches = None if old is None else _match_axes(shape, old.shape, axes, old_axes.get(path))
            for number, axis in axes.items():
                if axis.labels and path in old_axes:
                    unlike |= match_similar_names(axis.labels, old_axes[path][number].labels)
            total = int(np.prod(shape))
            if matches is None:
                report.moved[path] = Moved(0, total)
                continue
            kept = int(np.prod([match.kept for match in matches]))
            rows = tuple((match.kept, match.new) for match in matches if match.named)
            report.moved[path] = Moved(kept, total - kept, rows)
            self.matches[path] = matches
            used[path] = kept
        report.unlike = sorted(unlike.items())
        report.dropped = {path: int(old.size) - used[path] for path, old in weights.items() if old.size > used[path]}
        if not any(moved.kept for moved in report.moved.values()):
            raise RunError(
                f"Nothing of {self.origin.path} could be kept: no weight has the name and the shape of one here. Give"
                " --init-from a run with the same network."
            )
        self.report = report
        return report.kept

    def apply(self, model: keras.Model, fractions: Mapping[str, np.ndarray] | None = None) -> None:
        """Give the model the source's values, where `plan` has found a place for them.

        Args:
          fractions: as `common.recipe.Recipe.begin` gives them. Of a row of zeros, of which the source learned nothing,
            nothing stays.
        """
        for path, variable in named_weights(model):
            if path not in self.matches:
                continue
            old, value = self.origin.weights[path], variable.numpy()
            if value.ndim == 0:
                variable.assign(old)
                continue
            matches = self.matches[path]
            new_places = [np.flatnonzero(match.source >= 0) for match in matches]
            old_places = [match.source[places] for match, places in zip(matches, new_places, strict=True)]
            fresh, known = value[np.ix_(*new_places)], old[np.ix_(*old_places)]
            if fractions and path in fractions:
                known = _mix_rows(known, fresh, fractions[path][new_places[0]])
            value[np.ix_(*new_places)] = known
            variable.assign(value)


def _mix_rows(known: np.ndarray, fresh: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Return rows of which a fraction is `known`, and the rest `fresh`; all is `fresh` where `known` is zero."""
    row_shape = (len(fraction), *[1] * (known.ndim - 1))
    weight = fraction.reshape(row_shape) * known.any(axis=tuple(range(1, known.ndim)), keepdims=True)
    return weight * known + (1 - weight) * fresh


@dataclass(frozen=True)
class _AxisMatch:
    """Where the values along an axis come from.

    Args:
      source: the place in the source by place here, -1 for none.
      kept, new: how many have the same name there, and how many have not.
      named: whether the axis has names.
    """

    source: np.ndarray
    kept: int
    new: int
    named: bool


def _match_axes(
    shape: Sequence[int], old_shape: Sequence[int], axes: Mapping[int, Axis], old_axes: Mapping[int, Axis] | None
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
        default = known.get(axes[number].like or "", -1)
        names = axes[number].names
        kept = sum(name in known for name in names)
        if not kept:
            return None
        source = np.array([known.get(name, default) for name in names], np.int64)
        matches.append(_AxisMatch(source, kept, len(names) - kept, True))
    return matches


def recipe_of(origin: Origin | None, recipe_class: type[Recipe]) -> Recipe | None:
    """Return the recipe of a source, with its settings and assets; None of weights alone.

    Raises:
      RunError: it is damaged.
    """
    if origin is None or origin.config is None or origin.assets is None:
        return None
    try:
        return recipe_class(origin.config, origin.assets)
    except (KeyError, TypeError) as error:
        problem = f"lack {error}" if isinstance(error, KeyError) else f"do not fit ({error})"
        raise RunError(f"{origin.path} is damaged: its assets {problem}. Restore it, or name another run.") from None


def of_run(run: Run) -> Inherited:
    """Return what a run that goes on has to know of its source: which weights are from there, wholly or in part.

    Raises:
      RunError: its report is missing or damaged.
    """
    report = read_json(run.path / FILE)
    kept, extended = report.get("kept"), report.get("extended")
    if not (isinstance(kept, dict) and isinstance(extended, dict)):
        raise RunError(f"{run.path / FILE} is damaged: it does not tell which weights were kept. Restore it.")
    inherited = Inherited(Origin(run.path, {}), None)
    moved = {path: Moved(int(count), 0) for path, count in kept.items()}
    moved |= {path: Moved(int(counts["kept"]), int(counts["fresh"])) for path, counts in extended.items()}
    inherited.report = Report(moved)
    return inherited
