"""The settings of music; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import FIXED, INHERITED, RESET, RunConfig, config_field, network_field
from common.types import RecipeInfo

ABOUT = RecipeInfo(
    task="Music generation",
    input="a few notes, or nothing",
    output="a piece of music",
    model="LSTM over frames of notes",
    data="Bach chorales out of music21 (public domain)",
    formats="MIDI, MusicXML, ABC, JSON of frames, folders and archives of these, `tfds:NAME`",
    example_data="tunes.zip",
    example_input="C4 E4 G4",
    example_call="events=tf.zeros([1, 0, 3], tf.int32), length=tf.constant([64]), temperature=tf.constant([0.9]),"
    " top_k=tf.constant([0]), top_p=tf.constant([1.0]), seed=tf.constant([7])",
)


# Defaults where a run is fine-tuned. On 20 chorales, nats a frame of 76 others: 30 epochs at 2e-3 gave 5.60, 60 at 4e-3
# 5.52, and of 150 at 4e-3 the 60th was the best, 5.52.
TUNED = {"learning_rate": 4e-3}


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of music."""

    batch_type: str = config_field(
        "tokens",
        "What --batch-size counts: pieces (examples), or their notes and frames with padding (tokens).",
        choices=("examples", "tokens"),
        group="Training",
    )
    batch_size: int = config_field(
        4096, "Notes and frames, or pieces, in a batch, over all replicas.", low=1, group="Training"
    )
    learning_rate: float = config_field(
        5e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training"
    )
    weight_decay: float = config_field(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    ema_momentum: float = config_field(
        0.998,
        "Decay of the moving average of weights that is evaluated and kept; 0 for none.",
        low=0,
        below=1,
        group="Training",
    )
    patience: int = config_field(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    frame_lstm_units: int = network_field(192, "Hidden units of each LSTM over frames.", low=1)
    frame_lstm_layers: int = network_field(2, "Number of stacked LSTM layers over frames.", low=1)
    note_lstm_units: int = network_field(128, "Hidden units of the LSTM over the notes of a frame.", low=1)
    dropout: float = network_field(0.25, "Dropout rate.", low=0, below=1, on_fine_tune=INHERITED)
    max_transpose: int = network_field(
        6, "Maximum random transposition in training, in semitones.", low=0, high=60, on_fine_tune=RESET
    )
    max_frames: int = network_field(
        256, "Maximum frames per segment in training; longer pieces are split.", low=2, on_fine_tune=INHERITED
    )
    tempo: float = network_field(
        90.0, "Quarter notes a minute of what is played.", low=1, high=1000, on_fine_tune=INHERITED
    )

    steps_per_beat: int = config_field(
        4, "Grid steps per quarter note.", low=1, high=48, group="Data", on_fine_tune=FIXED
    )


@dataclass(frozen=True)
class GenerationConfig:
    """All settings of generation by `predict`."""

    prompt: str | None = config_field(
        None,
        'Notes to begin with, such as "C4 E4+G4:2 r", or a file.',
        metavar="NOTES|FILE",
        shown="nothing",
        group="Prediction",
    )
    length_after_prompt: bool = config_field(False, "Let --length count from the prompt's end.", group="Prediction")
    length: str = config_field(
        "16bars", "Length of pieces in bars, beats, steps or seconds (30s).", metavar="TEXT", group="Prediction"
    )
    num_samples: int = config_field(
        1, "Pieces per prompt, with consecutive seeds.", low=1, high=1000, group="Prediction"
    )
    seed: int = config_field(1, "Random seed.", low=0, high=2**31 - 1, group="Prediction")
    temperature: float = config_field(1.0, "Sampling temperature; 0 is greedy.", low=0, high=100, group="Prediction")
    top_k: int = config_field(0, "Sample from the k likeliest notes; 0 for all.", low=0, group="Prediction")
    top_p: float = config_field(
        1.0, "Sample from the likeliest notes whose probabilities sum to p.", above=0, high=1, group="Prediction"
    )
    key: str | None = config_field(None, 'Such as "G major" or "F# minor".', shown="any", group="Prediction")
    max_voices: int | None = config_field(
        None, "Maximum notes at a time.", low=0, high=128, shown="as in the data", group="Prediction"
    )
    lowest_note: str | None = config_field(
        None, "Lowest note.", metavar="NOTE", shown="as in the data", group="Prediction"
    )
    highest_note: str | None = config_field(
        None, "Highest note.", metavar="NOTE", shown="as in the data", group="Prediction"
    )
    tempo: float | None = config_field(
        None, "Quarter notes a minute.", low=1, high=1000, shown="that of the run", group="Prediction"
    )
    output: tuple[str, ...] = config_field(
        (),
        "Write a file: .mid, .wav, .png, .svg, .musicxml or .json; repeat for several.",
        metavar="FILE",
        group="Prediction",
    )
