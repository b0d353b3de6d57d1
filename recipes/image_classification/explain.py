"""What in an image made for its label: Grad-CAM, and a picture of it."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from common.data.image_decoding import decode_image
from common.data.readers.image_bytes import encode_png

from .model import SEEN

LARGEST = 1024  # pixels; larger pictures are made smaller
# From nothing to most: dark blue, blue, cyan, yellow, red, dark red.
COLORS = np.array([(0, 0, 128), (0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0), (128, 0, 0)], np.float32)
AT = np.array([0, 0.125, 0.375, 0.625, 0.875, 1], np.float32)


class GradCam:
    """How much each place made for the most likely label, by Grad-CAM (Selvaraju et al. 2017).

    The features of the last convolutions are weighed by the mean slope of the label's logit and added up; what speaks
    against the label counts as 0.

    Args:
      model: as built, with a layer named `SEEN`.
    """

    def __init__(self, model: keras.Model):
        seen = model.get_layer(SEEN).output
        self.below = keras.Model(model.inputs, seen)
        self.above = keras.Model(seen, model.output["logits"])

    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return heat from 0 to 1, the largest of each image 1 if any is above 0: float32 [batch, height, width].

        Args:
          pixels: uint8 [batch, height, width, channels].
        """
        features = self.below([pixels], training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            best = tf.reduce_sum(tf.reduce_max(self.above(features, training=False), axis=1))
        slopes = tf.cast(tape.gradient(best, features), tf.float32)
        weights = tf.reduce_mean(slopes, axis=[1, 2], keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(features, tf.float32), axis=3, keepdims=True))
        heat /= tf.maximum(tf.reduce_max(heat, axis=[1, 2], keepdims=True), 1e-9)
        return tf.image.resize(heat, pixels.shape[1:3])[..., 0]


def render_heatmap(file: bytes, heat: np.ndarray) -> bytes:
    """Return the image with its heat in colors over it, as a PNG file: blue for nothing, by cyan and yellow to red.

    Args:
      file: which TensorFlow decodes.
      heat: [rows, columns] from 0 to 1, stretched over the whole image.
    """
    image = decode_image(tf.constant(file), 3)
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shades = tf.image.resize(image, size, antialias=True).numpy()
    places = tf.image.resize(np.asarray(heat, np.float32)[..., None], size)[..., 0].numpy()
    colors = np.stack([np.interp(places, AT, COLORS[:, band]) for band in range(3)], axis=-1)
    return encode_png(np.clip(np.round(0.6 * shades + 0.4 * colors), 0, 255).astype(np.uint8))
