"""The settings of music; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import KEPT, OWN, TAKEN, RunConfig, network_option, option
from common.types import About

ABOUT = About(
    task="Music generation",
    input="a few notes, or nothing",
    output="a piece of music",
    model="LSTM over frames of notes",
    data="Bach chorales out of music21 (public domain)",
    formats="MIDI, MusicXML, ABC, JSON of frames, folders and archives of these, `tfds:NAME`",
    own_data="tunes.zip",
    own_input="C4 E4 G4",
    own_call="events=tf.zeros([1, 0, 3], tf.int32), length=tf.constant([64]), temperature=tf.constant([0.9]),"
    " top_k=tf.constant([0]), top_p=tf.constant([1.0]), seed=tf.constant([7])",
)


# Defaults where a run is fine-tuned. On 20 chorales, nats a frame of 76 others: 30 epochs at 2e-3 gave 5.60, 60 at 4e-3
# 5.52, and of 150 at 4e-3 the 60th was the best, 5.52.
TUNED = {"learning_rate": 4e-3}


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of music."""

    batch_type: str = option(
        "tokens",
        "What --batch-size counts: pieces (examples), or their notes and frames with padding (tokens).",
        choices=("examples", "tokens"),
        group="Training",
    )
    batch_size: int = option(
        4096, "Notes and frames, or pieces, in a batch, over all replicas.", low=1, group="Training"
    )
    learning_rate: float = option(5e-3, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    weight_decay: float = option(
        0.01, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    average: float = option(
        0.998,
        "Decay of the moving average of weights that is evaluated and kept; 0 for none.",
        low=0,
        below=1,
        group="Training",
    )
    patience: int = option(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    units: int = network_option(192, "Units of each LSTM over frames.", low=1)
    layers: int = network_option(2, "LSTMs over frames, one above the other.", low=1)
    note_units: int = network_option(128, "Units of the LSTM over the notes of a frame.", low=1)
    dropout: float = network_option(0.25, "Share of the states that is dropped.", low=0, below=1, source=TAKEN)
    transpose: int = network_option(
        6, "Most semitones by which pieces are moved at random in training.", low=0, high=60, source=OWN
    )
    longest: int = network_option(
        256, "Frames that an LSTM reads in a row in training; what is longer is cut.", low=2, source=TAKEN
    )
    tempo: float = network_option(90.0, "Quarter notes a minute of what is played.", low=1, high=1000, source=TAKEN)

    steps_per_beat: int = option(4, "Steps of the grid in a quarter note.", low=1, high=48, group="Data", source=KEPT)


@dataclass(frozen=True)
class Wishes:
    """All settings of what `predict` makes up."""

    prompt: str | None = option(
        None,
        'What pieces begin with: notes such as "C4 E4+G4:2 r", or a file.',
        metavar="NOTES|FILE",
        shown="nothing",
        group="Prediction",
    )
    continue_: bool = option(False, "Let --length count from the prompt's end.", group="Prediction")
    length: str = option(
        "16bars", "How long pieces are: bars, beats, steps or seconds (30s).", metavar="TEXT", group="Prediction"
    )
    count: int = option(
        1, "Pieces for each prompt, with seeds that follow each other.", low=1, high=1000, group="Prediction"
    )
    seed: int = option(1, "The same seed gives the same piece.", low=0, high=2**31 - 1, group="Prediction")
    temperature: float = option(
        1.0, "Above 1 bolder, below 1 safer; 0 is the likeliest.", low=0, high=100, group="Prediction"
    )
    top_k: int = option(0, "Draw from so many of the likeliest notes only; 0 for all.", low=0, group="Prediction")
    top_p: float = option(
        1.0, "Draw from the likeliest notes that hold this share only.", above=0, high=1, group="Prediction"
    )
    key: str | None = option(None, 'Such as "G major" or "F# minor".', shown="any", group="Prediction")
    voices: int | None = option(
        None, "Most notes at a time.", low=0, high=128, shown="as in the data", group="Prediction"
    )
    low: str | None = option(None, "Lowest note.", metavar="NOTE", shown="as in the data", group="Prediction")
    high: str | None = option(None, "Highest note.", metavar="NOTE", shown="as in the data", group="Prediction")
    tempo: float | None = option(
        None, "Quarter notes a minute.", low=1, high=1000, shown="that of the run", group="Prediction"
    )
    out: tuple[str, ...] = option(
        (),
        "Write a file: .mid, .wav, .png, .svg, .musicxml or .json; repeat for several.",
        metavar="FILE",
        group="Prediction",
    )
