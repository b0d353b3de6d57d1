"""The music recipe beside the plain ways to model frames of notes, on the same pieces, in one run.

    python benchmarks/music.py --data jsb-chorales-quarter.json --steps-per-beat 1             # about 20 minutes
    python benchmarks/music.py --data jsb-chorales-quarter.json --steps-per-beat 1 --minutes 1  # a look

All rows learn from the training part and are scored on the validation part, in nats a frame: the probability of the
whole set of notes of each frame, the first and empty ones too, in the pieces' own keys. What notes are held does not
count, so that the data should be frames of JSON.

  markov       for each pitch, how often it sounds after a frame in which it did or did not
  keras        a Keras LSTM over frames with a sigmoid for each pitch, by `fit` with early stopping: notes of a frame
               do not depend on each other; sampled by a Python loop over model.predict
  kerasserole  this recipe with its defaults, by its command line; sampled by serving_default of its run

What the columns say:
  nats/frame   of the validation part, with the weights that were best there
  seconds      of training: all of a process but imports and scoring for ours, `fit` for Keras
  events/s     notes a second, of 8 pieces of 64 frames made at once, and of one; after a first piece, which compiles
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PITCHES, WINDOW, FRAMES, PIECES = 128, 32, 64, 8
Rolls = list[np.ndarray]  # of each piece, bool [frames, PITCHES]


def rolls(examples: Any) -> Rolls:
    """What sounds in each frame.

    >>> rolls([{"events": np.array([[0, 2, 60]]), "steps": 3}])[0][:, 60].tolist()
    [True, True, False]
    """
    found = []
    for example in examples:
        roll = np.zeros((example["steps"], PITCHES), bool)
        for start, duration, pitch in np.asarray(example["events"]).tolist():
            roll[start : start + duration, pitch] = True
        found.append(roll)
    return found


def markov_nll(train: Rolls, valid: Rolls) -> float:
    """Nats a frame of the valid part, by shares counted in the training part, each with one more of both kinds.

    >>> one = [np.array([[True], [True], [False]])]
    >>> round(markov_nll(one, one), 3)  # 2/3, then 1/2 and 1/2
    0.597
    """
    first, after = np.ones((2, train[0].shape[1])), np.ones((2, 2, train[0].shape[1]))
    for roll in train:
        before = np.concatenate([np.zeros_like(roll[:1]), roll[:-1]])
        for was in (0, 1):
            for now in (0, 1):
                after[was, now] += ((before[1:] == was) & (roll[1:] == now)).sum(axis=0)
        for now in (0, 1):
            first[now] += roll[0] == now
    first, after = first / first.sum(axis=0), after / after.sum(axis=1, keepdims=True)
    total = 0.0
    columns = np.arange(train[0].shape[1])
    for roll in valid:
        total -= np.log(first[roll[0].astype(int), columns]).sum()
        total -= np.log(after[roll[:-1].astype(int), roll[1:].astype(int), columns]).sum()
    return total / sum(len(roll) for roll in valid)


def markov(parts: dict[str, Rolls], given: argparse.Namespace) -> dict[str, float]:
    """For each pitch, how often it sounds after a frame in which it did or did not."""
    began = time.perf_counter()
    return {"nll": markov_nll(parts["train"], parts["valid"]), "seconds": time.perf_counter() - began}


def keras_frames(parts: dict[str, Rolls], given: argparse.Namespace) -> dict[str, float]:
    """A Keras LSTM with a sigmoid for each pitch, by fit."""
    import keras

    keras.utils.set_random_seed(1)
    most = max(len(roll) for group in parts.values() for roll in group)

    def arrays(group: Rolls) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(frames before, frames, weights), padded to the longest piece."""
        frames = np.zeros((len(group), most, PITCHES), np.float32)
        weights = np.zeros((len(group), most), np.float32)
        for row, roll in enumerate(group):
            frames[row, : len(roll)], weights[row, : len(roll)] = roll, 1
        return np.pad(frames, [(0, 0), (1, 0), (0, 0)])[:, :-1], frames, weights

    inputs = keras.Input([None, PITCHES])
    states = keras.layers.LSTM(256, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(PITCHES, activation="sigmoid")(keras.layers.Dropout(0.3)(states)))
    model.compile("adam", "binary_crossentropy")
    before, frames, weights = arrays(parts["train"])
    held_out = arrays(parts["valid"])
    stop = keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)

    class Limit(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if time.perf_counter() - began > given.minutes * 60:
                self.model.stop_training = True

    began = time.perf_counter()
    model.fit(
        before,
        frames,
        sample_weight=weights,
        validation_data=held_out,
        batch_size=16,
        epochs=1000,
        verbose=0,
        callbacks=[stop, Limit()],
    )
    seconds = time.perf_counter() - began
    chances = np.clip(model.predict(held_out[0], verbose=0), 1e-7, 1 - 1e-7)
    nats = -np.log(np.where(held_out[1] > 0, chances, 1 - chances)).sum(axis=2)
    random = np.random.default_rng(1)

    def made(count: int) -> int:
        """How many notes pieces have that are drawn frame by frame, each from the last frames before it."""
        piece = np.zeros((count, WINDOW + FRAMES, PITCHES), np.float32)
        for at in range(FRAMES):
            shown = model.predict(piece[:, at : at + WINDOW], verbose=0)[:, -1]
            piece[:, at + WINDOW] = random.random(shown.shape) < shown
        return int(piece.sum())

    return {"nll": float((nats * held_out[2]).sum() / held_out[2].sum()), "seconds": seconds, **speeds(made)}


def kerasserole(parts: dict[str, Rolls], given: argparse.Namespace) -> dict[str, float]:
    """This recipe, by its command line."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        command = [sys.executable, ROOT / "cli.py", "run", "music", "--data", given.data, "--run-dir", folder]
        command += ["--steps-per-beat", given.steps_per_beat, "--max-minutes", given.minutes, *given.ours]
        if subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL).returncode:
            sys.exit(1)  # it has said why
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        from common.inference import served_model

        served = served_model.load_predictor(folder)
    wish = {"events": np.zeros([0, 3], np.int32), "length": FRAMES, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def made(count: int) -> int:
        asked = [wish | {"seed": seed} for seed in range(count)]
        return sum(int(outputs["lengths"].sum()) for _, outputs in served.iter_outputs("serving_default", asked))

    return {"nll": metrics["valid"]["nll_per_frame"], "seconds": metrics["seconds"]["training"], **speeds(made)}


def speeds(made: Callable[[int], int]) -> dict[str, float]:
    """Notes a second of several pieces at once and of one, of which the first is not counted."""
    found = {}
    for name, count in (("several", PIECES), ("one", 1)):
        made(count)
        began = time.perf_counter()
        found[name] = made(count) / (time.perf_counter() - began)
    return found


ROWS = {"markov": markov, "keras": keras_frames, "kerasserole": kerasserole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as --data of `run music`; it must name its parts, or is split")
    parser.add_argument("--steps-per-beat", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, of each network at most")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="repeat for several")
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="more flags for `run music`; comes last")
    given = parser.parse_args()
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common import discovery
    from common.errors import ConfigError, DataError

    settings = {"steps_per_beat": given.steps_per_beat, "data": (given.data,)}
    try:
        splits = discovery.load_recipe("music").load_data(discovery.load_recipe_config("music").Config(**settings))
        parts = {name: rolls(source) for name, source in splits.items() if name in ("train", "valid")}
    except (ConfigError, DataError) as error:
        sys.exit(f"Error: {error}")
    print("| | nats/frame | seconds | events/s, 8 pieces | events/s, one |\n|---|---|---|---|---|", flush=True)
    for name in given.only or ROWS:
        found = ROWS[name](parts, given)
        rates = " | ".join(f"{found[key]:,.0f}" if key in found else "-" for key in ("several", "one"))
        print(f"| {name} | {found['nll']:.3f} | {found['seconds']:.1f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
