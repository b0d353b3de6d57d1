"""Parquet: typed columns, label names, damage, and reading in pieces."""

import gzip
import json
import lzma
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.file_formats import open_tagged_file
from common.data.readers.parquet import open_parquet
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field

NAMED = {"names": ["neg", "pos"], "_type": "ClassLabel"}
FIELDS = (Field("text", "text", ("review",)), Field("label", "label", ("stars",)))


def written(folder, columns, metadata=None, name="a.parquet", **options):
    table = pyarrow.table(columns)
    if metadata:
        table = table.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, folder / name, **options)
    return folder / name


def opened(path, **columns):
    return open_parquet(path, FIELDS, columns, RowErrors())


def pairs(reader):
    return [(one["text"], one["label"]) for _, one in reader.rows()]


def test_rows_have_places_and_columns_are_found_by_name(tmp_path):
    path = written(tmp_path, {"id": [7, 8], "review": ["fine", "dull"], "stars": [5, 1]})
    reader = opened(path)
    expected = [("a.parquet:1", {"text": "fine", "label": "5"}), ("a.parquet:2", {"text": "dull", "label": "1"})]
    assert list(reader.rows()) == list(reader.rows()) == expected
    assert reader.description == 'a.parquet: Parquet; text = "review", label = "stars"'


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pyarrow.array([1, 0], pyarrow.int8()), ["1", "0"]),
        (pyarrow.array([1.0, 2.5]), ["1", "2.5"]),
        (pyarrow.array([True, False]), ["true", "false"]),
        (pyarrow.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pyarrow.array([" x", "y "], pyarrow.large_string()), ["x", "y"]),
        (pyarrow.array([b"x", "é".encode()]), ["x", "é"]),
    ],
    ids=["int", "float", "bool", "dictionary", "large", "bytes"],
)
def test_typed_labels_are_taken_as_text(tmp_path, labels, expected):
    path = written(tmp_path, {"text": ["a", "b"], "label": labels})
    assert [label for _, label in pairs(opened(path))] == expected


def test_numbers_with_gaps_are_whole_and_gaps_are_broken(tmp_path):
    reader = opened(written(tmp_path, {"text": ["a", "b", None], "label": [1.0, None, 2.0]}))
    assert pairs(reader) == [("a", "1")]
    assert reader.row_errors.first_errors() == ["a.parquet:2 has no label", "a.parquet:3 has no text"]


def test_one_text_that_is_no_utf8_does_not_cost_its_neighbours(tmp_path):
    texts = pyarrow.array([b"a", b"caf\xe9", b"c"]).view(pyarrow.string())
    reader = opened(written(tmp_path, {"text": texts, "label": ["x"] * 3}))
    assert pairs(reader) == [("a", "x"), ("c", "x")]
    assert reader.row_errors.first_errors() == ["a.parquet:2 is not valid utf-8"]


@pytest.mark.parametrize(
    ("labels", "type"),
    [
        ([["a"]], r"list<\w+: string>"),
        ([{"a": 1}], "struct<a: int64>"),
        (pyarrow.array([1], pyarrow.timestamp("ns")), r"timestamp\[ns\]"),
        ([Decimal("1.5")], r"decimal128\(2, 1\)"),
    ],
)
def test_columns_of_other_types_are_refused_by_name(tmp_path, labels, type):
    told = f'The column "label" of .*a.parquet holds {type}, not texts or numbers: name another by --column label=NAME'
    with pytest.raises(DataError, match=told):
        opened(written(tmp_path, {"text": ["a"], "label": labels}))


def test_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array([one]) for one in "abc"], names=["text", "text", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match='has several columns named "text": rename all but one'):
        opened(tmp_path / "a.parquet")


def test_a_dot_in_a_name_is_part_of_it(tmp_path):
    path = written(tmp_path, {"text": ["a"], "text.raw": ["b"], "label.name": ["x"]})
    assert pairs(opened(path, label="label.name")) == [("a", "x")]
    assert pairs(opened(path, text="text.raw", label="label.name")) == [("b", "x")]


def test_a_text_with_a_nul_is_a_broken_row(tmp_path):
    reader = opened(written(tmp_path, {"text": ["a\0b", "c"], "label": ["x", "y"]}))
    assert pairs(reader) == [("c", "y")]
    assert reader.row_errors.first_errors() == ["a.parquet:1 holds a NUL byte"]


def test_places_count_through_all_groups_of_rows(tmp_path):
    texts = [f"t{number}" for number in range(2500)]
    reader = opened(written(tmp_path, {"text": texts, "label": ["x"] * 2500}, row_group_size=700))
    assert [place for place, _ in reader.rows()] == [f"a.parquet:{number}" for number in range(1, 2501)]
    assert [one["text"] for _, one in reader.rows()] == texts


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_compressed_file_is_to_be_unpacked(tmp_path, compress):
    path = written(tmp_path, {"text": ["a"], "label": ["x"]})
    path.write_bytes(compress(path.read_bytes()))
    with pytest.raises(DataError, match="is a compressed Parquet file, which cannot be read in pieces: unpack it"):
        open_tagged_file(path, FIELDS, (), None, RowErrors())


def test_label_names_of_hugging_face_are_used(tmp_path):
    metadata = {"huggingface": json.dumps({"info": {"features": {"text": {"_type": "Value"}, "label": NAMED}}})}
    reader = opened(written(tmp_path, {"text": ["a", "b", "c"], "label": [1, 0, -1]}, metadata))
    assert pairs(reader) == [("a", "pos"), ("b", "neg")]
    assert reader.row_errors.first_errors() == ["a.parquet:3 has no label"]
    assert 'label = "label" (named)' in reader.description


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ({"tokens": [{"_type": "Value"}], "label": NAMED}, ["pos", "neg"]),  # lists stand for sequences
        ({"other": {"_type": "ClassLabel", "num_classes": 2}, "label": NAMED}, ["pos", "neg"]),
        ({"label": {"_type": "ClassLabel", "names": [10, 20]}}, ["20", "10"]),
        ({"label": {"_type": "ClassLabel", "names": None}}, ["1", "0"]),
        ({"label": {"_type": "Value", "dtype": "int64"}}, ["1", "0"]),
        ({"stars": NAMED}, ["1", "0"]),
        ([], ["1", "0"]),
        (None, ["1", "0"]),
    ],
)
def test_other_features_of_hugging_face_do_no_harm(tmp_path, features, labels):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    reader = opened(written(tmp_path, {"text": ["a", "b"], "label": [1, 0]}, metadata))
    assert [label for _, label in pairs(reader)] == labels
    assert ("(named)" in reader.description) == (labels != ["1", "0"])


@pytest.mark.parametrize("metadata", ["{", "[]", "null", '{"info": null}'])
def test_metadata_of_another_kind_does_no_harm(tmp_path, metadata):
    reader = opened(written(tmp_path, {"text": ["a"], "label": [1]}, {"huggingface": metadata}))
    assert pairs(reader) == [("a", "1")]


def test_damaged_files_are_refused(tmp_path):
    path = written(
        tmp_path, {"text": ["a" * 1000] * 100, "label": ["x"] * 100}, compression="none", use_dictionary=False
    )
    whole = path.read_bytes()
    for data in (whole[:-10], whole[:50], b"PAR1"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a.parquet is damaged \(.*\): copy or download the file again"):
            opened(path)
    for data in (whole[:40_000] + whole[60_000:], whole.replace(b"label", b"lab\xffl")):
        path.write_bytes(data)
        with pytest.raises(DataError, match="is damaged"):
            pairs(opened(path))
    path.write_bytes(whole[:20] + b"\xff" * 200 + whole[220:])
    with pytest.raises(DataError, match="is damaged"):
        pairs(opened(path))


def test_files_that_lack_something_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no row"):
        opened(written(tmp_path, {"text": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], "string")}))
    path = written(tmp_path, {"body": ["a"], "title": ["t"], "verdict": ["x"]})
    with pytest.raises(DataError, match=r'which column is the text.*"body", "title", "verdict"'):
        opened(path)
    with pytest.raises(ConfigError, match="no such column"):
        opened(path, text="bodi")
    assert pairs(opened(path, text="body", label="3")) == [("a", "x")]
    with pytest.raises(DataError, match="does not exist"):
        opened(tmp_path / "no.parquet")


def test_one_large_group_of_rows_is_read_in_pieces(tmp_path):
    texts = [f"{number} " + "word " * 400 for number in range(20_000)]  # 40 MB
    path = written(tmp_path, {"text": texts, "label": ["x"] * 20_000}, compression="none", use_dictionary=False)
    del texts
    before = most = pyarrow.total_allocated_bytes()
    count = 0
    for _ in opened(path).rows():
        count += 1
        most = max(most, pyarrow.total_allocated_bytes()) if count % 100 == 0 else most
    assert count == 20_000
    assert most - before < path.stat().st_size / 4


CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ODD = st.sampled_from(["\u2028", "\u2029", "\x85", "\x0b\x0c", "\t", "\r", "a\nb", "😀", '"', "\ufeff"])
TEXT, LABEL = st.text(CHARS, max_size=20) | ODD, st.text(CHARS, max_size=8).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT, LABEL), min_size=1, max_size=6),
    groups=st.integers(1, 3),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli"]),
    type=st.sampled_from([pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.string_view()]),
)
def test_what_pyarrow_writes_is_read_back(rows, groups, compression, type):
    with tempfile.TemporaryDirectory() as folder:
        columns = {"text": pyarrow.array([text.encode() for text, _ in rows]).cast(type)}
        columns |= {"label": [label for _, label in rows]}
        reader = opened(written(Path(folder), columns, row_group_size=groups, compression=compression))
        assert pairs(reader) == [(text, label.strip()) for text, label in rows]
        assert not reader.row_errors.count


TAGGED = (Field("tokens", "tokens", ("words", "text")), Field("tags", "tags", ("ner_tags", "entities")))
IOB2 = {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}


def tagged(path, columns=(), names=None):
    return open_tagged_file(path, TAGGED, columns, None, RowErrors(), names)


def test_lists_of_tokens_and_tags_are_read(tmp_path):
    columns = {"id": [1, 2], "words": [["Ann", "Lee"], ["ran"]], "ner_tags": [["I-A", "B-A"], ["O"]]}
    made = tagged(written(tmp_path, columns))
    assert list(made.rows()) == [
        ("a.parquet:1", {"text": "Ann Lee", "tokens": ["Ann", "Lee"], "tags": ["B-A", "B-A"]}),
        ("a.parquet:2", {"text": "ran", "tokens": ["ran"], "tags": ["O"]}),
    ]
    assert made.description == 'a.parquet: Parquet; tokens = "words", tags = "ner_tags"; scheme IOB1'


@pytest.mark.parametrize(
    "feature",
    [
        {"feature": IOB2, "_type": "Sequence"},
        {"feature": IOB2, "_type": "List"},
        {"feature": IOB2, "length": -1, "id": None, "_type": "Sequence"},
        [IOB2],
    ],
)
def test_tags_that_hugging_face_numbers_are_named(tmp_path, feature):
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}
    columns = {"tokens": [["Ann", "Lee", "ran"], ["x"], ["y"]], "ner_tags": [[1, 2, 0], [-1], [7]]}
    made = tagged(written(tmp_path, columns, metadata))
    assert [one["tags"] for _, one in made.rows()] == [["B-PER", "I-PER", "O"]]
    assert made.row_errors.first_errors() == [f"a.parquet:{row} has an empty tag (number 1)" for row in (2, 3)]
    assert 'tags = "ner_tags" (named); scheme IOB2' in made.description


def test_tags_that_are_numbers_need_names(tmp_path):
    path = written(tmp_path, {"tokens": [["Ann", "ran"]], "tags": [[1, 0]]})
    with pytest.raises(DataError, match=r"The tags of a\.parquet are numbers .*--label-names FILE"):
        tagged(path)
    assert [one["tags"] for _, one in tagged(path, names={"0": "O", "1": "B-PER"}).rows()] == [["B-PER", "O"]]


@pytest.mark.parametrize(
    "entities",
    [
        [[{"start": 0, "end": 3, "label": "PER"}], []],
        [{"start": [0], "end": [3], "label": ["PER"]}, {"start": [], "end": [], "label": []}],
    ],
    ids=["list of structs", "struct of lists"],
)
def test_texts_with_spans_are_read(tmp_path, entities):
    made = tagged(written(tmp_path, {"text": ["Ann ran", "x"], "entities": entities}))
    assert [(one["text"], one["tags"], one["entities"]) for _, one in made.rows()] == [
        ("Ann ran", ["B-PER", "O"], [[0, 3, "PER"]]),
        ("x", ["O"], []),
    ]


def test_tagged_rows_that_cannot_be_used_are_told(tmp_path):
    broken = pyarrow.array([[b"a"], [b"caf\xe9"], None, [b"b"], []]).cast(pyarrow.list_(pyarrow.binary()))
    tokens = pyarrow.ListArray.from_arrays(
        broken.offsets, broken.values.view(pyarrow.string()), mask=pyarrow.array([False, False, True, False, False])
    )
    made = tagged(written(tmp_path, {"tokens": tokens, "tags": [["O"], ["O"], ["O"], ["O", "O"], []]}))
    assert [one["text"] for _, one in made.rows()] == ["a"]
    assert made.row_errors.first_errors() == [
        "a.parquet:2 is not valid utf-8",
        "a.parquet:3 has no tokens",
        "a.parquet:4 has 1 tokens, but 2 tags",
        "a.parquet:5 has no tokens",
    ]


def test_tagged_columns_of_other_types_are_refused(tmp_path):
    path = written(tmp_path, {"text": ["a"], "tags": ["O"], "n": [{"a": 1}]})
    with pytest.raises(DataError, match=r'"tags" of .* holds string, not a list of tags or of spans: name another by'):
        tagged(path)
    with pytest.raises(DataError, match=r'"n" of .* holds struct<a: int64>, not a text or a list of tokens'):
        tagged(path, ["tokens=n"])
