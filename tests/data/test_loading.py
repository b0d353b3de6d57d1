"""What can be named as data: files of several kinds, globs, folders, public sets."""

import csv
import os
from collections import Counter

import pytest

from common.config import RunConfig
from common.data import splitting
from common.errors import ConfigError, DataError
from tests.helpers.own_data import FIELDS, own

# Kinds of files


def test_line_aligned_files_are_joined_by_a_comma(tmp_path):
    (tmp_path / "text.txt").write_bytes("one\u2028still one\r\n two\nthree\n".encode())
    (tmp_path / "label.txt").write_text("0\n1\n0\n")
    source, (note,) = splitting.load_single_source(
        f"{tmp_path / 'text.txt'},{tmp_path / 'label.txt'}", FIELDS, RunConfig()
    )
    assert [(e["text"], e["label"]) for e in source] == [("one\u2028still one", "0"), (" two", "1"), ("three", "0")]
    assert "text = lines of text.txt" in note


def test_line_aligned_files_of_unequal_length_are_refused_with_both_counts(tmp_path):
    (tmp_path / "text.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "label.txt").write_text("0\n1\n")
    source, _ = splitting.load_single_source(f"{tmp_path / 'text.txt'},{tmp_path / 'label.txt'}", FIELDS, RunConfig())
    with pytest.raises(DataError, match=r"text.txt has 3 lines and label.txt has 2 lines"):
        list(source)


def test_line_aligned_files_without_a_label_lose_that_line(tmp_path):
    (tmp_path / "text.txt").write_text("one\ntwo\n")
    (tmp_path / "label.txt").write_text("\n1\n")
    source, _ = splitting.load_single_source(f"{tmp_path / 'text.txt'},{tmp_path / 'label.txt'}", FIELDS, RunConfig())
    assert [example["text"] for example in source] == ["two"]
    assert source.row_errors.first_errors() == ["label.txt:1 has no label"]


def test_tweets_of_two_files_are_read(shared):
    folder = shared / "sentiment" / "tweeteval_emotion"
    source, _ = splitting.load_single_source(
        f"{folder / 'train_text.txt'},{folder / 'train_labels.txt'}", FIELDS, RunConfig()
    )
    assert Counter(example["label"] for example in source) == {"0": 1400, "1": 708, "2": 294, "3": 855}


# Public data sets


def test_tfds_fields_are_mapped_by_type(tfds_folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    found = splitting.load_splits(RunConfig(data=("tfds:tiny",)), FIELDS, own)
    train, valid, test = (list(part) for part in (found.train, found.valid, found.test))
    assert len(train) + len(valid) == 60
    assert sorted(example["text"] for example in test) == [f"text {number}" for number in range(60, 75)]
    assert Counter(example["label"] for example in test) == {"bad": 8, "good": 7}
    assert 'text = "body", label = "verdict"' in found.descriptions[0]


def test_tfds_reads_the_same_order_every_time(tfds_folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    train = splitting.load_splits(RunConfig(data=("tfds:tiny",)), FIELDS, own).train
    assert list(train) == list(train)


def test_evaluation_takes_the_test_part_of_a_source_that_has_one(tfds_folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    source, _ = splitting.load_single_source("tfds:tiny", FIELDS, RunConfig())
    assert len(list(source)) == 15


def test_tfds_column_that_is_not_there_is_named(tfds_folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    with pytest.raises(ConfigError, match=r"has no such feature, only: (body, verdict|verdict, body)"):
        splitting.load_splits(RunConfig(data=("tfds:tiny",), column=("text=review",)), FIELDS, own)


def test_tfds_offline_names_the_way_to_do_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"tfds:imdb_reviews is not on this machine.*place a prepared copy under"):
        splitting.load_splits(RunConfig(data=("tfds:imdb_reviews",), offline=True), FIELDS, own)


def test_tfds_unknown_name_is_suggested(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match='Did you mean "imdb_reviews"'):
        splitting.load_splits(RunConfig(data=("tfds:imdb_review",)), FIELDS, own)


def test_imdb_labelled_gives_all_its_thousand_rows(shared):
    file = shared / "sentiment" / "labelled_sentences" / "imdb_labelled.txt"
    source, _ = splitting.load_single_source(str(file), FIELDS, RunConfig())
    assert Counter(example["label"] for example in source) == {"0": 500, "1": 500}


def test_csv_writer_of_python_is_read_back(tmp_path):
    rows = [('a "quoted", text\nof two lines', "x"), ("tab\there", "y"), ("", "x")]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    source, _ = splitting.load_single_source(str(tmp_path / "a.csv"), FIELDS, RunConfig())
    assert [(example["text"], example["label"]) for example in source] == rows


# Several files


def spec(path, **settings):
    return [(e["text"], e["label"]) for e in splitting.load_single_source(str(path), FIELDS, RunConfig(**settings))[0]]


def test_a_glob_names_files_in_alphabetical_order(tmp_path):
    for name, text in (("b.csv", "second"), ("a.csv", "first"), ("c.tsv", "other")):
        (tmp_path / name).write_text(f"text,label\n{text},x\n")
    assert spec(tmp_path / "*.csv") == [("first", "x"), ("second", "x")]
    assert spec(tmp_path / "[b].csv") == [("second", "x")]
    with pytest.raises(DataError, match=r"No file matches .*/\*\.json: check the path"):
        spec(tmp_path / "*.json")


def test_files_of_a_glob_have_layouts_of_their_own_and_any_depth(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "1.csv").write_text("label;text\nx;one\n")
    (tmp_path / "deep" / "er" / "2.jsonl").write_text('{"text": "two", "label": "y"}\n')
    assert spec(tmp_path / "**" / "*.*") == [("one", "x"), ("two", "y")]


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "what?.csv", "one,two.csv"])
def test_a_file_with_a_mark_in_its_name_is_itself(tmp_path, name):
    (tmp_path / name).write_text("text,label\nfine,x\n")
    assert spec(tmp_path / name) == [("fine", "x")]


def test_broken_rows_of_several_files_are_counted_together(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("text,label\nfine,x\ndull,\n")
    source, notes = splitting.load_single_source(str(tmp_path / "*.csv"), FIELDS, RunConfig())
    assert len(notes) == 2 and len(list(source)) == 2
    assert source.row_errors.first_errors() == ["a.csv:3 has no label", "b.csv:3 has no label"]
    with pytest.raises(DataError, match=r"a\.csv:3 has no label"):
        spec(tmp_path / "*.csv", strict=True)


def test_a_file_is_read_by_what_it_holds(tmp_path):
    (tmp_path / "rows").write_text('{"text": "one", "label": "y"}\n')
    assert spec(tmp_path / "rows") == [("one", "y")]
    (tmp_path / "a.parquet").write_text("text,label\nfine,x\n")
    with pytest.raises(DataError, match="is no Parquet file"):
        spec(tmp_path / "a.parquet")


def test_a_file_whose_name_begins_with_a_tilde_is_itself(tmp_path, monkeypatch):
    (tmp_path / "~draft.csv").write_text("text,label\nfine,x\n")
    monkeypatch.chdir(tmp_path)
    assert spec("~draft.csv") == [("fine", "x")]
    with pytest.raises(DataError, match=r"~no such user/a\.csv does not exist"):
        spec("~no such user/a.csv")


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_folder(name):
    with pytest.raises(ConfigError, match="The name of a source is empty: name a file, a folder or tfds:NAME"):
        splitting.load_single_source(name, FIELDS, RunConfig())


def test_a_name_that_is_no_utf8_is_refused_before_a_report_would_hold_it(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    with open(path, "w") as file:
        file.write("text,label\nfine,x\n")
    for name in (path, f"{tmp_path}/caf*.csv"):
        with pytest.raises(DataError, match=r"caf\\udce9\.csv' is not valid utf-8: rename the file"):
            spec(name)


def test_a_glob_is_sorted_through_all_folders_and_finds_files_only(tmp_path):
    for name in ("b/1.csv", "a/2.csv", "a/1.csv", "0.csv", ".hidden.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text,label\n{name},x\n")
    (tmp_path / "folder.csv").mkdir()
    assert [text for text, _ in spec(f"{tmp_path}/**/*.csv")] == ["0.csv", "a/1.csv", "a/2.csv", "b/1.csv"]
    assert [text for text, _ in spec(f"{tmp_path}/[ab]/[!2].csv")] == ["a/1.csv", "b/1.csv"]
    assert [text for text, _ in spec(f"{tmp_path}/?.csv")] == ["0.csv"]


def test_the_folder_of_a_glob_may_hold_marks_only_if_escaped(tmp_path):
    folder = tmp_path / "run[1]"
    folder.mkdir()
    (folder / "a.csv").write_text("text,label\nfine,x\n")
    assert spec(f"{tmp_path}/run[[]1]/*.csv") == [("fine", "x")]
    with pytest.raises(DataError, match="No file matches"):
        spec(f"{folder}/*.csv")


def test_several_sources_of_several_kinds_are_one(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none,x\n")
    (tmp_path / "b.jsonl").write_text('{"text": "two", "label": "y"}\n')
    (tmp_path / "t").write_text("three\n")
    (tmp_path / "l").write_text("x\n")
    (tmp_path / "folder" / "y").mkdir(parents=True)
    (tmp_path / "folder" / "y" / "1.txt").write_text("four\n")
    given = tuple(f"{tmp_path}/{name}" for name in ("a.csv", "b.jsonl", "folder"))
    config = RunConfig(data=(*given[:2], f"{tmp_path}/t,{tmp_path}/l", given[2]), split="100,0,0")
    found = splitting.load_splits(config, FIELDS, own)
    assert [(e["text"], e["label"]) for e in found.train] == [("one", "x"), ("two", "y"), ("three", "x"), ("four", "y")]
    assert len(found.descriptions) == 4
