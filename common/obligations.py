"""Decoding in which some things come as often as they should, such as the placeholders of what is translated."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from common.decode import NEVER, Step

MISSING = 20.0  # nats by which an end becomes less likely for each thing that has not come


def obliged(step: Step, state: Any, held: tf.Tensor, owed: tf.Tensor, end: int) -> tuple[Step, Any]:
    """(a step that heeds what is owed, its state), for any of the loops of common/decode.py.

    A token that holds more of a thing than is still owed cannot come. Where something is missing, an end gives its
    probability to the tokens that hold it, by their shares: so what the model finds no place for comes at the end,
    rather than that it goes on with other words until it may end (which is what it does if ends are forbidden alone).

    Args:
      step, state: see common/decode.py.
      held: float32 [vocabulary, things], how many of each thing a token holds.
      owed: float32 [rows, things], how many of each are to come.
      end: the token that ends a hypothesis.
    """
    # What no token holds, the model can only spell, unseen: that cannot be asked for.
    owed = tf.where(tf.reduce_any(held > 0, axis=0), owed, 0.0)
    # A token that holds a thing twice is taken for one that holds it once: there is hardly one.
    holds = tf.minimum(held, 1.0)
    ends = tf.one_hot(end, tf.shape(held)[0])

    def heeding(state: Any, tokens: tf.Tensor, position: tf.Tensor, *more: Any) -> tuple[Any, ...]:
        inner, left = state
        left -= tf.gather(held, tokens)
        inner, logits, *attention = step(inner, tokens, position, *more)
        logits = tf.cast(logits, tf.float32)
        due = tf.cast(left >= 1, tf.float32)  # [rows, things]
        allowed = tf.matmul(1 - due, holds, transpose_b=True) == 0  # [rows, vocabulary]
        wanted = tf.logical_and(allowed, tf.matmul(due, holds, transpose_b=True) > 0)
        logits = tf.where(allowed, logits, NEVER)
        of_wanted = tf.where(wanted, logits, NEVER)
        some = tf.reduce_max(of_wanted, axis=1, keepdims=True) > NEVER
        total = tf.where(some, tf.reduce_logsumexp(of_wanted, axis=1, keepdims=True), 0.0)
        given = logits[:, end, None] + of_wanted - total
        logits = tf.where(wanted, tf.reduce_logsumexp(tf.stack([logits, given]), axis=0), logits)
        missing = tf.reduce_sum(tf.maximum(left, 0.0), axis=1, keepdims=True)
        # Not never, for a hypothesis must end somewhere even if the model cannot say what is missing.
        return (inner, left), logits - MISSING * missing * ends, *attention

    return heeding, (state, owed)
