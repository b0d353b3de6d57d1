"""The names that a recipe answers to. Interfaces only: a recipe calls functions, it inherits nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.problems import Problems

if TYPE_CHECKING:  # a recipe's config is read without TensorFlow, so this module must not import it
    import keras
    import numpy as np
    import tensorflow as tf

Example = dict[str, Any]  # raw: {"text": "a fine film", "label": "pos"}; strings or bytes, never ids
Assets = dict[str, Any]  # a JSON object learned from the training data: {"words": [...], "labels": [...]}
JsonObject = dict[str, Any]  # what json.loads gives for an object
Batch = dict[str, Any]  # named arrays or tensors, batch axis first


@dataclass(frozen=True)
class About:
    """What `cli.py list` says of a recipe."""

    task: str
    input: str
    output: str
    model: str
    data: str  # the default data, with its licence
    formats: str  # of one's own data
    own_data: str  # such a file, and such an input, as they stand in examples of commands
    own_input: str
    own_call: str = ""  # of an export's serving_default, in Python, where its inputs are not one text or file


@dataclass(frozen=True)
class Field:
    """One thing that an example holds.

    Args:
      name: its key in the example.
      kind: "text" or "label"; "image", the content of a file that TensorFlow decodes (bytes of a PNG, JPEG, GIF or BMP
        file); for sequences "tokens" and "tags"; or for pieces of music "events", int32 [notes, 3], which holds the
        start, duration and pitch of each note in steps and as a MIDI number, and "number", a whole number that tells of
        the piece. What a reader may guess a column by.
      names: column names that mean this field, lower case.
    """

    name: str
    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Raw examples that can be read as often as one likes, always in the same order.

    Args:
      name: for people, such as "reviews.csv, 10% by hash".
      read: starts a pass.
      problems: what the last pass could not use.
      repairs: what it mended, such as tags that their scheme does not allow.
      own: those of them that are of a run's own data, where the others are its source's (`--replay`).
    """

    name: str
    read: Callable[[], Iterator[Example]]
    problems: Problems = field(default_factory=Problems)
    repairs: Problems = field(default_factory=Problems)
    own: Source | None = None

    def __iter__(self) -> Iterator[Example]:
        return self.read()


@dataclass(frozen=True)
class Splits:
    """The raw examples of a run. A part that is None was not given and not split off."""

    train: Source
    valid: Source | None = None
    test: Source | None = None
    notes: tuple[str, ...] = ()  # what was taken and how it was understood, for people
    fingerprint: str = ""  # changes when the data does
    attribution: Mapping[str, str] = field(default_factory=dict)  # source and licence of the recipe's own data

    def given(self) -> list[tuple[str, Source]]:
        """(name, source) of each part that there is."""
        named = {"train": self.train, "valid": self.valid, "test": self.test}
        return [(name, source) for name, source in named.items() if source is not None]


@dataclass(frozen=True)
class Endpoint:
    """A function of the exported model: raw inputs in, named strings, numbers or bytes out.

    Args:
      function: takes tensors by name, batch axis first, and returns a dict of dense tensors.
      inputs: a tf.TensorSpec by name; core TensorFlow ops alone may follow.
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]


@dataclass(frozen=True)
class Format:
    """How predictions are written, other than as JSON lines.

    Args:
      one: one prediction, from the example and one row of serving_default's outputs.
      begin, end: what stands before the first and after the last; nothing if empty.
      catalogue: the input is a message catalogue, and comes back with `one` of each message that has no translation.
    """

    one: Callable[[Example, Mapping[str, Any]], str]
    begin: str = ""
    end: str = ""
    catalogue: bool = False


@dataclass(frozen=True)
class Made:
    """Something that was made up.

    Args:
      shown: a JSON object for people and programs.
      files: what is written where.
    """

    shown: dict[str, Any]
    files: Sequence[tuple[Path, bytes]] = ()


@dataclass(frozen=True)
class WarmUp:
    """A first part of the training in which some layers stay as they are, so that new ones beside them settle first.

    Args:
      layers: Keras layers with trained weights. Their batch normalization keeps its statistics, too.
      share: of the training that this takes, from 0 to 1. Its learning rate stays at the highest.
      rate: by what the learning rate is multiplied after it, when all layers learn.
    """

    layers: Sequence[Any]
    share: float
    rate: float


@dataclass(frozen=True)
class Axis:
    """What the rows (or columns, and so on) of a weight stand for.

    Args:
      names: one for each, none twice.
      like: the name of one, such as that of all unknown words, whose values a name that is new begins with; None for
        those of an untrained model.
      labels: what of these a person has named, such as types of entities, so that another spelling is likely a mistake.
    """

    names: Sequence[str]
    like: str | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Tally:
    """What each example adds to a measure, so that the measure can be taken of any sample of the examples.

    Args:
      measure: its name, such as "accuracy".
      higher: whether more is better.
      parts: float64 [examples, any], in the order of the examples.
      of: the measure of sums of parts, [..., any] to [...].
    """

    measure: str
    higher: bool
    parts: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]


# Answers of an endpoint, by its name, to examples that hold its inputs: (positions, outputs) in batches, in any order.
Ask = Callable[[str, list[Example]], Iterator[tuple[list[int], Batch]]]
# Answers of an endpoint, by its name, to examples that hold its inputs: its outputs for each, in order.
Answer = Callable[[str, list[Example]], list[Mapping[str, Any]]]


class Measures(Protocol):
    """A score that is gathered batch by batch."""

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None: ...

    def result(self) -> dict[str, Any]: ...


class Recipe(Protocol):
    """A task, seen from one replica."""

    assets: Assets
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
