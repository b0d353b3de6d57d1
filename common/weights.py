"""A model's weights as arrays by variable path, apart from its random states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from common.errors import RunError
from common.layers.dropout import SHARE


def random_states(model: Any) -> list[Any]:
    """The states of the model's random numbers, in the order in which layers were made."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _given_by_keras() -> set[str]:
    """Names that Keras gives to what has none, and numbers over all models of a process."""

    def snake(name: str) -> str:
        return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()

    return {"variable"} | {snake(name) for name in vars(keras.layers) if name[:1].isupper()}


def named_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """The model's weights and statistics by variable path, without its random states and what an epoch sets.

    Names that Keras numbered are numbered anew within the model, so that a second one in a process has the same.
    """
    given = _given_by_keras()
    numbers: dict[str, dict[str, int]] = {}

    def renumbered(name: str) -> str:
        base = re.sub(r"_\d+$", "", name)
        if base not in given:
            return name
        of_base = numbers.setdefault(base, {})
        number = of_base.setdefault(name, len(of_base))
        return f"{base}_{number}" if number else base

    for variable in model.variables:
        if not variable.path.endswith(("seed_generator_state", SHARE)):
            yield "/".join(map(renumbered, variable.path.split("/"))), variable


def model_weights(model: Any) -> dict[str, np.ndarray]:
    """The model's weights and statistics by variable path, without its random states."""
    return {path: variable.numpy() for path, variable in named_weights(model)}


def set_model_weights(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Sets all weights of a model.

    Raises:
      RunError: a weight is missing or of another shape.
    """
    for path, variable in named_weights(model):
        value = arrays.get(path)
        if value is None or value.shape != tuple(variable.shape):
            found = "is missing" if value is None else f"has shape {value.shape}, not {tuple(variable.shape)}"
            raise RunError(
                f"The weights do not fit the model: {path} {found}. If another version made them, train anew."
            )
        variable.assign(value)
