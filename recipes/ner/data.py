"""What data of named entities means: tokens and their tags; and the default set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from common.data.default_datasets import Archive, attribution_info, download_archive
from common.data.readers.raw_sentence import RawSentence
from common.data.readers.tagged import TaggedReader
from common.row_errors import RowErrors
from common.text.tag_schemes import IOB2, Span
from common.types import Example, ExampleSource, Field

FIELDS = (
    Field("tokens", "tokens", ("words", "token", "word", "form", "text", "sentence")),
    Field("tags", "tags", ("tag", "ner_tags", "ner", "labels", "label", "entities", "spans")),
)

ADDRESSES = Archive(
    package="usaddress",
    version="0.5.16",
    kind="sdist",
    filename="usaddress-0.5.16.tar.gz",
    sha256="f7e614e2489c159cf85be1b6f86edbfaf329dbeedef4d002a025757afd1ec6c6",
    members={"labeled.xml": "usaddress-0.5.16/training/labeled.xml"},
    licence="MIT",
    source="US addresses labelled by hand: usaddress, The Atlanta Journal Constitution and DataMade",
)
ARCHIVES = (ADDRESSES,)  # what `make setup` fetches

# Of the same archive, labelled by rules from OpenStreetMap and from the address points of Linn County, Iowa.
SYNTHETIC = replace(
    ADDRESSES,
    members={
        name: f"usaddress-0.5.16/training/{name}"
        for name in ("synthetic_osm_data_xml.xml", "synthetic_clean_osm_data.xml", "openaddress_us_ia_linn.xml")
    },
    source="US addresses labelled by rules: usaddress, from OpenStreetMap and OpenAddresses",
)

RECORD = re.compile(r"<AddressString>.*?</AddressString>", re.DOTALL)
STUCK = re.compile(r"[,;.)]*")  # what is written behind a word without a blank belongs to it: "Ave,"


def load_addresses(offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Return US addresses labelled by hand and their attribution, as texts whose entities are places in them.

    An address that repeats another one but for case, blanks and punctuation is left out, so that none is in two parts.
    The archive's other files labelled by hand add nothing: us50_*.xml follow older rules, which labeled.xml contradicts
    on the same addresses (a StreetNamePreDirectional behind its street), and multi_word_state_addresses.xml is in it.

    Raises:
      DataError: the archive cannot be fetched.
    """
    path = download_archive(ADDRESSES, offline) / "labeled.xml"
    return _source("hand-labelled US addresses", [path], set()), attribution_info(ADDRESSES)


def load_synthetic_addresses(offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Return US addresses labelled by rules, none of which `load_addresses` has, and their attribution; for training.

    Raises:
      DataError: the archive cannot be fetched.
    """
    by_hand, _ = load_addresses(offline)
    folder = download_archive(SYNTHETIC, offline)
    known = {_key(example["text"]) for example in by_hand}
    paths = [folder / name for name in SYNTHETIC.members]
    return _source("US addresses labelled by rules", paths, known), attribution_info(SYNTHETIC)


def _source(name: str, paths: Sequence[Path], known: set[str]) -> ExampleSource:
    row_errors, repairs = RowErrors(), RowErrors()
    reader = TaggedReader(name, lambda: _sentences(paths, set(known)), IOB2, False, {}, False, row_errors, repairs)

    def read() -> Iterator[Example]:
        row_errors.clear()
        return (example for _, example in reader.rows())

    return ExampleSource(name, read, row_errors, repairs)


def _sentences(paths: Sequence[Path], seen: set[str]) -> Iterator[RawSentence]:
    """Yield the addresses of some files, each once; those in `seen` are left out."""
    for path in paths:
        whole = path.read_text(encoding="utf-8")
        line, counted = 1, 0  # of what stands before
        for record in RECORD.finditer(whole):
            line, counted = line + whole.count("\n", counted, record.start()), record.start()
            place = f"{path.name}:{line}"
            try:
                text, spans = _address(ElementTree.fromstring(record[0]))
            except ElementTree.ParseError:
                # One by one, since a broken record makes the whole file unreadable to an XML parser.
                yield RawSentence(place, "is not well-formed XML")
                continue
            if (key := _key(text)) not in seen:
                seen.add(key)
                yield RawSentence(place, text=text, spans=spans)


def _address(record: ElementTree.Element) -> tuple[str, list[Span]]:
    """Return an address and its entities; neighbours of the same kind are one, as in `usaddress.tag`.

    The file has words such as "Ave,": a comma at an entity's end is no part of it.

    >>> record = "<AddressString><Place>New</Place> <Place>York</Place>, <Zip>10001</Zip></AddressString>"
    >>> _address(ElementTree.fromstring(record))
    ('New York, 10001', [(0, 8, 'Place'), (10, 15, 'Zip')])
    """
    words: list[str] = []
    spans: list[Span] = []
    at = 0
    for element in record:
        stuck = STUCK.match(element.tail or "")
        for word in f"{(element.text or '').strip()}{stuck[0] if stuck else ''}".split():
            words.append(word)
            begin = spans.pop()[0] if spans and spans[-1][2] == element.tag else at
            spans.append((begin, at + len(word.rstrip(",;")), element.tag))
            at += len(word) + 1
    return " ".join(words), [span for span in spans if span[0] < span[1]]


def _key(text: str) -> str:
    """Return what two spellings of one address have in common: letters and digits."""
    return re.sub(r"[\W_]+", "", text.lower())
