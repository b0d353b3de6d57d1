"""The image recipe beside the same network in PyTorch and in a plain Keras script, on the same data, in one run.

    pip install -r benchmarks/requirements.txt                          # PyTorch; skipped by name where it is absent
    python benchmarks/image.py --data photos                            # images a second, in turns
    python benchmarks/image.py --data photos --minutes 3                # and accuracy after equal time

Every row is the recipe's residual network at its default width, in a process of its own, with the same number of
processors, batches of the same size, AdamW (in place of the recipe's Muon, so that all do the same), one learning rate
schedule over the time given, and images mirrored and moved at random. All get the same pixels, decoded before.

    ours            the recipe: its training loop over tf.data, its model
    torch           PyTorch as it is used: channels last, eager
    torch compiled  the same by torch.compile
    keras           stock Keras layers, RandomFlip and RandomTranslation, model.fit

Training is measured over rounds of some thousand images, augmentation included, and prediction over the validation part
in batches of 256; what compiles is a round before those that count. With --minutes each trains anew for so long,
compiling included, and is scored on the test part once, with the weights it ends with.

--precision mixed_bfloat16: layers of matrices in bfloat16, variables and losses in float32, in all rows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402

ROUND = 4096  # images of a round of training
PREDICTED = 256  # images predicted at once
WARMUP, DECAY = 0.15, 0.05  # the warm-up is the recipe's
Data = dict[str, np.ndarray]  # train_pixels, train_labels, valid_..., test_...


def rate_at(share: float, peak: float) -> float:
    """The recipe's learning rate at a share of the training: up, then linearly down to 0."""
    return peak * min(share / WARMUP, (1 - min(share, 1.0)) / (1 - WARMUP))


class Row:
    """What every row can do; `settings` hold batch_size, learning_rate, precision, flip, shift and seed."""

    def __init__(self, data: Data, settings: dict[str, Any]):
        self.data, self.settings = data, settings
        self.labels = int(max(data["train_labels"].max(), data["test_labels"].max())) + 1

    def train(self) -> int:
        """Trains on a round of images; how many there were."""
        raise NotImplementedError

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """The most likely label of each image."""
        raise NotImplementedError

    def fit(self, seconds: float) -> int:
        """Trains anew for so long; how many images there were."""
        raise NotImplementedError


class Ours(Row):
    """The recipe's model in its own training loop."""

    def __init__(self, data: Data, settings: dict[str, Any]):
        super().__init__(data, settings)
        from common.commands.run import setup_tensorflow
        from recipes.image_classification.config import Config

        self.config = Config(
            epochs=100_000,
            patience=0,
            base_filters=16,
            optimizer="adamw",
            weight_decay=DECAY,
            learning_rate=settings["learning_rate"],
            batch_size=settings["batch_size"],
            precision=settings["precision"],
            seed=settings["seed"],
            random_flip="on" if settings["flip"] else "off",
            random_translation=settings["shift"],
            erasing_size=0.0,
        )
        setup_tensorflow(self.config)
        self.trainer = self._trainer(self.config, slice(ROUND))
        self.rounds = self._rounds(self.trainer)
        self.forward: Callable[[Any], Any] | None = None

    def _trainer(self, config: Any, rows: slice) -> Any:
        import tensorflow as tf

        from common.data.encoding import FEATURE, TARGET
        from common.data.example_store import Column, ExampleStore
        from common.runtime.tensorflow_setup import set_seed
        from common.training.trainer import Trainer
        from recipes.image_classification.model import num_stem_downsamplings
        from recipes.image_classification.recipe import ImageClassificationRecipe

        set_seed(config.seed)
        pixels, labels = self.data["train_pixels"][rows], self.data["train_labels"][rows]
        names = [str(number) for number in range(self.labels)]
        counts = np.bincount(labels, minlength=self.labels).tolist()
        assets = {"labels": names, "label_counts": counts, "size": list(pixels.shape[1:3])}
        assets |= {"grayscale": pixels.shape[3] == 1, "num_stem_downsamplings": num_stem_downsamplings(*assets["size"])}
        recipe = ImageClassificationRecipe(config, assets)
        store = ExampleStore({FEATURE + "pixels": Column(pixels), TARGET + "label": Column(labels)}, len(labels))
        return Trainer(recipe, config, store, None, tf.distribute.get_strategy())

    def _rounds(self, trainer: Any) -> Iterator[int]:
        from common.training.trainer import EpochResult

        for fact in trainer.fit():
            if isinstance(fact, EpochResult):
                yield len(trainer.train)

    def train(self) -> int:
        return next(self.rounds)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        if self.forward is None:
            model = self.trainer.model
            shape = tf.TensorSpec([None, *pixels.shape[1:]], tf.uint8)
            self.forward = tf.function(
                lambda x: tf.argmax(model({"pixels": x}, training=False)["logits"], axis=1), input_signature=[shape]
            )
        found = [self.forward(pixels[at : at + PREDICTED]).numpy() for at in range(0, len(pixels), PREDICTED)]
        return np.concatenate(found)

    def fit(self, seconds: float) -> int:
        from common.training.trainer import EpochResult

        self.trainer = self._trainer(replace(self.config, epochs=None, max_minutes=seconds / 60), slice(None))
        self.forward, images = None, 0
        for fact in self.trainer.fit():
            if isinstance(fact, EpochResult):
                images += min(fact.logs["steps"] * self.config.batch_size, len(self.trainer.train))
        return images


class Torch(Row):
    """PyTorch, channels last, eager."""

    compiled = False

    def __init__(self, data: Data, settings: dict[str, Any]):
        super().__init__(data, settings)
        import torch

        self.torch = torch
        self.pixels = torch.from_numpy(np.ascontiguousarray(data["train_pixels"].transpose(0, 3, 1, 2)))
        self.answers = torch.from_numpy(data["train_labels"].astype(np.int64))
        self._begin()

    def _begin(self) -> None:
        torch, nn = self.torch, self.torch.nn
        torch.manual_seed(self.settings["seed"])

        def normal(before: int, after: int) -> Any:
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight)
            return nn.Sequential(convolution, nn.BatchNorm2d(after, 1e-3, 0.1), nn.ReLU())

        class Residual(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self, filters: int):
                super().__init__()
                self.change = nn.Sequential(normal(filters, filters), normal(filters, filters))

            def forward(self, states: Any) -> Any:
                return states + self.change(states)

        self.network = nn.Sequential(
            normal(self.pixels.shape[1], 16),
            normal(16, 32),
            nn.MaxPool2d(2, ceil_mode=True),
            Residual(32),
            normal(32, 64),
            nn.MaxPool2d(2, ceil_mode=True),
            normal(64, 128),
            nn.MaxPool2d(2, ceil_mode=True),
            Residual(128),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(128, self.labels),
        ).to(memory_format=torch.channels_last)
        matrices = [weight for weight in self.network.parameters() if weight.dim() > 1]
        others = [weight for weight in self.network.parameters() if weight.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=1e-3
        )
        self.forward = torch.compile(self.network) if self.compiled else self.network
        self.order: list[Any] = []

    def _batch(self) -> tuple[Any, Any]:
        if not self.order:
            # Whole batches only, which spares it a second shape to compile.
            size = self.settings["batch_size"]
            whole = self.torch.randperm(len(self.answers))
            self.order = list(whole[: len(whole) // size * size].split(size))
        rows = self.order.pop()
        return self._augmented(self.pixels[rows]), self.answers[rows]

    def _augmented(self, pixels: Any) -> Any:
        torch = self.torch
        images = pixels.float() / 127.5 - 1
        count, _, height, width = images.shape
        down, across = (round(self.settings["shift"] * side) for side in (height, width))
        if self.settings["flip"]:
            images = torch.where(torch.rand(count, 1, 1, 1) < 0.5, images.flip(3), images)
        if down or across:
            images = torch.nn.functional.pad(images, (across, across, down, down), mode="reflect")
            rows = torch.randint(0, 2 * down + 1, (count, 1)) + torch.arange(height)
            columns = torch.randint(0, 2 * across + 1, (count, 1)) + torch.arange(width)
            images = images.permute(0, 2, 3, 1)[
                torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
            ]
            images = images.permute(0, 3, 1, 2)
        return images.contiguous(memory_format=torch.channels_last)

    def _step(self, rate: float) -> int:
        torch = self.torch
        images, answers = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings["precision"] == "mixed_bfloat16"):
            logits = self.forward(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), answers, label_smoothing=0.1)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return len(answers)

    def train(self) -> int:
        self.network.train()
        return sum(self._step(1e-3) for _ in range(-(-ROUND // self.settings["batch_size"])))

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        torch = self.torch
        self.network.eval()
        found = []
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=self.settings["precision"] == "mixed_bfloat16"),
        ):
            for at in range(0, len(pixels), PREDICTED):
                images = torch.from_numpy(pixels[at : at + PREDICTED]).permute(0, 3, 1, 2).float() / 127.5 - 1
                found.append(self.forward(images.contiguous(memory_format=torch.channels_last)).argmax(1).numpy())
        return np.concatenate(found)

    def fit(self, seconds: float) -> int:
        began, images = time.perf_counter(), 0
        self._begin()
        self.network.train()
        while (spent := time.perf_counter() - began) < seconds:
            images += self._step(rate_at(spent / seconds, self.settings["learning_rate"]))
        return images


class TorchCompiled(Torch):
    """PyTorch, channels last, by torch.compile."""

    compiled = True


class Keras(Row):
    """Stock Keras layers and model.fit."""

    def __init__(self, data: Data, settings: dict[str, Any]):
        super().__init__(data, settings)
        from common.runtime.tensorflow_setup import import_tensorflow

        self.tf = import_tensorflow()
        self._begin()

    def _begin(self) -> None:
        import keras

        layers = keras.layers
        keras.utils.set_random_seed(self.settings["seed"])
        keras.config.set_dtype_policy(self.settings["precision"])

        def normal(states: Any, filters: int) -> Any:
            states = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(states)
            return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(states))

        def residual(states: Any) -> Any:
            return layers.Add()([states, normal(normal(states, states.shape[3]), states.shape[3])])

        inputs = keras.Input(self.data["train_pixels"].shape[1:])
        states = layers.Rescaling(1 / 127.5, -1)(inputs)
        if self.settings["flip"]:
            states = layers.RandomFlip("horizontal")(states)
        states = layers.RandomTranslation(self.settings["shift"], self.settings["shift"])(states)
        states = normal(states, 16)
        states = residual(layers.MaxPooling2D(2, padding="same")(normal(states, 32)))
        states = layers.MaxPooling2D(2, padding="same")(normal(states, 64))
        states = residual(layers.MaxPooling2D(2, padding="same")(normal(states, 128)))
        logits = layers.Dense(self.labels, dtype="float32")(layers.GlobalMaxPooling2D()(states))
        self.model = keras.Model(inputs, logits)
        self.model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=DECAY, global_clipnorm=1.0),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        )

    def _dataset(self, rows: slice) -> Any:
        labels = np.eye(self.labels, dtype=np.float32)[self.data["train_labels"][rows]]
        found = self.tf.data.Dataset.from_tensor_slices((self.data["train_pixels"][rows], labels))
        return found.shuffle(len(labels)).batch(self.settings["batch_size"]).prefetch(2)

    def train(self) -> int:
        self.model.fit(self._dataset(slice(ROUND)), verbose=0, shuffle=False)
        return min(ROUND, len(self.data["train_labels"]))

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.model.predict(pixels, batch_size=PREDICTED, verbose=0).argmax(axis=1)

    def fit(self, seconds: float) -> int:
        import keras

        began, peak, size = time.perf_counter(), self.settings["learning_rate"], self.settings["batch_size"]
        self._begin()

        class Clock(keras.callbacks.Callback):  # type: ignore[misc]
            batches = 0

            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                share = (time.perf_counter() - began) / seconds
                self.model.optimizer.learning_rate = rate_at(share, peak)
                self.batches += 1
                self.model.stop_training = share >= 1

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if time.perf_counter() - began >= seconds:
                    raise TimeoutError  # fit looks at stop_training between epochs only

        clock = Clock()
        with contextlib.suppress(TimeoutError):
            self.model.fit(self._dataset(slice(None)), epochs=100_000, verbose=0, shuffle=False, callbacks=[clock])
        return clock.batches * size


ROWS: dict[str, tuple[type[Row], str]] = {  # by name: the class, and the package that it needs
    "ours": (Ours, "keras"),
    "torch": (Torch, "torch"),
    "torch compiled": (TorchCompiled, "torch"),
    "keras": (Keras, "keras"),
}


def child(name: str, place: Path) -> None:
    """Answers "train" and "predict" with [images, seconds], and "fit SECONDS" with [accuracy, images, seconds]."""
    told = json.loads((place / "settings.json").read_text(encoding="utf-8"))
    with np.load(place / "data.npz", allow_pickle=False) as stored:
        data = {key: stored[key] for key in stored.files}
    row = ROWS[name][0](data, told)
    for line in sys.stdin:
        word, *rest = line.split()
        began = time.perf_counter()
        if word == "train":
            count = row.train()
            print(json.dumps([count, time.perf_counter() - began]), flush=True)
        elif word == "predict":
            count = len(row.predict(data["valid_pixels"]))
            print(json.dumps([count, time.perf_counter() - began]), flush=True)
        else:
            images = row.fit(float(rest[0]))
            seconds = time.perf_counter() - began
            right = (row.predict(data["test_pixels"]) == data["test_labels"]).mean()
            print(json.dumps([float(right), images, seconds]), flush=True)


def load(args: argparse.Namespace) -> Data:
    """The pixels and labels of each part, as the recipe reads and splits them."""
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common.data.encoding import CompiledEncoder, encode_to_store
    from common.data.example_store import StoreWriter
    from recipes.image_classification.config import Config
    from recipes.image_classification.recipe import ImageClassificationRecipe

    given = {"data": tuple(args.data), "test": tuple(args.test), "limit": args.limit}
    config = Config(**{name: value for name, value in given.items() if value})
    splits = ImageClassificationRecipe.load_data(config)
    recipe = ImageClassificationRecipe(config, ImageClassificationRecipe.build_assets(config, splits.train))
    parts = {}
    for part, source in splits.items():
        encoder = CompiledEncoder(
            lambda batch: recipe.encode(batch) | recipe.encode_targets(batch), ["image_bytes", "label"]
        )
        store = encode_to_store(source, encoder, StoreWriter())
        for name, column in (("pixels", "pixels"), ("labels", "label")):
            parts[f"{part}_{name}"] = np.asarray(store.columns[column].values)
    if not {"valid_pixels", "test_pixels"} <= set(parts):
        sys.exit("Error: there must be a training, a validation and a test part: give --data alone.")
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--test"):
        parser.add_argument(flag, action="append", default=[], metavar="SRC", help="as of `run image_classification`")
    parser.add_argument("--limit", type=int, help="use a random sample of N images of each part")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; repeat for several")
    parser.add_argument("--list", action="store_true", help="list the rows and what they lack")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="highest of the schedule, with --minutes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="also train each for so long and score it on the test part")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]))
        return
    names = turns.chosen(ROWS, args.only, args.list)
    if args.list:
        return
    try:
        data = load(args)
    except ValueError as error:  # of common.errors: one sentence
        sys.exit(f"Error: {error}")
    colour = data["train_pixels"].shape[3] == 3
    settings = {"batch_size": args.batch_size, "learning_rate": args.learning_rate, "precision": args.precision}
    settings |= {"seed": args.seed, "flip": colour, "shift": 0.125}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.savez(place / "data.npz", **data)  # type: ignore[arg-type]
        (place / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        results = measured(names, place, args)
    shape = "x".join(map(str, data["train_pixels"].shape[1:]))
    print(f"{shape} pixels, batches of {args.batch_size}, {args.precision}; medians of {args.rounds} rounds in turns")
    for name, row in results.items():
        line = f"{name}: {row['train']:,.0f} images/s in training, {row['predict']:,.0f} in prediction"
        if "accuracy" in row:
            line += f"; accuracy {row['accuracy']:.4f} after {row['seconds']:.0f} s and {row['images']:,} images"
        print(line)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def measured(names: list[str], place: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each row reached: rates in turns, then each alone for --minutes."""
    processes = {name: turns.process(__file__, name, str(place)) for name in names}
    results: dict[str, dict[str, Any]] = {name: {} for name in names}
    for what in ("train", "predict"):
        rates = turns.race(processes, args.rounds, f"images, {what}", what)
        for name, found in rates.items():
            results[name] |= {what: statistics.median(found), f"{what}_rounds": found}
    if args.minutes:
        for name, one in processes.items():
            print(f"{name}: training for {args.minutes:g} minutes", file=sys.stderr, flush=True)
            accuracy, images, seconds = turns.answer(name, one, f"fit {60 * args.minutes}")
            results[name] |= {"accuracy": accuracy, "images": images, "seconds": seconds}
    for one in processes.values():
        one.kill()
    return results


if __name__ == "__main__":
    main()
