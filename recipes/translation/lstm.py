"""LSTMs from pieces to pieces, with attention: a bidirectional encoder, and a decoder that begins with its mean.

Attention is Luong's (Luong et al. 2015), asked by the lowest layer of the decoder and given to all above it (as in Wu
et al. 2016) rather than fed back as the next input: so that each layer is computed over all steps at once in training.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from common.modeling.decoding.ops import repeat_rows
from common.modeling.layers.dropout import ByteDropout
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.recurrent import FusedLSTM, lstm_states
from common.modeling.layers.transformer import Attention

from .config import Config
from .layers import PaddingBias, SequenceLengths, ShiftRight, TiedEmbedding, add_sampled_ids

States = list[list[tf.Tensor]]  # state and cell of each layer
KeysValues = tuple[tf.Tensor, tf.Tensor]


def build_model(config: Config, num_pieces: int, num_source_pieces: int, is_joint: bool) -> keras.Model:
    """Return the model in training; arguments, inputs and outputs are those of the Transformer."""
    rate = config.dropout if config.stochastic_regularization else 0.0
    source = keras.Input([None], dtype="int32", name="source")
    target = keras.Input([None], dtype="int32", name="target")
    vocabulary_size = num_source_pieces if is_joint else num_pieces
    source_table = table = TiedEmbedding(
        vocabulary_size, config.hidden_dim, 0, rate, num_scored=num_pieces, name="pieces"
    )
    if not is_joint:
        source_table = TiedEmbedding(num_source_pieces, config.hidden_dim, 0, rate, num_scored=0, name="source_pieces")
    lengths = SequenceLengths(name="lengths")(source)
    memory = _encode(config, source_table(source), lengths, rate)
    unseen = PaddingBias(name="unseen")(source)
    mean = Pooling("mean", name="mean")(memory, lengths)
    before, _ = ShiftRight(name="before")(target)
    states = table(before)
    looked = None
    for number in range(1, config.num_layers + 1):
        bridge = [
            keras.layers.Dense(config.hidden_dim, activation="tanh", name=f"bridge_{number}_{part}")(mean)
            for part in ("state", "cell")
        ]
        inputs = states if looked is None else _combine(config, states, looked, f"joined_{number}")
        new = FusedLSTM(config.hidden_dim, name=f"decoder_{number}")(inputs, initial_state=bridge)
        new = ByteDropout(rate, name=f"decoder_{number}_dropout")(new)
        if looked is None:
            states = new
            looked = Attention(config.hidden_dim, 1, name="across")(states, memory, unseen)
        else:
            states = keras.layers.Add(name=f"decoder_{number}_sum")([states, new])
    states = _combine(config, states, looked, "states")
    states = ByteDropout(rate, name="states_dropout")(states)
    outputs = add_sampled_ids(config, num_pieces, target, states)
    return keras.Model({"source": source, "target": target}, outputs, name="lstm")


def _encode(config: Config, states: keras.KerasTensor, lengths: keras.KerasTensor, rate: float) -> keras.KerasTensor:
    for number in range(1, config.num_layers + 1):
        new = lstm_states(states, lengths, config.hidden_dim // 2, True, f"encoder_{number}")
        new = ByteDropout(rate, name=f"encoder_{number}_dropout")(new)
        states = new if number == 1 else keras.layers.Add(name=f"encoder_{number}_sum")([states, new])
    return keras.layers.Identity(name="memory")(states)


def _combine(config: Config, states: keras.KerasTensor, looked: keras.KerasTensor, name: str) -> keras.KerasTensor:
    both = keras.layers.Concatenate(name=f"{name}_both")([states, looked])
    return keras.layers.Dense(config.hidden_dim, activation="tanh", name=name)(both)


class LstmDecoderStep:
    """The model one step at a time; see that of the Transformer."""

    def __init__(self, config: Config, model: keras.Model, source: tf.Tensor, num_beams: int):
        self.config, self.get = config, model.get_layer
        encoder = keras.Model(self.get("source").output, [self.get("memory").output, self.get("mean").output])
        memory, mean = encoder(source, training=False)
        self.scores = self.get("pieces").output_projection(memory.dtype)
        self.across = self.get("across")
        # The beams of a sentence look at one memory, as steps of one sequence would.
        self.memory, self.num_beams = (self.get("unseen")(source), self.across.project_kv(memory)), num_beams
        numbers = range(1, config.num_layers + 1)
        bridges = [[self.get(f"bridge_{number}_{part}")(mean) for part in ("state", "cell")] for number in numbers]
        self.state = repeat_rows(bridges, num_beams)

    def __call__(
        self, state: States, tokens: tf.Tensor, position: tf.Tensor, memory: tuple[tf.Tensor, KeysValues]
    ) -> tuple[States, tf.Tensor, tf.Tensor]:
        """Return (state, logits [rows, pieces], attention [rows, places])."""
        unseen, keys_values = memory
        states, looked, attention = self.get("pieces")(tokens[:, None])[:, 0], None, None
        new_state: States = []
        for number, old in enumerate(state, 1):
            inputs = states if looked is None else self.get(f"joined_{number}")(tf.concat([states, looked], axis=1))
            new, carried = self.get(f"decoder_{number}").cell(inputs, old)
            new_state.append(carried)
            if looked is None:
                states = new
                asked = tf.reshape(states, [-1, self.num_beams, self.config.hidden_dim])
                context, weights = self.across.attend(asked, *keys_values, unseen)
                looked = tf.reshape(context, tf.shape(states))
                attention = tf.reshape(tf.cast(weights, tf.float32), [-1, tf.shape(weights)[3]])
            else:
                states += new
        last = self.get("states")(tf.concat([states, looked], axis=1))
        return new_state, self.scores(last), attention
