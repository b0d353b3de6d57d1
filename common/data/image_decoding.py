"""Images in graph: files' bytes to pixels of one size, alike in training and serving; core TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

MOST_PIXELS = 100_000_000  # of an image; a larger one is refused before memory is taken for it
MOST_SIDE = 1_000_000  # pixels; libpng, by which TensorFlow decodes, takes no more
TOO_LARGE = f"the image holds over {MOST_PIXELS:,} pixels"
HEAD = 2**17  # bytes in which a JPEG file says how the camera was held
SEGMENTS = 64  # of a JPEG file that are looked at for it
ENTRIES = 200  # of its first directory


def decode_image(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Return the pixels of an image, uint8 [height, width, channels], upright.

    Of an animation the first frame. What is transparent shows white. Grey is luma (ITU-R BT.601).

    Args:
      data: a PNG, JPEG, GIF or BMP file, string [].
      channels: 1 for grey or 3 for colour.

    Raises:
      tf.errors.InvalidArgumentError: the file is broken or of another kind, or holds over MOST_PIXELS.
    """
    height, width = _read_size(data)
    fits = tf.debugging.Assert(height * width <= MOST_PIXELS, [TOO_LARGE])
    with tf.control_dependencies([fits] if fits is not None else []):  # None in eager mode
        whole = tf.io.decode_image(data, channels=0, expand_animations=False)
    whole = tf.ensure_shape(whole, [None, None, None])
    count = tf.shape(whole)[2]  # grey, grey and alpha, colour, colour and alpha

    def over_white() -> tf.Tensor:
        colours, alpha = (tf.cast(part, tf.float32) for part in (whole[:, :, :-1], whole[:, :, -1:]))
        return tf.cast(tf.round(255 + (colours - 255) * alpha / 255), tf.uint8)

    opaque = tf.cond(count % 2 == 0, over_white, lambda: whole)  # [height, width, 1 or 3]
    if channels == 3:
        opaque = tf.broadcast_to(opaque, tf.concat([tf.shape(whole)[:2], [3]], axis=0))
    else:
        opaque = tf.cond(count <= 2, lambda: opaque, lambda: _to_luma(opaque))
    return _turn_upright(tf.ensure_shape(opaque, [None, None, channels]), read_exif_orientation(data))


def resize_image(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return the image at a size, uint8 [height, width, channels]: bilinear, smoothed where it gets smaller."""
    new = tf.image.resize(image, [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(new), 0, 255), tf.uint8)


def decode_and_resize(files: tf.Tensor, height: int, width: int, channels: int) -> tf.Tensor:
    """Return the pixels of some images, uint8 [batch, height, width, channels].

    Args:
      files: string [batch]; see `decode_image`.
    """
    return tf.map_fn(
        lambda data: resize_image(decode_image(data, channels), height, width),
        files,
        fn_output_signature=tf.TensorSpec([height, width, channels], tf.uint8),
        parallel_iterations=16,
    )


def _to_luma(image: tf.Tensor) -> tf.Tensor:
    weights = tf.constant([[0.299], [0.587], [0.114]])
    return tf.cast(tf.round(tf.tensordot(tf.cast(image, tf.float32), weights, 1)), tf.uint8)


def _has_magic(data: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(magic)) == magic


def _read_size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width as the file's head says, int64; 0 of other kinds than PNG, JPEG, GIF and BMP."""
    raw = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, 26), tf.uint8), tf.int64)
    raw = tf.pad(raw, [[0, 26]])

    def number(at: int, size: int, big: bool) -> tf.Tensor:
        powers = [256**place for place in range(size)]
        return tf.reduce_sum(raw[at : at + size] * tf.constant(powers[::-1] if big else powers, tf.int64))

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.io.extract_jpeg_shape(data, tf.int32)
        return tf.cast(shape[0], tf.int64), tf.cast(shape[1], tf.int64)

    def bmp() -> tuple[tf.Tensor, tf.Tensor]:
        height = number(22, 4, False)  # below 0 where rows go from top to bottom
        return tf.minimum(height, 2**32 - height), number(18, 4, False)

    kinds = [
        (_has_magic(data, b"\xff\xd8\xff"), jpeg),
        (_has_magic(data, b"\x89PNG"), lambda: (number(20, 4, True), number(16, 4, True))),
        (_has_magic(data, b"GIF8"), lambda: (number(8, 2, False), number(6, 2, False))),
        (_has_magic(data, b"BM"), bmp),
    ]
    return tf.case(kinds, default=lambda: (tf.constant(0, tf.int64), tf.constant(0, tf.int64)))


def read_exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """Return how a camera was held, 1 to 8 as in EXIF, int32 []; 1 where a file does not say.

    Reads the first directory of the Exif segment of a JPEG file (CIPA DC-008; TIFF 6.0), which TensorFlow's decoder
    passes over.
    """
    return tf.cond(_has_magic(data, b"\xff\xd8\xff"), lambda: _read_exif_orientation(data), lambda: tf.constant(1))


def _read_exif_orientation(data: tf.Tensor) -> tf.Tensor:
    raw = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, HEAD), tf.uint8), tf.int32)
    length = tf.size(raw)
    raw = tf.pad(raw, [[0, 1]])

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.gather(raw, tf.clip_by_value(at, 0, length))  # 0 beyond the end

    def has_segment(number: tf.Tensor, at: tf.Tensor, tags_start: tf.Tensor) -> tf.Tensor:
        return (number < SEGMENTS) & (tags_start < 0) & (at + 10 < length) & (byte(at) == 0xFF) & (byte(at + 1) != 0xDA)

    def read_segment(number: tf.Tensor, at: tf.Tensor, tags_start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        filler = byte(at + 1) == 0xFF
        name = tf.gather(raw, tf.clip_by_value(at + 4 + tf.range(6), 0, length))
        exif = (byte(at + 1) == 0xE1) & tf.reduce_all(name == tf.constant([*b"Exif\0\0"]))
        size = tf.where(filler, 1, 2 + 256 * byte(at + 2) + byte(at + 3))
        return number + 1, at + size, tf.where(exif & ~filler, at + 10, tags_start)

    start = tf.while_loop(has_segment, read_segment, (0, 2, -1))[2]
    little = byte(start) == ord("I")

    def two(at: tf.Tensor) -> tf.Tensor:
        first, second = byte(at), byte(at + 1)
        return tf.where(little, first + 256 * second, 256 * first + second)

    low, high = two(start + 4), two(start + 6)
    offset = tf.where(little, low + 65536 * tf.minimum(high, 2), 65536 * tf.minimum(low, 2) + high)
    first = start + offset
    entries = first + 2 + 12 * tf.range(ENTRIES)
    here = (tf.range(ENTRIES) < two(first)) & (entries + 12 <= length)
    value = tf.reduce_max(tf.where(here & (two(entries) == 0x0112), two(entries + 8), 0))
    return tf.where((start >= 0) & (value >= 1) & (value <= 8), value, 1)


def _turn_upright(image: tf.Tensor, held: tf.Tensor) -> tf.Tensor:
    def when(holds: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
        return tf.cond(holds, lambda: change(image), lambda: image)

    def one_of(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(held == tf.constant(numbers))

    image = when(held >= 5, lambda x: tf.transpose(x, [1, 0, 2]), image)
    image = when(one_of(2, 3, 6, 7), lambda x: tf.reverse(x, [1]), image)
    return when(one_of(3, 4, 7, 8), lambda x: tf.reverse(x, [0]), image)
