"""What is served: pieces that are made up, with or without conditions, and how likely given ones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from common import frames, midi
from common.frames import PADDING, PITCHES
from common.types import Endpoint

from . import sampling
from .layers import sounding
from .likelihood import chosen_frames, log_probabilities

if TYPE_CHECKING:
    from .recipe import Recipe

ROWS = 8  # pieces that are scored at once


class Player:
    """Functions of notes, in core TensorFlow ops.

    Args:
      recipe: for how notes become frames, and what the data was like.
    """

    def __init__(self, recipe: Recipe, model: keras.Model):
        self.recipe, self.config, self.assets, self.model = recipe, recipe.config, recipe.assets, model

    def endpoints(self) -> dict[str, Endpoint]:
        """All of them, by name."""

        def whole(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None], tf.int32, name)

        def real(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None], tf.float32, name)

        events = tf.TensorSpec([None, None, 3], tf.int32, "events")
        asked = {
            "events": events, "length": whole("length"), "temperature": real("temperature"), "top_k": whole("top_k"),
            "top_p": real("top_p"), "seed": whole("seed"),
        }  # fmt: skip
        more = {name: whole(name) for name in ("key", "bar", "voices", "low", "high")}
        return {
            "serving_default": Endpoint(self.played, asked),
            "conditioned": Endpoint(self.conditioned, asked | more | {"tempo": real("tempo")}),
            "score": Endpoint(self.scored, {"events": events, "steps": whole("steps"), "bar": whole("bar")}),
        }

    def played(
        self, events: tf.Tensor, length: tf.Tensor, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor,
        seed: tf.Tensor,
    ) -> Mapping[str, tf.Tensor]:  # fmt: skip
        """Pieces that begin with the given events.

        Args:
          events: int32 [batch, notes, 3], each a start, a duration and a pitch. Those of duration 0 are no notes, but
            say how long a prompt is that ends with a rest.
          length: int32 [batch], steps of the whole piece; a longer prompt is cut.
          seed: int32 [batch]; with all else the same, it gives the same piece, whatever else is in the batch.

        Returns: events int32 [batch, notes, 3], 0 after each piece's end, lengths int32 [batch], how many there are,
          and midi_bytes string [batch], a Standard MIDI File of each.
        """
        facts = self.assets

        def as_learned(value: int | float) -> tf.Tensor:
            return tf.fill(tf.shape(length), value)

        return self.conditioned(
            events, length, temperature, top_k, top_p, seed, key=as_learned(0), bar=as_learned(facts["bar"]),
            voices=as_learned(facts["voices"]), low=as_learned(facts["low"]), high=as_learned(facts["high"]),
            tempo=as_learned(float(self.config.tempo)),
        )  # fmt: skip

    def conditioned(
        self, events: tf.Tensor, length: tf.Tensor, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor,
        seed: tf.Tensor, key: tf.Tensor, bar: tf.Tensor, voices: tf.Tensor, low: tf.Tensor, high: tf.Tensor,
        tempo: tf.Tensor,
    ) -> Mapping[str, tf.Tensor]:  # fmt: skip
        """As `played`, and by more wishes, each [batch].

        Args:
          key: int32, 0 for any, 1 to 12 for major on C to B, 13 to 24 for minor on C to B.
          bar: int32, steps of a bar, 0 for any.
          voices: int32, the most notes at a time; low, high: int32, the range of notes; all after the given events.
          tempo: float32, quarter notes a minute, of the MIDI file.
        """
        length = tf.maximum(length, 0)
        ends = tf.reduce_max(tf.pad(events[..., 0] + events[..., 1], [[0, 0], [0, 1]]), axis=1)
        prompt = self._tokens(events, tf.clip_by_value(ends, 0, length))
        wish = sampling.Wish(
            prompt, length, tf.maximum(temperature, 0.0), tf.maximum(top_k, 0), top_p, seed,
            tf.clip_by_value(key, 0, 24), tf.maximum(bar, 0), tf.clip_by_value(voices, 0, PITCHES), low, high,
        )  # fmt: skip
        found, lengths = frames.to_events(sampling.drawn(self.config, self.model, wish))
        written = midi.midi_bytes(found, lengths, self.config.steps_per_beat, tempo)
        return {"events": found, "lengths": lengths, "midi_bytes": written}

    def _tokens(self, events: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """[batch, time], padded."""
        shape = tf.shape(events)
        ragged = tf.RaggedTensor.from_row_lengths(
            tf.reshape(events, [-1, 3]), tf.fill([shape[0]], shape[1]), validate=False
        )
        return frames.from_events(ragged, steps, self.assets["held"]).to_tensor(PADDING)

    def scored(self, events: tf.Tensor, steps: tf.Tensor, bar: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """How likely pieces are, in their own key, each frame given those before it.

        Args:
          events: as of `played`; steps: int32 [batch], frames, all of which count.

        Returns: nll float32 [batch], negative log-likelihood in nats of all frames; notes int32 [batch], those of all
          frames; correct and either int32 [batch], notes that both the frames and the model's choices for them hold,
          and that either does.
        """
        tokens = self._tokens(events, steps)

        def some(first: tf.Tensor, *found: tf.Tensor) -> tuple[tf.Tensor, ...]:
            rows = slice(first, first + ROWS)
            part = tokens[rows]
            width = tf.reduce_max(tf.concat([tf.reduce_sum(tf.cast(part != PADDING, tf.int32), axis=1), [1]], axis=0))
            zeros = tf.zeros_like(steps[rows])
            inputs = {"frames": part[:, :width], "bar": bar[rows], "key": zeros}
            outputs = self.model(inputs, training=False)
            places, log_probs = log_probabilities(self.model, outputs)
            count = tf.shape(part, tf.int64)[0]
            real = tf.range(tf.shape(outputs["grid"])[1])[None] < steps[rows][:, None]
            heard = sounding(outputs["grid"])
            guessed = sounding(chosen_frames(self.model, outputs)) & real[..., None]
            sums = [
                -tf.math.unsorted_segment_sum(log_probs, places[:, 0], count),
                *(
                    tf.reduce_sum(tf.cast(one, tf.int32), axis=[1, 2])
                    for one in (heard, heard & guessed, heard | guessed)
                ),
            ]
            return first + ROWS, *(tf.concat(pair, axis=0) for pair in zip(found, sums, strict=True))

        # A few at a time, so that memory is bounded.
        none = tf.zeros([0], tf.int32)
        _, *found = tf.while_loop(
            lambda first, *_: first < tf.shape(steps)[0], some, (tf.constant(0), tf.zeros([0]), none, none, none),
            (tf.TensorShape([]), *[tf.TensorShape([None])] * 4), parallel_iterations=1,
        )  # fmt: skip
        return dict(zip(("nll", "notes", "correct", "either"), found, strict=True))
