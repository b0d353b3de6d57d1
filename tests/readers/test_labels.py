"""Names of labels, and the labels that they are put in the place of."""

from collections import Counter

import pytest

from common.config import RunConfig
from common.errors import DataError
from common.readers.labels import label_names
from common.recipe import Field
from common.sources import opened, splits

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
    ],
)
def test_names_by_code(tmp_path, content, names):
    assert label_names(written(tmp_path, content)) == names


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("0\ta\n0\tb\n", r'names.txt:2 names "0" a second time'),
        ("0\t\n1\tb\n", r"names.txt:1 lacks a code or a name"),
        ("\n \n", r"names no label"),
        ("", r"is empty"),
    ],
)
def test_files_that_name_nothing_are_refused(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        label_names(written(tmp_path, content))


def test_labels_are_renamed_and_one_without_a_name_is_broken(tmp_path):
    data = written(tmp_path, "text,label\na,0\nb,7\nc,1\n", "a.csv")
    config = RunConfig(label_names=str(written(tmp_path, "0\tno\n1\tyes\n")))
    source = opened(str(data), FIELDS, config).parts[""]
    assert [(e["text"], e["label"]) for e in source] == [("a", "no"), ("c", "yes")]
    assert source.problems.lines() == ['a.csv:3 has the label "7", which --label-names does not name']


def test_other_names_change_the_fingerprint(tmp_path):
    data, names = written(tmp_path, "text,label\na,0\nb,1\n", "a.csv"), tmp_path / "names.txt"
    prints = set()
    for content in ("0\tno\n1\tyes\n", "0\tyes\n1\tno\n"):
        written(tmp_path, content)
        prints.add(opened(str(data), FIELDS, RunConfig(label_names=str(names))).fingerprint)
    assert len(prints | {opened(str(data), FIELDS, RunConfig()).fingerprint}) == 3


def test_tweets_have_named_emotions(shared):
    folder = shared / "sentiment" / "tweeteval_emotion"
    config = RunConfig(
        data=(f"{folder / 'train_text.txt'},{folder / 'train_labels.txt'}",),
        valid=(f"{folder / 'val_text.txt'},{folder / 'val_labels.txt'}",),
        label_names=str(folder / "mapping.txt"),
    )
    parts = splits(config, FIELDS, lambda: None)
    assert Counter(e["label"] for e in parts.train) == {"anger": 1400, "joy": 708, "optimism": 294, "sadness": 855}
    assert sum(1 for _ in parts.valid) == 374
