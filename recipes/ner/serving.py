"""What is served: entities of raw texts, and tags of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from common.data.encoding import pad_ragged
from common.text.tokenizer import tokenize_with_offsets
from common.types import Batch, Endpoint

ROWS = 64  # that an endpoint tags at once
KINDS = (tf.string, tf.float32)  # of tags and scores

Tagged = tuple[tf.Tensor, tf.Tensor]


class Tagger:
    """Functions of texts and of tokens, in core TensorFlow ops.

    Args:
      encode: tokens to model inputs, as in training.
      predict: dense model inputs to tags, scores and lengths.
    """

    def __init__(self, encode: Callable[[Batch], Batch], predict: Callable[[Batch], Mapping[str, tf.Tensor]]):
        self.encode, self.predict = encode, predict

    def endpoints(self) -> dict[str, Endpoint]:
        """Return all of them, by name."""
        return {
            "serving_default": Endpoint(self.tag_text, {"text": tf.TensorSpec([None], tf.string, "text")}),
            "tokens": Endpoint(self.tag_tokens, {"tokens": tf.TensorSpec([None, None], tf.string, "tokens")}),
        }

    def tag_text(self, text: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return tokens of texts, where they stand, and their tags and scores: [batch, time], lengths [batch]."""
        tokens, starts, ends = tokenize_with_offsets(text)
        places = {"tokens": tokens.to_tensor(), "starts": starts.to_tensor(), "ends": ends.to_tensor()}
        return places | self._tag(tokens)

    def tag_tokens(self, tokens: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Return tags and scores of tokens, as wide as what was given; empty ones at the end are padding."""
        place = tf.range(1, tf.shape(tokens)[1] + 1)
        lengths = tf.maximum(tf.reduce_max(tf.where(tokens != "", place, 0), axis=1), 0)
        tagged = self._tag(tf.RaggedTensor.from_tensor(tokens, lengths))
        padding = [[0, 0], [0, tf.shape(tokens)[1] - tf.shape(tagged["tags"])[1]]]
        return tagged | {name: tf.pad(tagged[name], padding) for name in ("tags", "scores")}

    def _tag(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Tag some rows of like length at a time, for all would be padded to the longest."""
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        order = tf.argsort(lengths, stable=True)
        inputs = {name: tf.gather(value, order) for name, value in self.encode({"tokens": tokens}).items()}
        rows = tf.size(lengths)

        def step(
            first: tf.Tensor, tags: tf.TensorArray, scores: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
            group_tags, group_scores = self._tag_rows(
                {name: rows[first : first + ROWS] for name, rows in inputs.items()}
            )
            place = first // ROWS
            return first + ROWS, tags.write(place, group_tags), scores.write(place, group_scores)

        groups = tf.maximum((rows + ROWS - 1) // ROWS, 1)
        arrays = [tf.TensorArray(kind, groups, infer_shape=False, element_shape=[None]) for kind in KINDS]
        _, *arrays = tf.while_loop(
            lambda first, *_: (first < rows) | (first == 0), step, (tf.constant(0), *arrays), parallel_iterations=2
        )
        ordered = [tf.RaggedTensor.from_row_lengths(array.concat(), tf.gather(lengths, order)) for array in arrays]
        tags, scores = (tf.gather(values, tf.argsort(order)) for values in ordered)
        return {"tags": tags.to_tensor(), "scores": scores.to_tensor(), "lengths": lengths}

    def _tag_rows(self, inputs: Batch) -> Tagged:
        """Return tags and scores of some rows, as flat as the rows are, [steps]."""
        dense = pad_ragged(inputs)
        # Without a single token there would be no step to read.
        missing = tf.maximum(1 - tf.shape(dense["words"])[1], 0)
        dense = {
            name: tf.pad(value, [[0, 0], [0, missing]] + [[0, 0]] * (value.shape.rank - 2))
            for name, value in dense.items()
        }
        outputs = self.predict(dense)
        present = tf.sequence_mask(outputs["lengths"], tf.shape(outputs["tags"])[1])
        return tf.boolean_mask(outputs["tags"], present), tf.boolean_mask(outputs["scores"], present)
