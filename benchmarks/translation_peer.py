"""OpenNMT-tf as benchmarks/translation.py runs it, by an interpreter of its own; and what all rows share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "opennmt"
LOCK = "benchmarks/opennmt.txt"

BATCH = 64  # pairs, of the rows at equal sizes
UNITS = 256
PIECES = 8000
BEAM, LENGTH_PENALTY = 4, 1.0  # as the recipe has them
LONGEST = 80  # pieces of a side; its setting for LSTMs
Pairs = list[list[str]]  # source and target


def words(pairs: Pairs) -> int:
    """How many words between blanks both sides have.

    >>> words([["a dog", "ein Hund"], ["dogs", ""]])
    5
    """
    return sum(len(side.split()) for pair in pairs for side in pair)


class Row:
    """What every row can do.

    Args:
      told: `parts` has the pairs to `train` on and those `scored`; `settings`; and `work`, a folder to write to.

    `about` holds `parameters` and `words_per_piece`, once it has trained.
    """

    def __init__(self, told: dict[str, Any]):
        self.told, self.settings = told, told["settings"]
        self.work = Path(told["work"])
        self.train_pairs: Pairs = told["parts"]["train"]
        self.about: dict[str, Any] = {}

    def train(self) -> int:
        """Trains on a round of pairs; how many pieces there were."""
        raise NotImplementedError

    def fit(self, minutes: float | None) -> dict[str, Any]:
        """Trains anew for so long, or as long as it does by default; what it says of it."""
        raise NotImplementedError

    def translate(self, texts: list[str]) -> list[str]:
        """The translations of a batch, once it is fit."""
        raise NotImplementedError


class OpenNMT(Row):
    """OpenNMT-tf, bidirectional LSTM of 256 units each way, attention with input feeding, batches of 64."""

    encoder_units, joint = UNITS, False

    def __init__(self, told: dict[str, Any]):
        super().__init__(told)
        self._cut()
        # Only now: with TensorFlow loaded, SentencePiece crashes as it learns.
        import opennmt
        import tensorflow as tf

        self.tf, self.opennmt = tf, opennmt
        tf.get_logger().setLevel("ERROR")
        tf.keras.utils.set_random_seed(self.settings["seed"])
        self._write_vocabularies()
        self.steps: Iterator[float] | None = None

    def _cut(self) -> None:
        """Learns the pieces of each language, or of both together, and cuts the training part."""
        import pyonmttok

        sides = list(zip(*self.train_pairs, strict=True))
        self.groups = [[0, 1]] if self.joint else [[0], [1]]
        self.tokenizers: dict[int, Any] = {}
        pieces = 0
        for group in self.groups:
            learner = pyonmttok.SentencePieceLearner(
                vocab_size=PIECES, character_coverage=1.0, hard_vocab_limit=False, minloglevel=2
            )
            for text in (text for side in group for text in sides[side]):
                learner.ingest(text)
            tokenizer = learner.learn(str(self.work / f"pieces{group[0]}"))
            for side in group:
                self.tokenizers[side] = tokenizer
                rows = [self._pieces(side, text) for text in sides[side]]
                pieces += sum(map(len, rows))
                text = "".join(" ".join(row) + "\n" for row in rows)
                (self.work / f"train{side}").write_text(text, encoding="utf-8")
        self.about["words_per_piece"] = words(self.train_pairs) / pieces

    def _pieces(self, side: int, text: str) -> list[str]:
        return list(self.tokenizers[side](text))

    def _write_vocabularies(self) -> None:
        self.vocabularies = {}
        for group in self.groups:
            found = self.opennmt.data.Vocab(special_tokens=["<blank>", "<s>", "</s>"])
            for side in group:
                found.add_from_text(str(self.work / f"train{side}"))
                self.vocabularies[side] = str(self.work / f"vocabulary{group[0]}")
            found.serialize(self.vocabularies[group[0]])

    def _begin(self) -> None:
        """A new model, and the steps of its training."""
        tf, onmt = self.tf, self.opennmt
        cell, sharing = tf.keras.layers.LSTMCell, onmt.models.EmbeddingsSharingLevel
        self.model = onmt.models.SequenceToSequence(
            onmt.inputters.WordEmbedder(embedding_size=UNITS),
            onmt.inputters.WordEmbedder(embedding_size=UNITS),
            onmt.encoders.RNNEncoder(1, self.encoder_units, bidirectional=True, dropout=0.3, cell_class=cell),
            onmt.decoders.AttentionalRNNDecoder(
                1, UNITS, bridge_class=onmt.layers.DenseBridge, cell_class=cell, dropout=0.3
            ),
            share_embeddings=sharing.ALL if self.joint else sharing.NONE,
        )
        # As many pieces as ours may have for the longest source, so that a poor model is not slowed by endless output.
        longest = max((len(self._pieces(0, source)) for source, _ in self.told["parts"]["scored"]), default=0)
        params = {
            "optimizer": "Adam",
            "learning_rate": self.settings["peer_learning_rate"],
            "beam_width": BEAM,
            "length_penalty": LENGTH_PENALTY,
            "num_hypotheses": 1,
            "maximum_decoding_length": 2 * longest + 10,
            "average_loss_in_time": False,
        }
        named = {"source_vocabulary": self.vocabularies[0], "target_vocabulary": self.vocabularies[1]}
        self.model.initialize(named, params=params)
        self.optimizer = self.model.get_optimizer()
        dataset = self.model.examples_inputter.make_training_dataset(
            str(self.work / "train0"),
            str(self.work / "train1"),
            BATCH,
            shuffle_buffer_size=500_000,
            length_bucket_width=2,
            maximum_features_length=LONGEST,
            maximum_labels_length=LONGEST,
        )
        self.counted = Counted(dataset)
        trainer = onmt.training.Trainer(self.model, self.optimizer)
        self.stats = trainer._training_stats = onmt.training.TrainingStats(self.model, self.optimizer)
        self.steps = trainer._steps(self.counted)

    def _step(self) -> None:
        assert self.steps
        loss = next(self.steps)
        self.stats.update_on_step(self.optimizer.iterations.numpy(), loss)

    def train(self) -> int:
        if self.steps is None:
            self._begin()
        pairs, pieces = self.counted.pairs, self.counted.pieces
        while self.counted.pairs - pairs < self.settings["round"]:
            self._step()
        self.about["parameters"] = int(self.model.count_params())
        return self.counted.pieces - pieces

    def fit(self, minutes: float | None) -> dict[str, Any]:
        assert minutes is not None
        began = time.perf_counter()
        self._begin()
        for _ in range(2):  # which compile, and which its own count leaves out, too
            self._step()
        compiled, before = time.perf_counter(), self.counted.pieces
        now = compiled
        while now == compiled or now - began < 60 * minutes:
            self._step()
            now = time.perf_counter()
        rate = (self.counted.pieces - before) / (now - compiled)
        reported = sum(self.stats.get_last_summary()["words_per_sec"].values())
        self.about["parameters"] = int(self.model.count_params())
        self.model.export(str(self.work / "export"))
        self.served = self.tf.saved_model.load(str(self.work / "export"))
        epochs = self.counted.pairs / len(self.train_pairs)
        return {"minutes": (now - began) / 60, "pieces": rate, "reported": reported, "epochs": epochs}

    def translate(self, texts: list[str]) -> list[str]:
        tf, rows = self.tf, [self._pieces(0, text) for text in texts]
        longest = max(1, *map(len, rows))
        found = self.served.signatures["serving_default"](
            tokens=tf.constant([row + [""] * (longest - len(row)) for row in rows]),
            length=tf.constant([len(row) for row in rows]),
        )
        best = zip(found["tokens"].numpy()[:, 0], found["length"].numpy()[:, 0], strict=True)
        return [self.tokenizers[1].detokenize([one.decode() for one in row[:count]]) for row, count in best]


class OpenNMTSmall(OpenNMT):
    """OpenNMT-tf at the size of ours small: 128 units each way, one table for source, target and scores."""

    encoder_units, joint = UNITS // 2, True


class Counted:
    """A dataset of OpenNMT-tf that counts what passes: pairs, and pieces without the marks of the end."""

    def __init__(self, dataset: Any):
        self.dataset, self.element_spec = dataset, dataset.element_spec
        self.pairs, self.pieces = 0, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.dataset:
            source, target = (side["length"].numpy() for side in batch)
            self.pairs += len(source)
            self.pieces += int(source.sum() + target.sum()) - len(target)
            yield batch


def interpreter(given: str | None, cache: Path, make: bool) -> tuple[str, str]:
    """The interpreter that has OpenNMT-tf; or "" and why there is none.

    Args:
      given: by the user; None for that of the environment in the cache.
      make: the environment, if there is none.
    """
    folder = cache / "peers" / PACKAGE
    python = given or str(folder / "bin" / "python")
    if make and not given and not shutil.which(python):
        base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if not base:
            return "", "TensorFlow 2.13 needs Python 3.11, and there is none"
        print(f"{PACKAGE}: setting up {folder}; a few minutes", file=sys.stderr, flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(ROOT / LOCK)]
        for command in ([base, "-m", "venv", str(folder)], pip):
            if subprocess.run(command, stdout=sys.stderr).returncode:
                shutil.rmtree(folder, ignore_errors=True)
                return "", "its environment could not be made; the error is above"
    if not shutil.which(python):
        return "", "it has no environment: make one by --make-peer, or name an interpreter by --peer"
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({PACKAGE!r}) is None)"
    if subprocess.run([python, "-c", code]).returncode:
        return "", f"{python} does not have it: pip install -r {LOCK}"
    return python, ""


def started(python: str, script: str, *told: str) -> subprocess.Popen[str]:
    """A child as turns.process starts it, by another interpreter, and quiet."""
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [python, script, "--child", *told]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
