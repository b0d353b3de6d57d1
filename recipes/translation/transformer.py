"""A Transformer from pieces to pieces (Vaswani et al. 2017): pre-norm, one table of vectors for all three uses."""

from __future__ import annotations

import keras
import tensorflow as tf

from common.modeling.layers.normalization import LayerNormalization
from common.modeling.layers.transformer import TransformerDecoderLayer, TransformerEncoderLayer

from .config import Config
from .layers import PaddingBias, ShiftRight, TiedEmbedding, add_sampled_ids

MAX_POSITIONS = 1024

Caches = list[tuple[tf.Tensor, tf.Tensor]]  # keys and values of each layer


def build_model(config: Config, num_pieces: int, num_source_pieces: int, is_joint: bool) -> keras.Model:
    """Return the model in training.

    Args:
      num_pieces, num_source_pieces: of the target's vocabulary, and of the source's.
      is_joint: whether the target's pieces are the first ones of the source's, and share their vectors.

    Inputs: source int32 [batch, places], target int32 [batch, steps]; padded with 0.
    Outputs: states [batch, steps, units], of which the layer "pieces" makes the scores of the target's pieces;
      and with --num-sampled those of `SampledIds`.
    """
    rate = config.dropout if config.stochastic_regularization else 0.0
    source = keras.Input([None], dtype="int32", name="source")
    target = keras.Input([None], dtype="int32", name="target")
    vocabulary_size = num_source_pieces if is_joint else num_pieces
    source_layer = pieces_layer = TiedEmbedding(
        vocabulary_size, config.hidden_dim, MAX_POSITIONS, rate, num_scored=num_pieces, name="pieces"
    )
    if not is_joint:
        source_layer = TiedEmbedding(
            num_source_pieces, config.hidden_dim, MAX_POSITIONS, rate, num_scored=0, name="source_pieces"
        )
    unseen = PaddingBias(name="unseen")(source)
    states = source_layer(source)
    for number in range(1, config.num_layers + 1):
        block = TransformerEncoderLayer(
            config.hidden_dim, config.num_heads, config.intermediate_dim, rate, name=f"encoder_{number}"
        )
        states = block(states, unseen)
    memory = LayerNormalization(name="memory")(states)
    before, later = ShiftRight(name="before")(target)
    states = pieces_layer(before)
    for number in range(1, config.num_layers + 1):
        block = TransformerDecoderLayer(
            config.hidden_dim, config.num_heads, config.intermediate_dim, rate, name=f"decoder_{number}"
        )
        states = block(states, memory, later, unseen)
    states = LayerNormalization(name="states")(states)
    outputs = add_sampled_ids(config, num_pieces, target, states)
    return keras.Model({"source": source, "target": target}, outputs, name="transformer")


class TransformerDecoderStep:
    """The model one step at a time, for `common.modeling.decoding.beam_search`.

    Args:
      model: as built.
      source: int32 [batch, places].
      num_beams: rows for each source.
    """

    def __init__(self, config: Config, model: keras.Model, source: tf.Tensor, num_beams: int):
        self.pieces, self.last = model.get_layer("pieces"), model.get_layer("states")
        self.blocks = [model.get_layer(f"decoder_{number}") for number in range(1, config.num_layers + 1)]
        outputs = [model.get_layer(name).output for name in ("memory", "unseen")]
        memory, unseen = keras.Model(model.get_layer("source").output, outputs)(source, training=False)
        self.scores = self.pieces.output_projection(memory.dtype)
        self.memory = unseen, [block.across.project_kv(memory) for block in self.blocks]
        steps = 0 * tf.shape(source)[1]  # none yet; the graph must not know it, for there will be more
        shape = [tf.shape(source)[0] * num_beams, config.num_heads, steps, config.hidden_dim // config.num_heads]
        self.state = [(tf.zeros(shape, memory.dtype), tf.zeros(shape, memory.dtype)) for _ in self.blocks]

    def __call__(
        self, state: Caches, tokens: tf.Tensor, position: tf.Tensor, memory: tuple[tf.Tensor, Caches]
    ) -> tuple[Caches, tf.Tensor, tf.Tensor]:
        """Return (state, logits [rows, pieces], attention [rows, places], of the last block)."""
        states = self.pieces(tokens[:, None], position)
        unseen, memories = memory
        caches: Caches = []
        attention = None
        for block, cache, of_block in zip(self.blocks, state, memories, strict=True):
            states, new, attention = block.step(states, cache, of_block, unseen)
            caches.append(new)
        return caches, self.scores(self.last(states)[:, 0]), attention
