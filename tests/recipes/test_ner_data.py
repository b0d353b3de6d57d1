"""The default data of named entities against regular expressions of the tests' own."""

import html
import itertools
import re

import pytest

from common.config import RunConfig
from common.data import default_datasets
from common.data.splitting import load_splits
from common.errors import DataError
from recipes.ner import data

RECORD = r"<AddressString>(?P<inside>.*?)</AddressString>"
WORD = r"<(?P<kind>\w+)>(?P<text>[^<]*)</(?P=kind)>"


def key(text):
    return "".join(letter for letter in text.lower() if letter.isalnum())


@pytest.fixture(scope="module")
def examples():
    try:
        source, _ = data.load_addresses()
    except DataError as error:
        pytest.skip(str(error))
    found = list(source)
    assert source.row_errors.count == 0
    return found


@pytest.fixture(scope="module")
def records(examples):
    """(kind, text) of the words of each address in the file, in its order."""
    text = (default_datasets.download_archive(data.ADDRESSES) / "labeled.xml").read_text(encoding="utf-8")
    inside = [found["inside"] for found in re.finditer(RECORD, text, re.DOTALL)]
    return [[(word["kind"], html.unescape(word["text"]).strip()) for word in re.finditer(WORD, one)] for one in inside]


def test_addresses_are_those_of_the_file_less_repeats(examples, records):
    assert len(records) == 1513
    first = {}
    for record in records:
        first.setdefault(key("".join(text for _, text in record)), record)
    assert len(examples) == len(first) == 1466
    for example, record in zip(examples, first.values(), strict=True):
        assert example["text"].split() == [text for _, text in record]
        # Each word begins in the entity of its kind.
        places = [found.start() for found in re.finditer(r"\S+", example["text"])]
        for place, (kind, text) in zip(places, record, strict=True):
            within = [type for start, end, type in example["entities"] if start <= place < end]
            assert within == ([kind] if text.strip(",;") else [])


def test_addresses_have_29_kinds_and_legal_tags(examples):
    for example in examples:
        assert len(example["tokens"]) == len(example["tags"]) > 0
        for previous, tag in zip(["O", *example["tags"]], example["tags"], strict=False):
            assert tag == "O" or tag.startswith("B-") or previous[2:] == tag[2:]
        for (_, _, type), (_, _, other) in itertools.pairwise(example["entities"]):
            assert type != other  # neighbours of one kind are one entity
    assert len({tag[2:] for example in examples for tag in example["tags"]} - {""}) == 29


def test_no_address_is_in_two_parts(examples):
    found = load_splits(RunConfig(), data.FIELDS, data.load_addresses)
    parts = [{key(example["text"]) for example in part} for part in (found.train, found.valid, found.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(examples)
    assert all(len(part) > 100 for part in parts)
    assert found.attribution["licence"] == "MIT"


def read(tmp_path, *records):
    path = tmp_path / "some.xml"
    path.write_text("<AddressCollection>\n" + "\n".join(records) + "\n</AddressCollection>\n", encoding="utf-8")
    source = data._source("some.xml", [path], set())
    return list(source), source.row_errors


def address(inside):
    return f"<AddressString>{inside}</AddressString>"


def test_broken_record_is_skipped_and_counted_with_its_line(tmp_path):
    found, row_errors = read(
        tmp_path,
        address("<PlaceName>Troy</PlaceName>\n"),  # of two lines
        address("<<PlaceName>Ithaca</PlaceName>"),
        address("<PlaceName>Utica</PlaceName>"),
    )
    assert [example["text"] for example in found] == ["Troy", "Utica"]
    assert row_errors.first_errors() == ["some.xml:4 is not well-formed XML"]


def test_marks_stuck_to_a_word_are_kept_but_in_no_entity_and_others_are_dropped(tmp_path):
    (example,), _ = read(
        tmp_path,
        address("<StreetName>K  Beach</StreetName>, # <ZipCode>10001\n</ZipCode> , <StateName>N.Y.</StateName>"),
    )
    assert example["text"] == "K Beach, 10001 N.Y."
    assert example["tokens"] == ["K", "Beach", ",", "10001", "N.Y."]
    assert example["tags"] == ["B-StreetName", "I-StreetName", "O", "B-ZipCode", "B-StateName"]
    assert example["entities"] == [[0, 7, "StreetName"], [9, 14, "ZipCode"], [15, 19, "StateName"]]


def test_repeats_differ_in_case_blanks_and_marks_only(tmp_path):
    found, row_errors = read(
        tmp_path,
        address("<AddressNumber>1</AddressNumber> <StreetName>Main,</StreetName>"),
        address("<AddressNumber>1</AddressNumber> <StreetName>MAIN</StreetName>"),
        address("<AddressNumber>2</AddressNumber> <StreetName>Main</StreetName>"),
    )
    assert [example["text"] for example in found] == ["1 Main,", "2 Main"]
    assert row_errors.count == 0


@pytest.mark.slow
def test_synthetic_addresses_hold_none_labelled_by_hand_and_one_broken_record(examples):
    source, _ = data.load_synthetic_addresses()
    keys = [key(example["text"]) for example in source]
    assert len(keys) == len(set(keys)) == 114_275
    assert not set(keys) & {key(example["text"]) for example in examples}
    assert source.row_errors.first_errors() == ["synthetic_clean_osm_data.xml:14941 is not well-formed XML"]
