"""Names that are alike, worked out by hand."""

from common.text.similar_names import match_similar_names, similar_label_warnings


def test_match_similar_names_takes_one_that_the_other_begins_with():
    assert match_similar_names(["pos"], ["possible", "positive"]) == {"pos": "possible"}


def test_match_similar_names_takes_a_near_one_where_none_begins_so():
    assert match_similar_names(["organisation"], ["person", "organization"]) == {"organisation": "organization"}


def test_match_similar_names_keeps_numbers_apart():
    assert match_similar_names(["class 2"], ["class 1"]) == {}
    assert match_similar_names(["Class 2"], ["class 2"]) == {"Class 2": "class 2"}


def test_match_similar_names_passes_over_names_on_both_sides():
    assert match_similar_names(["pos", "neg"], ["neg", "pos", "positive"]) == {}


def test_similar_label_warnings_name_each_group_once():
    assert len(similar_label_warnings(["a b", "A  B", "a B", "c", "C", "d"])) == 2
    assert similar_label_warnings(["a", "b"]) == []
