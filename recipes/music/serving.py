"""What is served: pieces that are made up, with or without conditions, and how likely given ones are."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from common.music.frame_tokens import PADDING, PITCHES, events_to_tokens, tokens_to_events
from common.music.midi_writer import encode_midi_batch
from common.types import Assets, Endpoint

from . import likelihood, sampling
from .config import Config

ROWS = 8  # pieces that are scored at once
SCORES = ("nll", "notes", "correct", "either")


class MusicEndpoints:
    """Functions of notes, in core TensorFlow ops.

    Args:
      assets: for how notes become frames, and what the data was like.
    """

    def __init__(self, config: Config, assets: Assets, model: keras.Model):
        self.config, self.assets, self.model = config, assets, model

    def endpoints(self) -> dict[str, Endpoint]:
        """Return all of them, by name."""

        def whole(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None], tf.int32, name)

        def real(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None], tf.float32, name)

        events = tf.TensorSpec([None, None, 3], tf.int32, "events")
        asked = {"events": events, "length": whole("length"), "temperature": real("temperature")}
        asked |= {"top_k": whole("top_k"), "top_p": real("top_p"), "seed": whole("seed")}
        more = {name: whole(name) for name in ("key", "bar", "voices", "low", "high")}
        return {
            "serving_default": Endpoint(self.generate, asked),
            "conditioned": Endpoint(self.generate_conditioned, asked | more | {"tempo": real("tempo")}),
            "score": Endpoint(self.score, {"events": events, "steps": whole("steps"), "bar": whole("bar")}),
        }

    def generate(
        self,
        events: tf.Tensor,
        length: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        seed: tf.Tensor,
    ) -> Mapping[str, tf.Tensor]:
        """Return pieces that begin with the given events.

        Args:
          events: int32 [batch, notes, 3], each a start, a duration and a pitch. Those of duration 0 are no notes, but
            say how long a prompt is that ends with a rest.
          length: int32 [batch], steps of the whole piece; a longer prompt is cut.
          seed: int32 [batch]; with all else the same, it gives the same piece, whatever else is in the batch.

        Returns: events int32 [batch, notes, 3], 0 after each piece's end, lengths int32 [batch], how many there are,
          and midi_bytes string [batch], a Standard MIDI File of each.
        """
        asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        learned = {name: self.assets[name] for name in ("bar", "voices", "low", "high")}
        defaults = {"key": 0, **learned, "tempo": float(self.config.tempo)}
        filled = {name: tf.fill(tf.shape(length), value) for name, value in defaults.items()}
        return self.generate_conditioned(events=events, length=length, **{**asked, **filled})

    def generate_conditioned(
        self, *, events: tf.Tensor, length: tf.Tensor, tempo: tf.Tensor, **conditions: tf.Tensor
    ) -> Mapping[str, tf.Tensor]:
        """Return pieces as `generate` does, under more conditions, each [batch].

        Args:
          tempo: float32, quarter notes a minute, of the MIDI file.
          conditions: temperature, top_k, top_p and seed as of `generate`, and all int32:
            key, 0 for any, 1 to 12 for major on C to B, 13 to 24 for minor on C to B;
            bar, steps of a bar, 0 for any;
            voices, the most notes at a time; low, high, the range of notes; all after the given events.
        """
        length = tf.maximum(length, 0)
        ends = tf.reduce_max(tf.pad(events[..., 0] + events[..., 1], [[0, 0], [0, 1]]), axis=1)
        request = sampling.SamplingRequest(
            prompt=self._tokens(events, tf.clip_by_value(ends, 0, length)),
            steps=length,
            temperature=tf.maximum(conditions["temperature"], 0.0),
            top_k=tf.maximum(conditions["top_k"], 0),
            top_p=conditions["top_p"],
            seed=conditions["seed"],
            key=tf.clip_by_value(conditions["key"], 0, 24),
            bar=tf.maximum(conditions["bar"], 0),
            voices=tf.clip_by_value(conditions["voices"], 0, PITCHES),
            low=conditions["low"],
            high=conditions["high"],
        )
        sampled, lengths = tokens_to_events(sampling.sample_tokens(self.config, self.model, request))
        written = encode_midi_batch(sampled, lengths, self.config.steps_per_beat, tempo)
        return {"events": sampled, "lengths": lengths, "midi_bytes": written}

    def _tokens(self, events: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Return tokens of frames, [batch, time], padded."""
        shape = tf.shape(events)
        ragged = tf.RaggedTensor.from_row_lengths(
            tf.reshape(events, [-1, 3]), tf.fill([shape[0]], shape[1]), validate=False
        )
        return events_to_tokens(ragged, steps, self.assets["has_held_notes"]).to_tensor(PADDING)

    def score(self, events: tf.Tensor, steps: tf.Tensor, bar: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return how likely pieces are, in their own key, each frame given those before it.

        Args:
          events: as of `generate`; steps: int32 [batch], frames, all of which count.

        Returns: nll float32 [batch], negative log-likelihood in nats of all frames; notes int32 [batch], those of all
          frames; correct and either int32 [batch], notes that both the frames and the model's choices for them hold,
          and that either does.
        """
        tokens = self._tokens(events, steps)

        def score_some(first: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            rows = slice(first, first + ROWS)
            part = tokens[rows]
            width = tf.reduce_max(tf.concat([tf.reduce_sum(tf.cast(part != PADDING, tf.int32), axis=1), [1]], axis=0))
            inputs = {"frames": part[:, :width], "bar": bar[rows], "key": tf.zeros_like(steps[rows])}
            scores = likelihood.score_frames(self.model, inputs)
            return first + ROWS, *(
                tf.concat([sum_, scores[name]], axis=0) for name, sum_ in zip(SCORES, sums, strict=True)
            )

        # A few at a time, so that memory is bounded.
        none = tf.zeros([0], tf.int32)
        start = (tf.constant(0), tf.zeros([0]), none, none, none)
        shapes = (tf.TensorShape([]), *[tf.TensorShape([None])] * len(SCORES))
        count = tf.shape(steps)[0]
        _, *sums = tf.while_loop(lambda first, *_: first < count, score_some, start, shapes, parallel_iterations=1)
        return dict(zip(SCORES, sums, strict=True))
