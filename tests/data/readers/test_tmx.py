"""Translation memories in XML."""

import gzip

import pytest

from common.data.file_formats import open_table_file
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field


def fields(source=(), target=()):
    return Field("source", "text", (*source, "src")), Field("target", "text", (*target, "tgt"))


def tmx(*units, header='srclang="en"', before="", lang="xml:lang"):
    """A file of units {language: segment}."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', before + f'<tmx version="1.4"><header {header}/><body>']
    for unit in units:
        texts = "".join(f'<tuv {lang}="{code}"><seg>{text}</seg></tuv>' for code, text in unit.items())
        lines.append(f"<tu>{texts}</tu>")
    return "\n".join([*lines, "</body></tmx>\n"])


YES = {"de-DE": "Ja", "en-US": "Yes"}


def opened(path, content, named=None, column=(), strict=False):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table_file(path, named or fields(), column, None, RowErrors(strict))


def pairs(found):
    return [(one["source"], one["target"]) for _, one in found.rows()]


def test_units_are_pairs_with_their_lines(tmp_path):
    found = opened(tmp_path / "a.tmx", tmx(YES, {"en-GB": "No", "de": "Nein"}))
    assert list(found.rows()) == list(found.rows())
    assert list(found.rows()) == [
        ("a.tmx:3", {"source": "Yes", "target": "Ja"}),
        ("a.tmx:4", {"source": "No", "target": "Nein"}),
    ]
    assert found.description == 'a.tmx: TMX; source = "en-us", target = "de-de"'


@pytest.mark.parametrize(
    ("named", "column", "expected"),
    [
        (fields(("en",), ("de",)), (), ("Yes", "Ja")),
        (fields(("de",), ("en",)), (), ("Ja", "Yes")),
        (fields(("de",)), (), ("Ja", "Yes")),
        (fields((), ("en",)), (), ("Ja", "Yes")),
        (fields(), ("source=de", "target=EN_us"), ("Ja", "Yes")),
        (fields(("en",), ("de",)), ("source=de", "target=en"), ("Ja", "Yes")),
        (fields(("eng",), ("german",)), (), ("Yes", "Ja")),
    ],
)
def test_languages_are_told_by_their_names(tmp_path, named, column, expected):
    assert pairs(opened(tmp_path / "a.tmx", tmx(YES, header='srclang="*all*"'), named, column)) == [expected]


def test_of_several_languages_two_are_taken_where_they_are_named(tmp_path):
    text = tmx(YES | {"fr": "Oui"}, {"fr": "Non", "en": "No"})
    found = opened(tmp_path / "a.tmx", text, fields(("fr",), ("de",)), strict=True)
    assert pairs(found) == [("Oui", "Ja")]
    assert found.row_errors.filtered_summary() == '1 with no text in "de"'
    with pytest.raises(
        DataError, match='holds the languages "de-DE", "en-US", "fr": say by --column source=LANGUAGE and --column ta'
    ):
        opened(tmp_path / "a.tmx", text)


def test_the_exact_language_goes_before_its_like(tmp_path):
    unit = {"en": "colour", "pt-PT": "cor (PT)", "pt-BR": "cor (BR)"}
    assert pairs(opened(tmp_path / "a.tmx", tmx(unit), fields(("en",), ("pt-br", "pt")))) == [("colour", "cor (BR)")]
    assert pairs(opened(tmp_path / "a.tmx", tmx(unit), fields(("en",), ("pt",)))) == [("colour", "cor (PT)")]


@pytest.mark.parametrize("lang", ["xml:lang", "lang"])
def test_older_files_and_inline_markup_are_read(tmp_path, lang):
    segment = 'Save <bpt i="1">&lt;b&gt;</bpt><hi>all</hi><ept i="1">&lt;/b&gt;</ept> <ph>{0}</ph> &amp; go\n'
    assert pairs(opened(tmp_path / "a.tmx", tmx({"en": segment, "de": "x"}, lang=lang))) == [
        ("Save <b>all</b> {0} & go\n", "x")
    ]


def test_a_file_is_known_by_its_content_in_any_encoding_and_compression(tmp_path):
    text = tmx({"en": "Yes", "de": "schön 漢"})
    for data in (text.encode(), gzip.compress(text.encode()), text.replace("UTF-8", "UTF-16").encode("utf-16")):
        assert pairs(opened(tmp_path / "memory", data)) == [("Yes", "schön 漢")]


def test_a_named_dtd_is_not_fetched(tmp_path):
    assert pairs(opened(tmp_path / "a.tmx", tmx(YES, before='<!DOCTYPE tmx SYSTEM "http://0.0.0.0/tmx14.dtd">'))) == [
        ("Yes", "Ja")
    ]


SWELLING = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "a"}">' for n in range(9))


@pytest.mark.parametrize("declared", [SWELLING, '<!ENTITY a SYSTEM "file:///etc/passwd">', '<!ENTITY % a "b">'])
def test_entities_are_refused(tmp_path, declared):
    with pytest.raises(DataError, match=r"a\.tmx declares entities, which could fill the memory: take its DOCTYPE out"):
        opened(tmp_path / "a.tmx", tmx({"en": "&a;", "de": "&a;"}, before=f"<!DOCTYPE tmx [{declared}]>"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", r"a\.tmx is empty"),
        ("<tmx><body><tu>", r"a\.tmx:1 is not well-formed XML"),
        (tmx(YES).replace("</tu>", "", 1), r"a\.tmx:4 is not well-formed XML \(mismatched tag\)"),
        ("<html></html>", r"a\.tmx is no TMX, for its root is <html>"),
        (tmx(), r"a\.tmx holds no translation with a language, but there must be 2 languages"),
        (tmx({"en": "Yes"}, {"en-US": "No"}), r'a\.tmx holds the language "en", but there must be 2'),
        (
            tmx(YES, header='srclang="*all*"'),
            "say by --column source=LANGUAGE and --column target=LANGUAGE which are meant",
        ),
        (tmx(YES).encode().replace(b"Ja", b"\xff\xfe"), r"a\.tmx:3 is not well-formed XML"),
        ('<?xml version="1.0" encoding="nonesuch"?><tmx/>', r"a\.tmx cannot be read as XML \(unknown encoding"),
        (gzip.compress(tmx(YES).encode())[:-4], r"a\.tmx is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        opened(tmp_path / "a.tmx", content)


def test_languages_that_there_are_not_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'--column source=fr: a\.tmx holds the languages "de-DE", "en-US"'):
        opened(tmp_path / "a.tmx", tmx(YES), column=("source=fr",))
    # What is left is German, which is not French.
    with pytest.raises(DataError, match="say by --column source=LANGUAGE and --column target=LANGUAGE"):
        opened(tmp_path / "a.tmx", tmx(YES), fields(("en",), ("fr",)))
    with pytest.raises(DataError, match="say by --column source=LANGUAGE and --column target=LANGUAGE"):
        opened(tmp_path / "a.tmx", tmx(YES), fields(("en",), ("en",)))


def test_a_long_file_is_read_to_its_end(tmp_path):
    text = tmx(*({"en": f"sentence {number}", "de": f"Satz {number}"} for number in range(5_000)))
    found = pairs(opened(tmp_path / "a.tmx", text))
    assert (len(found), found[-1]) == (5_000, ("sentence 4999", "Satz 4999"))
