"""Decoding in which some things come as often as they should, such as the placeholders of what is translated."""

from __future__ import annotations

import tensorflow as tf

from common.modeling.decoding.ops import NEVER, Nest, Step

MISSING_PENALTY = 20.0  # nats by which an end becomes less likely for each thing that has not come


def constrain_step(step: Step, state: Nest, held: tf.Tensor, owed: tf.Tensor, end: int) -> tuple[Step, Nest]:
    """Return (a step that heeds what is owed, its state), for any of the loops of decoding.

    A token that holds more of a thing than is still owed cannot come. Where something is missing, an end gives its
    probability to the tokens that hold it, by their probabilities: so what the model finds no place for comes at the
    end, rather than that it goes on with other words until it may end (which is what it does if ends are forbidden
    alone).

    Args:
      step, state: see common/modeling/decoding/ops.py.
      held: float32 [vocabulary, things], how many of each thing a token holds.
      owed: float32 [rows, things], how many of each are to come.
      end: the token that ends a hypothesis.
    """
    # What no token holds, the model can only spell, unseen: that cannot be asked for.
    owed = tf.where(tf.reduce_any(held > 0, axis=0), owed, 0.0)
    # A token that holds a thing twice is taken for one that holds it once: there is hardly one.
    holds = tf.minimum(held, 1.0)
    is_end = tf.one_hot(end, tf.shape(held)[0])

    def constrained_step(
        state: tuple[Nest, tf.Tensor], tokens: tf.Tensor, position: tf.Tensor, *memory: Nest
    ) -> tuple[Nest, ...]:
        inner, remaining = state
        remaining -= tf.gather(held, tokens)
        inner, logits, *attention = step(inner, tokens, position, *memory)
        logits = tf.cast(logits, tf.float32)
        due = tf.cast(remaining >= 1, tf.float32)  # [rows, things]
        allowed = tf.matmul(1 - due, holds, transpose_b=True) == 0  # [rows, vocabulary]
        wanted = tf.logical_and(allowed, tf.matmul(due, holds, transpose_b=True) > 0)
        logits = tf.where(allowed, logits, NEVER)
        wanted_logits = tf.where(wanted, logits, NEVER)
        any_wanted = tf.reduce_max(wanted_logits, axis=1, keepdims=True) > NEVER
        log_sum = tf.where(any_wanted, tf.reduce_logsumexp(wanted_logits, axis=1, keepdims=True), 0.0)
        from_end = logits[:, end, None] + wanted_logits - log_sum
        logits = tf.where(wanted, tf.reduce_logsumexp(tf.stack([logits, from_end]), axis=0), logits)
        missing = tf.reduce_sum(tf.maximum(remaining, 0.0), axis=1, keepdims=True)
        # Not never, for a hypothesis must end somewhere even if the model cannot say what is missing.
        return (inner, remaining), logits - MISSING_PENALTY * missing * is_end, *attention

    return constrained_step, (state, owed)
