"""The recipe of named entities beside what people use in its place, on the same files, in one run.

    pip install -r benchmarks/requirements.txt                         # the peers; absent ones are skipped by name
    python benchmarks/ner.py --train train.conll --valid dev.conll     # your files
    python benchmarks/ner.py --default                                 # the recipe's own US addresses

Each row runs in a process of its own, one after the other, on the same sentences, cut into the same tokens, but for
usaddress, which cuts at blanks. All tags are scored by one function: a predicted entity is right if its first token,
its last token and its kind are. The weights are chosen on the validation part, so only F1 on a test part says how good
a row is on what it has not seen.

What the columns say:
  F1         of entities, over all kinds
  seconds    from sentences in memory (ours: in files) to the trained model; imports are left out, all fits count
  words/s    tokens tagged a second, sentences given in batches of 256; median of five passes
  ms         to tag one sentence that is given alone; median of 200 sentences

spaCy trains the pipeline of its `init config --pipeline ner --optimize efficiency` with that config's patience. The CRF
has the usual features of word, shape and neighbours, that of usaddress the features of that package; both choose the
strength of regularization on the validation part. Ours tags through its exported SavedModel.

--peers PYTHON runs the rows of others by another interpreter, such as that of an environment of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from common.text.tag_schemes import tags_to_spans  # noqa: E402

Sentence = tuple[list[str], list[str]]  # tokens and their tags, IOB2
Parts = dict[str, list[Sentence]]  # by train, valid, test; test may be absent
Tagger = Callable[[list[list[str]]], list[list[str]]]
BATCH = 256
STRENGTHS = ((0.1, 0.1), (0.0, 1.0))  # of L1 and L2, for the CRFs: what tutorials take, and CRFsuite's defaults


# Sentences and scores


def f1(given: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    """F1 of entities, over all kinds and sentences, as conlleval has it."""
    from common.modeling.metrics import EntityMetrics

    measures = EntityMetrics()
    for one, other in zip(given, predicted, strict=True):
        measures.update_state(tags_to_spans(one), tags_to_spans(other))
    return float(measures.result()["f1"])


def write(path: Path, sentences: list[Sentence]) -> Path:
    """The path, where the sentences now are as a CoNLL file."""
    blocks = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*one, strict=True)) for one in sentences)
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def answers(parts: Parts, seconds: float, tag: Tagger) -> dict[str, Any]:
    """What a row returns: seconds of training, tags by part, and how fast a trained tagger is."""
    found: dict[str, Any] = {"seconds": seconds, "tags": {}}
    for part in parts.keys() - {"train"}:
        sentences = [tokens for tokens, _ in parts[part]]
        found["tags"][part] = _tagged(tag, sentences)
    sentences = [tokens for tokens, _ in parts["valid"]]
    passes = [_seconds(lambda: _tagged(tag, sentences)) for _ in range(5)]
    found["words_per_second"] = sum(map(len, sentences)) / statistics.median(passes)
    single = sentences[:200]
    for tokens in single:  # each length once, for a program that is compiled by shape
        tag([tokens])
    found["milliseconds"] = 1000 * statistics.median(_seconds(lambda one=one: tag([one])) for one in single)
    return found


def _tagged(tag: Tagger, sentences: list[list[str]]) -> list[list[str]]:
    return [tags for start in range(0, len(sentences), BATCH) for tags in tag(sentences[start : start + BATCH])]


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# The rows: each takes the parts and the settings


def kerasserole(parts: Parts, settings: dict[str, Any]) -> dict[str, Any]:
    """This recipe with its defaults, by its command line."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = {part: write(place / f"{part}.conll", sentences) for part, sentences in parts.items()}
        run = place / "run"
        words = ["run", "ner", "--data", files["train"], "--valid", files["valid"], "--seed", settings["seed"]]
        _ours(*words, "--no-cache-encoded", "--run-dir", run, *settings["ours"])
        # The assets are written once the data is encoded, the last checkpoint when training is over.
        rest = (run / "checkpoint.npz").stat().st_mtime - (run / "assets.json").stat().st_mtime
        seconds = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["seconds"]["data"] + rest
        _ours("export", run, "--output-dir", place / "export")
        print(_ours("evaluate", place / "export", "--data", files["valid"], "--json"), file=sys.stderr)
        return answers(parts, seconds, _exported(place / "export" / "1"))


def _ours(*words: Any) -> str:
    """What our command line prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *map(str, words)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    if done.returncode:
        sys.exit(1)  # it has said why
    return done.stdout.strip()


def _exported(folder: Path) -> Tagger:
    """A tagger that calls the SavedModel's signature for tokens."""
    from common.runtime.tensorflow_setup import import_tensorflow

    tf = import_tensorflow()
    loaded = tf.saved_model.load(str(folder))

    def tag(sentences: list[list[str]], function: Any = loaded.signatures["tokens"]) -> list[list[str]]:
        longest = max(map(len, sentences))
        padded = tf.constant([tokens + [""] * (longest - len(tokens)) for tokens in sentences])
        rows = function(tokens=padded)["tags"].numpy()
        return [[tag.decode() for tag in row[: len(tokens)]] for row, tokens in zip(rows, sentences, strict=True)]

    tag.keep = loaded  # type: ignore[attr-defined]  # a signature does not keep its model alive
    return tag


def spacy(parts: Parts, settings: dict[str, Any]) -> dict[str, Any]:
    """spaCy's blank English pipeline with its efficiency config: CNN over hashed embeddings, transitions."""
    import spacy as library
    from spacy.cli.init_config import init_config
    from spacy.cli.train import train
    from spacy.tokens import Doc, DocBin

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        place, blank = Path(folder), library.blank("en")
        for part in ("train", "valid"):
            docs = [Doc(blank.vocab, words=tokens, ents=tags) for tokens, tags in parts[part]]
            DocBin(docs=docs).to_disk(place / f"{part}.spacy")
        init_config(lang="en", pipeline=["ner"], optimize="efficiency", silent=True).to_disk(place / "config.cfg")
        own: dict[str, Any] = {"paths.train": str(place / "train.spacy"), "paths.dev": str(place / "valid.spacy")}
        own |= {"corpora.train.gold_preproc": True, "corpora.dev.gold_preproc": True}  # our tokens, not its own
        own |= {"training.max_steps": settings["max_steps"], "system.seed": settings["seed"]}
        train(place / "config.cfg", place / "out", overrides=own)
        seconds = time.perf_counter() - began
        net = library.load(place / "out" / "model-best")

    def tag(sentences: list[list[str]]) -> list[list[str]]:
        docs = net.pipe((Doc(net.vocab, words=tokens) for tokens in sentences), batch_size=BATCH)
        return [[f"{word.ent_iob_}-{word.ent_type_}" if word.ent_type_ else "O" for word in doc] for doc in docs]

    return answers(parts, seconds, tag)


def crfsuite(parts: Parts, settings: dict[str, Any]) -> dict[str, Any]:
    """A CRF on the usual hand-made features of word, shape, affixes and two neighbours each way (CRFsuite)."""
    return _crf(parts, features)


def usaddress(parts: Parts, settings: dict[str, Any]) -> dict[str, Any]:
    """The CRF of usaddress, its own features for US addresses, trained on the same (CRFsuite)."""
    from usaddress import tokens2features

    return _crf(parts, tokens2features)


def _crf(parts: Parts, features: Callable[[list[str]], Any]) -> dict[str, Any]:
    import pycrfsuite

    began = time.perf_counter()
    trainer = pycrfsuite.Trainer(verbose=False)
    for tokens, tags in parts["train"]:
        trainer.append(pycrfsuite.ItemSequence(features(tokens)), tags)
    best: tuple[float, Tagger] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for number, (c1, c2) in enumerate(STRENGTHS):
            trainer.select("lbfgs", "crf1d")
            trainer.set_params({"c1": c1, "c2": c2, "max_iterations": 200, "feature.possible_transitions": True})
            trainer.train(str(Path(folder) / str(number)))
            tagger = pycrfsuite.Tagger()
            tagger.open(str(Path(folder) / str(number)))

            def tag(sentences: list[list[str]], tagger: Any = tagger) -> list[list[str]]:
                return [tagger.tag(pycrfsuite.ItemSequence(features(tokens))) for tokens in sentences]

            score = f1([tags for _, tags in parts["valid"]], tag([tokens for tokens, _ in parts["valid"]]))
            print(f"c1={c1} c2={c2}: F1 {score:.4f} on the validation part", file=sys.stderr, flush=True)
            if best is None or score > best[0]:
                best = score, tag
        assert best
        return answers(parts, time.perf_counter() - began, best[1])


def features(tokens: Sequence[str]) -> list[list[str]]:
    """The features of each token of a sentence."""
    words = [token.lower() for token in tokens]
    shapes = [shape(token) for token in tokens]
    rows = []
    for place, (token, word) in enumerate(zip(tokens, words, strict=True)):
        row = ["bias", f"word={token}", f"lower={word}", f"shape={shapes[place]}"]
        row += [f"prefix={word[:size]}" for size in range(1, 5)] + [f"suffix={word[-size:]}" for size in range(1, 5)]
        row += [f"{name}" for name, holds in _flags(token) if holds]
        for step in (-2, -1, 1, 2):
            there = place + step
            if 0 <= there < len(tokens):
                row += [f"{step}:lower={words[there]}", f"{step}:shape={shapes[there]}"]
                row += [f"{step}:{name}" for name, holds in _flags(tokens[there]) if holds]
            else:
                row.append(f"{step}:none")  # before the beginning or behind the end
        for first in (place - 1, place):
            if 0 <= first < len(tokens) - 1:
                side = "before" if first < place else "after"
                row += [f"{side}={words[first]}|{words[first + 1]}", f"{side}:{shapes[first]}|{shapes[first + 1]}"]
        rows.append(row)
    return rows


def shape(token: str) -> str:
    """The token with letters as X or x, digits as 0, and at most two alike in a row.

    >>> shape("McDonald-1984")
    'XxXxx-00'
    """
    letters = re.sub(r"\d", "0", re.sub(r"[^\W\d_]", lambda one: "X" if one[0].isupper() else "x", token))
    return re.sub(r"(.)\1{2,}", r"\1\1", letters)


def _flags(token: str) -> tuple[tuple[str, bool], ...]:
    return (
        ("title", token.istitle()),
        ("upper", token.isupper()),
        ("digits", token.isdigit()),
        ("digit", any(letter.isdigit() for letter in token)),
        ("mark", not any(letter.isalnum() for letter in token)),
    )


ROWS: dict[str, tuple[Callable[[Parts, dict[str, Any]], dict[str, Any]], str]] = {  # function, package it needs
    "kerasserole": (kerasserole, "tensorflow"),
    "spacy": (spacy, "spacy"),
    "crfsuite": (crfsuite, "pycrfsuite"),
    "usaddress": (usaddress, "usaddress"),
}


# The parent, and its children


def child(name: str, place: Path) -> None:
    """Runs a row and prints what it returns as the last line."""
    told = json.loads(place.read_text(encoding="utf-8"))
    print(json.dumps(ROWS[name][0](told["own"].get(name, told["parts"]), told["settings"])), flush=True)


def absent(package: str, python: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code]).returncode != 0


def at_blanks(example: dict[str, Any]) -> Sentence:
    """The words between blanks, as usaddress has them, each with the tag of the entity in which it begins.

    >>> at_blanks({"text": "12 Elm St, Troy", "entities": [[0, 2, "No"], [3, 9, "Street"], [11, 15, "Place"]]})
    (['12', 'Elm', 'St,', 'Troy'], ['B-No', 'B-Street', 'I-Street', 'B-Place'])
    """
    words, tags, before = [], [], None
    for found in re.finditer(r"\S+", example["text"]):
        entity = next((one for one in example["entities"] if one[0] <= found.start() < one[1]), None)
        words.append(found[0])
        tags.append("O" if entity is None else f"{'I' if entity is before else 'B'}-{entity[2]}")
        before = entity
    return words, tags


def load_parts(args: argparse.Namespace) -> tuple[Parts, dict[str, Parts]]:
    """The sentences of each part, read as the recipe reads them; and those that a row has cut in another way."""
    from common.config import RunConfig
    from common.data.loading import open_tagged_source
    from common.data.splitting import load_splits
    from recipes.ner import data

    named = {part: (str(path),) for part in ("train", "valid", "test") if (path := getattr(args, part))}
    config = RunConfig(data=named.pop("train", ()), **named)
    found = load_splits(config, data.FIELDS, data.load_addresses, open_tagged_source)
    print("\n".join(found.descriptions), file=sys.stderr)
    sources = {"train": found.train, "valid": found.valid, "test": found.test}
    parts = {part: [(e["tokens"], e["tags"]) for e in source] for part, source in sources.items() if source}
    for source in filter(None, sources.values()):
        if row_errors := source.row_errors.summary():
            print(f"{source.name}:{row_errors}", file=sys.stderr)
    own = {part: [at_blanks(e) for e in source] for part, source in sources.items() if source} if args.default else {}
    return parts, {"usaddress": own} if own else {}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| | F1 valid | F1 test | seconds | words/s | ms | what it is |", "|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        scores = [f"{row['f1'][part]:.4f}" if part in row["f1"] else "-" for part in ("valid", "test")]
        numbers = f"{row['seconds']:.1f}", f"{row['words_per_second']:,.0f}", f"{row['milliseconds']:.2f}"
        cells = [name, *scores, *numbers, (ROWS[name][0].__doc__ or "").splitlines()[0]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--train", "--valid", "--test"):
        parser.add_argument(flag, type=Path, metavar="FILE", help="such as CoNLL: token first, tag last")
    parser.add_argument("--default", action="store_true", help="the recipe's own data in place of files")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; repeat for several")
    parser.add_argument("--max-steps", type=int, default=20_000, help="most steps of spaCy; its default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ours", default="", help='further flags of the recipe, such as "--epochs 1"')
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter of the others' rows")
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]))
        return
    if args.default == bool(args.train or args.valid or args.test) or bool(args.train) != bool(args.valid):
        parser.error("give --train and --valid, or --default alone")
    try:
        parts, own = load_parts(args)
    except ValueError as error:  # of common.errors: one sentence
        sys.exit(f"Error: {error}")
    counts = ", ".join(f"{part} {len(rows):,} ({sum(len(t) for t, _ in rows):,} words)" for part, rows in parts.items())
    print(f"sentences: {counts}", file=sys.stderr)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "parts.json"
        settings = {"seed": args.seed, "max_steps": args.max_steps, "ours": args.ours.split()}
        place.write_text(json.dumps({"parts": parts, "own": own, "settings": settings}), encoding="utf-8")
        for name in args.only or [name for name in ROWS if name != "usaddress" or args.default]:
            python = sys.executable if name == "kerasserole" else args.peers
            if absent(ROWS[name][1], python):
                lacks = f"{ROWS[name][1]} is not installed: pip install -r benchmarks/requirements.txt"
                print(f"{name}: skipped, for {lacks}", file=sys.stderr)
                continue
            print(f"{name}: running", file=sys.stderr, flush=True)
            command = [python, __file__, "--child", name, str(place)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
            if done.returncode:
                sys.exit(f"{name} failed; its error is above. Leave it out by --only.")
            row = json.loads(done.stdout.strip().splitlines()[-1])
            true = own.get(name, parts)
            row["f1"] = {part: f1([tags for _, tags in true[part]], tags) for part, tags in row.pop("tags").items()}
            results[name] = row
    print(table(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
