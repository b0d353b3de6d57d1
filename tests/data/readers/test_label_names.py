"""Names of labels, and the labels that they are put in the place of."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data.loading import open_table_source
from common.data.readers.label_names import read_label_names
from common.data.splitting import load_splits
from common.errors import DataError
from common.types import Field

FIELDS = (Field("text", "text"), Field("label", "label"))


def written(tmp_path, content, name="names.txt"):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("0\tanger\n1\tjoy\n", {"0": "anger", "1": "joy"}),
        ("0,anger\r\n\r\n1, very, very good\r\n", {"0": "anger", "1": "very, very good"}),
        ("anger\nvery good\n", {"0": "anger", "1": "very good"}),
        ("\ufeffa\tx\nb\tx\n", {"a": "x", "b": "x"}),
        ("0\tx\n0\tx\n", {"0": "x"}),
        (" a , x \n b,y, z", {"a": "x", "b": "y, z"}),
        ("0\ta, b\n1\tc\td\n", {"0": "a, b", "1": "c\td"}),
        ("good, very\nbad\n", {"0": "good, very", "1": "bad"}),
    ],
)
def test_names_by_code(tmp_path, content, names):
    assert read_label_names(written(tmp_path, content)) == names


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("0\ta\n0\tb\n", r'names.txt:2 names "0" a second time'),
        ("0\t\n1\tb\n", r"names.txt:1 lacks a code or a name"),
        ("0\tanger\n1 joy\n", r"names.txt:2 lacks a code or a name"),
        ("\tx\n1\ty\n", r"names.txt:1 lacks a code or a name"),
        ("0\tan\0ger\n", r"names.txt:1 holds a NUL byte|is binary data"),
        ("\n \n", r"names no label"),
        ("", r"is empty"),
    ],
)
def test_files_that_name_nothing_are_refused(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        read_label_names(written(tmp_path, content))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no\.txt does not exist: check the path"):
        read_label_names(tmp_path / "no.txt")
    with pytest.raises(DataError, match="is a folder, where a file is wanted"):
        read_label_names(tmp_path)


def test_two_labels_become_one(tmp_path):
    data = written(tmp_path, "text,label\na,1\nb,2\nc,5\n", "a.csv")
    config = RunConfig(label_names=str(written(tmp_path, "1\tbad\n2\tbad\n5\tgood\n")))
    source = open_table_source(str(data), FIELDS, config).splits[""]
    assert [(e["text"], e["label"]) for e in source] == [("a", "bad"), ("b", "bad"), ("c", "good")]
    assert not source.row_errors.count


def test_a_label_without_a_name_is_an_error_if_strict(tmp_path):
    data = written(tmp_path, "text,label\na,0\nb,7\n", "a.csv")
    config = RunConfig(label_names=str(written(tmp_path, "0\tno\n")), strict=True)
    with pytest.raises(DataError, match=r'a\.csv:3 has the label "7", which --label-names does not name'):
        list(open_table_source(str(data), FIELDS, config).splits[""])


CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t\ufeff")
WORD = st.text(CHARS, min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(WORD, WORD, min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_codes_and_names_are_read_back(names, end, marked):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.txt"
        lines = "".join(f"{code}\t{name}{end}" for code, name in names.items())
        path.write_bytes((("\ufeff" if marked else "") + lines).encode())
        assert read_label_names(path, "utf-8") == names


def test_labels_are_renamed_and_one_without_a_name_is_broken(tmp_path):
    data = written(tmp_path, "text,label\na,0\nb,7\nc,1\n", "a.csv")
    config = RunConfig(label_names=str(written(tmp_path, "0\tno\n1\tyes\n")))
    source = open_table_source(str(data), FIELDS, config).splits[""]
    assert [(e["text"], e["label"]) for e in source] == [("a", "no"), ("c", "yes")]
    assert source.row_errors.first_errors() == ['a.csv:3 has the label "7", which --label-names does not name']


def test_other_names_change_the_fingerprint(tmp_path):
    data, names = written(tmp_path, "text,label\na,0\nb,1\n", "a.csv"), tmp_path / "names.txt"
    prints = set()
    for content in ("0\tno\n1\tyes\n", "0\tyes\n1\tno\n"):
        written(tmp_path, content)
        prints.add(open_table_source(str(data), FIELDS, RunConfig(label_names=str(names))).fingerprint)
    assert len(prints | {open_table_source(str(data), FIELDS, RunConfig()).fingerprint}) == 3


def test_tweets_have_named_emotions(shared):
    folder = shared / "sentiment" / "tweeteval_emotion"
    config = RunConfig(
        data=(f"{folder / 'train_text.txt'},{folder / 'train_labels.txt'}",),
        valid=(f"{folder / 'val_text.txt'},{folder / 'val_labels.txt'}",),
        label_names=str(folder / "mapping.txt"),
    )
    parts = load_splits(config, FIELDS, lambda: None)
    assert Counter(e["label"] for e in parts.train) == {"anger": 1400, "joy": 708, "optimism": 294, "sadness": 855}
    assert sum(1 for _ in parts.valid) == 374
