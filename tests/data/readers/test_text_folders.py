"""A folder for each label: parts, order, and files that are no texts."""

import bz2
import gzip
import lzma
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data.loading import open_table_source
from common.data.readers.text_folders import open_label_folders
from common.errors import ConfigError, DataError
from common.types import Field

FIELDS = (Field("text", "text"), Field("label", "label"))


def made(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pairs(reader):
    return [(one["text"], one["label"]) for _, one in reader.rows()]


def test_sub_folders_are_labels_in_a_fixed_order(tmp_path):
    made(tmp_path, {"pos/2.txt": "b\n", "pos/10.txt": "a", "neg/1.txt": "c\r\n", "pos/.hidden": "x", "README": "y"})
    found = open_label_folders(tmp_path, FIELDS, None)
    assert list(found) == [""]
    assert list(found[""].rows()) == [
        ("neg/1.txt", {"text": "c", "label": "neg"}),
        ("pos/10.txt", {"text": "a", "label": "pos"}),
        ("pos/2.txt", {"text": "b", "label": "pos"}),
    ]
    assert found[""].description == f"{tmp_path}: a folder of text files for each label: neg, pos"


def test_the_layout_of_imdb_has_parts_and_texts_without_a_label(tmp_path):
    made(
        tmp_path,
        {"train/pos/0_9.txt": "a", "train/neg/0_1.txt": "b", "train/unsup/0_0.txt": "u", "test/pos/0_10.txt": "c"},
    )
    made(tmp_path, {"imdb.vocab": "a\n", "train/urls_pos.txt": "x"})
    found = open_label_folders(tmp_path, FIELDS, None)
    assert {part: pairs(reader) for part, reader in found.items()} == {
        "test": [("c", "pos")],
        "train": [("b", "neg"), ("a", "pos")],
    }
    assert "unsup left out, as it has no label" in found["train"].description
    assert set(open_table_source(str(tmp_path), FIELDS, RunConfig()).splits) == {"train", "test"}


def test_files_that_are_no_texts_are_told(tmp_path):
    made(
        tmp_path,
        {
            "a/1.txt": b"caf\xe9",
            "a/2.png": b"\x89PNG",
            "a/3.txt": b"\0\1\2",
            "a/4.txt": "",
            "b/5.txt": "\ufefffine\n",
            "b/6": "x",
        },
    )
    reader = open_label_folders(tmp_path, FIELDS, None)[""]
    assert pairs(reader) == [("café", "a"), ("", "a"), ("fine", "b"), ("x", "b")]
    assert reader.row_errors.first_errors() == [
        "a/2.png is no text file (its name ends in .png, not .txt)",
        "a/3.txt is binary data, not text",
    ]


def test_the_encoding_is_the_users(tmp_path):
    made(tmp_path, {"a/1.txt": "ж".encode("koi8-r"), "b/1.txt": "x"})
    assert pairs(open_label_folders(tmp_path, FIELDS, "koi8-r")[""]) == [("ж", "a"), ("x", "b")]
    reader = open_label_folders(tmp_path, FIELDS, "ascii")[""]
    assert pairs(reader) == [("x", "b")]
    assert reader.row_errors.first_errors() == ["a/1.txt is not valid ascii"]


def test_folders_without_labels_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match="has no folder of text files for each label: name another"):
        open_label_folders(tmp_path, FIELDS, None)
    made(tmp_path, {"part-1.parquet": "x"})
    with pytest.raises(DataError, match=r"name its files, such as '.*/\*\.parquet'"):
        open_label_folders(tmp_path, FIELDS, None)
    with pytest.raises(ConfigError, match="a file is wanted"):
        open_label_folders(tmp_path, FIELDS[:1], None)


@pytest.mark.parametrize(
    ("name", "glob"),
    [("a.2019.csv.gz", "*.csv.gz"), ("A.CSV", "*.CSV"), ("a.json", "*.json"), ("a.tsv.zst", "*.tsv.zst")],
)
def test_the_glob_of_tables_in_a_folder_would_find_them(tmp_path, name, glob):
    made(tmp_path, {name: "x"})
    with pytest.raises(DataError) as caught:
        open_label_folders(tmp_path, FIELDS, None)
    assert f"name its files, such as '{tmp_path}/{glob}'." in str(caught.value)
    assert [path.name for path in tmp_path.glob(glob)] == [name]


def test_folders_without_files_are_refused(tmp_path):
    made(tmp_path, {"aclImdb/train/pos/1.txt": "a", ".hidden/x.txt": "b"})
    with pytest.raises(DataError, match=r"The folders in .* hold no files: name another folder, or one of them"):
        open_label_folders(tmp_path, FIELDS, None)
    made(tmp_path, {"aclImdb/train/unsup/1.txt": "a"})
    assert pairs(open_label_folders(tmp_path / "aclImdb", FIELDS, None)["train"]) == [("a", "pos")]


def test_two_folders_of_one_part_are_refused(tmp_path):
    made(tmp_path, {"train/pos/1.txt": "a", "dev/pos/2.txt": "b", "val/pos/3.txt": "c"})
    with pytest.raises(DataError, match="two folders of its valid part, dev and val: move one of them out"):
        open_label_folders(tmp_path, FIELDS, None)


@pytest.mark.parametrize("name", ["Train", "training", "TRAIN"])
def test_parts_have_other_names_too(tmp_path, name):
    made(tmp_path, {f"{name}/pos/1.txt": "a", "validation/pos/2.txt": "b", "Test/pos/3.txt": "c", "doc/x.txt": "d"})
    assert set(open_label_folders(tmp_path, FIELDS, None)) == {"train", "valid", "test"}


def test_a_label_is_a_text_of_utf8(tmp_path):
    made(tmp_path, {"pos/1.txt": "a"})
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)  # noqa: PTH102 (bytes)
    with pytest.raises(DataError, match=r"a folder whose name is not valid utf-8, 'caf\\udce9': rename it"):
        open_label_folders(tmp_path, FIELDS, None)


def test_a_file_may_have_any_name(tmp_path):
    made(tmp_path, {"pos/1.txt": "a"})
    with open(os.fsencode(tmp_path) + b"/pos/caf\xe9.txt", "wb") as file:
        file.write(b"b\n")
    found = open_table_source(str(tmp_path), FIELDS, RunConfig())
    assert [one["text"] for one in found.splits[""]] == ["a", "b"]
    reader = open_label_folders(tmp_path, FIELDS, None)[""]
    assert [place for place, _ in reader.rows()] == ["pos/1.txt", "pos/caf\\udce9.txt"]


def test_what_is_no_file_is_passed_over(tmp_path):
    made(tmp_path, {"pos/1.txt": "a", "pos/deep/2.txt": "b"})
    os.mkfifo(tmp_path / "pos" / "pipe.txt")
    (tmp_path / "pos" / "gone.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / "pos" / "ring.txt").symlink_to(tmp_path / "pos" / "ring.txt")
    reader = open_label_folders(tmp_path, FIELDS, None)[""]
    assert pairs(reader) == [("a", "pos")]
    assert not reader.row_errors.count


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_compressed_texts_are_read(tmp_path, compress):
    made(tmp_path, {"pos/1.txt.gz": compress(b"fine\r\n"), "neg/2": compress(b"dull")})
    assert pairs(open_label_folders(tmp_path, FIELDS, None)[""]) == [("dull", "neg"), ("fine", "pos")]


def test_moved_files_change_the_fingerprint(tmp_path):
    made(tmp_path, {"a/1.txt": "x", "b/2.txt": "y"})
    before = open_table_source(str(tmp_path), FIELDS, RunConfig()).fingerprint
    assert open_table_source(str(tmp_path), FIELDS, RunConfig()).fingerprint == before
    (tmp_path / "a" / "1.txt").rename(tmp_path / "b" / "1.txt")
    made(tmp_path, {"a/2.txt": "y"})
    (tmp_path / "b" / "2.txt").unlink()
    assert open_table_source(str(tmp_path), FIELDS, RunConfig()).fingerprint != before


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["x", "y", "ä z"]), st.integers(0, 50)),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=20),
        min_size=1,
    )
)
def test_texts_are_read_back(texts):
    with tempfile.TemporaryDirectory() as folder:
        made(
            Path(folder),
            {f"{label}/{number}.txt": text.rstrip("\r\n") + "\n" for (label, number), text in texts.items()},
        )
        expected = sorted((text.rstrip("\r\n"), label) for (label, _), text in texts.items())
        assert sorted(pairs(open_label_folders(Path(folder), FIELDS, "utf-8")[""])) == expected
