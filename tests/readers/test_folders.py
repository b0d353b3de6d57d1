"""A folder for each label: parts, order, and files that are no texts."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.errors import ConfigError, DataError
from common.readers.folders import label_folders
from common.recipe import Field
from common.sources import opened

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
    found = label_folders(tmp_path, FIELDS, None)
    assert list(found) == [""]
    assert list(found[""].rows()) == [
        ("neg/1.txt", {"text": "c", "label": "neg"}),
        ("pos/10.txt", {"text": "a", "label": "pos"}),
        ("pos/2.txt", {"text": "b", "label": "pos"}),
    ]
    assert found[""].note == f"{tmp_path}: a folder of text files for each label: neg, pos"


def test_the_layout_of_imdb_has_parts_and_texts_without_a_label(tmp_path):
    made(
        tmp_path,
        {"train/pos/0_9.txt": "a", "train/neg/0_1.txt": "b", "train/unsup/0_0.txt": "u", "test/pos/0_10.txt": "c"},
    )
    made(tmp_path, {"imdb.vocab": "a\n", "train/urls_pos.txt": "x"})
    found = label_folders(tmp_path, FIELDS, None)
    assert {part: pairs(reader) for part, reader in found.items()} == {
        "test": [("c", "pos")],
        "train": [("b", "neg"), ("a", "pos")],
    }
    assert "unsup left out, as it has no label" in found["train"].note
    assert set(opened(str(tmp_path), FIELDS, RunConfig()).parts) == {"train", "test"}


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
    reader = label_folders(tmp_path, FIELDS, None)[""]
    assert pairs(reader) == [("café", "a"), ("", "a"), ("fine", "b"), ("x", "b")]
    assert reader.problems.lines() == [
        "a/2.png is no text file (its name ends in .png, not .txt)",
        "a/3.txt is binary data, not text",
    ]


def test_the_encoding_is_the_users(tmp_path):
    made(tmp_path, {"a/1.txt": "ж".encode("koi8-r"), "b/1.txt": "x"})
    assert pairs(label_folders(tmp_path, FIELDS, "koi8-r")[""]) == [("ж", "a"), ("x", "b")]
    reader = label_folders(tmp_path, FIELDS, "ascii")[""]
    assert pairs(reader) == [("x", "b")]
    assert reader.problems.lines() == ["a/1.txt is not valid ascii"]


def test_folders_without_labels_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match="has no folder of text files for each label: name another"):
        label_folders(tmp_path, FIELDS, None)
    made(tmp_path, {"part-1.parquet": "x"})
    with pytest.raises(DataError, match=r"name its files, such as '.*/\*\.parquet'"):
        label_folders(tmp_path, FIELDS, None)
    with pytest.raises(ConfigError, match="a file is wanted"):
        label_folders(tmp_path, FIELDS[:1], None)


def test_moved_files_change_the_fingerprint(tmp_path):
    made(tmp_path, {"a/1.txt": "x", "b/2.txt": "y"})
    before = opened(str(tmp_path), FIELDS, RunConfig()).fingerprint
    assert opened(str(tmp_path), FIELDS, RunConfig()).fingerprint == before
    (tmp_path / "a" / "1.txt").rename(tmp_path / "b" / "1.txt")
    made(tmp_path, {"a/2.txt": "y"})
    (tmp_path / "b" / "2.txt").unlink()
    assert opened(str(tmp_path), FIELDS, RunConfig()).fingerprint != before


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
        assert sorted(pairs(label_folders(Path(folder), FIELDS, "utf-8")[""])) == expected
