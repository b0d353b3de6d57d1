"""Calling a model as its users do: raw inputs in, named arrays out; a run by its code, or an export without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import recipes
from common.errors import RunError
from common.pipeline import in_batches, stacked
from common.recipe import Batch, Endpoint, Example
from common.runs import Run
from common.weights import set_model_weights

CHUNK, BATCH = 2048, 128  # inputs are sorted by length within chunks, so that a batch holds like ones


@dataclass(frozen=True)
class Served:
    """A trained model behind its serving_default function.

    Args:
      recipe: for what surrounds the model, such as fields and presentation.
      call: tensors by name to arrays by name.
      inputs: the names that `call` takes.
    """

    recipe: Any
    config: Any
    call: Callable[[Batch], dict[str, np.ndarray]]
    inputs: tuple[str, ...]

    def outputs(self, examples: Sequence[Example]) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """(positions, outputs) in batches of like length."""
        size = {
            i: sum(len(e[name]) for name in self.inputs if hasattr(e[name], "__len__")) for i, e in enumerate(examples)
        }
        order = sorted(size, key=lambda i: size[i])
        for start in range(0, len(order), BATCH):
            positions = order[start : start + BATCH]
            yield positions, self.call(stacked([{k: examples[i][k] for k in self.inputs} for i in positions]))

    def measures(
        self, examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None
    ) -> dict[str, Any]:
        """The recipe's exact measures over raw examples, each once."""

        def results() -> Iterator[tuple[Batch, list[Example]]]:
            for chunk in in_batches(examples, CHUNK):
                for positions, outputs in self.outputs(chunk):
                    yield outputs, [chunk[i] for i in positions]
                advance(len(chunk))

        return self.recipe.score(results())

    def predictions(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """One JSON object per example, in order."""
        found: dict[int, dict[str, Any]] = {}
        for positions, outputs in self.outputs(examples):
            for row, position in enumerate(positions):
                one = {name: values[row] for name, values in outputs.items()}
                found[position] = self.recipe.present(examples[position], one)
        return [found[i] for i in range(len(examples))]


def compiled(endpoint: Endpoint) -> Callable[[Batch], dict[str, np.ndarray]]:
    """An endpoint as a compiled function from tensors to arrays."""
    function = tf.function(endpoint.function).get_concrete_function(**endpoint.inputs)
    return lambda batch: {name: value.numpy() for name, value in function(**batch).items()}


def of_model(recipe: Any, model: Any, config: Any) -> Served:
    """A model in memory, behind its serving_default."""
    endpoint = recipe.serve(model)["serving_default"]
    return Served(recipe, config, compiled(endpoint), tuple(endpoint.inputs))


def load_recipe(run: Run, named: str | None, trust_code: bool) -> tuple[Any, Any]:
    """(recipe, config) of a run."""
    name = run.recipe_name(named, trust_code)
    config = run.config(recipes.load_config(name).Config)
    try:
        return recipes.load(name)(config, run.assets()), config
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.path / 'assets.json'} is damaged ({error!r}). Restore it, or train anew.") from None


def load_model(run: Run, named: str | None = None, trust_code: bool = False) -> tuple[Any, Any, Any]:
    """(recipe, model, config) of a run, with its best weights.

    Raises:
      RunError: the run is damaged or has no weights.
    """
    recipe, config = load_recipe(run, named, trust_code)
    weights = run.load_best()
    model = recipe.build_model()
    set_model_weights(model, weights)
    return recipe, model, config


def export_folder(path: Path) -> Path | None:
    """The SavedModel folder that `path` names, itself or by its latest version; None if it is no export."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.glob("*") if p.name.isdigit() and (p / "saved_model.pb").is_file()]
    return max(versions, key=lambda p: int(p.name), default=None)


def load(path: Path, named: str | None = None, trust_code: bool = False) -> Served:
    """A run or an export, ready to be called.

    Raises:
      RunError: it is neither, or damaged.
    """
    folder = export_folder(path)
    if folder is None:
        recipe, model, config = load_model(Run.open(path), named, trust_code)
        return of_model(recipe, model, config)
    if not (folder / "assets.extra" / "config.json").exists():
        raise RunError(f"{folder} is a SavedModel of another program: it lacks assets.extra/config.json.")
    recipe, config = load_recipe(Run.open(folder / "assets.extra"), named, trust_code)
    try:
        loaded = tf.saved_model.load(str(folder))
        function = loaded.signatures["serving_default"]
    except Exception as error:  # TensorFlow raises many kinds for a damaged SavedModel
        raise RunError(f"{folder} is damaged ({str(error).splitlines()[0]}). Export it again.") from None
    names = tuple(function.structured_input_signature[1])

    def call(batch: Batch, keep: Any = loaded) -> dict[str, np.ndarray]:  # a signature does not keep its model alive
        outputs: Mapping[str, Any] = function(**batch)
        return {name: value.numpy() for name, value in outputs.items()}

    return Served(recipe, config, call, names)
