"""The settings of named entity recognition; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import OWN, TAKEN, RunConfig, network_option, option
from common.types import About

ABOUT = About(
    task="Named entity recognition",
    input="text or tokens",
    output="entities",
    model="BiLSTM over words and their characters with a CRF",
    data="hand-labelled US addresses (usaddress, MIT)",
    formats="CoNLL, CoNLL-U, JSON lines of tokens and tags or of text and spans, Parquet, `tfds:NAME`",
    own_data="notes.conll",
    own_input="1600 Pennsylvania Ave NW, Washington, DC 20500",
)

TUNED = {"learning_rate": 2e-3}  # defaults where a run is fine-tuned
PREFIXES, SUFFIXES = (1, 2, 3), (1, 2, 3, 4)  # characters of a word's beginnings and ends


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of named entity recognition."""

    learning_rate: float = option(3e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    weight_decay: float = option(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    batch_size: int = option(16, "Examples in a batch, over all replicas.", low=1, group="Training")

    vocabulary: int = option(50_000, "Largest number of words with a row of their own.", low=1, source=OWN)
    min_count: int = option(1, "A word seen fewer times counts as unknown.", low=1, source=OWN)
    embedding_units: int = network_option(100, "Size of a word's vector.", low=1)
    vectors: str | None = option(
        None,
        "Pretrained word vectors: a .vec, .txt or word2vec .bin file, may be compressed.",
        metavar="FILE",
        shown="none",
        source=OWN,
    )
    vector_words: int = option(
        50_000, "The first words of --vectors are kept beside those of training, so many.", low=0, source=OWN
    )
    tune_vectors: bool = network_option(False, "Train the pretrained vectors too.", source=TAKEN)
    affix_buckets: int = option(
        10_000, "Rows shared by hashed beginnings and ends of words; 0 for none.", low=0, high=65_534
    )
    shape_units: int = network_option(30, "Size of the vector of a word's shape, such as Xxxx or dd.", low=1)
    characters: str = network_option("cnn", "How characters become a vector.", choices=("cnn", "lstm", "none"))
    character_units: int = network_option(25, "Size of a character's vector.", low=1)
    character_filters: int = network_option(50, "Filters of the CNN, or states of the LSTM in both directions.", low=2)
    lstm_units: int = network_option(128, "States of an LSTM in one direction.", low=1)
    lstm_layers: int = network_option(1, "LSTMs stacked.", low=1, high=8)
    wide_buckets: int | None = option(
        None,
        "Rows shared by hashed features of words in the linear part beside the LSTM; 0 for no such part.",
        low=0,
        high=65_534,
        shown="fits the data",
    )
    wide_reach: int = network_option(2, "Neighbours on either side that the linear part looks at.", low=0, high=5)
    wide_rate: float = network_option(3.0, "How many times faster the linear part learns than the rest.", above=0)
    wide_dropout: float = network_option(
        0.3, "Share of features left out of the linear part.", low=0, below=1, source=TAKEN
    )
    lstm_loss: float = network_option(
        0.5, "Share of the loss on the LSTM alone, without the linear part.", low=0, high=1, source=TAKEN
    )
    decoder: str = network_option("crf", "How tags are chosen: together or each alone.", choices=("crf", "softmax"))
    scheme: str = option(
        None,
        "Tags within: with entities' ends and singles marked (bioes), or not.",
        choices=("bioes", "iob2"),
        shown="bioes up to 16 types",
    )
    word_dropout: float = network_option(
        0.5, "A word is taken as unknown with the chance of this by this plus its count.", low=0, source=TAKEN
    )
    input_dropout: float = network_option(
        0.5, "Share of a word's features dropped, the same ones for a whole sentence.", low=0, below=1, source=TAKEN
    )
    state_dropout: float = network_option(
        0.5, "Share of states dropped, the same ones for a whole sentence.", low=0, below=1, source=TAKEN
    )

    @property
    def affix_kinds(self) -> int:
        """How many affixes a word has."""
        return len(PREFIXES) + len(SUFFIXES)
