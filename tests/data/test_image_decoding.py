"""Images in graph, against Pillow: pixels of all kinds of files, upright and of one size; refused if too large."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from common.data import image_decoding
from tests.helpers.made_images import picture, pixels, raw_png, written

KINDS = {
    "grey PNG": picture(mode="L"),
    "grey and transparent PNG": picture(mode="LA"),
    "palette PNG": picture(mode="P"),
    "colour PNG": picture(),
    "JPEG": picture("JPEG", size=(33, 50), quality=95),
    "grey JPEG": picture("JPEG", "L", size=(33, 50)),
    "progressive JPEG": picture("JPEG", size=(33, 50), progressive=True),
    "BMP": picture("BMP"),
    "GIF": written(Image.fromarray(pixels() // 64 * 64).quantize(60), "GIF"),
    "one pixel": picture(size=(1, 1)),
    "a line": picture(size=(1, 5000)),
    "a column": picture("JPEG", size=(5000, 1)),
}
JPEG_SHADES = 9  # by which decoders of JPEG differ on random pixels, since each rounds in its own way


def decoded(data, channels=3):
    return image_decoding.decode_image(tf.constant(data), channels).numpy()


def by_pillow(data, channels=3):
    image = Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L")
    return np.asarray(image, int).reshape(*image.size[::-1], channels)


# Pixels


@pytest.mark.parametrize("name", [name for name in KINDS if "transparent" not in name])
def test_pixels_are_those_of_pillow(name):
    shown = decoded(KINDS[name])
    assert shown.dtype == np.uint8
    assert shown.shape == by_pillow(KINDS[name]).shape
    jpeg = "JPEG" in name or name == "a column"
    assert np.abs(shown - by_pillow(KINDS[name])).max() <= (JPEG_SHADES if jpeg else 0)


@pytest.mark.parametrize("name", ["colour PNG", "BMP", "grey PNG", "palette PNG", "one pixel"])
def test_grey_is_the_luma_of_pillow(name):
    assert np.abs(decoded(KINDS[name], 1) - by_pillow(KINDS[name], 1)).max() <= 1


def test_luma_is_that_of_bt_601():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30], [0, 0, 0]]], np.uint8)
    # 0.299 * 255 = 76.2; 0.587 * 255 = 149.7; 0.114 * 255 = 29.1; 2.99 + 11.74 + 3.42 = 18.2
    assert decoded(written(Image.fromarray(colours), "PNG"), 1)[0, :, 0].tolist() == [76, 150, 29, 255, 18, 0]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_lie_over_white(mode, channels):
    values = np.random.default_rng(3).integers(0, 256, (9, 7, len(mode)), np.uint8)
    values[0, :, -1], values[1, :, -1] = 0, 255
    file = written(Image.fromarray(values, mode), "PNG")
    colours = values[..., :-1].astype(float)
    expected = np.round(255 - (255 - colours) * values[..., -1:] / 255)
    if channels == 1 and mode == "RGBA":
        expected = np.round(expected @ [[0.299], [0.587], [0.114]])
    shown = decoded(file, channels)
    assert np.abs(shown - expected).max() <= 1
    assert (shown[0] == 255).all()
    assert np.abs(shown[1] - np.round(expected[1])).max() <= (channels == 1)


def test_a_palette_with_a_clear_colour_shows_white_there():
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([200, 10, 20, 0, 90, 0])
    shown = decoded(written(image, "PNG", transparency=0))
    assert shown.tolist() == [[[255] * 3, [0, 90, 0]], [[0, 90, 0], [255] * 3]]


def test_of_an_animation_the_first_frame_is_shown():
    frames = [Image.fromarray(np.full((4, 5), shade, np.uint8)) for shade in (10, 200)]
    shown = decoded(written(frames[0], "GIF", save_all=True, append_images=frames[1:]), 1)
    assert shown.shape == (4, 5, 1)
    assert np.unique(shown).tolist() == [10]


@pytest.mark.parametrize("data", [b"", b"hello", KINDS["colour PNG"][:60], KINDS["JPEG"][:100], b"BM", b"\xff\xd8\xff"])
def test_broken_files_are_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(data)


# How the camera was held


def exif(value, order="<", before=0, kind=3):
    """An Exif segment that gives an orientation.

    Args:
      order: "<" has the low byte first, ">" the high one.
      before: how many other entries its directory has before that one.
      kind: TIFF's type of the value; 3 is a short.
    """
    entries = b"".join(struct.pack(f"{order}HHIHH", 0x100 + n, 3, 1, 5, 0) for n in range(before))
    entries += struct.pack(f"{order}HHIHH", 0x0112, kind, 1, value, 0)
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    tiff += struct.pack(f"{order}H", before + 1) + entries + struct.pack(f"{order}I", 0)
    return segment(0xE1, b"Exif\0\0" + tiff)


def segment(number, content):
    return bytes([0xFF, number]) + struct.pack(">H", len(content) + 2) + content


PLAIN = picture("JPEG", size=(24, 40), quality=95)
JFIF, REST = PLAIN[2:20], PLAIN[20:]
COMMENT, OTHER = segment(0xFE, b"a comment"), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")


def with_segments(*segments):
    return PLAIN[:2] + b"".join(segments) + REST


def held(data):
    return int(image_decoding.read_exif_orientation(tf.constant(data)))


def test_the_segments_of_the_plain_file_are_what_these_tests_think():
    assert JFIF[:9] == b"\xff\xe0\x00\x10JFIF\0"
    assert with_segments(JFIF) == PLAIN


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(1, 9))
def test_images_are_turned_upright_as_by_pillow(value, order):
    data = with_segments(exif(value, order))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert held(data) == value
    assert decoded(data).shape == (*upright.size[::-1], 3)
    assert np.abs(decoded(data) - np.asarray(upright, int)).max() <= JPEG_SHADES


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "others",
    [(JFIF,), (JFIF, COMMENT), (OTHER,), (COMMENT, OTHER, JFIF), (b"\xff" * 3,), (segment(0xE2, bytes(60_000)),)],
    ids=["JFIF", "comment", "another APP1", "three", "fillers", "large"],
)
def test_orientation_is_found_behind_other_segments(others, order):
    assert held(with_segments(*others, exif(6, order, before=4))) == 6


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        KINDS["colour PNG"],
        b"",
        b"\xff\xd8\xff",
        with_segments(exif(0)),
        with_segments(exif(9)),
        with_segments(exif(300, ">")),
        with_segments(segment(0xE1, b"Exif\0\0")),
        with_segments(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        with_segments(segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")),
        with_segments(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")),
        with_segments(b"\xff\xe1\x00\x00"),
        with_segments(b"\xff" * 500),
        with_segments(*[COMMENT] * 100, exif(6)),  # so deep nobody looks
        with_segments()[:2] + exif(6)[:20],
    ],
)
def test_orientation_is_1_where_a_file_does_not_say(data):
    assert held(data) == 1


def test_what_stands_behind_the_pixels_begin_is_no_exif():
    start = PLAIN.index(b"\xff\xda")
    assert held(PLAIN[: start + 14] + exif(6) + PLAIN[start + 14 :]) == 1


@st.composite
def mutated(draw):
    """The head of a JPEG file with Exif data, in part overwritten, cut or doubled."""
    order = draw(st.sampled_from("<>"))
    part = bytearray(exif(draw(st.integers(0, 65535)), order, before=draw(st.integers(0, 3))))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(part) - 1))
        part[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3)) or b"\xff"
    data = with_segments(*draw(st.lists(st.sampled_from([JFIF, COMMENT, OTHER]), max_size=2)), bytes(part))
    return data[: draw(st.sampled_from([len(data), 30, 60]))]


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_orientation_of_damaged_exif_data_is_1_to_8(data):
    assert 1 <= held_in_graph(tf.constant(data)) <= 8


held_in_graph = tf.function(image_decoding.read_exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


# Images that are too large


def enlarged(kind):
    """A small file whose head says that it holds over 100,000,000 pixels."""
    data = bytearray(picture(kind, "P" if kind == "GIF" else "RGB"))
    if kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    else:
        return raw_png(60_000, 60_000, 8, 2, b"")
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG"])
def test_a_head_that_says_too_many_pixels_is_refused(kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="over 100,000,000 pixels"):
        decoded(enlarged(kind))
    with pytest.raises(tf.errors.InvalidArgumentError, match="over 100,000,000 pixels"):
        pixels_in_graph(tf.constant([KINDS["colour PNG"], enlarged(kind)]))


def test_a_bitmap_that_runs_from_top_to_bottom_is_measured_too():
    data = bytearray(picture("BMP"))
    data[18:26] = struct.pack("<ii", 60_000, -60_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="over 100,000,000 pixels"):
        decoded(bytes(data))


@pytest.mark.parametrize("sides", [(2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (2**32 - 1, 1), (0, 5)])
def test_sizes_at_the_limits_of_png_are_refused(sides):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(raw_png(*sides, 8, 2, b""))


# One size


pixels_in_graph = tf.function(
    lambda files: image_decoding.decode_and_resize(files, 12, 10, 3), input_signature=[tf.TensorSpec([None], tf.string)]
)


def test_pixels_of_no_image_are_an_empty_batch():
    for found in (
        pixels_in_graph(tf.constant([], tf.string)),
        image_decoding.decode_and_resize(tf.constant([], tf.string), 12, 10, 3),
    ):
        assert found.shape == (0, 12, 10, 3)
        assert found.dtype == tf.uint8


def test_pixels_in_graph_are_those_of_eager_mode_in_any_order():
    files = [*KINDS.values(), with_segments(exif(6))]
    together = pixels_in_graph(tf.constant(files)).numpy()
    np.testing.assert_array_equal(together, image_decoding.decode_and_resize(tf.constant(files), 12, 10, 3))
    np.testing.assert_array_equal(together[::-1], pixels_in_graph(tf.constant(files[::-1])))
    alone = [pixels_in_graph(tf.constant([file]))[0] for file in files]
    np.testing.assert_array_equal(together, alone)


def test_resizing_to_the_same_size_changes_nothing():
    image = pixels()
    np.testing.assert_array_equal(image_decoding.resize_image(tf.constant(image), 9, 7), image)


@pytest.mark.parametrize("size", [(4, 3), (18, 14), (9, 3), (1, 1)])
def test_resizing_is_that_of_pillow(size):
    image = pixels()
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), int)
    assert np.abs(image_decoding.resize_image(tf.constant(image), *size).numpy() - expected).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_images_of_one_shade_keep_it_at_any_size(shape):
    found = image_decoding.resize_image(tf.fill([*shape, 1], tf.constant(77, tf.uint8)), 28, 28)
    assert np.unique(found).tolist() == [77]
