"""Runs every recipe on its default data with three seeds and writes what it measured: `make figures`.

Each recipe's measured.json holds the scores of all seeds; the tables of the READMEs and `cli.py list` are made from it.

    python benchmarks/measure.py            # every recipe
    python benchmarks/measure.py sentiment  # some
    python benchmarks/measure.py translation --seeds 1  # one seed, of what trains for long
    python benchmarks/measure.py --tables   # only the tables, from what was measured before
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common import discovery  # noqa: E402
from common.runtime.atomic_io import write_json  # noqa: E402


def measured(name: str, seeds: list[int]) -> dict[str, object]:
    """The test scores of fresh runs."""
    runs = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            command = [sys.executable, str(ROOT / "cli.py"), "run", name, "--seed", str(seed), "--run-dir", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            runs.append(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))
            versions = json.loads((folder / "config.json").read_text(encoding="utf-8"))["versions"]
    scores = {
        key: [run["test"][key] for run in runs] for key, value in runs[0]["test"].items() if isinstance(value, float)
    }
    main = next(iter(scores))
    seconds = mean(run["seconds"]["training"] for run in runs)
    word = main.replace("_", " ")
    several = (
        f"mean of {len(seeds)} seeds: {', '.join(f'{v:.3f}' for v in scores[main])}" if len(seeds) > 1 else "one seed"
    )
    return {
        "summary": f"{word} {mean(scores[main]):.3f} on {runs[0]['examples']['test']:,} held-out examples ({several}),"
        f" trained in {seconds:.0f} s",
        "score": f"{word} {mean(scores[main]):.3f}",
        "time": f"{seconds:.0f} s",
        "test": scores,
        "examples": runs[0]["examples"],
        "seconds": [run["seconds"] for run in runs],
        "seeds": seeds,
        "machine": f"{os.cpu_count()} processor cores, {platform.machine()}",
        "versions": versions,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def tables() -> None:
    """Writes the measured lines into the READMEs."""
    rows = []
    for name in discovery.list_recipes():
        about, file = discovery.load_recipe_config(name).ABOUT, discovery.RECIPES_DIR / name / "measured.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        score, time = found.get("score", "not measured"), found.get("time", "not measured")
        rows.append(
            f"| [`{name}`](recipes/{name}/README.md) | {about.input} to {about.output} | {about.formats} |"
            f" `python cli.py run {name}` | {score} | {time} |"
        )
        page = discovery.RECIPES_DIR / name / "README.md"
        shown = f"{found['summary']}, on {found['machine']}" if found else "not yet"
        line = f"<!-- measured:begin -->\nMeasured: {shown}."
        replace(page, line + "\n<!-- measured:end -->")
    head = "| recipe | task | data formats | command | score | time |\n|---|---|---|---|---|---|\n"
    replace(ROOT / "README.md", "<!-- measured:begin -->\n" + head + "\n".join(rows) + "\n<!-- measured:end -->")


def replace(page: Path, text: str) -> None:
    whole = page.read_text(encoding="utf-8")
    changed, count = re.subn(r"<!-- measured:begin -->.*?<!-- measured:end -->", lambda _: text, whole, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{page} must have one pair of measured markers, not {count}.")
    page.write_text(changed, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="RECIPE", help="all of them, unless named")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    given = parser.parse_args()
    for name in [] if given.tables else given.names or discovery.list_recipes():
        found = measured(name, given.seeds)
        write_json(discovery.RECIPES_DIR / name / "measured.json", found)
        print(f"{name}: {found['summary']}")
    tables()


if __name__ == "__main__":
    main()
