"""What a word shows: by hand, against Python's own Unicode tables, and whatever stands beside it."""

import re
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.encoding import pad_ragged, stack_examples
from common.text.tokenizer import tokenize_with_offsets
from common.types import ExampleSource
from recipes.ner import features
from recipes.ner.config import Config
from recipes.ner.recipe import NerRecipe
from tests.helpers.cli_calls import tagged_sentences

MANY = 65_534  # buckets, so that hashes do not meet
# Letters of every category, digits of three scripts, numbers that are no digits, marks and signs.
WORDS = st.text("abdxzADXZéÉßǅʰ漢ا٣०½²5907-.'’&\u0301😀", max_size=12)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Paris", "paris"), ("ÉCOLE", "école"), ("B2B", "b0b"), ("1,234.5", "0,000.0"), ("٣०½²", "00½²"), ("", "")],
)
def test_normal_is_lower_case_with_digits_as_zeros(word, expected):
    assert features.normalize_words(tf.constant([word])).numpy()[0].decode() == expected


def shape(word):
    """The shape of a word by Python's tables."""
    signs = {"Lu": "X", "Ll": "x", "Lo": "x", "Lm": "x", "Nd": "d", "Nl": "d", "No": "d"}
    found = "".join(signs.get(unicodedata.category(one), one) for one in word)
    return re.sub("X{4,}", "XXXX", re.sub("x{4,}", "xxxx", re.sub("d{4,}", "dddd", found)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Paris", "London", True),
        ("Rome", "Paris", False),  # runs differ up to four
        ("1996", "20001", True),
        ("U.S.", "É.Б.", True),
        ("USA", "Usa", False),
        ("a-b", "a.b", False),
        ("7th", "٣rd", True),
    ],
)
def test_shapes_of_words(one, other, same):
    first, second = features.hash_word_shapes(tf.constant([one, other])).numpy()
    assert (first == second) == same


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=20))
def test_shapes_are_those_of_pythons_tables(words):
    found = features.hash_word_shapes(tf.constant(words))
    assert found.dtype == tf.int32
    wanted = tf.strings.to_hash_bucket_fast(tf.constant([shape(word) for word in words]), features.SHAPES) + 1
    assert found.numpy().tolist() == wanted.numpy().tolist()


def shared(one, other):
    """How many features of the linear part two words have in common."""
    tokens = tf.constant([one, other])
    first, second = features.hash_linear_features(tokens, features.normalize_words(tokens), MANY).numpy()
    assert len(first) == features.LINEAR
    return int((first == second).sum())


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("Boston", "Boston", 12),
        ("Springfield", "marshfield", 4),  # ends of 1 to 4
        ("Boston", "Bolton", 7),  # both shapes, beginnings of 1 and 2, ends of 1 to 3
        ("Boston", "boston", 9),  # all but the word and both shapes
        ("cat", "42", 0),
        ("At", "Attic", 3),  # the short shape, beginnings of 1 and 2
        ("12", "34", 11),  # digits are alike but in the word itself
    ],
)
def test_linear_features_that_two_words_share(one, other, count):
    assert shared(one, other) == count


def test_linear_features_of_a_short_word_differ_by_kind_and_stay_within_buckets():
    tokens = tf.constant(["a"])
    assert len(set(features.hash_linear_features(tokens, tokens, MANY).numpy()[0].tolist())) == features.LINEAR
    assert set(features.hash_linear_features(tokens, tokens, 1).numpy()[0].tolist()) == {1}


def character_ids(known, *words):
    characters = features.CharacterVocabulary(known)
    found = characters.lookup(tf.constant(words))
    assert found.shape == (len(words), features.CHARACTERS)
    return characters.size, [row[: max(1, sum(map(bool, row)))] for row in found.numpy().tolist()]


def test_characters_have_ids_and_all_others_share_the_last():
    assert character_ids("ab😀", "ab", "ba!", "😀é", "") == (5, [[1, 2], [2, 1, 4], [3, 4], [0]])
    assert character_ids("", "ab") == (2, [[1, 1]])
    assert character_ids("a", b"a\xffa") == (3, [[1, 2, 1]])


def test_characters_of_long_words_are_the_first_and_the_last():
    letters = "abcdefghijklmnopqrstuvwxyzABCD"
    _, (whole, cut) = character_ids(letters, letters[:20], letters)
    assert whole == list(range(1, 21))
    assert cut == [*range(1, 11), *range(21, 31)]


@pytest.fixture(scope="module")
def recipe():
    examples = [{"text": " ".join(tokens), "tokens": tokens, "tags": tags} for tokens, tags in tagged_sentences(30)]
    assets = NerRecipe.build_assets(Config(), ExampleSource("made up", lambda: iter(examples)))
    return NerRecipe(NerRecipe.resolve_defaults(Config(), assets), assets)


TOKENS = st.sampled_from(["Mr", "in", "Kalo", "house", "."]) | WORDS.filter(bool)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(TOKENS, max_size=6), min_size=1, max_size=5))
def test_features_of_a_token_do_not_depend_on_what_stands_beside_it(recipe, rows):
    together = recipe.encode(stack_examples([{"tokens": row} for row in rows]))
    words = sorted({"house", *(token for row in rows for token in row)})
    alone = recipe.encode(stack_examples([{"tokens": [word]} for word in words]))
    assert set(together) == {"words", "affixes", "shapes", "characters", "linear"}
    for name, value in together.items():
        assert value.row_lengths().numpy().tolist() == [len(row) for row in rows]
        of = {word: one.numpy().tolist() for word, one in zip(words, alone[name].values, strict=True)}
        assert value.values.numpy().tolist() == [of[token] for row in rows for token in row]


def test_features_of_a_text_are_those_of_its_tokens(recipe):
    texts = tf.constant(["Mr Kalo isn't in  Lomi.", "", " \t", "漢字 😀"])
    by_text, by_tokens = recipe.encode({"text": texts}), recipe.encode({"tokens": tokenize_with_offsets(texts)[0]})
    for name, value in pad_ragged(by_text).items():
        assert value.numpy().tolist() == pad_ragged(by_tokens)[name].numpy().tolist()


def test_known_words_are_looked_up_in_lower_case_and_unknown_ones_share_an_id(recipe):
    words = recipe.encode({"tokens": tf.ragged.constant([["house", "HOUSE", "zxqv", "qqq"]])})["words"].to_list()[0]
    assert words[0] == words[1] != words[2] == words[3]
    assert min(words) > 0
