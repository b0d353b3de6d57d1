"""What a recipe is: eight members that say what the task is, and defaults for everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import tensorflow as tf

from common.config import RunConfig
from common.data import edge_cases
from common.data.check_examples import check_examples
from common.data.encoding import densified
from common.data.loading import Opened, open_table_source
from common.errors import ConfigError
from common.modeling.heads import Head
from common.modeling.metrics import Nothing, tally_of_shares
from common.text.vocabulary import extended, strange
from common.types import (
    Answer,
    Ask,
    Assets,
    Axis,
    Batch,
    Endpoint,
    Example,
    Field,
    Format,
    JsonObject,
    Made,
    Measures,
    OutputRow,
    Source,
    Splits,
    Tally,
    WarmUp,
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
NEEDED = ("fields", "load_data", "learn", "encode", "encode_target", "build_model", "loss", "predict")

C = TypeVar("C", bound=RunConfig)


class Recipe(ABC, Generic[C]):
    """A task, seen from one replica: `class SentimentRecipe(Recipe[Config])`.

    A recipe has `fields` and the seven abstract methods; all else has a default. What it scores, and how, is said by
    the head that it sets in `__init__`, if it sets one; without one only the loss is measured.
    """

    fields: tuple[Field, ...]  # what an example holds
    length_keys: tuple[
        str, ...
    ] = ()  # encoded features and targets by whose lengths batches are sorted, the first first
    # Patterns of layer names by part of the network, from its input to its output.
    parts: ClassVar[Mapping[str, Sequence[str]]] = {"network": ("*",)}
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
    def learn(cls, config: C, train: Source) -> Assets:
        """Return vocabularies, label lists and all else that is taken from the training split alone; streaming."""

    @abstractmethod
    def encode(self, features: Batch) -> Batch:
        """Return model inputs from a batch of raw ones; TensorFlow ops only, the same in training and in serving.

        Each output is dense [batch, ...] or ragged [batch, (time), ...].
        """

    @abstractmethod
    def encode_target(self, examples: Batch) -> Batch:
        """Return targets from a batch of raw examples; training and evaluation only."""

    @abstractmethod
    def build_model(self) -> keras.Model:
        """Return the functional Keras model with named layers; its inputs are the encoded features by name, dense."""

    @abstractmethod
    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return sums and weights, each [batch]; the loop divides by the global sum of weights.

        Args:
          model: for what the outputs do not hold, such as scores of moves between tags.
        """

    @abstractmethod
    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return named strings and numbers, dense and batch axis first, from encoded features, dense; in graph."""

    # What has a default

    @property
    def inputs(self) -> tuple[Field, ...]:
        """What serving_default takes of an example: the fields whose kind is an input."""
        return tuple(field for field in self.fields if field.kind in SIGNATURES)

    @property
    def formats(self) -> Mapping[str, Format]:
        """Ways to write predictions besides JSON lines, by the name that `--format` takes."""
        return {}

    @property
    def monitor(self) -> str:
        """The validation measure that the best weights have."""
        return self.head.monitor if self.head else Head.monitor

    @property
    def monitor_mode(self) -> str:
        """Whether the best is the largest: "max", or the smallest: "min"."""
        return self.head.monitor_mode if self.head else Head.monitor_mode

    @staticmethod
    def open_source(spec: str, fields: Sequence[Field], config: Any) -> Opened:
        """Open what `--data`, `--valid` or `--test` names; `load_data` passes it to `load_splits`.

        Args:
          config: of the recipe's own class.
        """
        return open_table_source(spec, fields, config)

    @classmethod
    def relearn(cls, config: C, train: Source, known: Assets) -> Assets:
        """Return what `learn` gives for a run that is fine-tuned; what a base run's weights depend on stays as it was.

        Args:
          config: has the other's settings where weights depend on them.
          train: with `own`, whose examples alone tell what the new data is like.
          known: the other's assets.
        """
        return cls.extend_known(cls.learn(config, train), known)

    @classmethod
    def extend_known(cls, assets: Assets, known: Assets) -> Assets:
        """Return assets with a base run's entries first in each list of `extendable_assets`."""
        return assets | {name: extended(known[name], assets[name]) for name in cls.extendable_assets}

    @classmethod
    def settle(cls, config: C, assets: Assets) -> C:
        """Return the config with every default that depends on the data filled in."""
        return config

    @classmethod
    def check(cls, config: C, splits: Splits) -> JsonObject:
        """Return what the data holds and what is wrong with it (see common/check.py)."""
        return check_examples(splits, cls.fields)

    def begin(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        """Set weights that are computed from the training split or read, before training.

        Args:
          batches: (features, target) of every training example but replayed ones (`--replay`), as arrays.
          kept: paths of weights that another run's will take the place of.

        Returns: by a weight's path the share of another run's row that stays where there is one, float [rows]; the
          rest is what was set here. Rows of weights that are not listed, and of all where None, are wholly the other's.
        """
        return None

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        """Return what the axes of weights stand for, by a weight's path and the axis: words, labels, tags.

        By these names rows of another run's weights are found again. Weights that are not listed must agree in shape.
        """
        return {}

    def warm_up(self, model: keras.Model) -> WarmUp | None:
        """Return which layers stay as they are at first."""
        return None

    def orthogonal(self, model: keras.Model) -> Sequence[tf.Variable]:
        """Return the Keras variables, kernels of hidden layers, that Muon updates rather than AdamW."""
        return []

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        """Set what changes from epoch to epoch, such as how much is dropped.

        Args:
          epoch: how many have passed, on which alone it may depend.
        """

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        """Return the exported functions; one is named serving_default."""

        def encode_and_predict(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return self.predict(model, densified(self.encode(inputs)))

        signature = {field.name: tf.TensorSpec(*SIGNATURES[field.kind], field.name) for field in self.inputs}
        return {"serving_default": Endpoint(encode_and_predict, signature)}

    def odd_inputs(self) -> list[Example]:
        """Return inputs of the kind that break models, with which an export is proved besides held-out ones.

        Each holds the inputs of all endpoints.
        """
        values = [(field.name, edge_cases.values(field.kind)) for field in self.inputs]
        most = max(len(cases) for _, cases in values)
        return [{name: cases[number % len(cases)] for name, cases in values} for number in range(most)]

    # What the head does, for the callers of a recipe

    def measures(self, model: keras.Model) -> Measures:
        """Return an empty score over encoded targets and the model's outputs, for validation."""
        return self.head.make_metrics(model) if self.head else Nothing()

    def conclude(self, model: keras.Model, measures: Measures) -> None:
        """Set weights that are fitted on the validation split rather than learned.

        Called after each pass over it, before the result of `measures` is taken, which must be that of the new weights.
        """
        if self.head:
            self.head.on_validation_end(model, measures)

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        """Return the exact measures of what the endpoints answer, against raw examples."""
        return self.head.compute_metrics(batches, ask) if self.head else {"examples": sum(map(len, batches))}

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        """Return the measure that two models are compared by, as what each example adds to it; see `score`."""
        return self.head.per_example_metric(batches, ask) if self.head else tally_of_shares("none", [])

    def present(self, example: Example, outputs: OutputRow) -> JsonObject:
        """Return one prediction as a JSON object; `outputs` is one row of serving_default.

        Shares of all labels, if there are, stand under "scores".
        """
        shown: JsonObject = {}
        for field in self.inputs:
            if field.kind == "image":
                shown["file"] = example.get("file")
            elif field.kind in ("text", "tokens"):
                shown[field.name] = example[field.name]
        if self.head:
            return shown | self.head.format_prediction(example, outputs)
        return shown | {name: _as_json(value) for name, value in outputs.items()}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return how unsure the model is of a prediction, from 0 to 1; `outputs` is one row of serving_default.

        Args:
          by: "entropy" or "margin", of shares of labels; None for the recipe's own measure.

        Raises:
          ConfigError: there is no such measure of what this recipe predicts.
        """
        if self.head is None:
            raise ConfigError("--uncertain needs a measure of uncertainty, and this recipe has none: leave it out.")
        return self.head.uncertainty(outputs, by)

    def doubts(self) -> list[str]:
        """Return what is doubtful in what was learned from the data, such as labels that differ in case only.

        Where the assets hold "familiar", the share of frequent words that the base run knows, a low one is doubtful;
        a recipe with several such shares overrides this.
        """
        return (self.head.data_warnings() if self.head else []) + strange(self.assets.get("familiar"))

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


@runtime_checkable
class Explains(Protocol):
    """A recipe with an endpoint "explain", whose answers can be shown as a picture."""

    def explanation(self, example: Example, outputs: OutputRow) -> bytes:
        """Return a PNG file that shows what in an image made for its label; `outputs` is one row of "explain"."""


@runtime_checkable
class Aligns(Protocol):
    """A recipe with an endpoint "alignment", which answers as serving_default does, and more."""

    def alignment(self, example: Example, outputs: OutputRow) -> JsonObject:
        """Return the words of an input and of its prediction, and which belong together; `outputs` is one row."""


@runtime_checkable
class Generates(Protocol):
    """A recipe that makes something up; its config.py has `Wishes`, whose fields become options of `predict`."""

    def made(self, wishes: Any, texts: Sequence[str], answer: Answer) -> Iterator[Made]:
        """Return what is made up for each of the texts, or without any."""


def find_recipe_class(module: ModuleType) -> type[Recipe[Any]]:
    """Return the one class of a module that extends `Recipe`.

    Raises:
      ConfigError: there is none, there are several, or it lacks a member.
    """
    place = module.__file__ or module.__name__
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Recipe) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        count = "no class" if not classes else "more than one class"
        raise ConfigError(f"{place} holds {count} that extends common.recipe.Recipe: one is needed.")
    found = classes[0]
    missing = [name for name in NEEDED if not hasattr(found, name) or name in found.__abstractmethods__]
    if missing:
        raise ConfigError(
            f"{place}: {found.__name__} lacks {', '.join(missing)}; a recipe has {', '.join(NEEDED[:-1])} and"
            f" {NEEDED[-1]}."
        )
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_as_json(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
