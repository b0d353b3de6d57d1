"""Which network `--model` names, and what the parts of any are called."""

from __future__ import annotations

from types import ModuleType

from . import lstm, transformer
from .config import Config

PARTS = {  # patterns of layer names
    "embedding": ("source_pieces",),
    "encoder": ("encoder_*", "memory"),
    "decoder": ("pieces", "bridge_*", "across", "joined_*", "decoder_*", "states"),
}


def get_network(config: Config) -> ModuleType:
    """Return the module of the network, which has `build` and `Stepper`."""
    return lstm if config.model == "lstm" else transformer
