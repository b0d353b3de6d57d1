"""Words of strings worked by hand, invariants of any string, ids and counts."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from common import PROJECT_ROOT as ROOT
from common.text.vocabulary import (
    BOUNDARY,
    PADDING,
    AffixHasher,
    Vocabulary,
    count_words,
    hash_affixes,
    most_frequent,
    tokenize,
    trim_middle,
)

PROPERTY = settings(max_examples=60, deadline=None)


def tokens(text):
    """The words of one text as Python strings."""
    [row] = tokenize(tf.constant([text])).to_list()
    return [word.decode("utf-8") for word in row]


def split(line):
    """Expected words, written with blanks between."""
    return line.split(" ") if line else []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It isn't GREAT", "it is n't great"),
        ("It isn’t GREAT", "it is n't great"),
        ("can't won't DON'T", "ca n't wo n't do n't"),
        ("ʼtis isn＇t", "' tis is n't"),
        ("it's John’s we're I've she'll he'd I'm", "it 's john 's we 're i 've she 'll he 'd i 'm"),
        ("it's. he's! don't,don't", "it 's . he 's ! do n't , do n't"),
        ("I'd've couldn't've", "i 'd 've could n't 've"),
        ("the dogs' bowls", "the dogs ' bowls"),
        ("the 90's", "the 90 's"),
        ("o'clock rock'n'roll l'été", "o'clock rock'n'roll l'été"),
        ("'quoted'", "' quoted '"),
        ("n't", "n't"),
    ],
)
def test_words_split_contractions(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(("text", "expected"), [("I'd've.", "i 'd 've ."), ("couldn't've, no", "could n't 've , no")])
def test_words_split_double_contractions_before_punctuation(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("l'même", "l'même"), ("'más'", "' más '"), ("'dépêche'", "' dépêche '")]
)
def test_words_contraction_ends_at_any_letter(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.b/c?d=1#e", "<url>"),
        ("see HTTPS://X.org/It's, now", "see <url> now"),
        ("(www.x.org)", "( <url>"),
        ("www. is no address", "www . is no address"),
        ("a http://b http://c", "a <url> <url>"),
        ("httpx://a", "httpx :// a"),
    ],
)
def test_words_replace_addresses(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@user", "<user>"),
        ("@a @B_2, (@é)", "<user> <user> , ( <user> )"),
        (".@user!", ". <user> !"),
        ("@ home", "@ home"),
        ("@@user", "@ <user>"),
        ("me@site.org", "me @ site . org"),
    ],
)
def test_words_replace_users_but_not_emails(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 10 99", "5 10 99"),
        ("10/10", "10 / 10"),
        ("3.5", "3 . 5"),
        ("100", "<number>"),
        ("1994", "<number>"),
        ("1,000,000.50", "<number> . 50"),
        ("$1,000", "$ <number>"),
        ("at 10:30.", "at <number> ."),
        ("123.456,789", "<number>"),
        ("1990's", "<number> 's"),
        ("mp3 b2b", "mp3 b2b"),
        ("５００ ٣", "５００ ٣"),
    ],
)
def test_words_replace_long_numbers(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what?!?! no!!! yes...", "what ?!?! no !!! yes ..."),
        ("a. b, c; d", "a . b , c ; d"),
        ("re-do snake_case #tag 50%", "re - do snake_case # tag 50 %"),
        ('"so"—good…', '" so " — good …'),
        ("<url> x<user>y", "<url> x <user> y"),
        ("<b>", "< b >"),
    ],
)
def test_words_split_punctuation(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":) :-) ;-( =] :'(", ":) :-) ;-( =] :'("),
        ("great:))", "great :))"),
        ("I <3 it", "i <3 it"),
        ("(<3) I<3U", "( <3 ) i <3 u"),
        ("😀😀", "😀 😀"),
        ("so👍🏽👍", "so 👍🏽 👍"),
        ("❤️!", "❤️ !"),
        ("👩‍👩‍👧 👩🏽‍🚀", "👩‍👩‍👧 👩🏽‍🚀"),
        ("🏳️‍🌈", "🏳️‍🌈"),
        ("1️⃣", "1️⃣"),
    ],
)
def test_words_keep_emoticons_and_emoji_whole(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(("text", "expected"), [("🇩🇪", "🇩🇪"), ("go 🇩🇪🇫🇷!", "go 🇩🇪 🇫🇷 !")])
def test_words_keep_flags_whole(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(("text", "expected"), [("<3<3<3", "<3 <3 <3"), ("<3 <3!", "<3 <3 !")])
def test_words_keep_every_heart(text, expected):
    assert tokens(text) == split(expected)


def test_words_see_no_heart_in_a_number():
    assert tokens("<35 years") == ["<", "35", "years"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字かなカナ", "漢 字 か な カ ナ"),
        ("好film看", "好 film 看"),
        ("한국어 영화", "한국어 영화"),
        ("ไทย", "ไ ท ย"),
        ("Привет МИР", "привет мир"),
        ("cafe\u0301 CAFÉ", "cafe\u0301 café"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_words_follow_the_script(text, expected):
    assert tokens(text) == split(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("STRASSE Straße ẞ", "strasse straße ß"), ("ΟΔΟΣ", "οδος"), ("İ", "i\u0307"), ("Ǆ", "ǆ")],
)
def test_words_are_lower_case(text, expected):
    assert tokens(text) == split(expected)


def test_words_do_not_depend_on_the_locale():
    code = (
        "from common.runtime.tensorflow_setup import import_tensorflow; tf = import_tensorflow();"
        "from common.text.vocabulary import tokenize;"
        "print([word.decode() for word in tokenize(tf.constant(['FILM'])).values.numpy()])"
    )
    environment = {**os.environ, "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['film']"


@pytest.mark.parametrize(
    "blank", ["\t", "\n", "\r\n", "\v", "\f", "\x1c", "\x7f", "\x85", "\u00a0", "\u2003", "\u2028", "\u2029", "\u3000"]
)
def test_words_split_at_every_blank(blank):
    assert tokens(f"{blank}a{blank}{blank}b{blank}") == ["a", "b"]


def test_words_split_at_nul():
    assert tokens("a\0b \0c") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\xff", "�"),
        (b"caf\xe9 au lait", "caf � au lait"),
        (b"\xe2\x82", "�"),
        (b"a\xc3", "a �"),
        (b"\xed\xa0\x80", "� � �"),  # a surrogate: each of its bytes is wrong
    ],
)
def test_words_replace_bytes_that_are_no_utf8(raw, expected):
    assert tokens(raw) == split(expected)


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000", "\x01\x02"])
def test_words_of_a_blank_text_are_none(text):
    assert tokens(text) == []


def test_words_of_no_text_are_no_rows():
    assert tokenize(tf.constant([], tf.string)).to_list() == []


def test_words_keep_texts_apart():
    assert tokenize(tf.constant(["a b", "", "c"])).to_list() == [[b"a", b"b"], [], [b"c"]]


def test_words_of_long_texts():
    assert tokens("x" * 10_000) == ["x" * 10_000]
    assert tokens("word " * 2_000) == ["word"] * 2_000
    assert tokens("!" * 10_000) == ["!" * 10_000]
    assert tokens("漢" * 10_000) == ["漢"] * 10_000


def test_words_run_in_a_graph_alike():
    compiled = tf.function(tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    texts = tf.constant(["It isn’t @you, http://x 1,000 👍🏽!", "", "漢字"])
    assert compiled(texts).to_list() == tokenize(texts).to_list()


anything = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*"abI's’@.:/-)(<3 1,\n\u00a0😀🏽\u200d🇩漢É", "http://", "n't", "www."]), max_size=25).map(
        "".join
    ),
    st.binary(max_size=30),
)


@PROPERTY
@given(text=anything)
def test_words_are_never_empty_nor_hold_a_blank(text):
    found = tokens(text)
    assert all(found)
    assert not any(character.isspace() for word in found for character in word)


@PROPERTY
@given(text=anything)
def test_words_are_the_same_alone_and_in_a_batch(text):
    batch = tokenize(tf.constant(["x", text, text])).to_list()
    assert batch[1] == batch[2] == tokenize(tf.constant([text])).to_list()[0]


# Of Unicode 3.2, which every library knows; Σ has two lower-case forms, chosen by what follows (tested above).
plain_characters = st.characters(exclude_categories=["Cs"], exclude_characters="Σ@’ʼ＇0123456789").filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn"
)


@PROPERTY
@given(
    text=st.one_of(
        st.text(plain_characters, max_size=40),
        st.lists(st.sampled_from([*"abNT's.:/-)(< \n\u00a0😀🏽\u200d🇩漢É!?…", "n't", "<url>", "'ve"]), max_size=25).map(
            "".join
        ),
    )
)
@example(text="It isn't I'D'VE <url> :-) ?! 'n't'")
def test_words_joined_are_the_lower_case_text_without_blanks(text):
    """True where nothing is replaced: no address, user, long number or curly apostrophe."""
    lower = text.lower()
    assume(not any(start in lower for start in ("http://", "https://", "www.")))
    expected = "".join(c for c in lower if unicodedata.category(c) not in ("Zs", "Zl", "Zp", "Cc"))
    assert "".join(tokens(text)) == expected


@PROPERTY
@given(text=st.text(plain_characters, max_size=40), blank=st.sampled_from([" ", "\t", "\u2028", "\u3000"]))
def test_words_ignore_blanks_around(text, blank):
    assert tokens(blank + text + blank * 2) == tokens(text)


# ends


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 99), max_size=12), min_size=1, max_size=5), most=st.integers(1, 8))
def test_ends_keep_beginning_and_end(rows, most):
    flat = [number for row in rows for number in row]
    ragged = tf.RaggedTensor.from_row_lengths(tf.constant(flat, tf.int32), [len(row) for row in rows])
    head, tail = most // 2, most - most // 2
    expected = [row if len(row) <= most else row[:head] + row[len(row) - tail :] for row in rows]
    assert trim_middle(ragged, most).to_list() == expected


def test_ends_of_an_odd_number_keep_one_more_of_the_end():
    assert trim_middle(tf.ragged.constant([["a", "b", "c", "d", "e"]]), 3).to_list() == [[b"a", b"d", b"e"]]


# counted and frequent

simple_words = st.text("abcde", min_size=1, max_size=3)


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.lists(st.lists(simple_words, max_size=8), min_size=1, max_size=5), max_size=4))
def test_counted_equals_a_count_in_python(batches):
    texts = [[" ".join(text) for text in batch] for batch in batches]
    assert count_words(texts) == Counter(word for batch in batches for text in batch for word in text)


def test_counted_gives_texts_not_bytes():
    assert count_words([["Café café", b"caf\xc3\xa9 \xff"]]) == Counter({"café": 3, "\ufffd": 1})


def test_counted_bounded_keeps_frequent_words():
    batches = [[" ".join([f"rare{chr(97 + i)}x{chr(97 + j)}" for j in range(26)] + ["often"] * 3)] for i in range(20)]
    counts = count_words(batches, max_words=10)
    assert len(counts) <= 10
    assert counts["often"] == 60


def test_counted_bounded_keeps_words_that_begin_late():
    def rare(i):
        return [f"rare{chr(97 + i)}x{chr(97 + j)}" for j in range(26)]

    batches = [[" ".join(rare(i) + (["late"] * 3 if i >= 10 else []))] for i in range(26)]
    assert count_words(batches, max_words=10)["late"] >= 48 - 26  # an undercount of one a purge at the very most


@PROPERTY
@given(counts=st.dictionaries(simple_words, st.integers(1, 5)), most=st.integers(0, 20), at_least=st.integers(1, 4))
def test_frequent_keeps_the_most_frequent_in_order(counts, most, at_least):
    kept = most_frequent(Counter(counts), most, at_least)
    ranked = sorted(((-count, word) for word, count in counts.items() if count >= at_least))
    assert kept == [word for _, word in ranked][:most]


def test_frequent_does_not_depend_on_the_order_of_counting():
    assert most_frequent(Counter("abcabc"), 2, 1) == most_frequent(Counter("cbacba"), 2, 1) == ["a", "b"]


# affixes


def affix_ids(words, prefixes=(1, 3), suffixes=(2,), buckets=1_000_000):
    return hash_affixes(tf.constant(words, tf.string), prefixes, suffixes, buckets).numpy()


def test_affixes_have_one_id_a_word_and_kind():
    found = affix_ids(["good", "film", "x"])
    assert found.dtype == np.int32
    assert found.shape == (3, 3)


@PROPERTY
@given(pair=st.tuples(st.text("aé漢", min_size=1, max_size=5), st.text("aé漢", min_size=1, max_size=5)))
def test_affixes_are_alike_where_characters_are(pair):
    first, second = pair
    left, right = affix_ids([first, second]).tolist()
    assert [a == b for a, b in zip(left, right, strict=True)] == [
        first[:1] == second[:1],
        first[:3] == second[:3],
        first[-2:] == second[-2:],
    ]


def test_affixes_beginnings_differ_from_ends():
    [[beginning, end]] = affix_ids(["ab"], [2], [2])
    assert beginning != end


@PROPERTY
@given(row=st.lists(st.text(max_size=6), max_size=6), buckets=st.integers(1, 9))
def test_affixes_lie_between_one_and_the_buckets(row, buckets):
    ids = affix_ids(row, buckets=buckets)
    assert ids.shape == (len(row), 3)
    assert np.all((ids >= 1) & (ids <= buckets))


@PROPERTY
@given(rows=st.lists(st.lists(st.sampled_from(["good", "bad", "😀", "zebra", "", "éclair"]), max_size=5), max_size=4))
def test_affixes_of_known_words_are_those_cut_anew(rows):
    vocabulary = Vocabulary(KNOWN, 1)
    tokens = tf.ragged.constant(rows, dtype=tf.string, ragged_rank=1)
    found = AffixHasher(vocabulary, KNOWN, (1, 3), (2,), 1000).lookup(tokens, vocabulary.lookup(tokens))
    assert found.row_lengths().numpy().tolist() == [len(row) for row in rows]
    assert found.values.numpy().tolist() == affix_ids([w for row in rows for w in row], buckets=1000).tolist()


def test_affixes_without_known_words():
    vocabulary = Vocabulary([], 1)
    tokens = tf.ragged.constant([["good"]])
    found = AffixHasher(vocabulary, [], (1, 3), (2,), 1000).lookup(tokens, vocabulary.lookup(tokens))
    assert found.values.numpy().tolist() == affix_ids(["good"], buckets=1000).tolist()


# Vocabulary

KNOWN = ["good", "bad", "😀"]


def ids_of(vocabulary, rows):
    return vocabulary.lookup(tf.ragged.constant(rows, dtype=tf.string, ragged_rank=1)).to_list()


def test_vocabulary_ids_of_known_words_follow_the_boundary():
    assert (PADDING, BOUNDARY) == (0, 1)
    assert ids_of(Vocabulary(KNOWN, 5), [["bad", "good"], [], ["😀"]]) == [[3, 2], [], [4]]


def test_vocabulary_size_counts_padding_boundary_words_and_buckets():
    assert Vocabulary(KNOWN, 5).size == 2 + 3 + 5


@PROPERTY
@given(unknown=st.lists(st.text(max_size=8).filter(lambda word: word not in KNOWN), min_size=1, max_size=10))
def test_vocabulary_unknown_words_fall_into_the_buckets(unknown):
    vocabulary = Vocabulary(KNOWN, 5)
    [ids] = ids_of(vocabulary, [unknown])
    assert all(2 + len(KNOWN) <= number < vocabulary.size for number in ids)


def test_vocabulary_unknown_word_has_one_id():
    first, second = Vocabulary(KNOWN, 1000), Vocabulary(KNOWN, 1000)
    [[before, other, after]] = ids_of(first, [["zebra", "lion", "zebra"]])
    assert before == after != other
    assert ids_of(second, [["zebra"]]) == [[before]]


def test_vocabulary_without_words_has_buckets_only():
    vocabulary = Vocabulary([], 1)
    assert vocabulary.size == 3
    assert ids_of(vocabulary, [["a", "b"]]) == [[2, 2]]


def test_vocabulary_ids_are_int32():
    assert Vocabulary(KNOWN, 1).lookup(tf.ragged.constant([["good"]])).dtype == tf.int32
