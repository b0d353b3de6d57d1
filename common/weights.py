"""A model's weights as arrays by variable path, apart from its random states."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.errors import RunError


def random_states(model: Any) -> list[Any]:
    """The states of the model's random numbers, in the order in which layers were made."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def model_weights(model: Any) -> dict[str, np.ndarray]:
    """The model's weights and statistics by variable path, without its random states."""
    return {v.path: v.numpy() for v in model.variables if not v.path.endswith("seed_generator_state")}


def set_model_weights(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Sets all weights of a model.

    Raises:
      RunError: a weight is missing or of another shape.
    """
    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            continue
        value = arrays.get(variable.path)
        if value is None or value.shape != tuple(variable.shape):
            found = "is missing" if value is None else f"has shape {value.shape}, not {tuple(variable.shape)}"
            raise RunError(f"The weights do not fit the model: {variable.path} {found}.")
        variable.assign(value)
