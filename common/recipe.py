"""The names that a recipe answers to. Interfaces only: a recipe calls functions, it inherits nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

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
    Made,
    Measures,
    Source,
    Splits,
    Tally,
    WarmUp,
)

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf


class Recipe(Protocol):
    """A task, seen from one replica."""

    fields: tuple[Field, ...]  # what an example holds
    inputs: tuple[Field, ...]  # what serving_default takes of it
    formats: Mapping[str, Format]  # ways to write predictions, by name
    length_keys: tuple[str, ...]  # encoded features and targets by whose lengths batches are sorted, the first first
    parts: Mapping[str, Sequence[str]]  # patterns of layer names by part of the network, from its input to its output
    monitor: str  # the validation measure that the best weights have
    monitor_mode: str  # "max" or "min"

    def __init__(self, config: Any, assets: Assets): ...

    @classmethod
    def load_data(cls, config: Any) -> Splits:
        """Raw examples: train, valid, test."""

    @classmethod
    def learn(cls, config: Any, train: Source) -> Assets:
        """Vocabularies, label lists and all else that is taken from the training part alone; streaming."""

    @classmethod
    def relearn(cls, config: Any, train: Source, known: Assets) -> Assets:
        """What `learn` gives for a run that is fine-tuned: all that another's weights depend on stays as it was there.

        Args:
          config: has the other's settings where weights depend on them.
          train: with `own`, whose examples alone tell what the new data is like.
          known: the other's assets.
        """

    @classmethod
    def settle(cls, config: Any, assets: Assets) -> Any:
        """The config with every default that depends on the data filled in."""

    @classmethod
    def check(cls, config: Any, splits: Splits) -> dict[str, Any]:
        """What the data holds and what is wrong with it (see common/check.py)."""

    def encode(self, features: Batch) -> Batch:
        """Model inputs from a batch of raw ones; TensorFlow ops only, the same in training and in serving.

        Each output is dense [batch, ...] or ragged [batch, (time), ...].
        """

    def encode_target(self, examples: Batch) -> Batch:
        """Targets from a batch of raw examples; training and evaluation only."""

    def build_model(self) -> keras.Model:
        """The functional Keras model with named layers; inputs are the encoded features by name, dense."""

    def begin(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()
    ) -> Mapping[str, np.ndarray] | None:
        """Sets weights that are computed from the training part or read, before training; most recipes do nothing.

        Args:
          batches: (features, target) of every training example but replayed ones (`--replay`), as arrays.
          kept: paths of weights that another run's will take the place of.

        Returns: by a weight's path the share of another run's row that stays where there is one, float [rows]; the
          rest is what was set here. Rows of weights that are not listed, and of all where None, are wholly the other's.
        """

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        """What the axes of weights stand for, by a weight's path and the axis: words, labels, tags.

        By these names rows of another run's weights are found again. Weights that are not listed must agree in shape.
        """

    def warm_up(self, model: keras.Model) -> WarmUp | None:
        """Which layers stay as they are at first; None in most recipes."""

    def orthogonal(self, model: keras.Model) -> Sequence[Any]:
        """The Keras variables, kernels of hidden layers, that Muon updates rather than AdamW; none in most recipes."""

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        """Sets what changes from epoch to epoch, such as how much is dropped; most recipes do nothing.

        Args:
          epoch: how many have passed, on which alone it may depend.
        """

    def loss(self, model: keras.Model, target: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Sums and weights, each [batch]; the loop divides by the global sum of weights.

        Args:
          model: for what the outputs do not hold, such as scores of moves between tags.
        """

    def measures(self, model: keras.Model) -> Measures:
        """An empty score over encoded targets and the model's outputs, for validation."""

    def conclude(self, model: keras.Model, measures: Measures) -> None:
        """Sets weights that are fitted on the validation part rather than learned; most recipes do nothing.

        Called after each pass over that part, before the result of `measures` is taken, which must be that of the new
        weights.
        """

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        """The exact measures of what the endpoints answer, against raw examples."""

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        """The measure that two models are compared by, as what each example adds to it; see `score`."""

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        """The exported functions; one is named serving_default."""

    def doubts(self) -> list[str]:
        """What is doubtful in what was learned from the data, such as labels that differ in case only, for people."""

    def odd_inputs(self) -> list[Example]:
        """Inputs of the kind that break models, with which an export is proved besides held-out ones.

        Each holds the inputs of all endpoints.
        """

    def present(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """One prediction as a JSON object; `outputs` is one row of serving_default.

        Shares of all labels, if there are, stand under "scores".
        """

    def uncertainty(self, outputs: Mapping[str, Any], by: str | None) -> float:
        """How unsure the model is of a prediction, from 0 to 1; `outputs` is one row of serving_default.

        Args:
          by: "entropy" or "margin", of shares of labels; None for the recipe's own measure.

        Raises:
          ConfigError: there is no such measure of what this recipe predicts.
        """

    def explanation(self, example: Example, outputs: Mapping[str, Any]) -> bytes:
        """A PNG file that shows what in an image made for its label; `outputs` is one row of the endpoint "explain".

        Only where there is such an endpoint.
        """

    def alignment(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """The words of an input and of its prediction, and which belong together, as a JSON object.

        Only where there is an endpoint "alignment", of which `outputs` is one row. It answers as serving_default does,
        and more.
        """

    def made(self, wishes: Any, texts: Sequence[str], answer: Answer) -> Iterator[Made]:
        """What `predict` makes up for each of the texts, or without any.

        Only where config.py has `Wishes`, a dataclass whose fields are options of `predict`, as those of `Config` are
        options of `run`.
        """
