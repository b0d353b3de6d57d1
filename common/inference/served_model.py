"""Calling a model as its users do: raw inputs in, named arrays out; a run by its code, or an export without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tensorflow as tf

from common import discovery
from common.data.encoding import batch_examples, input_size, pad_ragged, stack_examples
from common.errors import ConfigError, RunError
from common.recipe import Recipe
from common.runtime.run_dir import Run, find_saved_model
from common.training.distributed import WorkerGroup, create_local_strategy
from common.training.weights import set_model_weights
from common.types import Batch, Endpoint, Example, JsonObject, PerExampleMetric

if TYPE_CHECKING:
    import keras

    from common.config import RunConfig

CHUNK, BATCH = 2048, 128  # inputs are sorted by length within chunks, so that a batch holds like ones

Outputs = dict[str, np.ndarray]  # of an endpoint, by name, batch axis first
Prediction = TypeVar("Prediction")


@dataclass
class EndpointCaller:
    """An endpoint that can be called.

    Args:
      function: tensors by name to arrays by name.
      inputs: the names that it takes.
      on_replicas: the same for several batches, each on a replica of its own; None where there is one.
      output_names: of its outputs, known once it was called.
    """

    function: Callable[[Batch], Outputs]
    inputs: tuple[str, ...]
    on_replicas: Callable[[Sequence[Batch]], list[Outputs]] | None = None
    output_names: tuple[str, ...] = ()

    def __call__(self, examples: Sequence[Example]) -> Outputs:
        """Return the outputs for a batch; lists are padded."""
        return self.function(self._stack_inputs(examples))

    def call_batches(self, batches: Sequence[Sequence[Example]]) -> list[Outputs]:
        """Return the outputs for each batch."""
        inputs = [self._stack_inputs(batch) for batch in batches]
        return self.on_replicas(inputs) if self.on_replicas else [self.function(batch) for batch in inputs]

    def compute_arrays(self, batches: Sequence[Sequence[Example]]) -> list[list[np.ndarray]]:
        """Return the outputs for each batch in the order of `output_names`."""
        outputs = self.call_batches(batches)
        self.output_names = tuple(outputs[0])
        return [[batch_outputs[name] for name in self.output_names] for batch_outputs in outputs]

    def _stack_inputs(self, examples: Sequence[Example]) -> Batch:
        return pad_ragged(stack_examples([{name: example[name] for name in self.inputs} for example in examples]))


@dataclass(frozen=True)
class Predictor:
    """A trained model behind its endpoints.

    Args:
      recipe: for what surrounds the model, such as fields and presentation.
      calls: by endpoint.
      workers: the processes and replicas over which batches are spread.
    """

    recipe: Recipe
    config: RunConfig
    calls: Mapping[str, EndpointCaller]
    workers: WorkerGroup = field(default_factory=lambda: WorkerGroup(tf.distribute.get_strategy()))

    def iter_outputs(self, name: str, examples: Sequence[Example]) -> Iterator[tuple[list[int], Outputs]]:
        """Yield (positions, outputs) of an endpoint in batches of like length; all processes get all of them."""
        call = self.calls[name]
        size = {i: input_size(example[name] for name in call.inputs) for i, example in enumerate(examples)}
        order = sorted(size, key=lambda i: size[i])
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

        def compute(group: list[list[int]]) -> list[list[np.ndarray]]:
            return call.compute_arrays([[examples[i] for i in positions] for positions in group])

        for positions, arrays in self.workers.map_over_replicas(batches, compute):
            yield positions, dict(zip(call.output_names, arrays, strict=True))

    def compute_metrics(
        self, examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None
    ) -> JsonObject:
        """Compute the recipe's metrics over raw examples, each once."""
        return self.recipe.compute_metrics(_iter_chunks(examples, advance), self.iter_outputs)

    def per_example_metric(
        self, examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None
    ) -> PerExampleMetric:
        """Return what each raw example adds to the metric that models are compared by."""
        return self.recipe.per_example_metric(_iter_chunks(examples, advance), self.iter_outputs)

    def predict(
        self,
        examples: Sequence[Example],
        present: Callable[[Example, Mapping[str, np.ndarray]], Prediction],
        name: str = "serving_default",
    ) -> list[Prediction]:
        """Return what `present` makes of each example and an endpoint's outputs for it, in order."""
        presented: dict[int, Prediction] = {}
        for positions, outputs in self.iter_outputs(name, examples):
            for row, position in enumerate(positions):
                row_outputs = {key: values[row] for key, values in outputs.items()}
                presented[position] = present(examples[position], row_outputs)
        return [presented[i] for i in range(len(examples))]


def _iter_chunks(examples: Iterable[Example], advance: Callable[[int], None]) -> Iterator[list[Example]]:
    for chunk in batch_examples(examples, CHUNK):
        yield chunk
        advance(len(chunk))


class ReplicatedEndpoint:
    """An endpoint compiled to answer one batch on each replica of this process; traced when it is first called.

    Args:
      endpoint: the function and its inputs.
      workers: on whose replicas it runs.
    """

    def __init__(self, endpoint: Endpoint, workers: WorkerGroup):
        self.endpoint, self.workers = endpoint, workers
        self._function = tf.function(self._run, autograph=False)
        self._traced: Callable[..., list[Mapping[str, tf.Tensor]]] | None = None

    def call_batches(self, batches: Sequence[Batch]) -> list[Outputs]:
        """Return the outputs for as many batches as there are replicas here."""
        if self._traced is None:
            inputs = dict(self.endpoint.input_signature)
            self._traced = self._function.get_concrete_function(*[inputs] * self.workers.local)
        return [{name: value.numpy() for name, value in outputs.items()} for outputs in self._traced(*batches)]

    def call_batch(self, batch: Batch) -> Outputs:
        """Return the outputs for a single batch."""
        return self.call_batches([batch] * self.workers.local)[0]

    def _run(self, *batches: Batch) -> list[dict[str, tf.Tensor]]:
        return self.workers.run_on_replicas(self._call_endpoint, batches)

    def _call_endpoint(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {**self.endpoint.function(**batch)}


def compile_endpoint(endpoint: Endpoint, workers: WorkerGroup | None = None) -> EndpointCaller:
    """Compile an endpoint as a function from tensors to arrays; traced when it is first called.

    Args:
      workers: on whose replicas it runs.
    """
    replicated = ReplicatedEndpoint(endpoint, workers or WorkerGroup(tf.distribute.get_strategy()))
    return EndpointCaller(replicated.call_batch, tuple(endpoint.input_signature), replicated.call_batches)


def serve_model(
    recipe: Recipe, model: keras.Model, config: RunConfig, strategy: tf.distribute.Strategy | None = None
) -> Predictor:
    """Put a model in memory behind its endpoints.

    Args:
      strategy: in whose scope the model was made, if in any; its replicas share the work.
    """
    workers = WorkerGroup(strategy or tf.distribute.get_strategy())
    calls = {name: compile_endpoint(endpoint, workers) for name, endpoint in recipe.make_endpoints(model).items()}
    return Predictor(recipe, config, calls, workers)


def load_recipe(run: Run, recipe_path: str | None, trust_code: bool) -> tuple[Recipe, RunConfig]:
    """Return (recipe, config) of a run."""
    name = run.recipe_path(recipe_path, trust_code)
    config = run.config(discovery.load_recipe_config(name).Config)
    try:
        return discovery.load_recipe(name)(config, run.assets()), config
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.path / 'assets.json'} is damaged ({error!r}). Restore it, or train anew.") from None


def load_model(
    run: Run, recipe_path: str | None = None, trust_code: bool = False, strategy: tf.distribute.Strategy | None = None
) -> tuple[Recipe, keras.Model, RunConfig]:
    """Return (recipe, model, config) of a run, with its best weights; made in the strategy's scope, if there is one.

    Raises:
      RunError: the run is damaged or has no weights.
    """
    recipe, config = load_recipe(run, recipe_path, trust_code)
    weights = run.load_best()
    with (strategy or tf.distribute.get_strategy()).scope():
        model = recipe.build_model()
    set_model_weights(model, weights)
    return recipe, model, config


def load_predictor(
    path: Path, recipe_path: str | None = None, trust_code: bool = False, devices: str | None = None
) -> Predictor:
    """Load a run or an export, ready to be called.

    Args:
      devices: which share the work of a run, see common.training.distributed.create_strategy; None for all GPUs.

    Raises:
      RunError: it is neither, or damaged.
      ConfigError: an export is to run on several devices.
    """
    folder = find_saved_model(path)
    if folder is None:
        run = Run.open(path)
        strategy = create_local_strategy(devices)
        recipe, model, config = load_model(run, recipe_path, trust_code, strategy)
        return serve_model(recipe, model, config, strategy)
    if devices is not None:
        raise ConfigError(f"{folder} is an export, which runs on one device. Name the run, or leave --devices out.")
    if not (folder / "assets.extra" / "config.json").exists():
        raise RunError(f"{folder} is a SavedModel of another program: it lacks assets.extra/config.json.")
    recipe, config = load_recipe(Run.open(folder / "assets.extra"), recipe_path, trust_code)
    return Predictor(recipe, config, _load_signatures(folder))


def _load_signatures(folder: Path) -> dict[str, EndpointCaller]:
    """Load the endpoints of an export.

    Raises:
      RunError: it is damaged.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
        signatures["serving_default"]
    except Exception as error:  # TensorFlow raises many kinds for a damaged SavedModel
        raise RunError(f"{folder} is damaged ({str(error).splitlines()[0]}). Export it again.") from None

    def make_call(signature: Callable[..., Mapping[str, tf.Tensor]], inputs: tuple[str, ...]) -> EndpointCaller:
        # A signature does not keep its model alive: the default value does.
        def call(batch: Batch, model: object = loaded) -> Outputs:
            return {name: value.numpy() for name, value in signature(**batch).items()}

        return EndpointCaller(call, inputs)

    return {
        name: make_call(signature, tuple(signature.structured_input_signature[1]))
        for name, signature in signatures.items()
    }
