"""How texts become pieces, with marks for their placeholders, and back."""

from __future__ import annotations

import tensorflow as tf

from common.text import placeholders
from common.text.subwords import END, SubwordTokenizer
from common.types import Assets, Batch

from .config import Config


class PairTokenizer:
    """Pieces of sources and of targets, in core TensorFlow ops.

    Attributes:
      pieces, source_pieces: of targets, and of sources.
      is_joint: both are of one vocabulary. Of it the first pieces are those that targets were seen to have; only these
        are written.
      has_marks: placeholders of texts are replaced with marks.
    """

    def __init__(self, config: Config, assets: Assets):
        self.config = config
        self.pieces = SubwordTokenizer(assets["pieces"][: assets["num_target_pieces"]])
        self.is_joint = assets["source_pieces"] is None
        self.source_pieces = SubwordTokenizer(assets["pieces"] if self.is_joint else assets["source_pieces"])
        self.has_marks: bool = config.protect_placeholders and assets["placeholders"]

    def encode(self, features: Batch) -> Batch:
        """Return pieces of sources by the name "source", [batch, (pieces)]."""
        return {"source": self.encode_source(self.mask_placeholders(features["text"])[0])}

    def encode_targets(self, examples: Batch) -> Batch:
        """Return pieces of targets by the name "target", [batch, (pieces)]."""
        target = examples["target"]
        if self.has_marks:
            target = placeholders.mask_like(target, self.mask_placeholders(examples["text"])[1])
        return {"target": self._encode(target, self.pieces)}

    def mask_placeholders(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Return sources with marks for their placeholders, and what these stand for; as they are without marks."""
        if self.has_marks:
            return placeholders.mask_placeholders(texts)
        return texts, tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.string), tf.zeros_like(texts, tf.int64))

    def encode_source(self, masked: tf.Tensor) -> tf.RaggedTensor:
        """Return pieces of sources as `mask_placeholders` gives them, and the end, [batch, (pieces)]."""
        return self._encode(masked, self.source_pieces)

    def _encode(self, texts: tf.Tensor, pieces: SubwordTokenizer) -> tf.RaggedTensor:
        """Return pieces and the end, which keeps an empty text from being an empty row, [batch, (pieces)]."""
        ids = pieces.encode(texts)[:, : self.config.max_length - 1]
        end = tf.fill([ids.nrows(), 1], END)
        return tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1)

    def decode(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the texts of ids of target pieces, [batch, count, steps] to [batch, count]."""
        rows, count, steps = tf.unstack(tf.shape(tokens))
        return tf.reshape(self.pieces.decode(tf.reshape(tokens, [rows * count, steps])), [rows, count])
