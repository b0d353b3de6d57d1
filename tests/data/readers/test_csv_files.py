"""Tables as people have them: each trap is a small file made here, with its rows worked out by hand."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import PROJECT_ROOT as ROOT
from common.data.readers import csv_files
from common.errors import DataError
from common.row_errors import RowErrors
from tests.helpers.csv_tables import BOTH, TEXT, broken, message, pairs, table

SENTIMENT = ROOT / "shared" / "data" / "sentiment"


# What comes out


def test_rows_have_place_and_example(made):
    path = made("reviews.csv", "text,label\nfine film,pos\ndull,neg\n")
    assert list(table(path)) == [
        ("reviews.csv:2", {"text": "fine film", "label": "pos"}),
        ("reviews.csv:3", {"text": "dull", "label": "neg"}),
    ]


def test_rows_can_be_read_twice(made):
    one = table(made("a.csv", "text,label\nfine,pos\n"))
    assert list(one.rows()) == list(one.rows()) == [("a.csv:2", {"text": "fine", "label": "pos"})]


def test_rows_are_lazy(made):
    row_errors = RowErrors()
    rows = iter(table(made("a.csv", "text,label\nfine,pos\nbroken\n"), row_errors=row_errors))
    next(rows)
    assert row_errors.count == 0
    assert list(rows) == [] and row_errors.count == 1


def test_layout_is_told(made):
    one = table(made("reviews.csv", "id;review;stars\n7;fine;5\n"))
    assert (one.delimiter, one.encoding, one.header) == (";", "utf-8", ("id", "review", "stars"))
    assert (one.positions, one.width) == ({"text": 1, "label": 2}, 3)


def test_note_names_columns_of_header(made):
    path = made("reviews.csv", "review,stars\nfine,5\n")
    assert table(path).description == 'reviews.csv: comma-separated, utf-8, header; text = "review", label = "stars"'


def test_note_numbers_columns_without_header(made):
    path = made("a.tsv", "fine film\t1\ndull film\t0\ngood film\t1\n")
    assert table(path).description == "a.tsv: tab-separated, utf-8, no header; text = column 1, label = column 2"


def test_note_of_single_column(made):
    assert (
        table(made("a.csv", "text\nfine\n"), (TEXT,)).description == 'a.csv: one column, utf-8, header; text = "text"'
    )


# Tab files


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('"I love it.\t1', ['"I love it.', "1"]),
        ('say "hi"\t1', ['say "hi"', "1"]),
        ('"say"\t1', ["say", "1"]),
        ('"say ""hi"" now"\t1', ['say "hi" now', "1"]),
        ('"say ""hi"""\t1', ['say "hi"', "1"]),
        ('"say" hi\t1', ['"say" hi', "1"]),
        ('"say" and "hi"\t1', ['"say" and "hi"', "1"]),
        ('"say""\t1', ['"say""', "1"]),
        ('"a\tb"\t1', ["a\tb", "1"]),
        ('1\t"a\tb"', ["1", "a\tb"]),
        ('1\t"open', ["1", '"open']),
        ('""\t1', ["", "1"]),
        ('"\t1', ['"', "1"]),
        ("a\t", ["a", ""]),
        ('""\t', ["", ""]),
        (' "a"\t1', [' "a"', "1"]),
    ],
)
def test_tab_cells_take_a_quote_for_what_it_is(line, cells):
    assert csv_files.split_tsv_line(line) == cells


@pytest.mark.parametrize("char", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"])
def test_tab_line_goes_on_after(made, char):
    path = made("a.tsv", f"text\tlabel\none{char}two\t1\r\nthree\t0\n")
    assert list(table(path)) == [
        ("a.tsv:2", {"text": f"one{char}two", "label": "1"}),
        ("a.tsv:3", {"text": "three", "label": "0"}),
    ]


def test_tab_quote_does_not_reach_over_lines(made):
    path = made("a.tsv", 'text\tlabel\n"one\t1\ntwo"\t0\n')
    assert pairs(path) == [('"one', "1"), ('two"', "0")]


def test_tab_rows_in_a_csv_follow_tab_rules(made):
    path = made("a.csv", 'text\tlabel\n"one, two\t1\n"three, four\t0\n')
    assert pairs(path) == [('"one, two', "1"), ('"three, four', "0")]


def test_last_line_needs_no_end(made):
    assert pairs(made("a.tsv", "text\tlabel\none\t1")) == [("one", "1")]
    assert pairs(made("a.csv", "text,label\none,1")) == [("one", "1")]


# Comma files


def test_quoted_cells_follow_rfc_4180(made):
    path = made("a.csv", 'text,label\r\n"a, ""b""\r\nc",pos\r\n')
    assert pairs(path) == [('a, "b"\r\nc', "pos")]


def test_place_is_the_line_where_the_row_starts(made):
    path = made("a.csv", '"text\nof it",label\n\n"one\n\ntwo",1\nthree,0\n   \n"four\n",1\nfive\n')
    row_errors = RowErrors()
    places = [place for place, _ in table(path, text="1", row_errors=row_errors)]
    assert places == ["a.csv:4", "a.csv:7", "a.csv:9"]
    assert row_errors.first_errors() == ["a.csv:11 has 1 cell where the first row has 2"]


def test_line_separators_stay_within_csv_cells(made):
    path = made("a.csv", "text,label\none\u2028two\x85three\x0b,1\nfour,0\n")
    assert pairs(path) == [("one\u2028two\x85three\x0b", "1"), ("four", "0")]


def test_lone_carriage_returns_end_lines_of_an_old_mac_file(made):
    assert pairs(made("a.csv", "text,label\rone,1\rtwo,0\r")) == [("one", "1"), ("two", "0")]


def test_large_cell_is_read_and_the_limit_is_as_before(made):
    csv.field_size_limit(131_072)
    rows = iter(table(made("a.csv", "text,label\n" + "x" * 300_000 + ",1\ny,0\n")))
    assert len(next(rows)[1]["text"]) == 300_000
    assert csv.field_size_limit() == 131_072


def test_cell_over_the_limit_is_skipped(made, monkeypatch):
    monkeypatch.setattr(csv_files, "LONGEST_CELL", 100)
    lines, rows = broken(made("a.csv", "text,label\n" + "x" * 101 + ",1\ny,0\n"))
    assert (lines, rows) == (["a.csv:2 is not CSV (field larger than field limit (100))"], ["y"])


def test_prose_with_a_comma_in_its_first_line_is_no_table(made):
    told = message(made("a.txt", "Well, it was fine\n" + "a line of prose\n" * 9 + "Two, such\n"))
    assert "a.txt is no table, for only 2 of its first 11 rows have 2 cells as the first one: separate cells" in told
    assert pairs(made("a.csv", "fine,1\ndull,0\n")) == [("fine", "1"), ("dull", "0")]


def test_quote_that_never_closes_is_a_problem(made):
    lines, rows = broken(made("a.csv", 'text,label\nfine,1\nbad,"0\nlost,1\n'))
    assert lines == ["a.csv:3 opens a quote that is never closed, which loses the rest of the file"]
    assert rows == ["fine"]


def test_quote_that_never_closes_in_the_first_row_is_an_error(made):
    told = message(made("a.csv", 'text,"label\nfine,1\n'))
    assert told.startswith("a.csv:1 opens a quote that is never closed") and "Mend that row" in told


# Delimiter


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_of_csv_is_found(made, delimiter):
    path = made("a.csv", f"text{delimiter}label\nfine{delimiter}1\nbad{delimiter}0\n")
    assert table(path).delimiter == delimiter
    assert pairs(path) == [("fine", "1"), ("bad", "0")]


def test_delimiter_is_the_most_consistent_one(made):
    path = made("a.csv", "1;well, well, well\n0;no\n1;yes, yes\n")
    assert pairs(path) == [("well, well, well", "1"), ("no", "0"), ("yes, yes", "1")]


def test_comma_wins_a_tie(made):
    assert pairs(made("a.csv", "a;b,1\nc;d,0\ne;f,1\n")) == [("a;b", "1"), ("c;d", "0"), ("e;f", "1")]


def test_tsv_is_tab_separated_whatever_it_holds(made):
    assert pairs(made("A.TSV", "a,b,c\t1\nd,e,f\t0\ng,h,i\t1\n"))[0] == ("a,b,c", "1")


def test_other_suffix_with_tabs_is_a_tab_file(made):
    assert pairs(made("a.txt", "a,b,c\t1\nd,e,f\t0\ng,h,i\t1\n"))[0] == ("a,b,c", "1")


def test_other_suffix_without_tabs_is_as_csv(made):
    assert pairs(made("a.txt", 'text;label\n"a; b";1\n')) == [("a; b", "1")]


# Broken rows


def test_rows_of_another_width_are_skipped(made):
    path = made("a.csv", "text,label\none\nfine,pos\na,b,c\n")
    assert broken(path) == (
        ["a.csv:2 has 1 cell where the first row has 2", "a.csv:4 has 3 cells where the first row has 2"],
        ["fine"],
    )


def test_width_without_header_is_that_of_the_first_row(made):
    lines, rows = broken(made("a.tsv", "fine\t1\nbad\n\ngood\t1\n"))
    assert (lines, rows) == (["a.tsv:2 has 1 cell where the first row has 2"], ["fine", "good"])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_blank_lines_are_silent_but_counted(made, name):
    mark = "," if name == "a.csv" else "\t"
    path = made(name, f"\n  \ntext{mark}label\n\r\n   \nfine{mark}1\n\n")
    assert list(table(path, row_errors=RowErrors(strict=True))) == [(f"{name}:6", {"text": "fine", "label": "1"})]


def test_blanks_are_a_text_where_there_is_one_column(made):
    assert [row["text"] for _, row in table(made("a.csv", 'text\n  \n\n""\nfine\n'), (TEXT,))] == ["  ", "", "fine"]


@pytest.mark.parametrize("label", ["", "  ", "\u00a0"])
def test_row_without_label_is_skipped(made, label):
    assert broken(made("a.csv", f"text,label\nfine,{label}\nbad,neg\n")) == (["a.csv:2 has no label"], ["bad"])


def test_label_is_stripped_and_text_is_kept(made):
    assert pairs(made("a.csv", "text,label\n  fine ,  pos \n,neg\n")) == [("  fine ", "pos"), ("", "neg")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_row_with_nul_is_skipped(made, name):
    mark = "," if name == "a.csv" else "\t"
    path = made(name, f"text{mark}label\na\0b{mark}1\nfine{mark}1\n")
    assert broken(path) == ([f"{name}:2 holds a NUL byte"], ["fine"])


def test_strict_problems_stop_the_reading(made):
    told = message(made("a.csv", "text,label\nfine,pos\nbad\n"), row_errors=RowErrors(strict=True))
    assert told.startswith("a.csv:3 has 1 cell where the first row has 2")


def test_finding_the_layout_reports_no_problems(made):
    row_errors = RowErrors()
    table(made("a.tsv", "fine\t1\nbad\nfine\t1\n"), row_errors=row_errors)
    assert row_errors.count == 0


# Properties

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
LINE_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), max_size=12)
QUOTES = st.text('"\t a', max_size=8)  # what tab files trip over
WORD = st.text("abcßж", min_size=1, max_size=4)
PROPERTY = settings(max_examples=60, deadline=None)


def read_back(name, data, fields=BOTH, encoding=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return list(csv_files.open_csv(path, fields, {}, encoding, RowErrors(strict=True)))


def examples(rows):
    return [{"text": text, "label": label} for text, label in rows]


@PROPERTY
@given(st.lists(st.tuples(CELL, WORD), min_size=1), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_csv_that_python_wrote_reads_back_the_same(rows, encoding):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    found = read_back("a.csv", stream.getvalue().encode(encoding))
    assert [example for _, example in found] == examples(rows)


@PROPERTY
@given(st.lists(CELL, min_size=1))
def test_single_column_that_python_wrote_reads_back_the_same(texts):
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    found = read_back("a.csv", stream.getvalue().encode(), (TEXT,))
    assert [example["text"] for _, example in found] == texts


def tab_written(cell):
    """A cell quoted where a reader could otherwise take it for another."""
    return '"' + cell.replace('"', '""') + '"' if "\t" in cell or cell.startswith('"') else cell


@PROPERTY
@given(st.lists(st.tuples(st.one_of(LINE_CELL, QUOTES), WORD), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_tab_file_reads_back_the_same_line_by_line(rows, end):
    lines = ["label\ttext", *(f"{label}\t{tab_written(text)}" for text, label in rows)]
    # A cell's own carriage return before LF could only be told from a CRLF by a third column.
    data = "".join(f"{line}\tx{end}" for line in lines).encode()
    found = read_back("a.tsv", data)
    assert found == [(f"a.tsv:{at}", example) for at, example in enumerate(examples(rows), 2)]


@PROPERTY
@given(st.lists(st.text('"\tab', max_size=6), min_size=1, max_size=5))
def test_tab_cells_without_whole_quotes_are_those_of_split(cells):
    line = "\t".join(cell.replace("\t", "").replace('"', "a", 1) for cell in cells)
    assert csv_files.split_tsv_line(line) == line.split("\t")


@PROPERTY
@given(st.lists(st.tuples(CELL, WORD), min_size=1), st.sampled_from([gzip.compress, lzma.compress]))
def test_compressed_file_equals_the_plain_one(rows, compress):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    data = stream.getvalue().encode()
    assert read_back("a.csv", compress(data)) == read_back("a.csv", data)


@PROPERTY
@given(st.binary(max_size=80), st.sampled_from(["a.csv", "a.tsv", "a.txt"]))
def test_any_bytes_give_rows_or_an_error_of_ours(data, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            for place, example in csv_files.open_csv(path, BOTH, {}, None, RowErrors()):
                assert place.startswith(name) and example["label"].strip()
        except DataError as error:
            assert name in str(error)


# Real files


@pytest.mark.parametrize(
    ("name", "count", "labels"),
    [
        ("labelled_sentences/imdb_labelled.txt", 1000, {"0": 500, "1": 500}),
        ("labelled_sentences/amazon_cells_labelled.txt", 1000, {"0": 500, "1": 500}),
        ("labelled_sentences/yelp_labelled.txt", 1000, {"0": 500, "1": 500}),
        ("sst2/dev.tsv", 872, {"0": 428, "1": 444}),
        ("imdb_5k/imdb5k_train.tsv.xz", 5000, {"neg": 2500, "pos": 2500}),
    ],
)
def test_real_file_loses_no_row(name, count, labels):
    path = SENTIMENT / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    found = [label for _, label in pairs(path)]
    assert len(found) == count
    assert {label: found.count(label) for label in set(found)} == labels
