"""CoNLL files: layout, comments, schemes, and sentences that cannot be used."""

import bz2
import gzip
import lzma
import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.file_formats import open_tagged_file
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field

FIELDS = (
    Field("tokens", "tokens", ("words", "token", "text")),
    Field("tags", "tags", ("ner_tags", "ner", "labels", "tag")),
)


def opened(folder, content, name="a.conll", encoding=None, columns=(), strict=False, names=None):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_tagged_file(path, FIELDS, columns, encoding, RowErrors(strict), names)


def pairs(reader):
    """The sentences, each token and its tag joined by a bar."""
    return [[f"{token}|{tag}" for token, tag in zip(one["tokens"], one["tags"], strict=True)] for one in rows(reader)]


def rows(reader):
    return [one for _, one in reader.rows()]


def test_sentences_have_places_and_a_text(tmp_path):
    made = opened(tmp_path, "Ann\tB-PER\nLee\tI-PER\nslept\tO\n\n\nIn\tO\nRome\tB-LOC\n")
    expected = [
        ("a.conll:1", {"text": "Ann Lee slept", "tokens": ["Ann", "Lee", "slept"], "tags": ["B-PER", "I-PER", "O"]}),
        ("a.conll:6", {"text": "In Rome", "tokens": ["In", "Rome"], "tags": ["O", "B-LOC"]}),
    ]
    assert list(made.rows()) == expected
    assert list(made.rows()) == expected  # as often as one likes
    assert made.description == "a.conll: CoNLL, tab-separated, utf-8; token = column 1, tag = column 2; scheme IOB2"
    assert not made.row_errors.count and not made.repairs.count


@pytest.mark.parametrize(
    "content",
    [
        "a B-X\nb O\n\nc O\n",
        "a  B-X\nb   O\n  \nc O",
        "a\tB-X\nb\tO\n\t\nc\tO\n",
        "a\tB-X\r\nb\tO\r\n\r\nc\tO\r\n",
        "\ufeffa B-X \nb O\t\n \t \nc O\n",
        "-DOCSTART- O\n\na B-X\nb O\n-DOCSTART- O\nc O\n",
        "-DOCSTART-\n\na\tB-X\nb\tO\n-DOCSTART-\tO\nc\tO\n",
        "# a remark\na\tB-X\n# another\nb\tO\n\n# sent_id = 2\n#\nc\tO\n",
        "# a remark\na NN B-X\nb NN O\n\n# id 2\nc NN O\n",
        "token\ttag\na\tB-X\nb\tO\n\nc\tO\n",
        "1\ta\tB-X\n2\tb\tO\n\n1\tc\tO\n",
    ],
)
def test_layouts(tmp_path, content):
    assert pairs(opened(tmp_path, content)) == [["a|B-X", "b|O"], ["c|O"]]


def test_a_hash_may_be_a_token(tmp_path):
    content = "#\tO\n1\tO\n\n#fail\tB-X\n# 1\tO\n\n# a remark\nx\tO\n"
    assert pairs(opened(tmp_path, content)) == [["#|O", "1|O"], ["#fail|B-X", "# 1|O"], ["x|O"]]
    content = "# O\n1 O\n\n#fail B-X\n# O\n\n# two words\nx O\n"
    assert pairs(opened(tmp_path, content)) == [["#|O", "1|O"], ["#fail|B-X", "#|O"], ["x|O"]]


def test_a_remark_that_is_as_wide_as_the_lines_is_one(tmp_path):
    content = "# id 5239d808\tdomain=en\nof _ _ O\nAnn _ _ B-PER\n\n# id 5239d809\tdomain=en\n# _ _ O\n"
    assert pairs(opened(tmp_path, content)) == [["of|O", "Ann|B-PER"], ["#|O"]]


def test_tokens_may_hold_blanks_between_tabs(tmp_path):
    content = " New York \t NNP \t B-LOC \n x\tNN\tO\n"
    made = rows(opened(tmp_path, content))
    assert made == [{"text": "New York x", "tokens": ["New York", "x"], "tags": ["B-LOC", "O"]}]


def test_blanks_of_other_scripts_part_no_columns(tmp_path):
    assert pairs(opened(tmp_path, "1\u00a0000 B-X\na\u2009b O\nc\x85d O\n")) == [
        ["1\u00a0000|B-X", "a\u2009b|O", "c\x85d|O"]
    ]


def test_columns_by_the_user(tmp_path):
    content = "x Ann NNP B-PER 7\ny slept VB O 8\n"
    assert pairs(opened(tmp_path, content, columns=["tokens=2", "tags=4"])) == [["Ann|B-PER", "slept|O"]]
    made = opened(tmp_path, content, columns=["tags=4"])
    assert pairs(made) == [["x|B-PER", "y|O"]]
    assert "token = column 1, tag = column 4" in made.description
    for column in ("tags=6", "tags=0", "tags=ner", "tags=-1"):
        with pytest.raises(ConfigError, match=r"a\.conll has 5 columns, without names: give a number from 1 to 5"):
            opened(tmp_path, content, columns=[column])
    with pytest.raises(ConfigError, match=r"names one column of a.conll twice"):
        opened(tmp_path, content, columns=["tags=2", "tokens=2"])
    with pytest.raises(ConfigError, match="cannot hold both tokens and tags"):
        opened(tmp_path, content, columns=["tokens=5"])


def test_lines_may_be_ragged_beyond_columns_that_are_named(tmp_path):
    content = "Ann B-PER x\nslept O x y z\n\nRome B-LOC\n\nno\n"
    made = opened(tmp_path, content, columns=["tokens=1", "tags=2"])
    assert pairs(made) == [["Ann|B-PER", "slept|O"], ["Rome|B-LOC"]]
    assert made.row_errors.first_errors() == ["a.conll:6 has 1 column where 2 are wanted"]


def test_a_header_names_columns(tmp_path):
    content = "id\tNER\tWords\tpos\n0\tB-X\ta\tNN\n0\tO\tb\tNN\n"
    made = opened(tmp_path, content)
    assert pairs(made) == [["a|B-X", "b|O"]]
    assert "token = column 3, tag = column 2" in made.description
    assert pairs(opened(tmp_path, content, columns=["tags=pos"])) == [["a|B-NN", "b|I-NN"]]
    with pytest.raises(
        ConfigError, match=r'a\.conll has columns "id", "NER", "Words", "pos": give a number from 1 to 4'
    ):
        opened(tmp_path, content, columns=["tags=tag"])


CONLLU = """# newdoc id = x
# text = Du chat
1-2\tDu\t_\t_\t_\t_\t_\t_\t_\t_
1\tDe\tde\tADP\t_\t_\t3\tcase\t_\t{0}
2\tle\tle\tDET\t_\t_\t3\tdet\t_\t{0}
2.1\tnul\t_\t_\t_\t_\t_\t_\t_\t_
3\tParis\tchat\tNOUN\t_\t_\t0\troot\t_\t{1}

# text = x
1\t#\tx\tX\t_\t_\t0\troot\t_\t_
"""


def test_conllu_has_its_tokens_in_the_second_column(tmp_path):
    made = opened(tmp_path, CONLLU.format("O", "B-LOC"), columns=["tags=10"])
    assert pairs(made) == [["De|O", "le|O", "Paris|B-LOC"], ["#|O"]]
    assert "token = column 2, tag = column 10" in made.description
    with pytest.raises(DataError, match=r"is CoNLL-U, which has no column for tags of entities: say which .* tags=10"):
        opened(tmp_path, CONLLU.format("O", "B-LOC"))
    with pytest.raises(DataError, match=r'Column 10 of .* holds features such as "SpaceAfter=No", not tags alone'):
        opened(tmp_path, CONLLU.format("SpaceAfter=No", "NER=B-LOC"), columns=["tags=10"])


@pytest.mark.parametrize(
    ("content", "scheme"),
    [
        ("a I-X\nb I-X\nc B-X\nd O\ne I-Y", "IOB1"),
        ("a B-X\nb E-X\nc S-X\nd O\ne S-Y", "BIOES"),
        ("a B-X\nb L-X\nc U-X\nd O\ne U-Y", "BILOU"),
        ("a B-X\nb I-X\nc B-X\nd O\ne B-Y", "IOB2"),
    ],
)
def test_every_scheme_becomes_iob2(tmp_path, content, scheme):
    made = opened(tmp_path, content + "\n")
    assert pairs(made) == [["a|B-X", "b|I-X", "c|B-X", "d|O", "e|B-Y"]]
    assert made.description.endswith(f"; scheme {scheme}")


def test_types_without_prefix_are_entities(tmp_path):
    made = opened(tmp_path, "12 AddressNumber\nElm StreetName\nRoad StreetName\n\nLee Recipient\n")
    assert pairs(made) == [["12|B-AddressNumber", "Elm|B-StreetName", "Road|I-StreetName"], ["Lee|B-Recipient"]]
    assert made.description.endswith("; scheme IO (types without prefix)")


def test_illegal_tags_are_repaired_and_told(tmp_path):
    content = "a B-X\nb I-X\n\n" * 5 + "c O\nd I-X\ne I-Y\n"
    made = opened(tmp_path, content, strict=True)
    assert pairs(made)[-1] == ["c|O", "d|B-X", "e|B-Y"]
    assert made.repairs.first_errors() == [
        "a.conll:17 has I-X after O, which IOB2 does not allow; taken as B-X",
        "a.conll:18 has I-Y after I-X, which IOB2 does not allow; taken as B-Y",
    ]
    assert made.description.endswith("; scheme IOB2; 2 illegal tags repaired, first a.conll:17 has I-X after O")
    list(made.rows())
    assert made.repairs.count == 2  # of the last pass


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("x", "has 1 column where the others have 2"),
        ("x\tO\tO", "has 3 columns where the others have 2"),
        ("\tO", "has an empty token"),
        ("x\t", "has 1 column where the others have 2"),
        ("x\tNNP", 'has the tag "NNP", which is none of IOB2'),
        ("x\tB-", 'has the tag "B-", which is none of IOB2'),
        (b"caf\xe9\tO", "is not valid utf-8"),
        ("a\0b\tO", "holds a NUL byte"),
    ],
)
def test_a_sentence_with_a_broken_line_is_skipped_whole(tmp_path, line, wrong):
    line = line.encode() if isinstance(line, str) else line
    content = b"a\tB-X\nb\tI-X\n\n" + b"c\tO\n" + line + b"\nd\tO\n" + b"\n" + b"e\tO\n"
    made = opened(tmp_path, content, encoding="utf-8")
    assert pairs(made) == [["a|B-X", "b|I-X"], ["e|O"]]
    assert made.row_errors.first_errors() == [f"a.conll:5 {wrong}"]
    strict = opened(tmp_path, content, encoding="utf-8", strict=True)
    with pytest.raises(DataError, match=re.escape(f"a.conll:5 {wrong}")):
        list(strict.rows())


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        ("Ann\nslept\n", "a.conll", "has one column, such as 'Ann', but no tags: write a token and its tag on each"),
        ("text,label\na fine film,pos\na dull one,neg\n", "a.csv", r"looks like a table of commas \(CSV\)"),
        ("text,label\nfilm fine,pos\nfilm dull,neg\n", "a.txt", r"looks like a table of commas \(CSV\)"),
        ("EU,B-ORG\nrejects,O\n", "a.txt", r"looks like a table of commas \(CSV\)"),
        (
            "A line\nof prose that\ngoes on and on here\nfor ever\nand ever again\nit does not end well\n",
            "a.txt",
            "is no",
        ),
        ("\n\n \n", "a.conll", "holds no token"),
        ("-DOCSTART- O\n\n", "a.conll", "holds no token"),
        ("", "a.conll", "is empty"),
        ("a 3\nb 0\nc 1\n", "a.conll", r'tags of a.conll are numbers \("0", "1", "3"\): say .* --label-names FILE'),
        ("a PER-B\nb PER-I\nc O\n", "a.conll", 'have their letter last .*"PER-B".*: write B-PER for PER-B'),
        ("".join(f"a w{n}\n" for n in range(40)), "a.conll", "too many different tags"),
        ("".join(f"a w{n % 1100}\n" for n in range(9000)), "a.conll", "too many different tags"),
        ('[{"tokens": []}]', "a.conll", "give each object a key for each"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path, content, name, told):
    with pytest.raises(DataError, match=told):
        opened(tmp_path, content, name)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_tagged_file(tmp_path / "no.conll", FIELDS, (), None, RowErrors())


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_compressed_files_and_other_encodings(tmp_path, compress, encoding):
    data = "Zoë\tB-PER\nÜber\tO\n\nx\tO\n".encode(encoding)
    assert pairs(opened(tmp_path, compress(data))) == [["Zoë|B-PER", "Über|O"], ["x|O"]]


def test_types_are_renamed(tmp_path):
    content = "a B-loc\nb B-geo\nc I-geo\nd B-misc\ne O\n"
    names = {"loc": "LOC", "geo": "LOC", "misc": "O"}
    assert pairs(opened(tmp_path, content, names=names)) == [["a|B-LOC", "b|B-LOC", "c|I-LOC", "d|O", "e|O"]]
    made = opened(tmp_path, content + "\nf B-per\n", names=names)
    assert len(pairs(made)) == 1
    assert made.row_errors.first_errors() == ['a.conll:7 has the entity type "per", which --label-names does not name']


def test_tags_that_are_numbers_are_named(tmp_path):
    made = opened(tmp_path, "a 1\nb 2\nc 0\n\nd 3\n", names={"0": "O", "1": "B-PER", "2": "I-PER"})
    assert pairs(made) == [["a|B-PER", "b|I-PER", "c|O"]]
    assert made.row_errors.first_errors() == ['a.conll:5 has the tag "3", which --label-names lacks']
    assert made.description.endswith("scheme IOB2")


def test_long_sentences_are_cut_between_entities(tmp_path):
    tags = ["O"] * 1298 + ["B-X", "I-X", "I-X", "I-X"] + ["O"] * 1400
    content = "".join(f"t{number} {tag}\n" for number, tag in enumerate(tags))
    made = list(opened(tmp_path, content).rows())
    assert [(place, len(one["tokens"])) for place, one in made] == [
        ("a.conll:1", 1298),
        ("a.conll:1299", 1300),
        ("a.conll:2599", 104),
    ]
    assert [tag for _, one in made for tag in one["tags"]] == tags
    assert opened(tmp_path, content).description.endswith("; scheme IOB2; 1 sentence of over 1,300 tokens cut")


def test_an_entity_beyond_all_measure_is_cut_within(tmp_path):
    made = rows(opened(tmp_path, "x B-X\n" + "x I-X\n" * 3000))
    assert [len(one["tokens"]) for one in made] == [1300, 1300, 401]


def test_a_long_token_is_a_token(tmp_path):
    assert pairs(opened(tmp_path, f"{'x' * 5000} B-X\ny O\n")) == [[f"{'x' * 5000}|B-X", "y|O"]]


def test_a_file_without_blank_lines_takes_no_memory(tmp_path):
    line = "token B-X\ntoken O\n"
    made = opened(tmp_path, line * 200_000)
    tracemalloc.start()
    count = sum(len(one["tokens"]) for _, one in made.rows())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 400_000
    assert most < 20e6


TOKEN = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6).filter(
    lambda token: token == token.strip() and not token.startswith(("#", "-DOCSTART-"))
)
TAG = st.sampled_from(["O", "B-A", "I-A", "B-b c"])


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.lists(st.lists(st.tuples(TOKEN, TAG), min_size=1, max_size=5), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
    gap=st.integers(1, 3),
)
def test_what_is_written_is_read_back(tmp_path_factory, sentences, end, gap):
    lines = ["".join(f"{token}\t{tag}{end}" for token, tag in one) + end * gap for one in sentences]
    made = opened(tmp_path_factory.mktemp("conll"), "".join(lines), encoding="utf-8")
    found = rows(made)
    assert [one["tokens"] for one in found] == [[token for token, _ in one] for one in sentences]
    assert not made.row_errors.count
    for one, sentence in zip(found, sentences, strict=True):
        for (_, tag), made_tag in zip(sentence, one["tags"], strict=True):
            assert made_tag[2:] == tag[2:]


def counted(path):
    """(sentences, tokens, tokens whose tag is not O) of a file without problems, by a few lines of our own."""
    sentences = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = line.split()
        if not cells or cells[0] == "-DOCSTART-":
            sentences.append([])
        else:
            sentences[-1].append(cells[-1])
    sentences = [one for one in sentences if one]
    return len(sentences), sum(map(len, sentences)), sum(tag != "O" for one in sentences for tag in one), sentences


def iob2_count(sentences):
    return sum(tag.startswith("B-") for one in sentences for tag in one)


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "entities"),
    [
        ("wnut17/wnut17train.conll", 3394, 62730, 1975),
        ("wnut17/emerging.dev.conll", 1009, 15733, 836),
        ("btc/a.conll", 1000, 16612, 521),
        ("btc/b.conll", 2000, 30825, 1610),
        ("btc/e.conll", 200, 3981, 325),
        ("btc/g.conll", 2138, 34062, 4685),
    ],
)
def test_real_files_are_read_whole(shared, name, sentences, tokens, entities):
    made = open_tagged_file(shared / "ner" / name, FIELDS, (), None, RowErrors(strict=True))
    found = rows(made)
    count, total, tagged, tags = counted(shared / "ner" / name)
    assert (len(found), sum(len(one["tokens"]) for one in found)) == (sentences, tokens) == (count, total)
    assert iob2_count(one["tags"] for one in found) == entities == iob2_count(tags)
    assert sum(tag != "O" for one in found for tag in one["tags"]) == tagged
    assert made.description.endswith("scheme IOB2")


def test_wikigold_has_no_prefixes_but_i(shared):
    path = shared / "ner" / "wikigold" / "wikigold.conll.txt"
    made = open_tagged_file(path, FIELDS, (), None, RowErrors(strict=True))
    found = rows(made)
    count, total, tagged, tags = counted(path)
    starts = sum(
        tag != "O" and (at == 0 or one[at - 1] != tag) for one in tags for at, tag in enumerate(one)
    )  # neighbours of a type are one
    assert (len(found), sum(len(one["tokens"]) for one in found)) == (1696, 39007) == (count, total)
    assert iob2_count(one["tags"] for one in found) == 3558 == starts
    assert sum(tag != "O" for one in found for tag in one["tags"]) == tagged
    assert (
        made.description
        == "wikigold.conll.txt: CoNLL, blank-separated, utf-8; token = column 1, tag = column 2; scheme IO"
    )


def test_three_sentences_of_the_twitter_corpus_have_empty_tokens(shared):
    made = open_tagged_file(shared / "ner" / "btc" / "h.conll", FIELDS, (), None, RowErrors())
    assert len(rows(made)) == 2001 - 3
    assert made.row_errors.first_errors() == [f"h.conll:{line} has an empty token" for line in (22918, 30879, 30881)]


def test_a_common_file_is_read_in_no_time(shared):
    start = time.process_time()
    rows(open_tagged_file(shared / "ner" / "wnut17" / "wnut17train.conll", FIELDS, (), None, RowErrors()))
    assert time.process_time() - start < 3  # half a second on a machine that is not busy
