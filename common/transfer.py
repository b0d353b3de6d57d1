"""Weights of another run in a new one: which are kept, extended with new rows, fresh or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.errors import RunError
from common.files import read_json
from common.origin import Origin
from common.runs import Run
from common.similar_names import match_similar_names
from common.types import Axis
from common.weights import named_weights

Axes = Mapping[str, Mapping[int, Axis]]
FILE = "transfer.json"  # the report of a run, in its folder
MOST_SHOWN = 4  # weights that are named of each kind


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
        """Values of each weight, by kind."""
        kept = {path: one.kept for path, one in self.moved.items() if not one.fresh}
        extended = {path: one.kept + one.fresh for path, one in self.moved.items() if one.kept and one.fresh}
        fresh = {path: one.fresh for path, one in self.moved.items() if not one.kept}
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
        """For people."""

        def told(path: str) -> str:
            one = self.moved.get(path)
            rows = " x ".join(f"{old:,} kept and {new:,} new" for old, new in one.rows) if one and one.fresh else ""
            return f"{path} ({rows})" if rows and one and one.kept else path

        lines = []
        for kind, counts in self.kinds().items():
            largest = sorted(counts, key=lambda path: -counts[path])
            named = ", ".join(told(path) for path in largest[:MOST_SHOWN])
            more = f" and {len(counts) - MOST_SHOWN} more" if len(counts) > MOST_SHOWN else ""
            lines.append(f"  {kind:9}{sum(counts.values()):>12,}  {named}{more}".rstrip())
        return lines

    def as_json(self) -> dict[str, Any]:
        extended = {
            path: {"kept": one.kept, "fresh": one.fresh, "rows": [list(pair) for pair in one.rows]}
            for path, one in self.moved.items()
            if one.kept and one.fresh
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
        self.places: dict[str, list[_Places]] = {}
        self.report = Report()

    @property
    def kept(self) -> frozenset[str]:
        return self.report.kept

    @property
    def extended(self) -> frozenset[str]:
        return self.report.extended

    def plan(self, recipe: Any, model: Any) -> frozenset[str]:
        """Works out what becomes of each weight; returns the paths of those that are wholly kept.

        Raises:
          RunError: nothing could be kept.
        """
        mine, theirs = recipe.axes(), self.axes or {}
        weights, report = self.origin.weights, Report()
        used = dict.fromkeys(weights, 0)
        unlike: dict[str, str] = {}
        for path, variable in named_weights(model):
            shape, old = tuple(variable.shape), weights.get(path)
            places = None if old is None else _places(shape, old.shape, mine.get(path, {}), theirs.get(path))
            for axis, new in mine.get(path, {}).items():
                if new.labels and path in theirs:
                    unlike |= match_similar_names(new.labels, theirs[path][axis].labels)
            total = int(np.prod(shape))
            if places is None:
                report.moved[path] = Moved(0, total)
                continue
            kept = int(np.prod([one.kept for one in places]))
            report.moved[path] = Moved(kept, total - kept, tuple((p.kept, p.new) for p in places if p.named))
            self.places[path] = places
            used[path] = kept
        report.unlike = sorted(unlike.items())
        report.dropped = {path: int(old.size) - used[path] for path, old in weights.items() if old.size > used[path]}
        if not any(one.kept for one in report.moved.values()):
            raise RunError(
                f"Nothing of {self.origin.path} could be kept: no weight has the name and the shape of one here. Give"
                " --init-from a run with the same network."
            )
        self.report = report
        return report.kept

    def apply(self, model: Any, shares: Mapping[str, np.ndarray] | None = None) -> None:
        """Gives the model the source's values, where `plan` has found a place for them.

        Args:
          shares: as `common.recipe.Recipe.begin` gives them. Of a row of zeros, of which the source learned nothing,
            nothing stays.
        """
        for path, variable in named_weights(model):
            if path not in self.places:
                continue
            old, value = self.origin.weights[path], variable.numpy()
            if value.ndim == 0:
                variable.assign(old)
                continue
            here = [np.flatnonzero(one.source >= 0) for one in self.places[path]]
            there = [one.source[at] for one, at in zip(self.places[path], here, strict=True)]
            new, known = value[np.ix_(*here)], old[np.ix_(*there)]
            if shares and path in shares:
                known = _mixed(known, new, shares[path][here[0]])
            value[np.ix_(*here)] = known
            variable.assign(value)


def _mixed(known: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rows of which `share` is `known`, and the rest `new`; all is `new` where `known` is zero."""
    row = (len(share), *[1] * (known.ndim - 1))
    stays = share.reshape(row) * known.any(axis=tuple(range(1, known.ndim)), keepdims=True)
    return stays * known + (1 - stays) * new


@dataclass(frozen=True)
class _Places:
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


def _places(
    shape: Sequence[int], old: Sequence[int], mine: Mapping[int, Axis], theirs: Mapping[int, Axis] | None
) -> list[_Places] | None:
    """Along each axis; None if nothing fits."""
    if len(shape) != len(old) or (mine and theirs is None):
        return None
    found = []
    for axis, size in enumerate(shape):
        if axis not in mine:
            if size != old[axis]:
                return None
            found.append(_Places(np.arange(size), size, 0, False))
            continue
        assert theirs is not None
        known = {name: place for place, name in enumerate(theirs[axis].names)}
        like = known.get(mine[axis].like or "", -1)
        names = mine[axis].names
        kept = sum(name in known for name in names)
        if not kept:
            return None
        source = np.array([known.get(name, like) for name in names], np.int64)
        found.append(_Places(source, kept, len(names) - kept, True))
    return found


def recipe_of(origin: Origin | None, recipe_class: Any) -> Any:
    """The recipe of a source, with its settings and assets; None of weights alone.

    Raises:
      RunError: it is damaged.
    """
    if origin is None or origin.config is None:
        return None
    try:
        return recipe_class(origin.config, origin.assets)
    except (KeyError, TypeError) as error:
        what = f"lack {error}" if isinstance(error, KeyError) else f"do not fit ({error})"
        raise RunError(f"{origin.path} is damaged: its assets {what}. Restore it, or name another run.") from None


def of_run(run: Run) -> Inherited:
    """What a run that goes on has to know of its source: which weights are from there, wholly or in part.

    Raises:
      RunError: its report is missing or damaged.
    """
    report = read_json(run.path / FILE)
    kept, extended = report.get("kept"), report.get("extended")
    if not (isinstance(kept, dict) and isinstance(extended, dict)):
        raise RunError(f"{run.path / FILE} is damaged: it does not tell which weights were kept. Restore it.")
    found = Inherited(Origin(run.path, {}), None)
    moved = {path: Moved(int(count), 0) for path, count in kept.items()}
    moved |= {path: Moved(int(counts["kept"]), int(counts["fresh"])) for path, counts in extended.items()}
    found.report = Report(moved)
    return found
