"""Image classification: what is learned from images, the loss, the networks and what explains them."""

import io
import json
import math
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from common.data.readers import image_bytes
from common.errors import DataError
from common.types import ExampleSource
from recipes.image_classification import data, explain, fitting, model
from recipes.image_classification.config import Config
from recipes.image_classification.recipe import ImageClassificationRecipe
from tests.helpers.cli_calls import fails, good, tiny_images, write_images
from tests.helpers.made_images import held, picture, written

LABELS = ["across", "down"]


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# What is learned, and the loss


def learned(config, *examples):
    return ImageClassificationRecipe.build_assets(config, ExampleSource("few", lambda: iter(examples)))


def example(label="a", height=20, width=30, mode="L"):
    return {"image_bytes": picture(mode=mode, size=(height, width)), "label": label}


def test_size_is_the_median_of_heights_and_of_widths_up_to_128():
    found = learned(Config(), example(height=10, width=30), example("b", 20, 500), example("b", 300, 600))
    assert found["size"] == [20, 128]
    assert (found["labels"], found["label_counts"]) == (["a", "b"], [1, 2])


@pytest.mark.parametrize(("modes", "grey"), [(("L", "1", "LA"), True), (("L", "L", "RGB"), False), (("P", "L"), False)])
def test_images_are_seen_in_grey_only_if_all_are(modes, grey):
    assets = learned(Config(), *(example(label, mode=mode) for label, mode in zip("abc", modes, strict=False)))
    assert assets["grayscale"] == grey
    recipe = ImageClassificationRecipe(Config(), assets)
    assert (recipe.channels, recipe.flip) == ((1, False) if grey else (3, True))
    assert ImageClassificationRecipe(Config(color_mode="grayscale", random_flip="on"), assets).channels == 1
    assert ImageClassificationRecipe(Config(color_mode="grayscale", random_flip="on"), assets).flip
    assert ImageClassificationRecipe(Config(color_mode="rgb", random_flip="off"), assets).channels == 3
    assert not ImageClassificationRecipe(Config(color_mode="rgb", random_flip="off"), assets).flip


@pytest.mark.parametrize(("examples", "found"), [((example(),), 'only the label "a"'), ((), "no image")])
def test_a_classifier_needs_two_labels(examples, found):
    with pytest.raises(DataError, match=found):
        learned(Config(), *examples)


def test_image_size_is_what_was_asked_for():
    recipe = ImageClassificationRecipe(Config(image_size="16x24"), learned(Config(), example(), example("b")))
    assert recipe.encode({"image_bytes": tf.constant([picture()])})["pixels"].shape == (1, 16, 24, 1)


@pytest.mark.parametrize("given", ["", "0", "7", "1025", "abc", "64x", "x64", "64x64x3", "-5", "64.5", "64x4"])
def test_image_size_that_is_none_is_refused(given, tmp_path):
    message = fails("run", "image_classification", f"--image-size={given}", "--run-dir", tmp_path / "a", status=2)
    assert message == f'--image-size is "{given}", but must be 64 or 96x128, of 8 to 1024 pixels each.'
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("labels", "sums", "weights"),
    [
        # Log losses of the logits below: ln 4 and ln 4/3 of the first image's labels, ln 2 of either of the second's.
        ([0, 1], [0.75 * math.log(4) + 0.25 * math.log(4 / 3), math.log(2)], [1, 1]),
        # A label that training lacks has no part in it.
        ([0, -1], [0.75 * math.log(4), 0.25 * math.log(2)], [0.75, 0.25]),
    ],
)
def test_loss_of_mixed_images_is_that_of_both_labels_by_their_shares(labels, sums, weights):
    config = Config(mix_augmentation="cutmix", label_smoothing=0)
    recipe = ImageClassificationRecipe(config, learned(config, example(), example("b")))
    outputs = {
        "logits": tf.constant([[0, math.log(3)], [0, 0]], tf.float32),
        "partner": tf.constant([1, 0]),
        "own": tf.constant([0.75, 0.75]),
    }
    found = recipe.compute_loss(None, {"label": tf.constant(labels)}, outputs)
    np.testing.assert_allclose(found[0], sums, rtol=1e-6)
    np.testing.assert_allclose(found[1], weights, rtol=1e-6)


def test_default_data_is_500_images_of_each_digit():
    source, attribution = data.load_mnist_digits(offline=True)
    found = list(source)
    assert Counter(one["label"] for one in found) == {str(digit): 500 for digit in range(10)}
    assert {image_bytes.image_size_and_mode(one["image_bytes"]) for one in found[::50]} == {(28, 28, "L")}
    assert attribution["licence"] == "BSD-3-Clause"


def test_check_reports_on_folders_of_images(tmp_path):
    write_images(tmp_path / "bars", tiny_images(40))
    (tmp_path / "bars" / "down" / "broken.png").write_bytes(b"no image")
    found = json.loads(good("check", "image_classification", "--data", tmp_path / "bars", "--json"))
    assert sum(part["examples"] for part in found["parts"].values()) == 40
    assert set(found["parts"]["train"]["labels"]) == set(LABELS)


# The networks


@pytest.mark.parametrize("name", ["cnn", "resnet"])
@pytest.mark.parametrize("size", [(1, 5), (8, 8), (41, 200)])
def test_networks_take_images_of_any_size(name, size):
    network = model.build_model(Config(model=name, base_filters=2), *size, channels=1, num_labels=3, flip=False)
    outputs = network({"pixels": pixels(2, *size, 1)}, training=True)
    assert outputs["logits"].shape == (2, 3)
    assert np.isfinite(outputs["logits"]).all()


def settled(examples=200, **settings):
    assets = {"labels": ["a", "b"], "label_counts": [examples - 50, 50], "size": [12, 9], "grayscale": False}
    return ImageClassificationRecipe.resolve_defaults(Config(**settings), assets)


@pytest.mark.parametrize(("examples", "epochs"), [(10, 200), (4000, 25), (100_000, 10)])
def test_epochs_fit_the_data(examples, epochs):
    assets = {"labels": ["a", "b"], "label_counts": [examples - 5, 5], "size": [12, 9], "grayscale": False}
    config = ImageClassificationRecipe.resolve_defaults(Config(), assets)
    assert (config.epochs, config.base_filters) == (epochs, 16)


@pytest.mark.parametrize(
    ("examples", "size"), [(10, 16), (1_023, 16), (1_024, 32), (2_047, 32), (2_048, 64), (99_999, 64)]
)
def test_batches_are_smaller_where_images_are_few(examples, size):
    assert settled(examples).batch_size == size
    assert settled(examples, batch_size=7).batch_size == 7


def test_width_is_what_was_given_or_16_without_a_time():
    assert settled(base_filters=24, max_minutes=600).base_filters == 24
    assert settled(epochs=3, max_minutes=600).base_filters == 16
    assert settled(max_minutes=0.5).base_filters == 16  # too short to measure anything
    assert settled(max_minutes=600, backbone="ResNet50V2").base_filters == 16


@pytest.mark.parametrize(
    ("seconds_each", "found"),
    [
        # Ten epochs with width 16, or twenty with more, must go into the time, at 100 examples a second with width 16
        # and a third with each doubling.
        (0.099, (8, 29.7)),
        (0.1, (16, 10)),
        (0.39, (16, 39)),
        (0.59, (16, 59)),
        (0.61, (32, 61 / 3)),
        (1.79, (32, 179 / 3)),
        (1.81, (64, 181 / 9)),
        (100, (128, 10_000 / 27)),
    ],
)
def test_widest_network_that_sees_images_often_enough(seconds_each, found):
    chosen = fitting.search_width(lambda width: 100 / 3 ** (width.bit_length() - 5), seconds_each)
    assert chosen == pytest.approx(found)


def test_width_fits_the_time_on_this_machine(capsys):
    # Two minutes are too few for a hundred million images of 12 by 9 pixels.
    assert settled(100_000_000, max_minutes=2).base_filters == 8
    assert capsys.readouterr().err.startswith("Width 8, with which about 0 epochs go into 2 minutes here.")
    assert settled(100_000_000, max_minutes=2).base_filters == 8  # where encoded data is found that other settings made
    assert "Width" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_networks_make_nothing_random_without_noise(name):
    settings = {
        "stochastic_regularization": False,
        "mix_augmentation": "mixup",
        "rand_augment_num_ops": 2,
        "dropout": 0.5,
        "erasing_size": 0.5,
        "color_jitter": 0.5,
    }
    network = model.build_model(Config(model=name, base_filters=2, **settings), 16, 16, 3, 2, flip=True)
    given = {"pixels": pixels(4, 16, 16, 3)}
    first, second = (network(given, training=True) for _ in range(2))
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
    np.testing.assert_array_equal(first["own"], np.ones(4))


# What made for a label


def test_heat_is_the_features_weighed_by_the_slopes_of_the_best_logit():
    # Where logits are means of features times weights, slopes are these weights over the number of places.
    keras.utils.set_random_seed(3)
    given = keras.Input([6, 10, 3], dtype="uint8", name="pixels")
    features = keras.layers.Conv2D(4, 3, 2, padding="same", name="conv")(keras.layers.Rescaling(1 / 255)(given))
    seen = keras.layers.Activation("linear", name=model.SEEN)(features)
    logits = keras.layers.Dense(3, name="labels")(keras.layers.GlobalAveragePooling2D()(seen))
    network = keras.Model({"pixels": given}, {"logits": logits})
    shown = pixels(5, 6, 10, 3)
    heat = explain.GradCam(network)(tf.constant(shown)).numpy()
    assert heat.shape == (5, 6, 10)
    maps = keras.Model(network.inputs, features)([shown]).numpy()  # [5, 3, 5, 4]
    weights = network.get_layer("labels").get_weights()[0]
    for image, scores, found in zip(maps, network({"pixels": shown})["logits"].numpy(), heat, strict=True):
        expected = np.maximum(image @ weights[:, scores.argmax()], 0)
        expected = tf.image.resize((expected / max(expected.max(), 1e-9))[..., None], (6, 10))[..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_heat_of_our_networks_is_from_0_to_1(name):
    network = model.build_model(Config(model=name, base_filters=2), 20, 30, channels=3, num_labels=3, flip=False)
    heat = explain.GradCam(network)(tf.constant(pixels(6, 20, 30, 3))).numpy()
    assert heat.shape == (6, 20, 30)
    assert heat.min() >= 0 and 0.5 < heat.max() <= 1


def test_overlay_lays_colours_over_the_image_as_it_is_shown():
    # 0.6 of white and 0.4 of the colour: dark blue (0, 0, 128) for nothing, dark red (128, 0, 0) for most.
    white = written(Image.new("RGB", (20, 8), "white"), "JPEG", exif=held(6))
    cold, hot = (
        np.asarray(Image.open(io.BytesIO(explain.render_heatmap(white, np.full((4, 4), heat)))).convert("RGB"))
        for heat in (0.0, 1.0)
    )
    assert cold.shape == (20, 8, 3)
    np.testing.assert_allclose(cold, np.broadcast_to([153, 153, 204], cold.shape), atol=2)
    np.testing.assert_allclose(hot, np.broadcast_to([204, 153, 153], hot.shape), atol=2)
    large = explain.render_heatmap(picture(size=(10, 5000)), np.zeros((4, 4)))
    assert image_bytes.image_size_and_mode(large)[:2] == (1024, 2)
