"""The recipe of image classification: what is learned from the images, how they become pixels, what is served."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import passes
from common.data import image_decoding
from common.data.check_common import quantiles
from common.data.check_images import labelled_images
from common.data.readers.image_bytes import facts
from common.data.readers.image_sources import open_image_source
from common.data.splitting import load_splits
from common.errors import ConfigError
from common.modeling.classification import ClassificationHead, learned
from common.modeling.losses import cross_entropy
from common.recipe import Recipe
from common.types import Assets, Axis, Batch, Endpoint, Example, JsonObject, OutputRow, Source, Splits, WarmUp

from . import backbones, data, explain, fitting, model
from .config import Config
from .model import orthogonal as kernels

SEEN = 100_000  # images that a training sees without --epochs, over 10 to 200 epochs
LARGER = 2.0  # times the size of a source's images, to which at most those of a fine-tuned run are brought
LARGEST = 128  # height and width that are taken without --image-size


class ImageClassificationRecipe(Recipe[Config]):
    """Image to label."""

    fields = data.FIELDS
    parts = model.PARTS
    head: ClassificationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = ClassificationHead(assets, blended=("logits",))
        self.height: int
        self.width: int
        least = backbones.SMALLEST if config.backbone else 1
        self.height, self.width = size(config.image_size) or [max(side, least) for side in assets["size"]]
        grey = assets["grey"] if config.channels == "auto" else config.channels == "grey"
        self.channels = 1 if grey and not config.backbone else 3
        # A network that saw colours may be fine-tuned on grey images.
        self.flip = not assets.get("images_grey", grey) if config.flip == "auto" else config.flip == "on"

    open_source = staticmethod(open_image_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        given = size(config.image_size)  # refused before the data is read
        if config.backbone and given and min(given) < backbones.SMALLEST:
            raise ConfigError(
                f"--image-size is {config.image_size}, but a backbone takes {backbones.SMALLEST} at least."
            )
        if config.backbone and config.channels == "grey":
            raise ConfigError("--channels is grey, but backbones see colours. Give auto; grey images can be used.")
        return load_splits(config, data.FIELDS, lambda: data.digits(config.offline), cls.open_source)

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        if config.init_from is None:
            backbones.weights_file(config)  # what is missing is told before the data is read
        labels: Counter[str] = Counter()
        heights: Counter[int] = Counter()
        widths: Counter[int] = Counter()
        grey = True
        for example in train:
            labels[example["label"]] += 1
            width, height, mode = facts(example["image_bytes"])
            heights[height] += 1
            widths[width] += 1
            grey = grey and mode in ("1", "L", "LA")
        found = learned(labels, train, "image")
        typical = [min(quantiles(sizes)["median"], LARGEST) for sizes in (heights, widths)]
        halved = model.halvings(*(size(config.image_size) or typical))
        grey = {"grey": True, "colour": False}.get(config.channels, grey)
        return found | {"size": typical, "grey": grey, "halved": halved}

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        if config.channels != "auto" and (config.channels == "grey") != known["grey"] and not config.backbone:
            saw = "grey" if known["grey"] else "colour"
            raise ConfigError(
                f"--channels is {config.channels}, but the run that --init-from names saw {saw}. Leave --channels out."
            )
        found = cls.learn(config, train)
        own = found if train.own is None else cls.learn(config, train.own)
        # What the source learned to see has a size in pixels: so images are not brought to a much larger one, and as
        # many convolutions as there halve them.
        shrunk = min(1.0, LARGER * max(known["size"]) / max(own["size"]))
        return found | {
            "grey": known["grey"],
            "images_grey": own["grey"],
            "greyed": known["grey"] and not own["grey"] and not config.backbone,
            "size": [max(round(side * shrunk), 1) for side in own["size"]],
            "halved": known.get("halved", model.halvings(*known["size"])),
        }

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        examples = sum(assets["label_counts"])
        config = dataclasses.replace(config, batch_size=config.batch_size or fitting.batch_size(examples))
        # The width is chosen by the time given, so before the epochs.
        if not config.width:
            found = cls(dataclasses.replace(config, width=fitting.WIDTH), assets)
            about = (found.height, found.width, found.channels, len(found.head.labels))
            config = dataclasses.replace(config, width=fitting.width(config, *about, examples))
        return dataclasses.replace(config, epochs=passes(config, assets, examples, SEEN, 10, 200))

    @classmethod
    def check(cls, config: Config, splits: Splits) -> JsonObject:
        return labelled_images(splits, "image_bytes")

    def encode(self, features: Batch) -> Batch:
        return {"pixels": image_decoding.pixels(features["image_bytes"], self.height, self.width, self.channels)}

    def encode_target(self, examples: Batch) -> Batch:
        return {"label": self.head.lookup(examples["label"])}

    def build_model(self) -> keras.Model:
        labels, halved = len(self.head.labels), self.assets.get("halved")
        return model.build(self.config, self.height, self.width, self.channels, labels, self.flip, halved)

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()) -> None:
        if not kept:
            backbones.begin(self.config, model)

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        labels = self.head.named_axis()
        return {"labels/kernel": {1: labels}, "labels/bias": {0: labels}}

    def warm_up(self, model: keras.Model) -> WarmUp | None:
        if not self.config.backbone or self.config.weights == "none" or not self.config.head_only:
            return None
        return WarmUp([backbones.of(model)], self.config.head_only, backbones.UNFROZEN_RATE)

    def orthogonal(self, model: keras.Model) -> Sequence[tf.Variable]:
        return kernels(self.config, model)

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self.head.class_weights(self.config.class_weights)

        def of(labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return cross_entropy(labels, outputs["logits"], self.config.label_smoothing, weights)

        sums, shares = of(target["label"])
        if self.config.mix == "none":
            return sums, shares
        own, (others, other_shares) = outputs["own"], of(tf.gather(target["label"], outputs["partner"]))
        return own * sums + (1 - own) * others, own * shares + (1 - own) * other_shares

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        pixels = features["pixels"]
        logits = model({"pixels": pixels}, training=False)["blended"]
        if self.config.mirror_tests:
            logits = (logits + model({"pixels": tf.reverse(pixels, [2])}, training=False)["blended"]) / 2
        return self.head.prediction_outputs(logits)

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        heat = explain.Heat(model)

        def of_shades(pixels: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return self.predict(model, {"pixels": tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)})

        def explained(image_bytes: tf.Tensor) -> Mapping[str, tf.Tensor]:
            features = self.encode({"image_bytes": image_bytes})
            return {"label": self.predict(model, features)["label"], "heat": heat(features["pixels"])}

        files = super().serve(model)["serving_default"]
        shades = tf.TensorSpec([None, self.height, self.width, self.channels], tf.float32, "pixels")
        return {
            "serving_default": files,
            "pixels": Endpoint(of_shades, {"pixels": shades}),
            "explain": Endpoint(explained, files.inputs),
        }

    def doubts(self) -> list[str]:
        greyed = ["The run that --init-from names saw grey only, so that colours are not seen here either."]
        return super().doubts() + (greyed if self.assets.get("greyed") else [])

    def odd_inputs(self) -> list[Example]:
        random, shape = np.random.default_rng(0), (self.height, self.width, self.channels)
        examples = super().odd_inputs()
        return [{**example, "pixels": random.uniform(0, 255, shape).astype(np.float32)} for example in examples]

    def explanation(self, example: Example, outputs: OutputRow) -> bytes:
        return explain.overlay(example["image_bytes"], outputs["heat"])


def size(given: str | None) -> tuple[int, int] | None:
    """Height and width of an `--image-size`.

    >>> size("64"), size("96x128"), size(None)
    ((64, 64), (96, 128), None)

    Raises:
      ConfigError: it is no size.
    """
    if given is None:
        return None
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", given.strip().lower())
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(8 <= side <= 1024 for side in sides):
        raise ConfigError(f'--image-size is "{given}", but must be 64 or 96x128, of 8 to 1024 pixels each.')
    return sides
