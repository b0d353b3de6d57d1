"""The default pairs against the standard library's own reader, and the kinds of files that people have."""

import gettext
import json

import pytest

from common.config import RunConfig
from common.data import default_datasets, splitting
from common.errors import ConfigError, DataError
from common.text.pair_filter import diff_placeholders
from recipes.translation import data
from tests.helpers.cli_calls import prepared_by


def default(language="de"):
    try:
        return data.load_message_catalogs(language)
    except DataError as error:
        pytest.skip(str(error))


def by_the_library(paths):
    """The pairs of some catalogues as gettext reads them, without those of equal sides; plural forms apart."""
    single, plural = set(), set()
    for path in paths:
        with open(path, "rb") as file:
            for key, text in gettext.GNUTranslations(file)._catalog.items():
                message, form = key if isinstance(key, tuple) else (key, None)
                message = message.rpartition("\x04")[2]
                if message and text and message != text:
                    (single if form is None else plural).add(
                        (message, text, form) if form is not None else (message, text)
                    )
    return single, plural


def read(fields=data.FIELDS, **settings):
    """(source, target) of all that a run would train on, and the notes."""
    found = splitting.load_splits(RunConfig(split="100,0,0", **settings), fields, lambda: pytest.fail("data was given"))
    return [(one["text"], one["target"]) for one in found.train], found.descriptions


def test_default_pairs_are_those_that_the_library_reads():
    source, attribution = default()
    pairs = [(one["text"], one["target"]) for one in source]
    assert len(pairs) == len(set(pairs)) == 4728
    assert source.row_errors.count == 0
    assert source.row_errors.filtered_summary() == "164 with two equal sides, 117 that repeat another"
    paths = [
        default_datasets.download_archive(archive) / name
        for archive in data.ARCHIVES
        for name in archive.members
        if name.startswith("de.")
    ]
    assert len(paths) == 14
    single, plural = by_the_library(paths)
    assert single <= set(pairs)
    assert {(message, text) for message, text, form in plural if form == 0} <= set(pairs)
    assert {text for _, text in pairs} <= {text for _, text, *_ in single | plural}
    assert attribution["licence"] == "MIT; BSD-3-Clause"
    assert attribution["language"] == "de"


def test_default_pairs_keep_their_placeholders():
    source, _ = default()
    pairs = [(one["text"], one["target"]) for one in source]
    assert sum("%(" in text or "{" in text for text, _ in pairs) > 500
    wrong = sum(diff_placeholders(*pair) != ([], []) for pair in pairs)
    assert wrong < 0.02 * len(pairs)


def test_a_source_is_in_one_part_with_all_its_translations():
    default()
    found = splitting.load_splits(RunConfig(), data.FIELDS, data.load_message_catalogs)
    parts = [{" ".join(one["text"].lower().split()) for one in part} for _, part in found.items()]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert all(len(part) > 400 for part in parts)


@pytest.mark.parametrize("language", [one for one in data.LANGUAGES if one != "de"])
def test_every_language_has_its_pairs(language):
    source, attribution = default(language)
    assert 4_300 < sum(1 for _ in source) < 5_100
    assert attribution["language"] == language


@pytest.mark.parametrize(("named", "code"), [("de_AT", "de"), ("German", "de"), ("pt-br", "pt_BR"), ("zh", "zh_Hans")])
def test_a_language_may_be_named_in_several_ways(named, code):
    assert default(named)[1]["language"] == code


@pytest.mark.parametrize("language", ["xx", "en", "pt_PT", "zh-Hant", ""])
def test_other_languages_are_refused_with_those_there_are(language):
    with pytest.raises(
        ConfigError, match=f'"{language}", but the default data has only: cs, de, es, fr, .*Give --data'
    ):
        data.load_message_catalogs(language)


TEXTS = [("Yes", "Ja"), ("No", "Nein"), ("A longer one", "Ein längerer")]


def written(path, rows, header=None, end="\t"):
    path.write_text("".join(end.join(row) + "\n" for row in ([header] if header else []) + rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt"])
def test_without_a_header_the_source_comes_first(tmp_path, name):
    rows = [("A very long sentence indeed", "Kurz"), ("Ja", "Ja")]
    path = written(tmp_path / name, rows, end="," if name == "a.csv" else "\t")
    pairs, notes = read(data=(path,))
    assert pairs == rows
    assert notes[0].endswith("no header; text = column 1, target = column 2")


@pytest.mark.parametrize(
    ("header", "languages", "swapped"),
    [
        (("source", "target"), (), False),
        (("tgt", "src"), (), True),
        (("translation", "English text"), (), True),
        (("en", "de"), ("en", "de"), False),
        (("de", "en"), ("en", "de"), True),
        (("en", "de"), ("de", "en"), True),
        (("en", "de"), (None, "de"), False),
        (("en", "de"), (None, "en"), True),
        (("English", "German"), ("en", None), False),
        (("eng", "deu"), ("de", None), True),
        (("en_US", "pt-br"), ("en", "pt_BR"), False),
    ],
)
def test_columns_are_found_by_name_and_language(tmp_path, header, languages, swapped):
    path = written(tmp_path / "a.tsv", TEXTS, header)
    pairs, _ = read(data.make_fields(*languages), data=(path,))
    assert pairs == ([(b, a) for a, b in TEXTS] if swapped else TEXTS)


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        (("en", "de"), ()),  # either way round would do
        (("en", "de", "fr"), (None, "de")),
        (("fr", "de"), ("en", "de")),  # what is left is French
        (("fr", "es"), ("en", "de")),
        (("id", "first", "second"), ()),
    ],
)
def test_columns_in_doubt_are_asked_for(tmp_path, header, languages):
    path = written(tmp_path / "a.tsv", [(*row, "x")[: len(header)] for row in TEXTS], header)
    with pytest.raises(DataError, match=r"a\.tsv: which column is the text\?.*--column text=NAME"):
        read(data.make_fields(*languages), data=(path,))
    pairs, _ = read(data.make_fields(*languages), data=(path,), column=("text=1", "target=2"))
    assert pairs[-len(TEXTS) :] == TEXTS


def test_texts_in_an_object_or_a_struct_are_found_by_language(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"id": str(number), "translation": {"de": b, "en": a}} for number, (a, b) in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"translation": {"en": "x"}}]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([*rows, {"id": "9"}]), tmp_path / "a.parquet")
    for name, broken in (("a.jsonl", "a.jsonl:4 has no target"), ("a.parquet", "a.parquet:4 has no text")):
        found = splitting.load_splits(RunConfig(data=(str(tmp_path / name),)), data.make_fields("en", "de"), default)
        parts = [part for _, part in found.items()]
        assert sorted((one["text"], one["target"]) for part in parts for one in part) == sorted(TEXTS)
        assert found.descriptions[0].endswith('text = "translation.en", target = "translation.de"')
        assert found.train.row_errors.first_errors() == [broken]
        with pytest.raises(DataError, match="which column is the text"):
            read(data=(str(tmp_path / name),))


def test_lines_of_two_files_are_pairs_and_must_be_as_many(tmp_path):
    english, german = tmp_path / "train.en", tmp_path / "train.de"
    english.write_text("Yes\nNo\n")
    german.write_text("Ja\nNein\n")
    assert read(data=(f"{english},{german}",))[0] == [("Yes", "Ja"), ("No", "Nein")]
    german.write_text("Ja\nNein\nDoch\n")
    with pytest.raises(DataError, match=r"train\.en has 2 lines and train\.de has 3 lines, but each line"):
        read(data=(f"{english},{german}",))


def test_catalogues_and_memories_are_read_beside_tables(tmp_path):
    (tmp_path / "de.po").write_text('msgid "Later"\nmsgstr "Später"\n', encoding="utf-8")
    (tmp_path / "a.tmx").write_text(
        '<tmx><header srclang="de"/><body><tu><tuv xml:lang="de"><seg>Nie</seg></tuv>'
        '<tuv xml:lang="en"><seg>Never</seg></tuv></tu></body></tmx>'
    )
    paths = tuple(str(tmp_path / name) for name in ("de.po", "a.tmx"))
    assert read(data.make_fields("en", "de"), data=paths)[0] == [("Later", "Später"), ("Never", "Nie")]
    assert read(data=paths)[0] == [("Later", "Später"), ("Nie", "Never")]  # as the files say themselves


BUILDER = """
import sys
import tensorflow_datasets as tfds

class Pairs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.Translation(languages=["en", "pt"])
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("pt", "en"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "validation": self._generate_examples(1)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"en": f"one {number}", "pt": f"um {number}"}

Pairs(data_dir=sys.argv[1]).download_and_prepare()
"""


@pytest.fixture(scope="module")
def tfds_pairs(tmp_path_factory):
    return prepared_by(BUILDER, tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize(
    ("languages", "column", "first"),
    [
        ((), (), ("um 0", "one 0")),  # as the set says
        (("en", "pt"), (), ("one 0", "um 0")),
        ((None, "pt_BR"), (), ("one 0", "um 0")),
        (("en", None), (), ("one 0", "um 0")),
        (("en", "pt"), ("text=pt", "target=en"), ("um 0", "one 0")),
    ],
)
def test_public_sets_are_read_in_either_direction(tfds_pairs, monkeypatch, languages, column, first):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_pairs))
    pairs, _ = read(data.make_fields(*languages), data=("tfds:pairs",), column=column)
    assert sorted(pairs)[0] == first and len(pairs) == 3


@pytest.mark.parametrize("languages", [("fr", None), ("en", "de"), (None, "de")])
def test_a_public_set_of_other_languages_is_refused(tfds_pairs, monkeypatch, languages):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_pairs))
    with pytest.raises(DataError, match=r"tfds:pairs: which feature is the (text|target)\? It has: en, pt"):
        read(data.make_fields(*languages), data=("tfds:pairs",))


def test_many_real_pairs_are_read(shared):
    folder = shared / "mt" / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"multi30k is not here ({folder})")
    pairs, _ = read(data=(f"{folder}/val.en.gz,{folder}/val.de.gz",))
    assert len(pairs) == 1014
    assert pairs[0] == (
        "A group of men are loading cotton onto a truck",
        "Eine Gruppe von Männern lädt Baumwolle auf einen Lastwagen",
    )
