"""Tokens of strings worked by hand, and what holds of the tokens of any string and of their places."""

from __future__ import annotations

import random
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.text.tokenizer import tokenize_with_offsets

PROPERTY = settings(max_examples=100, deadline=None)
TEXTS = [tf.TensorSpec([None], tf.string)]
UNSEEN = {*"\u061c\u200b\u200e\u200f\ufeff", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}

compiled = tf.function(tokenize_with_offsets, input_signature=TEXTS)


def lists(texts):
    """Tokens as Python strings, starts and ends of each text."""
    tokens, starts, ends = (ragged.to_list() for ragged in compiled(tf.constant(texts, tf.string)))
    return [[token.decode("utf-8") for token in row] for row in tokens], starts, ends


def tokens(text):
    """The tokens of one text, with bars between."""
    [row], _, _ = lists([text])
    return "|".join(row)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It isn't GREAT", "It|is|n't|GREAT"),
        ("It isn’t. He’s!", "It|is|n’t|.|He|’s|!"),
        ("can't won't DON'T", "ca|n't|wo|n't|DO|N'T"),
        ("It's John’s, we're I've she'll he'd I'm", "It|'s|John|’s|,|we|'re|I|'ve|she|'ll|he|'d|I|'m"),
        ("I'd've couldn't've", "I|'d|'ve|could|n't|'ve"),
        ("the dogs' bowls", "the|dogs|'|bowls"),
        ("the 90's", "the|90|'s"),
        ("O'Brien rock'n'roll l'été", "O'Brien|rock'n'roll|l'été"),
        ("'quoted' 'más'", "'|quoted|'|'|más|'"),
        ("John 's is n't n't", "John|'s|is|n't|n't"),
        ("@me's #it's U.S.'s Jr.'s x.com's", "@me|'s|#it|'s|U.S.|'s|Jr.|'s|x.com|'s"),
    ],
)
def test_tokens_split_contractions(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("German-born, Anglo-French", "German-born|,|Anglo-French"),
        ("AT&T R&amp;B Q & A", "AT&T|R&amp;B|Q|&|A"),
        ("pro- and -based", "pro|-|and|-|based"),
        ("a--b", "a|--|b"),
        ("snake_case _x_", "snake_case|_x_"),
        ("mp3 B2B 10-year-old 1990s 2nd", "mp3|B2B|10-year-old|1990s|2nd"),
    ],
)
def test_tokens_keep_words_with_inner_marks(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,000.50, 3.5. 10:30 1996-08-22 1/2 10/10!", "1,000.50|,|3.5|.|10:30|1996-08-22|1/2|10/10|!"),
        ("in 1996.", "in|1996|."),
        ("$1,000 17% £5.6m", "$|1,000|17|%|£|5.6m"),
        ("1, 2,3", "1|,|2,3"),
        ("5,and", "5|,|and"),
        ("５００ ٣", "５００|٣"),
    ],
)
def test_tokens_keep_numbers_whole(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the U.S. and U.N. forces, U.S.-based", "the|U.S.|and|U.N.|forces|,|U.S.-based"),
        ("U.K p.m P.O.P", "U.K|p.m|P.O.P"),
        ("e.g. this, i.e. that, 5 p.m.", "e.g.|this|,|i.e.|that|,|5|p.m."),
        ("J. Smith J.R.R. Tolkien É. Zola А. Блок", "J.|Smith|J.R.R.|Tolkien|É.|Zola|А.|Блок"),
        ("J.Smith Mr.Smith", "J.|Smith|Mr.|Smith"),
        ("World War I. So", "World|War|I|.|So"),
        (
            "Mr. Dr. St. Inc. Corp. Ltd. Co. Jr. Sr. vs. Jan. Ph.D.",
            "Mr.|Dr.|St.|Inc.|Corp.|Ltd.|Co.|Jr.|Sr.|vs.|Jan.|Ph.D.",
        ),
        ("Berlin. USA. Stephen. it.And", "Berlin|.|USA|.|Stephen|.|it|.|And"),
    ],
)
def test_tokens_keep_the_period_of_abbreviations(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.b/c?d=1#e", "http://a.b/c?d=1#e"),
        ("see HTTPS://X.org/it, (www.x.org).", "see|HTTPS://X.org/it|,|(|www.x.org|)|."),
        ("http://t.co/x” http://a.b。", "http://t.co/x|”|http://a.b|。"),
        ("www. is no address", "www|.|is|no|address"),
        ("bit.ly/3x, example.com. a.example.co.uk", "bit.ly/3x|,|example.com|.|a.example.co.uk"),
        ("me.too@site.org, a@b", "me.too@site.org|,|a|@b"),
        ("@user @A_2: .@b RT@c", "@user|@A_2|:|.|@b|RT|@c"),
        ("#tag #東京2020 #été, # 1", "#tag|#東京2020|#été|,|#|1"),
    ],
)
def test_tokens_keep_addresses_users_and_tags_whole(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":-) :) ;-) :D <3 -_-", ":-)|:)|;-)|:D|<3|-_-"),
        ("great:)) :Dogs", "great|:))|:|Dogs"),
        ("😀😀 so👍🏽", "😀|😀|so|👍🏽"),
        ("👩‍👩‍👧👩🏽‍🚀❤️‍🔥🏳️‍🌈", "👩‍👩‍👧|👩🏽‍🚀|❤️‍🔥|🏳️‍🌈"),
        ("🇩🇪🇫🇷 1️⃣ ‼️Now", "🇩🇪|🇫🇷|1️⃣|‼️|Now"),
    ],
)
def test_tokens_keep_emoticons_and_emoji_whole(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what?!?! no!!! yes... a..b", "what|?!?!|no|!!!|yes|...|a|..|b"),
        ("a. b, c; d: (e) [f]", "a|.|b|,|c|;|d|:|(|e|)|[|f|]"),
        ('"so"—good… $%', '"|so|"|—|good|…|$|%'),
        ("``so'' &amp; <b>", "``|so|''|&amp;|<|b|>"),
    ],
)
def test_tokens_split_punctuation(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字かなカー", "漢|字|か|な|カ|ー"),
        ("好film看", "好|film|看"),
        ("ไทย", "ไ|ท|ย"),
        ("한국어 영화", "한국어|영화"),
        ("Привет, мир", "Привет|,|мир"),
        ("هنا، نعم؟", "هنا|،|نعم|؟"),
        ("हिन्दी है।", "हिन्दी|है|।"),
        ("cafe\u0301s", "cafe\u0301s"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_tokens_follow_the_script(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    "blank",
    ["\t", "\r\n", "\v", "\0", "\x1f", "\x7f", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000", "\ufeff", "\u200e"],
)
def test_tokens_split_at_blanks_which_count_as_characters(blank):
    text = f"{blank}a{blank}{blank}b.{blank}"
    size = len(blank)
    [row], [starts], [ends] = lists([text])
    assert row == ["a", "b", "."]
    assert starts == [size, 3 * size + 1, 3 * size + 2]
    assert ends == [size + 1, 3 * size + 2, 3 * size + 3]


def test_places_count_characters_not_bytes():
    assert lists(["É 😀 o\u0301k."]) == ([["É", "😀", "o\u0301k", "."]], [[0, 2, 4, 7]], [[1, 3, 7, 8]])


def test_places_of_bytes_that_are_no_utf8_are_those_of_replacement_characters():
    assert lists([b"caf\xe9 \xe2\x82 x"]) == ([["caf", "�", "�", "x"]], [[0, 3, 5, 7]], [[3, 4, 6, 8]])


def test_places_are_int32():
    found, starts, ends = tokenize_with_offsets(tf.constant(["a b"]))
    assert (found.dtype, starts.dtype, ends.dtype) == (tf.string, tf.int32, tf.int32)


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000", "\x01\x1f\ufeff"])
def test_tokens_of_a_blank_text_are_none(text):
    assert lists(["a", text, text]) == ([["a"], [], []], [[0], [], []], [[1], [], []])


def test_tokens_of_no_text_are_no_rows():
    assert lists([]) == ([], [], [])


def test_tokens_of_long_texts():
    long = [
        ("x" * 10_000, 1),
        ("Word " * 2_000, 2_000),
        ("!" * 10_000, 1),
        ("漢" * 10_000, 10_000),
        ("aa." * 20_000, 40_000),
    ]
    for text, count in long:
        [row], _, [ends] = lists([text])
        assert len(row) == count
        assert ends[-1] == len(text.rstrip())


def test_tokens_run_in_a_dataset():
    [(found, _, ends)] = tf.data.Dataset.from_tensors(tf.constant(["I'm", ""])).map(tokenize_with_offsets)
    assert (found.to_list(), ends.to_list()) == ([[b"I", b"'m"], []], [[1, 3], []])


def test_tokens_run_in_a_saved_model(tmp_path):
    class Served(tf.Module):
        @tf.function(input_signature=TEXTS)
        def tokenised(self, texts):
            found, starts, ends = tokenize_with_offsets(texts)
            return {"tokens": found, "starts": starts, "ends": ends}

    tf.saved_model.save(Served(), tmp_path)
    found = tf.saved_model.load(tmp_path).tokenised(tf.constant(["I'm", ""]))
    assert {name: ragged.to_list() for name, ragged in found.items()} == {
        "tokens": [[b"I", b"'m"], []],
        "starts": [[0, 1], []],
        "ends": [[1, 3], []],
    }


def test_the_pattern_leaves_memory_to_match_it(capfd):
    """Else the engine says so at every token, and takes ten times as long."""
    characters = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) not in ("Cs", "Co", "Cn")]
    texts = ["".join(random.Random(seed).choices(characters, k=200)) for seed in range(50)]
    lists(texts)
    assert "out of memory" not in capfd.readouterr().err


def is_blank(character):
    return character in UNSEEN or unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cc")


def check_places(text, row, starts, ends):
    assert row == [text[start:end] for start, end in zip(starts, ends, strict=True)]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    covered = {place for start, end in zip(starts, ends, strict=True) for place in range(start, end)}
    assert covered == {place for place, character in enumerate(text) if not is_blank(character)}


hostile = st.sampled_from(
    [
        *"aBÉßΩЖ漢カไ한हا.,:;!?-–_'’\"()[]<>/\\&#@%$*+=~0159٣\0\t\n\x1f\x85\u00a0\u200b\u200d\u2028\u202e\u3000\ufeff\ufe0f",
        *"\u0301\u20e3\U0001f1e9\U0001f600\U0001f3fd\U0001d49c\U000e0067\u05d0\U0010ffff",
        *(
            "n't",
            "'s",
            "’ll",
            "'d've",
            "http://",
            "www.",
            "U.S.",
            "Mr.",
            "I.",
            "@me",
            "#x",
            "a@b.org",
            ".com",
            "1,000.5",
        ),
        *("&amp;", ":-)", ":D", "<3", "...", "👩‍👩‍👧", "  "),
    ]
)
anything = st.one_of(st.text(max_size=40), st.lists(hostile, max_size=25).map("".join))


@PROPERTY
@given(text=anything)
@example(text="I'd've\x1f's. \ufeffMr.\0'S")
@example(text=" 's 's\u00a0n't ")
def test_tokens_lie_where_they_are_said_to_and_cover_all_but_blanks(text):
    [row], [starts], [ends] = lists([text])
    check_places(text, row, starts, ends)


@PROPERTY
@given(data=st.binary(max_size=30))
def test_places_of_any_bytes_lie_in_the_repaired_text(data):
    [text] = tf.strings.unicode_transcode([data], "UTF-8", "UTF-8").numpy()
    [row], [starts], [ends] = lists([data])
    check_places(text.decode("utf-8"), row, starts, ends)


@PROPERTY
@given(text=anything, other=anything)
def test_tokens_are_the_same_alone_and_in_a_batch(text, other):
    alone = [column[0] for column in lists([text])]
    batch = lists([other, text, text])
    assert [column[1] for column in batch] == [column[2] for column in batch] == alone


@PROPERTY
@given(text=anything, blank=st.sampled_from(["\t", "\u2028", "\u3000", "\0"]))
def test_blanks_before_a_text_move_its_places(text, blank):
    [row], [starts], [ends] = lists([text])
    moved = lists([blank * 2 + text + blank])
    assert moved == ([row], [[start + 2 for start in starts]], [[end + 2 for end in ends]])
