"""Tags as ids: which may follow which, there and back, and products of probabilities; by hand and by enumeration."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.tag_schemes import spans_to_iob2, tags_to_spans
from recipes.ner import tagging

PROPERTY = settings(max_examples=50, deadline=None)
SCHEMES = ["iob2", "bioes"]
X, Y, UNKNOWN = "X", "I-Y z", "Z"  # the second one looks like a tag
TYPES = [X, Y]


def table():
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(TYPES, tf.range(len(TYPES))), -1)


def ids(rows, scheme):
    tags = tf.RaggedTensor.from_row_lengths(
        tf.constant([tag for row in rows for tag in row], tf.string), [len(row) for row in rows]
    )
    found = tagging.encode_tags(tags, table(), scheme)
    assert found.dtype == tf.int32
    return found.to_list()


# Which tag may follow which


def marks(scheme, size):
    """What stands before the dash in the tags of an entity of so many tokens."""
    if scheme == "iob2":
        return "B" + "I" * (size - 1)
    return "S" if size == 1 else "B" + "I" * (size - 2) + "E"


def legal(length, scheme):
    """All legal taggings of so many tokens: an O or an entity of any length and type, and a legal rest."""
    if length == 0:
        yield ()
        return
    for rest in legal(length - 1, scheme):
        yield ("O", *rest)
    for size, kind in itertools.product(range(1, length + 1), TYPES):
        entity = [f"{mark}-{kind}" for mark in marks(scheme, size)]
        for rest in legal(length - size, scheme):
            yield (*entity, *rest)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_allowed_moves_make_the_legal_taggings_and_no_other(scheme, length):
    names = tagging.tag_names(TYPES, scheme)
    start, between, end = tagging.transition_mask(len(TYPES), scheme)
    found = {
        tuple(names[tag] for tag in path)
        for path in itertools.product(range(len(names)), repeat=length)
        if start[path[0]] and all(between[a][b] for a, b in itertools.pairwise(path)) and end[path[-1]]
    }
    expected = list(legal(length, scheme))
    assert len(expected) == len(set(expected))
    assert found == set(expected)


# Tags to ids


def test_names_stand_in_the_order_of_ids():
    assert tagging.tag_names(["A", "B"], "iob2") == ["O", "B-A", "I-A", "B-B", "I-B"]
    assert tagging.tag_names(["A", "B"], "bioes") == ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"]


ROWS = [["B-X", "I-X", "I-X", "O", f"B-{Y}"], ["O"], [], ["B-X", "B-X", "I-X"]]


def test_ids_of_iob2():
    assert ids(ROWS, "iob2") == [[1, 2, 2, 0, 3], [0], [], [1, 1, 2]]


def test_ids_of_bioes_mark_ends_and_singles():
    assert ids(ROWS, "bioes") == [[1, 2, 3, 0, 8], [0], [], [4, 1, 3]]


def test_ids_of_unknown_types_are_below_zero():
    rows = [["B-Z", "I-Z", "B-X"], ["B-Z", "B-Z"]]
    assert ids(rows, "iob2") == [[-1, -2, 1], [-1, -1]]
    assert ids(rows, "bioes") == [[-1, -2, 4], [-1, -1]]


def test_ids_of_a_piece_cut_out_of_an_entity_are_legal():
    rows = [["B-X", "I-X"], ["I-X", "I-X", "O"], ["I-Z"]]
    assert ids(rows, "iob2") == [[1, 2], [1, 2, 0], [-1]]
    assert ids(rows, "bioes") == [[1, 3], [1, 3, 0], [-1]]


@PROPERTY
@given(st.data(), st.sampled_from(SCHEMES))
def test_ids_of_a_row_do_not_depend_on_other_rows(data, scheme):
    rows = data.draw(st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", f"I-{Y}", "B-Z"]), max_size=5), max_size=6))
    assert ids(rows, scheme) == [ids([row], scheme)[0] for row in rows]


def test_ids_of_no_row_are_none():
    assert ids([], "bioes") == []
    assert ids([[], []], "bioes") == [[], []]


# There and back


@st.composite
def sentences(draw):
    """Entities that do not overlap, some of an unknown type, and a length."""
    spans, at = [], 0
    for gap, size, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from([*TYPES, UNKNOWN])), max_size=6)
    ):
        spans.append((at + gap, at + gap + size, kind))
        at += gap + size
    return spans, at + draw(st.integers(0, 2))


@PROPERTY
@given(st.lists(sentences(), max_size=6), st.sampled_from(SCHEMES))
def test_entities_of_ids_are_those_of_the_tags(made, scheme):
    rows = [spans_to_iob2(spans, length) for spans, length in made]
    numbers = {kind: number for number, kind in enumerate(TYPES)} | {UNKNOWN: -1}
    for row, (spans, length) in zip(ids(rows, scheme), made, strict=True):
        assert len(row) == length
        found = tagging.decode_entities(np.array(row, np.int32), scheme)
        assert found == [(start, end, numbers[kind]) for start, end, kind in spans]


@PROPERTY
@given(st.lists(sentences(), max_size=6), st.sampled_from(SCHEMES))
def test_ids_as_iob2_are_the_tags_again(made, scheme):
    rows = [spans_to_iob2([span for span in spans if span[2] != UNKNOWN], length) for spans, length in made]
    names, back = tagging.tag_names(TYPES, "iob2"), tagging.iob2_ids(len(TYPES), scheme)
    assert [[names[back[tag]] for tag in row] for row in ids(rows, scheme)] == rows


@PROPERTY
@given(st.sampled_from(SCHEMES), st.data())
def test_entities_of_illegal_ids_are_those_that_iob2_shows(scheme, data):
    # A model that takes each tag alone gives such rows.
    back = tagging.iob2_ids(len(TYPES), scheme)
    row = data.draw(st.lists(st.integers(0, len(back) - 1), max_size=8))
    names = tagging.tag_names(TYPES, "iob2")
    found = [(first, last, TYPES[kind]) for first, last, kind in tagging.decode_entities(np.array(row, int), scheme)]
    assert found == tags_to_spans([names[back[tag]] for tag in row])


def test_as_iob2_of_iob2_changes_nothing():
    assert tagging.iob2_ids(3, "iob2") == list(range(7))


# Probabilities of tags that are independent


def test_products_by_hand():
    shares = tf.constant([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1], [0.2, 0.8]]])
    tags = tf.constant([[0, 1, 1, 1]])
    begins = tf.constant([[False, False, True, True]])  # the first step begins in any case
    found = tagging.segment_products(shares, tags, begins, tf.constant([3])).numpy()
    np.testing.assert_allclose(found, [[0.375, 0.375, 0.1, 0.0]], rtol=1e-6)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
def test_products_are_those_of_numpy(seed, batch, time, tags):
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(tags), (batch, time)).astype(np.float32)
    chosen = random.integers(0, tags, (batch, time)).astype(np.int32)
    begins, lengths = random.random((batch, time)) < 0.4, random.integers(0, time + 1, batch).astype(np.int32)
    expected = np.zeros((batch, time))
    for row in range(batch):
        starts = [t for t in range(lengths[row]) if t == 0 or begins[row, t]]
        for start, end in itertools.pairwise([*starts, lengths[row]]):
            expected[row, start:end] = np.prod([shares[row, t, chosen[row, t]] for t in range(start, end)])
    found = tagging.segment_products(shares, chosen, tf.constant(begins), lengths).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
