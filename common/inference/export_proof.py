"""Answers of a SavedModel, asked in a fresh interpreter on the CPU, without this project on its path.

Arguments: the SavedModel's folder, an .npz file of inputs, and where to write the outputs. Imports nothing of ours.
"""

import sys
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def pack_bytes(key: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return an array without objects: bytes end to end, with their lengths."""
    if values.dtype != object:
        return {key: values}
    items = values.ravel().tolist()
    lengths = np.array([len(item) for item in items], np.int64).reshape(values.shape)
    return {key: np.frombuffer(b"".join(items), np.uint8), f"{key}/lengths": lengths}


def unpack_bytes(key: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what `pack_bytes` was given."""
    value = arrays[key]
    if f"{key}/lengths" not in arrays:
        return value
    lengths = arrays[f"{key}/lengths"]
    raw, ends = value.tobytes(), np.cumsum(lengths.ravel())
    items = [raw[end - length : end] for end, length in zip(ends, lengths.ravel(), strict=True)]
    return np.array(items, object).reshape(lengths.shape)


def answer(folder: str, inputs_path: str, outputs_path: str) -> None:
    """Call the endpoints of a SavedModel with batches named ENDPOINT/NUMBER/INPUT, and write their outputs alike."""
    model = tf.saved_model.load(folder)
    batches: dict[tuple[str, str], dict[str, tf.Tensor]] = {}
    with np.load(inputs_path, allow_pickle=False) as stored:
        arrays = dict(stored)
    for key in arrays:
        if not key.endswith("/lengths"):
            endpoint, number, name = key.split("/")
            batches.setdefault((endpoint, number), {})[name] = tf.constant(unpack_bytes(key, arrays))
    outputs: dict[str, np.ndarray] = {}
    for (endpoint, number), batch in batches.items():
        for name, value in model.signatures[endpoint](**batch).items():
            outputs |= pack_bytes(f"{endpoint}/{number}/{name}", value.numpy())
    np.savez(outputs_path, allow_pickle=False, **outputs)


if __name__ == "__main__":
    answer(*sys.argv[1:])
