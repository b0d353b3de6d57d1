"""JSON lines of tagged tokens, and of texts with spans."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data.file_formats import open_tagged_file
from common.data.loading import open_tagged_source
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field

FIELDS = (
    Field("tokens", "tokens", ("words", "token", "word", "form", "text", "sentence")),
    Field("tags", "tags", ("ner_tags", "ner", "labels", "label", "entities", "spans")),
)


def opened(folder, lines, columns=(), names=None, strict=False, name="a.jsonl"):
    """Of objects, or of lines as they are."""
    path = folder / name
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return open_tagged_file(path, FIELDS, columns, None, RowErrors(strict), names)


def rows(reader):
    return [one for _, one in reader.rows()]


def spans(folder, text, *found, **options):
    """The only example of a text and its spans."""
    made = opened(folder, [{"text": text, "entities": list(found)}], **options)
    return rows(made)[0], made.repairs.first_errors()


def test_lists_of_tokens_and_tags(tmp_path):
    lines = [{"id": 7, "tokens": ["Ann", "slept"], "pos": ["N", "V"], "ner_tags": ["B-PER", "O"]}]
    made = opened(tmp_path, lines)
    expected = [("a.jsonl:1", {"text": "Ann slept", "tokens": ["Ann", "slept"], "tags": ["B-PER", "O"]})]
    assert list(made.rows()) == list(made.rows()) == expected
    assert made.description == 'a.jsonl: JSON lines, utf-8; tokens = "tokens", tags = "ner_tags"; scheme IOB2'
    made = opened(tmp_path, lines, columns=["tags=pos", "tokens=2"])
    assert rows(made)[0]["tags"] == ["B-N", "B-V"]
    with pytest.raises(ConfigError, match="no such column"):
        opened(tmp_path, lines, columns=["tags=nope"])


def test_the_scheme_is_that_of_the_whole_file_and_faults_are_repaired(tmp_path):
    lines = [{"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}] * 3 + [{"tokens": ["c", "d"], "tags": ["O", "I-X"]}]
    made = opened(tmp_path, lines, strict=True)
    assert [one["tags"] for one in made.rows() for one in [one[1]]] == [["B-X", "I-X"]] * 3 + [["O", "B-X"]]
    assert made.description.endswith("; scheme IOB2; 1 illegal tag repaired, first a.jsonl:4 has I-X after O")
    lines = [{"words": ["a", "b", "c"], "labels": ["I-X", "B-X", "O"]}]
    assert rows(opened(tmp_path, lines))[0]["tags"] == ["B-X", "B-X", "O"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "is not JSON"),
        ({"tokens": ["a"]}, "has no tags"),
        ({"tags": ["O"]}, "has no tokens"),
        ({"tokens": [], "tags": []}, "has no tokens"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tokens, but 1 tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "has an empty token (number 2)"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "has an empty token (number 2)"),
        ({"tokens": ["a", ["b"]], "tags": ["O", "O"]}, "has a token (number 2) that holds a list, not a text"),
        ({"tokens": ["a"], "tags": [None]}, "has an empty tag (number 1)"),
        ({"tokens": ["a"], "tags": "O"}, "has tags that are no list"),
        ({"tokens": {"a": 1}, "tags": ["O"]}, "has tokens that are no list"),
        ({"tokens": ["a\0"], "tags": ["O"]}, "holds a NUL byte"),
        ({"tokens": ["a"], "tags": ["NNP"]}, 'has the tag "NNP", which is none of IOB2'),
        (r'{"tokens": ["\ud83d"], "tags": ["O"]}', "holds half a character (a lone surrogate)"),
        ({"tokens": "a b", "tags": ["O", "O"]}, 'has the span "O", which is no [start, end, label]'),
        ({"tokens": "a b", "tags": "O O"}, 'has a text, but no list of spans such as [0, 4, "PER"]'),
        ({"tokens": "a b", "tags": None}, "has no tags"),
        ({"tokens": "a b", "tags": [[0, 9, "X"]]}, "has the entity [0, 9], but its text has 3 characters"),
        ({"tokens": "a b", "tags": [[-1, 1, "X"]]}, "has the entity [-1, 1], but its text has 3 characters"),
        ({"tokens": "a b", "tags": [[2, 1, "X"]]}, "has the entity [2, 1], but its text has 3 characters"),
        ({"tokens": "a b", "tags": [[1, 1, "X"]]}, "has the entity [1, 1], which is empty"),
        ({"tokens": "a b", "tags": [[1, 2, "X"]]}, "has the entity [1, 2], which is blank"),
        ({"tokens": "a b", "tags": [["0", 1, "X"]]}, 'has the span ["0", 1, "X"], which is no [start, end, label]'),
        ({"tokens": "a b", "tags": [[0, 1.5, "X"]]}, 'has the span [0, 1.5, "X"], which is no [start, end, label]'),
        ({"tokens": "a b", "tags": [[0, 1, " "]]}, 'has the span [0, 1, " "], which is no [start, end, label]'),
        ({"tokens": "a b", "tags": [[0, 1]]}, "has the span [0, 1], which is no [start, end, label]"),
        ({"tokens": "a b", "tags": [{"start": 0, "label": "X"}]}, 'has the span {"start": 0, "label": "X"}, which'),
        ({"tokens": " ", "tags": []}, "holds no token"),
        ({"tokens": "a\0", "tags": []}, "holds a NUL byte"),
    ],
)
def test_broken_lines_are_told_and_skipped(tmp_path, line, wrong):
    good = {"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}
    made = opened(tmp_path, [good, line, good])
    assert [one["tags"] for one in rows(made)] == [["B-X", "I-X"]] * 2
    assert [one.startswith(f"a.jsonl:2 {wrong}") for one in made.row_errors.first_errors()] == [True]
    with pytest.raises(DataError, match=r"a\.jsonl:2 "):
        list(opened(tmp_path, [good, line, good], strict=True).rows())


def test_tags_that_are_numbers_are_named(tmp_path):
    lines = [{"tokens": ["a", "b", "c"], "tags": [1, 2, 0]}]
    names = {"0": "O", "1": "B-PER", "2": "I-PER"}
    assert rows(opened(tmp_path, lines, names=names))[0]["tags"] == ["B-PER", "I-PER", "O"]
    with pytest.raises(
        DataError, match=r"tags of a\.jsonl are numbers .*--label-names FILE, with a name such as B-PER"
    ):
        opened(tmp_path, lines)


@pytest.mark.parametrize(
    "spans_of_both",
    [
        [[0, 7, "PER"], [11, 15, "LOC"]],
        [{"start": 11, "end": 15, "label": "LOC"}, {"start": 0, "end": 7, "label": "PER"}],
        [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 7},
            {"id": 2, "label": "LOC", "start_offset": 11, "end_offset": 15},
        ],
        [{"start": 0.0, "end": 7.0, "type": "PER"}, {"start": 11, "end": 15, "labels": ["LOC"], "text": "Rome"}],
        {"start": [0, 11], "end": [7, 15], "label": ["PER", "LOC"]},
        [[0, 8, "PER"], [10, 15, " LOC "], [0, 7, "PER"]],
    ],
    ids=["lists", "objects", "doccano", "label-studio", "datasets", "blanks"],
)
@pytest.mark.parametrize(("text", "tags"), [("text", "label"), ("sentence", "entities"), ("text", "spans")])
def test_texts_with_spans(tmp_path, spans_of_both, text, tags):
    made = opened(tmp_path, [{"id": 3, text: "Ann Lee in Rome", tags: spans_of_both}])
    assert rows(made) == [
        {
            "text": "Ann Lee in Rome",
            "tokens": ["Ann", "Lee", "in", "Rome"],
            "tags": ["B-PER", "I-PER", "O", "B-LOC"],
            "entities": [[0, 7, "PER"], [11, 15, "LOC"]],
        }
    ]
    assert made.description == f'a.jsonl: JSON lines, utf-8; tokens = "{text}", tags = "{tags}"'


def test_a_text_without_entities_is_an_example(tmp_path):
    made, _ = spans(tmp_path, "  Nobody\n came ")
    assert made == {"text": "  Nobody\n came ", "tokens": ["Nobody", "came"], "tags": ["O", "O"], "entities": []}


def test_places_are_characters_not_bytes(tmp_path):
    made, told = spans(tmp_path, "Zoë 😀 in Köln", [0, 3, "PER"], [9, 13, "LOC"])
    assert made["tokens"] == ["Zoë", "😀", "in", "Köln"]
    assert made["tags"] == ["B-PER", "O", "O", "B-LOC"]
    assert not told


def test_an_entity_within_a_token_takes_the_whole_of_it(tmp_path):
    made, told = spans(tmp_path, "A New-Yorker came", [6, 10, "LOC"])
    assert made["tokens"] == ["A", "New-Yorker", "came"]
    assert (made["tags"], made["entities"]) == (["O", "B-LOC", "O"], [[6, 10, "LOC"]])
    whole = 'which is part of the token "New-Yorker"; the whole token is taken'
    assert told == [f'a.jsonl:1 has the entity "York" [6, 10], {whole}']
    made, told = spans(tmp_path, "A New-Yorker came", [6, 15, "LOC"])
    assert made["tags"] == ["O", "B-LOC", "I-LOC"]
    assert told[0].endswith('which is part of the tokens "New-Yorker came"; the whole tokens are taken')


def test_the_longer_of_two_entities_over_each_other_is_kept(tmp_path):
    made, told = spans(tmp_path, "Bank of Rome here", [8, 12, "LOC"], [0, 12, "ORG"], [8, 17, "X"])
    assert (made["tags"], made["entities"]) == (["B-ORG", "I-ORG", "I-ORG", "O"], [[0, 12, "ORG"]])
    assert told == [
        'a.jsonl:1 has the entity "Rome here" [8, 17], which overlaps "Bank of Rome" [0, 12]; the latter is taken',
        'a.jsonl:1 has the entity "Rome" [8, 12], which overlaps "Bank of Rome" [0, 12]; the latter is taken',
    ]
    made, told = spans(tmp_path, "New-Yorker", [0, 3, "A"], [4, 10, "B"])
    assert (made["tags"], made["entities"]) == (["B-B"], [[0, 3, "A"], [4, 10, "B"]])
    assert any('has the entity "New" [0, 3], which shares a token with "Yorker" [4, 10]' in one for one in told)


def test_the_note_counts_what_was_repaired(tmp_path):
    lines = [{"text": "a New-Yorker", "label": [[2, 5, "X"]]}, {"text": "b", "label": []}]
    made = opened(tmp_path, lines, strict=True)
    assert made.description.endswith(
        '; 1 entity repaired, first a.jsonl:1 has the entity "New" [2, 5], which is part of the token "New-Yorker";'
        " the whole token is taken"
    )
    assert not made.row_errors.count


def test_types_of_spans_are_renamed(tmp_path):
    names = {"person": "PER", "date": "O"}
    made, _ = spans(tmp_path, "Ann slept today", [0, 3, "person"], [10, 15, "date"], names=names)
    assert (made["tags"], made["entities"]) == (["B-PER", "O", "O"], [[0, 3, "PER"]])
    made = opened(tmp_path, [{"text": "Rome", "label": [[0, 4, "place"]]}], names=names)
    assert rows(made) == []
    assert made.row_errors.first_errors() == [
        'a.jsonl:1 has the entity type "place", which --label-names does not name'
    ]


def test_long_sentences_and_texts_are_cut(tmp_path):
    tags = ["O"] * 1299 + ["B-X", "I-X"]
    made = rows(opened(tmp_path, [{"tokens": ["x"] * 1301, "tags": tags}]))
    assert [len(one["tags"]) for one in made] == [1299, 2]
    text = "x " * 1299 + "Ann Lee ran"
    made = rows(opened(tmp_path, [{"text": text, "label": [[2598, 2605, "PER"], [0, 1, "A"]]}]))
    assert [len(one["tokens"]) for one in made] == [1299, 3]
    assert made[0]["entities"] == [[0, 1, "A"]]
    assert (made[1]["text"], made[1]["entities"]) == ("Ann Lee ran", [[0, 7, "PER"]])


def test_many_texts_are_read_in_order(tmp_path):
    lines = [{"text": f"t{number}", "label": [[0, len(f"t{number}"), "X"]] * (number % 2)} for number in range(700)]
    lines[300] = {"text": 5, "label": []}
    made = opened(tmp_path, lines)
    found = list(made.rows())
    assert [place for place, _ in found] == [f"a.jsonl:{number}" for number in range(1, 701) if number != 301]
    assert all(one["tokens"] == [one["text"]] for _, one in found)
    assert made.row_errors.first_errors() == ["a.jsonl:301 has tokens that are no list"]


WORDS = st.lists(st.sampled_from(["Ann", "Rome", "über", "😀", "zu", "東", "x9"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(words=WORDS, data=st.data())
def test_spans_of_tokens_become_their_tags(tmp_path_factory, words, data):
    text, at, starts = "", 0, []
    for word in words:
        text += " " * data.draw(st.integers(1, 2))
        starts.append(len(text))
        text += word
    tags, found = ["O"] * len(words), []
    while at < len(words):
        length = data.draw(st.integers(0, 3))
        end = min(at + length, len(words))
        if end > at:
            tags[at:end] = ["B-X"] + ["I-X"] * (end - at - 1)
            found.append([starts[at], starts[end - 1] + len(words[end - 1]), "X"])
        at = end + 1
    made, told = spans(tmp_path_factory.mktemp("spans"), text, *data.draw(st.permutations(found)))
    assert (made["tokens"], made["tags"], made["entities"]) == (words, tags, found)
    assert not told


@settings(max_examples=60, deadline=None)
@given(text=st.text("abÄ- .😀東\u200b'", min_size=1, max_size=20), data=st.data())
def test_any_spans_give_tags_that_hold_together(tmp_path_factory, text, data):
    places = st.integers(0, len(text))
    given_spans = data.draw(st.lists(st.tuples(places, places, st.sampled_from("AB")), max_size=5))
    lines = [{"text": text, "label": [[min(one[:2]), max(one[:2]), one[2]] for one in given_spans]}]
    made = opened(tmp_path_factory.mktemp("any"), lines)
    found = rows(made)
    assert len(found) + made.row_errors.count == 1
    for one in found:
        assert one["text"] == text and len(one["tokens"]) == len(one["tags"])
        ends = [0, *(end for _, end, _ in one["entities"])]
        assert all(before <= start < end for before, (start, end, _) in zip(ends, one["entities"], strict=False))
        assert sum(tag.startswith("B-") for tag in one["tags"]) <= len(one["entities"])
        for before, tag in zip(["O", *one["tags"]], one["tags"], strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_folders_and_joined_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"is a folder, where a file of tagged sentences is wanted"):
        open_tagged_source(str(tmp_path), FIELDS, RunConfig())
    with pytest.raises(DataError, match=r"joins files by commas, but tokens and their tags stand in one file"):
        open_tagged_source(f"{tmp_path}/a,{tmp_path}/b", FIELDS, RunConfig())


def test_a_glob_of_files_of_several_kinds_is_one(tmp_path):
    (tmp_path / "a.conll").write_text("x I-A\ny I-A\n")
    (tmp_path / "b.jsonl").write_text('{"tokens": ["z"], "tags": ["S-B"]}\n')
    (tmp_path / "names.txt").write_text("A\tone\nB\ttwo\n")
    found = open_tagged_source(f"{tmp_path}/?.*", FIELDS, RunConfig(label_names=str(tmp_path / "names.txt")))
    assert [one["tags"] for one in found.splits[""]] == [["B-one", "I-one"], ["B-two"]]
    assert [note.rpartition("; ")[2] for note in found.descriptions] == ["scheme IO", "scheme BIOES"]
