"""The settings of the toy recipe."""

from dataclasses import dataclass

from common.config import RunConfig, config_field
from common.types import RecipeInfo

ABOUT = RecipeInfo("Toy", "text", "label", "linear", "none", "CSV", "texts.csv", "a fine film")


@dataclass(frozen=True)
class Config(RunConfig):
    epochs: int | None = config_field(6, "Epochs.", low=1, group="Training")
    learning_rate: float = config_field(0.1, "Learning rate.", above=0, group="Training")
    buckets: int = config_field(500, "Hash buckets.", low=1)
