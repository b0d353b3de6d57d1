"""What a word shows: its normal form, shape, affixes and characters; in graph, core TensorFlow operations only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from common.data.encoding import ENCODE_BATCH, in_batches
from common.errors import DataError
from common.text.vocabulary import counted, ends, lowered
from common.types import Axis, Source

CHARACTERS = 20  # of a word that are looked at, half of them from its end
SHAPES = 500  # hashed shapes
LINEAR = 12  # features of a word in the linear part
FIRST = 1  # the id of the first known character; 0 is padding


def normal(tokens: tf.Tensor) -> tf.Tensor:
    """Words as they are looked up: lower case, digits 0.

    >>> normal(tf.constant(["Paris", "1996-08-22"])).numpy().tolist()
    [b'paris', b'0000-00-00']
    """
    return tf.strings.regex_replace(lowered(tokens), r"\p{Nd}", "0")


@dataclass
class TokenCounts:
    """How often training sentences hold each word in its normal form, each character and each type of entity."""

    words: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    sentences: int = 0


def count_tokens(source: Source) -> TokenCounts:
    """Count words, characters, types of entities and sentences in one pass.

    Raises:
      DataError: there is no entity.
    """
    counts = TokenCounts()

    def tokens() -> Iterator[list[str]]:
        for batch in in_batches(source, ENCODE_BATCH):
            counts.sentences += len(batch)
            for example in batch:
                counts.types.update(tag[2:] for tag in example["tags"] if tag.startswith("B-"))
                for token in example["tokens"]:
                    counts.characters.update(token)
            yield [token for example in batch for token in example["tokens"]]

    counts.words = counted(tokens(), words=normal)
    if not counts.types:
        broken = source.problems.summary()
        raise DataError(f"{source.name}: there is no entity to learn from.{broken} Give more --data.")
    return counts


def shapes(tokens: tf.Tensor) -> tf.Tensor:
    """Hashed shapes, int32 from 1: X capital, x letter, d digit, else the character; runs end after four.

    >>> shapes(tf.constant(["Paris"])).numpy() == shapes(tf.constant(["London"])).numpy()
    array([ True])
    """
    return tf.cast(tf.strings.to_hash_bucket_fast(_shape(tokens, 4), SHAPES), tf.int32) + 1


def _shape(tokens: tf.Tensor, most: int) -> tf.Tensor:
    for pattern, sign in ((r"\p{Lu}", "X"), (r"[\p{Ll}\p{Lo}\p{Lm}]", "x"), (r"\p{N}", "d")):
        tokens = tf.strings.regex_replace(tokens, pattern, sign)
    for sign in "Xxd":
        tokens = tf.strings.regex_replace(tokens, f"{sign}{{{most},}}", sign * most)
    return tokens


def linear(tokens: tf.Tensor, normal: tf.Tensor, buckets: int) -> tf.Tensor:
    """Hashed features of each word for the linear part, int32 [words, LINEAR] from 1.

    The word, its normal form, its shape and the short form of its shape, and its beginnings and ends.
    """
    short = _shape(tokens, 1)
    length = tf.strings.length(normal, unit="UTF8_CHAR")
    start = tf.zeros_like(length)
    found = ["w" + tokens, "n" + normal, "s" + _shape(tokens, 4), "t" + short]
    for size in (1, 2, 3, 4):
        kept = tf.minimum(length, size)
        found.append(f"{size}<" + tf.strings.substr(normal, start, kept, unit="UTF8_CHAR"))
        found.append(f"{size}>" + tf.strings.substr(normal, length - kept, kept, unit="UTF8_CHAR"))
    return tf.cast(tf.strings.to_hash_bucket_fast(tf.stack(found, axis=1), buckets), tf.int32) + 1


class CharacterIds:
    """Characters' ids in graph: 0 padding, known ones, the last one all others.

    Args:
      known: characters, none twice.
    """

    def __init__(self, known: Sequence[str]):
        self.known = list(known)
        self.size = FIRST + len(known) + 1
        codes = tf.constant([ord(one) for one in known] or [0], tf.int32)
        ids = tf.range(FIRST, FIRST + len(codes), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(codes, ids), self.size - 1)

    def axis(self) -> Axis:
        """What the rows of a table by id stand for."""
        return Axis(["padding", *self.known, "others"], like="others")

    def ids(self, tokens: tf.Tensor) -> tf.Tensor:
        """Ids of each word's first and last characters, int32 [words, CHARACTERS]."""
        codes = tf.strings.unicode_decode(tokens, "UTF-8")
        codes = ends(codes, CHARACTERS)
        return codes.with_values(self.table.lookup(codes.values)).to_tensor(shape=[None, CHARACTERS])
