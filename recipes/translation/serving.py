"""What is served: translations, the best or several, what each looked at, and how likely given ones are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import tensorflow as tf

from common.modeling.constrained_decoding import obliged
from common.modeling.decoding.beam_search import BeamConfig, beam_search
from common.modeling.decoding.ops import NEVER, Decoded
from common.modeling.losses import sequence_cross_entropy
from common.text import placeholders
from common.text.subwords import END, PADDING, START
from common.types import Batch, Endpoint

from .config import Config
from .networks import get_network
from .tokenizer import PairTokenizer
from .transformer import PLACES

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
        """All of them, by name."""
        text, target = (tf.TensorSpec([None], tf.string, name) for name in ("text", "target"))
        return {
            "serving_default": Endpoint(self.best, {"text": text}),
            "n_best": Endpoint(self.several, {"text": text}),
            "alignment": Endpoint(self.aligned, {"text": text}),
            "likelihood": Endpoint(self.likelihood, {"text": text, "target": target}),
        }

    def _found(
        self, text: tf.Tensor, count: int, attention: bool = False
    ) -> tuple[Decoded, tf.Tensor, tf.RaggedTensor, tf.RaggedTensor]:
        """(the best hypotheses, their texts [batch, count], ids of the sources, what marks in these stand for).

        Where there are marks for placeholders, each comes as often as in the source, if it comes to that: hypotheses
        that hold those of their source come before others.
        """
        marked, kept = self.tokenizer.mask_placeholders(text)
        ids = self.tokenizer.encode_source(marked)
        if not self.tokenizer.has_marks:
            found = self._search(ids, count, None, attention)
            return found, self.tokenizer.decode(found.tokens), ids, kept
        beam = self.config.beam
        owed = placeholders.counts(marked)
        found = self._search(ids, beam, owed, attention)
        texts = self.tokenizer.decode(found.tokens)
        rows = tf.repeat(tf.range(tf.shape(texts)[0]), beam)
        held = tf.reshape(placeholders.counts(tf.reshape(texts, [-1])), [-1, beam, placeholders.MARKS])
        wrong = tf.reduce_any(held != owed[:, None], axis=2) | (found.scores == NEVER)
        order = tf.argsort(tf.cast(wrong, tf.int32), axis=1, stable=True)[:, :count]
        texts = tf.reshape(placeholders.restored(tf.reshape(texts, [-1]), tf.gather(kept, rows)), [-1, beam])

        def chosen(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.gather(values, order, batch_dims=1)

        found = Decoded(*(chosen(getattr(found, one.name)) for one in dataclasses.fields(found)))
        return found, tf.gather(texts, order, batch_dims=1), ids, kept

    def _search(self, ids: tf.RaggedTensor, count: int, owed: tf.Tensor | None, attention: bool = False) -> Decoded:
        """The best hypotheses; `owed` int32 [batch, MARKS] are the marks that each should hold."""
        lengths = tf.cast(ids.row_lengths(), tf.float32)
        source = _dense(ids)
        longest = tf.cast(self.config.max_length_ratio * lengths, tf.int32) + SPARE
        longest = tf.minimum(longest, PLACES - 1)
        step = get_network(self.config).Stepper(self.config, self.model, source, self.config.beam)
        heeding, state = step, step.state
        if owed is not None:
            held = tf.constant([placeholders.held(piece) for piece in self.tokenizer.pieces.raw], tf.float32)
            due = tf.cast(tf.repeat(owed, self.config.beam, axis=0), tf.float32)
            heeding, state = obliged(step, step.state, held, due, END)
        beams = BeamConfig(
            start=START,
            end=END,
            max_length=longest,
            num_beams=self.config.beam,
            n_best=count,
            length_penalty=self.config.length_penalty,
            coverage_penalty=self.config.coverage_penalty,
            beam_stop_ratio=self.config.look_ahead,
            no_repeat_ngram_size=self.config.no_repeat,
            return_attention=attention,
        )
        mask = source != PADDING
        return beam_search(heeding, state, tf.shape(source)[0], beams, source_mask=mask, memory=step.memory)

    def predict(self, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return translation [batch], in which marks stand for placeholders, and score [batch], of encoded sources.

        Args:
          features: source int32 [batch, places], padded.
        """
        ids = tf.RaggedTensor.from_tensor(features["source"], padding=PADDING)
        decoded = self._search(ids, 1, None)
        return {"translation": self.tokenizer.decode(decoded.tokens)[:, 0], "score": decoded.scores[:, 0]}

    def best(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """translation [batch], score [batch]."""
        found, texts, *_ = self._found(text, 1)
        return {"translation": texts[:, 0], "score": found.scores[:, 0]}

    def several(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """translations [batch, beam], scores [batch, beam], the best first."""
        found, texts, *_ = self._found(text, self.config.beam)
        return {"translations": texts, "scores": found.scores}

    def aligned(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """What `best` gives, and what each piece of it looked at.

        source_pieces [batch, places] and target_pieces [batch, steps] are strings of bytes, empty beyond the lengths;
        attention is [batch, steps, places]. The place after the source's last piece is that of its end.
        """
        found, texts, ids, kept = self._found(text, 1, attention=True)
        lengths, attention = found.lengths[:, 0], found.attention
        assert attention is not None, "it was asked for"
        steps = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
        # Nothing for padding and the end.
        source_raw, raw = (
            tf.constant(one.raw, tf.string) for one in (self.tokenizer.source_pieces, self.tokenizer.pieces)
        )
        return {
            "translation": texts[:, 0],
            "score": found.scores[:, 0],
            "source_pieces": self._unmarked(tf.gather(source_raw, _dense(ids)), kept),
            "source_lengths": tf.cast(ids.row_lengths(), tf.int32) - 1,
            "target_pieces": self._unmarked(tf.gather(raw, found.tokens[:, 0, :steps]), kept),
            "target_lengths": lengths,
            "attention": attention[:, 0, :steps],
        }

    def _unmarked(self, pieces: tf.Tensor, kept: tf.RaggedTensor) -> tf.Tensor:
        """Pieces, [batch, places] bytes of which some make no characters, with what whole marks in them stand for."""
        if not self.tokenizer.has_marks:
            return pieces
        flat = tf.reshape(pieces, [-1])
        rows = tf.repeat(tf.range(tf.shape(pieces)[0]), tf.shape(pieces)[1])
        some = tf.where(tf.reduce_any(placeholders.counts(flat) > 0, axis=1))
        found = placeholders.restored(tf.gather_nd(flat, some), tf.gather(kept, tf.gather_nd(rows, some)))
        return tf.reshape(tf.tensor_scatter_nd_update(flat, some, found), tf.shape(pieces))

    def likelihood(self, text: tf.Tensor, target: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """log_prob float32 [batch], in nats, of the target's pieces and its end; pieces int32 [batch], their number.

        Each piece is told those before it, whatever the model would have chosen.
        """
        source = self.tokenizer.encode({"text": text})["source"]
        wanted = self.tokenizer.encode_targets({"text": text, "target": target})["target"]
        rows, pieces = tf.shape(text)[0], self.model.get_layer("pieces")

        def scored(first: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            some = slice(first, first + ROWS)
            inputs = {"source": _dense(source[some]), "target": _dense(wanted[some])}
            states = self.model(inputs, training=False)["states"]
            found, _ = sequence_cross_entropy(inputs["target"], states, *pieces.scoring())
            return first + ROWS, tf.concat([sums, -found], axis=0)

        # One slice at a time, so that memory is bounded.
        _, sums = tf.while_loop(
            lambda first, _: first < rows, scored, (tf.constant(0), tf.zeros([0])),
            (tf.TensorShape([]), tf.TensorShape([None])), parallel_iterations=1,
        )  # fmt: skip
        return {"log_prob": sums, "pieces": tf.cast(wanted.row_lengths(), tf.int32)}


def _dense(ids: tf.RaggedTensor) -> tf.Tensor:
    """Padded to the longest; at least one place, for without any row there would be none, which LSTMs need."""
    dense = ids.to_tensor(PADDING)
    return tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]], constant_values=PADDING)
