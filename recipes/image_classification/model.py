"""The networks: a plain convolutional one, a small residual one, and larger ones that others have trained."""

from __future__ import annotations

import math

import keras

from common.modeling.layers.blend import Blend
from common.modeling.layers.normalization import BatchNormalization

from . import backbones
from .config import Config
from .layers import Changes, Mixed

SEEN = "seen"  # the layer whose [batch, rows, columns, features] tell best what is where
PARTS = {"encoder": ("*",), "head": ("dense", "labels", "blend")}  # patterns of layer names
SMALL = 40  # pixels; larger images are brought below it by the first convolutions


def halvings(height: int, width: int) -> int:
    """How many convolutions bring images of such a size below `SMALL`, each by half.

    >>> [halvings(side, 100) for side in (32, 40, 41, 81)]
    [0, 0, 1, 2]
    """
    return max(0, math.ceil(math.log2(min(height, width) / SMALL)))


def build(
    config: Config, height: int, width: int, channels: int, labels: int, flip: bool, halved: int | None = None
) -> keras.Model:
    """The model.

    Args:
      halved: by how many convolutions the residual network first halves images; None for as many as fit their size.

    Inputs: pixels uint8 [batch, height, width, channels].
    Outputs: logits float32 [batch, labels], which are trained, and blended, as much larger as makes shares fit, which
    are served; in training, where images are mixed, partner int32 [batch] and own float32 [batch]: with which image of
    the batch each is mixed, and how much of it is its own.
    """
    pixels = keras.Input([height, width, channels], dtype="uint8", name="pixels")
    images, partner, own = Mixed(config.mix if config.noise else "none", name="mixed")(changes(config, flip)(pixels))
    if config.backbone:
        features = pretrained(config, config.backbone, images)  # [batch, features]
    elif config.model == "cnn":
        features = plain(config, images)
    else:
        features = residual(config, images, halvings(height, width) if halved is None else halved)
    features = keras.layers.Dropout(config.dropout if config.noise else 0, name="dropout")(features)
    logits = keras.layers.Dense(labels, dtype="float32", name="labels")(features)
    outputs = {"logits": logits, "blended": Blend(dtype="float32", name="blend")([logits])}
    return keras.Model({"pixels": pixels}, outputs | {"partner": partner, "own": own}, name=config.model)


def orthogonal(config: Config, network: keras.Model) -> list[keras.Variable]:
    """The variables that Muon updates: kernels of hidden layers, unless they are those of a backbone."""
    if config.optimizer == "adamw" or config.backbone:
        return []
    return [one for one in network.trainable_variables if len(one.shape) > 1 and not one.path.startswith("labels/")]


def changes(config: Config, flip: bool) -> Changes:
    """The random changes that a config asks for."""
    if not config.noise:
        return Changes(name="changes")
    shape, shades = (config.shift, config.scale, config.rotate), (config.colour, config.erase)
    return Changes(flip, *shape, *shades, config.rand_augment, config.rand_strength, name="changes")


def pretrained(config: Config, name: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """A network of Keras Applications, [batch, features]: the mean of each feature over all places."""
    states = keras.layers.Activation("linear", name=SEEN)(backbones.features(config, name, images))
    return keras.layers.GlobalAveragePooling2D(name="pooled")(states)


def plain(config: Config, images: keras.KerasTensor) -> keras.KerasTensor:
    """Convolutions and pooling by turns, then fully connected layers: the network of textbooks, [batch, features].

    After LeCun et al. 1998, with what has been learned since: small filters, batch normalization, dropout.
    """
    states, width = images, config.width
    stages = max(1, round(math.log2(min(images.shape[1:3]) / 4)))
    for stage in range(1, stages + 1):
        filters = width * 2 ** min(stage, 4)
        # Two convolutions of 3 x 3 see as much as one of 5 x 5, with fewer weights.
        for part in "ab":
            states = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{stage}{part}")(states)
            states = BatchNormalization(name=f"norm_{stage}{part}")(states)
            states = keras.layers.Activation(config.activation, name=f"bend_{stage}{part}")(states)
        if stage == stages:
            states = keras.layers.Activation("linear", name=SEEN)(states)
        # Half the height and width, the strongest sign of each feature.
        states = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{stage}")(states)
    states = keras.layers.Flatten(name="flat")(states)
    states = keras.layers.Dense(width * 16, activation=config.activation, name="dense")(states)
    return keras.layers.Dropout(0.5 if config.noise else 0, name="dense_dropout")(states)


def residual(config: Config, images: keras.KerasTensor, halved: int) -> keras.KerasTensor:
    """A small residual network, [batch, features]: He et al. 2016 in the shape of Page's ResNet-9 (2018)."""
    states, width = images, config.width
    for number in range(halved):
        states = _normal(config, states, width, f"first_{number + 1}", stride=2)
    states = _normal(config, states, width, "stem")
    for stage, has_blocks in ((1, True), (2, False), (3, True)):
        # Fewer places, more features.
        states = _normal(config, states, width * 2**stage, f"stage_{stage}")
        states = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{stage}")(states)
        for block in range(1, config.depth + 1 if has_blocks else 1):
            name = f"block_{stage}_{block}"
            change = _normal(config, states, states.shape[3], f"{name}_a")
            change = _normal(config, change, states.shape[3], f"{name}_b")
            if config.squeeze:
                change = squeezed(config, change, name)
            states = keras.layers.Add(name=name)([states, change])
    states = keras.layers.Activation("linear", name=SEEN)(states)
    # What is found anywhere counts, wherever it is.
    return keras.layers.GlobalMaxPooling2D(name="pooled")(states)


def squeezed(config: Config, states: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The states, each channel weighed from 0 to 1 by what all of the image shows (Hu et al. 2018)."""
    count = states.shape[3]
    shares = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_seen")(states)
    shares = keras.layers.Dense(max(count // 8, 4), activation=config.activation, name=f"{name}_squeeze")(shares)
    shares = keras.layers.Dense(count, activation="sigmoid", name=f"{name}_excite")(shares)
    return keras.layers.Multiply(name=f"{name}_weighed")([states, shares])


def _normal(config: Config, states: keras.KerasTensor, filters: int, name: str, stride: int = 1) -> keras.KerasTensor:
    """A convolution of 3 x 3, normalised and bent."""
    states = keras.layers.Conv2D(
        filters, 3, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(states)
    states = BatchNormalization(name=f"{name}_norm")(states)
    return keras.layers.Activation(config.activation, name=f"{name}_bend")(states)
