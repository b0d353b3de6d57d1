"""Columns found by name, by number or by what is left; cells of every type as text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers.columns import cell_to_text, make_example, match_columns
from common.errors import ConfigError, DataError
from common.types import Field

FIELDS = (Field("text", "text", ("review", "sentence")), Field("label", "label", ("stars",)))


def found(header, rows=(), first=None, **columns):
    return match_columns("a.csv", first or header, header, FIELDS, columns, rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-3, "-3"),
        (4.0, "4"),
        (0.25, "0.25"),
        (True, "true"),
        (False, "false"),
        (None, None),
        (float("nan"), None),
        ("", ""),
        (" 1.0 ", " 1.0 "),
        (2**70, "1180591620717411303424"),
    ],
)
def test_values_of_every_type_stand_for_a_text(value, text):
    assert cell_to_text(value) == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"a", ("a",)])
def test_a_value_that_no_text_stands_for_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=f"holds a {type(value).__name__}, not a text"):
        cell_to_text(value)


@pytest.mark.parametrize(
    ("cells", "made", "wrong"),
    [
        ({"text": " fine ", "label": "\tpos "}, {"text": " fine ", "label": "pos"}, ""),
        ({"text": "", "label": "pos"}, {"text": "", "label": "pos"}, ""),
        ({"text": "fine", "label": " "}, {}, "has no label"),
        ({"text": None, "label": "pos"}, {}, "has no text"),
        ({"label": "pos"}, {}, "has no text"),
        ({"text": "a\0b", "label": "pos"}, {}, "holds a NUL byte"),
        ({"text": "a", "label": "x\ud83d"}, {}, "holds half a character (a lone surrogate)"),
    ],
)
def test_cells_make_an_example_or_say_what_is_wrong(cells, made, wrong):
    assert make_example(cells, FIELDS) == (made, wrong)


@pytest.mark.parametrize(
    ("header", "columns", "expected"),
    [
        (["label", "text"], {}, {"text": 1, "label": 0}),
        (["STARS", "Sentence", "review"], {}, {"text": 2, "label": 0}),  # names in the fields' order
        (["id", "stars", "text"], {"label": "ID"}, {"text": 2, "label": 0}),
        (["id", "stars", "text"], {"label": "1"}, {"text": 2, "label": 0}),
        (["1", "2", "text"], {"label": "2"}, {"text": 2, "label": 1}),  # a name goes before a number
        (["2", "1", "text"], {"label": "2"}, {"text": 2, "label": 0}),
        (["body", "label"], {}, {"text": 0, "label": 1}),
    ],
)
def test_columns_are_found(header, columns, expected):
    assert found(header, **columns) == expected


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"label": "0"}, "no such column"),
        ({"label": "4"}, "no such column"),
        ({"label": "9" * 5000}, "no such column"),
        ({"label": "²"}, "no such column"),
        ({"label": "txet"}, 'Did you mean "text"'),
        ({"label": "text", "text": "3"}, "names one column of a.csv twice"),
        ({"labl": "1"}, 'Did you mean "label"'),
    ],
)
def test_columns_that_there_are_not_are_refused(columns, told):
    with pytest.raises(ConfigError, match=told):
        found(["id", "stars", "text"], **columns)


def test_a_column_in_doubt_is_asked_for():
    with pytest.raises(DataError, match=r"a\.csv: which column is the text\?.*--column text=NAME"):
        found(["body", "title", "label"])


def test_without_a_header_labels_repeat_and_texts_are_long():
    rows = [["1", "a fine film", "x"], ["2", "a dull one", "y"], ["3", "so so", "x"]]
    assert found(None, rows, rows[0]) == {"text": 1, "label": 2}


@settings(max_examples=60, deadline=None)
@given(st.permutations(["text", "label", "a", "b", "c"]), st.randoms(use_true_random=False))
def test_the_order_of_columns_and_their_case_do_not_count(header, random):
    cased = [name.upper() if random.random() < 0.5 else name.title() for name in header]
    assert found(cased) == {"text": header.index("text"), "label": header.index("label")}
