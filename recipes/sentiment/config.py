"""The settings of sentiment analysis; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import OWN, TAKEN, RunConfig, network_option, option
from common.types import About

ABOUT = About(
    task="Sentiment analysis",
    input="text",
    output="label",
    model="many-to-one LSTM with a linear part beside it",
    data="10,568 movie review snippets (Hutto and Gilbert 2014, MIT)",
    formats="CSV, TSV, JSON lines, Parquet, folders, line-aligned files, `tfds:NAME`",
    own_data="reviews.csv",
    own_input="a fine film",
)

# Defaults where a run is fine-tuned, see docs/fine_tuning.md.
TUNED = {"learning_rate": 1e-3}
PREFIXES, SUFFIXES = (3, 4, 5), (3, 4)  # characters of a word's beginnings and ends


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a sentiment run."""

    learning_rate: float = option(2e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    weight_decay: float = option(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    label_smoothing: float = option(
        0.1, "Share of the target spread evenly over all labels.", low=0, below=1, group="Training"
    )

    vocabulary: int = option(30_000, "Largest number of words with a row of their own.", low=1, source=OWN)
    min_count: int = option(2, "A word seen fewer times counts as unknown.", low=1, source=OWN)
    max_length: int = option(800, "Words kept of a text, half of them from its end.", low=2, source=TAKEN)
    lstm_length: int = network_option(
        128, "Words of these that the LSTM reads, half of them from the end.", low=2, source=TAKEN
    )
    embedding_units: int = network_option(64, "Size of a word's vector.", low=1)
    affix_buckets: int = option(
        20_000, "Rows shared by hashed beginnings and ends of words; 0 for none.", low=0, high=65_534
    )
    lstm_units: int = network_option(64, "States of an LSTM in one direction.", low=1)
    lstm_layers: int = network_option(1, "LSTMs stacked.", low=1, high=8)
    bidirectional: bool = network_option(True, "Read backwards too.")
    pooling: str = network_option("max", "How states become one vector.", choices=("max", "mean", "last", "attention"))
    pair_buckets: int = network_option(
        2**17, "Rows shared by hashed word pairs in the linear part beside the LSTM; 0 for no such part.", low=0
    )
    wide_scale: float = network_option(0.7, "How strongly the linear part begins as naive Bayes.", low=0, source=OWN)
    wide_rate: float = network_option(5.0, "How many times faster the linear part learns than the rest.", above=0)
    lstm_loss: float = network_option(
        0.5, "Share of the loss on the LSTM alone, without the linear part.", low=0, high=1, source=TAKEN
    )
    word_dropout: float = network_option(
        0.05, "Share of words taken as unknown in training.", low=0, below=1, source=TAKEN
    )
    embedding_dropout: float = network_option(
        0.3, "Share of embedding units dropped from a whole text.", low=0, below=1, source=TAKEN
    )
    state_dropout: float = network_option(0.5, "Share of pooled states dropped.", low=0, below=1, source=TAKEN)
    wide_dropout: float = network_option(
        0.5, "Share of words and pairs left out of the linear part.", low=0, below=1, source=TAKEN
    )

    @property
    def affix_kinds(self) -> int:
        """How many affixes a word has."""
        return len(PREFIXES) + len(SUFFIXES)
