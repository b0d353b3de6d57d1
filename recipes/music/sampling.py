"""Pieces drawn from the model, token by token, for `common.modeling.decoding.sampling`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from common.modeling.decoding.sampling import SamplingConfig, sample
from common.music.frame_tokens import FRAME, PADDING, STRUCK, grid, pitches

from .config import Config
from .layers import NEVER, sounding

END = PADDING  # of a piece; within one it cannot come


@dataclass(frozen=True)
class Wish:
    """What is asked for, each [batch].

    Args:
      prompt: int32 [batch, tokens], whole frames, with which the piece begins; padded with 0.
      steps: int32, frames of the whole piece; the prompt has no more.
      temperature, top_p: float32; top_k: int32; see `common.modeling.decoding.sampling.SamplingConfig`.
      seed: int32.
      key, bar: int32, 0 for any.
      voices: int32, the most notes of a frame after the prompt.
      low, high: int32, the range of notes after the prompt.
    """

    prompt: tf.Tensor
    steps: tf.Tensor
    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    seed: tf.Tensor
    key: tf.Tensor
    bar: tf.Tensor
    voices: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor


def drawn(config: Config, model: keras.Model, wish: Wish) -> tf.Tensor:
    """Tokens of the pieces, int32 [batch, time], 0 after each one's end."""
    batch = tf.shape(wish.steps)[0]
    given = tf.reduce_sum(tf.cast(wish.prompt != PADDING, tf.int32), axis=1)
    begun = tf.reduce_sum(tf.cast(wish.prompt == FRAME, tf.int32), axis=1)
    longest = given + tf.maximum(wish.steps - begun, 0) * (wish.voices + 1)
    stepper = Stepper(config, model, wish)
    sampling = SamplingConfig(
        start=PADDING,
        end=END,
        max_length=longest,
        seed=tf.stack([wish.seed, tf.zeros_like(wish.seed)], axis=1),
        temperature=wish.temperature,
        top_k=wish.top_k,
        top_p=wish.top_p,
    )
    return sample(stepper, stepper.state, batch, sampling).tokens[:, 0]


class Stepper:
    """The model token by token.

    Its state: of the LSTMs over frames; what they say of the present frame; of the LSTM over its notes; the tokens of
    the frame before, and those of this one so far; how many these are, and how many frames are done.
    """

    def __init__(self, config: Config, model: keras.Model, wish: Wish):
        self.config, self.wish = config, wish
        self.frames, self.slots = model.get_layer("frames_before"), model.get_layer("slots")
        self.stack = [model.get_layer(f"frame_lstm_{number}").cell for number in range(1, config.layers + 1)]
        self.notes = model.get_layer("note_lstm").cell
        self.prompt = tf.pad(wish.prompt, [[0, 0], [0, 1]])
        self.given = tf.reduce_sum(tf.cast(wish.prompt != PADDING, tf.int32), axis=1)
        batch = tf.shape(wish.steps)[0]
        # A place for each note of the fullest frame, for its end, and one that is always empty.
        most = tf.reduce_max(tf.concat([wish.voices + 1, [1]], axis=0))
        self.width = tf.maximum(most, tf.shape(grid(wish.prompt))[2]) + 1
        kind = self.frames.compute_dtype
        nothing = tf.zeros([batch, config.units], kind)
        inside = tf.zeros([batch, config.note_units], kind)
        zeros = tf.zeros([batch], tf.int32)
        none = tf.zeros([batch, self.width], tf.int32)
        first = tf.cast(self.frames.start.value + self.frames.about(zeros, wish.bar, wish.key), kind)
        context, states = self._read(first, [[nothing, nothing] for _ in self.stack])
        self.state = (states, context, [inside, inside], none, none, zeros, zeros)

    def _read(self, vectors: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
        """(what the LSTMs over frames say, their states) after one more vector, [batch, units]."""
        kept = []
        for cell, state in zip(self.stack, states, strict=True):
            new, carried = cell(vectors, state)
            vectors += new
            kept.append(list(carried))
        return vectors, kept

    def __call__(self, state: Any, tokens: tf.Tensor, position: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """(state, logits [rows, tokens]) after the last tokens, int32 [rows]."""
        states, context, inside, before, now, slot, frame = state
        ended = tokens == FRAME
        now = tf.where(tf.range(self.width) == slot[:, None], tokens[:, None], now)

        def next_frame() -> tuple[Any, tf.Tensor]:
            vectors = self.frames.content(now) + self.frames.about(frame + 1, self.wish.bar, self.wish.key)
            said, moved = self._read(tf.cast(vectors, context.dtype), states)
            return tf.nest.map_structure(
                lambda new, old: tf.where(ended[:, None], new, old), (moved, said), (states, context)
            )

        states, context = tf.cond(tf.reduce_any(ended), next_frame, lambda: (states, context))
        before = tf.where(ended[:, None], now, before)
        now = tf.where(ended[:, None], 0, now)
        inside = [tf.where(ended[:, None], tf.zeros_like(one), one) for one in inside]
        above = tf.where(ended, PADDING, tokens)
        slot = tf.where(ended, 0, slot + tf.cast(tokens != PADDING, tf.int32))
        frame += tf.cast(ended, tf.int32)

        beside, below = (tf.gather(before, tf.minimum(slot + more, self.width - 1), batch_dims=1) for more in (0, 1))
        columns = (one[:, None] for one in (above, beside, below, slot))
        vectors = self.slots.vectors(*columns, context[:, None])[:, 0]
        chosen, carried = self.notes(vectors, inside)
        scores = self.slots.scores(chosen, above, sounding(before))
        state = (states, context, list(carried), before, now, slot, frame)
        return state, self._allowed(scores, slot, frame, position)

    def _allowed(self, scores: tf.Tensor, slot: tf.Tensor, frame: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """The scores, NEVER for what is not wished for."""
        wish, tokens = self.wish, tf.range(tf.shape(scores)[1])[None]
        notes = pitches(tokens)
        within = (notes >= wish.low[:, None]) & (notes <= wish.high[:, None]) & (slot < wish.voices)[:, None]
        scores = tf.where(tf.logical_or(tokens < STRUCK, within), scores, NEVER)
        over = tf.logical_and(frame >= wish.steps, slot == 0)
        told = self.prompt[:, tf.minimum(position, tf.shape(self.prompt)[1] - 1)]
        forced = tf.where(position < self.given, told, tf.where(over, END, -1))
        return tf.where(forced[:, None] >= 0, tf.where(tokens == forced[:, None], 0.0, NEVER), scores)
