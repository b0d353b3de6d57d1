"""Pieces drawn from the model, token by token, for `common.modeling.decoding.sampling`."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from common.modeling.decoding.sampling import SamplingConfig, sample
from common.music.frame_tokens import FRAME, PADDING, STRUCK, token_pitches, tokens_to_frames

from .config import Config
from .layers import NEVER, pitches_in_frame

END = PADDING  # of a piece; within one it cannot come

LstmStates = list[list[tf.Tensor]]  # state and cell of each layer
State = tuple[LstmStates, tf.Tensor, list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class SamplingRequest:
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


def sample_tokens(config: Config, model: keras.Model, request: SamplingRequest) -> tf.Tensor:
    """Return tokens of the pieces, int32 [batch, time], 0 after each one's end."""
    batch = tf.shape(request.steps)[0]
    given = tf.reduce_sum(tf.cast(request.prompt != PADDING, tf.int32), axis=1)
    begun = tf.reduce_sum(tf.cast(request.prompt == FRAME, tf.int32), axis=1)
    max_length = given + tf.maximum(request.steps - begun, 0) * (request.voices + 1)
    stepper = MusicDecoderStep(config, model, request)
    sampling = SamplingConfig(
        start=PADDING,
        end=END,
        max_length=max_length,
        seed=tf.stack([request.seed, tf.zeros_like(request.seed)], axis=1),
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
    )
    return sample(stepper, stepper.state, batch, sampling).tokens[:, 0]


class MusicDecoderStep:
    """The model token by token.

    Its state: of the LSTMs over frames; what they say of the present frame; of the LSTM over its notes; the tokens of
    the frame before, and those of this one so far; how many these are, and how many frames are done.
    """

    def __init__(self, config: Config, model: keras.Model, request: SamplingRequest):
        self.config, self.request = config, request
        self.frames, self.slots = model.get_layer("frames_before"), model.get_layer("slots")
        self.stack = [model.get_layer(f"frame_lstm_{number}").cell for number in range(1, config.frame_lstm_layers + 1)]
        self.notes = model.get_layer("note_lstm").cell
        self.prompt = tf.pad(request.prompt, [[0, 0], [0, 1]])
        self.given = tf.reduce_sum(tf.cast(request.prompt != PADDING, tf.int32), axis=1)
        batch = tf.shape(request.steps)[0]
        # A place for each note of the fullest frame, for its end, and one that is always empty.
        max_slots = tf.reduce_max(tf.concat([request.voices + 1, [1]], axis=0))
        self.width = tf.maximum(max_slots, tf.shape(tokens_to_frames(request.prompt))[2]) + 1
        kind = self.frames.compute_dtype
        nothing = tf.zeros([batch, config.frame_lstm_units], kind)
        inside = tf.zeros([batch, config.note_lstm_units], kind)
        zeros = tf.zeros([batch], tf.int32)
        none = tf.zeros([batch, self.width], tf.int32)
        first = tf.cast(
            self.frames.start.value + self.frames.embed_position_and_key(zeros, request.bar, request.key), kind
        )
        context, states = self._read(first, [[nothing, nothing] for _ in self.stack])
        self.state = (states, context, [inside, inside], none, none, zeros, zeros)

    def _read(self, vectors: tf.Tensor, states: LstmStates) -> tuple[tf.Tensor, LstmStates]:
        """Return (what the LSTMs over frames say, their states) after one more vector, [batch, units]."""
        new_states: LstmStates = []
        for cell, state in zip(self.stack, states, strict=True):
            new, carried = cell(vectors, state)
            vectors += new
            new_states.append(list(carried))
        return vectors, new_states

    def __call__(self, state: State, tokens: tf.Tensor, position: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Return (state, logits [rows, tokens]) after the last tokens, int32 [rows]."""
        states, context, inside, before, now, slot, frame = state
        ended = tokens == FRAME
        now = tf.where(tf.range(self.width) == slot[:, None], tokens[:, None], now)

        def start_next_frame() -> tuple[LstmStates, tf.Tensor]:
            vectors = self.frames.embed_notes(now) + self.frames.embed_position_and_key(
                frame + 1, self.request.bar, self.request.key
            )
            new_context, new_states = self._read(tf.cast(vectors, context.dtype), states)
            return tf.nest.map_structure(
                lambda new, old: tf.where(ended[:, None], new, old), (new_states, new_context), (states, context)
            )

        states, context = tf.cond(tf.reduce_any(ended), start_next_frame, lambda: (states, context))
        before = tf.where(ended[:, None], now, before)
        now = tf.where(ended[:, None], 0, now)
        inside = [tf.where(ended[:, None], tf.zeros_like(part), part) for part in inside]
        above = tf.where(ended, PADDING, tokens)
        slot = tf.where(ended, 0, slot + tf.cast(tokens != PADDING, tf.int32))
        frame += tf.cast(ended, tf.int32)

        beside, below = (tf.gather(before, tf.minimum(slot + more, self.width - 1), batch_dims=1) for more in (0, 1))
        columns = (column[:, None] for column in (above, beside, below, slot))
        vectors = self.slots.vectors(*columns, context[:, None])[:, 0]
        output, carried = self.notes(vectors, inside)
        scores = self.slots.scores(output, above, pitches_in_frame(before))
        state = (states, context, list(carried), before, now, slot, frame)
        return state, self._mask_forbidden(scores, slot, frame, position)

    def _mask_forbidden(self, scores: tf.Tensor, slot: tf.Tensor, frame: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Return the scores, NEVER for what was not requested."""
        request, tokens = self.request, tf.range(tf.shape(scores)[1])[None]
        notes = token_pitches(tokens)
        within = (notes >= request.low[:, None]) & (notes <= request.high[:, None]) & (slot < request.voices)[:, None]
        scores = tf.where(tf.logical_or(tokens < STRUCK, within), scores, NEVER)
        over = tf.logical_and(frame >= request.steps, slot == 0)
        prompted = self.prompt[:, tf.minimum(position, tf.shape(self.prompt)[1] - 1)]
        forced = tf.where(position < self.given, prompted, tf.where(over, END, -1))
        return tf.where(forced[:, None] >= 0, tf.where(tokens == forced[:, None], 0.0, NEVER), scores)
