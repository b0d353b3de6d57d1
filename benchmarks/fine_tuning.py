"""Fine-tuning beside training from scratch on the same few examples, over several seeds, by the command line.

    python cli.py run sentiment --data large.csv --max-minutes 10 --run-dir runs/large
    python benchmarks/fine_tuning.py sentiment runs/large --seeds 3 -- --data few.csv --test other.csv

What follows `--` are flags of `run`; each seed is a run with --init-from and --compare-from-scratch of its own. A gain
counts where its 95% interval leaves 0 out.

What the columns say:
  base_run, from_scratch, tuned   the metric of the run that is fine-tuned, of one that was trained on the few examples
                                  alone, and of the fine-tuned one, on held-out examples of the new data; seeds' means
  gain                            tuned minus from scratch: the mean over seeds, and its interval of 95% by resampling
                                  the examples, the same ones of all models (paired bootstrap); what other seeds would
                                  give is not in it
  forgotten                       tuned minus base run on the base run's own held-out examples, in the same way
  seconds                         of training: tuned, from scratch
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
from common.modeling.bootstrap import bootstrap_mean_difference  # noqa: E402
from common.reports.compare import BASE, NEW, PER_EXAMPLE_METRICS  # noqa: E402
from common.runtime.atomic_io import load_npz  # noqa: E402
from common.runtime.run_dir import Run  # noqa: E402
from common.types import PerExampleMetric  # noqa: E402

COLUMNS = ("base_run", "from_scratch", "tuned")


@dataclass(frozen=True)
class SeedResult:
    """What the run of one seed measured.

    Args:
      metric: by which models are compared, without examples.
      components: what each held-out example adds to it, such as "tuned new", see `common.reports.compare`.
      seconds: of training: tuned, from scratch.
    """

    metric: PerExampleMetric
    components: Mapping[str, np.ndarray]
    seconds: Sequence[float]

    def get_metric(self, name: str) -> PerExampleMetric:
        """Return the metric of a model on some examples, such as "tuned new"."""
        return replace(self.metric, components=self.components[name])


def fine_tune(recipe: str, base_run: Path, seed: int, flags: Sequence[str], folder: Path) -> SeedResult:
    """Train a run with --compare-from-scratch in the folder."""
    words = ["run", recipe, "--init-from", str(base_run), "--compare-from-scratch", "--seed", str(seed)]
    command = [sys.executable, str(ROOT / "cli.py"), *words, "--run-dir", str(folder), *flags]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"seed {seed} failed; its error is above.")
    components = load_npz(folder / PER_EXAMPLE_METRICS)
    if f"tuned {NEW}" not in components:
        sys.exit(f"{folder} has no held-out examples to compare on: give --test.")
    task, _ = load_recipe(Run.open(folder), None, False)
    metrics = [
        json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (folder, folder / "from_scratch")
    ]
    metric = task.per_example_metric([], lambda *asked: iter(()))
    return SeedResult(metric, components, [run["seconds"]["training"] for run in metrics])


def make_row(results: Sequence[SeedResult]) -> dict[str, Any]:
    """Return the columns of the table, out of what each seed measured."""
    first = results[0]
    columns: dict[str, Any] = {
        "metric": first.metric.name,
        "examples": len(first.components[f"tuned {NEW}"]),
        "seeds": len(results),
    }
    for name in COLUMNS:
        if f"{name} {NEW}" in first.components:
            metrics = [result.get_metric(f"{name} {NEW}") for result in results]
            columns[name] = statistics.fmean(
                float(metric.aggregate(metric.components.sum(axis=0))) for metric in metrics
            )

    def compare(model: str, rival: str) -> tuple[float, float, float]:
        return bootstrap_mean_difference([(result.get_metric(model), result.get_metric(rival)) for result in results])

    columns["gain"] = compare(f"tuned {NEW}", f"from_scratch {NEW}")
    if f"base_run {BASE}" in first.components:
        columns["forgotten"] = compare(f"tuned {BASE}", f"base_run {BASE}")
    columns["seconds"] = [statistics.fmean(result.seconds[index] for result in results) for index in (0, 1)]
    return columns


def format_table(columns: dict[str, Any]) -> str:
    """Return the row and its heading in Markdown."""

    def format_value(value: Any) -> str:
        if isinstance(value, tuple):
            return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*value)
        if isinstance(value, list):
            return ", ".join(f"{seconds:.0f}" for seconds in value)
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    cells = [list(columns), ["---"] * len(columns), [format_value(value) for value in columns.values()]]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("base_run", type=Path, help="a run, an export or an .npz file")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 1 on")
    parser.add_argument("--keep", type=Path, help="a new folder for the runs; without it they are removed")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a table")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)  # what follows are flags of `run`
    asked, flags = parser.parse_args(words[:end]), words[end + 1 :]
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        seeds = range(1, asked.seeds + 1)
        results = [fine_tune(asked.recipe, asked.base_run, seed, flags, folder / f"seed-{seed}") for seed in seeds]
    columns = make_row(results)
    print(json.dumps(columns) if asked.json else format_table(columns))


if __name__ == "__main__":
    main()
