"""Stretches and longest pieces worked by hand, WordPiece of `tokenizers` as oracle, texts back byte for byte."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from common.errors import ConfigError, RunError
from common.text.subwords import (
    END,
    PADDING,
    START,
    SubwordTokenizer,
    pretokenize,
    split_target_pieces,
    train_vocabulary,
)

PROPERTY = settings(max_examples=60, deadline=None)

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
CORPUS = [
    "The men's dogs don't like the 1984 runners, do they?",
    "L'été, c'est dell'arte: %(name)s und {0} in <b>Straßen</b>…",
    "Собаки бегут по улице, а собака спит.",
    "Οι σκύλοι τρέχουν στον δρόμο.",
    "狗在街上跑，狗在睡觉。犬が通りを走っている。",
    "الكلاب تجري في الشارع، والكلب نائم.",
    "हिन्दी में कुत्ते दौड़ते हैं 👩🏽‍🚀👩🏽‍🚀 ❤️",
    "  two  blanks\n\n\ttabs\t\tand    lines\r\n",
] * 3
PIECES = train_vocabulary(CORPUS, 600)

characters = st.characters(exclude_categories=["Cs"])
texts = st.one_of(
    st.text(characters, max_size=40),
    st.text(st.sampled_from(sorted({*"".join(CORPUS), "\0", "\u00a0", "\u200d", "\ufeff", "\U0010ffff"})), max_size=40),
    st.lists(st.sampled_from([*" ".join(CORPUS).split(" "), " ", "  ", "\0"]), max_size=12).map("".join),
    st.lists(st.sampled_from(" ".join(CORPUS).split(" ")), max_size=12).map(" ".join),
)


@pytest.fixture(scope="module")
def subwords():
    return SubwordTokenizer(PIECES)


def cut(text):
    """The stretches of one text as Python strings."""
    [row] = pretokenize(tf.constant([text], tf.string)).to_list()
    return [stretch.decode("utf-8") for stretch in row]


def ids_of(subwords, text):
    """The ids of one text."""
    [row] = subwords.encode(tf.constant([text], tf.string)).to_list()
    return row


def small(*pieces):
    """A vocabulary of the single bytes and some pieces, and a function that gives the ids of pieces."""
    every = [*BYTES, *pieces]
    return SubwordTokenizer(every), lambda *wanted: [3 + every.index(piece) for piece in wanted]


# stretches


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man sleeps.", "A| man| sleeps|."),
        ("don't, l'été l’été", "don'|t|,| l'|été| l’|été"),
        ("the 'quoted' dogs'", "the| '|quoted'| dogs'"),
        ("1984 12 mp3 12345678", "198|4| 12| mp|3| 123|456|78"),
        ("3.50€ ٣٤٥٦", "3|.|50|€| ٣٤٥|٦"),
        ("%(name)s {0} <b>x</b>", "%(|name|)|s| {|0|}| <|b|>|x|</|b|>"),
        ("what?!? (no)...", "what|?!?| (|no|)..."),
        ("漢字かな。カナ", "漢字かな|。|カナ"),
        ("hin हिन्दी می‌خواهم", "hin| हिन्दी| می‌خواهم"),
        ("cafe\u0301s", "cafe\u0301s"),
        ("so👍🏽 ❤️!", "so|👍🏽| ❤️!"),
        ("snake_case", "snake|_|case"),
    ],
)
def test_stretches_are_words_numbers_and_punctuation(text, expected):
    assert cut(text) == expected.split("|")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b", ["a", " ", " b"]),
        ("    if", ["   ", " if"]),
        ("a\n\n  b", ["a", "\n\n ", " b"]),
        ("a\n\tb\r\n", ["a", "\n\t", "b", "\r\n"]),
        ("a ", ["a", " "]),
        ("a   ", ["a", "  ", " "]),
        ("a\u00a0b\u3000c", ["a", "\u00a0", "b", "\u3000", "c"]),
        ("a\0 b", ["a", "\0", " b"]),
        (" ", [" "]),
        ("", []),
    ],
)
def test_stretches_give_a_word_the_one_blank_before_it(text, expected):
    assert cut(text) == expected


@pytest.mark.parametrize("character", ["x", "é", "漢", "!", "\t", "😀"])
def test_stretches_end_after_64_characters(character):
    assert cut(character * 150) == [character * 64, character * 64, character * 22]
    assert cut(character * 64) == [character * 64]


def test_stretches_count_from_the_beginning_of_each():
    assert cut("abc" + " " + "x" * 70) == ["abc", " " + "x" * 63, "x" * 7]


@PROPERTY
@given(text=texts)
def test_stretches_joined_are_the_text(text):
    found = cut(text)
    assert "".join(found) == text
    assert all(1 <= len(stretch) <= 64 for stretch in found)


# encode


def test_encode_takes_the_longest_piece_from_the_left():
    subwords, ids = small("ab", "abcd", "bcd", "Ġa", "de")
    assert ids_of(subwords, "abc") == ids("ab", "c")
    assert ids_of(subwords, "abcd") == ids("abcd")
    assert ids_of(subwords, "abcde") == ids("abcd", "e")  # not ab, c, de
    assert ids_of(subwords, "xabbcd") == ids("x", "ab", "bcd")
    assert ids_of(subwords, "ab ab") == ids("ab", "Ġa", "b")


def test_encode_finds_no_piece_across_stretches():
    subwords, ids = small("a,", "1984", "198")
    assert ids_of(subwords, "a,1984") == ids("a", ",", "198", "4")


def test_encode_falls_back_on_bytes():
    subwords, ids = small("Ã©")  # é
    assert ids_of(subwords, "éè") == ids("Ã©", "Ã", "¨")
    assert ids_of(subwords, "\0") == ids("Ā")


def test_encode_keeps_texts_apart(subwords):
    batch = ["The dogs", "", "dogs The The", "", "狗 dogs"]
    found = subwords.encode(tf.constant(batch)).to_list()
    assert found == [ids_of(subwords, text) for text in batch]
    assert found[1] == found[3] == []


def test_encode_gives_int32(subwords):
    assert subwords.encode(tf.constant(["dogs"])).dtype == tf.int32


def test_encode_of_an_empty_text_is_empty(subwords):
    assert ids_of(subwords, "") == []
    assert subwords.encode(tf.constant(["", ""])).to_list() == [[], []]


def test_encode_of_an_empty_batch_is_empty(subwords):
    found = subwords.encode(tf.constant([], tf.string))
    assert found.to_list() == []
    assert found.dtype == tf.int32


def test_encode_of_a_long_text_without_blanks():
    subwords, ids = small("xx")
    expected = []
    for _ in range(5000 // 64):  # 64 characters make 32 pieces
        expected += ids("xx") * 32
    expected += ids("xx") * 4  # 5000 = 78 * 64 + 8
    assert ids_of(subwords, "x" * 5000) == expected


@pytest.mark.parametrize(
    "raw", [b"\xff", b"caf\xe9 au lait", b"\xe2\x82", b"a\xc3", b"\xed\xa0\x80", b"\xff\xffdogs\xff"]
)
def test_encode_takes_bytes_that_are_no_utf8_as_replacement_characters(subwords, raw):
    assert ids_of(subwords, raw) == ids_of(subwords, raw.decode("utf-8", "replace"))


def wordpiece(pieces, text):
    """Ids that the WordPiece model of `tokenizers` gives to the stretches of a text."""
    vocabulary = {piece: 3 + place for place, piece in enumerate(pieces)}
    model = models.WordPiece(
        vocabulary, unk_token="unknown", continuing_subword_prefix="", max_input_chars_per_word=10**6
    )
    oracle = Tokenizer(model)
    oracle.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return oracle.encode(cut(text), is_pretokenized=True).ids


@PROPERTY
@given(batch=st.lists(texts, max_size=4))
def test_encode_equals_wordpiece_of_tokenizers(subwords, batch):
    assert subwords.encode(tf.constant(batch, tf.string)).to_list() == [wordpiece(PIECES, text) for text in batch]


@PROPERTY
@given(
    pieces=st.lists(st.text("abĠ", min_size=2, max_size=9), unique=True, max_size=30),
    batch=st.lists(st.text("ab ", max_size=40), min_size=1, max_size=4),
)
def test_encode_equals_wordpiece_of_tokenizers_with_any_pieces(pieces, batch):
    pieces = [*BYTES, *pieces]
    assert SubwordTokenizer(pieces).encode(tf.constant(batch)).to_list() == [wordpiece(pieces, text) for text in batch]


# decode


@PROPERTY
@given(batch=st.lists(texts, max_size=4))
@example(batch=["\0", " \0 ", "a\0b"])
@example(batch=["\ufeffmark", "\ufffe\uffff\U0010ffff", "x\ufffd"])
@example(batch=["   ", "a  b\n\n  c \r\n", "\u2028\u3000"])
def test_decode_gives_back_what_was_encoded(subwords, batch):
    ids = subwords.encode(tf.constant(batch, tf.string)).to_tensor()
    assert subwords.decode(ids).numpy().tolist() == [text.encode() for text in batch]


def test_decode_stops_at_the_first_end():
    subwords, ids = small("ab", "Ġc")
    rows = [[*ids("ab", "Ġc"), END, *ids("ab")], [END, *ids("ab", "ab"), END], ids("ab", "ab", "ab", "ab")]
    assert subwords.decode(tf.constant(rows)).numpy().tolist() == [b"ab c", b"", b"abababab"]


def test_decode_leaves_out_padding_and_starts():
    subwords, ids = small("ab")
    [ab] = ids("ab")
    rows = [[START, ab, ab, END, PADDING], [PADDING, ab, START, PADDING, ab], [PADDING] * 5]
    assert subwords.decode(tf.constant(rows)).numpy().tolist() == [b"abab", b"abab", b""]


def test_decode_joins_bytes_to_characters():
    subwords, ids = small()
    assert subwords.decode(tf.constant([ids("Ã", "©", "Ġ", "x")])).numpy().tolist() == ["é x".encode()]


def test_decode_replaces_bytes_that_are_no_utf8():
    subwords, ids = small()
    rows = [ids("x", "Ã", "x"), ids("Ã", "x", "Ã"), [*ids("Ã", "Ã"), END]]
    assert [text.decode("utf-8") for text in subwords.decode(tf.constant(rows)).numpy()] == ["x�x", "�x�", "��"]


@PROPERTY
@given(row=st.lists(st.integers(0, len(PIECES) + 2), max_size=20))
def test_decode_of_any_ids_is_what_python_makes_of_their_bytes(subwords, row):
    before = row[: row.index(END)] if END in row else row
    raw = b"".join(bytes_of(PIECES[number - 3]) for number in before if number >= 3)
    [text] = subwords.decode(tf.constant([row], tf.int32)).numpy()
    assert text.decode("utf-8") == raw.decode("utf-8", "replace")


def bytes_of(piece):
    """A piece's bytes, by GPT-2's rule: those that cannot be seen are numbered from 256 on."""
    unseen = [*range(0x21), *range(0x7F, 0xA1), 0xAD]
    return bytes(ord(symbol) if ord(symbol) < 256 else unseen[ord(symbol) - 256] for symbol in piece)


def test_decode_of_nothing_is_nothing(subwords):
    assert subwords.decode(tf.zeros([0, 3], tf.int32)).numpy().tolist() == []
    assert subwords.decode(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


# train


def test_train_merges_what_is_frequent():
    # Worked by hand: l and o stand together six times, lo and w as often, then the blank and low four times.
    assert train_vocabulary(["low lower lowest"] * 2, 3 + 256 + 3) == [*BYTES, "lo", "low", "Ġlow"]


def test_train_holds_all_bytes():
    assert set(BYTES) <= set(PIECES)
    assert train_vocabulary([], 1000) == BYTES
    assert train_vocabulary(["", " "], 259) == BYTES


def test_train_writes_bytes_as_visible_characters():
    assert sorted(map(bytes_of, BYTES)) == [bytes([number]) for number in range(256)]
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in BYTES)
    assert json.loads(json.dumps(PIECES)) == PIECES


@pytest.mark.parametrize("size", [259, 260, 300, 450])
def test_train_gives_as_many_ids_as_asked(size):
    assert len(SubwordTokenizer(train_vocabulary(CORPUS, size))) == size


def test_train_gives_fewer_ids_for_few_texts():
    assert len(train_vocabulary(["abab"], 1000)) == 257  # ab


def test_train_has_no_piece_across_stretches():
    pieces = train_vocabulary(["dogs, dogs, 1984 1984 (a) (a)"] * 9, 1000)
    assert not any("," in piece and "s" in piece for piece in pieces)
    assert {"Ġdogs", "Ġ198"} <= set(pieces)
    assert not any("84" in piece for piece in pieces)


def test_train_gives_the_same_twice():
    assert train_vocabulary(iter(CORPUS), 600) == PIECES
    assert train_vocabulary(CORPUS[::-1], 600) == PIECES


def test_train_reads_more_texts_than_one_batch():
    assert train_vocabulary((f"{number % 7} dogs" for number in range(2500)), 1000)[-1] == "Ġdogs"


def test_train_takes_half_a_pair_of_surrogates():
    assert "ab" in train_vocabulary(["ab\ud800"] * 2, 300)


def test_train_needs_room_for_the_bytes():
    with pytest.raises(ConfigError, match=r"258 subwords.* at least 259"):
        train_vocabulary(CORPUS, 258)


# parted


@PROPERTY
@given(batch=st.lists(texts, max_size=4), other=texts)
def test_texts_become_the_same_pieces_by_those_that_they_have(batch, other):
    pieces, count = split_target_pieces(PIECES, batch)
    assert sorted(pieces) == sorted(PIECES) and set(BYTES) <= set(pieces[:count])
    few, all_of_them = SubwordTokenizer(pieces[:count]), SubwordTokenizer(pieces)
    assert (
        few.encode(tf.constant(batch, tf.string)).to_list()
        == all_of_them.encode(tf.constant(batch, tf.string)).to_list()
    )
    used = {one for text in batch for one in ids_of(all_of_them, text)}
    assert count == 256 + sum(one >= 3 + 256 for one in used)
    assert few.decode(few.encode(tf.constant([other], tf.string)).to_tensor())[0].numpy().decode() == other


def test_some_pieces_come_first_in_any_case():
    every = [*BYTES, "lo", "wer", "low", "er"]
    assert split_target_pieces(every, ["low er"], ["wer", "else"]) == ([*BYTES, "wer", "low", "er", "lo"], 259)
    assert split_target_pieces(every, []) == (every, 256)


# Subwords


def test_subwords_count_padding_start_and_end():
    assert (PADDING, START, END) == (0, 1, 2)
    assert len(SubwordTokenizer([*BYTES, "ab"])) == 3 + 256 + 1


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (BYTES[1:], "256 single bytes, but 1 are missing"),
        ([*BYTES, "ab", "ab"], "twice"),
        ([*BYTES, "a b"], r"empty or hold \[' '\]"),
        ([*BYTES, ""], "symbols for bytes"),
    ],
)
def test_subwords_refuse_what_is_no_vocabulary(pieces, message):
    with pytest.raises(RunError, match=message):
        SubwordTokenizer(pieces)


class Served(tf.Module):
    """Both directions as a SavedModel has them."""

    def __init__(self, subwords):
        super().__init__()
        self.subwords, self.tables = subwords, [subwords.table, subwords.reach]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encode(self, texts):
        return self.subwords.encode(texts).to_tensor()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def decode(self, ids):
        return self.subwords.decode(ids)


def test_subwords_work_in_a_graph_and_after_loading(subwords, tmp_path):
    served = Served(subwords)
    tf.saved_model.save(served, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for batch in ([*CORPUS, "", b"\xff", "\0"], [""], []):
        asked = tf.constant(batch, tf.string)
        expected = subwords.encode(asked).to_tensor()
        for graph in (served, loaded):
            ids = graph.encode(asked)
            assert ids.numpy().tolist() == expected.numpy().tolist()
            assert graph.decode(ids).numpy().tolist() == subwords.decode(expected).numpy().tolist()
