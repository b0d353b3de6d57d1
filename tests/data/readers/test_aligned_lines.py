"""Files whose lines belong together."""

import bz2
import gzip
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers.aligned_lines import open_aligned_lines
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field

FIELDS = (Field("text", "text"), Field("label", "label"))


def opened(folder, *contents, encoding=None):
    paths = [folder / name for name in ("text.txt", "label.txt", "more.txt")[: len(contents)]]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_aligned_lines(paths, FIELDS, encoding, RowErrors())


def pairs(reader):
    return [(one["text"], one["label"]) for _, one in reader.rows()]


def test_line_n_of_each_file_makes_example_n(tmp_path):
    reader = opened(tmp_path, "fine\ndull\n", "1\n0")  # the last line needs no end
    expected = [("text.txt:1", {"text": "fine", "label": "1"}), ("text.txt:2", {"text": "dull", "label": "0"})]
    assert list(reader.rows()) == list(reader.rows()) == expected
    assert reader.description == "line-aligned files; text = lines of text.txt, label = lines of label.txt"


def test_cells_are_whole_lines(tmp_path):
    assert pairs(opened(tmp_path, '"a", b\tc\r\n\n d \n', "x y\r\nz\nz\n")) == [
        ('"a", b\tc', "x y"),
        ("", "z"),
        (" d ", "z"),
    ]


def test_a_mark_begins_a_file_only(tmp_path):
    assert pairs(opened(tmp_path, "\ufeffa\n\ufeffb\n", "\ufeffx\nx\n")) == [("a", "x"), ("\ufeffb", "x")]


def test_each_file_has_its_own_encoding_and_compression(tmp_path):
    reader = opened(tmp_path, gzip.compress("café\n".encode("cp1252")), lzma.compress("schön\n".encode("utf-16")))
    assert reader.encodings == ("cp1252", "utf-16")
    assert pairs(reader) == [("café", "schön")]


def test_lines_that_cannot_be_used_are_told_by_the_file_at_fault(tmp_path):
    filler = b"fine\n" * (2**20 // 5 + 1)  # beyond the sample from which the encoding is taken
    count = filler.count(b"\n")
    reader = opened(tmp_path, filler + b"caf\xe9\na\0b\nc\nlast\n", "x\n" * (count + 2) + " \nx\n")
    assert pairs(reader)[count - 1 :] == [("fine", "x"), ("last", "x")]
    assert reader.row_errors.first_errors() == [
        f"text.txt:{count + 1} is not valid utf-8",
        f"text.txt:{count + 2} holds a NUL byte",
        f"label.txt:{count + 3} has no label",
    ]


@pytest.mark.parametrize(
    ("text", "label", "told"),
    [
        ("a\nb\nc\n", "x\n", "text.txt has 3 lines and label.txt has 1 lines"),
        ("a\n", "x\nx\n\n", "text.txt has 1 lines and label.txt has 3 lines"),
    ],
)
def test_unequal_files_are_refused_with_both_counts(tmp_path, text, label, told):
    with pytest.raises(DataError, match=told):
        pairs(opened(tmp_path, text, label))


def test_files_that_cannot_be_aligned_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="3 files are joined by commas, but there must be 2: text, label"):
        opened(tmp_path, "a\n", "x\n", "y\n")
    with pytest.raises(DataError, match=r"label\.txt is empty"):
        opened(tmp_path, "a\n", "")
    with pytest.raises(DataError, match=r"text\.txt is damaged"):
        opened(tmp_path, gzip.compress(b"a\n")[:-4], "x\n")
    with pytest.raises(ConfigError, match='--encoding is "utf-9"'):
        opened(tmp_path, "a\n", "x\n", encoding="utf-9")


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=20)
LINE |= st.sampled_from(["\u2028", "a\x85b", "\x0b\x0c", '"', "\t", "😀", "a\ufeff", "\x1c\x1d"])
LABEL = LINE.map(str.strip).filter(lambda label: label and label[0] != "\ufeff")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(LINE, LABEL), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    compress=st.sampled_from([bytes, gzip.compress, lzma.compress, bz2.compress]),
)
def test_joined_lines_are_read_back(rows, end, compress):
    # The first text stands after a mark, so that one of its own would be doubled.
    texts, labels = zip(*[("first", "x"), *rows], strict=True)
    with tempfile.TemporaryDirectory() as folder:
        data = [compress("".join(line + end for line in lines).encode()) for lines in (texts, labels)]
        reader = opened(Path(folder), *data, encoding="utf-8")
        assert pairs(reader) == list(zip(texts, labels, strict=True))
        assert not reader.row_errors.count
