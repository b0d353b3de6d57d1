"""Tables as people have them: each trap is a small file made here, with its rows worked out by hand."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers import csv_files
from common.errors import ConfigError, DataError
from common.row_errors import Problems
from common.runtime import open_file
from common.types import Field

TEXT = Field("text", "text", ("review", "sentence"))
LABEL = Field("label", "label", ("sentiment", "stars"))
BOTH = (TEXT, LABEL)
SENTIMENT = Path(__file__).parents[3] / "shared" / "data" / "sentiment"


@pytest.fixture
def made(tmp_path):
    """Writes a file of bytes or, in UTF-8, of text."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def table(path, fields=BOTH, encoding=None, problems=None, **columns):
    return csv_files.table(path, fields, columns, encoding, problems or Problems())


def pairs(path, **settings):
    """(text, label) of every row; none may be broken."""
    problems = Problems(strict=True)
    return [(row["text"], row["label"]) for _, row in table(path, problems=problems, **settings)]


def broken(path, **settings):
    """What is wrong with which row, and the rows that are left."""
    problems = Problems()
    rows = [row["text"] for _, row in table(path, problems=problems, **settings)]
    return problems.lines(), rows


def message(path, error=DataError, **settings):
    with pytest.raises(error) as caught:
        list(table(path, **settings))
    return str(caught.value)


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
    problems = Problems()
    rows = iter(table(made("a.csv", "text,label\nfine,pos\nbroken\n"), problems=problems))
    next(rows)
    assert problems.count == 0
    assert list(rows) == [] and problems.count == 1


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


# Compression


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.xz", "a.csv"])
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compression_is_known_by_content(made, name, compress):
    assert pairs(made(name, compress(b"text,label\nfine,pos\n"))) == [("fine", "pos")]


def test_compressed_tsv_is_a_tab_file(made):
    path = made("a.tsv.gz", gzip.compress(b'text\tlabel\n"fine, pos\t1\n'))
    assert pairs(path) == [('"fine, pos', "1")]


def test_plain_file_with_suffix_gz_is_read(made):
    assert pairs(made("a.csv.gz", "text,label\nfine,pos\n")) == [("fine", "pos")]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_truncated_compression_is_an_error_at_once(made, compress):
    told = message(made("a.csv.gz", compress(b"text,label\nfine,pos\n")[:-9]))
    assert "a.csv.gz is damaged" in told and "download the file again" in told


def test_magic_alone_is_damaged(made):
    assert "a.csv.gz is damaged" in message(made("a.csv.gz", b"\x1f\x8b"))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_truncated_compression_is_an_error_midstream(made, compress, monkeypatch):
    monkeypatch.setattr(open_file, "SAMPLE", 1000)
    data = b"text,label\n" + b"".join(b"%x,pos\n" % (i**9) for i in range(5_000))
    one = table(made("a.csv", compress(data)[:-2000]))
    rows = iter(one)
    assert next(rows)[1] == {"text": "0", "label": "pos"}
    with pytest.raises(DataError, match=r"a\.csv is damaged .*: copy or download"):
        list(rows)


def test_changed_gzip_is_damaged(made):
    packed = bytearray(gzip.compress(b"text,label\nfine,pos\n"))
    packed[-8] ^= 1  # the checksum
    assert "a.csv.gz is damaged" in message(made("a.csv.gz", bytes(packed)))


# Encoding


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8", "cp1252"])
@pytest.mark.parametrize("given", [True, False])
def test_encoding_is_found_or_given(made, encoding, given):
    path = made("a.csv", "text,label\nnaïve “café”,pos\n".encode(encoding))
    assert pairs(path, encoding=encoding if given else None) == [("naïve “café”", "pos")]


def test_encoding_is_told(made):
    encodings = ["utf-8-sig", "utf-16", "cp1252"]
    told = [table(made("a.csv", "text,label\né,pos\n".encode(name))).encoding for name in encodings]
    assert told == ["utf-8", "utf-16", "cp1252"]


def test_big_endian_mark_is_understood(made):
    path = made("a.tsv", b"\xfe\xff" + "text\tlabel\nçok iyi\t1\n".encode("utf-16-be"))
    assert pairs(path) == [("çok iyi", "1")]


@pytest.mark.parametrize("encoding", [None, "utf-8", "latin-1"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_mark_is_no_part_of_first_cell(made, encoding, name):
    tab = "," if name == "a.csv" else "\t"
    path = made(name, b"\xef\xbb\xbf" + f'"text"{tab}label\nfine{tab}1\n'.encode())
    assert table(path, encoding=encoding).header == ("text", "label")


def test_mark_is_no_part_of_first_example(made):
    path = made("a.tsv", "\ufefffine\t1\nbad\t0\ngood\t1\n")
    assert pairs(path) == [("fine", "1"), ("bad", "0"), ("good", "1")]


def test_mark_written_twice_is_no_part_of_first_cell(made):
    assert table(made("a.csv", "\ufeff\ufefftext,label\nfine,1\n")).header == ("text", "label")


def test_mark_outweighs_another_utf(made):
    assert pairs(made("a.csv", "text,label\nfine,pos\n".encode("utf-16")), encoding="utf-8") == [("fine", "pos")]


@pytest.mark.parametrize("cut", range(1, 4))
def test_sample_may_end_within_a_character(made, monkeypatch, cut):
    head = b"text,label\n"
    monkeypatch.setattr(open_file, "SAMPLE", len(head) + cut)
    assert pairs(made("a.csv", head + "😀,pos\n".encode())) == [("😀", "pos")]


def test_character_cut_at_the_end_of_file_is_not_utf8(made):
    assert table(made("a.csv", b"text,label\nfine,pos\nd\xc3")).encoding == "cp1252"


def test_row_beyond_the_sample_that_is_not_utf8_is_skipped(made, monkeypatch):
    monkeypatch.setattr(open_file, "SAMPLE", 16)
    lines, rows = broken(made("a.csv", b"text,label\nfine,pos\ncaf\xe9,pos\ncaf\xe9\nlast,neg\n"))
    assert lines == ["a.csv:3 is not valid utf-8", "a.csv:4 is not valid utf-8"]
    assert rows == ["fine", "last"]


def test_row_not_in_the_given_encoding_is_skipped(made):
    lines, rows = broken(made("a.tsv", b"text\tlabel\ncaf\xe9\t1\nfine\t1\n"), encoding="ascii")
    assert (lines, rows) == (["a.tsv:2 is not valid ascii"], ["fine"])


def test_row_with_half_a_surrogate_in_utf16_is_skipped(made):
    data = "text,label\nbad".encode("utf-16") + b"\x00\xd8" + ",pos\nfine,pos\n".encode("utf-16-le")
    assert broken(made("a.csv", data)) == (["a.csv:2 is not valid utf-16"], ["fine"])


def test_undecodable_first_row_asks_for_encoding(made):
    told = message(made("a.csv", b"text,label,\xe9\nfine,pos,1\n"), encoding="utf-8")
    assert told.startswith("a.csv:1 is not valid utf-8") and "--encoding NAME" in told


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "a\0b"])
def test_unknown_encoding_is_a_config_error(made, encoding):
    told = message(made("a.csv", "text,label\nfine,pos\n"), ConfigError, encoding=encoding)
    assert f'--encoding is "{encoding}"' in told and "utf-8" in told


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
    assert csv_files.tab_cells(line) == cells


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
    problems = Problems()
    places = [place for place, _ in table(path, text="1", problems=problems)]
    assert places == ["a.csv:4", "a.csv:7", "a.csv:9"]
    assert problems.lines() == ["a.csv:11 has 1 cell where the first row has 2"]


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
    assert list(table(path, problems=Problems(strict=True))) == [(f"{name}:6", {"text": "fine", "label": "1"})]


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
    told = message(made("a.csv", "text,label\nfine,pos\nbad\n"), problems=Problems(strict=True))
    assert told.startswith("a.csv:3 has 1 cell where the first row has 2")


def test_finding_the_layout_reports_no_problems(made):
    problems = Problems()
    table(made("a.tsv", "fine\t1\nbad\nfine\t1\n"), problems=problems)
    assert problems.count == 0


# Files that are no tables


def test_missing_file(tmp_path):
    told = message(tmp_path / "no.csv")
    assert "no.csv does not exist" in told and "check the path" in told


def test_folder(tmp_path):
    told = message(tmp_path)
    assert str(tmp_path) in told and "is a folder" in told and "name a file in it" in told


def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    told = message(tmp_path / "pipe.csv")
    assert "pipe.csv is a pipe" in told and "save it as a file first" in told


def test_file_that_may_not_be_read(made, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")  # the tests may run as root, who may read all

    monkeypatch.setattr(open_file, "open", refuse, raising=False)
    told = message(made("a.csv", "text,label\nfine,pos\n"))
    assert "a.csv may not be read" in told and "change its permissions" in told


def test_file_that_fails_while_read(made, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(open_file, "open", fail, raising=False)
    told = message(made("a.csv", "text,label\nfine,pos\n"))
    assert "a.csv cannot be read (Input/output error): name another file" in told


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n  \n", gzip.compress(b"", mtime=0)])
def test_empty_file(made, content):
    told = message(made("a.csv", content))
    assert "a.csv is empty" in told and "a row for each example" in told


@pytest.mark.parametrize("content", ["text,label", "text,label\n", "text,label\n\n  \n"])
def test_header_only(made, content):
    told = message(made("a.csv", content))
    assert "a.csv has a header but no rows" in told and "add a row" in told


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01",
        "text,label\nfine,pos\n".encode("utf-16-le"),
        b"text,label\n" + bytes(range(256)) * 20,
    ],
)
def test_binary_file(made, content):
    told = message(made("a.csv", content))
    assert "a.csv is binary data" in told and "save it as text in UTF-8" in told and "--encoding NAME" in told


def test_utf16_without_mark_is_read_when_said(made):
    assert pairs(made("a.csv", "text,label\nfine,pos\n".encode("utf-16-le")), encoding="utf-16-le") == [("fine", "pos")]


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
        return list(csv_files.table(path, fields, {}, encoding, Problems(strict=True)))


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
    assert csv_files.tab_cells(line) == line.split("\t")


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
            for place, example in csv_files.table(path, BOTH, {}, None, Problems()):
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
