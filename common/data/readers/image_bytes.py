"""Image files as bytes that TensorFlow's decoder shows as people see them; others are converted to PNG, or refused."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # whoever reads texts alone must not wait for it
    import tensorflow as tf
    from PIL import Image

MAGICS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
# All that Pillow opens by its first bytes and reads by itself; not EPS, for which it starts Ghostscript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "PCX", "PSD", "SGI", "QOI")
ORIENTATION = 0x0112  # of EXIF: how the camera was held, 1 to 8
LYING = (5, 6, 7, 8)  # orientations that swap width and height
AS_THEY_ARE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes that both decoders read alike

# What they say of odd files in passing goes to stderr, where nobody asked for it: errors of theirs become reasons here.
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class InvalidImage(ValueError):
    """Why a file cannot be used, as the rest of a sentence about it: "is empty"."""


def sniff_image_format(data: bytes) -> str:
    """Return what a file's first bytes say: "JPEG", "PNG", "GIF", "BMP" or "".

    >>> sniff_image_format(b"GIF89a...")
    'GIF'
    """
    return next((name for magic, name in MAGICS.items() if data.startswith(magic)), "")


def image_size_and_mode(data: bytes) -> tuple[int, int, str]:
    """Return width and height in pixels, upright, and the mode as Pillow names it (L, RGB, ...), by a file's head.

    Raises:
      Unusable: it is no image, or too large.
    """
    with _open_image(data) as image:
        width, height = image.size
        lying = image.format != "TIFF" and _read_orientation(image) in LYING  # Pillow turns a TIFF's size by itself
        return (height, width, image.mode) if lying else (width, height, image.mode)


def to_tf_decodable(data: bytes, verify: bool = True) -> bytes:
    """Return the same bytes if TensorFlow decodes them as people see them, else the image as PNG.

    Converted are WebP, TIFF and whatever else Pillow reads; CMYK; 16 bits a channel; BMP of other than 24 bits, which
    TensorFlow takes for grey or transparent; GIF, of which it decodes all frames and shows what is transparent; PNG
    with a colour that is transparent, or that says how the camera was held. Of an animation the first frame is taken.

    Args:
      verify: decodes files that stay as they are, to find those that are cut off or damaged.

    Raises:
      Unusable: it is no image, is broken, or is `size_error`, by its head.
    """
    file_kind = sniff_image_format(data)
    with _open_image(data) as image:
        if not _is_readable(file_kind, image, data):
            return _convert(image)
    if verify and (wrong := find_decode_errors([data])[0]):
        raise InvalidImage(wrong)
    return data


def find_decode_errors(files: Sequence[bytes]) -> list[str]:
    """Return why TensorFlow cannot decode a file, or "", of each.

    Many files at once are decoded by all processors, without Python between them.
    """
    import tensorflow as tf

    try:
        _make_decoder()(tf.constant(files, tf.string))
    except (tf.errors.OpError, ValueError):
        if len(files) == 1:
            return [f"is a broken {sniff_image_format(files[0])} file (cut off or damaged)"]
        return [wrong for file in files for wrong in find_decode_errors([file])]
    return [""] * len(files)


@cache
def _make_decoder() -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that decodes files, string [batch], and gives their numbers of values."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode(files: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda data: tf.size(tf.io.decode_image(data, channels=0, expand_animations=False)),
            files,
            fn_output_signature=tf.int32,
            parallel_iterations=16,
        )

    return decode


def encode_png(array: np.ndarray) -> bytes:
    """Return pixels as a PNG file.

    Args:
      array: uint8 [height, width] of grey, or [height, width, 3] of colour.

    >>> image_size_and_mode(encode_png(np.zeros([2, 3], np.uint8)))
    (3, 2, 'L')
    """
    from PIL import Image

    return _write_png(Image.fromarray(array))


def size_error(width: int, height: int) -> str:
    """Return why an image of so many pixels cannot be used, or ""."""
    from common.data.image_decoding import MOST_PIXELS, MOST_SIDE  # imports TensorFlow

    if width * height > MOST_PIXELS:
        return f"is too large, for it holds over {MOST_PIXELS:,} pixels"
    return f"is too large, for a side has over {MOST_SIDE:,} pixels" if max(width, height) > MOST_SIDE else ""


def _is_readable(file_kind: str, image: Image.Image, data: bytes) -> bool:
    """Whether TensorFlow shows a file of a kind that it knows as people see it."""
    if image.mode not in AS_THEY_ARE:
        return False
    if file_kind == "PNG":
        keyed = "transparency" in image.info and image.mode != "P"
        return data[24] <= 8 and not keyed and _read_orientation(image) == 1  # the byte is bits a channel
    if file_kind == "BMP":
        head, bits, packed = (int.from_bytes(data[at:end], "little") for at, end in ((14, 18), (28, 30), (30, 34)))
        size = int.from_bytes(data[10:14], "little") + (3 * image.width + 3) // 4 * 4 * image.height
        return head >= 40 and bits == 24 and packed == 0 and size == len(data)  # with more behind it is refused
    return file_kind == "JPEG"  # common/data/image_decoding.py turns these upright


def _open_image(data: bytes) -> Image.Image:
    """A Pillow image whose head is read and no more."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise InvalidImage("is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InvalidImage(
            f"is a broken {sniff_image_format(data)} file (its head)" if sniff_image_format(data) else "is no image"
        ) from None
    except Image.DecompressionBombError:  # Pillow's own limit is above ours
        raise InvalidImage(size_error(2**32, 2**32)) from None
    except Exception as error:  # its readers raise many kinds for damaged files
        raise InvalidImage(_broken_error(data, error)) from None
    if large := size_error(image.width, image.height):
        raise InvalidImage(large)
    return image


def _read_orientation(image: Image.Image) -> int:
    """What EXIF data before the pixels says, else 1. Unlike image.getexif, decodes nothing."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        held = exif.get(ORIENTATION, 1)
    except Exception:  # damaged, in one of many ways
        return 1
    return held if held in range(1, 9) else 1


def _convert(image: Image.Image) -> bytes:
    """A PNG file of an image, upright."""
    from PIL import ImageOps

    format = image.format
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            image = _to_eight_bits(image)
        elif image.mode in ("P", "PA", "La", "RGBa") or "transparency" in image.info:
            clear = image.mode != "P" or "transparency" in image.info
            image = image.convert("RGBA" if clear else "RGB")
        elif image.mode not in ("L", "LA", "RGB", "RGBA"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        return _write_png(image)
    except Exception as error:  # as above, and of sizes that no memory holds
        raise InvalidImage(_broken_error(b"", error, format)) from None


def _write_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.info = {}  # such as an EXIF orientation, which no longer holds
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of any range, as that of 8."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(0.0, values.min()), values.max()
    if image.mode.startswith("I") and low == 0 and high <= 65535:
        high = 65535.0
    elif low == 0 and high <= 255:
        high = 255.0
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.round(scaled).astype(np.uint8))


def _broken_error(data: bytes, error: Exception, format: str | None = None) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:120]
    name = sniff_image_format(data) or format
    return f"is a broken {name} file ({reason})" if name else f"is a broken image ({reason})"
