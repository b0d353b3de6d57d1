"""Calling a model as its users do: raw inputs in, named arrays out; a run by its code, or an export without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import recipes
from common.distribute import Peers, local_strategy
from common.encoding import densified, in_batches, stacked, weight
from common.errors import ConfigError, RunError
from common.recipe import Batch, Endpoint, Example, Tally
from common.runs import Run, export_folder
from common.weights import set_model_weights

CHUNK, BATCH = 2048, 128  # inputs are sorted by length within chunks, so that a batch holds like ones


@dataclass(frozen=True)
class Call:
    """An endpoint that can be called.

    Args:
      function: tensors by name to arrays by name.
      inputs: the names that it takes.
      on_replicas: the same for several batches, each on a replica of its own; None where there is one.
    """

    function: Callable[[Batch], dict[str, np.ndarray]]
    inputs: tuple[str, ...]
    on_replicas: Callable[[Sequence[Batch]], list[dict[str, np.ndarray]]] | None = None

    def __call__(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The outputs for a batch; lists are padded."""
        return self.function(self._inputs(examples))

    def several(self, batches: Sequence[Sequence[Example]]) -> list[dict[str, np.ndarray]]:
        """The outputs for each batch."""
        inputs = [self._inputs(batch) for batch in batches]
        return self.on_replicas(inputs) if self.on_replicas else [self.function(one) for one in inputs]

    def _inputs(self, examples: Sequence[Example]) -> Batch:
        return densified(stacked([{name: one[name] for name in self.inputs} for one in examples]))


@dataclass(frozen=True)
class Served:
    """A trained model behind its endpoints.

    Args:
      recipe: for what surrounds the model, such as fields and presentation.
      calls: by endpoint.
      peers: the processes and replicas over which batches are spread.
    """

    recipe: Any
    config: Any
    calls: Mapping[str, Call]
    peers: Peers = field(default_factory=lambda: Peers(tf.distribute.get_strategy()))

    def outputs(self, name: str, examples: Sequence[Example]) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """(positions, outputs) of an endpoint in batches of like length; all processes get all of them."""
        call = self.calls[name]
        size = {i: weight(example[name] for name in call.inputs) for i, example in enumerate(examples)}
        order = sorted(size, key=lambda i: size[i])
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        names: list[str] = []

        def compute(group: list[list[int]]) -> list[list[np.ndarray]]:
            found = call.several([[examples[i] for i in positions] for positions in group])
            names[:] = found[0]
            return [list(one.values()) for one in found]

        for positions, arrays in self.peers.spread(batches, compute):
            yield positions, dict(zip(names, arrays, strict=True))

    def measures(
        self, examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None
    ) -> dict[str, Any]:
        """The recipe's exact measures over raw examples, each once."""
        return self.recipe.score(_chunks(examples, advance), self.outputs)

    def tally(self, examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None) -> Tally:
        """What each raw example adds to the measure that models are compared by."""
        return self.recipe.tally(_chunks(examples, advance), self.outputs)

    def predictions(
        self,
        examples: Sequence[Example],
        present: Callable[[Example, Mapping[str, Any]], Any],
        name: str = "serving_default",
    ) -> list[Any]:
        """What `present` makes of each example and an endpoint's outputs for it, in order."""
        found: dict[int, Any] = {}
        for positions, outputs in self.outputs(name, examples):
            for row, position in enumerate(positions):
                one = {key: values[row] for key, values in outputs.items()}
                found[position] = present(examples[position], one)
        return [found[i] for i in range(len(examples))]


def _chunks(examples: Iterable[Example], advance: Callable[[int], None]) -> Iterator[list[Example]]:
    for chunk in in_batches(examples, CHUNK):
        yield chunk
        advance(len(chunk))


def compiled(endpoint: Endpoint, peers: Peers | None = None) -> Call:
    """An endpoint as a compiled function from tensors to arrays; traced when it is first called.

    Args:
      peers: on whose replicas it runs.
    """
    peers = peers or Peers(tf.distribute.get_strategy())
    several = tf.function(
        lambda *batches: peers.on_replicas(lambda batch: {**endpoint.function(**batch)}, batches), autograph=False
    )
    traced: list[Any] = []

    def on_replicas(batches: Sequence[Batch]) -> list[dict[str, np.ndarray]]:
        if not traced:
            traced.append(several.get_concrete_function(*[dict(endpoint.inputs)] * peers.local))
        return [{name: value.numpy() for name, value in one.items()} for one in traced[0](*batches)]

    def call(batch: Batch) -> dict[str, np.ndarray]:
        return on_replicas([batch] * peers.local)[0]

    return Call(call, tuple(endpoint.inputs), on_replicas)


def of_model(recipe: Any, model: Any, config: Any, strategy: tf.distribute.Strategy | None = None) -> Served:
    """A model in memory, behind its endpoints.

    Args:
      strategy: in whose scope the model was made, if in any; its replicas share the work.
    """
    peers = Peers(strategy or tf.distribute.get_strategy())
    calls = {name: compiled(endpoint, peers) for name, endpoint in recipe.serve(model).items()}
    return Served(recipe, config, calls, peers)


def load_recipe(run: Run, named: str | None, trust_code: bool) -> tuple[Any, Any]:
    """(recipe, config) of a run."""
    name = run.recipe_name(named, trust_code)
    config = run.config(recipes.load_config(name).Config)
    try:
        return recipes.load(name)(config, run.assets()), config
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.path / 'assets.json'} is damaged ({error!r}). Restore it, or train anew.") from None


def load_model(
    run: Run, named: str | None = None, trust_code: bool = False, strategy: tf.distribute.Strategy | None = None
) -> tuple[Any, Any, Any]:
    """(recipe, model, config) of a run, with its best weights; made in the strategy's scope, if there is one.

    Raises:
      RunError: the run is damaged or has no weights.
    """
    recipe, config = load_recipe(run, named, trust_code)
    weights = run.load_best()
    with (strategy or tf.distribute.get_strategy()).scope():
        model = recipe.build_model()
    set_model_weights(model, weights)
    return recipe, model, config


def load(path: Path, named: str | None = None, trust_code: bool = False, devices: str | None = None) -> Served:
    """A run or an export, ready to be called.

    Args:
      devices: which share the work of a run, see common.distribute.strategy; None for all GPUs.

    Raises:
      RunError: it is neither, or damaged.
      ConfigError: an export is to run on several devices.
    """
    folder = export_folder(path)
    if folder is None:
        run = Run.open(path)
        strategy = local_strategy(devices)
        recipe, model, config = load_model(run, named, trust_code, strategy)
        return of_model(recipe, model, config, strategy)
    if devices is not None:
        raise ConfigError(f"{folder} is an export, which runs on one device. Name the run, or leave --devices out.")
    if not (folder / "assets.extra" / "config.json").exists():
        raise RunError(f"{folder} is a SavedModel of another program: it lacks assets.extra/config.json.")
    recipe, config = load_recipe(Run.open(folder / "assets.extra"), named, trust_code)
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
        signatures["serving_default"]
    except Exception as error:  # TensorFlow raises many kinds for a damaged SavedModel
        raise RunError(f"{folder} is damaged ({str(error).splitlines()[0]}). Export it again.") from None

    def call_of(function: Any) -> Call:
        def call(
            batch: Batch, keep: Any = loaded
        ) -> dict[str, np.ndarray]:  # a signature does not keep its model alive
            outputs: Mapping[str, Any] = function(**batch)
            return {name: value.numpy() for name, value in outputs.items()}

        return Call(call, tuple(function.structured_input_signature[1]))

    return Served(recipe, config, {name: call_of(function) for name, function in signatures.items()})
