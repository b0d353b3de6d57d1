"""Fine-tuning beside training from scratch on the same few examples, over several seeds, by the command line.

    python cli.py run sentiment --data large.csv --max-minutes 10 --run-dir runs/large
    python benchmarks/fine_tuning.py sentiment runs/large --seeds 3 -- --data few.csv --test other.csv

What follows `--` are flags of `run`; each seed is a run with --init-from and --compare of its own. A gain counts where
the 95% interval of the difference on the same held-out examples (paired bootstrap) leaves 0 out, for every seed.

What the columns say:
  source, scratch, tuned   the measure of the run that is fine-tuned, of one that was trained on the few examples alone,
                           and of the fine-tuned one, on the held-out examples of the new data; means over seeds
  gain                     tuned less scratch, the mean, and the widest bounds of the intervals of all seeds
  forgotten                tuned less source on the source's own held-out examples, in the same way
  seconds                  of training: tuned, scratch
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("source", "scratch", "tuned")


def tuned(recipe: str, source: Path, seed: int, flags: Sequence[str], folder: Path) -> dict[str, Any]:
    """What one run measured: its comparison, and seconds of training."""
    words = ["run", recipe, "--init-from", str(source), "--compare", "--seed", str(seed), "--run-dir", str(folder)]
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), *words, *flags], stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"seed {seed} failed; its error is above.")
    measured = [json.loads((one / "metrics.json").read_text(encoding="utf-8")) for one in (folder, folder / "scratch")]
    if "new" not in measured[0]["comparison"].get("examples_of", {}):
        sys.exit(f"{folder} has no held-out examples to compare on: give --test.")
    return {**measured[0]["comparison"], "seconds": [one["seconds"]["training"] for one in measured]}


def bounds(intervals: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The mean value, and the lowest and highest bound of all.

    >>> bounds([(0.5, 0.25, 0.75), (1.0, 0.5, 1.25)])
    (0.75, 0.25, 1.25)
    """
    values, lows, highs = zip(*intervals, strict=True)
    return sum(values) / len(values), min(lows), max(highs)


def row(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns of the table, out of what each seed measured."""
    new = [one["examples_of"]["new"] for one in found]
    old = [one["examples_of"]["source's"] for one in found if "source's" in one["examples_of"]]
    columns: dict[str, Any] = {"measure": found[0]["measure"], "examples": new[0]["examples"], "seeds": len(found)}
    for name in COLUMNS:
        if name in new[0]:
            columns[name] = bounds([one[name] for one in new])[0]
    columns["gain"] = bounds([one["tuned_less_scratch"] for one in new])
    if old:
        columns["forgotten"] = bounds([one["tuned_less_source"] for one in old])
    columns["seconds"] = [sum(one["seconds"][place] for one in found) / len(found) for place in (0, 1)]
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
