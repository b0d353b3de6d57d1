"""The small types that recipes, readers and training share; no TensorFlow, since every config.py needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.row_errors import Problems

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
