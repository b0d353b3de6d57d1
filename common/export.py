"""A SavedModel that takes raw inputs, proved equal to its run in a process without this code, then published."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import recipes
from common import endpoints
from common.encoding import densified, stacked, weight
from common.errors import RunError
from common.files import read_json, save_arrays, write_json
from common.progress import display, say
from common.recipe import Example
from common.runs import Run
from common.weights import named_weights

TOLERANCE = 1e-4  # of numbers from 0 to 1 and the like; strings must be equal
MANY, FEWER = 1000, 100  # inputs in the largest batch of the proof, of serving_default and of the others

# Runs in a fresh interpreter, on the CPU, without this project on its path.
_PROOF = """
import sys, numpy as np, tensorflow as tf
folder, inputs, outputs = sys.argv[1:]
model = tf.saved_model.load(folder)
found = {}
with np.load(inputs, allow_pickle=False) as stored:
    batches = {}
    for key in stored.files:
        if not key.endswith("/lengths"):
            endpoint, number, name = key.split("/")
            value = stored[key]
            if key + "/lengths" in stored.files:
                lengths = stored[key + "/lengths"]
                ends = np.cumsum(lengths.ravel())
                raw = value.tobytes()
                items = [raw[end - length:end] for end, length in zip(ends, lengths.ravel())]
                value = np.array(items, object).reshape(lengths.shape)
            batches.setdefault((endpoint, number), {})[name] = tf.constant(value)
for (endpoint, number), batch in batches.items():
    for name, value in model.signatures[endpoint](**batch).items():
        value = value.numpy()
        key = "/".join((endpoint, number, name))
        if value.dtype == object:
            flat = value.ravel().tolist()
            found[key] = np.frombuffer(b"".join(flat), np.uint8)
            found[key + "/lengths"] = np.array([len(item) for item in flat], np.int64).reshape(value.shape)
        else:
            found[key] = value
np.savez(outputs, **found)
"""


def _flat(prefix: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays without objects: bytes end to end, with their lengths."""
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if value.dtype == object:
            items = value.ravel().tolist()
            found[f"{prefix}/{name}"] = np.frombuffer(b"".join(items), np.uint8)
            found[f"{prefix}/{name}/lengths"] = np.array([len(item) for item in items], np.int64).reshape(value.shape)
        else:
            found[f"{prefix}/{name}"] = value
    return found


def _resources(thing: Any, seen: dict[int, Any]) -> list[Any]:
    """Lookup tables that an object holds, however deep among its own attributes: what a SavedModel must track."""
    if id(thing) in seen:
        return []
    seen[id(thing)] = thing
    if isinstance(thing, tf.saved_model.experimental.TrackableResource):
        return [thing]
    if isinstance(thing, dict):
        inner = list(thing.values())
    elif isinstance(thing, list | tuple):
        inner = list(thing)
    else:
        inner = list(getattr(thing, "__dict__", {}).values())
    return [found for part in inner for found in _resources(part, seen)]


def batches(
    recipe: Any, held_out: list[Example], inputs: tuple[str, ...], many: int = MANY
) -> list[dict[str, np.ndarray]]:
    """What the proof asks: each odd input alone, all of them at once, held-out ones, and a batch of `many`.

    The many are of the shorter half, for each is padded to the longest: thousands of steps times a thousand rows
    would prove no more, and some models take minutes for them.
    """
    odd = recipe.odd_inputs()
    all_ = odd + [example for example in held_out if set(inputs) <= set(example)]
    short = sorted(all_, key=lambda example: weight(example[name] for name in inputs))[: -(-len(all_) // 2)]
    groups = [[one] for one in odd] + [all_, [short[i % len(short)] for i in range(many)]]
    named = [[{name: example[name] for name in inputs} for example in group] for group in groups]
    return [{name: value.numpy() for name, value in densified(stacked(group)).items()} for group in named]


def largest_difference(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """The largest absolute difference between numbers of the same name.

    Raises:
      RunError: names, shapes or strings differ.
    """
    if set(expected) != set(found):
        raise RunError(f"The export gives {sorted(found)[:4]} where the run gives {sorted(expected)[:4]}.")
    largest = 0.0
    for name, value in expected.items():
        other = found[name]
        if value.shape != other.shape:
            raise RunError(f"The export gives {name} the shape {other.shape} where the run gives {value.shape}.")
        if value.dtype == np.uint8 or np.issubdtype(value.dtype, np.integer):
            if not np.array_equal(value, other):
                raise RunError(f"The export and the run differ in {name}.")
        elif value.size:
            largest = float(np.maximum(largest, np.abs(value - other).max()))  # keeps what is no number
    return largest


def _prove(folder: Path, recipe: Any, served: endpoints.Served, held_out: list[Example]) -> dict[str, Any]:
    """Loads the export in a fresh process and compares; returns what the card says of it."""
    asked = [
        (name, number, batch)
        for name, call in served.calls.items()
        for number, batch in enumerate(
            # One endpoint proves that batches may be large; others share its parts, and may take minutes.
            batches(recipe, held_out, call.inputs, MANY if name == "serving_default" else FEWER)
        )
    ]
    expected: dict[str, np.ndarray] = {}
    questions: dict[str, np.ndarray] = {}
    with display("Proving") as shown:
        for count, (name, number, batch) in enumerate(asked):
            shown.show(count, 2 * len(asked), name)
            questions |= _flat(f"{name}/{number}", batch)
            answers = served.calls[name].function({k: tf.constant(v) for k, v in batch.items()})
            expected |= _flat(f"{name}/{number}", answers)
        shown.show(len(asked), 2 * len(asked), "in a fresh process")
    with tempfile.TemporaryDirectory() as place:
        save_arrays(Path(place) / "inputs.npz", questions)
        names = [str(folder.absolute()), str(Path(place) / "inputs.npz"), str(Path(place) / "outputs.npz")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROOF, *names], cwd=place, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(f"The export could not be used in a fresh process ({last}). Nothing was published.")
        with np.load(Path(place) / "outputs.npz", allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    difference = largest_difference(expected, found)
    if not difference <= TOLERANCE:  # also if it is no number
        raise RunError(
            f"The export differs from its run by {difference:g}, more than {TOLERANCE:g}. Nothing was published."
        )
    return {
        "inputs": sum(len(next(iter(batch.values()))) for _, _, batch in asked),
        "batches": len(asked),
        "largest_difference": difference,
        "where": "a fresh process without this project's code, CPU only",
    }


def _signatures(served_as: Mapping[str, Any], functions: Mapping[str, Any]) -> dict[str, Any]:
    def shown(specs: Mapping[str, Any]) -> dict[str, str]:
        return {name: f"{spec.dtype.name}{spec.shape.as_list()}" for name, spec in specs.items()}

    return {
        name: {"inputs": shown(endpoint.inputs), "outputs": shown(functions[name].structured_outputs)}
        for name, endpoint in served_as.items()
    }


def export(source: Path, to: Path, named: str | None = None, trust_code: bool = False) -> Path:
    """Writes `to`/<next number>/, a SavedModel with its card in assets.extra/; returns that folder.

    Raises:
      RunError: the run is damaged, or the export does not equal it; nothing is left behind then.
    """
    run = Run.open(source)
    recipe, model, _ = endpoints.load_model(run, named, trust_code)
    samples = run.path / "samples.json"
    held_out = read_json(samples)["examples"] if samples.exists() else []
    if to.exists() and not to.is_dir():
        raise RunError(f"{to} is a file. Name a folder by --to.")
    made = not to.exists()
    to.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=to))
    try:
        say("Writing the SavedModel")
        served_as = recipe.serve(model)
        functions = {
            name: tf.function(endpoint.function, autograph=False).get_concrete_function(**endpoint.inputs)
            for name, endpoint in served_as.items()
        }
        module = tf.Module()
        module.variables_of_model = [variable.value for variable in model.variables]
        module.resources = _resources(recipe, {})
        tf.saved_model.save(module, str(temporary / "model"), signatures=functions)
        say("Proving it in a fresh process")
        served = endpoints.of_model(recipe, model, None)
        proof = _prove(temporary / "model", recipe, served, held_out)
        extra = temporary / "model" / "assets.extra"
        extra.mkdir()
        write_json(extra / "config.json", run.about)
        write_json(extra / "assets.json", run.assets())
        if run.about.get("own") and (run.path / "source").is_dir():
            shutil.copytree(run.path / "source", extra / "source")
        measured = (run.metrics() or {}).get("test") or (run.metrics() or {}).get("valid") or {}
        paths = {id(variable): path for path, variable in named_weights(model)}
        card = {
            "recipe": run.about["recipe"],
            "run": str(run.path),
            "exported": datetime.now().astimezone().isoformat(timespec="seconds"),
            "signatures": _signatures(served_as, functions),
            "call": recipes.load_config(run.recipe_name(named, trust_code)).ABOUT.own_call,
            "proof": proof,
            "measures": {name: value for name, value in measured.items() if isinstance(value, float)},
            # In the order of the SavedModel's variables_of_model, so that the export can be trained further.
            "weights": [paths.get(id(variable), "") for variable in model.variables],
        }
        write_json(extra / "card.json", card)
        return _publish(temporary / "model", to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if made and not any(to.iterdir()):
            to.rmdir()


def _publish(folder: Path, to: Path) -> Path:
    """Renames into the next free version; a race for a number is run again."""
    while True:
        versions = [int(path.name) for path in to.iterdir() if path.name.isdigit()]
        target = to / str(max(versions, default=0) + 1)
        try:
            folder.chmod(0o755)
            folder.rename(target)
            return target
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody took that number
                raise


def example_calls(folder: Path) -> str:
    """Three lines of Python that load an export."""
    card = json.loads((folder / "assets.extra" / "card.json").read_text(encoding="utf-8"))
    name = next(iter(card["signatures"]["serving_default"]["inputs"]))
    own = 'open("your own file", "rb").read()' if name.endswith("_bytes") else '"your own text"'
    call = card["call"] or f"{name}=tf.constant([{own}])"
    return (
        "import tensorflow as tf\n"
        f'model = tf.saved_model.load("{folder}")\n'
        f'print(model.signatures["serving_default"]({call}))'
    )
