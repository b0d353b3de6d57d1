"""Networks of Keras Applications: what they are fed, the weights they begin with, and a run with one."""

import importlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.errors import ConfigError
from common.types import ExampleSource
from recipes.image_classification import backbones, model
from recipes.image_classification.config import BACKBONES, Config
from recipes.image_classification.recipe import ImageClassificationRecipe
from tests.helpers.cli_calls import fails, good, tiny_images, write_images

SMALL = "MobileNetV3Small"
PARTS = {  # module, and the key of its table of digests
    "MobileNetV3Small": ("mobilenet_v3", "small_224_1.0_float"),
    "MobileNetV3Large": ("mobilenet_v3", "large_224_1.0_float"),
    **{f"EfficientNetV2B{n}": ("efficientnet_v2", f"b{n}") for n in range(4)},
    "EfficientNetV2S": ("efficientnet_v2", "-s"),
    "ResNet50V2": ("resnet", "resnet50v2"),
    "ConvNeXtTiny": ("convnext", "convnext_tiny"),
    "ConvNeXtSmall": ("convnext", "convnext_small"),
}


def built(name=SMALL, size=32, **settings):
    return model.build_model(Config(backbone=name, backbone_weights="none", **settings), size, size, 3, 2, flip=False)


def test_published_weights_are_those_that_keras_names():
    assert set(backbones.PUBLISHED) == set(BACKBONES) == set(PARTS)
    for name, about in backbones.PUBLISHED.items():
        module, key = PARTS[name]
        keras_has = importlib.import_module(f"keras.src.applications.{module}")
        base = getattr(keras_has, "BASE_WEIGHTS_PATH", None) or keras_has.BASE_WEIGHT_PATH
        assert keras_has.WEIGHTS_HASHES[key][1] == about.digest, name
        assert base == f"{backbones.WEIGHTS_AT}{about.folder}/", name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", "EfficientNetV2B0", "EfficientNetV2S", "ResNet50V2", "ConvNeXtTiny"]
)
def test_networks_see_shades_as_keras_prepares_them(name):
    whole = built(name)
    theirs = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))
    theirs.set_weights(backbones.get_backbone(whole).get_weights())
    given = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    shades = given.astype(np.float32)
    if name.startswith("ResNet"):  # the only one whose preparation stands apart from the network
        shades = keras.applications.resnet_v2.preprocess_input(shades)
    expected = theirs(shades, training=False)
    found = keras.Model(whole.inputs, whole.get_layer(model.SEEN).output)([given], training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(tf.reduce_max(tf.abs(expected))))


@pytest.mark.slow
def test_replicas_normalise_over_the_whole_batch(three_replicas):
    one = built(stochastic_regularization=False)
    with three_replicas.scope():
        many = built(stochastic_regularization=False)
    many.set_weights(one.get_weights())
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8))

    @tf.function
    def on_replicas():
        def on_replica():
            place = 2 * tf.distribute.get_replica_context().replica_id_in_sync_group
            return many({"pixels": pixels[place : place + 2]}, training=True)["logits"]

        return three_replicas.run(on_replica)

    found = tf.concat(three_replicas.experimental_local_results(on_replicas()), axis=0)
    np.testing.assert_allclose(found, one({"pixels": pixels}, training=True)["logits"], atol=1e-3)


@pytest.fixture(scope="module")
def network():
    """MobileNetV3Small as Keras builds it, with weights of its own."""
    keras.utils.set_random_seed(5)
    return keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(48, 48, 3))


@pytest.mark.parametrize("file", ["some.weights.h5", "some.h5", "some.keras"])
def test_begin_reads_the_weights_of_a_file(network, tmp_path, file, capsys):
    path = tmp_path / file
    network.save_weights(path) if file == "some.weights.h5" else network.save(path)
    whole = built()
    backbones.load_backbone_weights(Config(backbone=SMALL, backbone_weights=str(path)), whole)
    for found, expected in zip(backbones.get_backbone(whole).get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert capsys.readouterr().err == f"Weights of {SMALL} out of {path}\n"


@pytest.mark.parametrize("file", ["other.weights.h5", "other.h5", "none.h5", "none.keras", "none.npz"])
def test_begin_refuses_a_file_of_other_weights(tmp_path, file):
    path = tmp_path / file
    if file.startswith("other"):
        inputs = keras.Input([8, 8, 3])
        other = keras.Model(inputs, keras.layers.Conv2D(3, 3, name="conv")(inputs))
        other.save_weights(path) if file == "other.weights.h5" else other.save(path)
    else:
        path.write_bytes(b"no weights at all")
    with pytest.raises(ConfigError, match=r"does not hold the weights of MobileNetV3Small without its last layer \("):
        backbones.load_backbone_weights(Config(backbone=SMALL, backbone_weights=str(path)), built())


def test_weights_of_no_backbone_or_none_need_no_file():
    assert backbones.find_weights_file(Config(backbone_weights="imagenet")) is None
    assert backbones.find_weights_file(Config(backbone=SMALL, backbone_weights="none")) is None
    with pytest.raises(ConfigError, match=r"there is no such file\. Give imagenet, none or the name of a file"):
        backbones.find_weights_file(Config(backbone=SMALL, backbone_weights="missing.h5"))


def test_imagenet_weights_that_are_not_there_are_told_before_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    given = ["--backbone", "ResNet50V2", "--offline", "--run-dir", tmp_path / "run"]
    message = fails("run", "image_classification", *given, status=2)
    file = "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert message == (
        f"{file} is not there, and --offline forbids to download it. Place {backbones.WEIGHTS_AT}resnet/{file} at"
        f" {tmp_path / 'home' / 'models' / file}, or give --backbone-weights FILE, or --backbone-weights none"
        " to begin without."
    )
    assert not (tmp_path / "run").exists()


def assets(grayscale=True, size=(20, 40)):
    return {
        "labels": ["a", "b"],
        "label_counts": [1, 1],
        "size": list(size),
        "grayscale": grayscale,
        "num_stem_downsamplings": 0,
    }


def test_backbones_see_colours_at_32_pixels_or_more():
    recipe = ImageClassificationRecipe(Config(backbone=SMALL, backbone_weights="none"), assets())
    assert (recipe.height, recipe.width, recipe.channels) == (32, 40, 3)
    for settings, found in (
        ({"image_size": "31"}, "--image-size is 31"),
        ({"color_mode": "grayscale"}, "--color-mode is grayscale"),
    ):
        with pytest.raises(ConfigError, match=found):
            ImageClassificationRecipe.load_data(Config(backbone=SMALL, **settings))


def test_only_networks_with_weights_stay_as_they_are_at_first():
    for settings in (
        {},
        {"backbone": SMALL, "backbone_weights": "none"},
        {"backbone": SMALL, "freeze_backbone_ratio": 0.0},
    ):
        recipe = ImageClassificationRecipe(Config(base_filters=2, **settings), assets())
        assert recipe.get_initial_freeze(recipe.build_model()) is None
    recipe = ImageClassificationRecipe(Config(backbone=SMALL, freeze_backbone_ratio=0.3), assets())
    whole = recipe.build_model()
    found = recipe.get_initial_freeze(whole)
    assert list(found.layers) == [backbones.get_backbone(whole)]
    assert found.ratio == 0.3


def test_no_noise_stops_dropout_within_a_network():
    shades = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    quiet = built("EfficientNetV2B0", stochastic_regularization=False, mix_augmentation="mixup", random_translation=0.5)
    first, second = (quiet({"pixels": shades}, training=True)["logits"].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_new_model_takes_the_weights_of_one_before_it():
    # Keras numbers weights without a name over all models of a process, as those of ConvNeXt.
    from common.training.weights import get_model_weights, set_model_weights

    first, second = built("ConvNeXtTiny"), built("ConvNeXtTiny")
    kept = get_model_weights(first)
    set_model_weights(second, kept)
    for name, value in get_model_weights(second).items():
        np.testing.assert_array_equal(value, kept[name])
    assert len(kept) == len([v for v in first.variables if not v.path.endswith("seed_generator_state")])


@pytest.mark.slow
def test_a_run_with_a_backbone_trains_its_head_first_and_is_exported(network, tmp_path):
    network.save_weights(tmp_path / "some.weights.h5")
    for seed, (name, count) in enumerate({"train": 64, "valid": 16, "test": 16}.items()):
        write_images(tmp_path / "data" / name, tiny_images(count, seed))
    given = ["--data", tmp_path / "data", "--backbone", SMALL, "--backbone-weights", tmp_path / "some.weights.h5"]
    good(
        "run",
        "image_classification",
        *given,
        "--freeze-backbone-ratio",
        "0.5",
        "--epochs",
        "2",
        "--run-dir",
        tmp_path / "run",
    )
    (tmp_path / "some.weights.h5").unlink()
    # A run that goes on needs the file no more.
    good("run", "image_classification", "--resume", tmp_path / "run", "--epochs", "3")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["backbone"] == SMALL
    good("export", tmp_path / "run", "--output-dir", tmp_path / "export")
    card = json.loads((tmp_path / "export" / "1" / "assets.extra" / "card.json").read_text())
    assert card["signatures"]["explain"]["outputs"] == {"label": "string[None]", "heat": "float32[None, 32, 32]"}


def test_learn_takes_no_file_for_networks_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = [{"image_bytes": file, "label": label} for file, label in tiny_images(4)]
    assert ImageClassificationRecipe.build_assets(Config(offline=True), ExampleSource("few", lambda: iter(found)))[
        "size"
    ] == [18, 20]
