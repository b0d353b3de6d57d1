"""JSON lines: keys, typed values, and lines that are none."""

import bz2
import gzip
import json
import lzma
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.file_formats import open_table_file
from common.data.readers import json_array
from common.data.readers.jsonl import is_json_lines, open_json_lines
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field

FIELDS = (Field("text", "text", ("review",)), Field("label", "label", ("stars",)))


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd}


def opened(tmp_path, content, name="a.jsonl", encoding=None, **columns):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_json_lines(path, FIELDS, columns, encoding, RowErrors())


def pairs(reader):
    return [(one["text"], one["label"]) for _, one in reader.rows()]


def test_rows_have_places_and_keys_are_found_by_name(tmp_path):
    reader = opened(tmp_path, '{"id": 1, "review": "fine", "stars": 5}\n\n{"stars": 1, "review": "dull"}\n')
    assert list(reader.rows()) == [
        ("a.jsonl:1", {"text": "fine", "label": "5"}),
        ("a.jsonl:3", {"text": "dull", "label": "1"}),
    ]
    assert reader.description == 'a.jsonl: JSON lines, utf-8; text = "review", label = "stars"'
    assert pairs(reader) == [("fine", "5"), ("dull", "1")]  # as often as one likes


@pytest.mark.parametrize(
    ("value", "label"),
    [("3", "3"), ("3.0", "3"), ("2.5", "2.5"), ("true", "true"), ('" pos "', "pos"), ('"3.0"', "3.0"), ("-0.0", "-0")],
)
def test_labels_of_other_types_are_taken_as_text(tmp_path, value, label):
    assert pairs(opened(tmp_path, f'{{"text": "a", "label": {value}}}\n')) == [("a", label)]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "is not JSON"),
        ("[1]", "is JSON, but no object"),
        ("3", "is JSON, but no object"),
        ("[" * 10_000, "is not JSON"),
        ('{"text": "a"}', "has no label"),
        ('{"text": "a", "label": null}', "has no label"),
        ('{"text": "a", "label": " "}', "has no label"),
        ('{"text": null, "label": "b"}', "has no text"),
        ('{"text": ["a"], "label": "b"}', '"text" holds a list, not a text'),
        ('{"text": "a", "label": {}}', '"label" holds a dict, not a text'),
        (b'{"text": "caf\xe9", "label": "b"}', "is not valid utf-8"),
        ('{"text": "a", "label": NaN}', "has no label"),
    ],
)
def test_broken_lines_are_told_and_skipped(tmp_path, line, wrong):
    raw = line.encode() if isinstance(line, str) else line
    # The broken line is beyond the sample from which the encoding is taken.
    reader = opened(tmp_path, b'{"text": "a", "label": "b"}\n' + b" " * 2**20 + b"\n" + raw + b"\n", encoding="utf-8")
    assert pairs(reader) == [("a", "b")]
    assert reader.row_errors.first_errors() == [f"a.jsonl:3 {wrong}"]


def test_line_ends_of_unicode_are_text_and_marks_are_not(tmp_path):
    text = "one\u2028two\u2029three\x85four\x0bfive\x0c"
    line = json.dumps({"text": text, "label": "b"}, ensure_ascii=False)
    assert pairs(opened(tmp_path, "\ufeff" + line + "\r\n" + line)) == [(text, "b")] * 2


def test_columns_by_the_user(tmp_path):
    content = '{"body": "x", "title": "y", "verdict": 1}\n'
    assert pairs(opened(tmp_path, content, text="body", label="verdict")) == [("x", "1")]
    assert pairs(opened(tmp_path, content, text="2", label="3")) == [("y", "1")]
    with pytest.raises(ConfigError, match=r'no such column.*Did you mean "verdict"'):
        opened(tmp_path, content, text="body", label="verdikt")
    with pytest.raises(DataError, match="which column is the text"):
        opened(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[{}]", r"holds no JSON objects: write one on each line"),
        ("[]", r"holds no JSON objects: write one on each line"),
        ("[1, {}]", r"holds no JSON objects \(a.jsonl: row 1 is JSON"),
        ("1\n2\n", r"holds no JSON objects \(a.jsonl:1 is JSON"),
    ],
)
def test_files_without_objects_are_refused(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        opened(tmp_path, content)


def test_json_lines_are_known_by_suffix_or_by_their_first_line():
    assert is_json_lines(Path("a.ndjson.gz"), "")
    assert is_json_lines(Path("reviews"), '\n{"text": "a"}\nrest')
    assert not is_json_lines(Path("reviews"), "{not json\n")
    assert not is_json_lines(Path("reviews.csv"), '{"text": "a"}\n')


CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT, LABEL = st.text(CHARS, max_size=20), st.text(CHARS, max_size=8).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT, LABEL), min_size=1, max_size=6),
    plain=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_json_writes_is_read_back(rows, plain, end):
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=plain) + end for text, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        data = "".join(lines).encode()
        reader = opened(Path(folder), data if plain else gzip.compress(data))
        assert pairs(reader) == [(text, label.strip()) for text, label in rows]
        assert not reader.row_errors.count


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (r'{"text": "cut \ud83d", "label": "b"}', "holds half a character (a lone surrogate)"),
        (r'{"text": "cut \udc80", "label": "b"}', "holds half a character (a lone surrogate)"),
        (r'{"text": "a", "label": "\ud83d"}', "holds half a character (a lone surrogate)"),
        (r'{"text": "a\u0000b", "label": "b"}', "holds a NUL byte"),
        ('{"text": "a\0b", "label": "b"}', "is not JSON"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "is not JSON"),
    ],
)
def test_texts_that_are_none_are_told_and_skipped(tmp_path, line, wrong):
    reader = opened(tmp_path, '{"text": "a \\ud83d\\ude00", "label": "b"}\n' + line + "\n")
    assert pairs(reader) == [("a 😀", "b")]
    assert reader.row_errors.first_errors() == [f"a.jsonl:2 {wrong}"]


def test_keys_may_come_late_and_missing_ones_are_broken_rows(tmp_path):
    rows = ['{"text": "a"}', '{"text": "b"}', '{"text": "c", "label": 1}', '{"label": 2, "extra": [1]}']
    reader = opened(tmp_path, "\n".join(rows))
    assert pairs(reader) == [("c", "1")]
    assert reader.row_errors.first_errors() == [
        "a.jsonl:1 has no label",
        "a.jsonl:2 has no label",
        "a.jsonl:4 has no text",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_files_are_read(tmp_path, encoding):
    assert pairs(opened(tmp_path, '{"text": "é", "label": "x"}\n'.encode(encoding))) == [("é", "x")]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('[{"text": "a"}, {"text": "b"}]', True),
        ('[\n  {\n    "text": "a"', True),
        ('{"text": "' + "long " * 10, True),  # the sample ends in the first line
        ('{"te\\"xt" : 1, "more', True),
        ("{smile}, fine, 1\n", False),
        ("[laughs], fine, 1\n", False),
        ('{"smile", 1', False),
        ('"text": 1\n', False),
    ],
)
def test_json_is_known_by_its_beginning(text, known):
    assert is_json_lines(Path("reviews"), text) == known
    assert not is_json_lines(Path("reviews.tsv"), text)


@pytest.mark.parametrize("indent", [None, 1])
def test_the_objects_of_an_array_are_rows_by_any_name(tmp_path, indent):
    rows = [{"text": "a", "label": 5}, {"text": "b"}, 3, {"text": "[c]\n", "label": "x"}]
    (tmp_path / "reviews").write_text("\ufeff " + json.dumps(rows, indent=indent) + "\n")
    found = open_table_file(tmp_path / "reviews", FIELDS, (), None, RowErrors())
    assert found.description == 'reviews: JSON array, utf-8; text = "text", label = "label"'
    assert list(found.rows()) == [
        ("reviews: row 1", {"text": "a", "label": "5"}),
        ("reviews: row 4", {"text": "[c]\n", "label": "x"}),
    ]
    assert found.row_errors.first_errors() == ["reviews: row 2 has no label", "reviews: row 3 is JSON, but no object"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[{"text": "a", "label": "x"}', "a.jsonl:1 ends before its array does"),
        ('[{"text": "a", "label": "x"},\n', r"a.jsonl:2 is no JSON \(Expecting value\)"),
        ('[{"text": "a", "label": "x"},\n{"text": "b', r"a.jsonl:2 is no JSON \(Unterminated string"),
        ('[{"text": "a", "label": "x"}\n{"text": "b"}]', r'a.jsonl:2 has "\{" where a comma is wanted'),
        ('[{"text": "a", "label": "x"}]\n[{"text": "b"}]', "a.jsonl:2 goes on after the end of its array"),
        ('[{"text": "a", "label": "x"},\n{"text": fals}]', r"a.jsonl:2 is no JSON \(Expecting value\)"),
        ('[\n{"text": "a", "label": fals},' + " " * 200 + "]", r"a.jsonl:2 is no JSON \(Expecting value\)"),
        ("[" * 100_000, "a.jsonl:1 holds lists in lists without end"),
        ("[\n" + "1" * 5000 + "]", "a.jsonl:2 holds a value that is none"),
    ],
)
def test_a_damaged_array_is_refused_with_its_line(tmp_path, content, told):
    with pytest.raises(DataError, match=f"{told}.*: mend the file, or write it again.$"):
        pairs(opened(tmp_path, content))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT | st.text('ab😀"\\\n', max_size=300), LABEL), min_size=1, max_size=8),
    block=st.integers(1, 40),
    plain=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_an_array_is_read_back_however_its_blocks_are_cut(rows, block, plain, indent):
    written = [{"text": text, "label": label, "at": -12.5e-3, "more": [True, None, {}]} for text, label in rows]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "BLOCK", block)
        data = json.dumps(written, ensure_ascii=plain, indent=indent).encode()
        assert pairs(opened(Path(folder), data, encoding="utf-8")) == [(text, label.strip()) for text, label in rows]


def test_a_label_may_stand_in_a_list_as_tools_for_annotation_write_it(tmp_path):
    labels = [["pos"], {"choices": ["neg"]}, [], {"choices": []}, ["pos", "neg"], [[0, 1, "PER"]], [" "]]
    lines = [json.dumps({"id": number, "text": "a", "label": label}) for number, label in enumerate(labels)]
    found = opened(tmp_path, "\n".join(lines))
    assert pairs(found) == [("a", "pos"), ("a", "neg")]
    assert found.row_errors.filtered_summary() == "2 not labelled"
    assert found.row_errors.first_errors() == [
        'a.jsonl:5 "label" holds 2 labels ("pos", "neg"), where one is wanted',
        'a.jsonl:6 "label" holds a list of spans or of other things, where one label is wanted',
        "a.jsonl:7 has no label",
    ]


def test_a_first_line_longer_than_the_sample_is_json(tmp_path):
    (tmp_path / "reviews").write_text(json.dumps({"text": "long " * 300_000, "label": "x"}) + "\n")
    [(_, row)] = open_table_file(tmp_path / "reviews", FIELDS, (), None, RowErrors()).rows()
    assert (len(row["text"]), row["label"]) == (1_500_000, "x")


ODD = st.sampled_from(["\u2028", "\u2029", "\x85", "\x0b\x0c", "\t", "\r", "a\nb", "😀", '"', "\ufeff", "\\u0041", "{"])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT | ODD, LABEL), min_size=1, max_size=6),
    kind=st.sampled_from([*COMPRESS]),
    frames=st.integers(1, 3),
)
def test_compressed_lines_are_read_back_by_their_content(rows, kind, frames):
    lines = [json.dumps({"label": label, "text": text}, ensure_ascii=False) + "\n" for text, label in rows]
    size = -(-len(lines) // frames)
    parts = ["".join(lines[at : at + size]) for at in range(0, len(lines), size)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews"
        path.write_bytes(b"".join(COMPRESS[kind](part.encode()) for part in parts))
        found = open_table_file(path, FIELDS, (), "utf-8", RowErrors(strict=True))
        assert pairs(found) == [(text, label.strip()) for text, label in rows]
