"""Raw examples encoded in batches of any size."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.encoding import (
    ENCODE_BATCH,
    CompiledEncoder,
    batch_examples,
    encode_to_store,
    iter_texts,
    pad_ragged,
    stack_examples,
)
from common.data.example_store import StoreWriter

PROPERTY = settings(max_examples=50, deadline=None)


def encode(features):
    """A ragged column of code points, and dense ones with and without an inner axis."""
    points = tf.strings.unicode_decode(features["text"], "UTF-8")
    sizes = tf.strings.length(features["text"])
    return {"points": points, "size": sizes, "pair": tf.stack([sizes, -sizes], axis=1)}


@pytest.mark.parametrize("memory_bytes", [1 << 30, 0])
def test_encoded_equals_encoding_one_by_one(tmp_path, memory_bytes):
    random = np.random.default_rng(1)
    texts = ["".join(random.choice(list("aé漢😀 "), random.integers(0, 7))) for _ in range(ENCODE_BATCH + 50)]
    examples = [{"text": text} for text in texts]
    store = encode_to_store(examples, CompiledEncoder(encode), StoreWriter(tmp_path / "columns", memory_bytes))
    assert len(store) == len(texts)
    for index in [*range(0, 60), *range(ENCODE_BATCH - 10, len(texts))]:
        alone = encode(stack_examples([examples[index]]))
        rows = store.gather(np.array([index]))
        np.testing.assert_array_equal(rows["points"], alone["points"].to_tensor().numpy())
        np.testing.assert_array_equal(rows["size"], alone["size"].numpy())
        np.testing.assert_array_equal(rows["pair"], alone["pair"].numpy())
    assert [[ord(c) for c in text] for text in texts[:50]] == [
        [p for p in row if p] for row in store.gather(np.arange(50))["points"].tolist()
    ]


def test_encoded_says_how_it_advances():
    advanced = []
    examples = ({"text": "a"} for _ in range(2 * ENCODE_BATCH + 3))
    encode_to_store(examples, CompiledEncoder(encode), StoreWriter(), advanced.append)
    assert advanced == [ENCODE_BATCH, ENCODE_BATCH, 3]


def test_encoded_of_no_example_is_an_empty_store():
    assert len(encode_to_store([], CompiledEncoder(encode), StoreWriter())) == 0


def test_encoder_compiles_once_for_batches_of_any_size():
    traced = []

    def watched(features):
        traced.append(features)
        return encode(features)

    encoder = CompiledEncoder(watched)
    for size in (3, 1, 7):
        dense, ragged = encoder([{"text": "ab"}] * size)
        assert dense["size"].tolist() == [2] * size
        assert [part.tolist() for part in ragged["points"]] == [[97, 98] * size, [2] * size]
    assert len(traced) == 1


def test_encoder_takes_lists_of_any_length():
    traced = []

    def watched(features):
        traced.append(features)
        tokens = features["tokens"]
        return {"count": tokens.row_lengths(), "size": tokens.with_values(tf.strings.length(tokens.values))}

    encoder = CompiledEncoder(watched)
    for rows in ([["a", "bcd"], [], ["ef"]], [["gh"]], [[]]):
        dense, ragged = encoder([{"tokens": row} for row in rows])
        assert dense["count"].tolist() == [len(row) for row in rows]
        assert [part.tolist() for part in ragged["size"]] == [
            [len(token) for row in rows for token in row],
            [len(row) for row in rows],
        ]
    assert len(traced) == 1


def test_encoder_takes_of_an_example_what_it_is_told():
    # Examples of one source may hold more than those of another.
    encoder = CompiledEncoder(
        lambda features: {name: tf.strings.length(value) for name, value in features.items()}, ["text"]
    )
    assert encoder([{"text": "ab", "place": [1, 2]}, {"text": "c"}])[0]["text"].tolist() == [2, 1]
    assert list(encoder([{"other": 3, "text": ""}])[0]) == ["text"]


def test_encoder_keeps_the_inner_shape_of_features():
    encoder = CompiledEncoder(lambda features: {"sum": tf.reduce_sum(features["values"], axis=1)})
    assert encoder([{"values": (1, 2)}, {"values": (3, 4)}])[0]["sum"].tolist() == [3, 7]


@PROPERTY
@given(count=st.integers(0, 50), size=st.integers(1, 12))
def test_in_batches_keeps_examples_and_order(count, size):
    batches = list(batch_examples(({"number": i} for i in range(count)), size))
    assert [e["number"] for batch in batches for e in batch] == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_stacked_takes_texts_and_bytes_alike():
    found = stack_examples([{"text": "é\0", "image": b"\xff"}, {"text": "b", "image": b"\x00"}])
    assert found["text"].numpy().tolist() == ["é\0".encode(), b"b"]
    assert found["image"].numpy().tolist() == [b"\xff", b"\x00"]


def test_stacked_gives_back_the_bytes_that_a_terminal_could_not_decode():
    typed = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert stack_examples([{"text": typed}])["text"].numpy().tolist() == [b"caf\xe9"]


def test_stacked_makes_ragged_rows_of_lists():
    found = stack_examples([{"tokens": ["é", b"\xff", ""]}, {"tokens": []}, {"tokens": ["b"]}])["tokens"]
    assert isinstance(found, tf.RaggedTensor)
    assert found.to_list() == [["é".encode(), b"\xff", b""], [], [b"b"]]
    assert found.dtype == tf.string


@PROPERTY
@given(rows=st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=1, max_size=6))
def test_stacked_lists_keep_every_item(rows):
    examples = [{"tokens": row, "number": number} for number, row in enumerate(rows)]
    found = stack_examples(examples)
    assert [[item.decode() for item in row] for row in found["tokens"].to_list()] == rows
    assert found["number"].numpy().tolist() == list(range(len(rows)))


def test_stacked_lists_without_an_item_are_strings():
    found = stack_examples([{"tokens": []}, {"tokens": []}])["tokens"]
    assert found.to_list() == [[], []]
    assert found.dtype == tf.string


def test_stacked_lists_of_numbers_stay_numbers():
    assert stack_examples([{"sizes": [1, 2]}, {"sizes": [3]}])["sizes"].to_list() == [[1, 2], [3]]


def test_densified_pads_ragged_features_only():
    found = pad_ragged({"tokens": tf.ragged.constant([[1, 2], [3]]), "size": tf.constant([2, 1])})
    assert found["tokens"].numpy().tolist() == [[1, 2], [3, 0]]
    assert found["size"].numpy().tolist() == [2, 1]


def test_iter_texts_counts_the_labels_of_what_was_yielded():
    labels = Counter({"a": 1})
    examples = [{"text": str(number), "label": "ab"[number % 2]} for number in range(ENCODE_BATCH + 1)]
    sizes = [len(texts) for texts in iter_texts(examples, labels)]
    assert sizes == [ENCODE_BATCH, 1]
    assert labels == {"a": ENCODE_BATCH // 2 + 2, "b": ENCODE_BATCH // 2}
