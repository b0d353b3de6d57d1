"""Tables that are compressed, in any encoding, damaged, or no tables at all."""

from __future__ import annotations

import gzip
import lzma
import os

import pytest

from common.errors import ConfigError, DataError
from common.runtime import open_file
from tests.helpers.csv_tables import broken, message, pairs, table

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
