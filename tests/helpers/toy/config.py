"""The settings of the toy recipe."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import RunConfig, option
from common.types import About

ABOUT = About(
    task="Toy",
    input="text",
    output="label",
    model="linear",
    data="none",
    formats="CSV",
    own_data="texts.csv",
    own_input="a fine film",
)


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a toy run."""

    epochs: int | None = option(6, "Passes over the training data.", low=1, group="Training")
    learning_rate: float = option(0.1, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    buckets: int = option(500, "Rows shared by hashed words.", low=1)
