"""Message catalogues, written by hand and compiled by the standard library's own format."""

import gzip
import struct

import pytest

from common.data.file_formats import open_table_file
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Field

FIELDS = (Field("source", "text"), Field("target", "text"))
HEAD = 'msgid ""\nmsgstr ""\n"Language: de_DE\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'


def opened(path, content, encoding=None, strict=False):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table_file(path, FIELDS, (), encoding, RowErrors(strict))


def pairs(found):
    return [(one["source"], one["target"]) for _, one in found.rows()]


def compiled(messages, order="<"):
    """A MO file of {message: translation}, as the GNU manual lays it out."""
    count, texts = len(messages), b""
    tables = {0: [], 1: []}
    start = 28 + 16 * count
    for which in (0, 1):
        for pair in sorted(messages.items()):
            text = pair[which].encode()
            tables[which].append((len(text), start + len(texts)))
            texts += text + b"\0"
    numbers = [0x950412DE, 0, count, 28, 28 + 8 * count, 0, start]
    places = [number for which in (0, 1) for place in tables[which] for number in place]
    return struct.pack(f"{order}{len(numbers) + len(places)}I", *numbers, *places) + texts


HEADER = "Language: de\nContent-Type: text/plain; charset=UTF-8\n"


def test_po_gives_messages_and_translations_with_their_lines(tmp_path):
    found = opened(
        tmp_path / "de.po", HEAD + '\n# a comment\nmsgid "Yes"\nmsgstr "Ja"\n\nmsgid "a\\n"\n"b"\nmsgstr "ä"\n'
    )
    assert list(found.rows()) == list(found.rows())
    assert list(found.rows()) == [
        ("de.po:6", {"source": "Yes", "target": "Ja"}),
        ("de.po:10", {"source": "a\nb", "target": "ä"}),
    ]
    assert found.description == 'de.po: gettext, utf-8; source = messages, target = translations in "de_DE"'


def test_placeholders_markup_and_escapes_stay(tmp_path):
    text = 'msgid "%(a)s <b>{0}</b>\\t\\"x\\" \\\\n %s"\nmsgstr "%s %(a)s {name}"\n'
    assert pairs(opened(tmp_path / "a.po", text)) == [('%(a)s <b>{0}</b>\t"x" \\n %s', "%s %(a)s {name}")]


def test_what_is_not_translated_is_left_out_and_counted(tmp_path):
    text = (
        HEAD + '\n#, fuzzy\nmsgid "a"\nmsgstr "A"\n\nmsgid "b"\nmsgstr ""\n\nmsgid "c"\nmsgstr ""\n\n'
        'msgid "d"\nmsgstr "D"\n\n#~ msgid "e"\n#~ msgstr "E"\n'
    )
    found = opened(tmp_path / "a.po", text, strict=True)  # none of these is broken
    assert pairs(found) == [("d", "D")]
    assert found.description.endswith("; left out: 2 untranslated, 1 fuzzy, 1 obsolete")


PLURAL = 'msgctxt "menu"\nmsgid "one file"\nmsgid_plural "%d files"\n'


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (["eine Datei", "%d Dateien"], [("one file", "eine Datei"), ("%d files", "%d Dateien")]),
        (["a", "b", "c"], [("one file", "a"), ("%d files", "b"), ("%d files", "c")]),
        (["x"], [("one file", "x"), ("%d files", "x")]),
        (["a", ""], [("one file", "a")]),
    ],
)
def test_each_plural_form_is_a_pair(tmp_path, forms, expected):
    text = PLURAL + "".join(f'msgstr[{number}] "{form}"\n' for number, form in enumerate(forms))
    assert pairs(opened(tmp_path / "a.po", text)) == expected
    messages = {"": HEADER, "menu\x04one file\0%d files": "\0".join(forms)}
    assert pairs(opened(tmp_path / "a.mo", compiled(messages))) == expected


@pytest.mark.parametrize("order", ["<", ">"])
def test_mo_is_known_by_its_bytes_in_either_order(tmp_path, order):
    data = compiled({"": HEADER, "Yes": "Ja", "No": "Nein", "Later": ""}, order)
    found = opened(tmp_path / "messages", gzip.compress(data))
    assert list(found.rows()) == [
        ("messages:2", {"source": "No", "target": "Nein"}),
        ("messages:3", {"source": "Yes", "target": "Ja"}),
    ]
    assert found.description.endswith('translations in "de"; left out: 1 untranslated')


def test_po_is_known_by_its_content(tmp_path):
    assert pairs(opened(tmp_path / "strings", '\n# strings\nmsgid "Yes"\nmsgstr "Ja"\n')) == [("Yes", "Ja")]


def test_encoding_is_taken_from_a_mark_the_flag_or_the_head(tmp_path):
    text = HEAD.replace("UTF-8", "iso-8859-2") + '\nmsgid "Yes"\nmsgstr "ľ"\n'
    assert pairs(opened(tmp_path / "a.po", text.encode("iso-8859-2"))) == [("Yes", "ľ")]
    assert pairs(opened(tmp_path / "a.po", text.encode("utf-8-sig"))) == [("Yes", "ľ")]
    assert pairs(opened(tmp_path / "a.po", text.encode("utf-16"))) == [("Yes", "ľ")]
    assert pairs(opened(tmp_path / "a.po", text.encode("utf-8"), "utf-8")) == [("Yes", "ľ")]
    template = HEAD.replace("UTF-8", "CHARSET") + '\nmsgid "Yes"\nmsgstr "ß"\n'
    assert pairs(opened(tmp_path / "a.po", template.encode("cp1252"))) == [("Yes", "ß")]


def test_messages_may_hold_separators_of_unicode(tmp_path):
    assert pairs(opened(tmp_path / "a.po", 'msgid "a\u2028b\x85"\r\nmsgstr "c\u2029d"\r\n')) == [
        ("a\u2028b\x85", "c\u2029d")
    ]


def test_a_pair_that_cannot_be_decoded_is_broken(tmp_path):
    text = (HEAD + '\nmsgid "a"\nmsgstr "?"\n\nmsgid "b"\nmsgstr "B"\n').encode().replace(b"?", b"\xff")
    found = opened(tmp_path / "a.po", text)
    assert pairs(found) == [("b", "B")]
    assert found.row_errors.first_errors() == ["a.po:6 is not valid utf-8"]
    with pytest.raises(DataError, match=r"a\.po:6 is not valid utf-8"):
        pairs(opened(tmp_path / "a.po", text, strict=True))


GOOD = compiled({"": HEADER, "Yes": "Ja"})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.po", "", r"a\.po is empty"),
        ("a.po", 'msgid "a"\nmsgstr "b', r"a\.po:2 opens a quote that is never closed"),
        ("a.po", 'msgid "a"\nmsgstr "b\\"\n', r"a\.po:2 opens a quote that is never closed"),
        ("a.po", 'msgid "a"\nmsgstr "b" c"\n', r"a\.po:2 holds a quote without a backslash"),
        ("a.po", 'msgid "a"\nprose\n', r"a\.po:2 is not as a PO file is written"),
        ("a.po", 'msgstr "a"\n', r"a\.po:1 is not as a PO file is written"),
        ("a.pot", HEAD + '\nmsgid "a"\nmsgstr ""\n', r"a\.pot holds no translated message \(1 untranslated\)"),
        ("a.po", HEAD, r"a\.po holds no translated message \(nothing at all\)"),
        ("a.mo", b"GIF89a", r"a\.mo is no MO file"),
        ("a.mo", GOOD[:-3], r"a\.mo is damaged \(it ends before its last message\)"),
        ("a.mo", GOOD[:30], r"a\.mo is damaged"),
        ("a.mo", GOOD[:6], r"a\.mo is damaged"),
        ("a.mo", GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:], r"a\.mo is damaged"),
        ("a.mo", GOOD.replace(b"Ja", b"\xff\xff"), r"a\.mo is not valid utf-8: say by --encoding NAME"),
        ("a.po", gzip.compress(HEAD.encode(), mtime=0)[:-4], r"a\.po is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, name, content, told):
    with pytest.raises(DataError, match=told):
        opened(tmp_path / name, content)
