"""The sentiment recipe beside what people use in its place, on the same data, in one run.

    pip install -r benchmarks/requirements.txt                      # the peers; absent ones are skipped by name
    python benchmarks/sentiment.py --data reviews.tsv               # accuracy and time
    python benchmarks/sentiment.py --data reviews.tsv --speed       # examples a second of LSTM training, in turns

Each row runs in a process of its own with all processors, one after the other. All get the same training, validation
and test texts, those of the recipe's split, and are scored on the test part once.

What the columns say:
  accuracy   on the test part, with the weights that were best on the validation part
  seconds    from texts in memory (ours: in a file) to the trained model: vocabulary, encoding, building, compiling,
             epochs and validations; imports are left out
  loop       the training loop alone: all epochs that were trained, compiling included, validations left out
  texts/s    training texts times epochs, divided by the loop's seconds

The LSTMs of Keras and PyTorch stop once --peer-patience epochs in a row did not improve the validation accuracy, as
ours does by its --patience, and after --peer-epochs at the latest. Of their seconds only those up to the end of the
best epoch count, which is less than anybody would have waited; of ours all count. The linear rows choose the strength
of regularization on the validation part, NB-SVM its interpolation too, and all their fits count. Nothing else is tuned.

PyTorch keeps the first 400 words of a text, Keras the first 200, ours what the recipe's defaults say; --max-length sets
it for PyTorch and ours alike. With --speed all keep --max-length words, and two networks of ours run: the recipe's as
it is, whose LSTM reads only the ends of a longer text, and its LSTM alone, which reads all of it as PyTorch's does.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402

Texts = list[tuple[str, str]]  # (text, label)
Parts = dict[str, Texts]  # by train, valid, test
LENGTH = 400  # words that PyTorch keeps of a text, and --speed, unless --max-length says otherwise


# The rows: each takes the parts and the settings, and returns accuracy, seconds, and loop_seconds with texts_per_second


def kerasserole(parts: Parts, settings: dict[str, Any]) -> dict[str, float]:
    """This recipe with its defaults, by its command line."""
    with tempfile.TemporaryDirectory() as place:
        names = {}
        for part, rows in parts.items():
            names[part] = Path(place) / f"{part}.jsonl"
            with open(names[part], "w", encoding="utf-8") as file:
                file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        command = [sys.executable, ROOT / "cli.py", "run", "sentiment", "--data", names["train"], "--no-cache-encoded"]
        command += ["--valid", names["valid"], "--test", names["test"], "--seed", settings["seed"]]
        if settings["max_length"]:
            command += ["--max-length", settings["max_length"]]
        command += ["--run-dir", Path(place) / "run", *settings["ours"]]
        if subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL).returncode:
            sys.exit(1)  # it has said why
        found = json.loads((Path(place) / "run" / "metrics.json").read_text(encoding="utf-8"))
        history = (Path(place) / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
        # The assets are written once the data is encoded, the last checkpoint when training is over. Between them lies
        # all else: the network built, the linear part begun, the epochs, validations and checkpoints.
        before, after = (Path(place) / "run" / name for name in ("assets.json", "checkpoint.npz"))
        rest = after.stat().st_mtime - before.stat().st_mtime
    texts = found["examples"]["train"]
    loop = sum(texts / json.loads(line)["examples_per_second"] for line in history)
    seconds = found["seconds"]["data"] + rest
    return {"accuracy": found["test"]["accuracy"], "seconds": seconds, **_loop(texts * len(history), loop)}


def tfidf(parts: Parts, settings: dict[str, Any]) -> dict[str, float]:
    """Logistic regression on tf-idf of words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    began = time.perf_counter()
    texts, labels = zip(*parts["train"], strict=True)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    vectors = vectorizer.fit_transform(texts)
    valid, known = vectorizer.transform([text for text, _ in parts["valid"]]), [label for _, label in parts["valid"]]
    models = [LogisticRegression(C=c, max_iter=1000).fit(vectors, labels) for c in (1, 10, 100)]
    best = max(models, key=lambda model: model.score(valid, known))
    seconds = time.perf_counter() - began
    test = best.predict(vectorizer.transform([text for text, _ in parts["test"]]))
    return {"accuracy": _accuracy(test, parts["test"]), "seconds": seconds}


def nbsvm(parts: Parts, settings: dict[str, Any]) -> dict[str, float]:
    """A linear SVM on words and word pairs scaled by naive Bayes log-count ratios (Wang and Manning 2012)."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    began = time.perf_counter()
    texts, labels = zip(*parts["train"], strict=True)
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"[\w']+|[^\w\s]")
    counts, given = vectorizer.fit_transform(texts), np.array(labels)
    valid = vectorizer.transform([text for text, _ in parts["valid"]])
    kinds = sorted(set(labels))
    # By strength and share of the SVM's own weights, the rest of which is their mean size: 0.25 is the paper's, but the
    # bias then fits badly where labels differ in words. Of each kind (weights of the bare counts, bias).
    models: dict[tuple[float, float], list[Any]] = {(c, share): [] for c in (0.1, 1.0) for share in (0.25, 1.0)}
    for kind in kinds[1:] if len(kinds) == 2 else kinds:
        ratio = np.log(_shares(counts, given == kind) / _shares(counts, given != kind))
        scaled = counts.multiply(ratio).tocsr()
        svms = {c: LinearSVC(C=c, random_state=settings["seed"]).fit(scaled, given == kind) for c in (0.1, 1.0)}
        for (strength, share), pairs in models.items():
            svm = svms[strength]
            weights = share * svm.coef_[0] + (1 - share) * np.abs(svm.coef_).mean()
            pairs.append((ratio * weights, svm.intercept_[0]))

    def answers(chosen: tuple[float, float], vectors: Any) -> list[str]:
        found = np.array([vectors @ weights + bias for weights, bias in models[chosen]])
        places = (found[0] > 0).astype(int) if len(kinds) == 2 else found.argmax(axis=0)
        return [kinds[place] for place in places]

    best = max(models, key=lambda chosen: _accuracy(answers(chosen, valid), parts["valid"]))
    seconds = time.perf_counter() - began
    test = vectorizer.transform([text for text, _ in parts["test"]])
    return {"accuracy": _accuracy(answers(best, test), parts["test"]), "seconds": seconds}


def _shares(counts: Any, rows: Any) -> Any:
    """The smoothed share of each feature in some texts, [features]."""
    import numpy as np

    total = np.asarray(counts[rows].sum(axis=0)).ravel() + 1
    return total / total.sum()


def _loop(texts: int, seconds: float) -> dict[str, float]:
    return {"loop_seconds": seconds, "texts_per_second": texts / seconds}


class Torch:
    """PyTorch's nn.LSTM the usual way: shuffled batches, each padded to its longest text; the recipe's sizes."""

    def __init__(self, parts: Parts, settings: dict[str, Any]):
        import torch

        torch.manual_seed(settings["seed"])
        self.torch, self.batch, self.longest = torch, 64, settings["max_length"] or LENGTH
        counts = Counter(word for text, _ in parts["train"] for word in self.words(text))
        known = [word for word, count in counts.most_common(30_000) if count > 1]
        self.ids = {word: number for number, word in enumerate(known, 2)}
        self.labels = {label: number for number, label in enumerate(sorted({label for _, label in parts["train"]}))}
        self.data = {part: [self.encoded(*row) for row in parts[part]] for part in ("train", "valid")}
        self.embedding = torch.nn.Embedding(len(known) + 2, 64, padding_idx=0)
        self.lstm = torch.nn.LSTM(64, 64, batch_first=True, bidirectional=True)
        self.dropout = torch.nn.Dropout(0.5)
        self.output = torch.nn.Linear(128, len(self.labels))
        self.modules = torch.nn.ModuleList([self.embedding, self.lstm, self.dropout, self.output])
        self.optimizer = torch.optim.Adam(self.modules.parameters(), lr=1e-3)

    @staticmethod
    def words(text: str) -> list[str]:
        return re.findall(r"[\w']+|[^\w\s]", text.lower())

    def encoded(self, text: str, label: str) -> tuple[Any, int]:
        ids = [self.ids.get(word, 1) for word in self.words(text)[: self.longest]] or [1]
        return self.torch.tensor(ids), self.labels.get(label, -1)

    def logits(self, rows: list[tuple[Any, int]]) -> Any:
        padded = self.torch.nn.utils.rnn.pad_sequence([ids for ids, _ in rows], batch_first=True)
        states, _ = self.lstm(self.dropout(self.embedding(padded)))
        states = states.masked_fill((padded == 0)[:, :, None], float("-inf"))
        return self.output(self.dropout(states.amax(dim=1)))

    def epoch(self) -> int:
        """Trains on every text once; how many there were."""
        self.modules.train()
        order = self.torch.randperm(len(self.data["train"])).tolist()
        for start in range(0, len(order), self.batch):
            rows = [self.data["train"][index] for index in order[start : start + self.batch]]
            loss = self.torch.nn.functional.cross_entropy(self.logits(rows), self.torch.tensor([y for _, y in rows]))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return len(order)

    def accuracy(self, rows: list[tuple[Any, int]]) -> float:
        self.modules.eval()
        right = 0
        with self.torch.no_grad():
            for start in range(0, len(rows), 256):
                some = rows[start : start + 256]
                right += int((self.logits(some).argmax(dim=1) == self.torch.tensor([y for _, y in some])).sum())
        return right / len(rows)


def torch_lstm(parts: Parts, settings: dict[str, Any]) -> dict[str, float]:
    """PyTorch's nn.LSTM: embedding 64, both directions of 64, max pooling, padded batches of 64, Adam."""
    began = time.perf_counter()
    net = Torch(parts, settings)
    best, kept, loop, seen, waited = -1.0, None, 0.0, 0, 0
    for _ in range(settings["peer_epochs"]):
        start = time.perf_counter()
        seen += net.epoch()
        loop += time.perf_counter() - start
        accuracy = net.accuracy(net.data["valid"])
        waited = 0 if accuracy > best else waited + 1
        if not waited:
            best, kept = accuracy, {k: v.clone() for k, v in net.modules.state_dict().items()}
            seconds = time.perf_counter() - began
        elif waited == settings["peer_patience"]:
            break
    net.modules.load_state_dict(kept)
    test = [net.encoded(*row) for row in parts["test"]]
    return {"accuracy": net.accuracy(test), "seconds": seconds, **_loop(seen, loop)}


def keras_fit(parts: Parts, settings: dict[str, Any]) -> dict[str, float]:
    """The script that Keras users start from: 20,000 words, 200 steps, embedding 128, two BiLSTM(64), fit, batch 32."""
    from common.runtime.tensorflow_setup import import_tensorflow

    tf = import_tensorflow()
    import keras

    keras.utils.set_random_seed(settings["seed"])
    began = time.perf_counter()
    labels = sorted({label for _, label in parts["train"]})
    vectorize = keras.layers.TextVectorization(20_000, output_sequence_length=200)
    vectorize.adapt([text for text, _ in parts["train"]])

    def dataset(part: str) -> tuple[Any, Any]:
        ids = vectorize(tf.constant([text for text, _ in parts[part]]))
        places = [labels.index(label) if label in labels else 0 for _, label in parts[part]]
        return ids.numpy(), tf.one_hot(places, len(labels)).numpy()

    model = keras.Sequential(
        [
            keras.layers.Embedding(20_000, 128),
            keras.layers.Bidirectional(keras.layers.LSTM(64, return_sequences=True)),
            keras.layers.Bidirectional(keras.layers.LSTM(64)),
            keras.layers.Dense(len(labels), activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])

    class Loop(keras.callbacks.Callback):
        seconds, epochs, best, until = 0.0, 0, -1.0, 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_test_begin(self, logs: Any = None) -> None:
            self.seconds += time.perf_counter() - self.start
            self.epochs += 1

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if logs["val_accuracy"] > self.best:
                self.best, self.until = logs["val_accuracy"], time.perf_counter()

    loop = Loop()
    stop = keras.callbacks.EarlyStopping(
        "val_accuracy", patience=settings["peer_patience"], mode="max", restore_best_weights=True
    )
    train = dataset("train")
    model.fit(
        *train,
        batch_size=32,
        epochs=settings["peer_epochs"],
        validation_data=dataset("valid"),
        callbacks=[loop, stop],
        verbose=0,
    )
    seconds = loop.until - began
    answers = [labels[place] for place in model.predict(dataset("test")[0], verbose=0).argmax(axis=1)]
    measured = _loop(len(parts["train"]) * loop.epochs, loop.seconds)
    return {"accuracy": _accuracy(answers, parts["test"]), "seconds": seconds, **measured}


def _accuracy(answers: Any, rows: Texts) -> float:
    return sum(answer == label for answer, (_, label) in zip(answers, rows, strict=True)) / len(rows)


ROWS: dict[str, tuple[Callable[[Parts, dict[str, Any]], dict[str, float]], str]] = {  # function, package it needs
    "kerasserole": (kerasserole, "tensorflow"),
    "tfidf": (tfidf, "sklearn"),
    "nbsvm": (nbsvm, "sklearn"),
    "torch": (torch_lstm, "torch"),
    "keras": (keras_fit, "tensorflow"),
}


# Speed of LSTM training alone, in turns


def ours_rounds(parts: Parts, settings: dict[str, Any], plain: bool) -> Iterator[tuple[int, float]]:
    """(texts, seconds) of an epoch of the recipe's own loop, each time it is asked; the first one has compiled."""
    from common.runtime.tensorflow_setup import import_tensorflow

    tf = import_tensorflow()
    from common import discovery
    from common.data.encoding import FEATURE, TARGET, CompiledEncoder, encode_to_store
    from common.data.example_store import StoreWriter
    from common.training.trainer import EpochResult, Trainer
    from common.types import ExampleSource

    recipe, config_class = discovery.load_recipe("sentiment"), discovery.load_recipe_config("sentiment").Config
    length = settings["max_length"] or LENGTH
    config = config_class(epochs=10_000, patience=0, seed=settings["seed"], max_length=length)
    if plain:
        config = replace(config, affix_buckets=0, bigram_buckets=0, lstm_max_length=length)
    source = ExampleSource("texts", lambda: iter([{"text": text, "label": label} for text, label in parts["train"]]))
    task = recipe(config, recipe.build_assets(config, source))

    def encode(batch: Any) -> dict[str, Any]:
        inputs = {FEATURE + name: value for name, value in task.encode(batch).items()}
        return inputs | {TARGET + name: value for name, value in task.encode_targets(batch).items()}

    trainer = Trainer(
        task,
        config,
        encode_to_store(source, CompiledEncoder(encode), StoreWriter()),
        None,
        tf.distribute.get_strategy(),
    )
    began = time.perf_counter()
    for fact in trainer.fit():
        if isinstance(fact, EpochResult):
            yield len(parts["train"]), time.perf_counter() - began
            began = time.perf_counter()  # when the next round is asked for


def torch_rounds(parts: Parts, settings: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """(texts, seconds) of an epoch of PyTorch's loop, each time it is asked."""
    net = Torch(parts, settings)
    while True:
        began = time.perf_counter()
        texts = net.epoch()
        yield texts, time.perf_counter() - began


ROUNDS: dict[str, Callable[[Parts, dict[str, Any]], Iterator[tuple[int, float]]]] = {
    "kerasserole, whole network": lambda parts, settings: ours_rounds(parts, settings, plain=False),
    "kerasserole, LSTM alone": lambda parts, settings: ours_rounds(parts, settings, plain=True),
    "torch, LSTM alone": torch_rounds,
}


# The parent, and its children


def load_parts(args: argparse.Namespace) -> Parts:
    """The texts of each part, as the recipe would split them."""
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common import discovery

    config = discovery.load_recipe_config("sentiment").Config(
        data=tuple(args.data), valid=tuple(args.valid), test=tuple(args.test), limit=args.limit
    )
    splits = discovery.load_recipe("sentiment").load_data(config)
    sources = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    if not all(sources.values()):
        sys.exit("There must be a training, a validation and a test part: give --test, or --data alone.")
    return {part: [(e["text"], e["label"]) for e in source] for part, source in sources.items() if source}


def child(name: str, place: Path) -> None:
    """Runs a row, or rounds on request, and prints JSON lines."""
    told = json.loads(place.read_text(encoding="utf-8"))
    parts = {part: [tuple(row) for row in rows] for part, rows in told["parts"].items()}
    if name in ROUNDS:
        for _, round_ in zip(sys.stdin, ROUNDS[name](parts, told["settings"]), strict=False):
            print(json.dumps(round_), flush=True)
    else:
        print(json.dumps(ROWS[name][0](parts, told["settings"])), flush=True)


def table(rows: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("", "accuracy", "seconds", "loop", "texts/s", "what it is", box=None)
    for name, row in rows.items():
        loop = ["-", "-"]
        if "loop_seconds" in row:
            loop = [f"{row['loop_seconds']:.1f}", f"{row['texts_per_second']:,.0f}"]
        numbers = f"{row['accuracy']:.4f}", f"{row['seconds']:.1f}", *loop
        shown.add_row(name, *numbers, (ROWS[name][0].__doc__ or "").splitlines()[0])
    Console(width=160).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--valid", "--test"):
        parser.add_argument(flag, action="append", default=[], metavar="SRC", help="as of `run sentiment`")
    parser.add_argument("--limit", type=int, help="use a random sample of N texts of each part")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; repeat for several")
    parser.add_argument("--list", action="store_true", help="list the rows and what they lack")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-length", type=int, help="words kept of a text, by PyTorch and by ours")
    parser.add_argument("--peer-epochs", type=int, default=30, help="most epochs of Keras and PyTorch")
    parser.add_argument("--peer-patience", type=int, default=5, help="epochs without improvement after which they stop")
    parser.add_argument("--ours", default="", help='further flags of the recipe, such as "--epochs 1"')
    parser.add_argument("--speed", action="store_true", help="measure texts a second of LSTM training alone, in turns")
    parser.add_argument("--rounds", type=int, default=3, help="of --speed")
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
        parts = load_parts(args)
    except ValueError as error:  # of common.errors: one sentence
        sys.exit(f"Error: {error}")
    from common.runtime.parallel import available_cpus

    counts = ", ".join(f"{part} {len(rows):,}" for part, rows in parts.items())
    print(f"{counts} texts; every row may use the same {available_cpus()} processors", file=sys.stderr)
    settings = {"seed": args.seed, "max_length": args.max_length, "ours": args.ours.split()}
    settings |= {"peer_epochs": args.peer_epochs, "peer_patience": args.peer_patience}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "parts.json"
        place.write_text(json.dumps({"parts": parts, "settings": settings}), encoding="utf-8")
        results: dict[str, Any]
        if args.speed:
            racing = [name for name in ROUNDS if not (name.startswith("torch") and turns.absent("torch"))]
            processes = {name: turns.process(__file__, name, str(place)) for name in racing}
            rates = turns.race(processes, args.rounds, "texts")
            for process in processes.values():
                process.kill()
            results = {name: statistics.median(found) for name, found in rates.items()}
            print(
                "Training alone: embedding 64, LSTMs of 64 both ways, max pooling, batches of 64, texts cut at"
                f" {args.max_length or LENGTH} words; the whole network adds affixes and a linear part, and its LSTM"
                " reads the ends of a text. Ours batches texts of like length, PyTorch's are shuffled and padded."
            )
            for name, rate in results.items():
                print(f"{name}: {rate:,.0f} texts/s (median of {args.rounds} epochs)")
            if len(racing) == len(ROUNDS):
                pairs = zip(*(rates[name] for name in racing), strict=True)
                whole, alone = zip(*((ours / peer, plain / peer) for ours, plain, peer in pairs), strict=True)
                ratio = f"{statistics.median(whole):.2f} (whole), {statistics.median(alone):.2f} (LSTM alone)"
                print(f"times PyTorch's texts/s, median over rounds: {ratio}")
        else:
            results = turns.compare(__file__, names, place)
            table(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
