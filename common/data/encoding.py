"""Raw examples turned into the features and targets that a network takes, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock

import numpy as np
import tensorflow as tf

from common.data.example_store import Store, StoreWriter
from common.runtime.parallel import in_parallel
from common.text.vocabulary import utf8
from common.types import Batch, Example

ENCODE_BATCH = 1024  # raw examples that are encoded in one call
BATCH_BYTES = 8 * 2**20  # of raw examples in one call
FEATURE, TARGET = "feature/", "target/"  # how a store names the columns of each kind


def in_batches(examples: Iterable[Example], size: int, most: int = BATCH_BYTES) -> Iterator[list[Example]]:
    """Lists of `size` examples, fewer where they are long; the last one is shorter.

    Args:
      most: characters or bytes beyond which a batch takes no more.

    >>> [len(batch) for batch in in_batches([{}] * 5, 2)]
    [2, 2, 1]
    """
    return (batch for _, batch in batch_by_name((("", example) for example in examples), size, most))


def batch_by_name(
    named: Iterable[tuple[str, Example]], size: int, most: int = BATCH_BYTES
) -> Iterator[tuple[str, list[Example]]]:
    """(name, batch) of examples with names; each name has batches of its own, which are as `in_batches` makes them.

    >>> list(batch_by_name([("a", {}), ("b", {}), ("a", {})], 2))
    [('a', [{}, {}]), ('b', [{}])]
    """
    batches: dict[str, list[Example]] = {}
    held: dict[str, int] = {}
    for name, example in named:
        batch = batches.setdefault(name, [])
        batch.append(example)
        size_of_example = sum(getattr(value, "nbytes", 0) or weight([value]) for value in example.values())
        held[name] = held.get(name, 0) + size_of_example
        if len(batch) == size or held[name] >= most:
            yield name, batches.pop(name)
            held[name] = 0
    yield from batches.items()


def weight(values: Iterable[object]) -> int:
    """How much some inputs hold: characters, bytes or items; a number holds nothing.

    >>> weight(["abc", [1, 2], 7])
    5
    """
    return sum(len(value) for value in values if hasattr(value, "__len__"))


def stacked(examples: list[Example]) -> Batch:
    """Columns of a list of raw examples as tensors, batch axis first.

    Lists become ragged, [batch, (time)], and so do arrays of whole numbers, [batch, (time), ...].

    >>> stacked([{"text": "a"}, {"text": "b"}])["text"].numpy().tolist()
    [b'a', b'b']
    """

    def raw(value: object) -> object:
        return utf8(value) if isinstance(value, str) else value

    found: Batch = {}
    for name, first in examples[0].items():
        column = [example[name] for example in examples]
        if isinstance(first, list):
            flat = tf.constant([raw(value) for row in column for value in row], None if any(column) else tf.string)
            found[name] = tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in column])
        elif isinstance(first, np.ndarray) and first.dtype.kind == "i":
            found[name] = tf.RaggedTensor.from_row_lengths(np.concatenate(column), [len(row) for row in column])
        else:
            found[name] = tf.constant([raw(value) for value in column])
    return found


def densified(features: Batch) -> Batch:
    """The same features with ragged ones padded with 0 to the longest; for serving, in graph."""
    return {k: v.to_tensor() if isinstance(v, tf.RaggedTensor) else v for k, v in features.items()}


def _spec(value: tf.Tensor | tf.RaggedTensor) -> tf.TypeSpec:
    """Of batches of any size."""
    if isinstance(value, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, None, *value.shape[2:]], value.dtype, ragged_rank=1)
    return tf.TensorSpec([None, *value.shape[1:]], value.dtype)


class Encoder:
    """Compiles an encoding function once, for batches of any size, and runs it.

    Args:
      encode: maps a raw batch to named dense [batch, ...] or ragged [batch, (time), ...] tensors; TensorFlow ops only.
      names: what it takes of an example; None for all.
    """

    def __init__(self, encode: Callable[[Batch], Batch], names: Sequence[str] | None = None):
        self.encode, self.names = encode, names
        self.compiled: Callable[[Batch], Batch] | None = None
        self.compiling = Lock()

    def __call__(
        self, examples: list[Example]
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """(dense arrays, (values, lengths) of ragged ones), each by name."""
        names = self.names or list(examples[0])
        batch = stacked([{name: example[name] for name in names} for example in examples])
        with self.compiling:
            if self.compiled is None:
                specs = {name: _spec(value) for name, value in batch.items()}
                compiled = tf.function(self.encode, input_signature=[specs], autograph=False)
                compiled.get_concrete_function()  # traced here, by one thread
                self.compiled = compiled
        dense: dict[str, np.ndarray] = {}
        ragged: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, value in self.compiled(batch).items():
            if isinstance(value, tf.RaggedTensor):
                ragged[name] = value.values.numpy(), value.row_lengths().numpy()
            else:
                dense[name] = value.numpy()
        return dense, ragged


def encoded(
    examples: Iterable[Example],
    encode: Encoder,
    writer: StoreWriter,
    advance: Callable[[int], None] = lambda count: None,
) -> Store:
    """A store of encoded examples.

    Args:
      examples: raw, streamed.
      encode: shared by the parts of a run, so that it is compiled once.
      writer: where the store grows; in memory, or on disk when large.
      advance: told how many examples each step added.
    """
    named = (("", example) for example in examples)
    return encode_together(named, encode, {"": writer}, advance)[""]


def encode_together(
    named: Iterable[tuple[str, Example]],
    encode: Encoder,
    writers: Mapping[str, StoreWriter],
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Store]:
    """Stores of encoded examples by name, from one pass over all of them.

    Args:
      named: (name, raw example), streamed.
      encode: compiled once for all.
      writers: where the store of each name grows.
      advance: told how many examples each step added.
    """
    batches = batch_by_name(named, ENCODE_BATCH)
    for name, count, dense, ragged in in_parallel(lambda one: (one[0], len(one[1]), *encode(one[1])), batches):
        writers[name].append(dense, ragged)
        advance(count)
    return {name: writer.close() for name, writer in writers.items()}
