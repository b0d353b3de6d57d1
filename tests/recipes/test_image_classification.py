"""Image classification: random changes and mixtures by hand, a small run on made-up pictures, and what is served."""

import io
import json
import math
import shutil
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from common.data import image_decoding
from common.data.readers import image_bytes
from common.errors import DataError
from common.inference import export, served_model
from common.types import Source
from recipes.image_classification import data, explain, fitting, model
from recipes.image_classification.config import Config
from recipes.image_classification.layers import Changes, Mixed
from recipes.image_classification.recipe import ImageClassificationRecipe
from tests.helpers.cli_calls import SMALL_IMAGES, call, fails, good, tiny_images, write, write_images
from tests.helpers.made_images import held, picture, written

LABELS = ["across", "down"]
EVERYTHING = {
    "flip": True,
    "shift": 0.3,
    "scale": 0.3,
    "rotate": 40.0,
    "colour": 0.4,
    "erase": 0.4,
    "drawn": 3,
    "strength": 0.5,
}


def changes(seed=1, **settings):
    keras.utils.set_random_seed(seed)
    return Changes(**settings)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def from_minus_one(pixels):
    return pixels.astype(np.float32) / np.float32(127.5) - 1


# Random changes


@pytest.mark.parametrize(("settings", "training"), [({}, True), ({}, False), (EVERYTHING, False)])
def test_images_are_unchanged_without_settings_and_when_predicting(settings, training):
    given = pixels(5, 8, 12, 3)
    np.testing.assert_array_equal(changes(**settings)(given, training=training), from_minus_one(given))


def test_flip_alone_gives_each_image_or_its_mirror():
    given = pixels(40, 8, 13, 3)
    mirrored = 0
    for image, found in zip(from_minus_one(given), changes(flip=True)(given, training=True).numpy(), strict=True):
        is_mirror = np.allclose(found, image[:, ::-1], atol=1e-6)
        assert is_mirror or np.allclose(found, image, atol=1e-6)
        mirrored += is_mirror
    assert 10 <= mirrored <= 30


def test_shift_alone_moves_by_whole_pixels_up_to_its_share():
    given = pixels(60, 16, 24, 1)
    down, right = 4, 6  # a quarter
    moves = Counter()
    for image, found in zip(from_minus_one(given), changes(shift=0.25)(given, training=True).numpy(), strict=True):
        inner = found[down:-down, right:-right]
        fitting = [
            (y, x)
            for y in range(-down, down + 1)
            for x in range(-right, right + 1)
            if np.allclose(np.roll(image, (y, x), (0, 1))[down:-down, right:-right], inner, atol=1e-5)
        ]
        assert len(fitting) == 1
        moves.update(fitting)
    assert len(moves) > 20
    assert min(y for y, _ in moves) < 0 < max(y for y, _ in moves)
    assert min(x for _, x in moves) < 0 < max(x for _, x in moves)


def test_what_comes_in_from_outside_is_the_mirror_image_of_the_edge():
    given = np.arange(8, dtype=np.uint8).reshape(1, 1, 8, 1) * 20
    seen = set()
    layer = changes(shift=0.25)
    for _ in range(30):
        found = layer(given, training=True).numpy()
        seen.add(tuple(np.round((found[0, 0, :, 0] + 1) * 127.5 / 20).astype(int).tolist()))
    row = list(range(8))
    assert seen == {
        (1, 0, *row[:6]),
        (0, *row[:7]),
        tuple(row),
        (*row[1:], 7),
        (*row[2:], 7, 6),
    }


@pytest.mark.parametrize("settings", [{"scale": 0.5}, {"rotate": 90.0}, {"shift": 0.5}, {"flip": True}])
def test_moving_keeps_an_image_of_one_shade(settings):
    given = np.full((20, 9, 14, 3), 200, np.uint8)
    found = changes(**settings)(given, training=True)
    np.testing.assert_allclose(found, from_minus_one(given), atol=1e-5)


def test_rotation_leaves_the_middle_where_it_is():
    given = np.zeros((30, 15, 15, 1), np.uint8)
    given[:, 7, 7], given[:, 7, 10] = 255, 255
    found = changes(rotate=180.0)(given, training=True).numpy()
    np.testing.assert_allclose(found[:, 7, 7], 1, atol=1e-4)
    assert len({tuple(np.argwhere(image[..., 0] > -0.5)[0]) for image in found}) > 5


def test_scale_makes_some_images_larger_and_some_smaller():
    given = np.zeros((60, 31, 31, 1), np.uint8)
    given[:, 10:21, 10:21] = 255
    sides = np.sqrt(((changes(scale=0.5)(given, training=True).numpy() + 1) / 2).sum(axis=(1, 2, 3)))
    assert 11 / 1.55 < sides.min() < 9 and 13 < sides.max() < 11 * 1.55


def test_colour_changes_shades_by_a_line_of_limited_slope_and_place():
    given = np.tile(np.linspace(100, 150, 64).astype(np.uint8).reshape(1, 8, 8, 1), (30, 1, 1, 1))
    before = from_minus_one(given)
    after = changes(colour=0.2)(given, training=True).numpy()
    slopes = []
    for image, found in zip(before, after, strict=True):
        slope, offset = np.polyfit(image.ravel(), found.ravel(), 1)
        np.testing.assert_allclose(slope * image + offset, found, atol=1e-5)
        assert abs(found.mean() - image.mean()) <= 0.2 + 1e-5
        slopes.append(slope)
    assert 0.8 - 1e-4 <= min(slopes) < 0.95 and 1.05 < max(slopes) <= 1.2 + 1e-4


def test_colours_stay_within_what_pixels_can_be():
    found = changes(colour=0.9)(pixels(30, 8, 8, 3), training=True).numpy()
    assert found.min() >= -1 and found.max() <= 1


def test_saturation_leaves_grey_images_grey():
    given = np.repeat(pixels(10, 8, 8, 1), 3, axis=3)
    found = changes(colour=0.5)(given, training=True).numpy()
    np.testing.assert_allclose(found - found[..., :1], 0, atol=1e-5)


def test_erase_blanks_a_rectangle_of_at_most_the_square():
    given = np.full((80, 16, 24, 3), 255, np.uint8)
    found = changes(erase=0.25)(given, training=True).numpy()
    sizes = Counter()
    for image in found:
        blank = (image == 0).all(axis=2)
        assert (image[~blank] == 1).all()
        height, width = blank.any(axis=1).sum(), blank.any(axis=0).sum()
        assert blank.sum() == height * width
        sizes[int(height), int(width)] += 1
    assert all(1 <= height <= 4 and 1 <= width <= 6 for height, width in sizes)
    assert sizes.most_common(1)[0][0] == (4, 6)


def test_images_are_changed_alike_under_the_same_seed():
    given = pixels(6, 12, 12, 3)
    first, again, other = (changes(seed, **EVERYTHING)(given, training=True).numpy() for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_images_are_changed_anew_each_time_and_apart_from_each_other():
    given = np.repeat(pixels(1, 12, 12, 3), 4, axis=0)
    layer = changes(**EVERYTHING)
    first, second = (layer(given, training=True).numpy() for _ in range(2))
    assert (first != second).any()
    assert (first[0] != first[1]).any()


# Changes out of a list


def test_changes_out_of_the_list_do_nothing_at_no_strength():
    given = pixels(8, 12, 10, 3)
    found = changes(drawn=11, strength=0.0)(given, training=True)
    np.testing.assert_allclose(found, from_minus_one(given), atol=1e-5)


def by_pillow(image, strength):
    """What each change of shades makes of a grey image, by name: floats from -1 to 1."""
    grey = Image.fromarray(image)
    found = {}
    for sign in (-1, 1):
        for kind in ("Brightness", "Contrast", "Sharpness"):
            found[f"{kind} {sign}"] = np.asarray(getattr(ImageEnhance, kind)(grey).enhance(1 + sign * 0.9 * strength))
    found["Solarize"] = np.asarray(ImageOps.solarize(grey, round(255 * (1 - strength))))
    found["Posterize"] = np.asarray(ImageOps.posterize(grey, 8 - round(4 * strength)))
    found["Saturation"] = image
    return {name: from_minus_one(one) for name, one in found.items()}


def test_one_change_out_of_the_list_is_what_pillow_makes():
    # Pillow leaves the outermost pixels as they are when it sharpens, so the inner ones are compared.
    given = np.repeat(np.random.default_rng(1).integers(30, 226, (1, 12, 12, 1), np.uint8), 600, axis=0)
    expected = by_pillow(given[0, :, :, 0], 0.5)
    found = changes(drawn=1, strength=0.5)(given, training=True).numpy()[..., 0]
    seen = Counter()
    for image in found:
        fitting = [name for name, one in expected.items() if np.abs(image - one)[1:-1, 1:-1].max() <= 1.6 / 127.5]
        seen[fitting[0] if fitting else "moved"] += 1
    assert set(seen) == {*expected, "moved"}
    # 5 of 11 move pixels, and each of the others is drawn as often.
    assert 600 * 5 / 11 - 60 < seen["moved"] < 600 * 5 / 11 + 60
    assert all(600 / 22 - 20 < count < 600 / 11 + 25 for name, count in seen.items() if name != "moved")


def test_moves_out_of_the_list_turn_shear_and_move():
    given = np.zeros((400, 41, 41, 1), np.uint8)
    given[:, 10:31, 10:31] = 200  # a square about the middle
    found = changes(drawn=1, strength=1.0)(given, training=True).numpy()[..., 0] > 0
    corners = {  # of the inner pixels: which of four points just within the corners are still in the square
        tuple(bool(image[y, x]) for y, x in ((11, 11), (11, 29), (29, 11), (29, 29))) for image in found
    }
    # Unmoved or only tinted, moved right, left, down, up, sheared in two ways and two directions (turned: none).
    for expected in [(1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 1, 0), (1, 0, 0, 1)]:
        assert tuple(map(bool, expected)) in corners


# Mixed images


def mixed(kind):
    keras.utils.set_random_seed(2)
    return Mixed(kind)


SHADES = tf.tile(tf.reshape(tf.constant([0.0, 1, 2, 3]), [4, 1, 1, 1]), [1, 8, 12, 3])


@pytest.mark.parametrize(("kind", "training"), [("none", True), ("mixup", False), ("cutmix", False)])
def test_images_are_their_own_where_nothing_is_mixed(kind, training):
    found, partner, own = mixed(kind)(SHADES, training=training)
    np.testing.assert_array_equal(found, SHADES)
    assert (partner.numpy().tolist(), own.numpy().tolist()) == ([0, 1, 2, 3], [1] * 4)


def test_mixup_blends_by_the_share_that_it_gives():
    layer, shares = mixed("mixup"), []
    for _ in range(30):
        found, partner, own = (one.numpy() for one in layer(SHADES, training=True))
        assert sorted(partner) == [0, 1, 2, 3] and (partner != range(4)).all()
        expected = own * np.arange(4) + (1 - own) * partner
        np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None, None], found.shape), atol=1e-6)
        shares.append(own[0])
    assert 0.5 <= min(shares) < 0.6 and 0.9 < max(shares) <= 1


def test_cutmix_gives_the_share_of_pixels_that_are_an_images_own():
    layer, shares = mixed("cutmix"), []
    for _ in range(40):
        found, partner, own = (one.numpy() for one in layer(SHADES, training=True))
        for row in range(4):
            taken = (found[row] == partner[row]).all(axis=2)
            assert (found[row][~taken] == row).all()
            assert own[row] == pytest.approx(1 - taken.mean(), abs=1e-6)
            assert taken.sum() == taken.any(axis=1).sum() * taken.any(axis=0).sum()  # a rectangle
        shares.append(own[0])
    assert min(shares) < 0.2 and max(shares) > 0.8


# What is learned, and the loss


def learned(config, *examples):
    return ImageClassificationRecipe.learn(config, Source("few", lambda: iter(examples)))


def example(label="a", height=20, width=30, mode="L"):
    return {"image_bytes": picture(mode=mode, size=(height, width)), "label": label}


def test_size_is_the_median_of_heights_and_of_widths_up_to_128():
    found = learned(Config(), example(height=10, width=30), example("b", 20, 500), example("b", 300, 600))
    assert found["size"] == [20, 128]
    assert (found["labels"], found["label_counts"]) == (["a", "b"], [1, 2])


@pytest.mark.parametrize(("modes", "grey"), [(("L", "1", "LA"), True), (("L", "L", "RGB"), False), (("P", "L"), False)])
def test_images_are_seen_in_grey_only_if_all_are(modes, grey):
    assets = learned(Config(), *(example(label, mode=mode) for label, mode in zip("abc", modes, strict=False)))
    assert assets["grey"] == grey
    recipe = ImageClassificationRecipe(Config(), assets)
    assert (recipe.channels, recipe.flip) == ((1, False) if grey else (3, True))
    assert ImageClassificationRecipe(Config(channels="grey", flip="on"), assets).channels == 1
    assert ImageClassificationRecipe(Config(channels="grey", flip="on"), assets).flip
    assert ImageClassificationRecipe(Config(channels="colour", flip="off"), assets).channels == 3
    assert not ImageClassificationRecipe(Config(channels="colour", flip="off"), assets).flip


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
    config = Config(mix="cutmix", label_smoothing=0)
    recipe = ImageClassificationRecipe(config, learned(config, example(), example("b")))
    outputs = {
        "logits": tf.constant([[0, math.log(3)], [0, 0]], tf.float32),
        "partner": tf.constant([1, 0]),
        "own": tf.constant([0.75, 0.75]),
    }
    found = recipe.loss(None, {"label": tf.constant(labels)}, outputs)
    np.testing.assert_allclose(found[0], sums, rtol=1e-6)
    np.testing.assert_allclose(found[1], weights, rtol=1e-6)


def test_default_data_is_500_images_of_each_digit():
    source, attribution = data.digits(offline=True)
    found = list(source)
    assert Counter(one["label"] for one in found) == {str(digit): 500 for digit in range(10)}
    assert {image_bytes.facts(one["image_bytes"]) for one in found[::50]} == {(28, 28, "L")}
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
    network = model.build(Config(model=name, width=2), *size, channels=1, labels=3, flip=False)
    outputs = network({"pixels": pixels(2, *size, 1)}, training=True)
    assert outputs["logits"].shape == (2, 3)
    assert np.isfinite(outputs["logits"]).all()


def settled(examples=200, **settings):
    assets = {"labels": ["a", "b"], "label_counts": [examples - 50, 50], "size": [12, 9], "grey": False}
    return ImageClassificationRecipe.settle(Config(**settings), assets)


@pytest.mark.parametrize(("examples", "epochs"), [(10, 200), (4000, 25), (100_000, 10)])
def test_epochs_fit_the_data(examples, epochs):
    assets = {"labels": ["a", "b"], "label_counts": [examples - 5, 5], "size": [12, 9], "grey": False}
    config = ImageClassificationRecipe.settle(Config(), assets)
    assert (config.epochs, config.width) == (epochs, 16)


@pytest.mark.parametrize(
    ("examples", "size"), [(10, 16), (1_023, 16), (1_024, 32), (2_047, 32), (2_048, 64), (99_999, 64)]
)
def test_batches_are_smaller_where_images_are_few(examples, size):
    assert settled(examples).batch_size == size
    assert settled(examples, batch_size=7).batch_size == 7


def test_width_is_what_was_given_or_16_without_a_time():
    assert settled(width=24, max_minutes=600).width == 24
    assert settled(epochs=3, max_minutes=600).width == 16
    assert settled(max_minutes=0.5).width == 16  # too short to measure anything
    assert settled(max_minutes=600, backbone="ResNet50V2").width == 16


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
    chosen = fitting.suited(lambda width: 100 / 3 ** (width.bit_length() - 5), seconds_each)
    assert chosen == pytest.approx(found)


def test_width_fits_the_time_on_this_machine(capsys):
    # Two minutes are too few for a hundred million images of 12 by 9 pixels.
    assert settled(100_000_000, max_minutes=2).width == 8
    assert capsys.readouterr().err.startswith("Width 8, with which about 0 epochs go into 2 minutes here.")
    assert settled(100_000_000, max_minutes=2).width == 8  # where encoded data is found that other settings made
    assert "Width" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_networks_make_nothing_random_without_noise(name):
    settings = {"noise": False, "mix": "mixup", "rand_augment": 2, "dropout": 0.5, "erase": 0.5, "colour": 0.5}
    network = model.build(Config(model=name, width=2, **settings), 16, 16, 3, 2, flip=True)
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
    heat = explain.Heat(network)(tf.constant(shown)).numpy()
    assert heat.shape == (5, 6, 10)
    maps = keras.Model(network.inputs, features)([shown]).numpy()  # [5, 3, 5, 4]
    weights = network.get_layer("labels").get_weights()[0]
    for image, scores, found in zip(maps, network({"pixels": shown})["logits"].numpy(), heat, strict=True):
        expected = np.maximum(image @ weights[:, scores.argmax()], 0)
        expected = tf.image.resize((expected / max(expected.max(), 1e-9))[..., None], (6, 10))[..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_heat_of_our_networks_is_from_0_to_1(name):
    network = model.build(Config(model=name, width=2), 20, 30, channels=3, labels=3, flip=False)
    heat = explain.Heat(network)(tf.constant(pixels(6, 20, 30, 3))).numpy()
    assert heat.shape == (6, 20, 30)
    assert heat.min() >= 0 and 0.5 < heat.max() <= 1


def test_overlay_lays_colours_over_the_image_as_it_is_shown():
    # 0.6 of white and 0.4 of the colour: dark blue (0, 0, 128) for nothing, dark red (128, 0, 0) for most.
    white = written(Image.new("RGB", (20, 8), "white"), "JPEG", exif=held(6))
    cold, hot = (
        np.asarray(Image.open(io.BytesIO(explain.overlay(white, np.full((4, 4), heat)))).convert("RGB"))
        for heat in (0.0, 1.0)
    )
    assert cold.shape == (20, 8, 3)
    np.testing.assert_allclose(cold, np.broadcast_to([153, 153, 204], cold.shape), atol=2)
    np.testing.assert_allclose(hot, np.broadcast_to([204, 153, 153], hot.shape), atol=2)
    large = explain.overlay(picture(size=(10, 5000)), np.zeros((4, 4)))
    assert image_bytes.facts(large)[:2] == (1024, 2)


# A small run


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with the parts train, valid and test, each with folders of labels."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, count) in enumerate({"train": 120, "valid": 50, "test": 50}.items()):
        write_images(folder / name, tiny_images(count, seed))
    return folder


@pytest.fixture(scope="module")
def classifier(parts, tmp_path_factory):
    """The folder of a small finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    good("run", "image_classification", "--data", parts, "--run-dir", folder, *SMALL_IMAGES)
    return folder


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    to = tmp_path_factory.mktemp("exports") / "images"
    good("export", classifier, "--to", to)
    return to / "1"


@pytest.mark.slow
def test_bars_across_are_told_from_bars_down(classifier):
    metrics = json.loads((classifier / "metrics.json").read_text())
    assert metrics["examples"]["test"] == 50
    assert metrics["test"]["accuracy"] > 0.9


@pytest.mark.slow
def test_shares_are_those_that_fit_validation(classifier, parts):
    # The weights that are kept have with them how sure they are to be: what is served has the loss that training told.
    share = np.load(classifier / "best.npz")["blend/shares"]
    assert share.shape == (1,) and share[0] != 1
    epochs = [json.loads(line) for line in (classifier / "history.jsonl").read_text().splitlines()]
    best = max(epochs, key=lambda one: (one["valid_accuracy"], -one["valid_loss"]))
    found = json.loads(good("evaluate", classifier, "--data", parts / "valid", "--json"))
    assert found["log_loss"] == pytest.approx(best["valid_log_loss"], rel=1e-4)


@pytest.mark.slow
def test_export_is_proved_and_takes_files_or_pixels(exported):
    card = json.loads((exported / "assets.extra" / "card.json").read_text())
    assert card["proof"]["inputs"] > export.MANY + export.FEWER
    assert card["proof"]["largest_difference"] <= export.TOLERANCE
    outputs = {"label": "string[None]", "score": "float32[None]", "scores": "float32[None, 2]"}
    assert card["signatures"] == {
        "serving_default": {"inputs": {"image_bytes": "string[None]"}, "outputs": outputs},
        "pixels": {"inputs": {"pixels": "float32[None, 16, 16, 3]"}, "outputs": outputs},
        "explain": {
            "inputs": {"image_bytes": "string[None]"},
            "outputs": {"label": "string[None]", "heat": "float32[None, 16, 16]"},
        },
    }


@pytest.mark.slow
def test_signatures_give_the_same_by_files_and_by_pixels(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    files = tf.constant([file for file, _ in tiny_images(20, seed=7)] + [picture("JPEG"), picture(mode="LA")])
    by_files = signatures["serving_default"](image_bytes=files)
    shades = tf.cast(image_decoding.pixels(files, 16, 16, 3), tf.float32)
    # Fractions are rounded, and what lies beyond black and white is taken for these.
    beyond = tf.where(shades == 255, 1e6, tf.where(shades == 0, -1e6, shades))
    for given in (shades, shades + 0.4, shades - 0.4, beyond):
        found = signatures["pixels"](pixels=given)
        assert found["label"].numpy().tolist() == by_files["label"].numpy().tolist()
        np.testing.assert_allclose(found["scores"], by_files["scores"], atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(by_files["scores"], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(tf.reduce_max(by_files["scores"], axis=1), by_files["score"])
    best = tf.argmax(by_files["scores"], axis=1).numpy()
    assert [LABELS[one].encode() for one in best] == by_files["label"].numpy().tolist()


@pytest.mark.slow
def test_predict_names_the_file_of_each_image_and_leaves_bad_ones_out(classifier, parts, tmp_path):
    down = sorted((parts / "test" / "down").iterdir())
    (tmp_path / "broken.png").write_bytes(down[0].read_bytes()[:-40])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "photo.jpg").write_bytes(picture("JPEG", size=(50, 40)))
    (tmp_path / "photo.webp").write_bytes(picture("WEBP"))
    some = parts / "test" / "across" / "[0-9].png"
    result = call("predict", classifier, tmp_path, tmp_path / "missing.png", down[0], parts / "test" / "down", some)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{tmp_path / 'broken.png'} is a broken PNG file (cut off or damaged); it is left out.",
        f"{tmp_path / 'notes.txt'} is no image; it is left out.",
        f"{tmp_path / 'missing.png'} cannot be read (No such file or directory); it is left out.",
        "Error: 3 of the inputs could not be used; the others were predicted.",
    ]
    found = [json.loads(line) for line in result.stdout.splitlines()]
    across = [parts / "test" / "across" / f"{number}.png" for number in (0, 2, 4, 6, 8)]
    shown = [tmp_path / "photo.jpg", tmp_path / "photo.webp", down[0], *down, *across]
    assert [one["file"] for one in found] == [str(path) for path in shown]
    assert all(list(one) == ["file", "label", "score", "scores"] and list(one["scores"]) == LABELS for one in found)
    labels = Counter((one["file"].split("/")[-2], one["label"]) for one in found[2:])
    assert labels["down", "down"] + labels["across", "across"] > 0.9 * labels.total()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["classifier", "exported"])
def test_explain_writes_a_picture_next_to_each_image(target, request, parts, tmp_path):
    folder = request.getfixturevalue(target)
    for name in ("1.png", "3.png"):
        shutil.copy(parts / "test" / "down" / name, tmp_path / name)
    for times in range(2):  # pictures of before are no images to predict
        asked = [tmp_path, tmp_path / "*.png"][times]
        found = [json.loads(line) for line in good("predict", folder, "--explain", asked).splitlines()]
        assert [(one["file"], one["explanation"]) for one in found] == [
            (str(tmp_path / name), str(tmp_path / f"{name}.explained.png")) for name in ("1.png", "3.png")
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1.png",
        "1.png.explained.png",
        "3.png",
        "3.png.explained.png",
    ]
    assert image_bytes.facts((tmp_path / "1.png.explained.png").read_bytes()) == (20, 18, "RGB")


@pytest.mark.slow
def test_explain_to_writes_into_a_folder(classifier, parts, tmp_path):
    write(parts / "some.csv", [["test/down/1.png"], ["test/across/0.png"]], header=["path"])
    to = tmp_path / "new" / "folder"
    good("predict", classifier, "--input", parts / "some.csv", "--explain-to", to)
    assert sorted(path.name for path in to.iterdir()) == ["0001-input.explained.png", "0002-input.explained.png"]
    message = fails("predict", classifier, "--input", parts / "some.csv", "--explain", status=2)
    assert message == "--explain writes next to files, and this input is none. Give --explain-to FOLDER."


@pytest.mark.slow
def test_top_k_shows_the_best_labels_from_the_largest_down(classifier, parts):
    image = parts / "test" / "down" / "1.png"
    whole = json.loads(good("predict", classifier, image))
    for count in (1, 2, 5):
        found = json.loads(good("predict", classifier, image, "--top-k", count))
        best = sorted(whole["scores"].items(), key=lambda pair: -pair[1])[:count]
        assert list(found["scores"].items()) == best
    fails("predict", classifier, image, "--top-k", 0, status=2)


@pytest.mark.slow
def test_predict_takes_names_from_stdin(exported, parts):
    names = [parts / "test" / "down" / "1.png", parts / "test" / "across" / "0.png"]
    printed = good("predict", exported, "-", text=f"{names[0]}\n\n {names[1]}\n")
    found = [json.loads(line) for line in printed.splitlines()]
    assert [(one["file"], one["label"]) for one in found] == [(str(names[0]), "down"), (str(names[1]), "across")]


@pytest.mark.slow
def test_predict_takes_a_file_of_names_or_a_table(exported, parts):
    (parts / "names.txt").write_text(f"{parts / 'test' / 'down'}\n", encoding="utf-8")
    printed = good("predict", exported, "--input", parts / "names.txt")
    found = [json.loads(line)["file"] for line in printed.splitlines()]
    assert found == [str(path) for path in sorted((parts / "test" / "down").iterdir())]
    write(parts / "table.csv", [["test/down/1.png"], ["nowhere.png"], ["test/across/0.png"]], header=["path"])
    result = call("predict", exported, "--input", parts / "table.csv")
    assert result.exit_code == 1
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["down", "across"]
    assert "table.csv:3" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--model", "cnn", "--mix", "mixup", "--channels", "grey"),
        ("--squeeze", "--depth", "2", "--rotate", "20", "--scale", "0.2", "--colour", "0.2", "--erase", "0.3"),
        ("--mix", "cutmix", "--mirror-tests", "--class-weights", "balanced", "--image-size", "12x9"),
    ],
    ids=["cnn", "squeeze", "cutmix"],
)
def test_other_settings_train_and_serve(parts, tmp_path, flags):
    small = [*SMALL_IMAGES, "--width", "2", "--epochs", "1", "--limit", "40", *flags]
    good("run", "image_classification", "--data", parts / "train", "--run-dir", tmp_path / "a", *small)
    served = served_model.load(tmp_path / "a")
    files = [file for file, _ in tiny_images(4, seed=5)]
    mirrored = [image_bytes.png(tf.io.decode_png(file).numpy()[:, ::-1]) for file in files]
    found, of_mirrored = (
        served.predictions([{"image_bytes": file} for file in some], lambda _, one: one["scores"])
        for some in (files, mirrored)
    )
    np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-5)
    assert np.allclose(found, of_mirrored, atol=1e-5) == ("--mirror-tests" in flags)
