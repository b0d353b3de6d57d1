"""The small types that recipes, readers and training share; no TensorFlow, since every config.py needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from common.row_errors import RowErrors

if TYPE_CHECKING:  # a recipe's config is read without TensorFlow, so this module must not import it
    import numpy as np
    import tensorflow as tf

Example = dict[str, Any]  # raw: {"text": "a fine film", "label": "pos"}; strings or bytes, never ids
Assets = dict[str, Any]  # a JSON object learned from the training data: {"words": [...], "labels": [...]}
Shape = tuple[int | None, ...]  # of a batch of arrays; None where it depends on the batch
JsonObject = dict[str, Any]  # what json.loads gives for an object
Batch = dict[str, Any]  # named arrays or tensors, batch axis first
OutputRow = Mapping[str, Any]  # one row of an endpoint's outputs by name: arrays, numbers or bytes


@dataclass(frozen=True)
class RecipeInfo:
    """What `cli.py list` says of a recipe."""

    task: str
    input: str
    output: str
    model: str
    data: str  # the default data, with its licence
    formats: str  # of one's own data
    example_data: str  # such a file, and such an input, as they stand in examples of commands
    example_input: str
    example_call: str = ""  # of an export's serving_default, in Python, where its inputs are not one text or file


@dataclass(frozen=True)
class Field:
    """One thing that an example holds.

    Args:
      name: its key in the example.
      kind: "text" or "label"; "image", the content of a file that TensorFlow decodes (bytes of a PNG, JPEG, GIF or BMP
        file); for sequences "tokens" and "tags"; or for pieces of music "events", int32 [notes, 3], which holds the
        start, duration and pitch of each note in steps and as a MIDI number, and "number", a whole number that tells of
        the piece. What a reader may guess a column by.
      aliases: column names that mean this field, lower case.
    """

    name: str
    kind: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExampleSource:
    """Raw examples that can be read as often as one likes, always in the same order.

    Args:
      name: for people, such as "reviews.csv, 10% by hash".
      read: starts a pass.
      row_errors: what the last pass could not use.
      repairs: what it mended, such as tags that their scheme does not allow.
      without_replay: those of them that are of a run's own data, where the others are its base run's
        (`--replay-ratio`).
    """

    name: str
    read: Callable[[], Iterator[Example]]
    row_errors: RowErrors = field(default_factory=RowErrors)
    repairs: RowErrors = field(default_factory=RowErrors)
    without_replay: ExampleSource | None = None

    def __iter__(self) -> Iterator[Example]:
        return self.read()


@dataclass(frozen=True)
class Splits:
    """The raw examples of a run. A split that is None was not given and not split off."""

    train: ExampleSource
    valid: ExampleSource | None = None
    test: ExampleSource | None = None
    descriptions: tuple[str, ...] = ()  # what was taken and how it was understood, for people
    fingerprint: str = ""  # changes when the data does
    attribution: Mapping[str, str] = field(default_factory=dict)  # source and licence of the recipe's own data

    def items(self) -> list[tuple[str, ExampleSource]]:
        """Return (name, source) of each split that there is."""
        named = {"train": self.train, "valid": self.valid, "test": self.test}
        return [(name, source) for name, source in named.items() if source is not None]


@dataclass(frozen=True)
class Endpoint:
    """A function of the exported model: raw inputs in, named strings, numbers or bytes out.

    Args:
      function: takes tensors by name, batch axis first, and returns a dict of dense tensors.
      input_signature: a tf.TensorSpec by name; core TensorFlow ops alone may follow.
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    input_signature: Mapping[str, tf.TensorSpec]


@dataclass(frozen=True)
class OutputFormat:
    """How predictions are written, other than as JSON lines.

    Args:
      format_row: one prediction, from the example and one row of serving_default's outputs.
      header, footer: what stands before the first and after the last; nothing if empty.
      fills_catalogue: the input is a message catalogue, and comes back with `format_row` of each message
        that has no translation.
    """

    format_row: Callable[[Example, Mapping[str, Any]], str]
    header: str = ""
    footer: str = ""
    fills_catalogue: bool = False


@dataclass(frozen=True)
class Generated:
    """Something that was made up.

    Args:
      record: a JSON object for people and programs.
      files: what is written where.
    """

    record: dict[str, Any]
    files: Sequence[tuple[Path, bytes]] = ()


@dataclass(frozen=True)
class FreezePhase:
    """A first part of the training in which some layers stay as they are, so that new ones beside them settle first.

    Args:
      layers: Keras layers with trained weights. Their batch normalization keeps its statistics, too.
      ratio: of the training that this takes, from 0 to 1. Its learning rate stays at the highest.
      lr_multiplier: by what the learning rate is multiplied after it, when all layers learn.
    """

    layers: Sequence[Any]
    ratio: float
    lr_multiplier: float


@dataclass(frozen=True)
class NamedAxis:
    """What the rows (or columns, and so on) of a weight stand for.

    Args:
      names: one for each, none twice.
      init_new_from: the name of one, such as that of all unknown words, whose values a name that is new begins
        with; None for those of an untrained model.
      labels: what of these a person has named, such as types of entities, so that another spelling is likely a mistake.
    """

    names: Sequence[str]
    init_new_from: str | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class PerExampleMetric:
    """What each example adds to a metric, so that the metric can be taken of any sample of the examples.

    Args:
      name: of the metric, such as "accuracy".
      higher_is_better: whether more is better.
      components: float64 [examples, any], in the order of the examples.
      aggregate: the metric of sums of components, [..., any] to [...].
    """

    name: str
    higher_is_better: bool
    components: np.ndarray
    aggregate: Callable[[np.ndarray], np.ndarray]


# Answers of an endpoint, by its name, to examples that hold its inputs: (positions, outputs) in batches, in any order.
Ask = Callable[[str, list[Example]], Iterator[tuple[list[int], Batch]]]
# Answers of an endpoint, by its name, to examples that hold its inputs: its outputs for each, in order.
Answer = Callable[[str, list[Example]], list[Mapping[str, Any]]]


class Metrics(Protocol):
    """A score that is gathered batch by batch."""

    def update_state(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None: ...

    def result(self) -> dict[str, Any]: ...


@runtime_checkable
class Explains(Protocol):
    """A recipe with an endpoint "explain", whose answers can be shown as a picture."""

    def render_explanation(self, example: Example, outputs: OutputRow) -> bytes:
        """Return a PNG file that shows what in an image made for its label; `outputs` is one row of "explain"."""


@runtime_checkable
class Aligns(Protocol):
    """A recipe with an endpoint "alignment", which answers as serving_default does, and more."""

    def format_alignment(self, example: Example, outputs: OutputRow) -> JsonObject:
        """Return the words of an input and of its prediction, and which belong together; `outputs` is one row."""


@runtime_checkable
class Generates(Protocol):
    """A recipe that generates; its config.py has `GenerationConfig`, whose fields become options of `predict`."""

    def generate(self, request: Any, texts: Sequence[str], answer: Answer) -> Iterator[Generated]:
        """Return what is made up for each of the texts, or without any."""
