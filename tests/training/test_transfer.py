"""Weights of one model in another: by name, shape, and what rows stand for."""

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunError
from common.training.base_run import BaseRun
from common.training.transfer import WeightTransferPlan
from common.training.weights import get_model_weights
from common.types import NamedAxis


class NamedAxes:
    """Of a recipe what transfer asks: what axes stand for."""

    def __init__(self, **axes):
        self.axes = {path.replace("__", "/"): named for path, named in axes.items()}

    def get_weight_axes(self):
        return self.axes


def model(words=4, units=3, labels=2, name="table"):
    """A table of rows, and a layer from units to labels."""
    ids = keras.Input([], dtype="int32", name="ids")
    states = keras.layers.Embedding(words, units, name=name)(ids)
    return keras.Model(ids, keras.layers.Dense(labels, name="labels")(states))


def filled(model, start=1.0):
    """Weights with numbers of their own."""
    weights = {}
    for path, value in get_model_weights(model).items():
        weights[path] = np.arange(value.size, dtype=np.float32).reshape(value.shape) + start
        start += 100 + value.size
    return weights


def transferred(old, old_axes, new, new_axes, shares=None):
    """(the report, the new model's weights, those before) of a transfer."""
    before = get_model_weights(new)
    transfer_plan = WeightTransferPlan(
        BaseRun(Path("runs/old"), old), old_axes and NamedAxes(**old_axes).get_weight_axes()
    )
    transfer_plan.match_weights(NamedAxes(**new_axes), new)
    transfer_plan.copy_weights(new, shares)
    return transfer_plan.report, get_model_weights(new), before


def axes(words, labels, like=None):
    names = NamedAxis(labels, labels=labels)
    return {"table__embeddings": {0: NamedAxis(words, like)}, "labels__kernel": {1: names}, "labels__bias": {0: names}}


def test_the_same_network_is_copied_whole():
    old = filled(model())
    report, after, _ = transferred(old, axes("abcd", ["x", "y"]), model(), axes("abcd", ["x", "y"]))
    for path, value in old.items():
        np.testing.assert_array_equal(after[path], value)
    assert report.as_json()["weights"] == {"copied": 12 + 6 + 2, "extended": 0, "initialized": 0, "unused": 0}
    assert report.copied == set(old)


def test_rows_are_found_by_their_names():
    old = filled(model(4, 3, 2))
    report, after, before = transferred(
        old,
        axes(["?", "a", "b", "c"], ["x", "y"], "?"),
        model(5, 3, 3),
        axes(["c", "?", "new", "a", "b"], ["y", "z", "x"], "?"),
    )
    table = old["table/embeddings"]
    np.testing.assert_array_equal(after["table/embeddings"], table[[3, 0, 0, 1, 2]])  # new begins as ?
    np.testing.assert_array_equal(after["labels/kernel"][:, [0, 2]], old["labels/kernel"][:, [1, 0]])
    np.testing.assert_array_equal(after["labels/kernel"][:, 1], before["labels/kernel"][:, 1])
    np.testing.assert_array_equal(
        after["labels/bias"], [old["labels/bias"][1], before["labels/bias"][1], old["labels/bias"][0]]
    )
    assert report.as_json()["extended"] == {
        "table/embeddings": {"copied": 12, "initialized": 3, "rows": [[4, 1]]},
        "labels/kernel": {"copied": 6, "initialized": 3, "rows": [[2, 1]]},
        "labels/bias": {"copied": 2, "initialized": 1, "rows": [[2, 1]]},
    }
    assert report.as_json()["weights"] == {"copied": 0, "extended": 27, "initialized": 0, "unused": 0}


def test_what_is_not_used_is_counted():
    old = filled(model(4, 3, 3)) | {"gone/kernel": np.zeros([5, 5], np.float32)}
    report, after, before = transferred(old, axes("abcd", ["x", "y", "z"]), model(2, 3, 2), axes("bd", ["n", "z"]))
    np.testing.assert_array_equal(after["table/embeddings"], old["table/embeddings"][[1, 3]])
    assert report.unused == {"table/embeddings": 6, "labels/kernel": 6, "labels/bias": 2, "gone/kernel": 25}
    np.testing.assert_array_equal(after["labels/bias"], [before["labels/bias"][0], old["labels/bias"][2]])
    text = "\n".join(report.format_lines())
    assert "labels/kernel (1 copied and 1 new)" in text
    assert "unused" in text and " 39 " in text


def test_no_shared_label_initializes_the_last_layer():
    old = filled(model())
    report, after, before = transferred(old, axes("abcd", ["x", "y"]), model(), axes("abcd", ["p", "q"]))
    assert report.sizes_by_outcome()["initialized"] == {"labels/kernel": 6, "labels/bias": 2}
    np.testing.assert_array_equal(after["labels/kernel"], before["labels/kernel"])
    assert report.copied == {"table/embeddings"}


def test_of_a_row_stays_the_share_that_is_said_and_nothing_of_zeros():
    old = filled(model(4, 2))
    old["table/embeddings"] = np.array([[8, 4], [0, 0], [2, 6], [1, 1]], np.float32)
    new = model(4, 2)
    new.get_layer("table").embeddings.assign([[1, 1], [2, 2], [3, 3], [4, 0]])
    shares = {"table/embeddings": np.array([0.25, 0.5, 0.5, 1])}
    report, after, _ = transferred(old, axes("abcd", "xy"), new, axes(["c", "b", "new", "a"], "xy"), shares)
    # c: 0.25 * (2, 6) + 0.75 * (1, 1). b: the base run's is zero. new: not the base run's. a: the base run's alone.
    np.testing.assert_allclose(after["table/embeddings"], [[1.25, 2.25], [2, 2], [3, 3], [8, 4]])
    np.testing.assert_array_equal(after["labels/kernel"], old["labels/kernel"])  # no share is said of it
    assert report.as_json()["extended"]["table/embeddings"]["rows"] == [[3, 1]]


def test_another_shape_is_initialized():
    report, _, _ = transferred(filled(model(4, 3)), {}, model(4, 3, labels=5), {})
    assert (report.sizes_by_outcome()["copied"], report.sizes_by_outcome()["initialized"]) == (
        {"table/embeddings": 12},
        {"labels/kernel": 15, "labels/bias": 5},
    )


def test_rows_without_known_names_are_not_taken():
    """A file of weights does not tell whose its rows are."""
    report, after, before = transferred(filled(model()), None, model(), {"table__embeddings": {0: NamedAxis("abcd")}})
    np.testing.assert_array_equal(after["table/embeddings"], before["table/embeddings"])
    assert report.copied == {"labels/kernel", "labels/bias"}


def test_nothing_copied_is_an_error():
    with pytest.raises(RunError, match="Nothing of runs/old could be copied"):
        transferred(filled(model(4, 3, 2)), {}, model(5, 2, 3, name="other"), {})


def test_labels_that_differ_in_spelling_are_told():
    old = filled(model(labels=3))
    report, _, _ = transferred(
        old,
        axes("abcd", ["Positive", "negative", "other"]),
        model(labels=3),
        axes("abcd", ["positive", "negativ", "rest"]),
    )
    assert report.similar_labels == [("negativ", "negative"), ("positive", "Positive")]


NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


@settings(deadline=None, max_examples=30)
@given(NAMES, NAMES)
def test_every_shared_name_keeps_its_row_and_no_other_changes(old_names, new_names):
    old = {"table/embeddings": np.random.default_rng(1).normal(size=(len(old_names), 2)).astype(np.float32)}
    old |= {"labels/kernel": np.ones([2, 2], np.float32)}
    report, after, before = transferred(
        old,
        {"table__embeddings": {0: NamedAxis(old_names)}},
        model(len(new_names), 2),
        {"table__embeddings": {0: NamedAxis(new_names)}},
    )
    for place, name in enumerate(new_names):
        wanted = (
            old["table/embeddings"][old_names.index(name)] if name in old_names else before["table/embeddings"][place]
        )
        np.testing.assert_array_equal(after["table/embeddings"][place], wanted)
    shared = len(set(old_names) & set(new_names))
    assert report.transfers["table/embeddings"].copied == 2 * shared
    assert report.unused.get("table/embeddings", 0) == 2 * (len(old_names) - shared)
