"""The translation recipe beside OpenNMT-tf and a translation memory, on the same pairs, in one run.

    pip install -r benchmarks/requirements.txt                     # rapidfuzz; a row is skipped by name where it lacks
    python benchmarks/translation.py --make-peer --list            # an environment for OpenNMT-tf, once; by Python 3.11
    python benchmarks/translation.py --train train.en,train.de --valid val.en,val.de               # speed, in turns
    python benchmarks/translation.py --train train.en,train.de --valid val.en,val.de --minutes 15  # and BLEU after that
    python benchmarks/translation.py                               # the recipe's own data: its defaults and the memory

Every row is a process of its own. All get the same pairs; those that train have a subword vocabulary of their own.

    ours           the recipe with its defaults, as a user runs it
    ours small     its `--model lstm` with one layer of 256 units, batches of 64
    opennmt        OpenNMT-tf: a bidirectional LSTM of 256 units each way, attention with input feeding, batches of 64
    opennmt small  the same at the size of `ours small`: 128 units each way, one table for source, target and scores
    memory         a translation memory: the translation of the most similar source of training (rapidfuzz)

What the columns of the first table say, which is measured over rounds of some thousand pairs, in turns; what compiles
is a round before those that count:
  parameters  numbers that are learned
  pieces/s    source and target pieces trained on a second, without padding and without marks of the end
  words/s     the same in words between blanks, so that rows compare whose vocabularies differ

and of the second, with --minutes, after each has trained alone for so long, compiling and validation included:
  BLEU, chrF  of sacreBLEU, cased, 13a; on the test part, or on the validation part where there is none
  exact       share of translations that are the reference, letter for letter
  pieces/s, words/s  as above, over that training (of the recipe over its epochs, the first left out, which compiles)
  sent/s      sentences translated a second, from strings to strings, in batches in the order of the file; median of
              three passes after one that warms up
  sent/s by 1  the same of sentences that are given alone

All translate by an exported SavedModel with a beam of 4 and the length normalisation of Wu et al. 2016 with exponent 1.
OpenNMT-tf has the settings of its LSTM models: Adam with a learning rate of 0.0002, dropout 0.3, lengths in buckets.
Its texts are cut by SentencePiece before training, which its time leaves out, and while translating, which it counts
in. It keeps the weights it ends with, ours those with the lowest validation loss: only BLEU on a test part says how
good a row is on what it has not seen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402
from benchmarks.translation_peer import (  # noqa: E402
    BATCH,
    PACKAGE,
    PIECES,
    UNITS,
    OpenNMT,
    OpenNMTSmall,
    Pairs,
    Row,
    interpreter,
    started,
    words,
)

TIMED, ALONE = 512, 100  # sentences of a timed pass, in batches and alone


def sampled(pairs: Sequence[Any], count: int) -> list[Any]:
    """So many pairs, evenly spread.

    >>> sampled(range(10), 3)
    [0, 3, 6]
    """
    count = min(count, len(pairs))
    return [pairs[number * len(pairs) // count] for number in range(count)]


def value(text: str) -> Any:
    """That of a setting.

    >>> value("500"), value("0.1"), value("bfloat16")
    (500, 0.1, 'bfloat16')
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


class Ours(Row):
    """The recipe with its defaults, by its command line."""

    flags: ClassVar[dict[str, Any]] = {}

    def __init__(self, told: dict[str, Any]):
        super().__init__(told)
        self.rounds: Iterator[int] | None = None
        self.served: Any = None

    def train(self) -> int:
        self.rounds = self.rounds or self._rounds()
        return next(self.rounds)

    def _rounds(self) -> Iterator[int]:
        """Trains an epoch of the sample at a time, in the recipe's own loop."""
        from common.commands.run import setup_tensorflow
        from common.config import validate_config_values
        from recipes.translation.config import Config

        more = dict(zip(*[iter(self.settings["ours"])] * 2, strict=True))
        more = {name.removeprefix("--").replace("-", "_"): value(text) for name, text in more.items()}
        given = validate_config_values(Config, {**self.settings["sources"], **self.flags, **more}, "benchmark")
        config: Any = Config(**given, epochs=100_000, patience=0, seed=self.settings["seed"])
        setup_tensorflow(config)
        import tensorflow as tf

        from common.data.encoding import FEATURE, TARGET, CompiledEncoder, encode_to_store
        from common.data.example_store import StoreWriter
        from common.runtime.tensorflow_setup import set_seed
        from common.training.trainer import EpochResult, Trainer
        from recipes.translation.recipe import TranslationRecipe

        train = TranslationRecipe.load_data(config).train
        assets = TranslationRecipe.build_assets(config, train)
        config = TranslationRecipe.resolve_defaults(config, assets)
        recipe = TranslationRecipe(config, assets)

        def encode(batch: Any) -> dict[str, Any]:
            found = {FEATURE + name: value for name, value in recipe.encode(batch).items()}
            return found | {TARGET + name: value for name, value in recipe.encode_targets(batch).items()}

        sample = sampled(list(train), self.settings["round"])
        store = encode_to_store(sample, CompiledEncoder(encode, ["text", "target"]), StoreWriter())
        pieces = sum(int(column.lengths().sum()) - len(store) for column in store.columns.values())
        set_seed(config.seed)
        trainer = Trainer(recipe, config, store, None, tf.distribute.get_strategy())
        self.about["words_per_piece"] = words([[one["text"], one["target"]] for one in sample]) / pieces
        self.about["parameters"] = trainer.model.count_params()
        for fact in trainer.fit():
            if isinstance(fact, EpochResult):
                yield pieces

    def fit(self, minutes: float | None) -> dict[str, Any]:
        run, export = self.work / "run", self.work / "export"
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in self.flags.items()]
        sources = [f"--{part}={source}" for part, given in self.settings["sources"].items() for source in given]
        limit = [] if minutes is None else ["--max-minutes", minutes]
        own = ["--seed", self.settings["seed"], "--no-cache-encoded", "--run-dir", run, *self.settings["ours"]]
        self._cli("run", "translation", *sources, *flags, *limit, *own)
        self._cli("export", run, "--output-dir", export)
        return self._measured(run, export)

    def _cli(self, *given: Any) -> None:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, given)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            sys.exit(1)  # it has said why

    def _measured(self, run: Path, export: Path) -> dict[str, Any]:
        from common.runtime.tensorflow_setup import import_tensorflow

        tf = import_tensorflow()
        from common.runtime.run_dir import Run
        from recipes.translation.config import Config
        from recipes.translation.recipe import TranslationRecipe

        stored, sample = Run.open(run), sampled(self.train_pairs, 4096)
        recipe = TranslationRecipe(stored.config(Config), stored.assets())
        sides = dict(zip(("text", "target"), map(tf.constant, zip(*sample, strict=True)), strict=True))
        encoded = (*recipe.encode(sides).values(), *recipe.encode_targets(sides).values())
        pieces = sum(int(ids.flat_values.shape[0]) - len(sample) for ids in encoded)  # without the ends
        self.about["parameters"] = sum(value.size for value in stored.load_best().values())
        self.about["words_per_piece"] = words(sample) / pieces
        rates = [epoch["examples_per_second"] for epoch in stored.history()]
        self.served = tf.saved_model.load(str(export / "1"))
        seconds = (stored.metrics() or {})["seconds"]["training"]
        rate = statistics.median(rates[1:] or rates)
        return {"minutes": seconds / 60, "pieces": rate * pieces / len(sample)}

    def translate(self, texts: list[str]) -> list[str]:
        import tensorflow as tf

        found = self.served.signatures["serving_default"](text=tf.constant(texts))["translation"]
        return [one.decode("utf-8", "replace") for one in found.numpy()]


class OursSmall(Ours):
    """The recipe's LSTM, one layer of 256 units, batches of 64."""

    flags: ClassVar[dict[str, Any]] = {
        "model": "lstm",
        "num_layers": 1,
        "hidden_dim": UNITS,
        "shared_vocabulary": "joint",
        "vocabulary_size": PIECES,
        "batch_size": BATCH,
        "batch_type": "examples",
    }


class Memory(Row):
    """A translation memory: the translation of the most similar source of training."""

    def fit(self, minutes: float | None) -> dict[str, Any]:
        self.sources = [source for source, _ in self.train_pairs]
        return {}

    def translate(self, texts: list[str]) -> list[str]:
        from rapidfuzz import fuzz, process

        places = [process.extractOne(text, self.sources, scorer=fuzz.ratio)[2] for text in texts]
        return [self.train_pairs[place][1] for place in places]


ROWS: dict[str, tuple[type[Row], str]] = {  # by name: the class, and the package that it needs
    "ours": (Ours, "keras"),
    "ours small": (OursSmall, "keras"),
    "opennmt": (OpenNMT, PACKAGE),
    "opennmt small": (OpenNMTSmall, PACKAGE),
    "memory": (Memory, "rapidfuzz"),
}


# A child, and what it is asked


def child(name: str, place: Path) -> None:
    """Answers "train" with [pieces, seconds], "about" with facts, and "fit MINUTES" with facts and translations."""
    told = json.loads((place / "told.json").read_text(encoding="utf-8"))
    work = place / name.replace(" ", "_")
    work.mkdir()
    row = ROWS[name][0](told | {"work": str(work)})
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "train":
            began = time.perf_counter()
            count = row.train()
            found: Any = [count, time.perf_counter() - began]
        elif word == "fit":
            found = row.fit(float(rest[0]) if rest else None)
            texts = [source for source, _ in told["parts"]["scored"]]
            found |= speeds(row.translate, texts, told["settings"]["batch"]) | row.about
        else:
            found = row.about
        print(json.dumps(found), flush=True)


def speeds(translate: Callable[[list[str]], list[str]], texts: list[str], size: int) -> dict[str, Any]:
    """The translations of all texts, and how many a second, in batches and alone."""

    def rate(some: list[str], size: int) -> tuple[list[str], float]:
        began = time.perf_counter()
        found = [one for start in range(0, len(some), size) for one in translate(some[start : start + size])]
        return found, len(some) / (time.perf_counter() - began)

    translations, _ = rate(texts, size)
    batched = statistics.median(rate(texts[:TIMED], size)[1] for _ in range(3))
    rate(texts[:1], 1)
    return {"translations": translations, "sentences": batched, "alone": rate(texts[:ALONE], 1)[1]}


def chosen(args: argparse.Namespace) -> tuple[list[str], str]:
    """The rows that can run, and the interpreter of the peer; those that lack something are named."""
    from common.runtime.user_cache import cache_dir

    wanted = args.only or [name for name in ROWS if args.train or args.list or name != "ours small"]
    own = [name for name in wanted if ROWS[name][1] != PACKAGE]
    names = turns.chosen(ROWS, own, args.list) if own else []
    peers = [name for name in wanted if name not in own]
    python, lacks = interpreter(args.peer, cache_dir(), args.make_peer) if peers else ("", "")
    if python and not (args.train or args.list):
        python, lacks = "", "it takes two line-aligned files: give --train and --valid"
    for name in peers:
        if args.list or not python:
            told = (ROWS[name][0].__doc__ or "").splitlines()[0] if python else f"skipped, for {lacks}"
            print(f"{name}: {told}", file=sys.stderr)
    return [name for name in wanted if name in names or (python and name in peers)], python


# The parent


def load(sources: dict[str, list[str]]) -> dict[str, Pairs]:
    """The pairs to train on, and as `scored` those of the test part, or of the validation part if there is none."""
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from recipes.translation.config import Config
    from recipes.translation.recipe import TranslationRecipe

    splits = TranslationRecipe.load_data(Config(**{part: tuple(given) for part, given in sources.items()}))
    print("\n".join(splits.descriptions), file=sys.stderr)
    scored = splits.test or splits.valid
    assert scored
    return {
        part: [[one["text"], one["target"]] for one in source]
        for part, source in (("train", splits.train), ("scored", scored))
    }


def scores(found: list[str], wanted: list[str]) -> dict[str, float]:
    """BLEU and chrF by sacreBLEU, and the share that is letter for letter the same."""
    import sacrebleu

    same = sum(one == other for one, other in zip(found, wanted, strict=True))
    return {
        "bleu": sacrebleu.BLEU().corpus_score(found, [wanted]).score,
        "chrf": sacrebleu.CHRF().corpus_score(found, [wanted]).score,
        "exact": same / len(wanted),
    }


COLUMNS = {  # by key: heading and format
    "bleu": ("BLEU", ".1f"),
    "chrf": ("chrF", ".1f"),
    "exact": ("exact", ".3f"),
    "minutes": ("minutes", ".1f"),
    "parameters": ("parameters", ",.0f"),
    "pieces": ("pieces/s", ",.0f"),
    "words": ("words/s", ",.0f"),
    "sentences": ("sent/s", ",.1f"),
    "alone": ("sent/s by 1", ",.1f"),
}


def table(rows: dict[str, dict[str, Any]], keys: Sequence[str]) -> str:
    """The rows as a table in Markdown."""
    heads = ["", *(COLUMNS[key][0] for key in keys), "what it is"]
    lines = [f"| {' | '.join(heads)} |".replace("|  |", "| |"), "|---" * len(heads) + "|"]
    for name, row in rows.items():
        cells = [format(row[key], COLUMNS[key][1]) if key in row else "-" for key in keys]
        lines.append(f"| {' | '.join([name, *cells, (ROWS[name][0].__doc__ or '').splitlines()[0]])} |")
    return "\n".join(lines)


def in_turns(processes: dict[str, Any], rounds: int) -> dict[str, dict[str, Any]]:
    """How fast each row that trains does so, in turns."""
    rows = {}
    for name, rates in turns.race(processes, rounds, "pieces", "train").items():
        about = turns.answer(name, processes[name], "about")
        rate = statistics.median(rates)
        rows[name] = about | {"pieces": rate, "words": rate * about["words_per_piece"], "rounds": rates}
    return rows


def ratios(rows: dict[str, dict[str, Any]], keys: Sequence[str]) -> Iterator[str]:
    """Lines that say how many times the numbers of a peer's ours are."""
    for name, row in rows.items():
        for other in (other for other in rows if ROWS[other][1] == PACKAGE and ROWS[name][0] in (Ours, OursSmall)):
            times = (f"{row[key] / rows[other][key]:.2f} times its {COLUMNS[key][0]}" for key in keys)
            yield f"{name} beside {other}: {', '.join(times)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, part in (("--train", "train on"), ("--valid", "choose weights on"), ("--test", "score")):
        parser.add_argument(flag, action="append", default=[], metavar="SRC,TGT", help=f"line-aligned files to {part}")
    parser.add_argument("--minutes", type=float, help="also train each alone for so long, and score it")
    parser.add_argument("--rounds", type=int, default=3, help="of training in turns; 0 for none")
    parser.add_argument("--round-pairs", type=int, default=4096, help="pairs of a round")
    parser.add_argument("--batch", type=int, default=32, help="sentences translated at once")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; repeat for several")
    parser.add_argument("--list", action="store_true", help="list the rows and what they lack")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter that has OpenNMT-tf")
    parser.add_argument("--make-peer", action="store_true", help="make an environment for OpenNMT-tf in the cache")
    parser.add_argument("--peer-learning-rate", type=float, default=0.0002, help="of OpenNMT-tf; its default for LSTMs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--ours", default="", help='further flags of our rows, each with its value, such as "--hidden-dim 64"'
    )
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]))
        return
    if bool(args.train) != bool(args.valid):
        parser.error("give --train and --valid, or neither for the recipe's own data")
    if len(args.ours.split()) % 2:
        parser.error(f"--ours wants pairs of a flag and its value, not {args.ours!r}")
    names, python = chosen(args)
    if args.list:
        return
    sources = {"data": args.train, "valid": args.valid, "test": args.test}
    sources = {part: given for part, given in sources.items() if given}
    try:
        parts = load(sources)
    except ValueError as error:  # of common.errors: one sentence
        sys.exit(f"Error: {error}")
    counts = ", ".join(f"{part} {len(pairs):,} ({words(pairs):,} words)" for part, pairs in parts.items())
    print(f"pairs: {counts}", file=sys.stderr)
    settings = {"sources": sources, "seed": args.seed, "batch": args.batch, "ours": args.ours.split()}
    settings |= {"peer_learning_rate": args.peer_learning_rate, "round": args.round_pairs}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "told.json").write_text(json.dumps({"parts": parts, "settings": settings}), encoding="utf-8")
        results = measured(names, python, place, args, [target for _, target in parts["scored"]])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def measured(
    names: list[str], python: str, place: Path, args: argparse.Namespace, wanted: list[str]
) -> dict[str, dict[str, Any]]:
    """What was measured in turns, and of each row trained alone; printed as tables."""
    processes = {}
    for name in names:
        peer = ROWS[name][1] == PACKAGE
        told = (__file__, name, str(place))
        processes[name] = started(python, *told) if peer else turns.process(*told)
    trained = {name: one for name, one in processes.items() if ROWS[name][0] is not Memory}
    results: dict[str, dict[str, Any]] = {}
    if args.train and args.rounds and trained:
        found = results["turns"] = in_turns(trained, args.rounds)
        keys = ("parameters", "pieces", "words")
        print(f"Training, median of {args.rounds} rounds in turns:\n\n{table(found, keys)}\n")
        print("\n".join(ratios(found, keys[1:])))
    if args.minutes or not args.train:
        found = results["alone"] = {}
        for name, one in processes.items():
            print(f"{name}: training alone", file=sys.stderr, flush=True)
            row = turns.answer(name, one, f"fit {args.minutes or ''}")
            if "pieces" in row:
                row["words"] = row["pieces"] * row["words_per_piece"]
            found[name] = row | scores(row["translations"], wanted)
            print(f"{name}: BLEU {found[name]['bleu']:.2f}", file=sys.stderr, flush=True)
        print(f"\nAfter training alone, {len(wanted):,} translations in batches of {args.batch}:\n")
        print(table(found, list(COLUMNS)) + "\n")
        print("\n".join(ratios(found, ("pieces", "words", "sentences", "alone"))))
        for name, row in found.items():
            if "reported" in row:
                print(
                    f"{name} reports {row['reported']:,} tokens/s itself, marks of the end included;"
                    f" it saw the training part {row['epochs']:.1f} times"
                )
    for one in processes.values():
        one.kill()
    return results


if __name__ == "__main__":
    main()
