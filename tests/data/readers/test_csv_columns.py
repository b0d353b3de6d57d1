"""Which columns of a table hold the fields, with a header and without."""

from __future__ import annotations

import pytest

from common.errors import ConfigError
from tests.helpers.csv_tables import TEXT, message, pairs, table

# Header and columns


def test_header_names_ignore_case_and_blanks(made):
    path = made("a.csv", "Stars , REVIEW\n5,fine\n")
    assert pairs(path) == [("fine", "5")]


def test_fields_own_name_goes_before_its_other_names(made):
    assert pairs(made("a.csv", "review,text,stars,label\na,b,c,d\n")) == [("b", "d")]


def test_unknown_first_row_is_an_example(made):
    path = made("a.csv", "phrase,verdict\nfine,pos\nbad,neg\nok,pos\n")
    assert table(path).header is None
    assert pairs(path)[0] == ("phrase", "verdict")


def test_columns_by_name_make_a_header(made):
    path = made("a.csv", "Phrase,verdict,by\nfine,pos,me\n")
    assert pairs(path, text="phrase", label="Verdict") == [("fine", "pos")]


def test_columns_by_number(made):
    path = made("a.csv", "text,label,third\nfine,pos,x\n")
    assert pairs(path, text="3", label="1") == [("x", "fine")]


def test_column_number_is_no_header_name(made):
    assert pairs(made("a.tsv", "fine\t2\nbad\t1\n"), text="1", label="2") == [("fine", "2"), ("bad", "1")]


def test_given_column_is_not_taken_twice(made):
    assert pairs(made("a.csv", "text,review,label\na,b,c\n"), label="text") == [("b", "a")]


def test_other_one_of_two_columns_is_the_other_field(made):
    assert pairs(made("a.csv", "phrase,label\nfine,pos\n")) == [("fine", "pos")]
    assert pairs(made("a.csv", "verdict,text\npos,fine\n")) == [("fine", "pos")]


def test_headerless_label_repeats(made):
    assert pairs(made("a.tsv", "pos\ta\nneg\tb\npos\tc\n")) == [("a", "pos"), ("b", "neg"), ("c", "pos")]


def test_headerless_label_is_shorter_in_a_tie(made):
    assert pairs(made("a.tsv", "1\tgood film\n0\tbad film\n")) == [("good film", "1"), ("bad film", "0")]


def test_headerless_label_is_last_where_all_else_is_equal(made):
    assert pairs(made("a.tsv", "up\tno\n")) == [("up", "no")]


def test_headerless_wide_file_is_guessed_where_clear(made):
    path = made("a.tsv", "7\tpos\tfine film\n8\tneg\tdull film\n9\tpos\tgood film\n")
    assert table(path).positions == {"text": 2, "label": 1}


@pytest.mark.parametrize(
    "rows",
    [
        "7\tpos\tfine film\n8\tneg\tdull film\n",  # no label repeats
        "en\tpos\tfine film\nen\tneg\tdull film\nen\tpos\tgood film\n",  # two columns repeat
        "".join(f"{i}\tclass {i % 51}\tfilm number {i}\n" for i in range(200)),  # too many labels
    ],
)
def test_headerless_wide_file_in_doubt_asks(made, rows):
    told = message(made("a.tsv", rows))
    assert told.startswith("a.tsv: which column is the ") and "It has no header, its first row is: " in told
    assert "--column text=NAME --column label=NAME, or by their numbers from 1 to 3." in told


def test_headerless_column_left_over_by_the_given_one(made):
    assert pairs(made("a.tsv", "pos\tpos\nneg\tneg\n"), text="2") == [("pos", "pos"), ("neg", "neg")]


def test_unlabelled_file_needs_text_only(made):
    rows = table(made("a.csv", "id,text\n1,fine\n"), (TEXT,))
    assert list(rows) == [("a.csv:2", {"text": "fine"})]


def test_unlabelled_headerless_text_is_the_longest(made):
    assert next(row for _, row in table(made("a.tsv", "1\tfine film\n2\tdull\n"), (TEXT,))) == {"text": "fine film"}


def test_missing_column_lists_those_there_are(made):
    told = message(made("a.csv", "id,text,sentiments\n1,fine,pos\n"))
    assert told == (
        'a.csv: which column is the label? Its columns are: "id", "text", "sentiments".'
        ' Say so by --column label=NAME, or by its number from 1 to 3. Did you mean "sentiments"?'
    )


def test_long_first_row_is_shortened_in_the_message(made):
    told = message(made("a.tsv", "\t".join("x" * 500 for _ in range(500)) + "\n"))
    assert len(told) < 2000


def test_too_few_columns_are_told(made):
    told = message(made("a.csv", "text\nfine\n"))
    assert told.startswith("a.csv has too few columns (1) for text and label: separate cells by commas")
    assert 'Its columns are: "text".' in told


@pytest.mark.parametrize("column", ["lable", "0", "4", "-1"])
def test_unknown_given_column_is_a_config_error(made, column):
    told = message(made("a.csv", "id,text,label\n1,fine,pos\n"), ConfigError, label=column)
    assert told.startswith(f"--column label={column}: a.csv has no such column.")
    assert '"id", "text", "label"' in told and "number from 1 to 3" in told
    assert ('Did you mean "label"?' in told) == (column == "lable")


def test_given_name_without_header_is_a_config_error(made):
    told = message(made("a.tsv", "fine\t1\nbad\t0\n"), ConfigError, text="review")
    assert 'It has no header, its first row is: "fine", "1".' in told


def test_unknown_given_field_is_a_config_error(made):
    told = message(made("a.csv", "text,label\nfine,pos\n"), ConfigError, lable="2")
    assert "field lable" in told and "text, label" in told and 'Did you mean "label"?' in told


def test_column_given_twice_is_a_config_error(made):
    told = message(made("a.csv", "text,label\nfine,pos\n"), ConfigError, text="1", label="text")
    assert "--column text=1 --column label=text names one column of a.csv twice" in told
