"""LSTMs from pieces to pieces, with attention: a bidirectional encoder, and a decoder that begins with its mean.

Attention is Luong's (Luong et al. 2015), asked by the lowest layer of the decoder and given to all above it (as in Wu
et al. 2016) rather than fed back as the next input: so that each layer is computed over all steps at once in training.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from common.modeling.decoding.ops import repeated
from common.modeling.layers.dropout import Dropout
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.recurrent import LSTM, lstm
from common.modeling.layers.transformer import Attention

from .config import Config
from .layers import Before, Lengths, Pieces, Unseen, with_drawn


def build(config: Config, pieces: int, source_pieces: int, joint: bool) -> keras.Model:
    """The model in training; arguments, inputs and outputs are those of the Transformer."""
    rate = config.dropout if config.noise else 0.0
    source = keras.Input([None], dtype="int32", name="source")
    target = keras.Input([None], dtype="int32", name="target")
    count = source_pieces if joint else pieces
    source_table = table = Pieces(count, config.units, 0, rate, scored=pieces, name="pieces")
    if not joint:
        source_table = Pieces(source_pieces, config.units, 0, rate, scored=0, name="source_pieces")
    lengths = Lengths(name="lengths")(source)
    memory = _encoded(config, source_table(source), lengths, rate)
    unseen = Unseen(name="unseen")(source)
    mean = Pooling("mean", name="mean")(memory, lengths)
    before, _ = Before(name="before")(target)
    states = table(before)
    looked = None
    for number in range(1, config.layers + 1):
        bridge = [
            keras.layers.Dense(config.units, activation="tanh", name=f"bridge_{number}_{part}")(mean)
            for part in ("state", "cell")
        ]
        inputs = states if looked is None else _joined(config, states, looked, f"joined_{number}")
        new = LSTM(config.units, name=f"decoder_{number}")(inputs, initial_state=bridge)
        new = Dropout(rate, name=f"decoder_{number}_dropout")(new)
        if looked is None:
            states = new
            looked = Attention(config.units, 1, name="across")(states, memory, unseen)
        else:
            states = keras.layers.Add(name=f"decoder_{number}_sum")([states, new])
    states = _joined(config, states, looked, "states")
    states = Dropout(rate, name="states_dropout")(states)
    found = with_drawn(config, pieces, target, states)
    return keras.Model({"source": source, "target": target}, found, name="lstm")


def _encoded(config: Config, states: Any, lengths: Any, rate: float) -> Any:
    for number in range(1, config.layers + 1):
        new = lstm(states, lengths, config.units // 2, True, f"encoder_{number}")
        new = Dropout(rate, name=f"encoder_{number}_dropout")(new)
        states = new if number == 1 else keras.layers.Add(name=f"encoder_{number}_sum")([states, new])
    return keras.layers.Identity(name="memory")(states)


def _joined(config: Config, states: Any, looked: Any, name: str) -> Any:
    both = keras.layers.Concatenate(name=f"{name}_both")([states, looked])
    return keras.layers.Dense(config.units, activation="tanh", name=name)(both)


class Stepper:
    """The model one step at a time; see that of the Transformer."""

    def __init__(self, config: Config, model: keras.Model, source: tf.Tensor, beam: int):
        self.config, self.get = config, model.get_layer
        encoder = keras.Model(self.get("source").output, [self.get("memory").output, self.get("mean").output])
        memory, mean = encoder(source, training=False)
        self.scores = self.get("pieces").scorer(memory.dtype)
        self.across = self.get("across")
        # The beams of a sentence look at one memory, as steps of one sequence would.
        self.memory, self.beam = (self.get("unseen")(source), self.across.keys_values(memory)), beam
        numbers = range(1, config.layers + 1)
        bridges = [[self.get(f"bridge_{number}_{part}")(mean) for part in ("state", "cell")] for number in numbers]
        self.state = repeated(bridges, beam)

    def __call__(self, state: Any, tokens: tf.Tensor, position: tf.Tensor, memory: Any) -> tuple[Any, Any, Any]:
        """(state, logits [rows, pieces], attention [rows, places])."""
        unseen, keys_values = memory
        states, looked, attention, kept = self.get("pieces")(tokens[:, None])[:, 0], None, None, []
        for number, old in enumerate(state, 1):
            inputs = states if looked is None else self.get(f"joined_{number}")(tf.concat([states, looked], axis=1))
            new, carried = self.get(f"decoder_{number}").cell(inputs, old)
            kept.append(carried)
            if looked is None:
                states = new
                asked = tf.reshape(states, [-1, self.beam, self.config.units])
                found, weights = self.across.attended(asked, *keys_values, unseen)
                looked = tf.reshape(found, tf.shape(states))
                attention = tf.reshape(tf.cast(weights, tf.float32), [-1, tf.shape(weights)[3]])
            else:
                states += new
        last = self.get("states")(tf.concat([states, looked], axis=1))
        return kept, self.scores(last), attention
