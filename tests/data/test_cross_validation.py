"""Folds: each example is tested on once, by a model that has not seen it."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data import splitting
from common.data.cross_validation import make_folds
from common.errors import ConfigError
from common.types import ExampleSource, Field, Splits
from tests.helpers.cli_calls import write

FIELDS = (Field("text", "text"), Field("label", "label"))
TEXTS = (Field("text", "text"), Field("target", "text"))


def examples_of(counts):
    return [{"text": f"{label} {number}", "label": label} for label, count in counts.items() for number in range(count)]


def whole(examples):
    """Splits of which all examples are for training."""
    return Splits(ExampleSource("made up", lambda: iter(examples)), fingerprint="made up")


def texts(source):
    return [example["text"] for example in source]


@given(
    counts=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 15), min_size=1),
    k=st.integers(2, 6),
    copied=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_every_example_is_in_one_test_part_and_no_copy_of_it_is_trained_on(counts, k, copied):
    examples = examples_of(counts)
    rows = examples + [{**one, "text": f" {one['text'].upper()} "} for one in examples[:copied]]
    if len(examples) < k or len(examples) - -(-len(examples) // k) < 2:
        with pytest.raises(ConfigError, match=f"--cv-folds is {k}, .* only {len(examples)} different"):
            make_folds(whole(rows), FIELDS, k)
        return
    folds = make_folds(whole(rows), FIELDS, k)
    assert len(folds) == k and len({fold.fingerprint for fold in folds} | {"made up"}) == k + 1
    assert sorted(text for fold in folds for text in texts(fold.test)) == sorted(one["text"] for one in rows)
    for fold in folds:
        parts = [texts(part) for part in (fold.train, fold.valid, fold.test)]
        assert all(parts) and sum(map(len, parts)) == len(rows)
        train, valid, test = ({" ".join(text.lower().split()) for text in part} for part in parts)
        assert not train & valid and not train & test and not valid & test
    for label, count in counts.items():
        tested = [sum(one["label"] == label for one in fold.test if one["text"].islower()) for fold in folds]
        assert sum(tested) == count and max(tested) - min(tested) <= 1


def test_a_tenth_of_the_rest_is_validation_and_at_least_one_of_each_label():
    folds = make_folds(whole(examples_of({"a": 50, "b": 10, "rare": 3, "single": 1})), FIELDS, 5)
    for fold in folds:
        train, valid, test = (Counter(one["label"] for one in part) for part in (fold.train, fold.valid, fold.test))
        assert (train["a"], valid["a"], test["a"]) == (36, 4, 10)
        assert (train["b"], valid["b"], test["b"]) == (7, 1, 2)
        assert (train["rare"], valid["rare"]) == (2 - test["rare"], 1)
        assert (train["single"], valid["single"]) == (1 - test["single"], 0)


def test_validation_takes_a_label_of_its_own_where_all_have_one_example():
    for fold in make_folds(whole(examples_of(dict.fromkeys("abcd", 1))), FIELDS, 2):
        assert [len(texts(part)) for _, part in fold.items()] == [1, 1, 2]


def test_folds_are_over_all_parts_in_any_order_and_again_the_same(tmp_path):
    rows = [(one["text"], one["label"]) for one in examples_of({"a": 30, "b": 20})]
    found = []
    for name, order in (("a.csv", rows), ("b.csv", rows[::-1]), ("b.csv", rows[::-1])):
        config = RunConfig(data=(str(write(tmp_path / name, [*order, ("broken", "")])),))
        folds = make_folds(splitting.load_splits(config, FIELDS, lambda: None), FIELDS, 4)
        found.append([[set(texts(part)) for _, part in fold.items()] for fold in folds])
        # Broken rows are told of once, though three parts of the file were read.
        assert folds[0].train.row_errors.first_errors() == [f"{name}:{52} has no label"]
        assert folds[0].train.name == "all examples (train, fold 1 of 4)"
        assert folds[0].descriptions[-1] == "50 examples are few, so they are split by label (40, 5 and 5)"
    assert found[0] == found[1] == found[2]
    assert all(set.union(*fold) == {text for text, _ in rows} for fold in found[0])


def test_folds_take_parts_that_were_given():
    parts = [ExampleSource(name, lambda name=name: iter(examples_of({name: 4}))) for name in ("one", "two", "three")]
    folds = make_folds(Splits(*parts), FIELDS, 2)
    assert sorted(texts(folds[0].test) + texts(folds[1].test)) == sorted(text for part in parts for text in texts(part))
    assert [Counter(one["label"] for one in fold.test) for fold in folds] == [{"one": 2, "two": 2, "three": 2}] * 2


def test_examples_without_labels_are_dealt_evenly():
    pairs = [{"text": f"t{number}", "target": f"z{number}"} for number in range(23)]
    folds = make_folds(whole(pairs), TEXTS, 4)
    assert sorted(len(texts(fold.test)) for fold in folds) == [5, 6, 6, 6]
    assert [len(texts(fold.valid)) for fold in folds] == [2, 2, 2, 2]


def test_too_few_examples_for_the_folds_are_refused():
    message = (
        "--cv-folds is 4, but there are only 3 different examples, so that a part would be empty."
        " Give a smaller number, or more --data."
    )
    with pytest.raises(ConfigError) as caught:
        make_folds(whole(examples_of({"a": 3})), FIELDS, 4)
    assert str(caught.value) == message
    assert len(make_folds(whole(examples_of({"a": 3})), FIELDS, 3)) == 3
