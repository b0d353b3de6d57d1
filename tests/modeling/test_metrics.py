"""Measures of a classifier against hand-worked counts and against loops in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.metrics import ClassificationMetrics

PROPERTY = settings(max_examples=60, deadline=None)
LABELS = ["a", "b", "c"]

# True labels and what is predicted: a a a b b c (unseen) -> a a b b c b b
TRUE = [0, 0, 0, 1, 1, 2, -1]
PREDICTED = [0, 0, 1, 1, 2, 1, 1]


def scores_for(predicted, labels=3, top=0.8):
    rest = (1 - top) / (labels - 1)
    return np.array([[top if i == p else rest for i in range(labels)] for p in predicted])


def measured(target, scores, labels=LABELS):
    measures = ClassificationMetrics(labels)
    measures.update_state(np.array(target), np.array(scores))
    return measures.result()


@pytest.fixture(scope="module")
def worked():
    return measured(TRUE, scores_for(PREDICTED))


def test_confusion_matrix_has_true_rows_and_predicted_columns(worked):
    assert worked["confusion_matrix"] == {
        "labels": ["a", "b", "c", "(unseen)"],
        "rows": [[2, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0]],
    }


def test_confusion_matrix_without_unseen_labels_is_square():
    result = measured(TRUE[:6], scores_for(PREDICTED[:6]))
    assert result["confusion_matrix"] == {"labels": LABELS, "rows": [[2, 1, 0], [0, 1, 1], [0, 1, 0]]}
    assert "(unseen)" not in result["per_label"]


def test_accuracy_is_the_share_of_hits(worked):
    assert worked["accuracy"] == pytest.approx(3 / 7)
    assert worked["examples"] == 7


def test_per_label_measures_are_those_worked_by_hand(worked):
    # a: 2 hits of 2 predicted and 3 true; b: 1 of 4 and 2; c: 0 of 1 and 1
    expected = {
        "a": {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3},
        "b": {"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "support": 2},
        "c": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "(unseen)": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    }
    assert worked["per_label"] == {label: pytest.approx(values) for label, values in expected.items()}


def test_macro_f1_is_the_mean_over_labels(worked):
    assert worked["macro_f1"] == pytest.approx((0.8 + 1 / 3 + 0 + 0) / 4)


def test_macro_f1_leaves_out_labels_that_neither_occur_nor_are_predicted():
    assert measured([0, 1], scores_for([0, 1]))["macro_f1"] == 1


def test_macro_f1_counts_a_label_that_is_only_predicted():
    # a: 1 hit, 1 predicted, 2 true -> 2/3; c: predicted once, never true -> 0
    assert measured([0, 0], scores_for([0, 2]))["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_log_loss_is_that_worked_by_hand(worked):
    # 3 hits at 0.8, 3 misses at 0.1, 1 unseen label at the smallest probability
    assert worked["log_loss"] == pytest.approx(-(3 * math.log(0.8) + 3 * math.log(0.1) + math.log(1e-7)) / 7)


def test_log_loss_of_a_probability_of_zero_is_finite():
    assert measured([1], [[1.0, 0.0, 0.0]])["log_loss"] == pytest.approx(-math.log(1e-7))


def test_calibration_error_is_that_worked_by_hand():
    # Bin (11/15, 12/15]: scores 0.75 and 0.79, one hit. Bin (8/15, 9/15]: score 0.55, a hit.
    scores = [[0.75, 0.25], [0.21, 0.79], [0.45, 0.55]]
    expected = (abs(0.75 + 0.79 - 1) + abs(0.55 - 1)) / 3
    assert measured([0, 0, 1], scores, ["a", "b"])["calibration_error"] == pytest.approx(expected)


def test_calibration_bins_hold_their_upper_end():
    # 0.6 is 9/15 and ends its bin; 0.65 is in the next. In one bin the hit and the miss would nearly balance.
    result = measured([0, 1], [[0.6, 0.4], [0.65, 0.35]], ["a", "b"])
    assert result["calibration_error"] == pytest.approx((abs(0.6 - 1) + abs(0.65 - 0)) / 2)


def test_calibration_error_of_sure_hits_is_none():
    assert measured([0, 1], [[1.0, 0.0], [0.0, 1.0]], ["a", "b"])["calibration_error"] == 0


def test_unseen_label_counts_as_wrong():
    result = measured([-1, -1, 0], scores_for([0, 1, 0]))
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["per_label"]["(unseen)"]["support"] == 2
    assert result["per_label"]["a"]["precision"] == 0.5


def test_unseen_label_never_hits_the_last_label():
    assert measured([-1], scores_for([2]))["accuracy"] == 0


def test_result_of_no_example_is_zeros():
    result = ClassificationMetrics(LABELS).result()
    scalars = ("examples", "accuracy", "macro_f1", "log_loss", "calibration_error")
    assert [result[name] for name in scalars] == [0] * 5


@st.composite
def outputs(draw):
    """(labels, target, scores) with some labels unseen and some never met."""
    labels = draw(st.integers(2, 5))
    target = draw(st.lists(st.integers(-1, labels - 1), min_size=1, max_size=40))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    return labels, target, random.dirichlet(np.full(labels, draw(st.sampled_from([0.2, 1.0, 5.0]))), len(target))


def by_python(labels, target, scores):
    """The scalars, counted example by example."""
    predicted = [max(range(labels), key=lambda i: row[i]) for row in scores.tolist()]
    pairs = list(zip(target, predicted, strict=True))
    f1 = []
    for label in {*target, *predicted}:
        true_positive = sum(t == p == label for t, p in pairs)
        false_positive = sum(p == label != t for t, p in pairs)
        false_negative = sum(t == label != p for t, p in pairs)
        f1.append(2 * true_positive / (2 * true_positive + false_positive + false_negative))
    gap = 0.0
    for bin in range(15):
        inside = [
            (row[p], t == p)
            for (t, p), row in zip(pairs, scores.tolist(), strict=True)
            if bin / 15 < row[p] <= (bin + 1) / 15
        ]
        gap += abs(sum(score for score, _ in inside) - sum(hit for _, hit in inside))
    return {
        "examples": len(pairs),
        "accuracy": sum(t == p for t, p in pairs) / len(pairs),
        "macro_f1": sum(f1) / len(f1),
        "log_loss": sum(-math.log(max(row[t] if t >= 0 else 0, 1e-7)) for t, row in zip(target, scores, strict=True))
        / len(pairs),
        "calibration_error": gap / len(pairs),
    }


@PROPERTY
@given(made=outputs())
def test_measures_equal_counting_in_python(made):
    labels, target, scores = made
    result = measured(target, scores, [f"label {i}" for i in range(labels)])
    expected = by_python(labels, target, scores)
    assert {name: result[name] for name in expected} == pytest.approx(expected)


@PROPERTY
@given(made=outputs(), data=st.data())
def test_measures_do_not_depend_on_the_batches(made, data):
    labels, target, scores = made
    names = [f"label {i}" for i in range(labels)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(target)), max_size=6)))
    order = data.draw(st.permutations(range(len(target))))
    pieces = ClassificationMetrics(names)
    for part in np.split(np.array(order), cuts):  # some are empty
        pieces.update_state(np.array(target)[part], scores[part])
    found, expected = pieces.result(), measured(target, scores, names)
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    assert found["per_label"] == expected["per_label"]
    for name in ("examples", "accuracy", "macro_f1", "log_loss", "calibration_error"):
        assert found[name] == pytest.approx(expected[name])


def test_result_can_be_asked_between_batches():
    measures = ClassificationMetrics(LABELS)
    measures.update_state(np.array([0]), scores_for([0]))
    assert measures.result()["accuracy"] == 1
    measures.update_state(np.array([0]), scores_for([1]))
    assert measures.result()["accuracy"] == 0.5
