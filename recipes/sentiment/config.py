"""The settings of sentiment analysis; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import RunConfig, option
from common.recipe import About

ABOUT = About(
    task="Sentiment analysis",
    input="text",
    output="label",
    model="many-to-one LSTM",
    data="10,568 movie review snippets (Hutto and Gilbert 2014, MIT)",
)


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a sentiment run."""

    vocabulary: int = option(20_000, "Largest number of words with a row of their own.", low=1)
    min_count: int = option(2, "A word seen fewer times shares a row with others.", low=1)
    unknown_buckets: int = option(1_000, "Rows shared by all other words, by hash.", low=1)
    max_length: int = option(400, "Words kept of a text, half of them from its end.", low=2)
    embedding_units: int = option(64, "Size of a word's vector.", low=1)
    lstm_units: int = option(64, "States of an LSTM in one direction.", low=1)
    lstm_layers: int = option(1, "LSTMs stacked.", low=1, high=8)
    bidirectional: bool = option(True, "Read backwards too.")
    pooling: str = option("max", "How states become one vector.", choices=("max", "mean", "last", "attention"))
    word_dropout: float = option(0.1, "Share of words left out in training.", low=0, below=1)
    embedding_dropout: float = option(0.3, "Share of embedding units dropped from a whole text.", low=0, below=1)
    state_dropout: float = option(0.5, "Share of pooled states dropped.", low=0, below=1)
