"""Order, padding and batches against brute force; every example once, whatever the sizes."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data import batching
from common.data.batching import (
    POOL_BATCHES,
    choose_bucket_boundaries,
    iter_eval_batches,
    make_train_dataset,
    shuffle_batches,
    shuffle_token_batches,
)
from common.data.encoding import pad_ragged, stack_examples
from common.data.example_store import Column, ExampleStore

PROPERTY = settings(max_examples=50, deadline=None)


def store_of(lengths):
    """A store whose example i has `lengths[i]` tokens i+1, as many times two tags i+1, and the label i."""
    lengths = np.array(lengths)
    numbers = np.repeat(np.arange(1, len(lengths) + 1, dtype=np.int32), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return ExampleStore(
        {
            "tokens": Column(numbers, starts),
            "tags": Column(np.stack([numbers, numbers], axis=1), starts),
            "label": Column(np.arange(len(lengths), dtype=np.int32)),
        },
        len(lengths),
    )


# epoch_order

orders = st.fixed_dictionaries(
    {
        "count": st.integers(0, 200),
        "batch_size": st.integers(1, 20),
        "seed": st.integers(0, 2**31 - 1),
        "epoch": st.integers(0, 1000),
        "multiple": st.integers(1, 4),
    }
)


def lengths_for(count, seed):
    return np.random.default_rng(seed).integers(0, 30, count)


@PROPERTY
@given(arguments=orders, by_length=st.booleans())
def test_epoch_order_holds_every_example_once(arguments, by_length):
    lengths = lengths_for(arguments["count"], arguments["seed"]) if by_length else None
    order = shuffle_batches(**arguments, lengths=lengths)
    assert sorted(order[order >= 0]) == list(range(arguments["count"]))


@PROPERTY
@given(arguments=orders, by_length=st.booleans())
def test_epoch_order_fills_only_the_end_of_one_batch(arguments, by_length):
    lengths = lengths_for(arguments["count"], arguments["seed"]) if by_length else None
    order = shuffle_batches(**{**arguments, "multiple": 1}, lengths=lengths)
    short = [row for row in order.tolist() if -1 in row]
    assert len(short) == (arguments["count"] % order.shape[1] > 0)
    for row in short:
        real = row.index(-1)
        assert real > 0
        assert set(row[real:]) == {-1}


@PROPERTY
@given(arguments=orders)
def test_epoch_order_has_the_same_batches_whatever_their_rows_are_a_multiple_of(arguments):
    size, multiple = arguments["batch_size"], arguments["multiple"]
    plain, wider = shuffle_batches(**{**arguments, "multiple": 1}), shuffle_batches(**arguments)
    assert wider.shape == (len(plain), next(n for n in range(size, size + multiple) if n % multiple == 0))
    assert (wider[:, :size] == plain).all() and (wider[:, size:] == -1).all()


@PROPERTY
@given(arguments=orders)
def test_epoch_order_is_a_pure_function(arguments):
    lengths = lengths_for(arguments["count"], 1)
    first = shuffle_batches(**arguments, lengths=lengths)
    np.random.seed(7)  # neither global random state nor earlier calls matter
    shuffle_batches(10, 3, seed=9, epoch=9)
    np.testing.assert_array_equal(shuffle_batches(**arguments, lengths=lengths), first)


@pytest.mark.parametrize("by_length", [False, True])
def test_epoch_order_differs_between_epochs_and_seeds(by_length):
    lengths = lengths_for(100, 1) if by_length else None
    found = {
        shuffle_batches(100, 8, seed=seed, epoch=epoch, lengths=lengths).tobytes()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(found) == 16


@PROPERTY
@given(batch_size=st.integers(1, 8), seed=st.integers(0, 99), data=st.data())
def test_epoch_order_batches_within_a_pool_do_not_overlap_in_length(batch_size, seed, data):
    count = data.draw(st.integers(1, batch_size * POOL_BATCHES))
    lengths = lengths_for(count, seed)
    order = shuffle_batches(count, batch_size, seed, 0, lengths)
    ranges = sorted((lengths[row[row >= 0]].min(), lengths[row[row >= 0]].max()) for row in order)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))


def test_epoch_order_of_many_pools_pads_little():
    lengths = lengths_for(4000, 1) + 1

    def steps(order):
        return sum(lengths[row[row >= 0]].max() * (row >= 0).sum() for row in order)

    assert steps(shuffle_batches(4000, 8, 1, 0, lengths)) < 1.1 * lengths.sum()
    assert steps(shuffle_batches(4000, 8, 1, 0)) > 1.5 * lengths.sum()


def test_epoch_order_shuffles_batches_of_like_length():
    lengths = np.arange(128)
    order = shuffle_batches(128, 8, 1, 0, lengths)  # one pool
    firsts = order[:, 0].tolist()
    assert sorted(firsts) == list(range(0, 128, 8))
    assert firsts not in (sorted(firsts), sorted(firsts, reverse=True))


# padded_lengths


def cost(lengths, chosen):
    """Steps of all examples, each padded to the least chosen length that holds it."""
    return sum(min(c for c in chosen if c >= max(length, 1)) for length in lengths)


@PROPERTY
@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=30), most=st.integers(1, 4))
def test_padded_lengths_equal_the_best_of_all_subsets(lengths, most):
    distinct = sorted({max(length, 1) for length in lengths})
    subsets = (
        {*others, distinct[-1]} for size in range(most) for others in combinations(distinct[:-1], size)
    )  # the longest must be among them
    assert cost(lengths, choose_bucket_boundaries(np.array(lengths), most)) == min(cost(lengths, s) for s in subsets)


@PROPERTY
@given(lengths=st.lists(st.integers(0, 10**6), min_size=1, max_size=600), most=st.integers(1, 9))
def test_padded_lengths_are_few_ascending_and_hold_the_longest(lengths, most):
    chosen = choose_bucket_boundaries(np.array(lengths), most)
    assert 1 <= len(chosen) <= most
    assert chosen == sorted(set(chosen))
    assert chosen[0] >= 1
    assert chosen[-1] == max(1, *lengths)


def test_padded_lengths_of_many_distinct_lengths_are_nearly_best():
    lengths = np.random.default_rng(1).lognormal(5, 1, 3000).astype(int) + 1
    values, counts = np.unique(lengths, return_counts=True)
    assert len(values) > 256
    # best[k][i]: fewest steps of the examples of the i shortest distinct lengths with k padded lengths
    below = np.concatenate([[0], np.cumsum(counts)])
    best = [0.0] + [float("inf")] * len(values)
    for _ in range(4):
        best = [0.0] + [
            min(best[j] + values[i - 1] * (below[i] - below[j]) for j in range(i)) for i in range(1, len(values) + 1)
        ]
    assert best[-1] <= cost(lengths, choose_bucket_boundaries(lengths, 4)) <= 1.02 * best[-1]


def test_padded_lengths_of_no_example_are_none():
    assert choose_bucket_boundaries(np.array([], np.int64)) == []


# training_batches


def as_numpy(batches):
    return [({k: v.numpy() for k, v in rows.items()}, weights.numpy()) for rows, weights in batches]


def test_training_batches_have_a_static_batch_axis():
    store = store_of([3, 1, 2, 5, 4])
    rows, weights = make_train_dataset(store, shuffle_batches(5, 2, 1, 0), "tokens").element_spec
    assert {name: spec.shape.as_list() for name, spec in rows.items()} == {
        "tokens": [2, None],
        "tags": [2, None, 2],
        "label": [2],
    }
    assert weights.shape.as_list() == [2]
    assert weights.dtype == tf.float32


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=20), batch_size=st.integers(1, 6), seed=st.integers(0, 99)
)
def test_training_batches_hold_the_rows_of_the_order(lengths, batch_size, seed):
    store = store_of(lengths)
    order = shuffle_batches(len(lengths), batch_size, seed, 0, np.array(lengths))
    found = as_numpy(make_train_dataset(store, order, "tokens", lengths=choose_bucket_boundaries(np.array(lengths), 3)))
    assert len(found) == len(order)
    for (rows, weights), indices in zip(found, order, strict=True):
        assert weights.tolist() == [float(i >= 0) for i in indices]  # 0 on fill rows, 1 on all others
        for row, index in enumerate(indices):
            index = index if index >= 0 else indices[row % (indices >= 0).sum()]  # copies by turns
            assert rows["label"][row] == index
            tokens = rows["tokens"][row]
            assert tokens.tolist() == [index + 1] * lengths[index] + [0] * (len(tokens) - lengths[index])
            assert rows["tags"][row][: lengths[index]].tolist() == [[index + 1] * 2] * lengths[index]


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    size=st.integers(1, 6),
    parts=st.integers(1, 3),
    count=st.integers(1, 3),
)
def test_training_batches_of_processes_and_parts_make_the_whole(lengths, size, parts, count):
    store = store_of(lengths)
    order = shuffle_batches(len(lengths), size, 1, 0, np.array(lengths), parts * count)
    allowed = choose_bucket_boundaries(np.array(lengths), 3)
    whole = as_numpy(make_train_dataset(store, order, "tokens", lengths=allowed))
    shares = [
        as_numpy(make_train_dataset(store, order, "tokens", lengths=allowed, parts=parts, share=(at, count)))
        for at in range(count)
    ]
    for number, (rows, weights) in enumerate(whole):
        pieces = [share[number * parts + part] for part in range(parts) for share in shares]
        assert np.concatenate([real for _, real in pieces]).tolist() == weights.tolist()
        for name, value in rows.items():
            np.testing.assert_array_equal(np.concatenate([piece[name] for piece, _ in pieces]), value)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30), most=st.integers(1, 4))
def test_training_batches_have_only_the_padded_lengths(lengths, most):
    allowed = choose_bucket_boundaries(np.array(lengths), most)
    order = shuffle_batches(len(lengths), 3, 1, 0, np.array(lengths))
    for rows, _ in make_train_dataset(store_of(lengths), order, "tokens", lengths=allowed):
        needed = max(lengths[i] for i in rows["label"].numpy())
        assert rows["tokens"].shape[1] == min(length for length in allowed if length >= needed)


def test_training_batches_pad_columns_of_like_lengths_alike():
    order = np.array([[0, 1]])
    [(rows, _)] = as_numpy(make_train_dataset(store_of([3, 2]), order, "tokens", lengths=[8]))
    assert rows["tokens"].shape == (2, 8)
    assert rows["tags"].shape == (2, 8, 2)


def test_training_batches_pad_other_columns_to_the_longest_of_the_batch():
    tokens, target = Column(np.arange(5), np.array([0, 3, 5])), Column(np.arange(7), np.array([0, 1, 7]))
    store = ExampleStore({"tokens": tokens, "target": target}, 2)
    [(rows, _)] = as_numpy(make_train_dataset(store, np.array([[0, 1]]), "tokens", lengths=[8]))
    assert rows["tokens"].shape == (2, 8)
    assert rows["target"].tolist() == [[0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]]


def test_training_batches_without_padded_lengths_pad_to_the_longest_of_the_batch():
    found = as_numpy(make_train_dataset(store_of([3, 2, 7, 1]), np.array([[0, 1], [3, 2]]), "tokens"))
    assert [rows["tokens"].shape for rows, _ in found] == [(2, 3), (2, 7)]


def test_training_batches_without_a_length_key_take_dense_columns():
    store = ExampleStore({"image": Column(np.arange(12).reshape(3, 2, 2))}, 3)
    found = as_numpy(make_train_dataset(store, np.array([[2, 0], [1, -1]]), None))
    assert found[0][0]["image"].tolist() == [[[8, 9], [10, 11]], [[0, 1], [2, 3]]]
    assert found[1][1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("first", range(6))
def test_training_batches_first_goes_on_where_it_left(first):
    lengths = [3, 1, 2, 5, 4, 0, 9, 2, 2]
    store, order = store_of(lengths), shuffle_batches(9, 2, 1, 0, np.array(lengths))
    everything = as_numpy(make_train_dataset(store, order, "tokens", 0, [4, 9]))
    rest = as_numpy(make_train_dataset(store, order, "tokens", first, [4, 9]))
    assert len(everything) == 5
    assert len(rest) == 5 - first
    for (rows, weights), (expected, expected_weights) in zip(rest, everything[first:], strict=True):
        np.testing.assert_array_equal(weights, expected_weights)
        for name in expected:
            np.testing.assert_array_equal(rows[name], expected[name])


# token_batches


@PROPERTY
@given(
    lengths=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60),
    most=st.integers(1, 100),
    seed=st.integers(0, 9),
    multiple=st.integers(1, 3),
)
def test_token_batches_hold_every_example_once_and_few_tokens(lengths, most, seed, multiple):
    lengths = np.array(lengths)
    epochs = [shuffle_token_batches(lengths, most, seed, epoch, multiple) for epoch in range(3)]
    assert len({len(batches) for batches in epochs}) == 1
    for batches in epochs:
        chosen = [batch[batch >= 0] for batch in batches]
        assert sorted(np.concatenate(chosen).tolist()) == list(range(len(lengths)))
        for batch, real in zip(batches, chosen, strict=True):
            assert len(batch) % multiple == 0
            assert 0 <= len(batch) - len(real) < multiple
            assert len(real) == 1 or len(real) * lengths[real].max(axis=0).sum() <= most


def test_token_batches_hold_like_lengths_in_another_order_each_epoch():
    lengths = np.array([[4, 4]] * 40 + [[4, 8]] * 18 + [[8, 2]] * 20)
    first, second = (shuffle_token_batches(lengths, 80, 1, epoch) for epoch in (0, 1))
    for batch in first:
        assert len({tuple(lengths[one]) for one in batch}) == 1
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
    again = shuffle_token_batches(lengths, 80, 1, 0)
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]


def test_training_batches_of_different_sizes():
    found = as_numpy(make_train_dataset(store_of([3, 2, 7]), [np.array([0, 1]), np.array([2])], "tokens"))
    assert [rows["tokens"].shape for rows, _ in found] == [(2, 3), (1, 7)]


# evaluation_batches


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), batch_size=st.integers(1, 9), by_length=st.booleans()
)
def test_evaluation_batches_visit_every_example_once(lengths, batch_size, by_length):
    found = list(iter_eval_batches(store_of(lengths), batch_size, ["tokens"] if by_length else ()))
    assert sorted(i for rows in found for i in rows["label"]) == list(range(len(lengths)))
    sizes = [len(rows["label"]) for rows in found]
    assert set(sizes[:-1]) <= {batch_size}
    assert 1 <= sizes[-1] <= batch_size


def test_evaluation_batches_hold_like_lengths():
    found = list(iter_eval_batches(store_of([5, 1, 9, 2, 8]), 2, ["tokens"]))
    assert [rows["label"].tolist() for rows in found] == [[1, 3], [0, 4], [2]]
    assert found[0]["tokens"].tolist() == [[2, 0], [4, 4]]


def test_evaluation_batches_of_long_examples_have_fewer_rows(monkeypatch):
    monkeypatch.setattr(batching, "EVALUATION_STEPS", 10)
    found = list(iter_eval_batches(store_of([3, 4, 3, 30, 5]), 4, ["tokens"]))
    # By length: 3 3 4 would take 3 * 4 steps with padding; a row of more than all steps stands alone.
    assert [batch["tokens"].shape for batch in found] == [(2, 3), (2, 5), (1, 30)]


def test_arrays_of_whole_numbers_are_ragged_even_if_all_are_empty():
    none, some = np.zeros([0, 3], np.int32), np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    found = stack_examples([{"events": none}, {"events": some}])["events"]
    assert found.to_list() == [[], [[1, 2, 3], [4, 5, 6]]] and found.values.dtype == tf.int32
    empty = pad_ragged(stack_examples([{"events": none}, {"events": none}]))["events"]
    assert empty.shape == (2, 0, 3) and empty.dtype == tf.int32


def test_evaluation_batches_without_a_length_key_keep_the_order():
    found = list(iter_eval_batches(store_of([5, 1, 9]), 2, ()))
    assert [rows["label"].tolist() for rows in found] == [[0, 1], [2]]
