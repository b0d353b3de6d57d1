"""What a recipe is: eight members that say what the task is, and defaults for everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import tensorflow as tf

from common.config import RunConfig
from common.data import edge_cases
from common.data.check_examples import check_examples
from common.data.encoding import pad_ragged
from common.data.loading import LoadedData, open_table_source
from common.data.readers.field_roles import describe_inputs
from common.errors import ConfigError
from common.modeling.heads import Head
from common.modeling.metrics import NoMetrics, ratio_metric
from common.text.vocabulary import extend_vocabulary, unfamiliar_words_warning
from common.types import (
    Ask,
    Assets,
    Batch,
    Endpoint,
    Example,
    ExampleSource,
    Field,
    FreezePhase,
    JsonObject,
    Metrics,
    NamedAxis,
    OutputFormat,
    OutputRow,
    PerExampleMetric,
    Splits,
)

if TYPE_CHECKING:
    import keras

SIGNATURES = {  # of an input, by the kind of its field
    "text": ([None], tf.string),
    "image": ([None], tf.string),
    "tokens": ([None, None], tf.string),
    "events": ([None, None, 3], tf.int32),
    "number": ([None], tf.int32),
}

C = TypeVar("C", bound=RunConfig)


class Recipe(ABC, Generic[C]):
    """A task, seen from one replica: `class SentimentRecipe(Recipe[Config])`.

    A recipe has `fields` and the seven abstract methods; all else has a default. What it scores, and how, is said by
    the head that it sets in `__init__`, if it sets one; without one only the loss is measured.
    """

    fields: tuple[Field, ...]  # what an example holds
    # Encoded features and targets by whose lengths batches are sorted, the first first.
    length_features: tuple[str, ...] = ()
    # Patterns of layer names by group, from its input to its output.
    layer_groups: ClassVar[Mapping[str, Sequence[str]]] = {"network": ("*",)}
    extendable_assets: tuple[str, ...] = ()  # lists that keep a base run's entries, new ones behind them

    head: Head | None = None

    def __init__(self, config: C, assets: Assets):
        self.config, self.assets = config, assets

    # What each recipe says for itself, in the order in which it is called

    @classmethod
    @abstractmethod
    def load_data(cls, config: C) -> Splits:
        """Return the raw examples: train, valid, test."""

    @classmethod
    @abstractmethod
    def build_assets(cls, config: C, train: ExampleSource) -> Assets:
        """Return vocabularies, label lists and all else that is taken from the training split alone; streaming."""

    @abstractmethod
    def encode(self, features: Batch) -> Batch:
        """Return model inputs from a batch of raw ones; TensorFlow ops only, the same in training and in serving.

        Each output is dense [batch, ...] or ragged [batch, (time), ...].
        """

    @abstractmethod
    def encode_targets(self, examples: Batch) -> Batch:
        """Return targets from a batch of raw examples; training and evaluation only."""

    @abstractmethod
    def build_model(self) -> keras.Model:
        """Return the functional Keras model with named layers; its inputs are the encoded features by name, dense."""

    @abstractmethod
    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return sums and weights, each [batch]; the loop divides by the global sum of weights.

        Args:
          model: for what the outputs do not hold, such as scores of moves between tags.
        """

    @abstractmethod
    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return named strings and numbers, dense and batch axis first, from encoded features, dense; in graph."""

    # What has a default

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """What serving_default takes of an example: the fields whose kind is an input."""
        return tuple(field for field in self.fields if field.kind in SIGNATURES)

    @property
    def output_formats(self) -> Mapping[str, OutputFormat]:
        """Ways to write predictions besides JSON lines, by the name that `--format` takes."""
        return {}

    @property
    def monitor(self) -> str:
        """The validation metric by which the best weights are chosen."""
        return self.head.monitor if self.head else Head.monitor

    @property
    def monitor_mode(self) -> str:
        """Whether the best is the largest: "max", or the smallest: "min"."""
        return self.head.monitor_mode if self.head else Head.monitor_mode

    @staticmethod
    def open_source(spec: str, fields: Sequence[Field], config: Any) -> LoadedData:
        """Open what `--data`, `--valid` or `--test` names; `load_data` passes it to `load_splits`.

        Args:
          config: of the recipe's own class.
        """
        return open_table_source(spec, fields, config)

    @classmethod
    def extend_assets(cls, config: C, train: ExampleSource, known: Assets) -> Assets:
        """Return what `build_assets` gives for a run that is fine-tuned; what a base run's weights
        depend on stays as it was.

        Args:
          config: has the other's settings where weights depend on them.
          train: with `own`, whose examples alone tell what the new data is like.
          known: the other's assets.
        """
        return cls.extend_known(cls.build_assets(config, train), known)

    @classmethod
    def extend_known(cls, assets: Assets, known: Assets) -> Assets:
        """Return assets with a base run's entries first in each list of `extendable_assets`."""
        return assets | {name: extend_vocabulary(known[name], assets[name]) for name in cls.extendable_assets}

    @classmethod
    def resolve_defaults(cls, config: C, assets: Assets) -> C:
        """Return the config with every default that depends on the data filled in."""
        return config

    @classmethod
    def check_data(cls, config: C, splits: Splits) -> JsonObject:
        """Return what the data holds and what is wrong with it (see common/data/check_examples.py)."""
        return check_examples(splits, cls.fields)

    def initialize_weights(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], inherited: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        """Set weights that are computed from the training split or read, before training.

        Args:
          batches: (features, target) of every training example but replayed ones (`--replay-ratio`), as arrays.
          inherited: paths of weights that another run's will take the place of.

        Returns: by a weight's path the fraction of another run's row that stays where there is one, float [rows]; the
          rest is what was set here. Rows of weights that are not listed, and of all where None, are wholly the other's.
        """
        return None

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        """Return what the axes of weights stand for, by a weight's path and the axis: words, labels, tags.

        By these names rows of another run's weights are found again. Weights that are not listed must agree in shape.
        """
        return {}

    def get_initial_freeze(self, model: keras.Model) -> FreezePhase | None:
        """Return which layers stay as they are at first."""
        return None

    def get_muon_variables(self, model: keras.Model) -> Sequence[tf.Variable]:
        """Return the Keras variables, kernels of hidden layers, that Muon updates rather than AdamW."""
        return []

    def on_epoch_begin(self, model: keras.Model, epoch: int) -> None:
        """Set what changes from epoch to epoch, such as how much is dropped.

        Args:
          epoch: how many have passed, on which alone it may depend.
        """

    def make_endpoints(self, model: keras.Model) -> dict[str, Endpoint]:
        """Return the exported functions; one is named serving_default."""

        def encode_and_predict(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return self.predict(model, pad_ragged(self.encode(inputs)))

        signature = {field.name: tf.TensorSpec(*SIGNATURES[field.kind], field.name) for field in self.input_fields}
        return {"serving_default": Endpoint(encode_and_predict, signature)}

    def edge_case_inputs(self) -> list[Example]:
        """Return inputs of the kind that break models, with which an export is proved besides held-out ones.

        Each holds the inputs of all endpoints.
        """
        values = [(field.name, edge_cases.values(field.kind)) for field in self.input_fields]
        most = max(len(cases) for _, cases in values)
        return [{name: cases[number % len(cases)] for name, cases in values} for number in range(most)]

    # What the head does, for the callers of a recipe

    def make_metrics(self, model: keras.Model) -> Metrics:
        """Return an empty score over encoded targets and the model's outputs, for validation."""
        return self.head.make_metrics(model) if self.head else NoMetrics()

    def on_validation_end(self, model: keras.Model, metrics: Metrics) -> None:
        """Set weights that are fitted on the validation split rather than learned.

        Called after each pass over it, before the result of `make_metrics` is taken, which must be that of the new
        weights.
        """
        if self.head:
            self.head.on_validation_end(model, metrics)

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        """Return the exact metrics of what the endpoints answer, against raw examples."""
        return self.head.compute_metrics(batches, ask) if self.head else {"examples": sum(map(len, batches))}

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        """Return the metric that two models are compared by, as what each example adds to it."""
        return self.head.per_example_metric(batches, ask) if self.head else ratio_metric("none", [])

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        """Return one prediction as a JSON object; `outputs` is one row of serving_default.

        Probabilities of all labels, if there are, stand under "scores".
        """
        shown = describe_inputs(example, self.input_fields)
        if self.head:
            return shown | self.head.format_prediction(example, outputs)
        return shown | {name: _as_json(value) for name, value in outputs.items()}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return how unsure the model is of a prediction, from 0 to 1; `outputs` is one row of serving_default.

        Args:
          by: "entropy" or "margin", of probabilities of labels; None for the recipe's own.

        Raises:
          ConfigError: there is no such measure of what this recipe predicts.
        """
        if self.head is None:
            raise ConfigError(
                "--select-uncertain needs a measure of uncertainty, and this recipe has none: leave it out."
            )
        return self.head.uncertainty(outputs, by)

    def data_warnings(self) -> list[str]:
        """Return what is doubtful in what was learned from the data, such as labels that differ in case only.

        Where the assets hold "known_word_fraction", that of frequent words that the base run knows, a low one is
        doubtful; a recipe with several such fractions overrides this.
        """
        warnings = self.head.data_warnings() if self.head else []
        return warnings + unfamiliar_words_warning(self.assets.get("known_word_fraction"))

    def check_outputs(self, model: keras.Model) -> None:
        """See that `predict` gives what the head needs, by tracing it.

        Raises:
          ConfigError: an output is missing.
        """
        if self.head is None or not self.head.required_outputs:
            return
        specs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs}
        predict = tf.function(lambda features: dict(self.predict(model, features)), autograph=False)
        outputs = predict.get_concrete_function(specs).structured_outputs
        if missing := [name for name in self.head.required_outputs if name not in outputs]:
            raise ConfigError(
                f"{type(self).__name__}.predict gives no {' and no '.join(missing)}, which its"
                f" {type(self.head).__name__} needs: return {', '.join(self.head.required_outputs)}."
            )


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_as_json(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
