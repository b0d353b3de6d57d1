"""Results of two revisions under the same names, and their first difference: weights, scores, predictions."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TRAINING_LOSS = re.compile(r"\bhistory\.\d+\.loss$")
NAMES = tomllib.loads((Path(__file__).parent / "former_names.toml").read_text(encoding="utf-8"))
# What no two runs have in common: times, and texts for people; and what has no name now.
UNCOMPARED = {"", "seconds", "sentences_per_second", "examples_per_second", "input_wait_ratio", "environment"}


class SideError(Exception):
    """A command of one side failed, or it lacks what is asked of it."""


# Names


def list_names(name: str, former: Mapping[str, str]) -> list[str]:
    """Return a present name and its former ones."""
    return [name, *(old for old, new in former.items() if new == name)]


def make_flags(help_text: str, settings: Mapping[str, object], former: Mapping[str, str]) -> list[str]:
    """Return the settings, under their present names, as the flags that a command's help knows.

    Args:
      former: present names by former ones.

    Raises:
      SideError: the command has neither the present nor a former name of a setting.
    """
    known = {name: line for line in help_text.splitlines() for name in re.findall(r"^\s+--([\w-]+)", line)}
    words = []
    for setting, value in settings.items():
        names = list_names(setting, former)
        flag = next((name for name in (name.replace("_", "-") for name in names) if name in known), None)
        if flag is None:
            raise SideError(f"there is none of the flags {', '.join(names)}")
        choices = re.search(r"\[([^]]*\|[^]]*)\]", known[flag])
        if choices and str(value) not in choices[1].split("|"):
            values = NAMES["values"].get(setting, {})
            value = next((old for old, new in values.items() if new == value), value)
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def rename_keys(value: object, table: Mapping[str, str], parent: str = "") -> object:
    """Return a JSON value with the keys of its objects under their present names, less what is not compared."""
    if isinstance(value, list):
        return [rename_keys(item, table, parent) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {}
    for key, item in value.items():
        name = table.get(f"{parent}.{key}", table.get(f"*.{key}", rename_path(key) if "/" in key else key))
        if name not in UNCOMPARED:
            renamed[name] = rename_keys(item, table, name)
    return renamed


def to_snake_case(name: str) -> str:
    """Return a class's name as Keras makes a layer's name of it."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def rename_path(path: str) -> str:
    """Return a weight's path with the layers that Keras named under the names of their present classes.

    >>> rename_path("encoder_block_1/inner/kernel")
    'transformer_encoder_layer_1/inner/kernel'
    """
    table = {to_snake_case(old): to_snake_case(new) for old, new in NAMES["layers"].items()}
    layers = [re.fullmatch(r"(.*?)(_\d+)?", layer) for layer in path.split("/")]
    return "/".join(table.get(match[1], match[1]) + (match[2] or "") for match in layers if match)


def find_file(folder: Path, name: str) -> Path:
    """Return the file of a run that has this name now, or had another before."""
    names = list_names(name, NAMES["files"])
    return next((folder / old for old in names if (folder / old).exists()), folder / name)


def find_command(help_text: str, name: str) -> str:
    """Return what a command is called by the command line whose help this is."""
    names = list_names(name, NAMES["commands"])
    return next((old for old in names if re.search(rf"^\s+{old}\s", help_text, re.MULTILINE)), name)


# Comparison


@dataclass(frozen=True)
class Results:
    """What one side gave in one case."""

    weights: Mapping[str, np.ndarray]
    scores: Mapping[str, object]
    predictions: Sequence[object]


@dataclass
class Comparison:
    """How the results of a case compare: counts, the first difference, and which weights were matched by order."""

    case: str
    weights: int = 0
    scores: int = 0
    predictions: int = 0
    difference: str = ""
    notes: list[str] = field(default_factory=list)


def match_weights(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return old paths and the new ones of the same weights: by name, by the layers' former classes, else by order.

    By order only if there are as many on both sides, and of the same shapes.
    """
    matched = {path: path for path in old if path in new}
    left = {path: None for path in new if path not in matched}
    for path in old:
        if path not in matched and (renamed := rename_path(path)) in left:
            matched[path] = renamed
            del left[renamed]
    rest = [path for path in old if path not in matched]
    if [old[path].shape for path in rest] == [new[path].shape for path in left]:
        matched |= dict(zip(rest, left, strict=True))
    return matched


def find_array_difference(path: str, old: np.ndarray, new: np.ndarray) -> str:
    """Return how two arrays differ in any bit; nothing if they do not."""
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{path}: {old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if old.tobytes() == new.tobytes():
        return ""
    if old.dtype.hasobject or not old.size:
        return f"{path}: values differ"
    old_bytes, new_bytes = (np.frombuffer(array.tobytes(), np.uint8).reshape(old.size, -1) for array in (old, new))
    differ = np.flatnonzero((old_bytes != new_bytes).any(axis=1))
    index = [int(position) for position in np.unravel_index(differ[0], old.shape)]
    first = f"{old.flat[differ[0]]!r} became {new.flat[differ[0]]!r}"
    return f"{path}{index}: {first} ({len(differ):,} of {old.size:,} values differ)"


def flatten(value: object, path: str = "") -> dict[str, str]:
    """Return the leaves of a JSON value by path, as JSON, so that two are equal only if all their digits are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        return {path: json.dumps(value, ensure_ascii=False)}
    leaves = {}
    for key, item in items:
        leaves |= flatten(item, f"{path}.{key}" if path else str(key))
    return leaves


def _is_rounding_of_loss(path: str, old: str, new: str) -> bool:
    """Return whether two training losses differ by rounding alone.

    The loss of an epoch is summed in float32 over each call of the compiled loop, and how many steps a call makes
    depends on how fast the machine is at that moment. Everything else is equal to the last digit.
    """
    return bool(TRAINING_LOSS.search(path)) and math.isclose(float(old), float(new), rel_tol=1e-6)


def find_json_difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return the first difference of flattened JSON values; nothing if there is none."""
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in new:
            return f"{path} is missing now (it was {old[path]})"
        if path not in old:
            return f"{path} is new ({new[path]})"
        if old[path] != new[path] and not _is_rounding_of_loss(path, old[path], new[path]):
            return f"{path}: {old[path]} became {new[path]}"
    return ""


def compare(case: str, old: Results, new: Results) -> Comparison:
    """Compare weights, then scores, then predictions."""
    result = Comparison(case)
    matched = match_weights(old.weights, new.weights)
    differences = [f"the weight {path} is missing now" for path in old.weights if path not in matched]
    differences += [f"the weight {path} is new" for path in new.weights if path not in matched.values()]
    for path, renamed in matched.items():
        differences.append(find_array_difference(path, old.weights[path], new.weights[renamed]))
        if renamed not in (path, rename_path(path)):
            result.notes.append(f"{case}: the weight {path} was taken to be {renamed} now")
    for kind in ("scores", "predictions"):
        old_leaves, new_leaves = flatten(getattr(old, kind), kind), flatten(getattr(new, kind), kind)
        differences.append(find_json_difference(old_leaves, new_leaves))
        if not getattr(old, kind):
            differences.append(f"there are no {kind} to compare")
    result.weights, result.scores = len(matched), len(flatten(old.scores))
    result.predictions = len(old.predictions)
    result.difference = next(filter(None, differences), "" if matched else "there are no weights to compare")
    return result
