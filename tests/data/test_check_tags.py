"""The data report for tagged sentences: small files counted by hand, and real ones by another way of counting."""

import json
import re
from collections import Counter
from io import StringIO
from itertools import groupby

import pytest

from common.config import RunConfig
from common.data.check_common import format_data_report
from common.data.splitting import load_splits
from common.row_errors import RowErrors
from common.training.encoded_dataset import format_row_errors
from common.types import ExampleSource
from recipes.ner import data
from tests.helpers.cli_calls import call, fails, good

TRAIN = """\
Ann B-PER
lives O
in O
New B-LOC
York I-LOC
. O

IBM B-ORG
hired O
Ann I-PER
. O

Washington B-PER
slept O

Washington B-LOC
is O
old O
. O

no column
of
"""
VALID = """\
Ann B-PER
met O
Bob B-PER

washington B-LOC
IS O
OLD O
. O

New B-LOC
York I-LOC
"""
TEST = """\
Ann B-PERSON
slept O

it O
rained O
"""


@pytest.fixture
def report(tmp_path):
    """A function that gives the report on files of these texts."""

    def made(*flags, name="conll", **texts):
        words = []
        for part, text in texts.items():
            path = tmp_path / f"{part}.{name}"
            path.write_text(text, encoding="utf-8")
            words += [{"train": "--data"}.get(part, f"--{part}"), path]
        return json.loads(good("check", "ner", "--json", *words, *flags))

    return made


@pytest.fixture
def three(report):
    return report(train=TRAIN, valid=VALID, test=TEST)


def test_report_counts_a_training_part(three):
    train = three["parts"]["train"]
    assert {key: train[key] for key in ("examples", "tokens", "entities", "types", "without_entity")} == {
        "examples": 4,
        "tokens": 16,
        "entities": 6,
        "types": {"LOC": 2, "ORG": 1, "PER": 3},
        "without_entity": 0,
    }
    assert train["tokens_outside_entities"] == round(9 / 16, 4)
    assert train["tokens_per_example"] == {"median": 4, "95%": 6, "99%": 6, "max": 6}
    assert train["tokens_per_entity"] == {"median": 1, "95%": 2, "99%": 2, "max": 2}
    assert (train["distinct_entities"], train["unseen_entities"], train["unknown_words"]) == (5, None, 0)


def test_report_says_how_much_of_a_part_training_knows(three):
    valid, test = three["parts"]["valid"], three["parts"]["test"]
    # Ann, Bob, "washington" and New York, of which training has Ann and New York; of the words it lacks met and bob.
    assert (valid["distinct_entities"], valid["distinct_entities_in_training"], valid["unseen_entities"]) == (
        4,
        0.5,
        0.5,
    )
    assert valid["unknown_words"] == round(2 / 9, 4)
    # Another type is another entity; it and rained are unknown.
    assert (test["distinct_entities_in_training"], test["unseen_entities"], test["unknown_words"]) == (0, 1, 0.5)


def test_a_word_too_rare_to_learn_is_unknown(report):
    found = report("--min-count", "2", train=TRAIN, valid=VALID)["parts"]
    # Learned are ann, washington and the full stop.
    assert found["train"]["unknown_words"] == round(9 / 16, 4)
    assert found["valid"]["unknown_words"] == round(6 / 9, 4)


def test_a_sentence_in_two_parts_is_a_warning_but_for_case_alike(three):
    assert three["overlap"] == {"train and valid": 1, "train and test": 0, "valid and test": 0}
    told = "1 example stands in both train and valid, such as 'washington IS OLD .': scores there would be too good."
    assert any(warning.startswith(told) for warning in three["warnings"])


def test_types_that_a_part_or_training_lacks_are_warnings(three):
    warnings = three["warnings"]
    assert "Types that the valid part lacks: ORG." in warnings
    assert "Types of the test part that training lacks, always counted as wrong: PERSON." in warnings
    assert "Types with fewer than 5 entities in the train part: LOC, ORG, PER." in warnings


def test_an_illegal_tag_and_a_broken_row_are_shown_with_their_places(three):
    train = three["parts"]["train"]
    assert train["repaired"] == 1
    assert train["first_repaired"] == [
        "train.conll:10 has I-PER after O, which IOB2 does not allow; taken as B-PER",
    ]
    assert (train["broken_rows"], train["first_broken_rows"]) == (
        1,
        ["train.conll:22 has 1 column where the others have 2"],
    )
    assert three["parts"]["valid"]["repaired"] == 0
    assert "scheme IOB2" in three["data"][0]


def test_repairs_of_several_files_add_up(report, tmp_path):
    (tmp_path / "more.conll").write_text("He O\nis O\nBob I-PER\n\nAnn B-PER\n", encoding="utf-8")
    found = report("--data", tmp_path / "more.conll", train=TRAIN, valid=VALID)["parts"]["train"]
    assert found["repaired"] == 2
    assert [line.split()[0] for line in found["first_repaired"]] == ["train.conll:10", "more.conll:3"]


def test_an_entity_with_several_types_is_ambiguous(three):
    train, valid = three["parts"]["train"], three["parts"]["valid"]
    assert (train["ambiguous_entities"], valid["ambiguous_entities"]) == (2, 0)  # case tells names apart
    assert train["first_ambiguous_entities"] == ['"Washington" is PER 1, LOC 1']
    test = three["parts"]["test"]
    assert (test["ambiguous_entities"], test["first_ambiguous_entities"]) == (
        1,
        ['"Ann" is PER 2, PERSON 1 (with train)'],
    )


def test_duplicates_and_other_tags_of_one_sentence_are_seen(report):
    found = report("--split", "100,0,0", train="Ann B-PER\n\nann O\n\nANN B-PER\n\nBob B-PER\n")
    train = found["parts"]["train"]
    assert (train["duplicates"], train["tagged_in_two_ways"], train["without_entity"]) == (2, 1, 1)
    assert "1 example of the train part also occurs with other tags, such as: 'ann'." in found["warnings"]


def test_parts_without_entities_or_not_there_are_warnings(report):
    nothing = "it O\nrained O\n"
    assert (
        "The valid part has no entity, so that its score says nothing."
        in report(train=TRAIN, valid=nothing)["warnings"]
    )
    alone = report("--split", "100,0,0", train=TRAIN)
    assert sum("There is no part for validation" in warning for warning in alone["warnings"]) == 1


def test_training_without_an_entity_is_the_error_that_a_run_gives(tmp_path):
    path = tmp_path / "o.conll"
    path.write_text("it O\nrained O\n\nstill O\n", encoding="utf-8")
    message = fails("check", "ner", "--data", path, "--split", "100,0,0")
    assert message.endswith("there is no entity to learn from. Give more --data.")


def test_types_alike_but_for_case_are_a_warning(report):
    found = report(train=TRAIN, valid="Ann B-per\nslept O\n")
    assert any('"PER" and "per" differ in case' in warning for warning in found["warnings"])


def test_parts_of_speech_taken_for_entities_are_a_warning(report):
    words = "The DT\ncat NN\nsat VBD\non IN\nthe DT\nmat NN\n\nRun VB\n"
    found = report("--split", "100,0,0", train=words)
    assert sum("these may be parts of speech" in warning for warning in found["warnings"]) == 1
    many = "".join(f"w{number} TYPE{number % 31}\n" for number in range(155))
    assert any("31 tags without prefix" in warning for warning in report(train=many, valid=VALID)["warnings"])


def test_whole_documents_are_a_warning(report):
    document = "Ann B-PER\n" + 200 * "went O\n"
    assert any("have 201 tokens or more" in warning for warning in report(train=document, valid=VALID)["warnings"])


def test_texts_with_spans_are_counted_like_tags(report):
    rows = [{"text": "Ann Lee lives in New York", "entities": [[0, 7, "PER"], [4, 7, "PER"], [17, 24, "LOC"]]}]
    found = report("--split", "100,0,0", name="jsonl", train="\n".join(map(json.dumps, rows)))["parts"]["train"]
    assert (found["tokens"], found["types"], found["repaired"]) == (6, {"LOC": 1, "PER": 1}, 2)


def test_report_for_people_is_a_table_with_places_below(tmp_path):
    (tmp_path / "a.conll").write_text(TRAIN, encoding="utf-8")
    shown = good("check", "ner", "--data", tmp_path / "a.conll", "--split", "100,0,0").splitlines()
    assert next(line for line in shown if line.startswith("tokens outside")).split()[-1] == "56.2%"
    assert not any(line.startswith("unseen entities") for line in shown)  # of the other parts alone
    assert "repaired, train: a.conll:10 has I-PER after O, which IOB2 does not allow; taken as B-PER" in shown
    assert 'ambiguous, train: "Washington" is PER 1, LOC 1' in shown


def test_a_table_of_very_many_types_is_cut():
    from rich.console import Console

    part = {"examples": 1, "types": {f"T{number:02}": 1 for number in range(70)}}
    report = {"data": [], "parts": {"train": part}, "overlap": {}, "warnings": []}
    shown = StringIO()
    Console(file=shown).print(format_data_report(report))
    assert "T59" in shown.getvalue()
    assert "T60" not in shown.getvalue()
    assert "and 10 more" in shown.getvalue()


def test_default_data_has_no_leak_and_no_fault():
    found = json.loads(good("check", "ner", "--json"))
    assert set(found["parts"]) == {"train", "valid", "test"}
    assert set(found["overlap"].values()) == {0}
    # Outside of entities there are commas alone, which is told from the texts.
    train = load_splits(RunConfig(), data.FIELDS, data.load_addresses).train
    outside = [token for e in train for token, tag in zip(e["tokens"], e["tags"], strict=True) if tag == "O"]
    assert set(outside) <= {",", ";"}
    share = len(outside) / sum(len(example["tokens"]) for example in train)
    assert found["parts"]["train"]["tokens_outside_entities"] == round(share, 4)
    assert all(warning.startswith("Types ") for warning in found["warnings"])


def test_strict_makes_a_broken_row_an_error(tmp_path):
    (tmp_path / "a.conll").write_text(TRAIN, encoding="utf-8")
    result = call("check", "ner", "--strict", "--data", tmp_path / "a.conll")
    assert result.exit_code == 1
    assert "a.conll:22 has 1 column" in result.stderr


def test_a_run_says_what_was_repaired():
    source = ExampleSource("a.conll", lambda: iter([]))
    assert format_row_errors(source) == []
    repairs = RowErrors()
    repairs.add("a.conll:3", "has I-PER after O")
    source = ExampleSource("a.conll", lambda: iter([]), repairs=repairs)
    assert format_row_errors(source) == ["Repaired 1 annotation of a.conll:", "  a.conll:3 has I-PER after O"]


def sentences(path):
    """[(token, tag)] of each sentence."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").split("\n")]
    return [list(group) for whole, group in groupby(rows, key=bool) if whole]


def named(sentences, inside):
    """(text, type) of every entity, by a regular expression over letters; neighbours are one where `inside`."""
    found = []
    for sentence in sentences:
        types = [tag.partition("-")[2] for _, tag in sentence]
        starts = [
            at
            for at, (_, tag) in enumerate(sentence)
            if tag != "O" and (tag[0] == "B" or (inside and (at == 0 or types[at - 1] != types[at])))
        ]
        letters = "".join("o" if tag == "O" else "b" if at in starts else "i" for at, (_, tag) in enumerate(sentence))
        for match in re.finditer("bi*", letters):
            words = [token for token, _ in sentence[match.start() : match.end()]]
            found.append((" ".join(words), types[match.start()]))
    return found


def words(sentences):
    return [re.sub(r"\d", "0", token.lower()) for sentence in sentences for token, _ in sentence]


def test_real_tweets_are_counted_as_by_another_way(shared):
    paths = [shared / "ner/wnut17" / name for name in ("wnut17train.conll", "emerging.dev.conll")]
    found = json.loads(good("check", "ner", "--json", "--data", paths[0], "--valid", paths[1]))
    read = [sentences(path) for path in paths]
    entities = [Counter(named(one, inside=False)) for one in read]
    for name, examples, uses in zip(("train", "valid"), read, entities, strict=True):
        part = found["parts"][name]
        assert part["examples"] == len(examples)
        assert part["tokens"] == sum(map(len, examples))
        assert part["entities"] == uses.total()
        assert part["types"] == {
            type: sum(count for (_, other), count in uses.items() if other == type) for _, type in uses
        }
        assert part["distinct_entities"] == len(uses)
        assert part["without_entity"] == sum(all(tag == "O" for _, tag in one) for one in examples)
        assert part["repaired"] == 0
    train, valid = entities
    part = found["parts"]["valid"]
    assert part["distinct_entities_in_training"] == round(len(set(valid) & set(train)) / len(valid), 4)
    assert part["unseen_entities"] == round(sum(n for one, n in valid.items() if one not in train) / valid.total(), 4)
    known, used = set(words(read[0])), words(read[1])
    assert part["unknown_words"] == round(sum(word not in known for word in used) / len(used), 4)
    texts = [{" ".join(token.lower() for token, _ in one) for one in part} for part in read]
    assert found["overlap"]["train and valid"] == len(texts[0] & texts[1])


def test_real_encyclopedia_of_inside_tags_is_counted_as_by_another_way(shared):
    path = shared / "ner/wikigold/wikigold.conll.txt"
    found = json.loads(good("check", "ner", "--json", "--data", path, "--split", "100,0,0"))
    uses = named(sentences(path), inside=True)
    train = found["parts"]["train"]
    assert train["entities"] == len(uses)
    assert train["types"] == dict(sorted(Counter(type for _, type in uses).items()))
    kinds = {}
    for text, type in set(uses):
        kinds.setdefault(text, set()).add(type)
    assert train["ambiguous_entities"] == sum(len(kinds[text]) > 1 for text, _ in uses)
    assert "scheme IO" in found["data"][0]
