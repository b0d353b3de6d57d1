"""The settings of translation; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import INHERITED, RESET, RunConfig, config_field, network_field
from common.types import RecipeInfo

ABOUT = RecipeInfo(
    task="Translation",
    input="text",
    output="text in another language",
    model="encoder-decoder with attention, Transformer or LSTM",
    data="messages of Django and Indico, English to German (BSD-3, MIT)",
    formats="TSV, CSV, JSON lines, Parquet, two line-aligned files, PO, MO, TMX, `tfds:NAME`",
    example_data="pairs.tsv",
    example_input="a sentence",
)


# Defaults where a run is fine-tuned. The learning rate is that of any run: from captions to messages of programs, 15
# epochs at a third of it had a validation loss of 3.37 nats a piece (chrF 42.2), and 20 at all of it 3.12 (52.5). With
# 0.3 of dropout over four epochs it was 3.28 after eight (of another source), and with 0.15 at once 3.03.
TUNED = {"dropout": 0.15, "dropout_warmup_epochs": 0}


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of translation."""

    batch_type: str = config_field(
        "tokens",
        "What --batch-size counts: pairs (examples), or pieces of both sides with their padding (tokens).",
        choices=("examples", "tokens"),
        group="Training",
    )
    batch_size: int = config_field(2048, "Pieces or pairs in a batch, over all replicas.", low=1, group="Training")
    learning_rate: float = config_field(
        3e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training"
    )
    weight_decay: float = config_field(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    label_smoothing: float = config_field(
        0.1, "Fraction of the target spread evenly over all pieces.", low=0, below=1, group="Training"
    )
    num_sampled: int = config_field(
        0,
        "Random pieces scored per training step besides the targets' (sampled softmax); 0 scores all.",
        low=0,
        on_fine_tune=RESET,
        group="Training",
    )
    ema_momentum: float = config_field(
        0.999,
        "Decay of the moving average of weights that is evaluated and kept; 0 for none.",
        low=0,
        below=1,
        group="Training",
    )
    optimizer: str = config_field(
        "muon", "Optimizer of hidden matrices; all else uses AdamW.", choices=("muon", "adamw"), group="Training"
    )
    patience: int = config_field(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    model: str = config_field("transformer", "The network.", choices=("transformer", "lstm"))
    hidden_dim: int = network_field(None, "Size of hidden states.", low=2, shown="128, 256 of lstm")
    num_layers: int = network_field(None, "Layers of the encoder, and of the decoder.", low=1, shown="4, 2 of lstm")
    num_heads: int = network_field(4, "Number of attention heads.", low=1)
    intermediate_dim: int = network_field(256, "Size of the feed-forward layer in a block.", low=1)
    dropout: float = network_field(0.3, "Dropout rate.", low=0, below=1, on_fine_tune=RESET)
    dropout_warmup_epochs: int | None = network_field(
        None,
        "Epochs over which --dropout rises from 0; 0 for all of it at once.",
        low=0,
        on_fine_tune=RESET,
        shown="1 for each 1,000 pairs",
    )
    shared_vocabulary: str = config_field(
        "separate",
        "Subword vocabulary: one for both languages (joint) or one for each (separate).",
        choices=("joint", "separate"),
    )
    vocabulary_size: int | None = config_field(
        None, "Number of subword pieces in a vocabulary.", low=300, shown="4000, 8000 if joint"
    )
    protect_placeholders: bool = config_field(
        True,
        "Replace placeholders and tags of the source text, such as %(name)s, with single marks.",
        on_fine_tune=RESET,
    )
    max_length: int = config_field(
        128, "Maximum pieces per side; longer pairs are left out of training.", low=1, on_fine_tune=INHERITED
    )

    num_beams: int = network_field(4, "Beam size.", low=1, high=64, on_fine_tune=INHERITED)
    length_penalty: float = network_field(
        1.0,
        "Exponent of the length normalization; larger prefers longer translations.",
        low=0,
        high=5,
        on_fine_tune=INHERITED,
    )
    beam_stop_ratio: float = network_field(
        1.1,
        "Prune hypotheses that cannot win within this multiple of their length; larger is slower.",
        low=1,
        high=1000,
        on_fine_tune=INHERITED,
    )
    coverage_penalty: float = network_field(
        0.0, "Weight of the coverage penalty.", low=0, high=5, on_fine_tune=INHERITED
    )
    no_repeat_ngram_size: int = network_field(
        0, "Size of n-grams of pieces that may occur only once; 0 allows all.", low=0, on_fine_tune=INHERITED
    )
    max_length_ratio: float = network_field(
        2.0,
        "Maximum pieces of a translation per piece of the source text (plus 10).",
        above=0,
        high=100,
        on_fine_tune=INHERITED,
    )

    source_language: str | None = config_field(None, "Its code, such as en, where data does not tell.", group="Data")
    target_language: str | None = config_field(
        None, "Its code, such as de; of the default data, too.", group="Data", shown="de for the default data"
    )
