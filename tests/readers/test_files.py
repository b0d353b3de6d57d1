"""Bytes and encodings: every compression, and damage to each."""

import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow
import pytest

from common.errors import DataError
from common.readers.files import opened, opened_text, sample, suffix


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd}
TEXT = "".join(f"{number}: naïve\n" for number in range(100_000))


def cut(data):
    return data[:-20]


@pytest.fixture(params=COMPRESS)
def compressed(request, tmp_path):
    """(path, bytes) of a compressed file; its name says nothing."""
    path = tmp_path / "data"
    path.write_bytes(COMPRESS[request.param](TEXT.encode()))
    return path


def test_every_compression_is_read(compressed):
    with opened(compressed) as file:
        assert file.read().decode() == TEXT
    with opened_text(compressed, "utf-8", "\n") as lines:
        assert sum(1 for _ in lines) == 100_000
    assert sample(compressed, None) == ("utf-8", TEXT[: len(sample(compressed, None)[1])])


def test_several_frames_are_read_as_one(compressed, tmp_path):
    twice = tmp_path / "twice"
    twice.write_bytes(compressed.read_bytes() * 2)
    with opened(twice) as file:
        assert file.read().decode() == TEXT * 2


@pytest.mark.parametrize(
    "harm", [lambda data: data[: len(data) // 2], lambda data: data[:200] + b"x" * 200 + data[400:]]
)
def test_damage_is_one_sentence(compressed, harm):
    whole = compressed.read_bytes()
    if whole.startswith(b"\x28\xb5"):  # zstd frames mostly have no checksum: what cannot be unpacked is cut
        harm = cut
    compressed.write_bytes(harm(whole))
    with (
        pytest.raises(DataError, match=r"data is damaged \([^\n]+\): copy or download the file again\.$"),
        opened(compressed) as file,
    ):
        while file.read(2**16):
            pass


@pytest.mark.parametrize(
    ("name", "what"), [("a.xlsx", "a spreadsheet: save it as CSV"), ("a.zip", "a zip archive: unpack it")]
)
def test_archives_are_refused(tmp_path, name, what):
    (tmp_path / name).write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match=what):
        sample(tmp_path / name, None)


def test_suffixes_of_compression_do_not_count():
    assert [suffix(Path(name)) for name in ("a.csv", "a.TSV.xz", "a.b.jsonl.zst", "a.gz", "a")] == [
        ".csv",
        ".tsv",
        ".jsonl",
        "",
        "",
    ]
