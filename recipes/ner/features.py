"""What a word shows: its normal form, shape, affixes and characters; in graph, core TensorFlow operations only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from common.data.encoding import ENCODE_BATCH, batch_examples
from common.errors import DataError
from common.text.vocabulary import AffixHasher, Vocabulary, count_words, lowercase, trim_middle
from common.types import Batch, ExampleSource, NamedAxis

CHARACTERS = 20  # of a word that are looked at, half of them from its end
SHAPES = 500  # hashed shapes
LINEAR = 12  # features of a word in the wide branch
FIRST = 1  # the id of the first known character; 0 is padding


def normalize_words(tokens: tf.Tensor) -> tf.Tensor:
    """Return words as they are looked up: lower case, digits 0.

    >>> normalize_words(tf.constant(["Paris", "1996-08-22"])).numpy().tolist()
    [b'paris', b'0000-00-00']
    """
    return tf.strings.regex_replace(lowercase(tokens), r"\p{Nd}", "0")


@dataclass
class TokenCounts:
    """How often training sentences hold each word in its normal form, each character and each type of entity."""

    words: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    sentences: int = 0


def count_tokens(source: ExampleSource) -> TokenCounts:
    """Count words, characters, types of entities and sentences in one pass.

    Raises:
      DataError: there is no entity.
    """
    counts = TokenCounts()

    def tokens() -> Iterator[list[str]]:
        for batch in batch_examples(source, ENCODE_BATCH):
            counts.sentences += len(batch)
            for example in batch:
                counts.types.update(tag[2:] for tag in example["tags"] if tag.startswith("B-"))
                for token in example["tokens"]:
                    counts.characters.update(token)
            yield [token for example in batch for token in example["tokens"]]

    counts.words = count_words(tokens(), words=normalize_words)
    if not counts.types:
        broken = source.row_errors.summary()
        raise DataError(f"{source.name}: there is no entity to learn from.{broken} Give more --data.")
    return counts


def hash_word_shapes(tokens: tf.Tensor) -> tf.Tensor:
    """Return hashed shapes, int32 from 1: X capital, x letter, d digit, else the character; runs end after four.

    >>> hash_word_shapes(tf.constant(["Paris"])).numpy() == hash_word_shapes(tf.constant(["London"])).numpy()
    array([ True])
    """
    return tf.cast(tf.strings.to_hash_bucket_fast(_shape(tokens, 4), SHAPES), tf.int32) + 1


def _shape(tokens: tf.Tensor, max_run: int) -> tf.Tensor:
    for pattern, sign in ((r"\p{Lu}", "X"), (r"[\p{Ll}\p{Lo}\p{Lm}]", "x"), (r"\p{N}", "d")):
        tokens = tf.strings.regex_replace(tokens, pattern, sign)
    for sign in "Xxd":
        tokens = tf.strings.regex_replace(tokens, f"{sign}{{{max_run},}}", sign * max_run)
    return tokens


def hash_linear_features(tokens: tf.Tensor, normal: tf.Tensor, buckets: int) -> tf.Tensor:
    """Return hashed features of each word for the wide branch, int32 [words, LINEAR] from 1.

    The word, its normal form, its shape and the short form of its shape, and its beginnings and ends.
    """
    short = _shape(tokens, 1)
    length = tf.strings.length(normal, unit="UTF8_CHAR")
    start = tf.zeros_like(length)
    texts = ["w" + tokens, "n" + normal, "s" + _shape(tokens, 4), "t" + short]
    for size in (1, 2, 3, 4):
        width = tf.minimum(length, size)
        texts.append(f"{size}<" + tf.strings.substr(normal, start, width, unit="UTF8_CHAR"))
        texts.append(f"{size}>" + tf.strings.substr(normal, length - width, width, unit="UTF8_CHAR"))
    return tf.cast(tf.strings.to_hash_bucket_fast(tf.stack(texts, axis=1), buckets), tf.int32) + 1


def choose_wide_buckets(word_counts: Sequence[int]) -> int:
    """Return how many rows suit words of such counts: each has features of its own and shares others.

    >>> [choose_wide_buckets([2] * words) for words in (10, 1_000, 20_000)]
    [2000, 6000, 60000]
    """
    return min(max(6 * sum(count > 0 for count in word_counts), 2_000), 60_000)


class CharacterVocabulary:
    """Characters' ids in graph: 0 padding, known ones, the last one all others.

    Args:
      known: characters, none twice.
    """

    def __init__(self, known: Sequence[str]):
        self.known = list(known)
        self.size = FIRST + len(known) + 1
        codes = tf.constant([ord(character) for character in known] or [0], tf.int32)
        ids = tf.range(FIRST, FIRST + len(codes), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(codes, ids), self.size - 1)

    def named_axis(self) -> NamedAxis:
        """Return what the rows of a table by id stand for."""
        return NamedAxis(["padding", *self.known, "others"], init_new_from="others")

    def lookup(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return ids of each word's first and last characters, int32 [words, CHARACTERS]."""
        codes = tf.strings.unicode_decode(tokens, "UTF-8")
        codes = trim_middle(codes, CHARACTERS)
        return codes.with_values(self.table.lookup(codes.values)).to_tensor(shape=[None, CHARACTERS])


class TokenEncoder:
    """Model inputs of tokens, in graph.

    Args:
      wide_buckets: rows of hashed features in the wide branch; 0 for no such branch.
    """

    def __init__(
        self, vocabulary: Vocabulary, affixes: AffixHasher, characters: CharacterVocabulary, wide_buckets: int
    ):
        self.vocabulary, self.affixes, self.characters = vocabulary, affixes, characters
        self.wide_buckets = wide_buckets

    def encode(self, tokens: tf.RaggedTensor) -> Batch:
        """Return words, affixes, shapes, characters and what the wide branch takes, ragged [batch, (tokens), ...]."""
        # Each different token is looked at once.
        flat, places = tf.unique(tokens.values)
        normal = normalize_words(flat)
        ids = self.vocabulary.lookup(tf.RaggedTensor.from_row_lengths(normal, [tf.size(normal)]))
        affixes = self.affixes.lookup(ids.with_values(normal), ids).values
        inputs = {"words": ids.values, "affixes": tf.cast(affixes, tf.uint16)}
        inputs["shapes"] = tf.cast(hash_word_shapes(flat), tf.uint16)
        inputs["characters"] = tf.cast(self.characters.lookup(flat), tf.uint16)
        if self.wide_buckets:
            inputs["linear"] = tf.cast(hash_linear_features(flat, normal, self.wide_buckets), tf.uint16)
        return {name: tokens.with_values(tf.gather(values, places)) for name, values in inputs.items()}
