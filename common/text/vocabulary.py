"""Text in graph: words out of raw strings, and their ids. Core TensorFlow ops only, so that any server can run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from common.runtime.parallel import parallel_map
from common.types import NamedAxis

URL, USER, NUMBER = "<url>", "<user>", "<number>"
PADDING, BOUNDARY = 0, 1  # ids before those of words
COMMON = 100  # of the most frequent words are looked at to see whether a vocabulary is of the same language
COUNTED_WORDS = 2_000_000  # how many distinct words are counted at once

_END = r"($|[^\p{L}\p{M}\p{N}_])"  # RE2's own word boundary knows ASCII only
_BLANKS = r"[\p{Z}\p{Cc}]+"  # every blank, line end and control character

# Each rule is applied in turn to lower-cased text. Syntax is RE2's.
_RULES = (
    (r"[’ʼ＇]", "'"),
    (r"(?:https?://|www\.)[^ ]+", f" {URL} "),
    (r"(^|[^\p{L}\p{N}_])@[\p{L}\p{N}_]+", rf"\1 {USER} "),
    (r"\d{3,}(?:[.,:]\d+)*|\d+(?:[,:]\d+)+", f" {NUMBER} "),  # 5, 10 and 3.5 stay: they may be a verdict
    (rf"(\p{{L}})(n't){_END}", r"\1 \2 \3"),
    (rf"([\p{{L}}\p{{N}}])('(?:s|re|ve|ll|d|m)){_END}", r"\1 \2 \3"),
    (rf"('(?:s|re|ve|ll|d|m)){_END}", r"\1 \2"),  # the first half of I'd've
    (r"<(3\d)", r"< \1"),  # no heart
    (r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])", r" \1 "),  # scripts without blanks: each character is a word
)
_WORD = "|".join(
    (
        "<(?:url|user|number)>",
        r"'(?:s|re|ve|ll|d|m)(?: |$)",  # as the rules above left it
        r"[\p{L}\p{M}\p{N}_]+(?:'[\p{L}\p{M}]+)*",
        r"[:;=]['^-]?[)(\[\]/\\|*]+",  # emoticons
        "<3",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",  # a flag
        r"\p{So}(?:[\x{FE0F}\x{1F3FB}-\x{1F3FF}]|\x{200D}\p{So})*",  # an emoji with its modifiers
        r"[!?]+|\.\.+",
        "[^ ]",
    )
)


def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the lower-cased words of each text, [batch, (words)]; contractions, URLs, numbers and emoji taken care of.

    Bytes that are no UTF-8 become the replacement character.

    >>> tokenize(tf.constant(["It isn't GREAT: 10/10 http://a.b :-)"])).to_list()[0]
    [b'it', b'is', b"n't", b'great', b':', b'10', b'/', b'10', b'<url>', b':-)']
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
    texts = tf.strings.regex_replace(texts, _BLANKS, " ")  # first, since lower-casing stops at a NUL
    texts = lowercase(texts)
    for pattern, replacement in _RULES:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return tf.strings.split(tf.strings.regex_replace(texts, _WORD, r" \0 "))


def lowercase(texts: tf.Tensor) -> tf.Tensor:
    """Return valid UTF-8 in lower case, the same on any machine; what follows a NUL is lost.

    >>> lowercase(tf.constant(["FILM", "ÉTÉ ΟΔΟΣ"])).numpy().tolist() == ["film".encode(), "été οδος".encode()]
    True
    """
    # ASCII and some forms of I by rules of our own, because for these ICU follows the locale of the serving machine.
    texts = tf.strings.lower(texts)
    for capital, small in zip("İÌÍĨĮ", ("i\u0307", *"ìíĩį"), strict=True):
        texts = tf.strings.regex_replace(texts, capital, small)
    return tf.strings.lower(texts, encoding="utf-8")


def trim_middle(tokens: tf.RaggedTensor, max_length: int) -> tf.RaggedTensor:
    """Return rows longer than `max_length` without their middle: a review is judged by its beginning and its end.

    >>> trim_middle(tf.ragged.constant([[1, 2, 3, 4, 5], [6]]), 2).to_list()
    [[1, 5], [6]]
    """
    # On flat values: tf.ragged.boolean_mask does the same in ten times the time.
    lengths, rows = tokens.row_lengths(), tokens.value_rowids()
    position = tf.range(tf.size(rows, tf.int64))
    position -= tf.gather(tokens.row_starts(), rows)
    length = tf.gather(lengths, rows)
    is_kept = (
        (position < max_length // 2) | (position >= length - (max_length - max_length // 2)) | (length <= max_length)
    )
    return tf.RaggedTensor.from_row_lengths(tokens.values[is_kept], tf.minimum(lengths, max_length), validate=False)


def to_utf8_bytes(text: str | bytes) -> bytes:
    r"""Return the bytes of a text; what a terminal could not decode becomes the bytes that it was.

    >>> to_utf8_bytes("caf\udce9")
    b'caf\xe9'
    """
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair of surrogates, as JSON may hold
        return text.encode("utf-8", "replace")


def count_words(
    texts: Iterable[Sequence[str | bytes]],
    max_words: int = COUNTED_WORDS,
    words: Callable[[tf.Tensor], tf.Tensor] = lambda texts: tokenize(texts).values,
) -> Counter[str]:
    """Count the words in batches of texts; memory-bounded, rare words are forgotten when there are too many.

    Args:
      texts: batches.
      words: those of a batch, [words].
      max_words: beyond so many distinct words, those seen once are forgotten, then those seen twice, and so on.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def count_distinct(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        tokens, _, uses = tf.unique_with_counts(words(batch))
        return tokens, uses

    def count_batch(batch: Sequence[str | bytes]) -> tuple[list[bytes], list[int]]:
        tokens, uses = count_distinct(tf.constant([to_utf8_bytes(text) for text in batch], tf.string))
        return tokens.numpy().tolist(), uses.numpy().tolist()

    counts: Counter[bytes] = Counter()
    for tokens, uses in parallel_map(count_batch, texts):
        for word, count in zip(tokens, uses, strict=True):
            counts[word] += count
        rare = 0
        while len(counts) > (
            max_words if rare == 0 else max_words * 3 // 4
        ):  # some room, so as not to sift at every batch
            rare += 1
            counts = Counter({word: count for word, count in counts.items() if count > rare})
    return Counter({word.decode("utf-8"): count for word, count in counts.items()})


def most_frequent(counts: Counter[str], max_size: int, min_count: int) -> list[str]:
    """Return the most frequent words, alike ones in alphabetical order, so that a vocabulary never depends on luck.

    >>> most_frequent(Counter("abracadabra"), max_size=3, min_count=2)
    ['a', 'b', 'r']
    """
    ordered = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    return ordered[:max_size]


def extend_vocabulary(known: Sequence[str], more: Iterable[str]) -> list[str]:
    """Return a vocabulary with further words after those that it has, whose ids stay as they are.

    >>> extend_vocabulary(["a", "b"], ["c", "a"])
    ['a', 'b', 'c']
    """
    return list(dict.fromkeys([*known, *more]))


def known_word_fraction(words: Sequence[str], known: Iterable[str]) -> float:
    """Return the share of the most frequent words that a vocabulary has; low where it is of another language.

    Args:
      words: the most frequent first.
    """
    frequent_words, vocabulary = words[:COMMON], set(known)
    return sum(word in vocabulary for word in frequent_words) / len(frequent_words) if frequent_words else 1.0


def unfamiliar_words_warning(share: float | None, min_share: float = 0.5, field: str = "") -> list[str]:
    """Return a sentence for people where few frequent words are familiar, in a list.

    Args:
      min_share: the share of them that is enough.
      field: whose words these are, where there are several fields.
    """
    if share is None or share >= min_share:
        return []
    words = f"words of {field}" if field else "words"
    return [
        f"Only {share:.0%} of the most frequent {words} are known to the run that --init-from names: is it of another"
        " language?"
    ]


def hash_affixes(words: tf.Tensor, prefixes: Sequence[int], suffixes: Sequence[int], buckets: int) -> tf.Tensor:
    """Return hashed ids of each word's beginnings and ends, int32 [words, kinds], from 1.

    A word shorter than an affix gives the whole word.

    Args:
      words: string [words].
      prefixes, suffixes: numbers of characters.
    """
    length = tf.strings.length(words, unit="UTF8_CHAR")
    start = tf.zeros_like(length)
    parts = []
    for size in prefixes:
        parts.append("<" + tf.strings.substr(words, start, tf.minimum(length, size), unit="UTF8_CHAR"))
    for size in suffixes:
        taken = tf.minimum(length, size)
        parts.append(tf.strings.substr(words, length - taken, taken, unit="UTF8_CHAR") + ">")
    ids = tf.strings.to_hash_bucket_fast(tf.stack(parts, axis=1), buckets) + 1
    return tf.cast(ids, tf.int32)


class Vocabulary:
    """Word ids in graph.

    Ids: 0 padding, 1 the boundary of a text, then the words, then `buckets` ids shared by unknown words by hash.

    Args:
      known: words, none twice.
      buckets: at least 1.
    """

    def __init__(self, known: Sequence[str], buckets: int):
        self.words, self.first, self.buckets = list(known), 2, buckets
        self.size = self.first + len(known) + buckets
        self.table = None  # a table cannot be empty
        if known:
            values = tf.range(len(known), dtype=tf.int64)
            pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(list(known), tf.string), values)
            self.table = tf.lookup.StaticVocabularyTable(pairs, buckets)

    def named_axis(self) -> NamedAxis:
        """Return what the rows of a table by id stand for; a word that is new begins as an unknown one.

        A word cannot hold a blank, so that these names are no words.
        """
        unknown = [f"unknown word {number}" for number in range(self.buckets)]
        return NamedAxis(["padding of texts", "end of a text", *self.words, *unknown], init_new_from=unknown[0])

    def lookup(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """Return ids of words, int32 [batch, (words)]."""
        flat = tokens.values
        word_ids = self.table.lookup(flat) if self.table else tf.strings.to_hash_bucket_fast(flat, self.buckets)
        return tokens.with_values(tf.cast(word_ids, tf.int32) + self.first)


class AffixHasher:
    """Hashes affixes in graph; those of known words are computed once, for this costs more than all else in encoding.

    Args:
      vocabulary: gives the ids that are passed with the words.
      known: its words.
      prefixes, suffixes, buckets: see `hash_affixes`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        known: Sequence[str],
        prefixes: Sequence[int],
        suffixes: Sequence[int],
        buckets: int,
    ):
        self.cut = lambda words: hash_affixes(words, prefixes, suffixes, buckets)
        self.first, self.count = vocabulary.first, len(known)
        self.table = self.cut(tf.constant([*known, ""], tf.string)).numpy()  # [known + 1, kinds]

    def lookup(self, tokens: tf.RaggedTensor, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Return affix ids, int32 [batch, (words), kinds].

        Args:
          tokens: words.
          ids: theirs in the vocabulary.
        """
        places = ids.values - self.first
        unknown = tf.where(places >= self.count)
        known_affixes = tf.gather(tf.constant(self.table), tf.minimum(places, self.count))
        rest = self.cut(tf.gather_nd(tokens.values, unknown))
        return tokens.with_values(tf.tensor_scatter_nd_update(known_affixes, unknown, rest))
