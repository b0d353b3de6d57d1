"""The settings of sentiment analysis; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import INHERITED, RESET, RunConfig, config_field, network_field
from common.types import RecipeInfo

ABOUT = RecipeInfo(
    task="Sentiment analysis",
    input="text",
    output="label",
    model="many-to-one LSTM with a wide branch",
    data="10,568 movie review snippets (Hutto and Gilbert 2014, MIT)",
    formats="CSV, TSV, JSON lines, Parquet, folders, line-aligned files, `tfds:NAME`",
    example_data="reviews.csv",
    example_input="a fine film",
)

# Defaults where a run is fine-tuned, see docs/fine_tuning.md.
TUNED = {"learning_rate": 1e-3}
PREFIXES, SUFFIXES = (3, 4, 5), (3, 4)  # characters of a word's beginnings and ends


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a sentiment run."""

    learning_rate: float = config_field(
        2e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training"
    )
    weight_decay: float = config_field(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    label_smoothing: float = config_field(
        0.1, "Fraction of the target spread evenly over all labels.", low=0, below=1, group="Training"
    )

    vocabulary_size: int = config_field(30_000, "Maximum number of words in the vocabulary.", low=1, on_fine_tune=RESET)
    min_count: int = config_field(2, "Words seen fewer times count as unknown.", low=1, on_fine_tune=RESET)
    max_length: int = config_field(
        800, "Maximum tokens per text (head and tail are kept).", low=2, on_fine_tune=INHERITED
    )
    lstm_max_length: int = network_field(
        128, "Maximum tokens per text that the LSTM reads (head and tail).", low=2, on_fine_tune=INHERITED
    )
    embedding_dim: int = network_field(64, "Size of word embeddings.", low=1)
    affix_buckets: int = config_field(
        20_000, "Hash buckets for prefixes and suffixes of words; 0 for none.", low=0, high=65_534
    )
    lstm_units: int = network_field(64, "Hidden units per direction.", low=1)
    lstm_layers: int = network_field(1, "Number of stacked LSTM layers.", low=1, high=8)
    bidirectional: bool = network_field(True, "Use a bidirectional LSTM.")
    pooling: str = network_field(
        "max", "How hidden states are pooled into one vector.", choices=("max", "mean", "last", "attention")
    )
    bigram_buckets: int = network_field(
        2**17, "Hash buckets for word bigrams in the wide branch; 0 for no wide branch.", low=0
    )
    naive_bayes_scale: float = network_field(0.7, "Scale of the naive Bayes initialization.", low=0, on_fine_tune=RESET)
    wide_lr_multiplier: float = network_field(5.0, "Learning rate multiplier of the wide branch.", above=0)
    lstm_loss_weight: float = network_field(
        0.5, "Weight of the loss on the LSTM alone, without the wide branch.", low=0, high=1, on_fine_tune=INHERITED
    )
    word_dropout: float = network_field(
        0.05, "Fraction of words replaced with the unknown word in training.", low=0, below=1, on_fine_tune=INHERITED
    )
    embedding_dropout: float = network_field(
        0.3,
        "Fraction of embedding units dropped, the same ones for a whole text.",
        low=0,
        below=1,
        on_fine_tune=INHERITED,
    )
    pooled_dropout: float = network_field(
        0.5, "Fraction of pooled states dropped.", low=0, below=1, on_fine_tune=INHERITED
    )
    wide_dropout: float = network_field(
        0.5, "Fraction of words and bigrams dropped from the wide branch.", low=0, below=1, on_fine_tune=INHERITED
    )

    @property
    def num_affixes(self) -> int:
        """How many affixes a word has."""
        return len(PREFIXES) + len(SUFFIXES)
