"""A model's weights as arrays by variable path, apart from its random states; and all that a checkpoint holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from common.errors import RunError
from common.modeling.layers.dropout import SHARE


def seed_generator_states(model: keras.Model) -> list[keras.Variable]:
    """Return the states of the model's random numbers, in the order in which layers were made."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def _get_keras_names() -> set[str]:
    """Return the names that Keras gives to what has none, and numbers over all models of a process."""

    def to_snake_case(name: str) -> str:
        return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()

    return {"variable"} | {to_snake_case(name) for name in vars(keras.layers) if name[:1].isupper()}


def iter_named_weights(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Yield the model's weights and statistics by variable path, without random states and what an epoch sets.

    Names that Keras numbered are numbered anew within the model, so that a second one in a process has the same.
    """
    keras_names = _get_keras_names()
    numbers: dict[str, dict[str, int]] = {}

    def renumber(name: str) -> str:
        base = re.sub(r"_\d+$", "", name)
        if base not in keras_names:
            return name
        base_numbers = numbers.setdefault(base, {})
        number = base_numbers.setdefault(name, len(base_numbers))
        return f"{base}_{number}" if number else base

    for variable in model.variables:
        if not variable.path.endswith(("seed_generator_state", SHARE)):
            yield "/".join(map(renumber, variable.path.split("/"))), variable


def get_model_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the model's weights and statistics by variable path, without its random states."""
    return {path: variable.numpy() for path, variable in iter_named_weights(model)}


def set_model_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Set all weights of a model.

    Raises:
      RunError: a weight is missing or of another shape.
    """
    for path, variable in iter_named_weights(model):
        value = arrays.get(path)
        if value is None or value.shape != tuple(variable.shape):
            problem = "is missing" if value is None else f"has shape {value.shape}, not {tuple(variable.shape)}"
            raise RunError(
                f"The weights do not fit the model: {path} {problem}. If another version made them, train anew."
            )
        variable.assign(value)


def get_checkpoint_arrays(model: keras.Model, optimizer: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Return all variables of a training by name: weights, random states and those of the optimizer."""
    arrays = {f"model/{path}": value for path, value in get_model_weights(model).items()}
    arrays |= {f"random/{index}": variable.numpy() for index, variable in enumerate(seed_generator_states(model))}
    return arrays | {f"optimizer/{name}": variable.numpy() for name, variable in optimizer.items()}


def set_checkpoint_arrays(
    model: keras.Model, optimizer: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray]
) -> None:
    """Set all variables of a training.

    Raises:
      RunError: one is missing or of another shape.
    """
    set_model_weights(model, {name[6:]: value for name, value in arrays.items() if name.startswith("model/")})
    named = {f"random/{index}": variable for index, variable in enumerate(seed_generator_states(model))}
    named |= {f"optimizer/{name}": variable for name, variable in optimizer.items()}
    for name, variable in named.items():
        value = arrays.get(name)
        if value is None or value.shape != variable.shape:
            raise RunError(f"The checkpoint lacks {name}, or holds it in another shape.")
        variable.assign(value)
