"""Fine-tuning beside training from scratch on the same few examples, over several seeds, by the command line.

    python cli.py run sentiment --data large.csv --max-minutes 10 --run-dir runs/large
    python benchmarks/fine_tuning.py sentiment runs/large --seeds 3 -- --data few.csv --test other.csv

What follows `--` are flags of `run`; each seed is a run with --init-from and --compare of its own. A gain counts where
its 95% interval leaves 0 out.

What the columns say:
  source, scratch, tuned   the measure of the run that is fine-tuned, of one that was trained on the few examples alone,
                           and of the fine-tuned one, on the held-out examples of the new data; means over seeds
  gain                     tuned less scratch: the mean over seeds, and its interval of 95% by resampling the examples,
                           the same ones of all models (paired bootstrap); what other seeds would give is not in it
  forgotten                tuned less source on the source's own held-out examples, in the same way
  seconds                  of training: tuned, scratch
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.runtime.tensorflow_setup import import_tensorflow  # noqa: E402

import_tensorflow()
from common.inference.served_model import load_recipe  # noqa: E402
from common.modeling.bootstrap import mean_difference  # noqa: E402
from common.reports.compare import COMPARED, NEW, OLD  # noqa: E402
from common.runtime.atomic_io import load_arrays  # noqa: E402
from common.runtime.run_dir import Run  # noqa: E402
from common.types import Tally  # noqa: E402

COLUMNS = ("source", "scratch", "tuned")


@dataclass(frozen=True)
class Found:
    """What one run measured.

    Args:
      measure: by which models are compared, without examples.
      parts: what each held-out example adds to it, such as "tuned new", see `common.reports.compare`.
      seconds: of training: tuned, scratch.
    """

    measure: Tally
    parts: Mapping[str, np.ndarray]
    seconds: Sequence[float]

    def of(self, name: str) -> Tally:
        return replace(self.measure, parts=self.parts[name])


def tuned(recipe: str, source: Path, seed: int, flags: Sequence[str], folder: Path) -> Found:
    """A run with --compare, in the folder."""
    words = ["run", recipe, "--init-from", str(source), "--compare", "--seed", str(seed), "--run-dir", str(folder)]
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), *words, *flags], stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"seed {seed} failed; its error is above.")
    parts = load_arrays(folder / COMPARED)
    if f"tuned {NEW}" not in parts:
        sys.exit(f"{folder} has no held-out examples to compare on: give --test.")
    task, _ = load_recipe(Run.open(folder), None, False)
    measured = [json.loads((one / "metrics.json").read_text(encoding="utf-8")) for one in (folder, folder / "scratch")]
    return Found(task.tally([], lambda *asked: iter(())), parts, [one["seconds"]["training"] for one in measured])


def row(found: Sequence[Found]) -> dict[str, Any]:
    """The columns of the table, out of what each seed measured."""
    first = found[0]
    columns: dict[str, Any] = {
        "measure": first.measure.measure, "examples": len(first.parts[f"tuned {NEW}"]), "seeds": len(found),
    }  # fmt: skip
    for name in COLUMNS:
        if f"{name} {NEW}" in first.parts:
            each = [one.of(f"{name} {NEW}") for one in found]
            columns[name] = statistics.fmean(float(tally.of(tally.parts.sum(axis=0))) for tally in each)
    columns["gain"] = mean_difference([(one.of(f"tuned {NEW}"), one.of(f"scratch {NEW}")) for one in found])
    if f"source {OLD}" in first.parts:
        columns["forgotten"] = mean_difference([(one.of(f"tuned {OLD}"), one.of(f"source {OLD}")) for one in found])
    columns["seconds"] = [statistics.fmean(one.seconds[place] for one in found) for place in (0, 1)]
    return columns


def table(columns: dict[str, Any]) -> str:
    """The row and its heading in Markdown."""

    def shown(value: Any) -> str:
        if isinstance(value, tuple):
            return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*value)
        if isinstance(value, list):
            return ", ".join(f"{one:.0f}" for one in value)
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    cells = [list(columns), ["---"] * len(columns), [shown(value) for value in columns.values()]]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("source", type=Path, help="a run, an export or an .npz file")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 1 on")
    parser.add_argument("--keep", type=Path, help="a new folder for the runs; without it they are removed")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a table")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)  # what follows are flags of `run`
    asked, flags = parser.parse_args(words[:end]), words[end + 1 :]
    with tempfile.TemporaryDirectory() as place:
        folder = asked.keep or Path(place)
        seeds = range(1, asked.seeds + 1)
        found = [tuned(asked.recipe, asked.source, seed, flags, folder / f"seed-{seed}") for seed in seeds]
    columns = row(found)
    print(json.dumps(columns) if asked.json else table(columns))


if __name__ == "__main__":
    main()
