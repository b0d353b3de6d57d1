"""Columns against a padded loop in plain Python; stores on disk against the same in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.example_store import Column, ExampleStore, StoreWriter

PROPERTY = settings(max_examples=50, deadline=None)
INNER = ((), (3,), (2, 2))
TYPES = ("int32", "int64", "float32", "uint8", "bool")


def padded(examples, length=None):
    """The rows as nested lists padded with zeros to `length` or the longest, and cut there."""
    length = max((len(e) for e in examples), default=0) if length is None else length
    rows = np.zeros((len(examples), length, *examples[0].shape[1:]), examples[0].dtype)
    for row, example in enumerate(examples):
        for step, value in enumerate(example[:length]):
            rows[row, step] = value
    return rows


def random_values(seed, shape, kind):
    """Values from 1 up, so that none is mistaken for padding."""
    return np.random.default_rng(seed).integers(1, 100, shape).astype(kind)


@st.composite
def ragged_examples(draw, least=1):
    """Examples [steps, ...] of any lengths, 0 among them."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=least, max_size=12))
    inner, kind = draw(st.sampled_from(INNER)), draw(st.sampled_from(TYPES))
    return [random_values(draw(st.integers(0, 99)), (length, *inner), kind) for length in lengths]


@st.composite
def batches(draw):
    """Batches (dense, ragged) as `append` takes them: columns d0.. and r0.., one at least."""
    dense = draw(st.lists(st.tuples(st.sampled_from(INNER), st.sampled_from(TYPES)), max_size=2))
    least = 0 if dense else 1
    ragged = draw(st.lists(st.tuples(st.sampled_from(INNER), st.sampled_from(TYPES)), min_size=least, max_size=2))
    made = []
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)):
        seed = draw(st.integers(0, 99))
        lengths = {f"r{i}": draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)) for i in range(len(ragged))}
        made.append(
            (
                {f"d{i}": random_values(seed + i, (size, *inner), kind) for i, (inner, kind) in enumerate(dense)},
                {
                    f"r{i}": (
                        random_values(seed + i, (sum(lengths[f"r{i}"]), *inner), kind),
                        np.array(lengths[f"r{i}"], np.int32),
                    )
                    for i, (inner, kind) in enumerate(ragged)
                },
            )
        )
    return made


def written(parts, folder=None, memory_bytes=1 << 30):
    """The writer and its closed store."""
    writer = StoreWriter(folder, memory_bytes)
    for dense, ragged in parts:
        writer.append(dense, ragged)
    return writer, writer.close()


def ragged_column(examples):
    starts = np.concatenate([[0], np.cumsum([len(e) for e in examples])])
    return Column(np.concatenate(examples), starts)


@PROPERTY
@given(examples=ragged_examples(), data=st.data())
def test_column_ragged_rows_equal_padded_loop(examples, data):
    indices = data.draw(st.lists(st.integers(0, len(examples) - 1), min_size=1, max_size=8))
    rows = ragged_column(examples).gather(np.array(indices))
    expected = padded([examples[i] for i in indices])
    assert rows.dtype == expected.dtype
    np.testing.assert_array_equal(rows, expected)


@PROPERTY
@given(examples=ragged_examples(), length=st.integers(0, 9), data=st.data())
def test_column_ragged_rows_pad_and_cut_to_given_length(examples, length, data):
    indices = data.draw(st.lists(st.integers(0, len(examples) - 1), min_size=1, max_size=8))
    rows = ragged_column(examples).gather(np.array(indices), length)
    np.testing.assert_array_equal(rows, padded([examples[i] for i in indices], length))


def test_column_dense_rows_are_those_at_the_indices():
    column = Column(np.array([[1, 2], [3, 4], [5, 6]]))
    assert column.gather(np.array([2, 0, 2])).tolist() == [[5, 6], [1, 2], [5, 6]]


def test_column_rows_of_empty_examples_have_no_steps():
    column = Column(np.zeros(0, np.int32), np.array([0, 0, 0]))
    assert column.gather(np.array([0, 1])).shape == (2, 0)


def test_column_rows_of_no_index_are_an_empty_batch():
    column = Column(np.array([7, 8, 9]), np.array([0, 2, 3]))
    assert column.gather(np.array([], np.int64)).shape == (0, 0)
    assert column.gather(np.array([], np.int64), 4).shape == (0, 4)


@PROPERTY
@given(examples=ragged_examples())
def test_column_lengths_are_steps_of_each_example(examples):
    assert ragged_column(examples).lengths().tolist() == [len(e) for e in examples]


def test_column_dense_refuses_lengths():
    with pytest.raises(ValueError, match="dense"):
        Column(np.array([1, 2])).lengths()


def test_store_rows_pads_each_column_to_its_own_length():
    store = ExampleStore(
        {
            "tokens": Column(np.array([7, 8, 9]), np.array([0, 2, 3])),
            "tags": Column(np.array([1, 2, 3]), np.array([0, 2, 3])),
            "label": Column(np.array([5, 6])),
        },
        2,
    )
    rows = store.gather(np.array([1, 0]), {"tokens": 4})
    assert {name: value.tolist() for name, value in rows.items()} == {
        "tokens": [[9, 0, 0, 0], [7, 8, 0, 0]],
        "tags": [[3, 0], [1, 2]],
        "label": [6, 5],
    }


@PROPERTY
@given(parts=batches())
def test_writer_store_holds_every_example_in_order(parts):
    _, store = written(parts)
    everything = np.arange(len(store))
    for name in store.columns:
        if name.startswith("d"):
            expected = np.concatenate([dense[name] for dense, _ in parts])
        else:
            pieces = [ragged[name] for _, ragged in parts]
            examples = [e for values, lengths in pieces for e in np.split(values, np.cumsum(lengths)[:-1])]
            expected = padded(examples)
        np.testing.assert_array_equal(store.gather(everything)[name], expected)


@PROPERTY
@given(parts=batches())
def test_writer_count_is_the_number_of_examples(parts):
    writer, store = written(parts)
    expected = sum(
        len(next(iter(dense.values()))) if dense else len(next(iter(ragged.values()))[1]) for dense, ragged in parts
    )
    assert len(store) == writer.count == expected


@pytest.mark.parametrize("kinds", ["dense", "ragged", "mixed"])
def test_writer_counts_examples_once(kinds):
    dense = {"a": np.arange(3), "b": np.arange(3)} if kinds != "ragged" else {}
    values = np.arange(4), np.array([1, 0, 3])
    ragged = {"c": values, "d": values} if kinds != "dense" else {}
    writer, _ = written([(dense, ragged), (dense, ragged)])
    assert writer.count == 6


@PROPERTY
@given(parts=batches(), memory_bytes=st.integers(0, 200), data=st.data())
def test_writer_on_disk_equals_in_memory(parts, memory_bytes, data):
    _, inside = written(parts)
    indices = np.array(data.draw(st.lists(st.integers(0, len(inside) - 1), max_size=10)), np.int64)
    with tempfile.TemporaryDirectory() as place:
        _, outside = written(parts, Path(place) / "columns", memory_bytes)
        assert len(outside) == len(inside)
        assert list(outside.columns) == list(inside.columns)
        for name, rows in inside.gather(indices).items():
            found = outside.gather(indices)[name]
            assert found.dtype == rows.dtype
            assert found.shape == rows.shape
            np.testing.assert_array_equal(found, rows)


def test_writer_spills_only_beyond_its_memory(tmp_path):
    part = ({"a": np.arange(4, dtype=np.int64)}, {})  # 32 bytes
    _, within = written([part], tmp_path / "within", memory_bytes=32)
    _, beyond = written([part], tmp_path / "beyond", memory_bytes=31)
    assert not isinstance(within.columns["a"].values, np.memmap)
    assert not (tmp_path / "within").exists()
    assert isinstance(beyond.columns["a"].values, np.memmap)


def test_writer_without_a_folder_never_spills():
    _, store = written([({"a": np.arange(4)}, {})], None, memory_bytes=0)
    assert not isinstance(store.columns["a"].values, np.memmap)


def test_writer_on_disk_holds_a_column_of_empty_rows(tmp_path):
    part = ({"a": np.arange(2)}, {"b": (np.zeros((0, 3), np.float32), np.array([0, 0]))})
    _, store = written([part], tmp_path / "columns", memory_bytes=0)
    assert store.gather(np.array([0, 1]))["b"].shape == (2, 0, 3)


def test_writer_without_examples_gives_an_empty_store():
    _, store = written([])
    assert len(store) == 0
    assert store.columns == {}


def test_discard_removes_the_files(tmp_path):
    folder = tmp_path / "stores" / "train"
    writer, _ = written([({"a": np.arange(4)}, {})], folder, memory_bytes=0)
    assert list(folder.iterdir())
    writer.discard()
    assert not folder.exists()


def test_discard_before_close_removes_the_files(tmp_path):
    folder = tmp_path / "stores" / "train"
    writer = StoreWriter(folder, memory_bytes=0)
    writer.append({"a": np.arange(4)}, {})
    writer.discard()
    assert not folder.exists()


def test_discard_leaves_other_stores_beside_it(tmp_path):
    one, _ = written([({"a": np.arange(4)}, {})], tmp_path / "stores" / "train", memory_bytes=0)
    _, other = written([({"a": np.arange(4)}, {})], tmp_path / "stores" / "valid", memory_bytes=0)
    one.discard()
    assert (tmp_path / "stores" / "valid").is_dir()
    assert other.gather(np.array([3]))["a"].tolist() == [3]


def test_discard_leaves_a_store_in_memory_alone(tmp_path):
    writer, store = written([({"a": np.arange(4)}, {})], tmp_path / "columns")
    writer.discard()
    assert store.gather(np.array([3]))["a"].tolist() == [3]
