"""The recipe of image classification: what is learned from the images, how they become pixels, what is served."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import resolve_epochs
from common.data.check_common import quantiles
from common.data.check_images import check_images
from common.data.image_decoding import decode_and_resize
from common.data.readers.image_bytes import image_size_and_mode
from common.data.readers.image_sources import open_image_source
from common.data.splitting import load_splits
from common.errors import ConfigError
from common.modeling.classification import ClassificationHead, build_label_assets
from common.modeling.losses import cross_entropy
from common.recipe import Recipe
from common.types import (
    Assets,
    Batch,
    Endpoint,
    Example,
    ExampleSource,
    FreezePhase,
    JsonObject,
    NamedAxis,
    OutputRow,
    Splits,
)

from . import backbones, data, explain, fitting, model
from .config import Config
from .model import muon_variables as kernels

SEEN = 100_000  # images that a training sees without --epochs, over 10 to 200 epochs
LARGER = 2.0  # times the size of a source's images, to which at most those of a fine-tuned run are brought
LARGEST = 128  # height and width that are taken without --image-size


class ImageClassificationRecipe(Recipe[Config]):
    """Image to label."""

    fields = data.FIELDS
    layer_groups = model.LAYER_GROUPS
    head: ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets, blended=("logits",))
        self.height: int
        self.width: int
        min_side = backbones.SMALLEST if config.backbone else 1
        size = parse_image_size(config.image_size)
        self.height, self.width = size or [max(side, min_side) for side in assets["size"]]
        is_grayscale = assets["grayscale"] if config.color_mode == "auto" else config.color_mode == "grayscale"
        self.channels = 1 if is_grayscale and not config.backbone else 3
        # A network that saw colors may be fine-tuned on grayscale images.
        has_no_colors = assets.get("images_grayscale", is_grayscale)
        self.flip = not has_no_colors if config.random_flip == "auto" else config.random_flip == "on"

    open_source = staticmethod(open_image_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        size = parse_image_size(config.image_size)  # refused before the data is read
        if config.backbone and size and min(size) < backbones.SMALLEST:
            raise ConfigError(
                f"--image-size is {config.image_size}, but a backbone takes {backbones.SMALLEST} at least."
            )
        if config.backbone and config.color_mode == "grayscale":
            raise ConfigError(
                "--color-mode is grayscale, but backbones see colors. Give auto; grayscale images can be used."
            )
        return load_splits(config, data.FIELDS, lambda: data.load_mnist_digits(config.offline), cls.open_source)

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        if config.init_from is None:
            backbones.find_weights_file(config)  # what is missing is told before the data is read
        labels: Counter[str] = Counter()
        heights: Counter[int] = Counter()
        widths: Counter[int] = Counter()
        is_grayscale = True
        for example in train:
            labels[example["label"]] += 1
            width, height, mode = image_size_and_mode(example["image_bytes"])
            heights[height] += 1
            widths[width] += 1
            is_grayscale = is_grayscale and mode in ("1", "L", "LA")
        label_assets = build_label_assets(labels, train, "image")
        size = [min(quantiles(sizes)["median"], LARGEST) for sizes in (heights, widths)]
        num_downsamplings = model.num_stem_downsamplings(*(parse_image_size(config.image_size) or size))
        return label_assets | {
            "size": size,
            "grayscale": is_grayscale if config.color_mode == "auto" else config.color_mode == "grayscale",
            "num_stem_downsamplings": num_downsamplings,
        }

    @classmethod
    def extend_assets(cls, config: Config, train: ExampleSource, known: Assets) -> Assets:
        known_mode = "grayscale" if known["grayscale"] else "rgb"
        if config.color_mode not in ("auto", known_mode) and not config.backbone:
            raise ConfigError(
                f"--color-mode is {config.color_mode}, but the run that --init-from names has {known_mode}. Leave"
                " --color-mode out."
            )
        assets = cls.build_assets(config, train)
        own = assets if train.without_replay is None else cls.build_assets(config, train.without_replay)
        # What the base run learned to see has a size in pixels: so images are not brought to a much larger one, and as
        # many convolutions as there halve them.
        scale = min(1.0, LARGER * max(known["size"]) / max(own["size"]))
        return assets | {
            "grayscale": known["grayscale"],
            "images_grayscale": own["grayscale"],
            "converted_to_gray": known["grayscale"] and not own["grayscale"] and not config.backbone,
            "size": [max(round(side * scale), 1) for side in own["size"]],
            "num_stem_downsamplings": known["num_stem_downsamplings"],
        }

    @classmethod
    def resolve_defaults(cls, config: Config, assets: Assets) -> Config:
        examples = sum(assets["label_counts"])
        config = dataclasses.replace(config, batch_size=config.batch_size or fitting.choose_batch_size(examples))
        # The width is chosen by the time given, so before the epochs.
        if not config.base_filters:
            recipe = cls(dataclasses.replace(config, base_filters=fitting.WIDTH), assets)
            shape = recipe.height, recipe.width, recipe.channels
            base_filters = fitting.choose_width(config, *shape, len(recipe.head.labels), examples)
            config = dataclasses.replace(config, base_filters=base_filters)
        return dataclasses.replace(config, epochs=resolve_epochs(config, assets, examples, SEEN, 10, 200))

    @classmethod
    def check_data(cls, config: Config, splits: Splits) -> JsonObject:
        return check_images(splits, "image_bytes")

    def encode(self, features: Batch) -> Batch:
        return {"pixels": decode_and_resize(features["image_bytes"], self.height, self.width, self.channels)}

    def encode_targets(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        shape, num_labels = (self.height, self.width, self.channels), len(self.head.labels)
        num_downsamplings = self.assets["num_stem_downsamplings"]
        return model.build_model(self.config, *shape, num_labels, self.flip, num_downsamplings)

    def initialize_weights(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], inherited: Collection[str] = ()
    ) -> None:
        if not inherited:
            backbones.load_backbone_weights(self.config, model)

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        labels = self.head.named_axis()
        return {"labels/kernel": {1: labels}, "labels/bias": {0: labels}}

    def get_initial_freeze(self, model: keras.Model) -> FreezePhase | None:
        if not self.config.backbone or self.config.backbone_weights == "none" or not self.config.freeze_backbone_ratio:
            return None
        return FreezePhase([backbones.get_backbone(model)], self.config.freeze_backbone_ratio, backbones.UNFROZEN_RATE)

    def get_muon_variables(self, model: keras.Model) -> Sequence[tf.Variable]:
        return kernels(self.config, model)

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        options = self.config.label_smoothing, self.head.class_weights(self.config.class_weights)
        sums, weights = cross_entropy(target["label"], outputs["logits"], *options)
        if self.config.mix_augmentation == "none":
            return sums, weights
        own, partner_labels = outputs["own"], tf.gather(target["label"], outputs["partner"])
        partner_sums, partner_weights = cross_entropy(partner_labels, outputs["logits"], *options)
        return own * sums + (1 - own) * partner_sums, own * weights + (1 - own) * partner_weights

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        pixels = features["pixels"]
        logits = model({"pixels": pixels}, training=False)["blended"]
        if self.config.flip_tta:
            logits = (logits + model({"pixels": tf.reverse(pixels, [2])}, training=False)["blended"]) / 2
        return self.head.prediction_outputs(logits)

    def make_endpoints(self, model: keras.Model) -> dict[str, Endpoint]:
        heat = explain.GradCam(model)

        def predict_pixels(pixels: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return self.predict(model, {"pixels": tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)})

        def explain_image(image_bytes: tf.Tensor) -> Mapping[str, tf.Tensor]:
            features = self.encode({"image_bytes": image_bytes})
            return {"label": self.predict(model, features)["label"], "heat": heat(features["pixels"])}

        files = super().make_endpoints(model)["serving_default"]
        shades = tf.TensorSpec([None, self.height, self.width, self.channels], tf.float32, "pixels")
        return {
            "serving_default": files,
            "pixels": Endpoint(predict_pixels, {"pixels": shades}),
            "explain": Endpoint(explain_image, files.input_signature),
        }

    def data_warnings(self) -> list[str]:
        warnings = super().data_warnings()
        if self.assets.get("converted_to_gray"):
            warnings.append("The run that --init-from names saw gray only, so that colors are not seen here either.")
        return warnings

    def edge_case_inputs(self) -> list[Example]:
        random, shape = np.random.default_rng(0), (self.height, self.width, self.channels)
        examples = super().edge_case_inputs()
        return [{**example, "pixels": random.uniform(0, 255, shape).astype(np.float32)} for example in examples]

    def render_explanation(self, example: Example, outputs: OutputRow) -> bytes:
        return explain.render_heatmap(example["image_bytes"], outputs["heat"])


def parse_image_size(given: str | None) -> tuple[int, int] | None:
    """Return height and width of an `--image-size`.

    >>> parse_image_size("64"), parse_image_size("96x128"), parse_image_size(None)
    ((64, 64), (96, 128), None)

    Raises:
      ConfigError: it is no size.
    """
    if given is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", given.strip().lower())
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(8 <= side <= 1024 for side in sides):
        raise ConfigError(f'--image-size is "{given}", but must be 64 or 96x128, of 8 to 1024 pixels each.')
    return sides
