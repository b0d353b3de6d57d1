"""Where examples come from and how they are split."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data import file_formats, splitting
from common.data.loading import open_tagged_source
from common.data.stratification import assign_stratified, stratify
from common.errors import ConfigError, DataError
from common.types import Field
from recipes.ner.data import FIELDS as NER
from tests.helpers.cli_calls import tiny_texts, write
from tests.helpers.own_data import FIELDS, own, parts


@pytest.fixture
def reviews(tmp_path):
    return str(write(tmp_path / "reviews.csv", tiny_texts(1000)))


def test_data_alone_is_split_by_hash(reviews):
    train, valid, test = parts(data=(reviews,))
    assert sorted(train + valid + test) == sorted(text for text, _ in tiny_texts(1000))
    assert [round(len(part), -2) for part in (train, valid, test)] == [800, 100, 100]


def test_a_split_is_for_ever():
    # The salt is part of the contract: these very examples stay in these very parts.
    assert [[len(part) for part in parts()], parts()[1][:3], parts()[2][:3]] == EVER


EVER = [[80, 11, 9], ["t0", "t1", "t20"], ["t11", "t12", "t16"]]


@given(st.text(max_size=30), st.sampled_from(["upper", "title"]))
@settings(max_examples=60, deadline=None)
def test_share_is_the_same_for_duplicates(text, change):
    example = {"text": text, "label": "a"}
    spaced = {"text": f"  {'   '.join(text.split())} ", "label": "b"}
    assert splitting.hash_fraction(example, FIELDS) == splitting.hash_fraction(spaced, FIELDS)
    assert 0 <= splitting.hash_fraction(example, FIELDS) < 1


def test_duplicates_never_straddle_a_split(tmp_path):
    rows = [(text.upper() if number % 2 else text, label) for number in range(2) for text, label in tiny_texts(300)]
    train, valid, test = (
        {text.lower() for text in part} for part in parts(data=(str(write(tmp_path / "a.csv", rows)),))
    )
    assert not train & valid and not train & test and not valid & test


def test_split_shares_are_changed(reviews):
    train, valid, test = parts(data=(reviews,), split="90,10,0")
    assert test is None
    assert len(train) + len(valid) == 1000
    assert 50 < len(valid) < 150


def test_valid_takes_nothing_from_data(reviews, tmp_path):
    dev = str(write(tmp_path / "dev.csv", tiny_texts(20, seed=5)))
    train, valid, test = parts(data=(reviews,), valid=(dev,))
    assert (len(train), len(valid), test) == (1000, 20, None)


def test_test_alone_leaves_its_share_to_training(reviews, tmp_path):
    held = str(write(tmp_path / "test.csv", tiny_texts(20, seed=5)))
    train, valid, test = parts(data=(reviews,), test=(held,))
    assert len(train) + len(valid) == 1000
    assert len(test) == 20


def test_several_files_are_one(reviews, tmp_path):
    more = str(write(tmp_path / "more.csv", tiny_texts(20, seed=5)))
    assert sum(map(len, parts(data=(reviews, more)))) == 1020


def test_limit_is_a_fixed_sample_in_file_order(reviews):
    first, again = parts(data=(reviews,), limit=50)[0], parts(data=(reviews,), limit=50)[0]
    whole = parts(data=(reviews,))[0]
    assert first == again
    assert len(first) == 50
    assert [text for text in whole if text in set(first)] == first
    assert first != whole[:50]


@pytest.mark.parametrize("split", ["80,10", "a,b,c", "0,50,50", "-1,1,1", "nan,1,1"])
def test_bad_split_is_a_usage_error(split):
    with pytest.raises(ConfigError, match="must be three shares"):
        splitting.parse_split(split)


@pytest.mark.parametrize(
    ("given", "message"),
    [("text", "must be FIELD=COLUMN"), ("txt=a", 'Did you mean "text"'), ("text=", "must be FIELD=COLUMN")],
)
def test_bad_column_is_a_usage_error(given, message):
    with pytest.raises(ConfigError, match=message):
        file_formats.parse_column_flags([given], FIELDS)


def test_fingerprint_changes_with_the_data(reviews, tmp_path):
    other = str(write(tmp_path / "other.csv", tiny_texts(999)))
    prints = [
        splitting.load_splits(RunConfig(data=(file,)), FIELDS, own).fingerprint for file in (reviews, reviews, other)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_own_data_brings_its_attribution():
    assert splitting.load_splits(RunConfig(), FIELDS, own).attribution == {"licence": "MIT"}


def test_evaluation_takes_every_example_of_a_file(reviews):
    assert len(list(splitting.load_single_source(reviews, FIELDS, RunConfig())[0])) == 1000


# Small data


def labelled(counts, seed=0):
    """Texts of each label, so many, mixed: (text, label)."""
    rows = [(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]
    return [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))]


def split_of(path, rows, **settings):
    """Splits of a file of such rows, and how many of each label are in each part."""
    found = splitting.load_splits(RunConfig(data=(str(write(path, rows)),), **settings), FIELDS, own)
    return found, [Counter(example["label"] for example in part) for _, part in found.items()]


def test_few_examples_are_split_by_label_and_said_to_be(tmp_path):
    found, counts = split_of(tmp_path / "a.csv", labelled({"good": 50, "bad": 30}))
    assert counts == [{"good": 40, "bad": 24}, {"good": 5, "bad": 3}, {"good": 5, "bad": 3}]
    assert found.descriptions[-1] == "80 examples are few, so they are split by label (64, 8 and 8)"
    assert [part.name.split(" (")[1] for _, part in found.items()] == [
        "train, by label)",
        "valid, by label)",
        "test, by label)",
    ]


def test_a_thousand_examples_are_split_by_hash_alone_and_one_fewer_by_label(tmp_path):
    rows = tiny_texts(1000)
    large, _ = split_of(tmp_path / "a.csv", rows)
    for example in large.valid:
        assert 0.8 <= splitting.hash_fraction(example, FIELDS) < 0.9
    assert large.valid.name.endswith("(valid, by hash)") and "few" not in large.descriptions[-1]
    small, counts = split_of(tmp_path / "b.csv", rows[:-1])
    assert [part.total() for part in counts] == [799, 100, 100]
    assert small.descriptions[-1].startswith("999 examples are few")


def test_few_examples_without_labels_have_their_shares(tmp_path):
    fields = (Field("source", "text", ("text",)), Field("target", "text", ("label",)))
    config = RunConfig(data=(str(write(tmp_path / "a.csv", tiny_texts(40))),))
    found = splitting.load_splits(config, fields, own)
    assert [len(list(part)) for _, part in found.items()] == [32, 4, 4]
    assert found.descriptions[-1] == "40 examples are few, so each part gets just its share (32, 4 and 4)"
    assert found.train.name.endswith("(train, by rank)")


def test_few_sentences_are_split_by_the_rarest_type_of_their_entities(tmp_path):
    # All name a person; each tenth a place, too, and one in twenty nothing.
    lines = []
    for number in range(100):
        tags = "O O" if number % 20 == 1 else "B-PER B-LOC" if number % 10 == 0 else "B-PER O"
        lines += [f"{word}{number}\t{tag}" for word, tag in zip("ab", tags.split(), strict=True)] + [""]
    path = tmp_path / "a.conll"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = splitting.load_splits(RunConfig(data=(str(path),)), NER, own, open_tagged_source)
    counts = [Counter(" ".join(example["tags"]) for example in part) for _, part in found.items()]
    assert counts == [
        {"B-PER O": 68, "B-PER B-LOC": 8, "O O": 4},
        {"B-PER O": 8, "B-PER B-LOC": 1, "O O": 1},
        {"B-PER O": 9, "B-PER B-LOC": 1},
    ]
    assert found.descriptions[-1] == "100 examples are few, so they are split by label (80, 10 and 10)"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 10}, [{"a": 8}, {"a": 1}, {"a": 1}]),
        ({"a": 10, "rare": 1}, [{"a": 8, "rare": 1}, {"a": 1}, {"a": 1}]),
        ({"a": 9, "b": 9}, [{"a": 7, "b": 7}, {"a": 1, "b": 1}, {"a": 1, "b": 1}]),
        # 3.2, 0.4 and 0.4 of a are 3, 1 and 0, after which 9.6, 1.2 and 1.2 of b are 10, 1 and 1.
        ({"a": 4, "b": 12}, [{"a": 3, "b": 10}, {"a": 1, "b": 1}, {"b": 1}]),
        # 2.4 of a are 3, for which b makes up.
        ({"a": 3, "b": 12}, [{"a": 3, "b": 9}, {"b": 2}, {"b": 1}]),
        # All are needed for training, but no part may be empty.
        (dict.fromkeys("abcdefghij", 1), [8, 1, 1]),
        (dict.fromkeys("abcdefghi", 1), [9, 0, 0]),
    ],
)
def test_rare_labels_stay_in_training_and_no_part_of_ten_is_empty(counts, expected, tmp_path):
    _, found = split_of(tmp_path / "a.csv", labelled(counts))
    assert expected in (found, [part.total() for part in found])


def test_few_examples_keep_their_parts_in_any_order_of_the_file(tmp_path):
    counts = {"a": 40, "b": 17, "c": 3}
    first, again = (split_of(tmp_path / f"{seed}.csv", labelled(counts, seed))[0] for seed in (0, 1))
    for (_, one), (_, other) in zip(first.items(), again.items(), strict=True):
        assert {e["text"] for e in one} == {e["text"] for e in other}


def test_few_examples_follow_other_shares_and_a_test_part_that_is_given(tmp_path):
    rows, held = labelled({"a": 50, "b": 50}), write(tmp_path / "test.csv", labelled({"a": 3}))
    _, counts = split_of(tmp_path / "a.csv", rows, split="50,30,20")
    assert [part.total() for part in counts] == [50, 30, 20]
    found, counts = split_of(tmp_path / "a.csv", rows, test=(str(held),))
    assert [part.total() for part in counts] == [90, 10, 3]
    assert found.descriptions[-1] == "100 examples are few, so they are split by label (90 and 10)"
    _, counts = split_of(tmp_path / "a.csv", rows, split="60,0,40")
    assert [part.total() for part in counts] == [60, 40]


def test_few_examples_that_are_not_split_bring_no_note(tmp_path):
    rows, other = labelled({"a": 20}), write(tmp_path / "dev.csv", labelled({"a": 3}))
    for flags in ({"split": "100,0,0"}, {"valid": (str(other),)}):
        found, counts = split_of(tmp_path / "a.csv", rows, **flags)
        assert counts[0] == {"a": 20} and not any("few" in note for note in found.descriptions)


def test_a_part_by_rank_changes_the_fingerprint_and_own_data_is_never_split_so(tmp_path):
    rows = labelled({"a": 20})
    by_rank, whole = (split_of(tmp_path / "a.csv", rows, split=split)[0] for split in ("80,10,10", "100,0,0"))
    assert by_rank.fingerprint != whole.fingerprint
    assert splitting.load_splits(RunConfig(), FIELDS, own).train.name == "own data (train, by hash)"


@given(
    labels=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=1),
    copies=st.integers(0, 5),
    sizes=st.sampled_from(["80,10,10", "70,15,15", "90,10,0", "1,1,1", "98,1,1"]),
)
@settings(max_examples=80, deadline=None)
def test_shares_of_each_label_are_kept_to_one_example(labels, copies, sizes):
    rows = labelled(labels)
    places = splitting.group_by_hash([{"text": text, "label": label} for text, label in rows], FIELDS)
    for place in list(places)[:copies]:
        places[place] = places[place] * 2  # copies are in one part, for it is looked up by the hash
    wanted = splitting.parse_split(sizes)
    part_of = assign_stratified(stratify(places), wanted, False)
    assert part_of.keys() == places.keys()
    for label, count in labels.items():
        got = Counter(part_of[place] for place, those in places.items() if label in those)
        for part, size in enumerate(wanted):
            if count * wanted[0] >= 1:
                assert abs(got[part] - count * size) < 1 + 1e-6
        assert got[0] >= 1
    filled = Counter(assign_stratified(stratify(places), wanted, True).values())
    assert sum(filled.values()) == len(places)
    if len(places) >= 3:
        assert all(filled[part] for part, size in enumerate(wanted) if size)


def test_totals_follow_the_shares_though_each_label_is_rounded(tmp_path):
    # Of each label's 6 a tenth is 0.6, of all 240 it is 24.
    _, counts = split_of(tmp_path / "a.csv", labelled({f"label {number}": 6 for number in range(40)}))
    assert [part.total() for part in counts] == [192, 24, 24]


def test_copies_with_two_labels_count_as_the_first_by_alphabet_wherever_they_stand(tmp_path):
    rows = labelled({"a": 12, "b": 8})
    turned = [(text.upper(), "b") for text, label in rows if label == "a"][:7]
    found = []
    for name, both in (("a.csv", rows + turned), ("b.csv", turned + rows)):
        splits, _ = split_of(tmp_path / name, both, split="40,30,30")
        found.append([{example["text"].lower() for example in part} for _, part in splits.items()])
    assert found[0] == found[1]
    assert [sum(text[0] == "a" for text in part) for part in found[0]] == [5, 3, 4]  # 4.8, 3.6 and 3.6
    assert sum(map(len, found[0])) == len(set.union(*found[0])) == 20


def test_broken_rows_of_few_examples_are_told_once(tmp_path):
    rows = [*labelled({"a": 20, "b": 20}), ("no label", "")]
    found, _ = split_of(tmp_path / "a.csv", rows)
    assert found.train.row_errors is found.valid.row_errors and found.train.row_errors.count == 1
    with pytest.raises(DataError, match="has no label"):
        split_of(tmp_path / "a.csv", rows, strict=True)


# Sentences and pairs

TAGGED = (Field("tokens", "tokens"), Field("tags", "tags"))


@given(st.lists(st.text(max_size=8), max_size=6))
@settings(max_examples=60, deadline=None)
def test_share_of_a_sentence_is_that_of_its_text(tokens):
    sentence = {"text": " ".join(tokens), "tokens": tokens, "tags": ["O"] * len(tokens)}
    assert splitting.hash_fraction(sentence, TAGGED) == splitting.hash_fraction(sentence, FIELDS[:1])
    assert splitting.hash_fraction(sentence | {"tags": ["B-X"] * len(tokens)}, TAGGED) == splitting.hash_fraction(
        sentence, TAGGED
    )


def test_share_of_a_pair_is_that_of_its_source():
    fields = (Field("source", "text"), Field("target", "text"))
    assert splitting.hash_fraction({"source": "Yes", "target": "Ja"}, fields) == splitting.hash_fraction(
        {"text": " yes"}, FIELDS[:1]
    )


def test_tagged_sentences_are_split_and_their_problems_told(tmp_path):
    lines = [f"t{number}\tB-X\nrests\tO\n\n" for number in range(1000)]
    (tmp_path / "a.conll").write_text("".join(lines) + "broken\n")
    config = RunConfig(data=(str(tmp_path / "a.conll"),))
    found = splitting.load_splits(config, TAGGED, own, open_tagged_source)
    kept = [list(part) for part in (found.train, found.valid, found.test)]
    assert sum(map(len, kept)) == 1000 and [round(len(part), -2) for part in kept] == [800, 100, 100]
    assert kept[0][0] == {"text": "t0 rests", "tokens": ["t0", "rests"], "tags": ["B-X", "O"]}
    assert found.train.row_errors.first_errors() == ["a.conll:3001 has 1 column where the others have 2"]
    assert found.descriptions[0].endswith("scheme IOB2")
