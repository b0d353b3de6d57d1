"""A Transformer from pieces to pieces (Vaswani et al. 2017): pre-norm, one table of vectors for all three uses."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from common.modeling.layers.normalization import LayerNormalization
from common.modeling.layers.transformer import DecoderBlock, EncoderBlock

from .config import Config
from .layers import Before, Pieces, Unseen, with_drawn

PLACES = 1024  # of the longest sequence


def build(config: Config, pieces: int, source_pieces: int, joint: bool) -> keras.Model:
    """The model in training.

    Args:
      pieces, source_pieces: of the target's vocabulary, and of the source's.
      joint: whether the target's pieces are the first ones of the source's, and share their vectors.

    Inputs: source int32 [batch, places], target int32 [batch, steps]; padded with 0.
    Outputs: states [batch, steps, units], of which the layer "pieces" makes the scores of the target's pieces;
      and with --sampled those of `Drawn`.
    """
    rate = config.dropout if config.noise else 0.0
    source = keras.Input([None], dtype="int32", name="source")
    target = keras.Input([None], dtype="int32", name="target")
    count = source_pieces if joint else pieces
    source_layer = pieces_layer = Pieces(count, config.units, PLACES, rate, scored=pieces, name="pieces")
    if not joint:
        source_layer = Pieces(source_pieces, config.units, PLACES, rate, scored=0, name="source_pieces")
    unseen = Unseen(name="unseen")(source)
    states = source_layer(source)
    for number in range(1, config.layers + 1):
        block = EncoderBlock(config.units, config.heads, config.inner, rate, name=f"encoder_{number}")
        states = block(states, unseen)
    memory = LayerNormalization(name="memory")(states)
    before, later = Before(name="before")(target)
    states = pieces_layer(before)
    for number in range(1, config.layers + 1):
        block = DecoderBlock(config.units, config.heads, config.inner, rate, name=f"decoder_{number}")
        states = block(states, memory, later, unseen)
    states = LayerNormalization(name="states")(states)
    found = with_drawn(config, pieces, target, states)
    return keras.Model({"source": source, "target": target}, found, name="transformer")


class Stepper:
    """The model one step at a time, for `common.modeling.decoding.beam_search`.

    Args:
      model: as built.
      source: int32 [batch, places].
      beam: rows for each source.
    """

    def __init__(self, config: Config, model: keras.Model, source: tf.Tensor, beam: int):
        self.pieces, self.last = model.get_layer("pieces"), model.get_layer("states")
        self.blocks = [model.get_layer(f"decoder_{number}") for number in range(1, config.layers + 1)]
        outputs = [model.get_layer(name).output for name in ("memory", "unseen")]
        memory, unseen = keras.Model(model.get_layer("source").output, outputs)(source, training=False)
        self.scores = self.pieces.scorer(memory.dtype)
        self.memory = unseen, [block.across.keys_values(memory) for block in self.blocks]
        steps = 0 * tf.shape(source)[1]  # none yet; the graph must not know it, for there will be more
        shape = [tf.shape(source)[0] * beam, config.heads, steps, config.units // config.heads]
        self.state = [(tf.zeros(shape, memory.dtype), tf.zeros(shape, memory.dtype)) for _ in self.blocks]

    def __call__(self, state: Any, tokens: tf.Tensor, position: tf.Tensor, memory: Any) -> tuple[Any, Any, Any]:
        """(state, logits [rows, pieces], attention [rows, places], of the last block)."""
        states = self.pieces(tokens[:, None], position)
        unseen, memories = memory
        caches, attention = [], None
        for block, cache, of_block in zip(self.blocks, state, memories, strict=True):
            states, new, attention = block.step(states, cache, of_block, unseen)
            caches.append(new)
        return caches, self.scores(self.last(states)[:, 0]), attention
