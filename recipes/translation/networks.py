"""The network that `--model` names, and what the layer groups of either are."""

from __future__ import annotations

import keras
import tensorflow as tf

from . import lstm, transformer
from .config import Config

LAYER_GROUPS = {  # patterns of layer names
    "embedding": ("source_pieces",),
    "encoder": ("encoder_*", "memory"),
    "decoder": ("pieces", "bridge_*", "across", "joined_*", "decoder_*", "states"),
}


def build_model(config: Config, num_pieces: int, num_source_pieces: int, is_joint: bool) -> keras.Model:
    """Return the model in training; see `transformer.build_model`."""
    network = lstm if config.model == "lstm" else transformer
    return network.build_model(config, num_pieces, num_source_pieces, is_joint)


def make_decoder_step(
    config: Config, model: keras.Model, source: tf.Tensor, num_beams: int
) -> lstm.LstmDecoderStep | transformer.TransformerDecoderStep:
    """Return the model one step at a time, for sources int32 [batch, places] with so many beams each."""
    step_class = lstm.LstmDecoderStep if config.model == "lstm" else transformer.TransformerDecoderStep
    return step_class(config, model, source, num_beams)
