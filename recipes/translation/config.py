"""The settings of translation; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import OWN, TAKEN, RunConfig, network_option, option
from common.types import About

ABOUT = About(
    task="Translation",
    input="text",
    output="text in another language",
    model="encoder-decoder with attention, Transformer or LSTM",
    data="messages of Django and Indico, English to German (BSD-3, MIT)",
    formats="TSV, CSV, JSON lines, Parquet, two line-aligned files, PO, MO, TMX, `tfds:NAME`",
    own_data="pairs.tsv",
    own_input="a sentence",
)


# Defaults where a run is fine-tuned. The learning rate is that of any run: from captions to messages of programs, 15
# epochs at a third of it had a validation loss of 3.37 nats a piece (chrF 42.2), and 20 at all of it 3.12 (52.5). With
# 0.3 of dropout over four epochs it was 3.28 after eight (of another source), and with 0.15 at once 3.03.
TUNED = {"dropout": 0.15, "dropout_rise": 0}


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of translation."""

    batch_type: str = option(
        "tokens",
        "What --batch-size counts: pairs (examples), or pieces of both sides with their padding (tokens).",
        choices=("examples", "tokens"),
        group="Training",
    )
    batch_size: int = option(2048, "Pieces or pairs in a batch, over all replicas.", low=1, group="Training")
    learning_rate: float = option(3e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    weight_decay: float = option(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    label_smoothing: float = option(
        0.1, "Share of the target spread evenly over all pieces.", low=0, below=1, group="Training"
    )
    sampled: int = option(
        0,
        "Pieces drawn at random that a step of training scores, besides those of its targets; 0 scores all.",
        low=0,
        source=OWN,
        group="Training",
    )
    average: float = option(
        0.999,
        "Decay of the moving average of weights that is evaluated and kept; 0 for none.",
        low=0,
        below=1,
        group="Training",
    )
    optimizer: str = option(
        "muon", "Of the matrices of hidden layers; all else is AdamW's.", choices=("muon", "adamw"), group="Training"
    )
    patience: int = option(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    model: str = option("transformer", "The network.", choices=("transformer", "lstm"))
    units: int = network_option(None, "Width of the states.", low=2, shown="128, 256 of lstm")
    layers: int = network_option(
        None, "Layers of the encoder, and as many of the decoder.", low=1, shown="4, 2 of lstm"
    )
    heads: int = network_option(4, "Heads of attention.", low=1)
    inner: int = network_option(256, "Units between the dense layers of a block.", low=1)
    dropout: float = network_option(0.3, "Share of the states that is dropped.", low=0, below=1, source=OWN)
    dropout_rise: int | None = network_option(
        None,
        "Epochs over which --dropout rises from 0; 0 for all of it at once.",
        low=0,
        source=OWN,
        shown="1 for each 1,000 pairs",
    )
    vocabulary: str = option(
        "separate", "Of subword pieces: one of both languages, or one of each.", choices=("joint", "separate")
    )
    pieces: int | None = option(None, "Subword pieces of a vocabulary.", low=300, shown="4000, 8000 if joint")
    placeholders: bool = option(
        True, "Treat placeholders and tags of a source, such as %(name)s, as single marks.", source=OWN
    )
    longest: int = option(
        128, "Pieces that a side may have; what is longer is left out of training.", low=1, source=TAKEN
    )

    beam: int = network_option(4, "Hypotheses that are followed at a time.", low=1, high=64, source=TAKEN)
    length_penalty: float = network_option(
        1.0, "How much longer translations are preferred.", low=0, high=5, source=TAKEN
    )
    look_ahead: float = network_option(
        1.1,
        "A hypothesis is given up that cannot win within so many times its length; more looks further, and is slower.",
        low=1,
        high=1000,
        source=TAKEN,
    )
    coverage_penalty: float = network_option(
        0.0, "How much translations of all of the source are preferred.", low=0, high=5, source=TAKEN
    )
    no_repeat: int = network_option(
        0, "So many pieces in a row come only once in a translation; 0 allows all.", low=0, source=TAKEN
    )
    max_length_ratio: float = network_option(
        2.0,
        "Pieces that a translation may have for each of its source's, and 10 more.",
        above=0,
        high=100,
        source=TAKEN,
    )

    source_language: str | None = option(None, "Its code, such as en, where data does not tell.", group="Data")
    target_language: str | None = option(
        None, "Its code, such as de; of the default data, too.", group="Data", shown="de for the default data"
    )
