"""The settings of named entity recognition; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import INHERITED, RESET, RunConfig, config_field, network_field
from common.types import RecipeInfo

ABOUT = RecipeInfo(
    task="Named entity recognition",
    input="text or tokens",
    output="entities",
    model="BiLSTM over words and their characters with a CRF",
    data="hand-labelled US addresses (usaddress, MIT)",
    formats="CoNLL, CoNLL-U, JSON lines of tokens and tags or of text and spans, Parquet, `tfds:NAME`",
    example_data="notes.conll",
    example_input="1600 Pennsylvania Ave NW, Washington, DC 20500",
)

TUNED = {"learning_rate": 2e-3}  # defaults where a run is fine-tuned
PREFIXES, SUFFIXES = (1, 2, 3), (1, 2, 3, 4)  # characters of a word's beginnings and ends


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of named entity recognition."""

    learning_rate: float = config_field(
        3e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training"
    )
    weight_decay: float = config_field(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    batch_size: int = config_field(16, "Examples in a batch, over all replicas.", low=1, group="Training")

    vocabulary_size: int = config_field(50_000, "Maximum number of words in the vocabulary.", low=1, on_fine_tune=RESET)
    min_count: int = config_field(1, "Words seen fewer times count as unknown.", low=1, on_fine_tune=RESET)
    embedding_dim: int = network_field(100, "Size of word embeddings.", low=1)
    pretrained_vectors: str | None = config_field(
        None,
        "Pretrained word vectors: a .vec, .txt or word2vec .bin file, may be compressed.",
        metavar="FILE",
        shown="none",
        on_fine_tune=RESET,
    )
    pretrained_vocabulary_size: int = config_field(
        50_000,
        "Number of words added from the top of --pretrained-vectors.",
        low=0,
        on_fine_tune=RESET,
    )
    train_vectors: bool = network_field(False, "Fine-tune the pretrained vectors.", on_fine_tune=INHERITED)
    affix_buckets: int = config_field(
        10_000, "Hash buckets for prefixes and suffixes of words; 0 for none.", low=0, high=65_534
    )
    shape_dim: int = network_field(30, "Size of embeddings of word shapes, such as Xxxx or dd.", low=1)
    char_encoder: str = network_field("cnn", "Encoder of a word's characters.", choices=("cnn", "lstm", "none"))
    char_dim: int = network_field(25, "Size of character embeddings.", low=1)
    char_filters: int = network_field(50, "Filters of the CNN, or hidden units of the LSTM in both directions.", low=2)
    lstm_units: int = network_field(128, "Hidden units per direction.", low=1)
    lstm_layers: int = network_field(1, "Number of stacked LSTM layers.", low=1, high=8)
    wide_buckets: int | None = config_field(
        None,
        "Hash buckets for word features in the wide branch; 0 for no wide branch.",
        low=0,
        high=65_534,
        shown="fits the data",
    )
    wide_window: int = network_field(2, "Neighbors on either side in the wide branch.", low=0, high=5)
    wide_lr_multiplier: float = network_field(3.0, "Learning rate multiplier of the wide branch.", above=0)
    wide_dropout: float = network_field(
        0.3, "Fraction of features dropped from the wide branch.", low=0, below=1, on_fine_tune=INHERITED
    )
    lstm_loss_weight: float = network_field(
        0.5, "Weight of the loss on the LSTM alone, without the wide branch.", low=0, high=1, on_fine_tune=INHERITED
    )
    decoder: str = network_field(
        "crf", "How tags are decoded: together (crf) or each alone (softmax).", choices=("crf", "softmax")
    )
    tag_scheme: str = config_field(
        None,
        "Internal tag scheme: with ends and singles of entities marked (bioes), or not.",
        choices=("bioes", "iob2"),
        shown="bioes up to 16 types",
    )
    word_dropout: float = network_field(
        0.5,
        "Rate r of replacing a word seen n times with the unknown word, r / (r + n).",
        low=0,
        on_fine_tune=INHERITED,
    )
    input_dropout: float = network_field(
        0.5,
        "Fraction of a word's features dropped, the same ones for a whole sentence.",
        low=0,
        below=1,
        on_fine_tune=INHERITED,
    )
    state_dropout: float = network_field(
        0.5,
        "Fraction of hidden states dropped, the same ones for a whole sentence.",
        low=0,
        below=1,
        on_fine_tune=INHERITED,
    )

    @property
    def num_affixes(self) -> int:
        """How many affixes a word has."""
        return len(PREFIXES) + len(SUFFIXES)
