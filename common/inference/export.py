"""A SavedModel that takes raw inputs, proved equal to its run in a process without this code, then published."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.data.encoding import input_size, pad_ragged, stack_examples
from common.discovery import load_recipe_config
from common.errors import RunError
from common.inference.export_proof import __file__, pack_bytes
from common.inference.served_model import Predictor, load_model, serve_model
from common.recipe import Recipe
from common.runtime.atomic_io import read_json, save_npz, write_json
from common.runtime.console import print_status, progress_bar
from common.runtime.run_dir import Run
from common.training.weights import iter_named_weights
from common.types import Endpoint, Example, JsonObject

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-4  # of numbers from 0 to 1 and the like; strings must be equal
MANY, FEWER = 1000, 100  # inputs in the largest batch of the proof, of serving_default and of the others


# The proof


@dataclass(frozen=True)
class Question:
    """A batch of inputs for an endpoint."""

    endpoint: str
    number: int
    inputs: Mapping[str, np.ndarray]

    def pack(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return its inputs or outputs under names of their own among those of all questions."""
        packed: dict[str, np.ndarray] = {}
        for name, value in arrays.items():
            packed |= pack_bytes(f"{self.endpoint}/{self.number}/{name}", value)
        return packed


def make_parity_batches(
    recipe: Recipe, held_out: Sequence[Example], inputs: tuple[str, ...], many: int = MANY
) -> list[dict[str, np.ndarray]]:
    """Make what the proof asks: each odd input alone, all of them at once, held-out ones, and a batch of `many`.

    The many are of the shorter half, for each is padded to the longest: thousands of steps times a thousand rows
    would prove no more, and some models take minutes for them.
    """
    odd = recipe.edge_case_inputs()
    everything = odd + [example for example in held_out if set(inputs) <= set(example)]
    short = sorted(everything, key=lambda example: input_size(example[name] for name in inputs))[
        : -(-len(everything) // 2)
    ]
    groups = [[example] for example in odd] + [everything, [short[i % len(short)] for i in range(many)]]
    named = [[{name: example[name] for name in inputs} for example in group] for group in groups]
    return [{name: value.numpy() for name, value in pad_ragged(stack_examples(group)).items()} for group in named]


def max_abs_difference(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> float:
    """Return the largest absolute difference between numbers of the same name.

    Raises:
      RunError: names, shapes or strings differ.
    """
    if set(expected) != set(actual):
        raise RunError(f"The export gives {sorted(actual)[:4]} where the run gives {sorted(expected)[:4]}.")
    largest = 0.0
    for name, value in expected.items():
        answer = actual[name]
        if value.shape != answer.shape:
            raise RunError(f"The export gives {name} the shape {answer.shape} where the run gives {value.shape}.")
        if value.dtype == np.uint8 or np.issubdtype(value.dtype, np.integer):
            if not np.array_equal(value, answer):
                raise RunError(f"The export and the run differ in {name}.")
        elif value.size:
            largest = float(np.maximum(largest, np.abs(value - answer).max()))  # keeps what is no number
    return largest


def _prove(folder: Path, served: Predictor, held_out: Sequence[Example]) -> JsonObject:
    """Load the export in a fresh process and compare; return what the card says of it.

    Raises:
      RunError: the export cannot be used, or does not equal the run.
    """
    questions = _make_questions(served, held_out)
    inputs: dict[str, np.ndarray] = {}
    expected: dict[str, np.ndarray] = {}
    with progress_bar("Proving") as shown:
        for count, question in enumerate(questions):
            shown.update(count, 2 * len(questions), question.endpoint)
            inputs |= question.pack(question.inputs)
            tensors = {name: tf.constant(value) for name, value in question.inputs.items()}
            expected |= question.pack(served.calls[question.endpoint].function(tensors))
        shown.update(len(questions), 2 * len(questions), "in a fresh process")
    difference = max_abs_difference(expected, _answer_in_fresh_process(folder, inputs))
    if not difference <= TOLERANCE:  # also if it is no number
        raise RunError(
            f"The export differs from its run by {difference:g}, more than {TOLERANCE:g}. Nothing was published."
        )
    return {
        "inputs": sum(len(next(iter(question.inputs.values()))) for question in questions),
        "batches": len(questions),
        "max_abs_difference": difference,
        "environment": "a fresh process without this project's code, CPU only",
    }


def _make_questions(served: Predictor, held_out: Sequence[Example]) -> list[Question]:
    questions = []
    for name, call in served.calls.items():
        # One endpoint proves that batches may be large; others share its parts, and may take minutes.
        many = MANY if name == "serving_default" else FEWER
        for number, batch in enumerate(make_parity_batches(served.recipe, held_out, call.inputs, many)):
            questions.append(Question(name, number, batch))
    return questions


def _answer_in_fresh_process(folder: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ask an export in a process of its own, which knows nothing of this project."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as temporary:
        inputs_path, outputs_path = Path(temporary) / "inputs.npz", Path(temporary) / "outputs.npz"
        save_npz(inputs_path, inputs)
        script = [str(Path(__file__).absolute()), str(folder.absolute())]
        completed = subprocess.run(
            [sys.executable, "-I", *script, str(inputs_path), str(outputs_path)],
            cwd=temporary,
            env=environment,
            capture_output=True,
            text=True,
        )
        if completed.returncode:
            last_line = (completed.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(f"The export could not be used in a fresh process ({last_line}). Nothing was published.")
        with np.load(outputs_path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


# The export


def export_saved_model(source: Path, to: Path, recipe_path: str | None = None, trust_code: bool = False) -> Path:
    """Write `to`/<next number>/, a SavedModel with its card in assets.extra/; return that folder.

    Raises:
      RunError: the run is damaged, or the export does not equal it; nothing is left behind then.
    """
    run = Run.open(source)
    recipe, model, config = load_model(run, recipe_path, trust_code)
    samples = run.path / "parity_examples.json"
    held_out = read_json(samples)["examples"] if samples.exists() else []
    with _make_temporary_folder(to) as temporary:
        folder = temporary / "model"
        print_status("Writing the SavedModel")
        signatures = _write_saved_model(folder, recipe, model)
        print_status("Proving it in a fresh process")
        proof = _prove(folder, serve_model(recipe, model, config), held_out)
        usage = load_recipe_config(run.recipe_path(recipe_path, trust_code)).ABOUT.example_call
        _write_extra(folder / "assets.extra", run, _make_card(run, model, signatures, usage, proof))
        return _publish(folder, to)


@contextmanager
def _make_temporary_folder(to: Path) -> Iterator[Path]:
    """Make a folder within `to` (made, too); at the end remove it, and `to` where that was made in vain."""
    if to.exists() and not to.is_dir():
        raise RunError(f"{to} is a file. Name a folder by --output-dir.")
    is_new = not to.exists()
    to.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=to))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and not any(to.iterdir()):
            to.rmdir()


def _write_saved_model(folder: Path, recipe: Recipe, model: keras.Model) -> JsonObject:
    """Write the endpoints of a model; return their inputs and outputs, as the card shows them."""
    endpoints = recipe.make_endpoints(model)
    functions = {
        name: tf.function(endpoint.function, autograph=False).get_concrete_function(**endpoint.input_signature)
        for name, endpoint in endpoints.items()
    }
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.resources = _find_resources(recipe, {})
    tf.saved_model.save(module, str(folder), signatures=functions)
    outputs = {name: function.structured_outputs for name, function in functions.items()}
    return _describe_signatures(endpoints, outputs)


def _find_resources(value: object, seen: dict[int, object]) -> list[object]:
    """Find lookup tables that an object holds, however deep in its attributes: what a SavedModel must track."""
    if id(value) in seen:
        return []
    seen[id(value)] = value
    if isinstance(value, tf.saved_model.experimental.TrackableResource):
        return [value]
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    return [resource for part in inner for resource in _find_resources(part, seen)]


def _describe_signatures(
    endpoints: Mapping[str, Endpoint], outputs: Mapping[str, Mapping[str, tf.TensorSpec]]
) -> JsonObject:
    def describe(specs: Mapping[str, tf.TensorSpec]) -> dict[str, str]:
        return {name: f"{spec.dtype.name}{spec.shape.as_list()}" for name, spec in specs.items()}

    return {
        name: {"inputs": describe(endpoint.input_signature), "outputs": describe(outputs[name])}
        for name, endpoint in endpoints.items()
    }


def _make_card(run: Run, model: keras.Model, signatures: JsonObject, usage: str, proof: JsonObject) -> JsonObject:
    """Make what an export says of itself.

    Args:
      usage: arguments of serving_default in Python, where its inputs are not one text or file.
    """
    metrics = run.metrics() or {}
    measured = metrics.get("test") or metrics.get("valid") or {}
    paths = {id(variable): path for path, variable in iter_named_weights(model)}
    return {
        "recipe": run.metadata["recipe"],
        "run": str(run.path),
        "exported": datetime.now().astimezone().isoformat(timespec="seconds"),
        "signatures": signatures,
        "usage_example": usage,
        "proof": proof,
        "metrics": {name: value for name, value in measured.items() if isinstance(value, float)},
        # In the order of the SavedModel's variables_of_model, so that the export can be trained further.
        "weights": [paths.get(id(variable), "") for variable in model.variables],
    }


def _write_extra(folder: Path, run: Run, card: JsonObject) -> None:
    """Write what is not TensorFlow's: the card, and of the run what calling the export and training it on need."""
    folder.mkdir()
    write_json(folder / "config.json", run.metadata)
    write_json(folder / "assets.json", run.assets())
    if run.metadata["is_custom_recipe"] and (run.path / "recipe_code").is_dir():
        shutil.copytree(run.path / "recipe_code", folder / "recipe_code")
    write_json(folder / "card.json", card)


def _publish(folder: Path, to: Path) -> Path:
    """Rename into the next free version; a race for a number is run again."""
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


def read_card(folder: Path) -> JsonObject:
    """Return what an export says of itself."""
    card: JsonObject = json.loads((folder / "assets.extra" / "card.json").read_text(encoding="utf-8"))
    return card


def format_proof(folder: Path) -> str:
    """Format what was proved of an export."""
    proof = read_card(folder)["proof"]
    return f"Equal to the run on {proof['inputs']:,} inputs; largest difference {proof['max_abs_difference']:.1e}."


def format_usage_example(folder: Path) -> str:
    """Format three lines of Python that load an export."""
    card = read_card(folder)
    name = next(iter(card["signatures"]["serving_default"]["inputs"]))
    own = 'open("your own file", "rb").read()' if name.endswith("_bytes") else '"your own text"'
    call = card["usage_example"] or f"{name}=tf.constant([{own}])"
    return (
        "import tensorflow as tf\n"
        f'model = tf.saved_model.load("{folder}")\n'
        f'print(model.signatures["serving_default"]({call}))'
    )
