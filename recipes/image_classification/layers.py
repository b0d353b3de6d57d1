"""Random changes of images, made anew each time an image is trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from common.types import JsonObject, Shape

LISTED = 11  # changes of which some are drawn for each image


@keras.saving.register_keras_serializable("kerasserole")
class RandomAugmentation(keras.layers.Layer):
    """Images as the network sees them, from -1 to 1; in training moved, turned, mirrored, tinted and in part blanked.

    All places are changed by one map each, and what comes in from outside is a mirror image of what is there. Blanking
    is that of DeVries and Taylor 2017.

    The list out of which changes are drawn is that of RandAugment (Cubuk et al. 2020), but for equalize and
    autocontrast; those drawn are made in its order. At a magnitude of 1: turn by 30 degrees, shear by 0.3 in x and y,
    move by 0.45 of the size in x and in y; brightness, contrast, saturation and sharpness by 0.9; solarize all shades;
    posterize to 4 bits.

    Args:
      flip: mirror every other image.
      translation: images move by up to this fraction of their height and width.
      zoom: they get larger or smaller by up to this fraction.
      max_rotation_degrees: they turn by up to so many degrees.
      color_jitter: brightness, contrast and saturation change by up to this fraction.
      erasing_size: side of a square that is made gray, as a fraction of the image's.
      num_ops: so many changes are drawn out of the list for each image.
      magnitude: of these, from 0 to 1, up or down.

    Call arguments:
      pixels: uint8 [batch, height, width, channels].
    """

    def __init__(
        self,
        flip: bool = False,
        translation: float = 0.0,
        zoom: float = 0.0,
        max_rotation_degrees: float = 0.0,
        color_jitter: float = 0.0,
        erasing_size: float = 0.0,
        num_ops: int = 0,
        magnitude: float = 0.0,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.flip, self.translation, self.zoom = flip, translation, zoom
        self.max_rotation_degrees, self.color_jitter = max_rotation_degrees, color_jitter
        self.erasing_size, self.num_ops, self.magnitude = erasing_size, num_ops, magnitude
        self.seed = keras.random.SeedGenerator()

    def call(self, pixels: tf.Tensor, training: bool = False) -> tf.Tensor:
        images = tf.cast(pixels, tf.float32) / 127.5 - 1
        if training:
            images = self._rand_augment(images) if self.num_ops else self._move(images)
            if self.color_jitter:
                images = self._jitter_colors(images)
            if self.erasing_size:
                images = self._erase(images)
        return tf.cast(images, self.compute_dtype)

    def _draw(self, count: tf.Tensor, low: float, high: float) -> tf.Tensor:
        return keras.random.uniform([count], low, high, seed=self.seed, dtype="float32")

    def _rand_augment(self, images: tf.Tensor) -> tf.Tensor:
        """Move images and change them in ways drawn from the list."""
        count = tf.shape(images)[0]
        ranks = keras.random.uniform([count, LISTED], seed=self.seed, dtype="float32")
        chosen = ranks >= tf.math.top_k(ranks, self.num_ops).values[:, -1:]
        signs = keras.random.uniform([count, LISTED], seed=self.seed, dtype="float32")
        # How much each image is changed in each way, [count] each.
        turn, shear_x, shear_y, right, down, *tints, solarize, posterize = tf.unstack(
            tf.where(chosen, tf.where(signs < 0.5, -self.magnitude, self.magnitude), 0.0), axis=1
        )
        images = self._move(images, (30 * turn, 0.3 * shear_x, 0.3 * shear_y, 0.45 * right, 0.45 * down))
        brighter, starker, purer, sharper = (tf.reshape(1 + 0.9 * by, [-1, 1, 1, 1]) for by in tints)
        images = (images + 1) * brighter - 1
        middle = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        images = middle + (images - middle) * starker
        grey = tf.reduce_mean(images, axis=3, keepdims=True)
        images = grey + (images - grey) * purer
        smooth = _smooth(images)
        images = tf.clip_by_value(smooth + (images - smooth) * sharper, -1, 1)
        # Solarizing turns shades above a bound into their opposites; posterizing keeps their upper bits only.
        bound = tf.reshape(1 - 2 * tf.abs(solarize), [-1, 1, 1, 1])
        images = tf.where(images > bound, -images, images)
        step = tf.reshape(2 ** tf.round(4 * tf.abs(posterize)), [-1, 1, 1, 1])
        coarse = tf.floor(tf.round((images + 1) * 127.5) / step) * step / 127.5 - 1
        return tf.where(step > 1, coarse, images)

    def _move(self, images: tf.Tensor, more: Sequence[tf.Tensor] = ()) -> tf.Tensor:
        """Turn, shear, enlarge, mirror and move images.

        Args:
          more: besides what is drawn, degrees, shear in x and y, and fractions of the size to the right and down,
            [batch] each.
        """
        if not (self.flip or self.translation or self.zoom or self.max_rotation_degrees or more):
            return images
        count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
        # A point of the new image is looked up in the old one: about the middle turned, enlarged, mirrored, then moved.
        turn, shear_x, shear_y, across, along = more or [tf.zeros([count])] * 5
        angle = (self._draw(count, -self.max_rotation_degrees, self.max_rotation_degrees) + turn) * math.pi / 180
        zoom = tf.exp(self._draw(count, -1, 1) * math.log1p(self.zoom))
        side = tf.where(self._draw(count, 0, 1) < 0.5, -1.0, 1.0) if self.flip else tf.ones([count])
        # Whole pixels, since those in between would blur small images.
        down, right = (
            tf.round((self._draw(count, -1, 1) * self.translation + by) * size)
            for by, size in ((along, height), (across, width))
        )
        cosine, sine = zoom * tf.cos(angle), zoom * tf.sin(angle)
        x, y = (width - 1) / 2, (height - 1) / 2
        a, b, c, d = side * cosine, -side * sine, sine, cosine
        if more:
            a, b, c, d = a + b * shear_y, a * shear_x + b, c + d * shear_y, c * shear_x + d
        nothing = tf.zeros([count])
        maps = tf.stack([a, b, x - a * x - b * y + right, c, d, y - c * x - d * y + down, nothing, nothing], axis=1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=maps,
            output_shape=[height, width],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )

    def _jitter_colors(self, images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        brightness, contrast, saturation = (
            tf.reshape(self._draw(count, -self.color_jitter, self.color_jitter), [-1, 1, 1, 1]) for _ in range(3)
        )
        grey = tf.reduce_mean(images, axis=3, keepdims=True)
        images = grey + (images - grey) * (1 + saturation)
        middle = tf.reduce_mean(grey, axis=[1, 2], keepdims=True)
        return tf.clip_by_value(middle + (images - middle) * (1 + contrast) + brightness, -1, 1)

    def _erase(self, images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]

        def near(size: int) -> tf.Tensor:
            # The middle may lie on the edge, so that some squares are cut off and some images are hardly changed.
            middle = self._draw(count, 0, size)[:, None]
            return tf.abs(tf.range(size, dtype=tf.float32) + 0.5 - middle) < self.erasing_size * size / 2

        blank = near(images.shape[1])[:, :, None] & near(images.shape[2])[:, None, :]
        return tf.where(blank[..., None], 0.0, images)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape

    def get_config(self) -> JsonObject:
        names = ["flip", "translation", "zoom", "max_rotation_degrees", "color_jitter"]
        names += ["erasing_size", "num_ops", "magnitude"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _smooth(images: tf.Tensor) -> tf.Tensor:
    """Return images with each pixel blended with the eight around it, as Pillow's sharpness does: 5 to 1 each."""
    channels = images.shape[3]
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    edged = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    return tf.nn.depthwise_conv2d(edged, tf.tile(kernel[..., None, None], [1, 1, channels, 1]), [1] * 4, "VALID")


@keras.saving.register_keras_serializable("kerasserole")
class MixupCutmix(keras.layers.Layer):
    """Images of a batch mixed with others of it, in training; which ones, and how much of each image is its own.

    Args:
      kind: "none"; "mixup", a blend (Zhang et al. 2018); or "cutmix", a rectangle of the other one (Yun et al. 2019).

    Call arguments:
      images: [batch, height, width, channels].

    Returns: (images, int32 [batch], float32 [batch]).
    """

    def __init__(self, kind: str, **kwargs: object):
        super().__init__(**kwargs)
        self.kind = kind
        self.seed = keras.random.SeedGenerator()

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
        if not training or self.kind == "none":
            return images, tf.range(count), tf.ones([count])
        # A batch is in random order already, so the neighbour is a random partner; one share serves the batch.
        partner = tf.roll(tf.range(count), 1, axis=0)
        own = keras.random.uniform([], seed=self.seed)
        other = tf.gather(images, partner)
        if self.kind == "mixup":
            own = 0.5 + tf.abs(own - 0.5)
            share = tf.cast(own, images.dtype)
            return share * images + (1 - share) * other, partner, tf.fill([count], own)
        side = tf.sqrt(1 - own)

        def within(size: int) -> tf.Tensor:
            long = tf.round(side * size)
            first = tf.round(keras.random.uniform([], seed=self.seed) * (size - long))
            place = tf.range(size, dtype=tf.float32)
            return (place >= first) & (place < first + long)

        taken = within(height)[:, None] & within(width)[None, :]
        own = 1 - tf.reduce_mean(tf.cast(taken, tf.float32))
        return tf.where(taken[None, :, :, None], other, images), partner, tf.fill([count], own)

    def compute_output_shape(self, shape: Shape) -> tuple[Shape, Shape, Shape]:
        return shape, shape[:1], shape[:1]

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "kind": self.kind}
