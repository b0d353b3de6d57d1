"""Image files: what TensorFlow shows of them is what Pillow shows, or a clear reason why not."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from common.data.image_decoding import decode_image
from common.data.readers.image_bytes import (
    InvalidImage,
    encode_png,
    image_size_and_mode,
    sniff_image_format,
    to_tf_decodable,
)
from tests.helpers.made_images import held, picture, pixels, raw_png, written

GREY16 = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
AS_THEY_ARE = {
    "colour PNG": picture(),
    "grey PNG": picture(mode="L"),
    "black and white PNG": picture(mode="1"),
    "palette PNG": picture(mode="P"),
    "palette PNG with a clear colour": picture(mode="P", transparency=3),
    "transparent PNG": picture(mode="RGBA"),
    "grey, transparent PNG": picture(mode="LA"),
    "two bits": raw_png(4, 1, 2, 0, b"\0\x1b"),
    "one pixel": picture(size=(1, 1)),
    "JPEG": picture("JPEG"),
    "grey JPEG": picture("JPEG", "L"),
    "progressive JPEG": picture("JPEG", progressive=True),
    "turned JPEG": picture("JPEG", exif=held(6)),
    "BMP": picture("BMP"),
}
CONVERTED = {
    "WebP": picture("WEBP", lossless=True),
    "TIFF": picture("TIFF"),
    "packed TIFF": picture("TIFF", compression="tiff_lzw"),
    "TIFF of CMYK": picture("TIFF", "CMYK"),
    "CMYK JPEG": picture("JPEG", "CMYK"),
    "PPM": picture("PPM"),
    "BMP of one bit": picture("BMP", "1"),
    "BMP with a palette": picture("BMP", "P"),
    "BMP of 32 bits": picture("BMP", "RGBA"),
    "BMP with more behind it": picture("BMP") + b"\0\0",
    "GIF": picture("GIF", "P"),
    "GIF with a clear colour": picture("GIF", "P", transparency=3),
    "PNG with a clear colour": picture(transparency=tuple(int(one) for one in pixels()[0, 0])),
    "turned PNG": picture(exif=held(8)),
    "turned WebP": picture("WEBP", lossless=True, exif=held(3)),
    "turned TIFF": picture("TIFF", exif=held(6)),
}


def seen(data):
    """What people see, over white, as Pillow shows it: uint8 [height, width, 3]."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    clear = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    image = image.convert("RGBA" if clear else "RGB")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(image, int)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_files_that_tensorflow_shows_right_stay_as_they_are(name):
    data = AS_THEY_ARE[name]
    assert to_tf_decodable(data) is data
    shown = decode_image(tf.constant(data), 3).numpy()
    assert np.abs(shown - seen(data)).max() <= (6 if "JPEG" in name else 1)
    assert image_size_and_mode(data)[:2] == shown.shape[1::-1]


@pytest.mark.parametrize("name", CONVERTED)
def test_other_files_become_png_that_shows_the_same(name):
    data = CONVERTED[name]
    found = to_tf_decodable(data)
    assert sniff_image_format(found) == "PNG"
    shown = decode_image(tf.constant(found), 3).numpy()
    assert np.abs(shown - seen(data)).max() <= (6 if "JPEG" in name else 1)
    assert image_size_and_mode(data)[:2] == shown.shape[1::-1]
    assert to_tf_decodable(found) is found


def test_grey_of_16_bits_keeps_its_range():
    found = to_tf_decodable(written(GREY16, "PNG"))
    assert tf.io.decode_image(found).numpy()[:, :, 0].tolist() == [[0, 1, 255]]
    colour = raw_png(1, 1, 16, 2, b"\0" + b"\x80\x80\0\0\xff\xff")
    assert tf.io.decode_image(to_tf_decodable(colour)).numpy().tolist() == [[[128, 0, 255]]]


def test_grey_of_any_range_is_scaled_to_its_own():
    found = to_tf_decodable(written(Image.fromarray(np.array([[-1, 0, 3]], np.float32)), "TIFF"))
    assert tf.io.decode_image(found).numpy()[:, :, 0].tolist() == [[0, 64, 255]]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.fromarray(np.full((4, 5), shade, np.uint8)) for shade in (10, 200, 90)]
    for format in ("GIF", "WEBP"):
        data = written(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
        shown = decode_image(tf.constant(to_tf_decodable(data)), 1).numpy()
        assert shown.shape == (4, 5, 1) and np.unique(shown).tolist() == [10]


@pytest.mark.parametrize("data", [picture(size=(1, 5000)), picture("JPEG", size=(5000, 1)), picture(size=(1, 1))])
def test_images_of_odd_sizes_can_be_used(data):
    assert to_tf_decodable(data) is data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "is no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
        (b"\0" * 5000, "is no image"),
        (b"BM", "is a broken BMP file (its head)"),
        (b"\xff\xd8\xff", "is a broken JPEG file"),
        (picture("JPEG")[:-30], "is a broken JPEG file (cut off or damaged)"),
        (picture("PNG")[:-30], "is a broken PNG file (cut off or damaged)"),
        (picture("PNG")[:-4], "is a broken PNG file (cut off or damaged)"),
        (picture("BMP")[:-30], "is a broken BMP file (image file is truncated"),
        (picture("GIF", "P")[:-9], "is a broken GIF file (image file is truncated"),
        (picture("WEBP", size=(50, 50))[:-900], "is a broken image ("),
        (picture("TIFF")[:-30], "is a broken TIFF file"),
        (raw_png(100_000, 100_000, 8, 2, b""), "is too large, for it holds over 100,000,000 pixels"),
        (raw_png(10_001, 10_000, 8, 2, b""), "is too large, for it holds over 100,000,000 pixels"),
        (raw_png(0, 5, 8, 2, b""), "is a broken PNG file"),
        (picture("TIFF", "L", size=(1, 1_000_001)), "is too large, for a side has over 1,000,000 pixels"),
        (picture("BMP", "L", size=(1_000_001, 1)), "is too large, for a side has over 1,000,000 pixels"),
    ],
)
def test_what_cannot_be_used_says_why(data, reason, capfd):
    with pytest.raises(InvalidImage) as error:
        to_tf_decodable(data)
    assert str(error.value).startswith(reason)
    assert capfd.readouterr() == ("", "")


def test_the_head_of_a_bomb_is_enough_to_refuse_it():
    with pytest.raises(InvalidImage, match="too large"):
        image_size_and_mode(raw_png(100_000, 100_000, 8, 2, b"")[:64])


def test_a_truncated_file_passes_only_unverified():
    cut = picture("JPEG")[:-30]
    assert to_tf_decodable(cut, verify=False) is cut


def test_facts_are_those_of_the_upright_image():
    assert image_size_and_mode(picture("JPEG", exif=held(6))) == (9, 7, "RGB")
    assert image_size_and_mode(picture("JPEG", exif=held(3))) == (7, 9, "RGB")
    assert image_size_and_mode(picture(mode="LA")) == (7, 9, "LA")
    assert image_size_and_mode(picture()[:60]) == (7, 9, "RGB")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_png_holds_the_pixels(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(tf.io.decode_png(encode_png(array)).numpy().reshape(shape), array)


VALID = [*AS_THEY_ARE.values(), *(data for name, data in CONVERTED.items() if name != "packed TIFF")]


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([40, 5000])))))
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@settings(max_examples=200, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=100)))
def test_any_bytes_are_an_image_or_say_why_not(data):
    try:
        found = to_tf_decodable(data)
    except InvalidImage as error:
        assert str(error).startswith(("is ", "holds ")) and "\n" not in str(error)
    else:
        assert tf.io.decode_image(found, expand_animations=False).shape.rank == 3
        width, height, _ = image_size_and_mode(found)
        assert width * height > 0
