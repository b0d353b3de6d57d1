"""Raw examples turned into the features and targets that a network takes, each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock

import numpy as np
import tensorflow as tf

from common.data.example_store import ExampleStore, StoreWriter
from common.runtime.parallel import parallel_map
from common.text.vocabulary import to_utf8_bytes
from common.types import Batch, Example

ENCODE_BATCH = 1024  # raw examples that are encoded in one call
BATCH_BYTES = 8 * 2**20  # of raw examples in one call
FEATURE, TARGET = "feature/", "target/"  # how a store names the columns of each kind


def batch_examples(examples: Iterable[Example], size: int, most: int = BATCH_BYTES) -> Iterator[list[Example]]:
    """Yield lists of `size` examples, fewer where they are long; the last one is shorter.

    Args:
      most: characters or bytes beyond which a batch takes no more.

    >>> [len(batch) for batch in batch_examples([{}] * 5, 2)]
    [2, 2, 1]
    """
    return (batch for _, batch in batch_by_name((("", example) for example in examples), size, most))


def batch_by_name(
    named: Iterable[tuple[str, Example]], size: int, most: int = BATCH_BYTES
) -> Iterator[tuple[str, list[Example]]]:
    """Yield (name, batch) of examples with names; each name has its own batches, as `batch_examples` makes them.

    >>> list(batch_by_name([("a", {}), ("b", {}), ("a", {})], 2))
    [('a', [{}, {}]), ('b', [{}])]
    """
    batches: dict[str, list[Example]] = {}
    held: dict[str, int] = {}
    for name, example in named:
        batch = batches.setdefault(name, [])
        batch.append(example)
        size_of_example = sum(getattr(value, "nbytes", 0) or input_size([value]) for value in example.values())
        held[name] = held.get(name, 0) + size_of_example
        if len(batch) == size or held[name] >= most:
            yield name, batches.pop(name)
            held[name] = 0
    yield from batches.items()


def iter_texts(examples: Iterable[Example], labels: Counter[str]) -> Iterator[list[str]]:
    """Yield the texts of examples with labels in batches, and count the labels in `labels` on the way."""
    for batch in batch_examples(examples, ENCODE_BATCH):
        labels.update(example["label"] for example in batch)
        yield [example["text"] for example in batch]


def input_size(values: Iterable[object]) -> int:
    """Return how much some inputs hold: characters, bytes or items; a number holds nothing.

    >>> input_size(["abc", [1, 2], 7])
    5
    """
    return sum(len(value) for value in values if hasattr(value, "__len__"))


def stack_examples(examples: list[Example]) -> Batch:
    """Return columns of a list of raw examples as tensors, batch axis first.

    Lists become ragged, [batch, (time)], and so do arrays of whole numbers, [batch, (time), ...].

    >>> stack_examples([{"text": "a"}, {"text": "b"}])["text"].numpy().tolist()
    [b'a', b'b']
    """

    def raw(value: object) -> object:
        return to_utf8_bytes(value) if isinstance(value, str) else value

    columns: Batch = {}
    for name, first in examples[0].items():
        column = [example[name] for example in examples]
        if isinstance(first, list):
            flat = tf.constant([raw(value) for row in column for value in row], None if any(column) else tf.string)
            columns[name] = tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in column])
        elif isinstance(first, np.ndarray) and first.dtype.kind == "i":
            columns[name] = tf.RaggedTensor.from_row_lengths(np.concatenate(column), [len(row) for row in column])
        else:
            columns[name] = tf.constant([raw(value) for value in column])
    return columns


def pad_ragged(features: Batch) -> Batch:
    """Return the same features with ragged ones padded with 0 to the longest; for serving, in graph."""
    return {k: v.to_tensor() if isinstance(v, tf.RaggedTensor) else v for k, v in features.items()}


def _spec(value: tf.Tensor | tf.RaggedTensor) -> tf.TypeSpec:
    """Of batches of any size."""
    if isinstance(value, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, None, *value.shape[2:]], value.dtype, ragged_rank=1)
    return tf.TensorSpec([None, *value.shape[1:]], value.dtype)


class CompiledEncoder:
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
        batch = stack_examples([{name: example[name] for name in names} for example in examples])
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


def encode_to_store(
    examples: Iterable[Example],
    encode: CompiledEncoder,
    writer: StoreWriter,
    advance: Callable[[int], None] = lambda count: None,
) -> ExampleStore:
    """Return a store of encoded examples.

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
    encode: CompiledEncoder,
    writers: Mapping[str, StoreWriter],
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, ExampleStore]:
    """Return stores of encoded examples by name, from one pass over all of them.

    Args:
      named: (name, raw example), streamed.
      encode: compiled once for all.
      writers: where the store of each name grows.
      advance: told how many examples each step added.
    """
    batches = batch_by_name(named, ENCODE_BATCH)
    for name, count, dense, ragged in parallel_map(lambda named: (named[0], len(named[1]), *encode(named[1])), batches):
        writers[name].append(dense, ragged)
        advance(count)
    return {name: writer.close() for name, writer in writers.items()}
