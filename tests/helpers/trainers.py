"""Small trainers on made-up examples, and what they give."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import discovery
from common.data import encoding
from common.data.example_store import StoreWriter
from common.runtime.tensorflow_setup import set_seed
from common.training.trainer import EpochResult, Trainer
from common.types import Batch, Example, ExampleSource, FreezePhase, JsonObject
from tests.helpers.cli_calls import tagged_sentences, tiny_images, tiny_pairs, tiny_texts, tiny_tunes

SMALL = {"embedding_dim": 8, "lstm_units": 8, "learning_rate": 0.01, "batch_size": 16, "patience": 0}
SMALL_OF: dict[str, dict[str, Any]] = {
    "sentiment": SMALL,
    "ner": {**SMALL, "char_filters": 4, "wide_buckets": 500},
    "image_classification": {"base_filters": 2, "learning_rate": 0.01, "batch_size": 16},
    "translation": {
        "hidden_dim": 8,
        "num_layers": 1,
        "num_heads": 2,
        "intermediate_dim": 8,
        "vocabulary_size": 400,
        "learning_rate": 0.01,
        "batch_type": "examples",
        "batch_size": 16,
        "ema_momentum": 0,
    },
    "music": {
        "frame_lstm_units": 8,
        "note_lstm_units": 8,
        "frame_lstm_layers": 1,
        "learning_rate": 0.01,
        "batch_type": "examples",
        "batch_size": 16,
        "ema_momentum": 0,
    },
}
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in SMALL_OF if name != "sentiment"]
EACH = pytest.mark.parametrize("name", ["sentiment", *OTHERS])


def made_up(name: str, count: int) -> list[Example]:
    if name == "sentiment":
        return [{"text": text, "label": label} for text, label in tiny_texts(count)]
    if name == "image_classification":
        return [{"image_bytes": file, "label": label} for file, label in tiny_images(count)]
    if name == "translation":
        return [{"text": text, "target": target} for text, target in tiny_pairs(count)]
    if name == "music":
        tunes = [np.array([[at, 1, pitch] for at, (pitch,) in enumerate(tune)], np.int32) for tune in tiny_tunes(count)]
        return [{"events": events, "steps": len(events), "bar": 4, "key": 1} for events in tunes]
    return [{"text": " ".join(tokens), "tokens": tokens, "tags": tags} for tokens, tags in tagged_sentences(count)]


def made(
    count: int = 50,
    strategy: tf.distribute.Strategy | None = None,
    valid: bool = True,
    name: str = "sentiment",
    freeze: tuple[Any, ...] | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer of a small model on made-up examples.

    Args:
      freeze: (name of a layer that stays as it is at first, ratio of the training, learning rate multiplier after it).
    """
    examples = made_up(name, count)
    config = discovery.load_recipe_config(name).Config(**{"epochs": 2, **SMALL_OF[name], **settings})
    keras.backend.clear_session()
    set_seed(config.seed)
    recipe_class = discovery.load_recipe(name)
    assets = recipe_class.build_assets(config, ExampleSource("made up", lambda: iter(examples)))
    config = recipe_class.resolve_defaults(config, assets)
    recipe: Any = recipe_class(config, assets)

    def encode(batch: Batch) -> Batch:
        inputs = {f"feature/{name}": value for name, value in recipe.encode(batch).items()}
        return inputs | {f"target/{name}": value for name, value in recipe.encode_targets(batch).items()}

    if freeze:
        layer, *rest = freeze
        recipe.get_initial_freeze = lambda model: FreezePhase([model.get_layer(layer)], *rest)
    encoder = encoding.CompiledEncoder(encode, [field.name for field in recipe.fields])
    store = encoding.encode_to_store(examples, encoder, StoreWriter())
    return Trainer(recipe, config, store, store if valid else None, strategy or tf.distribute.get_strategy())


def trained(trainer: Trainer) -> list[JsonObject]:
    """The epochs' facts."""
    return [fact.logs for fact in trainer.fit() if isinstance(fact, EpochResult)]


def assert_same_weights(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], tolerance: float = 0.0
) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=0, atol=tolerance, err_msg=name)


def assert_same_training(trainer: Trainer, reference: Trainer) -> None:
    """Train both; they have the losses of each epoch and the weights in common, up to the order of sums."""
    for logs, expected in zip(trained(trainer), trained(reference), strict=True):
        assert logs["steps"] == expected["steps"]
        assert logs["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert_same_weights(trainer.get_weights(), reference.get_weights(), tolerance=1e-4)
