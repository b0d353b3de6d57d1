"""What is served: translations, the best or several, what each looked at, and how likely given ones are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import tensorflow as tf

from common.modeling.constrained_decoding import constrain_step
from common.modeling.decoding.beam_search import BeamConfig, beam_search
from common.modeling.decoding.ops import NEVER, DecodingResult, Step
from common.modeling.losses import sequence_cross_entropy
from common.text.placeholders import MARKS, count_marks, marks_in_piece, restore_placeholders
from common.text.subwords import END, PADDING, START
from common.types import Batch, Endpoint

from .config import Config
from .networks import make_decoder_step
from .tokenizer import PairTokenizer
from .transformer import MAX_POSITIONS

SPARE = 10  # a translation may have so many pieces more than --max-length-ratio allows
ROWS = 32  # pairs that are scored at once: every piece of them has a score for the whole vocabulary


class Translator:
    """Functions of texts, in core TensorFlow ops.

    Args:
      tokenizer: for how texts become pieces, and back.
    """

    def __init__(self, config: Config, tokenizer: PairTokenizer, model: keras.Model):
        self.config, self.tokenizer, self.model = config, tokenizer, model

    def endpoints(self) -> dict[str, Endpoint]:
        """Return all of them, by name."""
        text, target = (tf.TensorSpec([None], tf.string, name) for name in ("text", "target"))
        return {
            "serving_default": Endpoint(self.translate, {"text": text}),
            "n_best": Endpoint(self.translate_n_best, {"text": text}),
            "alignment": Endpoint(self.translate_with_alignment, {"text": text}),
            "likelihood": Endpoint(self.likelihood, {"text": text, "target": target}),
        }

    def _decode(
        self, text: tf.Tensor, n_best: int, attention: bool = False
    ) -> tuple[DecodingResult, tf.Tensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Return (the best hypotheses, their texts [batch, n_best], ids of sources, what marks in these stand for).

        Where there are marks for placeholders, each comes as often as in the source, if it comes to that: hypotheses
        that hold those of their source come before others.
        """
        marked, masked = self.tokenizer.mask_placeholders(text)
        ids = self.tokenizer.encode_source(marked)
        if not self.tokenizer.has_marks:
            result = self._search(ids, n_best, None, attention)
            return result, self.tokenizer.decode(result.tokens), ids, masked
        num_beams = self.config.num_beams
        required = count_marks(marked)
        result = self._search(ids, num_beams, required, attention)
        texts = self.tokenizer.decode(result.tokens)
        rows = tf.repeat(tf.range(tf.shape(texts)[0]), num_beams)
        held = tf.reshape(count_marks(tf.reshape(texts, [-1])), [-1, num_beams, MARKS])
        wrong = tf.reduce_any(held != required[:, None], axis=2) | (result.scores == NEVER)
        order = tf.argsort(tf.cast(wrong, tf.int32), axis=1, stable=True)[:, :n_best]
        texts = tf.reshape(restore_placeholders(tf.reshape(texts, [-1]), tf.gather(masked, rows)), [-1, num_beams])

        def select(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.gather(values, order, batch_dims=1)

        result = DecodingResult(*(select(getattr(result, field.name)) for field in dataclasses.fields(result)))
        return result, tf.gather(texts, order, batch_dims=1), ids, masked

    def _search(
        self, ids: tf.RaggedTensor, n_best: int, required: tf.Tensor | None, attention: bool = False
    ) -> DecodingResult:
        """Return the best hypotheses; `required` int32 [batch, MARKS] are the marks that each should hold."""
        lengths = tf.cast(ids.row_lengths(), tf.float32)
        source = _dense(ids)
        max_length = tf.cast(self.config.max_length_ratio * lengths, tf.int32) + SPARE
        max_length = tf.minimum(max_length, MAX_POSITIONS - 1)
        step = make_decoder_step(self.config, self.model, source, self.config.num_beams)
        state = step.state
        constrained: Step = step
        if required is not None:
            held = tf.constant([marks_in_piece(piece) for piece in self.tokenizer.pieces.raw], tf.float32)
            due = tf.cast(tf.repeat(required, self.config.num_beams, axis=0), tf.float32)
            constrained, state = constrain_step(step, step.state, held, due, END)
        beams = BeamConfig(
            start=START,
            end=END,
            max_length=max_length,
            num_beams=self.config.num_beams,
            n_best=n_best,
            length_penalty=self.config.length_penalty,
            coverage_penalty=self.config.coverage_penalty,
            beam_stop_ratio=self.config.beam_stop_ratio,
            no_repeat_ngram_size=self.config.no_repeat_ngram_size,
            return_attention=attention,
        )
        mask = source != PADDING
        return beam_search(constrained, state, tf.shape(source)[0], beams, source_mask=mask, memory=step.memory)

    def predict(self, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return translation [batch], in which marks stand for placeholders, and score [batch], of encoded sources.

        Args:
          features: source int32 [batch, places], padded.
        """
        ids = tf.RaggedTensor.from_tensor(features["source"], padding=PADDING)
        decoded = self._search(ids, 1, None)
        return {"translation": self.tokenizer.decode(decoded.tokens)[:, 0], "score": decoded.scores[:, 0]}

    def translate(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return translation [batch] and score [batch]."""
        result, texts, *_ = self._decode(text, 1)
        return {"translation": texts[:, 0], "score": result.scores[:, 0]}

    def translate_n_best(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return translations [batch, num_beams] and scores [batch, num_beams], the best first."""
        result, texts, *_ = self._decode(text, self.config.num_beams)
        return {"translations": texts, "scores": result.scores}

    def translate_with_alignment(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return what `translate` gives, and the attention of each piece of it.

        source_pieces [batch, places] and target_pieces [batch, steps] are strings of bytes, empty beyond the lengths;
        attention is [batch, steps, places]. The place after the source's last piece is that of its end.
        """
        result, texts, ids, masked = self._decode(text, 1, attention=True)
        lengths, attention = result.lengths[:, 0], result.attention
        assert attention is not None, "it was asked for"
        steps = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
        # Nothing for padding and the end.
        source_raw, raw = (
            tf.constant(pieces.raw, tf.string) for pieces in (self.tokenizer.source_pieces, self.tokenizer.pieces)
        )
        return {
            "translation": texts[:, 0],
            "score": result.scores[:, 0],
            "source_pieces": self._restore(tf.gather(source_raw, _dense(ids)), masked),
            "source_lengths": tf.cast(ids.row_lengths(), tf.int32) - 1,
            "target_pieces": self._restore(tf.gather(raw, result.tokens[:, 0, :steps]), masked),
            "target_lengths": lengths,
            "attention": attention[:, 0, :steps],
        }

    def _restore(self, pieces: tf.Tensor, masked: tf.RaggedTensor) -> tf.Tensor:
        """Return pieces, [batch, places] bytes that need not make characters, with placeholders for whole marks."""
        if not self.tokenizer.has_marks:
            return pieces
        flat = tf.reshape(pieces, [-1])
        rows = tf.repeat(tf.range(tf.shape(pieces)[0]), tf.shape(pieces)[1])
        marked = tf.where(tf.reduce_any(count_marks(flat) > 0, axis=1))
        restored = restore_placeholders(tf.gather_nd(flat, marked), tf.gather(masked, tf.gather_nd(rows, marked)))
        return tf.reshape(tf.tensor_scatter_nd_update(flat, marked, restored), tf.shape(pieces))

    def likelihood(self, text: tf.Tensor, target: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return log_prob float32 [batch], in nats, of the target's pieces and its end; pieces int32 [batch], their
        number.

        Each piece is scored given those before it, whatever the model would have chosen.
        """
        source = self.tokenizer.encode({"text": text})["source"]
        targets = self.tokenizer.encode_targets({"text": text, "target": target})["target"]
        count, pieces = tf.shape(text)[0], self.model.get_layer("pieces")

        def score_slice(first: tf.Tensor, log_probs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = slice(first, first + ROWS)
            inputs = {"source": _dense(source[rows]), "target": _dense(targets[rows])}
            states = self.model(inputs, training=False)["states"]
            losses, _ = sequence_cross_entropy(inputs["target"], states, *pieces.output_weights())
            return first + ROWS, tf.concat([log_probs, -losses], axis=0)

        # One slice at a time, so that memory is bounded.
        start, shapes = (tf.constant(0), tf.zeros([0])), (tf.TensorShape([]), tf.TensorShape([None]))
        _, log_probs = tf.while_loop(lambda first, _: first < count, score_slice, start, shapes, parallel_iterations=1)
        return {"log_prob": log_probs, "pieces": tf.cast(targets.row_lengths(), tf.int32)}


def _dense(ids: tf.RaggedTensor) -> tf.Tensor:
    """Return ids padded to the longest row; at least one place even without any row, since LSTMs need one."""
    dense = ids.to_tensor(PADDING)
    return tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]], constant_values=PADDING)
