"""What data of named entities means: tokens and their tags; and the default set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from common import packaged
from common.problems import Problems
from common.recipe import Example, Field, Source

FIELDS = (
    Field("tokens", "tokens", ("words", "token", "word", "form", "text", "sentence")),
    Field("tags", "tags", ("tag", "ner_tags", "ner", "labels", "label", "entities", "spans")),
)

ADDRESSES = packaged.Archive(
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


def addresses(offline: bool = False) -> tuple[Source, dict[str, str]]:
    """US addresses labelled by hand and their attribution; every token has a tag of IOB2, such as "B-StreetName".

    An address that repeats another one but for case, blanks and punctuation is left out, so that none is in two parts.
    The archive's other files labelled by hand add nothing: us50_*.xml follow older rules, which labeled.xml contradicts
    on the same addresses (a StreetNamePreDirectional behind its street), and multi_word_state_addresses.xml is in it.

    Raises:
      DataError: the archive cannot be fetched.
    """
    path = packaged.fetch(ADDRESSES, offline) / "labeled.xml"
    problems = Problems()
    source = Source("hand-labelled US addresses", lambda: _read([path], problems, set()), problems)
    return source, packaged.attribution(ADDRESSES)


def synthetic(offline: bool = False) -> tuple[Source, dict[str, str]]:
    """US addresses labelled by rules and their attribution; for training only, none of `addresses` is among them.

    Raises:
      DataError: the archive cannot be fetched.
    """
    by_hand, _ = addresses(offline)
    folder = packaged.fetch(SYNTHETIC, offline)
    problems = Problems()

    def read() -> Iterator[Example]:
        return _read([folder / name for name in SYNTHETIC.members], problems, {_key(e["tokens"]) for e in by_hand})

    return Source("US addresses labelled by rules", read, problems), packaged.attribution(SYNTHETIC)


def _read(paths: Sequence[Path], problems: Problems, seen: set[str]) -> Iterator[Example]:
    """The addresses of some files, each once; those in `seen` are left out."""
    problems.clear()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for found in RECORD.finditer(text):
            try:
                example = _example(ElementTree.fromstring(found[0]))
            except ElementTree.ParseError:
                # One by one, since a broken record makes the whole file unreadable to an XML parser.
                line = text.count("\n", 0, found.start()) + 1
                problems.add(f"{path.name}:{line}", "is not well-formed XML")
                continue
            if (key := _key(example["tokens"])) not in seen:
                seen.add(key)
                yield example


def _example(record: ElementTree.Element) -> Example:
    """Text, tokens and tags of an address; neighbours of the same kind are one entity, as in `usaddress.tag`.

    >>> record = "<AddressString><Place>New</Place> <Place>York</Place>, <Zip>10001</Zip></AddressString>"
    >>> _example(ElementTree.fromstring(record))
    {'text': 'New York, 10001', 'tokens': ['New', 'York,', '10001'], 'tags': ['B-Place', 'I-Place', 'B-Zip']}
    """
    tokens, tags, previous = [], [], ""
    for element in record:
        stuck = STUCK.match(element.tail or "")
        words = f"{(element.text or '').strip()}{stuck[0] if stuck else ''}".split()
        for word in words:
            tokens.append(word)
            tags.append(f"{'I' if element.tag == previous else 'B'}-{element.tag}")
            previous = element.tag
    return {"text": " ".join(tokens), "tokens": tokens, "tags": tags}


def _key(tokens: Sequence[str]) -> str:
    """What two spellings of one address have in common: letters and digits."""
    return re.sub(r"[\W_]+", "", "".join(tokens).lower())
