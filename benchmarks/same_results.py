"""Whether the working tree gives what a revision gives, bit for bit: trained by both on this machine, side by side.

python benchmarks/same_results.py REV [--only sentiment,ner] [--jobs 2] [--keep FOLDER]

All recipes are trained on small made-up data; besides, one run is fine-tuned, one killed and resumed, one exported.
Weights, scores and predictions are compared. Names may have changed in between: see former_names.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.comparison_of_results import (  # noqa: E402
    NAMES,
    Comparison,
    Results,
    SideError,
    compare,
    find_command,
    find_file,
    make_flags,
    rename_keys,
)
from benchmarks.small_data import WRITERS, SmallData, write_small_data  # noqa: E402
from common.types import JsonObject  # noqa: E402

# Small networks, by the present names of settings.
SETTINGS = {
    "sentiment": "embedding_dim=8 lstm_units=8 min_count=1 max_length=40 lstm_max_length=20 bigram_buckets=2000"
    " affix_buckets=500 batch_size=16 learning_rate=0.02",
    "ner": "embedding_dim=8 lstm_units=8 char_filters=4 wide_buckets=500 affix_buckets=500 batch_size=16"
    " learning_rate=0.02",
    "image_classification": "base_filters=4 image_size=16 erasing_size=0.2 batch_size=16 learning_rate=0.02",
    "translation": "hidden_dim=16 num_layers=1 num_heads=2 intermediate_dim=32 vocabulary_size=400 batch_size=256"
    " learning_rate=0.01 num_beams=2",
    "music": "frame_lstm_units=16 note_lstm_units=16 frame_lstm_layers=1 steps_per_beat=1 batch_size=128"
    " learning_rate=0.02",
}
ALWAYS = {"epochs": 1, "deterministic": True, "offline": True, "seed": 1}
FINE_TUNING = {"l2_sp": 0.01, "layerwise_lr_decay": 0.9, "replay_ratio": 0.5, "learning_rate": 0.01}
PREDICT_SETTINGS = {"music": {"num_samples": 2}}
PRE_ANNOTATED = ("sentiment", "ner")


# The two sides


@dataclass(frozen=True)
class Side:
    """A checkout, whose own command line is run; its results and caches go to a folder of its own."""

    name: str
    root: Path
    work: Path

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        environment = os.environ | {"XDG_CACHE_HOME": str(self.work / "cache"), "COLUMNS": "200"}
        command = [sys.executable, "cli.py", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> str:
        """Run a command to its end; what it prints on stdout."""
        process = self.start(words)
        stdout, stderr = process.communicate()
        if process.returncode:
            raise SideError(f"{self.name}: {' '.join(words[:2])} failed: {' '.join(stderr.splitlines()[-3:])}")
        return stdout

    def link_default_data(self) -> None:
        """Make the side's cache, with the default data of the user's."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kerasserole" / "data"
        (self.work / "cache" / "kerasserole").mkdir(parents=True)
        if cache.is_dir():
            (self.work / "cache" / "kerasserole" / "data").symlink_to(cache.absolute())

    def train_words(self, recipe: str, run: Path, data: Path, **more: object) -> list[str]:
        small = dict(setting.split("=") for setting in SETTINGS[recipe].split())
        settings = {**small, **ALWAYS, "data": data, **more}
        former = NAMES["settings"]["run"] | NAMES["settings"][recipe]
        flags = make_flags(self.run("run", recipe, "--help"), settings, former)
        return ["run", recipe, "--run-dir", str(run), *flags]

    def predict(self, recipe: str, target: Path, data: SmallData) -> list[object]:
        settings = PREDICT_SETTINGS.get(recipe, {})
        flags = make_flags(self.run("predict", str(target), "--help"), settings, NAMES["options"]["predict"])
        lines = self.run("predict", str(target), *flags, *data.inputs).splitlines()
        return [rename_keys(json.loads(line), {}) for line in lines]

    def pre_annotate(self, run: Path, data: SmallData) -> object:
        """Return the tasks for Label Studio."""
        command, former = find_command(self.run("--help"), "pre-annotate"), NAMES["options"]["pre-annotate"]
        path = self.work / f"{run.name}-tasks.json"
        flags = make_flags(self.run(command, "--help"), {"tool": "label-studio", "output": path}, former)
        self.run(command, str(run), *flags, *data.inputs)
        return json.loads(path.read_text(encoding="utf-8"))

    def run_results(self, recipe: str, run: Path, data: SmallData) -> Results:
        with np.load(find_file(run, "best_weights.npz")) as arrays:
            weights = dict(arrays)
        lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
        scores: JsonObject = {"metrics": json.loads((run / "metrics.json").read_text(encoding="utf-8"))}
        scores["history"] = [json.loads(line) for line in lines]
        scores = rename_keys(scores, NAMES["scores"])
        for name in ("assets", "transfer"):
            if (path := run / f"{name}.json").exists():
                scores[name] = rename_keys(json.loads(path.read_text(encoding="utf-8")), NAMES[name])
        predictions = self.predict(recipe, run, data)
        if recipe in PRE_ANNOTATED:
            predictions.append(self.pre_annotate(run, data))
        return Results(weights, scores, predictions)

    def export_results(self, recipe: str, run: Path, data: SmallData) -> Results:
        """Export a run; the variables of its SavedModel, facts of its card, and its predictions."""
        flags = make_flags(
            self.run("export", "--help"), {"output_dir": self.work / "export"}, NAMES["options"]["export"]
        )
        folder = Path(self.run("export", str(run), *flags).strip())
        card = rename_keys(json.loads((folder / "assets.extra/card.json").read_text(encoding="utf-8")), NAMES["card"])
        scores = {key: card[key] for key in ("signatures", "proof", "metrics")}
        return Results(load_variables(folder, card["weights"]), scores, self.predict(recipe, folder, data))

    def resume_killed(self, recipe: str, run: Path, data: Path) -> None:
        """Train, kill the process after its first checkpoint, and resume."""
        process = self.start(self.train_words(recipe, run, data, epochs=4, checkpoint_minutes=1e-4))
        while process.poll() is None and not (run / "checkpoint.npz").exists():
            time.sleep(0.01)
        process.kill()
        process.communicate()
        if not (run / "checkpoint.npz").exists() or (run / "metrics.json").exists():
            raise SideError(f"{self.name}: {recipe} ended before it could be killed after a checkpoint")
        self.run("run", recipe, "--resume", str(run))


def load_variables(folder: Path, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the variables of a SavedModel by the paths that its card lists, but for random states, which have none."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if re.search(r"/\d+/\.ATTRIBUTES/", name)]
    names.sort(key=lambda name: int(re.findall(r"/(\d+)/", name)[0]))
    return {path: reader.get_tensor(name) for path, name in zip(paths, names, strict=True) if path}


def run_cases(side: Side, recipe: str, data: SmallData) -> dict[str, Results]:
    """Train a recipe on one side, and what else is tried of it; results by case."""
    began = time.monotonic()
    run = side.work / recipe
    side.run(*side.train_words(recipe, run, data.train))
    results = {recipe: side.run_results(recipe, run, data)}
    if recipe == "sentiment":
        tuned = side.work / "fine_tuned"
        words = side.train_words(recipe, tuned, data.more, init_from=run, **FINE_TUNING)
        side.run(*words)
        results[f"{recipe}, fine-tuned"] = side.run_results(recipe, tuned, data)
    elif recipe == "ner":
        side.resume_killed(recipe, side.work / "resumed", data.train)
        results[f"{recipe}, resumed"] = side.run_results(recipe, side.work / "resumed", data)
    elif recipe == "image_classification":
        results[f"{recipe}, exported"] = side.export_results(recipe, run, data)
    print(f"{side.name}: {', '.join(results)} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    return results


# The command


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """A revision in a git worktree of its own, which is removed afterwards."""
    git = ["git", "-C", str(ROOT)]
    added = subprocess.run([*git, "worktree", "add", "--detach", folder, revision], capture_output=True, text=True)
    if added.returncode:
        raise SideError(added.stderr.strip().splitlines()[-1])
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", folder], capture_output=True, check=False)


def compare_recipe(
    recipe: str, sides: Sequence[Side], data: SmallData, executor: ThreadPoolExecutor
) -> Iterator[Comparison]:
    """Run the cases of a recipe on both sides, and compare them."""
    pending = [executor.submit(run_cases, side, recipe, data) for side in sides]
    try:
        old, new = (future.result() for future in pending)
    except SideError as error:
        yield Comparison(recipe, difference=str(error))
        return
    for case in old:
        yield compare(case, old[case], new[case])


def format_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table of all cases, and the weights that were matched by order alone."""
    header = f"{'case':32} {'weights':>8} {'scores':>8} {'predictions':>12}  result"
    rows = [
        f"{row.case:32} {row.weights:>8} {row.scores:>8} {row.predictions:>12}  {row.difference or 'equal'}"
        for row in comparisons
    ]
    return "\n".join([header, *rows, *(note for row in comparisons for note in row.notes)])


def compare_all(revision: str, recipes: Sequence[str], jobs: int, folder: Path) -> list[Comparison]:
    """Compare the working tree with a revision.

    Args:
      jobs: how many trainings run at a time.
      folder: where data and results go.
    """
    with checked_out(revision, folder / "revision") as root:
        sides = Side(revision, root, folder / "old"), Side("working tree", ROOT, folder / "new")
        for side in sides:
            side.link_default_data()
        executors = ThreadPoolExecutor(jobs), ThreadPoolExecutor(len(recipes))
        with executors[0] as for_sides, executors[1] as for_recipes:

            def compare_one(recipe: str) -> list[Comparison]:
                data = write_small_data(recipe, folder / "data" / recipe)
                return list(compare_recipe(recipe, sides, data, for_sides))

            return [row for rows in for_recipes.map(compare_one, recipes) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", metavar="REV", help="what to compare the working tree with, such as HEAD or main")
    parser.add_argument("--only", metavar="RECIPES", help="these only, such as sentiment,ner")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time  [default: 1]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep data, runs and exports in this new folder")
    options = parser.parse_args()
    recipes = options.only.split(",") if options.only else list(WRITERS)
    if unknown := set(recipes) - set(WRITERS):
        parser.error(f"--only knows {', '.join(WRITERS)}, not {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.keep:
            folder = options.keep.absolute()
            folder.mkdir(parents=True)
        try:
            comparisons = compare_all(options.revision, recipes, max(options.jobs, 1), folder)
        except SideError as error:
            sys.exit(f"Error: {error}")
    print(format_table(comparisons))
    sys.exit(any(row.difference for row in comparisons))


if __name__ == "__main__":
    main()
