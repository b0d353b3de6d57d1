"""Catalogues as inputs, and filled in: read back by polib, and checked by msgfmt where there is one."""

import re
import shutil
import subprocess

import polib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.data.readers.gettext_fill import open_messages
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Field

FIELD = Field("text", "text")
HEAD = (
    'msgid ""\nmsgstr ""\n"Project-Id-Version: tiny 1\\n"\n"Language: de\\n"\n"X-Own: yes\\n"\n'
    '"Content-Type: text/plain; charset=utf-8\\n"\n"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n'
)


def opened(path, content, encoding=None):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_messages(path, encoding)


def shouted(texts):
    return [text.upper() for text in texts]


def filled(path, content, translate=shouted):
    """(polib's file of what was written, how many entries were filled in, the text)."""
    text, count = opened(path, content).fill_translations(translate)
    path.with_name("out.po").write_text(text + "\n", encoding="utf-8")
    if shutil.which("msgfmt"):
        subprocess.run(["msgfmt", "-o", "-", path.with_name("out.po")], check=True, capture_output=True)
    return polib.pofile(str(path.with_name("out.po"))), count, text


def test_rows_are_all_messages_that_are_not_obsolete(tmp_path):
    text = (
        HEAD + 'msgid "a"\nmsgstr "A"\n\nmsgid "b"\nmsgstr ""\n\n#, fuzzy\nmsgid "c"\nmsgstr "x"\n\n'
        'msgid "one"\nmsgid_plural "many"\nmsgstr[0] ""\nmsgstr[1] ""\n\n#~ msgid "gone"\n#~ msgstr "weg"\n'
    )
    found = opened(tmp_path / "de.po", text)
    rows = list(found.rows(FIELD, RowErrors()))
    assert [row["text"] for _, row in rows] == ["a", "b", "c", "one", "many"]
    assert [place for place, _ in rows] == ["de.po:9", "de.po:12", "de.po:15", "de.po:19", "de.po:19"]
    assert found.description == "de.po: gettext, utf-8; messages"


def test_rows_that_cannot_be_decoded_are_told(tmp_path):
    found = opened(
        tmp_path / "de.po", (HEAD + 'msgid "a?"\nmsgstr ""\n\nmsgid "b"\nmsgstr ""\n').encode().replace(b"?", b"\xff")
    )
    row_errors = RowErrors()
    assert [row["text"] for _, row in found.rows(FIELD, row_errors)] == ["b"]
    assert row_errors.first_errors() == ["de.po:9 is not valid utf-8"]
    with pytest.raises(DataError, match=r"de\.po:9 is not valid utf-8: mend it, or say by --encoding NAME"):
        found.fill_translations(shouted)


def test_what_lacks_a_translation_is_filled_in_and_marked(tmp_path):
    text = (
        "# A head\n"
        + HEAD
        + "# note\n#. extracted, "
        + "long " * 30
        + "words\n#: src/a-b.c:12 src/c.c:3\n#, c-format\n"
        'msgctxt "menu"\nmsgid "%d done\\n"\nmsgstr ""\n\n'
        'msgid "kept"\nmsgstr "behalten"\n\n#, fuzzy, c-format\n#| msgid "old"\nmsgid "new"\nmsgstr "alt"\n\n'
        '#~ msgid "gone"\n#~ msgstr "weg"\n'
    )
    asked = []

    def translate(texts):
        asked.extend(texts)
        return ["%d FERTIG", "NEU"]

    before = polib.pofile(text)
    after, count, _ = filled(tmp_path / "de.po", text, translate)
    assert (asked, count) == (["%d done\n", "new"], 2)
    assert [(one.msgid, one.msgstr, one.flags) for one in after] == [
        ("%d done\n", "%d FERTIG\n", ["fuzzy", "c-format"]),
        ("kept", "behalten", []),
        ("new", "NEU", ["fuzzy", "c-format"]),
        ("gone", "weg", []),
    ]
    assert (after.header, after.metadata) == (before.header, before.metadata)
    for new, old in zip(after, before, strict=True):
        for name in ("msgctxt", "comment", "tcomment", "occurrences", "obsolete"):
            assert getattr(new, name) == getattr(old, name)
    assert after[2].previous_msgid is None  # the translation of the old message is gone


def test_a_catalogue_with_all_translations_stays(tmp_path):
    text = '# A head\nmsgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\nmsgid "a"\nmsgstr "ä"\n'
    assert filled(tmp_path / "a.po", text)[1:] == (0, text.rstrip("\n"))


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n\t"\\\\'), max_size=120)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=4, unique=True), TEXT)
def test_any_text_comes_back_as_it_was(tmp_path, asked, translation):
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    catalogue.extend(polib.POEntry(msgid=text, tcomment="a note " * 20) for text in asked)
    text, count = opened(tmp_path / "a.po", str(catalogue)).fill_translations(lambda texts: [translation] * len(texts))
    found = opened(tmp_path / "b.po", text + "\n").entries
    assert [one.msgid for one in found] == asked
    wanted = re.sub("[\u2028\u2029]", "", translation).strip("\n")
    assert [one.msgstr.strip("\n") for one in found] == [wanted if wanted.strip() else ""] * len(asked)
    assert count == (len(asked) if wanted.strip() else 0)


PLURAL = 'msgid "a file"\nmsgid_plural "%d files"\n'


@pytest.mark.parametrize(
    ("forms", "given", "expected"),
    [
        (1, [""], ["%D FILES"]),
        (2, ["", ""], ["A FILE", "%D FILES"]),
        (2, ["eine", ""], ["eine", "%D FILES"]),
        (3, ["", ""], ["A FILE", "%D FILES", "%D FILES"]),
        (None, ["", "", "x"], ["A FILE", "%D FILES", "x"]),
        (None, [], ["A FILE", "%D FILES"]),
    ],
)
def test_plural_forms_are_as_many_as_the_head_says(tmp_path, forms, given, expected):
    head = HEAD.replace("nplurals=2", f"nplurals={forms}") if forms else HEAD.replace("Plural-Forms", "X-Forms")
    written = "".join(f'msgstr[{number}] "{form}"\n' for number, form in enumerate(given)) or 'msgstr ""\n'
    found, count, _ = filled(tmp_path / "a.po", head + PLURAL + written)
    assert list(found[0].msgstr_plural.values()) == expected
    assert found[0].fuzzy and count == 1


def test_an_empty_translation_fills_nothing(tmp_path):
    found, count, _ = filled(tmp_path / "a.po", HEAD + 'msgid "a\\n"\nmsgstr ""\n', lambda texts: ["\n"])
    assert (found[0].msgstr, found[0].flags, count) == ("", [], 0)


def test_translations_hold_no_control_characters_and_end_as_the_message(tmp_path):
    text = HEAD + 'msgid "\\na"\nmsgstr ""\n\nmsgid "b"\nmsgstr ""\n'
    found, _, _ = filled(tmp_path / "a.po", text, lambda texts: ['x\0\x1b\u2028y "q" \\n', "\n\tz\n"])
    assert [one.msgstr for one in found] == ['\nxy "q" \\n', "\tz"]


@pytest.mark.parametrize("head", ["", HEAD.replace("utf-8", "iso-8859-1"), HEAD.replace("utf-8", "CHARSET")])
def test_what_is_written_is_utf8_and_says_so(tmp_path, head):
    content = (head + 'msgid "a"\nmsgstr "ä"\n\nmsgid "b"\nmsgstr ""\n').encode("utf-8" if not head else "iso-8859-1")
    found, _, _ = filled(tmp_path / "a.po", content, lambda texts: ["日本"])
    assert [one.msgstr for one in found] == ["ä", "日本"]
    assert found.metadata["Content-Type"] == "text/plain; charset=UTF-8"


def test_a_compiled_catalogue_is_read_but_not_filled_in(tmp_path):
    polib.pofile(HEAD + 'msgid "a"\nmsgstr "A"\n').save_as_mofile(str(tmp_path / "de.mo"))
    found = open_messages(tmp_path / "de.mo", None)
    assert [row["text"] for _, row in found.rows(FIELD, RowErrors())] == ["a"]
    with pytest.raises(DataError, match=r"de\.mo is compiled, so that nothing can be filled in: name its PO file\."):
        found.fill_translations(shouted)
