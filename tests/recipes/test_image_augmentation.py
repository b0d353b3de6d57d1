"""Random changes and mixtures of images against what each is to do, by hand and by Pillow."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from recipes.image_classification.layers import MixupCutmix, RandomAugmentation

EVERYTHING = {
    "flip": True,
    "translation": 0.3,
    "zoom": 0.3,
    "max_rotation_degrees": 40.0,
    "color_jitter": 0.4,
    "erasing_size": 0.4,
    "num_ops": 3,
    "magnitude": 0.5,
}


def changes(seed=1, **settings):
    keras.utils.set_random_seed(seed)
    return RandomAugmentation(**settings)


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
    for image, found in zip(
        from_minus_one(given), changes(translation=0.25)(given, training=True).numpy(), strict=True
    ):
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
    layer = changes(translation=0.25)
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


@pytest.mark.parametrize(
    "settings", [{"zoom": 0.5}, {"max_rotation_degrees": 90.0}, {"translation": 0.5}, {"flip": True}]
)
def test_moving_keeps_an_image_of_one_shade(settings):
    given = np.full((20, 9, 14, 3), 200, np.uint8)
    found = changes(**settings)(given, training=True)
    np.testing.assert_allclose(found, from_minus_one(given), atol=1e-5)


def test_rotation_leaves_the_middle_where_it_is():
    given = np.zeros((30, 15, 15, 1), np.uint8)
    given[:, 7, 7], given[:, 7, 10] = 255, 255
    found = changes(max_rotation_degrees=180.0)(given, training=True).numpy()
    np.testing.assert_allclose(found[:, 7, 7], 1, atol=1e-4)
    assert len({tuple(np.argwhere(image[..., 0] > -0.5)[0]) for image in found}) > 5


def test_scale_makes_some_images_larger_and_some_smaller():
    given = np.zeros((60, 31, 31, 1), np.uint8)
    given[:, 10:21, 10:21] = 255
    sides = np.sqrt(((changes(zoom=0.5)(given, training=True).numpy() + 1) / 2).sum(axis=(1, 2, 3)))
    assert 11 / 1.55 < sides.min() < 9 and 13 < sides.max() < 11 * 1.55


def test_colour_changes_shades_by_a_line_of_limited_slope_and_place():
    given = np.tile(np.linspace(100, 150, 64).astype(np.uint8).reshape(1, 8, 8, 1), (30, 1, 1, 1))
    before = from_minus_one(given)
    after = changes(color_jitter=0.2)(given, training=True).numpy()
    slopes = []
    for image, found in zip(before, after, strict=True):
        slope, offset = np.polyfit(image.ravel(), found.ravel(), 1)
        np.testing.assert_allclose(slope * image + offset, found, atol=1e-5)
        assert abs(found.mean() - image.mean()) <= 0.2 + 1e-5
        slopes.append(slope)
    assert 0.8 - 1e-4 <= min(slopes) < 0.95 and 1.05 < max(slopes) <= 1.2 + 1e-4


def test_colours_stay_within_what_pixels_can_be():
    found = changes(color_jitter=0.9)(pixels(30, 8, 8, 3), training=True).numpy()
    assert found.min() >= -1 and found.max() <= 1


def test_saturation_leaves_grey_images_grey():
    given = np.repeat(pixels(10, 8, 8, 1), 3, axis=3)
    found = changes(color_jitter=0.5)(given, training=True).numpy()
    np.testing.assert_allclose(found - found[..., :1], 0, atol=1e-5)


def test_erase_blanks_a_rectangle_of_at_most_the_square():
    given = np.full((80, 16, 24, 3), 255, np.uint8)
    found = changes(erasing_size=0.25)(given, training=True).numpy()
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
    found = changes(num_ops=11, magnitude=0.0)(given, training=True)
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
    found = changes(num_ops=1, magnitude=0.5)(given, training=True).numpy()[..., 0]
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
    found = changes(num_ops=1, magnitude=1.0)(given, training=True).numpy()[..., 0] > 0
    corners = {  # of the inner pixels: which of four points just within the corners are still in the square
        tuple(bool(image[y, x]) for y, x in ((11, 11), (11, 29), (29, 11), (29, 29))) for image in found
    }
    # Unmoved or only tinted, moved right, left, down, up, sheared in two ways and two directions (turned: none).
    for expected in [(1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 1, 0), (1, 0, 0, 1)]:
        assert tuple(map(bool, expected)) in corners


# Mixed images


def mixed(kind):
    keras.utils.set_random_seed(2)
    return MixupCutmix(kind)


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
