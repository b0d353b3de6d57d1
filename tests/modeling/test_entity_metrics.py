"""Scores of entities, by hand and beside seqeval's."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report

from common.modeling.metrics import EntityMetrics
from common.text.tag_schemes import tags_to_spans


def scored(*sentences):
    measures = EntityMetrics()
    for gold, predicted in sentences:
        measures.update_state(gold, predicted)
    return measures.result()


def test_place_and_type_must_both_be_right():
    gold = [(0, 2, "PER"), (3, 4, "LOC"), (5, 7, "LOC")]
    predicted = [(0, 2, "PER"), (3, 4, "ORG"), (5, 6, "LOC"), (8, 9, "PER")]
    assert scored((gold, predicted), ([], [])) == {
        "f1": 2 / 7,
        "precision": 1 / 4,
        "recall": 1 / 3,
        "examples": 2,
        "entities": 3,
        "per_type": {
            "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2},
            "ORG": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
            "PER": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1},
        },
    }


def test_places_belong_to_their_sentence():
    found = scored(([(0, 1, "A")], []), ([], [(0, 1, "A")]))
    assert (found["f1"], found["precision"], found["recall"]) == (0.0, 0.0, 0.0)


def test_nothing_is_no_score_and_f1_comes_first():
    found = scored()
    assert found == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "examples": 0, "entities": 0, "per_type": {}}
    assert next(iter(found)) == "f1"


def test_lists_and_repeated_entities_are_taken():
    found = scored(([[0, 1, "A"]], [(0, 1, "A"), (0, 1, "A")]))
    assert (found["f1"], found["entities"]) == (1.0, 1)


TAG = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "E-A", "S-B"])


@given(st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=8), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_scores_are_those_of_seqeval(sentences):
    gold = [[first for first, _ in sentence] for sentence in sentences]
    predicted = [[second for _, second in sentence] for sentence in sentences]
    found = scored(*((tags_to_spans(one), tags_to_spans(other)) for one, other in zip(gold, predicted, strict=True)))
    if not found["per_type"]:
        return  # seqeval has no report on nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(gold, predicted, output_dict=True, zero_division=0)
    assert found["f1"] == pytest.approx(report["micro avg"]["f1-score"])
    assert found["precision"] == pytest.approx(report["micro avg"]["precision"])
    assert found["recall"] == pytest.approx(report["micro avg"]["recall"])
    assert found["entities"] == report["micro avg"]["support"]
    assert set(found["per_type"]) == {name for name in report if not name.endswith(" avg")}
    for type, one in found["per_type"].items():
        expected = report[type]
        assert list(one.values()) == pytest.approx(
            [expected[name] for name in ("precision", "recall", "f1-score", "support")]
        )
