"""How long the answers take that need no TensorFlow: medians of fresh processes, against an empty Python.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES = ("--help", "list", "run --help", "run sentiment --help", "run sentiment --epochs 0", "run sentimnet")
ROUNDS, LIMIT = 9, 0.3


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    commands = {"(empty Python)": [sys.executable, "-c", ""]}
    commands |= {line: [sys.executable, "cli.py", *line.split()] for line in LINES}
    times: dict[str, list[float]] = {line: [] for line in commands}
    for _ in range(ROUNDS):  # alternating, since the machine may be noisy
        for line, command in commands.items():
            times[line].append(seconds(command))
    for line, found in times.items():
        median = statistics.median(found)
        print(f"{line:26} {median:.3f} s{'' if median < LIMIT else f'  over {LIMIT} s'}")


if __name__ == "__main__":
    main()
