"""Networks of Keras Applications, with the weights that others trained on ImageNet, or with none."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from common.data.download import download_file, keras_home
from common.errors import ConfigError
from common.runtime.console import print_status

from .config import Config

WEIGHTS_AT = "https://storage.googleapis.com/tensorflow/keras-applications/"
UNFROZEN_RATE = 0.1  # learning rate of all layers after the first part, in which only the last one learns
SMALLEST = 32  # pixels a side that all of them take
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue, from 0 to 1


@dataclass(frozen=True)
class PretrainedWeights:
    """The weights of a network without its last layer, as Keras publishes them, and the shades that they expect.

    Args:
      folder, file: where under `WEIGHTS_AT`.
      digest: MD5 or SHA-256 of the file, by its length.
      scale, offset: of shades from -1 to 1, for each color.
    """

    folder: str
    file: str
    digest: str
    scale: Sequence[float] = (1.0,) * 3
    offset: Sequence[float] = (0.0,) * 3


def _standard(folder: str, file: str, digest: str) -> PretrainedWeights:
    """Return weights that expect each color of ImageNet to have a mean of 0 and a standard deviation of 1."""
    scale = [0.5 / spread for spread in SPREAD]
    return PretrainedWeights(
        folder, file, digest, scale, [(0.5 - mean) / spread for mean, spread in zip(MEAN, SPREAD, strict=True)]
    )


def _of_128(folder: str, file: str, digest: str) -> PretrainedWeights:
    """Return weights that expect shades of 0 to 255 divided by 128, minus 1."""
    return PretrainedWeights(folder, file, digest, (127.5 / 128,) * 3, (127.5 / 128 - 1,) * 3)


# Names and digests are those of keras.applications in Keras 3.
PUBLISHED = {
    "MobileNetV3Small": PretrainedWeights(
        "mobilenet_v3", "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5", "d3e8ec802a04aa4fc771ee12a9a9b836"
    ),
    "MobileNetV3Large": PretrainedWeights(
        "mobilenet_v3", "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5", "07fb09a5933dd0c8eaafa16978110389"
    ),
    "EfficientNetV2B0": _standard("efficientnet_v2", "efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "EfficientNetV2B1": _standard("efficientnet_v2", "efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
    "EfficientNetV2B2": _standard("efficientnet_v2", "efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "EfficientNetV2B3": _standard("efficientnet_v2", "efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
    "EfficientNetV2S": _of_128("efficientnet_v2", "efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    "ResNet50V2": PretrainedWeights(
        "resnet", "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "fac2f116257151a9d068a22e544a4917"
    ),
    "ConvNeXtTiny": _standard(
        "convnext", "convnext_tiny_notop.h5", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"
    ),
    "ConvNeXtSmall": _standard(
        "convnext", "convnext_small_notop.h5", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"
    ),
}


def backbone_features(config: Config, name: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """Return what a network sees in images of 3 colors from -1 to 1: [batch, rows, columns, features]."""
    about = PUBLISHED[name]
    network = _network(name, images.shape[1:])
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout) and not config.stochastic_regularization:
            layer.rate = 0.0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True  # else each replica has statistics of its own rows
    shades = keras.layers.Rescaling(list(about.scale), list(about.offset), name="shades")(images)
    return network(shades)


def _network(name: str, shape: Sequence[int]) -> keras.Model:
    # Shades are brought to what is expected by a layer of ours, alike for all; ResNet50V2 has none of its own.
    more = {} if name.startswith("ResNet") else {"include_preprocessing": False}
    return getattr(keras.applications, name)(include_top=False, weights=None, input_shape=tuple(shape), **more)


def get_backbone(model: keras.Model) -> keras.Model:
    """Return the network within a model that was built with one."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def find_weights_file(config: Config) -> Path | None:
    """Return where the weights to begin with are, downloaded if they must be; None for none.

    Raises:
      ConfigError: they are not there, and cannot be or shall not be downloaded.
    """
    if config.backbone is None or config.backbone_weights == "none":
        return None
    if config.backbone_weights != "imagenet":
        path = Path(config.backbone_weights).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"--backbone-weights is {config.backbone_weights}, but there is no such file."
                " Give imagenet, none or the name of a file."
            )
        return path
    about = PUBLISHED[config.backbone]
    url = f"{WEIGHTS_AT}{about.folder}/{about.file}"
    otherwise = "give --backbone-weights FILE, or --backbone-weights none to begin without"
    return download_file(url, keras_home() / "models", about.digest, config.offline, otherwise)


def load_backbone_weights(config: Config, model: keras.Model) -> None:
    """Give the network within a model the weights to begin with.

    Files are read as weights only: HDF5 as Keras writes it (.h5, .weights.h5), or the weights of a .keras file.

    Raises:
      ConfigError: the file holds other weights, or none.
    """
    path = find_weights_file(config)
    if path is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of weights that a file lacks
            get_backbone(model).load_weights(path)
    except (ValueError, OSError, KeyError, AttributeError, TypeError, Warning, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(
            f"{path} does not hold the weights of {config.backbone} without its last layer ({reason})."
            " Give a file that Keras wrote of that network with include_top=False."
        ) from None
    print_status(f"Weights of {config.backbone} out of {path}")
