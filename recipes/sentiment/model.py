"""The sentiment network: embedding, (bi)LSTM, pooling, output."""

from __future__ import annotations

import keras

from common.layers.pooling import Pooling
from common.layers.recurrent import lstm

from .config import Config


def build(config: Config, words: int, labels: int) -> keras.Model:
    """The model: tokens int32 [batch, time], 0 where padded, to logits [batch, labels].

    Args:
      words: rows of the embedding.
    """
    rate = (lambda value: value) if config.noise else (lambda value: 0.0)
    tokens = keras.Input([None], dtype="int32", name="tokens")
    lengths = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(tokens, 0), "int32"), axis=1)

    states = keras.layers.Embedding(
        words, config.embedding_units, embeddings_initializer=keras.initializers.RandomUniform(-0.1, 0.1), name="words"
    )(tokens)  # [batch, time, embedding_units]
    states = keras.layers.Dropout(rate(config.word_dropout), noise_shape=(None, None, 1), name="word_dropout")(states)
    states = keras.layers.SpatialDropout1D(rate(config.embedding_dropout), name="embedding_dropout")(states)
    for layer in range(1, config.lstm_layers + 1):
        states = lstm(states, lengths, config.lstm_units, config.bidirectional, f"lstm_{layer}")
    pooled = Pooling(config.pooling, config.bidirectional, name="pooling")(states, lengths)
    pooled = keras.layers.Dropout(rate(config.state_dropout), name="state_dropout")(pooled)
    logits = keras.layers.Dense(labels, dtype="float32", name="labels")(pooled)
    return keras.Model({"tokens": tokens}, logits, name="sentiment")
