"""LSTMs over frames, which say what comes next, and an LSTM over the notes of a frame, which chooses them one by one.

The chance of a piece is the product of the chances of its frames, and that of a frame is the product of the chances of
its notes from high to low and of its end, so that chords are chosen as a whole (as in RNN-NADE, Boulanger-Lewandowski
et al. 2012, with an LSTM in the place of NADE).
"""

from __future__ import annotations

import keras

from common.modeling.layers.dropout import ByteDropout
from common.modeling.layers.recurrent import FusedLSTM

from .config import Config
from .layers import FrameEmbedding, MergeSegments, NoteSlots, RandomTranspose, SplitSegments, TokensToFrames

LAYER_GROUPS = {  # patterns of layer names
    "embedding": ("frames_before",),
    "encoder": ("frame_lstm_*",),
    "head": ("slots", "note_lstm"),
}


def build_model(config: Config, num_tokens: int, low: int, high: int) -> keras.Model:
    """Return the model in training.

    Args:
      num_tokens: of the vocabulary.
      low, high: the range of notes that pieces are moved within.

    Inputs: frames int32 [batch, time], tokens padded with 0; bar and key int32 [batch].
    Outputs: grid int32 [batch, frames, slots], the frames as they were moved; context [batch, frames, units], what is
      known before each frame; states [batch * frames, slots, note units], of which the layer "slots" makes the scores
      of tokens.
    """
    rate = config.dropout if config.stochastic_regularization else 0.0
    frames = keras.Input([None], dtype="int32", name="frames")
    bar, key = (keras.Input([], dtype="int32", name=name) for name in ("bar", "key"))

    grid, heard_key = RandomTranspose(
        config.max_transpose if config.stochastic_regularization else 0, low, high, name="moved"
    )(TokensToFrames(name="grid")(frames), key)
    states = FrameEmbedding(num_tokens, config.frame_lstm_units, name="frames_before")(grid, bar, heard_key)
    whole = ByteDropout(rate, name="frames_before_dropout")(states)
    states = SplitSegments(config.max_frames, name="cut")(whole)
    for number in range(1, config.frame_lstm_layers + 1):
        new = ByteDropout(rate, name=f"frame_lstm_{number}_dropout")(
            FusedLSTM(config.frame_lstm_units, name=f"frame_lstm_{number}")(states)
        )
        # What the lowest one reads goes on to the end, too.
        states = keras.layers.Add(name=f"frame_lstm_{number}_sum")([states, new])
    states = MergeSegments(name="joined")(states, whole)
    notes = NoteSlots(num_tokens, config.note_lstm_units, name="slots")(grid, states)
    notes = ByteDropout(rate, name="slots_dropout")(notes)
    notes = FusedLSTM(config.note_lstm_units, name="note_lstm")(notes)
    notes = ByteDropout(rate, name="note_lstm_dropout")(notes)
    inputs = {"frames": frames, "bar": bar, "key": key}
    return keras.Model(inputs, {"grid": grid, "context": states, "states": notes}, name="music")
