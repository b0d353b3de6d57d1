"""Placeholders and markup as single characters, in graph: what a translation must hold as its source does.

%(name)s, {0}, <b> and the like become characters of Unicode's private use area, numbered by the order in which
different ones first stand in the source: "%(n)s of %(m)s" is "\\ue000 of \\ue001". So no network has to spell them, and
each comes back letter for letter. Core TensorFlow ops only, for any server.
"""

from __future__ import annotations

import tensorflow as tf

from common.text.subwords import text_to_piece

MARKS = 16  # different placeholders of a text that are marked; further ones stay as they are
FIRST = 0xE000
_MARKS = [chr(FIRST + number) for number in range(MARKS)]
AS_PIECES = [
    text_to_piece(before + mark) for before in ("", " ") for mark in _MARKS
]  # of a vocabulary that never saw any
_MARK = f"[\\x{{{FIRST:x}}}-\\x{{{FIRST + MARKS - 1:x}}}]"
_CUT = b"\xff"  # no valid UTF-8 holds this byte
# RE2 cannot look behind, so that this finds a little more than `common.text.pair_filter.find_placeholders` does. That
# harms nothing, for whatever is marked comes back.
_SPAN = "|".join(
    (
        r"%%",
        r"%\([^()\s]+\)[-+#0]*\d*(?:\.\d+)?[a-zA-Z]",
        r"%\d+\$[-+#0]*\d*(?:\.\d+)?[a-zA-Z@]",
        r"%[+#0]?\d*(?:\.\d+)?(?:hh?|ll?|z)?[sdfgxXuc@]",
        r"\{\{\s*[\w.$-]+\s*\}\}",
        r"\{[\w.\[\]]*(?:![rsa])?(?::[^{}\s]*)?\}",
        r"</?(?:[A-Za-z][\w:.-]*|[0-9]+)(?:\s[^<>]*)?/?>",
    )
)


def mask_placeholders(texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
    """Return (texts with marks, string [batch]; what the marks of each stand for, string [batch, (different ones)]).

    Bytes that are no UTF-8 become the replacement character.

    >>> text, kept = mask_placeholders(tf.constant(["{0} of <b>{1}</b>, {0}"]))
    >>> text.numpy()[0].decode().encode("unicode_escape"), kept.to_list()
    (b'\\\\ue000 of \\\\ue001\\\\ue002\\\\ue003, \\\\ue000', [[b'{0}', b'<b>', b'{1}', b'</b>']])
    """
    parts, places, rows = _split_at(texts, _SPAN)
    keys, _ = tf.unique(_make_keys(rows, tf.gather(parts.values, places)))
    both = tf.reshape(tf.strings.split(keys, _CUT).values, [-1, 2])
    owners = tf.strings.to_number(both[:, 0], tf.int64)
    originals = tf.RaggedTensor.from_value_rowids(both[:, 1], owners, parts.nrows(), validate=False)
    return _put_marks(parts, places, rows, originals), originals


def mask_like(texts: tf.Tensor, originals: tf.RaggedTensor) -> tf.Tensor:
    """Return other texts with the marks of those whose placeholders were kept; what these lack stays as it is.

    >>> _, kept = mask_placeholders(tf.constant(["{0} of {1}"]))
    >>> mask_like(tf.constant(["{1}: {0} {2}"]), kept).numpy()[0].decode().encode("unicode_escape")
    b'\\\\ue001: \\\\ue000 {2}'
    """
    return _put_marks(*_split_at(texts, _SPAN), originals)


def restore_placeholders(texts: tf.Tensor, originals: tf.RaggedTensor) -> tf.Tensor:
    """Return texts with what their marks stand for.

    >>> text, kept = mask_placeholders(tf.constant(["{0} of {1}"]))
    >>> restore_placeholders(text, kept).numpy().tolist()
    [b'{0} of {1}']
    """
    parts, places, rows = _split_at(texts, _MARK)
    marks = tf.gather(parts.values, places)
    numbers = tf.cast(tf.argmax(tf.cast(marks[:, None] == tf.constant(_MARKS), tf.int32), axis=1), tf.int64)
    known = numbers < tf.gather(originals.row_lengths(), rows)
    at = tf.where(known, tf.gather(originals.row_starts(), rows) + numbers, 0)
    texts_of_marks = tf.gather(tf.concat([originals.values, [""]], axis=0), at)
    return _replace_parts(parts, places, tf.where(known, texts_of_marks, marks))


def count_marks(texts: tf.Tensor) -> tf.Tensor:
    """Return how often each mark stands in each text, int32 [batch, MARKS]."""
    parts, places, rows = _split_at(texts, _MARK)
    same = tf.cast(tf.gather(parts.values, places)[:, None] == tf.constant(_MARKS), tf.int32)
    return tf.math.unsorted_segment_sum(same, rows, parts.nrows())


def marks_in_piece(piece: bytes) -> list[int]:
    """Return how often each mark stands in the bytes of a piece of text.

    >>> sum(marks_in_piece(" \ue001 \ue001".encode())), marks_in_piece("\ue001".encode())[:3]
    (2, [0, 1, 0])
    """
    return [piece.count(mark.encode()) for mark in _MARKS]


def _split_at(texts: tf.Tensor, pattern: str) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
    """(parts [batch, (parts)] of which every other one fits the pattern, the places of these in all, their rows)."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
    parts = tf.strings.split(tf.strings.regex_replace(texts, pattern, _CUT + rb"\0" + _CUT), _CUT)
    rows = parts.value_rowids()
    inside = tf.range(tf.size(rows, tf.int64)) - tf.gather(parts.row_starts(), rows)
    places = tf.where(inside % 2 == 1)[:, 0]
    return parts, places, tf.gather(rows, places)


def _make_keys(rows: tf.Tensor, spans: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([tf.strings.as_string(rows), spans], _CUT)


def _put_marks(parts: tf.RaggedTensor, places: tf.Tensor, rows: tf.Tensor, originals: tf.RaggedTensor) -> tf.Tensor:
    spans = tf.gather(parts.values, places)
    owners = originals.value_rowids()
    # What was kept is different from each other, so that it is found where it first stands.
    _, first = tf.unique(tf.concat([_make_keys(owners, originals.values), _make_keys(rows, spans)], axis=0), tf.int64)
    of = first[tf.size(owners) :]
    numbers = of - tf.gather(originals.row_starts(), rows)
    known = tf.logical_and(of < tf.size(owners, tf.int64), numbers < MARKS)
    marks = tf.gather(tf.constant(_MARKS), tf.where(known, numbers, 0))
    return _replace_parts(parts, places, tf.where(known, marks, spans))


def _replace_parts(parts: tf.RaggedTensor, places: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The parts joined, with other ones in some places."""
    changed = tf.tensor_scatter_nd_update(parts.values, places[:, None], values)
    return tf.strings.reduce_join(parts.with_values(changed), axis=1)
