"""Subwords in graph: texts as ids of pieces, and back byte for byte. Core TensorFlow ops only, for any server.

A text is first cut into stretches: words with the blank before them, numbers, punctuation. Each stretch is then the
longest piece that it begins with, the longest that the rest begins with, and so on (WordPiece, on bytes). All single
bytes are pieces, so nothing is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from common.errors import ConfigError, RunError
from common.runtime.parallel import parallel_map
from common.text.vocabulary import to_utf8_bytes
from common.types import NamedAxis

PADDING, START, END = 0, 1, 2  # ids before those of pieces
LONGEST = 64  # characters of a stretch: without an end, the work on a text without blanks would be quadratic

FIRST = 3  # id of a piece
_CUT = b"\xff"  # stands after every stretch; no valid UTF-8 holds this byte, and no pattern matches it
_BLANK = r"\p{Z}\p{Cc}"  # every blank, line end and control character

# Of several blanks, the last belongs to the word after them.
_BLANKS = rf"([{_BLANK}]+) "
# Each character is in one of these. Syntax is RE2's.
_STRETCH = "|".join(
    (
        # With the joiners of Persian and Hindi. The apostrophe is for l'été and dell'arte; don't and man's lose little.
        r" ?\p{L}[\p{L}\p{M}\x{200c}\x{200d}]*['’]?",
        r" ?\p{N}{1,3}",  # so that long numbers are spelt alike wherever they stand
        rf" ?[^\p{{L}}\p{{N}}{_BLANK}]+",  # punctuation and pictures
        rf"[{_BLANK}]+",
    )
)
_BATCH = 1000  # texts
_BEGINNING = 4  # bytes

# A byte as one character that can be seen, as in GPT-2: itself where it can be, else one from 256 on.
_SEEN = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_UNSEEN = [byte for byte in range(256) if byte not in _SEEN]
_SYMBOLS = {byte: chr(byte if byte in _SEEN else 256 + _UNSEEN.index(byte)) for byte in range(256)}
_BYTES = {symbol: byte for byte, symbol in _SYMBOLS.items()}


def train_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Return the pieces of a vocabulary in the order of their ids: single bytes, then others, the most frequent first.

    Each is a string of visible characters, one for each byte, as GPT-2 writes them. The same texts give the same
    pieces. Few texts give fewer than `size` ids, for what occurs once becomes no piece.

    Args:
      texts: read once, not held in memory; their distinct stretches are.
      size: how many ids there may be, PADDING, START and END among them.

    Raises:
      ConfigError: there is no room for the single bytes.

    >>> train_vocabulary(["low lower lowest"] * 2, 3 + 256 + 3)[256:]
    ['lo', 'low', 'Ġlow']
    """
    if size < FIRST + 256:
        raise ConfigError(f"a vocabulary of {size} subwords is too small: it must be at least {FIRST + 256}")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def cut(batch: tf.Tensor) -> tf.Tensor:
        return _mark_cuts(batch)

    # The trainer, too, is to see the cuts that are made in graph: as blanks, which stand for no byte.
    seen = {**_SYMBOLS, _CUT[0]: " "}

    def symbols(batch: Sequence[str]) -> list[str]:
        marked = cut(tf.constant([to_utf8_bytes(text) for text in batch], tf.string)).numpy().tolist()
        return [text.decode("latin-1").translate(seen) for text in marked]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=size - FIRST, min_frequency=2, initial_alphabet=list(_BYTES), show_progress=False
    )
    tokenizer.train_from_iterator(parallel_map(symbols, _batch_texts(texts)), trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=lambda piece: ids[piece])


def split_target_pieces(
    pieces: Sequence[str], texts: Iterable[str], always: Iterable[str] = ()
) -> tuple[list[str], int]:
    """Return the same pieces, first those that stand in the texts, and how many these are: what a model has to write.

    Of these alone, texts become the same pieces as of all: the longest that the rest begins with is among them. Other
    texts may become more.

    Args:
      pieces: as `train_vocabulary` gives them.
      texts: read once.
      always: pieces that come first, too, if they are there. Single bytes do in any case.

    >>> split_target_pieces([*_BYTES, "lo", "wer", "low"], ["low", "wer"])[0][256:]
    ['wer', 'low', 'lo']
    >>> split_target_pieces([*_BYTES, "lo"], [])[1]
    256
    """
    known = SubwordTokenizer(pieces)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def distinct(batch: tf.Tensor) -> tf.Tensor:
        return tf.unique(known.encode(batch).values)[0]

    def ids(batch: Sequence[str]) -> list[int]:
        return distinct(tf.constant([to_utf8_bytes(text) for text in batch], tf.string)).numpy().tolist()

    used = {pieces[id - FIRST] for batch_ids in parallel_map(ids, _batch_texts(texts)) for id in batch_ids}
    used |= {*_BYTES, *always}
    return sorted(pieces, key=lambda piece: piece not in used), sum(piece in used for piece in pieces)


def text_to_piece(text: str) -> str:
    """Return a text as one piece of a vocabulary.

    >>> text_to_piece(" low")
    'Ġlow'
    """
    return "".join(_SYMBOLS[byte] for byte in text.encode("utf-8"))


def _batch_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def pretokenize(texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the stretches of each text, [batch, (stretches)]; joined, they are the text. No piece goes beyond one.

    Bytes that are no UTF-8 become the replacement character.

    >>> pretokenize(tf.constant(["Nimm  %(zahl)s von 12345, l'été!"])).to_list()[0][:8]
    [b'Nimm', b' ', b' %(', b'zahl', b')', b's', b' von', b' 123']
    """
    parts = tf.strings.split(_mark_cuts(texts), _CUT)  # some are empty
    # On flat values: tf.ragged.boolean_mask takes ten times as long.
    filled = tf.where(parts.values != "")[:, 0]
    rows = tf.gather(parts.value_rowids(), filled)
    return tf.RaggedTensor.from_value_rowids(tf.gather(parts.values, filled), rows, parts.nrows(), validate=False)


def _mark_cuts(texts: tf.Tensor) -> tf.Tensor:
    """Texts as valid UTF-8, but for a cut after every stretch; two cuts may follow each other."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
    texts = tf.strings.regex_replace(texts, _BLANKS, rb"\1" + _CUT + b" ")
    texts = tf.strings.regex_replace(texts, _STRETCH, rb"\0" + _CUT)
    return tf.strings.regex_replace(texts, f"(?s).{{{LONGEST}}}", rb"\0" + _CUT)


def _make_table(pairs: dict[bytes, int], default: int) -> tf.lookup.StaticHashTable:
    keys, values = tf.constant(list(pairs), tf.string), tf.constant(list(pairs.values()), tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)


def known_word_fraction(words: Sequence[str], pieces: Iterable[str]) -> float:
    """Return the share of words that are a piece as they are, alone or after a blank; 1 where there are no words.

    >>> known_word_fraction(["the", "cat"], ["t", "the", "\u0120dog"]), known_word_fraction(["dog"], ["\u0120dog"])
    (0.5, 1.0)
    """
    known = set(pieces)
    spelt = ["".join(_SYMBOLS[byte] for byte in f" {word}".encode("utf-8", "replace")) for word in words]
    return sum(piece in known or piece[1:] in known for piece in spelt) / len(spelt) if spelt else 1.0


class SubwordTokenizer:
    """Ids of subwords in graph, and texts out of ids.

    Ids: 0 padding, 1 the start of a text, 2 its end, then the pieces.

    Args:
      pieces: as `train_vocabulary` gives them, all single bytes among them.

    Raises:
      RunError: a single byte is missing, or a piece is there twice or holds what stands for no byte.
    """

    def __init__(self, pieces: Sequence[str]):
        self.pieces = list(pieces)
        strange = sorted({symbol for piece in pieces for symbol in piece} - _BYTES.keys())
        if strange or "" in pieces:
            raise RunError(f"each piece of a vocabulary is symbols for bytes, but some are empty or hold {strange[:5]}")
        if missing := _BYTES.keys() - set(pieces):
            raise RunError(f"a vocabulary of subwords must hold all 256 single bytes, but {len(missing)} are missing")
        if len(set(pieces)) < len(pieces):
            raise RunError("a piece is twice in the vocabulary of subwords")
        self.raw = [b""] * FIRST + [bytes(_BYTES[symbol] for symbol in piece) for piece in pieces]  # by id
        self.table = _make_table(dict(zip(self.raw[FIRST:], range(FIRST, len(self)), strict=True)), PADDING)
        # How long a piece can be, by its beginning: few of the sizes that there are need to be tried.
        by_beginning: dict[bytes, int] = {}
        for raw in self.raw[FIRST:]:
            by_beginning[raw[:_BEGINNING]] = max(len(raw), by_beginning.get(raw[:_BEGINNING], 0))
        self.reach = _make_table(by_beginning, _BEGINNING - 1)

    def named_axis(self) -> NamedAxis:
        """Return what the rows of a table by id stand for."""
        return NamedAxis(["no piece", "start of a text", "end of a text", *self.pieces])

    def __len__(self) -> int:
        """How many ids there are, PADDING, START and END among them."""
        return len(self.raw)

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Return ids of each text's pieces, int32 [batch, (pieces)], without START and END.

        Bytes that are no UTF-8 become the replacement character.

        Args:
          texts: string [batch].
        """
        parts = pretokenize(texts)
        distinct, places = tf.unique(parts.values)  # most stretches of a batch occur again and again
        ids = tf.gather(self._segment(distinct), places)  # [stretches, (pieces)]
        return tf.RaggedTensor.from_row_splits(
            ids.values, tf.gather(ids.row_splits, parts.row_splits), validate=False
        )  # [batch, (pieces)]

    def _segment(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Ids of the longest pieces from the left, int32 [strings, (pieces)]; no string is empty."""

        def take(
            rest: tf.Tensor, rows: tf.Tensor, ids: tf.Tensor, owners: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            """Return one more piece of each string of which there is a rest."""
            start, sizes = tf.zeros_like(rows), tf.strings.length(rest)
            reach = self.reach.lookup(tf.strings.substr(rest, start, tf.minimum(sizes, _BEGINNING)))
            most = tf.minimum(sizes, reach)
            tried = tf.ragged.range(1, most + 1)  # [rest, (sizes)]
            of = tried.value_rowids()
            heads = tf.gather(tf.strings.substr(rest, start, most), of)
            known = self.table.lookup(tf.strings.substr(heads, tf.zeros_like(tried.values), tried.values))
            taken = tf.math.segment_max(tf.where(known != PADDING, tried.values, 0), of)  # at least 1: bytes are pieces
            ids = tf.concat((ids, self.table.lookup(tf.strings.substr(rest, start, taken))), axis=0)
            owners = tf.concat((owners, rows), axis=0)
            left = tf.where(sizes > taken)[:, 0]
            sizes, taken = tf.gather(sizes, left), tf.gather(taken, left)
            return tf.strings.substr(tf.gather(rest, left), taken, sizes - taken), tf.gather(rows, left), ids, owners

        count = tf.size(strings)
        none = tf.zeros([0], tf.int32)
        _, _, ids, owners = tf.while_loop(
            lambda rest, *_: tf.size(rest) > 0,
            take,
            (strings, tf.range(count), none, none),
            shape_invariants=(tf.TensorShape([None]),) * 4,
        )
        order = tf.argsort(owners, stable=True)  # pieces of one string stay in the order in which they were taken
        owners = tf.cast(tf.gather(owners, order), tf.int64)
        return tf.RaggedTensor.from_value_rowids(
            tf.gather(ids, order), owners, tf.cast(count, tf.int64), validate=False
        )

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the text of each row of ids up to its first END, string [batch], always valid UTF-8.

        PADDING and START count for nothing. Bytes that together are no UTF-8 become the replacement character.

        Args:
          ids: int32 [batch, time].
        """
        ended = tf.cumsum(tf.cast(ids == END, tf.int32), axis=1) > 0
        raw = tf.gather(tf.constant(self.raw, tf.string), tf.where(ended, PADDING, ids))  # [batch, time]
        return tf.strings.unicode_transcode(tf.strings.reduce_join(raw, axis=1), "UTF-8", "UTF-8")
