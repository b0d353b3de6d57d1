"""The networks: a plain convolutional one, a small residual one, and larger ones that others have trained."""

from __future__ import annotations

import math

import keras

from common.modeling.layers.blend import LogitBlend
from common.modeling.layers.normalization import BatchNormalization

from . import backbones
from .config import Config
from .layers import MixupCutmix, RandomAugmentation

SEEN = "seen"  # the layer whose [batch, rows, columns, features] tell best what is where
LAYER_GROUPS = {"encoder": ("*",), "head": ("dense", "labels", "blend")}  # patterns of layer names
SMALL = 40  # pixels; larger images are brought below it by the first convolutions


def num_stem_downsamplings(height: int, width: int) -> int:
    """Return how many convolutions bring images of such a size below `SMALL`, each by half.

    >>> [num_stem_downsamplings(side, 100) for side in (32, 40, 41, 81)]
    [0, 0, 1, 2]
    """
    return max(0, math.ceil(math.log2(min(height, width) / SMALL)))


def build_model(
    config: Config,
    height: int,
    width: int,
    channels: int,
    num_labels: int,
    flip: bool,
    num_downsamplings: int | None = None,
) -> keras.Model:
    """Return the model.

    Args:
      num_downsamplings: convolutions of the stem that halve images in the residual network; None for as many as fit
        their size.

    Inputs: pixels uint8 [batch, height, width, channels].
    Outputs: logits float32 [batch, labels], which are trained, and blended, scaled so that probabilities are
    calibrated, which are served; in training, where images are mixed, partner int32 [batch] and own float32 [batch]:
    with which image of the batch each is mixed, and how much of it is its own.
    """
    pixels = keras.Input([height, width, channels], dtype="uint8", name="pixels")
    images, partner, own = MixupCutmix(
        config.mix_augmentation if config.stochastic_regularization else "none", name="mixed"
    )(make_augmentation(config, flip)(pixels))
    if config.backbone:
        features = pretrained_backbone(config, config.backbone, images)  # [batch, features]
    elif config.model == "cnn":
        features = plain_cnn(config, images)
    else:
        if num_downsamplings is None:
            num_downsamplings = num_stem_downsamplings(height, width)
        features = resnet(config, images, num_downsamplings)
    features = keras.layers.Dropout(config.dropout if config.stochastic_regularization else 0, name="dropout")(features)
    logits = keras.layers.Dense(num_labels, dtype="float32", name="labels")(features)
    outputs = {"logits": logits, "blended": LogitBlend(dtype="float32", name="blend")([logits])}
    return keras.Model({"pixels": pixels}, outputs | {"partner": partner, "own": own}, name=config.model)


def muon_variables(config: Config, network: keras.Model) -> list[keras.Variable]:
    """Return the variables that Muon updates: kernels of hidden layers, unless they are those of a backbone."""
    if config.optimizer == "adamw" or config.backbone:
        return []
    return [
        variable
        for variable in network.trainable_variables
        if len(variable.shape) > 1 and not variable.path.startswith("labels/")
    ]


def make_augmentation(config: Config, flip: bool) -> RandomAugmentation:
    """Return the random changes that a config asks for."""
    if not config.stochastic_regularization:
        return RandomAugmentation(name="changes")
    shape, shades = (
        (config.random_translation, config.random_zoom, config.max_rotation_degrees),
        (config.color_jitter, config.erasing_size),
    )
    return RandomAugmentation(
        flip, *shape, *shades, config.rand_augment_num_ops, config.rand_augment_magnitude, name="changes"
    )


def pretrained_backbone(config: Config, name: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """Return what a network of Keras Applications sees, [batch, features]: the mean of each feature over all places."""
    states = keras.layers.Activation("linear", name=SEEN)(backbones.backbone_features(config, name, images))
    return keras.layers.GlobalAveragePooling2D(name="pooled")(states)


def plain_cnn(config: Config, images: keras.KerasTensor) -> keras.KerasTensor:
    """Convolutions and pooling by turns, then fully connected layers: the network of textbooks, [batch, features].

    After LeCun et al. 1998, with what has been learned since: small filters, batch normalization, dropout.
    """
    states, width = images, config.base_filters
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
    return keras.layers.Dropout(0.5 if config.stochastic_regularization else 0, name="dense_dropout")(states)


def resnet(config: Config, images: keras.KerasTensor, num_downsamplings: int) -> keras.KerasTensor:
    """A small residual network, [batch, features]: He et al. 2016 in the shape of Page's ResNet-9 (2018)."""
    states, width = images, config.base_filters
    for number in range(num_downsamplings):
        states = _normal(config, states, width, f"first_{number + 1}", stride=2)
    states = _normal(config, states, width, "stem")
    for stage, has_blocks in ((1, True), (2, False), (3, True)):
        # Fewer places, more features.
        states = _normal(config, states, width * 2**stage, f"stage_{stage}")
        states = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{stage}")(states)
        for block in range(1, config.blocks_per_stage + 1 if has_blocks else 1):
            name = f"block_{stage}_{block}"
            change = _normal(config, states, states.shape[3], f"{name}_a")
            change = _normal(config, change, states.shape[3], f"{name}_b")
            if config.squeeze_excite:
                change = squeeze_excite(config, change, name)
            states = keras.layers.Add(name=name)([states, change])
    states = keras.layers.Activation("linear", name=SEEN)(states)
    # What is found anywhere counts, wherever it is.
    return keras.layers.GlobalMaxPooling2D(name="pooled")(states)


def squeeze_excite(config: Config, states: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The states, each channel weighed from 0 to 1 by what all of the image shows (Hu et al. 2018)."""
    count = states.shape[3]
    gates = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_seen")(states)
    gates = keras.layers.Dense(max(count // 8, 4), activation=config.activation, name=f"{name}_squeeze")(gates)
    gates = keras.layers.Dense(count, activation="sigmoid", name=f"{name}_excite")(gates)
    return keras.layers.Multiply(name=f"{name}_weighed")([states, gates])


def _normal(config: Config, states: keras.KerasTensor, filters: int, name: str, stride: int = 1) -> keras.KerasTensor:
    """Return a convolution of 3 x 3, normalised and bent."""
    states = keras.layers.Conv2D(
        filters, 3, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(states)
    states = BatchNormalization(name=f"{name}_norm")(states)
    return keras.layers.Activation(config.activation, name=f"{name}_bend")(states)
