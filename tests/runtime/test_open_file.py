"""Bytes and encodings: every compression, and damage to each."""

import bz2
import encodings.aliases
import gzip
import lzma
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigError, DataError
from common.runtime.open_file import expand_path, open_compressed, open_text, read_head, suffix


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
    with open_compressed(compressed) as file:
        assert file.read().decode() == TEXT
    with open_text(compressed, "utf-8", "\n") as lines:
        assert sum(1 for _ in lines) == 100_000
    assert read_head(compressed, None) == ("utf-8", TEXT[: len(read_head(compressed, None)[1])])


def test_several_frames_are_read_as_one(compressed, tmp_path):
    twice = tmp_path / "twice"
    twice.write_bytes(compressed.read_bytes() * 2)
    with open_compressed(twice) as file:
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
        open_compressed(compressed) as file,
    ):
        while file.read(2**16):
            pass


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.xlsx", "a spreadsheet: save it as CSV"),
        ("a.ods", "a spreadsheet: save it as CSV"),
        ("a.zip", "a zip archive: unpack it"),
    ],
)
def test_archives_are_refused(tmp_path, name, what):
    (tmp_path / name).write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match=what):
        read_head(tmp_path / name, None)


def test_suffixes_of_compression_do_not_count():
    assert [suffix(Path(name)) for name in ("a.csv", "a.TSV.xz", "a.b.jsonl.zst", "a.gz", "a")] == [
        ".csv",
        ".tsv",
        ".jsonl",
        "",
        "",
    ]


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_an_empty_frame_is_no_end(tmp_path, compress):
    (tmp_path / "a").write_bytes(compress(b"") + compress(b"text") + compress(b"") + compress(b" on"))
    with open_compressed(tmp_path / "a") as file:
        assert file.read() == b"text on"
    (tmp_path / "a").write_bytes(compress(b""))
    with pytest.raises(DataError, match="is empty"):
        read_head(tmp_path / "a", None)


def test_frames_that_zstd_skips_are_no_data(tmp_path):
    # As pzstd writes them: magic, length, content (RFC 8878, 3.1.2).
    (tmp_path / "a").write_bytes(b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(b"text"))
    with open_compressed(tmp_path / "a") as file:
        assert file.read() == b"text"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_rubbish_after_the_last_frame_is_damage(tmp_path, kind):
    (tmp_path / "a").write_bytes(COMPRESS[kind](b"text") + b"rubbish")
    with pytest.raises(DataError, match="a is damaged"):
        read_head(tmp_path / "a", None)


@pytest.mark.parametrize("length", range(4, 30, 5))
def test_a_beginning_of_zstd_is_damage(tmp_path, length):
    (tmp_path / "a").write_bytes(zstd(TEXT.encode())[:length])
    with pytest.raises(DataError, match="a is damaged"):
        read_head(tmp_path / "a", None)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full"])
def test_devices_are_refused(name):
    with pytest.raises(DataError, match=f"{name} is a pipe or device, which cannot be read twice"):
        read_head(Path(name), None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_that_wants_a_mark_asks_for_the_order_of_bytes(tmp_path, encoding):
    (tmp_path / "a").write_bytes("text".encode(encoding + "-be"))
    with pytest.raises(ConfigError, match=f"no byte order mark: say {encoding}-le or {encoding}-be"):
        read_head(tmp_path / "a", encoding)
    assert read_head(tmp_path / "a", encoding + "-be") == (encoding + "-be", "text")


@pytest.mark.parametrize("name", sorted(set(encodings.aliases.aliases.values())))
def test_every_encoding_of_python_is_used_or_refused(tmp_path, name):
    (tmp_path / "a").write_bytes(b"text\xe9\n" * 20)
    try:
        found, _ = read_head(tmp_path / "a", name)
        with open_text(tmp_path / "a", found, "\n") as lines:
            list(lines)
    except (ConfigError, DataError) as error:
        assert "--encoding" in str(error)


def test_a_name_that_begins_with_a_tilde_may_be_a_file(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_path("~/a.csv") == Path("/home/me/a.csv")
    assert expand_path("~no such user/a.csv") == Path("~no such user/a.csv")


CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ODD = st.sampled_from(["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\t", "\r", "\r\n", "\n", "😀", '"', "\ufeff"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(CHARS, max_size=5) | ODD), min_size=1, max_size=4), st.sampled_from(list(COMPRESS)))
def test_frames_of_any_text_are_read_as_its_lines(frames, kind):
    frames = ["x", *map("".join, frames)]  # a mark at the beginning would be none of the text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(b"".join(COMPRESS[kind](frame.encode()) for frame in frames))
        with open_text(path, "utf-8", "\n") as lines:
            assert [line.removesuffix("\n") for line in lines] == "".join(frames).removesuffix("\n").split("\n")
