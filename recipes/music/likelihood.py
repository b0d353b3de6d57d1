"""How likely frames are, note by note."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.music.frame_tokens import FRAME, PADDING
from common.types import Batch

from .layers import pitches_in_frame


def token_log_probs(model: keras.Model, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (places int64 [tokens, 3], log probabilities in nats [tokens]) of all tokens
    of a batch.

    Args:
      outputs: of the model.

    Returns: the places in the grid: piece, frame, slot.
    """
    grid = outputs["grid"]
    shape = tf.shape(grid, tf.int64)
    places = tf.where(grid != PADDING)
    rows = places[:, 0] * shape[1] + places[:, 1]
    states = tf.gather_nd(outputs["states"], tf.stack([rows, places[:, 2]], axis=1))
    above = tf.gather_nd(tf.pad(grid, [[0, 0], [0, 0], [1, 0]]), places)
    heard = tf.gather_nd(tf.pad(pitches_in_frame(grid), [[0, 0], [1, 0], [0, 0]]), places[:, :2])
    scores = model.get_layer("slots").scores(states, above, heard)
    wanted = tf.gather_nd(grid, places)
    return places, -tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, scores)


def score_frames(model: keras.Model, features: Batch) -> dict[str, tf.Tensor]:
    """Return how likely pieces are, in their own key, each frame given those before it.

    Args:
      features: frames int32 [batch, time], tokens padded with 0; bar and key int32 [batch].

    Returns: nll float32 [batch], negative log-likelihood in nats of all frames; notes int32 [batch], those of all
      frames; correct and either int32 [batch], notes that both the frames and the model's choices for them hold, and
      that either does.
    """
    frames = features["frames"]
    outputs = model(features, training=False)
    places, log_probs = token_log_probs(model, outputs)
    steps = tf.reduce_sum(tf.cast(frames == FRAME, tf.int32), axis=1)
    real = tf.range(tf.shape(outputs["grid"])[1])[None] < steps[:, None]
    heard = pitches_in_frame(outputs["grid"])
    guessed = pitches_in_frame(greedy_frames(model, outputs)) & real[..., None]

    def count(notes: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(notes, tf.int32), axis=[1, 2])

    return {
        "nll": -tf.math.unsorted_segment_sum(log_probs, places[:, 0], tf.shape(frames, tf.int64)[0]),
        "notes": count(heard),
        "correct": count(heard & guessed),
        "either": count(heard | guessed),
    }


def greedy_frames(model: keras.Model, outputs: Batch) -> tf.Tensor:
    """Return the likeliest notes of each frame, chosen one by one, given the true frames before it.

    Args:
      outputs: of the model.

    Returns: tokens int32 [batch, frames, slots].
    """
    grid, context = outputs["grid"], outputs["context"]
    slots, cell = model.get_layer("slots"), model.get_layer("note_lstm").cell
    batch, frames, slots_used = tf.unstack(tf.shape(grid))
    rows = batch * frames
    before = tf.reshape(tf.pad(grid, [[0, 0], [1, 0], [0, 2]])[:, :-1], [rows, slots_used + 2])
    heard = tf.reshape(tf.pad(pitches_in_frame(grid), [[0, 0], [1, 0], [0, 0]])[:, :-1], [rows, -1])
    flat = tf.reshape(context, [rows, 1, context.shape[-1]])
    zeros = tf.zeros([rows, cell.units], context.dtype)

    def choose(
        slot: tf.Tensor, above: tf.Tensor, going: tf.Tensor, state: tf.Tensor, carry: tf.Tensor, chosen: tf.TensorArray
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        beside, below = before[:, slot : slot + 1], before[:, slot + 1 : slot + 2]
        vectors = slots.vectors(above[:, None], beside, below, slot[None, None], flat)[:, 0]
        output, carried = cell(vectors, [state, carry])
        token = tf.math.top_k(slots.scores(output, above, heard), 1).indices[:, 0]
        token = tf.where(going, token, PADDING)
        return slot + 1, token, going & (token != FRAME), carried[0], carried[1], chosen.write(slot, token)

    tokens = tf.TensorArray(tf.int32, slots_used, element_shape=[None])
    begin = (tf.constant(0), tf.zeros([rows], tf.int32), tf.ones([rows], tf.bool), zeros, zeros, tokens)
    chosen = tf.while_loop(lambda slot, *_: slot < slots_used, choose, begin, parallel_iterations=1)[-1]
    return tf.reshape(tf.transpose(chosen.stack()), [batch, frames, slots_used])
