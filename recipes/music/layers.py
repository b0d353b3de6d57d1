"""Layers between tokens of frames and states."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.music.frame_tokens import HELD, PADDING, PITCHES, STRUCK, token_pitches, tokens_to_frames
from common.types import JsonObject, Shape

MOVED = 25  # in the place of a key: not known, and not that in which the piece was found
KEYS = 26  # the piece's own, not known; 12 major, 12 minor; MOVED
OWN = 0.25  # share of the pieces that stay where they are in training
PLACES = 97  # not known, and those of a bar; later ones share the last
SLOTS = 6  # notes of a frame that have vectors of their own by their rank from the top; lower ones share the last
NEVER = -1e9  # added to scores of what cannot come


@keras.saving.register_keras_serializable("kerasserole")
class TokensToFrames(keras.layers.Layer):
    """Tokens by frame: int32 [batch, time] to [batch, frames, slots]."""

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tokens_to_frames(tokens), [None, None, None])

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape[0], None, None


@keras.saving.register_keras_serializable("kerasserole")
class RandomTranspose(keras.layers.Layer):
    """Pieces moved up or down in training, by an equal chance for every distance that keeps them within a range.

    Some stay where they are, and those that move are told apart, so that the model knows which keys are common. The key
    moves with them, and half of the pieces forget it, so that the model also knows music without one; it is forgotten
    altogether where nothing is random.

    Args:
      max_semitones: the largest distance.
      low, high: the range, MIDI numbers.

    Call arguments:
      grid: int32 [batch, frames, slots].
      key: int32 [batch].

    Returns: the same.
    """

    def __init__(self, max_semitones: int, low: int, high: int, **kwargs: object):
        super().__init__(**kwargs)
        self.max_semitones, self.low, self.high = max_semitones, low, high
        self.seed = keras.random.SeedGenerator()

    def build(self, grid_shape: Shape, key_shape: Shape | None = None) -> None:
        pass

    def call(self, grid: tf.Tensor, key: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.max_semitones:
            return grid, tf.zeros_like(key)
        notes = token_pitches(grid)
        lowest = tf.reduce_min(tf.where(notes >= 0, notes, PITCHES), axis=[1, 2])
        highest = tf.reduce_max(notes, axis=[1, 2])
        down = tf.clip_by_value(lowest - self.low, 0, self.max_semitones)
        up = tf.clip_by_value(self.high - highest, 0, self.max_semitones)
        drawn = tf.random.stateless_uniform([3, tf.shape(key)[0]], self.seed.next())
        shift = tf.cast(tf.floor(drawn[0] * tf.cast(up + down + 1, tf.float32)), tf.int32) - down
        shift = tf.where(drawn[2] < OWN, 0, tf.clip_by_value(shift, -down, up))
        grid = tf.where(grid >= STRUCK, grid + shift[:, None, None], grid)
        minor = key > 12
        moved = (key - 1 + shift) % 12 + tf.where(minor, 13, 1)
        unknown = tf.where(shift == 0, 0, MOVED)
        return grid, tf.where(tf.logical_or(key == 0, drawn[1] < 0.5), unknown, moved)

    def compute_output_shape(self, grid_shape: Shape, key_shape: Shape) -> tuple[Shape, Shape]:
        return grid_shape, key_shape

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "max_semitones": self.max_semitones, "low": self.low, "high": self.high}


def _table(layer: keras.layers.Layer, name: str, rows: int, size: float) -> tf.Tensor:
    """Return a table of the layer. Some of its rows are cast, once they are summed up, rather than all of it."""
    scaled = keras.initializers.RandomNormal(stddev=size)
    return layer.add_weight(shape=(rows, layer.units), initializer=scaled, autocast=False, name=name)


@keras.saving.register_keras_serializable("kerasserole")
class FrameEmbedding(keras.layers.Layer):
    """A vector for each frame of what is known before it: the frame before, its place in the bar, and the key.

    Call arguments:
      grid: int32 [batch, frames, slots].
      bar: int32 [batch], steps of a bar; 0 if not known.
      key: int32 [batch].

    Returns: [batch, frames, units].
    """

    def __init__(self, num_tokens: int, units: int, **kwargs: object):
        super().__init__(**kwargs)
        self.num_tokens, self.units = num_tokens, units

    def build(self, grid_shape: Shape, *others: Shape, **more: Shape) -> None:
        self.ranked = _table(self, "ranked", SLOTS * self.num_tokens, 0.1)
        self.all = _table(self, "all", self.num_tokens, 0.1)
        self.places = _table(self, "places", PLACES, 0.1)
        self.keys = _table(self, "keys", KEYS, 0.1)
        self.start = _table(self, "start", 1, 0.1)

    def call(self, grid: tf.Tensor, bar: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        start = tf.repeat(self.start.value[None], tf.shape(grid)[0], axis=0)
        before = tf.concat([start, self.embed_notes(grid)[:, :-1]], axis=1)
        steps = tf.range(tf.shape(grid)[1])[None]
        return tf.cast(before + self.embed_position_and_key(steps, bar[:, None], key[:, None]), self.compute_dtype)

    def embed_notes(self, grid: tf.Tensor) -> tf.Tensor:
        """Return what the notes of frames add up to: int32 [..., slots] to [..., units]."""
        slots = tf.minimum(tf.range(tf.shape(grid)[-1]), SLOTS - 1) * self.num_tokens
        real = tf.cast(grid != PADDING, tf.float32)[..., None]
        vectors = tf.gather(self.ranked.value, grid + slots) + tf.gather(self.all.value, grid)
        return tf.reduce_sum(vectors * real, axis=-2)

    def embed_position_and_key(self, steps: tf.Tensor, bar: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Return what a place in a bar and a key add: int32 of like shape to [..., units]."""
        place = tf.where(bar > 0, tf.math.floormod(steps, tf.maximum(bar, 1)) + 1, 0)
        return tf.gather(self.places.value, tf.minimum(place, PLACES - 1)) + tf.gather(self.keys.value, key)

    def compute_output_shape(self, grid_shape: Shape, *others: Shape) -> Shape:
        return (*grid_shape[:2], self.units)

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "num_tokens": self.num_tokens, "units": self.units}


@keras.saving.register_keras_serializable("kerasserole")
class SplitSegments(keras.layers.Layer):
    """In training, frames in stretches that the LSTMs read apart from each other, so that none is very long.

    Args:
      max_frames: frames of a stretch.

    Call arguments:
      states: [batch, frames, units].

    Returns: [batch * stretches, max_frames, units]; the same where nothing is longer.
    """

    def __init__(self, max_frames: int, **kwargs: object):
        super().__init__(**kwargs)
        self.max_frames = max_frames

    def call(self, states: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return states
        steps = tf.shape(states)[1]

        def cut() -> tf.Tensor:
            padded = tf.pad(states, [[0, 0], [0, -steps % self.max_frames], [0, 0]])
            return tf.reshape(padded, [-1, self.max_frames, states.shape[2]])

        return tf.cond(steps > self.max_frames, cut, lambda: states)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return None, None, shape[2]

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "max_frames": self.max_frames}


@keras.saving.register_keras_serializable("kerasserole")
class MergeSegments(keras.layers.Layer):
    """Stretches put together again, in the shape of what they were cut from.

    Call arguments:
      states: [batch * stretches, max_frames, units].
      whole: [batch, frames, any].
    """

    def call(self, states: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
        batch, steps = tf.shape(whole)[0], tf.shape(whole)[1]
        together = tf.reshape(
            states, [batch, tf.size(states) // tf.maximum(batch * states.shape[2], 1), states.shape[2]]
        )
        return together[:, :steps]

    def compute_output_shape(self, states_shape: Shape, whole_shape: Shape) -> Shape:
        return (*whole_shape[:2], states_shape[2])


@keras.saving.register_keras_serializable("kerasserole")
class NoteSlots(keras.layers.Layer):
    """A vector for each note of a frame of what is known before it, and with one of its tables the scores of notes.

    Known are the note above it, the notes of the frame before at the same rank and the next, and what the LSTMs over
    frames say.

    Call arguments:
      grid: int32 [batch, frames, slots].
      context: [batch, frames, any].

    Returns: [batch * frames, slots, units].
    """

    def __init__(self, num_tokens: int, units: int, **kwargs: object):
        super().__init__(**kwargs)
        self.num_tokens, self.units = num_tokens, units

    def build(self, grid_shape: Shape, context_shape: Shape = ()) -> None:
        self.table = _table(self, "table", self.num_tokens, self.units**-0.5)
        self.bias = self.add_weight(shape=(self.num_tokens,), initializer="zeros", autocast=False, name="bias")
        self.beside = _table(self, "beside", self.num_tokens, 0.5)
        self.below = _table(self, "below", self.num_tokens, 0.5)
        self.ranks = _table(self, "ranks", SLOTS, 0.5)
        self.context = self.add_weight(
            shape=(context_shape[-1], self.units), initializer="glorot_uniform", name="context"
        )

    def call(self, grid: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        frames, slots = tf.reduce_prod(tf.shape(grid)[:2]), tf.shape(grid)[2]
        above = tf.reshape(tf.pad(grid, [[0, 0], [0, 0], [1, 0]])[..., :-1], [frames, slots])
        before = tf.reshape(tf.pad(grid, [[0, 0], [1, 0], [0, 1]])[:, :-1], [frames, slots + 1])
        flat = tf.reshape(context, [frames, context.shape[-1]])
        return self.vectors(above, before[:, :-1], before[:, 1:], tf.range(slots)[None], flat[:, None])

    def vectors(
        self, above: tf.Tensor, beside: tf.Tensor, below: tf.Tensor, rank: tf.Tensor, context: tf.Tensor
    ) -> tf.Tensor:
        """Return [rows, slots, units], from int32 [rows, slots] each, and the context [rows, 1, any]."""
        known = tf.gather(self.table.value, above) * self.units**0.5 * tf.cast(above != PADDING, tf.float32)[..., None]
        known += tf.gather(self.beside.value, beside) + tf.gather(self.below.value, below)
        known += tf.gather(self.ranks.value, tf.minimum(rank, SLOTS - 1))
        heard = tf.matmul(context[:, 0], tf.cast(self.context.value, context.dtype))[:, None]
        return tf.cast(known, self.compute_dtype) + heard

    def scores(self, states: tf.Tensor, above: tf.Tensor, sounding: tf.Tensor) -> tf.Tensor:
        """Return scores of all tokens, float32 [rows, tokens], NEVER for those that cannot come: notes fall within a
        frame.

        Args:
          states: [rows, units].
          above: int32 [rows], the token before in the frame, 0 at its beginning.
          sounding: bool [rows, PITCHES], the notes of the frame before; only they can go on.
        """
        logits = tf.matmul(states, tf.cast(self.table.value, states.dtype), transpose_b=True)
        logits = tf.cast(logits, tf.float32) + self.bias.value
        limit = tf.where(above == PADDING, PITCHES, token_pitches(above))
        lower = tf.range(PITCHES)[None] < limit[:, None]
        end = tf.ones_like(lower[:, :1])
        parts = [tf.zeros_like(end), end, lower]
        if self.num_tokens > HELD:
            parts.append(tf.logical_and(lower, sounding))
        return tf.where(tf.concat(parts, axis=1), logits, NEVER)

    def compute_output_shape(self, grid_shape: Shape, context_shape: Shape) -> Shape:
        return None, grid_shape[2], self.units

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "num_tokens": self.num_tokens, "units": self.units}


def pitches_in_frame(grid: tf.Tensor) -> tf.Tensor:
    """Return which notes a frame holds: int32 [..., slots] to bool [..., PITCHES]."""
    return tf.reduce_any(token_pitches(grid)[..., None] == tf.range(PITCHES), axis=-2)
