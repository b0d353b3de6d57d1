"""Padded batches of encoded examples, in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from common.data.example_store import ExampleStore

NEAR = 2  # lengths that differ by less stand together, in batches by tokens
POOL_BATCHES = 16  # shuffled examples are sorted by length within pools of so many batches
PREFETCH = 4
EVALUATION_STEPS = 2**17  # of all rows of a batch, padding included


def choose_bucket_boundaries(lengths: np.ndarray, most: int = 8) -> list[int]:
    """Return at most `most` lengths to pad to, chosen so that the fewest steps are padding.

    Exact, by dynamic programming over the distinct lengths (over 256 quantiles of them where there are more).

    Args:
      lengths: steps of each example.

    >>> choose_bucket_boundaries(np.array([1, 1, 1, 2, 9, 10]), most=2)
    [2, 10]
    """
    lengths = np.maximum(lengths, 1)
    values, counts = np.unique(lengths, return_counts=True)
    if len(values) > 256:
        values = np.unique(np.quantile(lengths, np.linspace(0, 1, 257), method="higher"))
        counts = np.bincount(np.searchsorted(values, lengths), minlength=len(values))
    total = np.concatenate([[0], np.cumsum(counts)])  # examples among the shortest i distinct lengths
    # cost[i]: fewest steps to hold the i shortest distinct lengths with the number of padded lengths used so far
    cost = np.concatenate([[0.0], np.full(len(values), np.inf)])
    cuts = []
    for _ in range(min(most, len(values))):
        # through[j, i]: lengths j..i-1 share the padded length values[i-1]
        through = cost[:, None] + np.concatenate([[0], values])[None, :] * (total[None, :] - total[:, None])
        through[np.tril_indices(len(total))] = np.inf
        through[:, 0] = np.inf
        cuts.append(through.argmin(axis=0))
        cost = np.minimum(np.concatenate([[np.inf], through.min(axis=0)[1:]]), np.inf)
    chosen, end = [], len(values)
    for cut in reversed(cuts):
        if end == 0:
            break
        chosen.append(int(values[end - 1]))
        end = int(cut[end])
    return sorted(chosen)


def shuffle_batches(
    count: int, batch_size: int, seed: int, epoch: int, lengths: np.ndarray | None = None, multiple: int = 1
) -> np.ndarray:
    """Return the examples of each batch of an epoch, [batches, batch_size]; every example exactly once.

    A pure function of its arguments, so that training goes on after a kill as if nothing had happened. Examples are
    shuffled; with lengths, they are sorted by length within pools, so that a batch holds examples of like length,
    and the batches are shuffled again. The last batch is filled up with -1, as are all to a multiple of rows.

    Args:
      lengths: steps of each example, [count]; or [count, kinds], of which the first kind sorts first.
      multiple: of which the rows of a batch are one; which examples stand together does not depend on it.

    >>> shuffle_batches(5, 2, seed=1, epoch=0).shape
    (3, 2)
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = random.permutation(count)
    if lengths is not None:
        pool = batch_size * POOL_BATCHES
        order = np.concatenate([_sorted(part, lengths) for part in np.split(order, range(pool, count, pool))])
    batches = -(-count // batch_size)
    filled = np.full(batches * batch_size, -1, np.int64)
    filled[:count] = order
    wider = np.full((batches, -(-batch_size // multiple) * multiple), -1, np.int64)
    wider[:, :batch_size] = filled.reshape(batches, batch_size)[random.permutation(batches)]
    return wider


def _sorted(order: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same examples by ascending lengths; those of like lengths stay in order."""
    return order[np.lexsort(np.atleast_2d(lengths[order].T)[::-1])]


def get_lengths(store: ExampleStore, keys: Sequence[str]) -> np.ndarray:
    """Return the steps of each example in ragged columns, [count, columns]."""
    return np.stack([store.columns[key].lengths() for key in keys], axis=1)


def shuffle_token_batches(lengths: np.ndarray, most: int, seed: int, epoch: int, multiple: int = 1) -> list[np.ndarray]:
    """Return the examples of each batch of an epoch, where a batch is bounded by tokens; every example exactly once.

    Examples stand together with those of like lengths of each kind (within `NEAR` steps), so that little is padded;
    which of these, and in which order the batches come, is chance. A pure function of its arguments, with as many
    batches in each epoch.

    Args:
      lengths: steps of each example, [count, kinds], such as source and target; all of them count.
      most: rows of a batch by their padded steps; an example that has more is a batch of its own.
      multiple: rows of a batch, to which it is filled up with -1.

    >>> sorted(len(batch) for batch in shuffle_token_batches(np.array([[2], [2], [4], [9]]), 8, seed=1, epoch=0))
    [1, 1, 2]
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    near = -(-np.maximum(lengths, 1) // NEAR) * NEAR
    order = _sorted(random.permutation(len(lengths)), near)
    # Where batches begin depends on the lengths in order alone, which are those of every epoch.
    starts, widest = [0], np.zeros(lengths.shape[1], np.int64)
    for place, wide in enumerate(near[order]):
        widest = np.maximum(widest, wide)
        if place > starts[-1] and (place - starts[-1] + 1) * widest.sum() > most:
            starts.append(place)
            widest = wide
    batches = []
    for batch in np.split(order, starts[1:]):
        filled = np.full(-(-len(batch) // multiple) * multiple, -1, np.int64)
        filled[: len(batch)] = batch
        batches.append(filled)
    return [batches[place] for place in random.permutation(len(batches))]


def batch_spec(store: ExampleStore, rows: int | None) -> dict[str, tf.TensorSpec]:
    """Return shapes and types of padded batches of `rows` examples by column name; the time axis has any length."""

    def shape(name: str) -> list[int | None]:
        column = store.columns[name]
        time = [] if column.row_splits is None else [None]
        return [rows, *time, *column.values.shape[1:]]

    return {name: tf.TensorSpec(shape(name), store.columns[name].values.dtype) for name in store.columns}


def make_train_dataset(
    store: ExampleStore,
    order: Sequence[np.ndarray],
    length_key: str | None,
    first: int = 0,
    lengths: list[int] | None = None,
    parts: int = 1,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return batches (rows by column name, weight [batch]) of an epoch, prefetched.

    Args:
      order: from `shuffle_batches` or `shuffle_token_batches`; places at -1, which come last, hold copies of the
        batch's examples by turns with weight 0, so that no layer ever sees an empty row, and batch statistics stay
        about those of the examples.
      length_key: the ragged column by which batches are padded, and with it those of the same lengths; others are
        padded to the batch's longest.
      first: the batch to begin with.
      lengths: from `choose_bucket_boundaries`; the shapes that batches may have.
      parts: each batch comes in so many parts of equal rows, one after the other, padded as the whole.
      share: (index, count) of a process; of each part it gets its rows alone, padded as the whole.
    """
    index, count = share

    def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        ragged = {name: column.lengths() for name, column in store.columns.items() if column.row_splits is not None}
        along: list[str] = []  # the columns that share the time axis of length_key
        if length_key is not None and lengths:
            longest = ragged[length_key]
            along = [name for name, lengths_of in ragged.items() if np.array_equal(lengths_of, longest)]
        for indices in order[first:]:
            real = indices >= 0
            pad = {}
            if parts * count > 1:
                pad = {name: int(lengths_of[indices[real]].max(initial=0)) for name, lengths_of in ragged.items()}
            if along and lengths:
                needed = longest[indices[real]].max(initial=1)
                pad |= dict.fromkeys(along, lengths[int(np.searchsorted(lengths, needed))])
            filled = np.resize(indices[real], len(indices))
            size = len(indices) // (parts * count)
            for part in range(parts):
                start = (part * count + index) * size
                rows = slice(start, start + size)
                yield store.gather(filled[rows], pad), real[rows].astype(np.float32)

    sizes = {len(batch) // (parts * count) for batch in order}
    rows = sizes.pop() if len(sizes) == 1 else None
    signature = (batch_spec(store, rows), tf.TensorSpec([rows], tf.float32))
    # Nothing here is tuned, and the end of each epoch would wait for the tuning thread to wake: 1 to 3 s (measured).
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(PREFETCH).with_options(options)


def iter_eval_batches(
    store: ExampleStore, batch_size: int, length_keys: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield every example once, in batches of like length, the last one short; rows by column name.

    Batches of long examples have fewer rows, so that memory is bounded.
    """
    order = np.arange(len(store))
    sizes = np.ones(len(store), int)
    if length_keys:
        lengths = get_lengths(store, length_keys)
        order = _sorted(order, lengths)
        sizes = lengths.max(axis=1)[order]
    start = 0
    while start < len(order):
        longest = np.maximum.accumulate(sizes[start : start + batch_size])
        count = max(int((longest * np.arange(1, len(longest) + 1) <= EVALUATION_STEPS).sum()), 1)
        yield store.gather(order[start : start + count])
        start += count
