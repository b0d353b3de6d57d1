"""Rows of a benchmark in processes of their own: one after the other, or in turns within one run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def absent(package: str) -> bool:
    """Whether a package is not installed."""
    return importlib.util.find_spec(package) is None


def chosen(rows: Mapping[str, tuple[Any, str]], only: Sequence[str] | None, listing: bool) -> list[str]:
    """The rows that can run; those that lack a package are named, and with `listing` all are.

    Args:
      rows: by name; what makes each, whose docstring's first line says what it is, and the package that it needs.
      only: these; None for all.
    """
    names = [name for name in only or rows if not absent(rows[name][1])]
    for name in only or rows:
        lacks = f"skipped, for {rows[name][1]} is not installed: pip install -r benchmarks/requirements.txt"
        if listing or name not in names:
            told = (rows[name][0].__doc__ or "").splitlines()[0] if name in names else lacks
            print(f"{name}: {told}", file=sys.stderr)
    return names


def process(script: str, *words: str) -> subprocess.Popen[str]:
    """A child of a benchmark, which is asked by lines of stdin and answers by lines of stdout."""
    return subprocess.Popen(
        [sys.executable, script, "--child", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def compare(script: str, names: Iterable[str], place: Path) -> dict[str, Any]:
    """The result of each row, one after the other."""
    found = {}
    for name in names:
        print(f"{name}: running", file=sys.stderr, flush=True)
        output, _ = process(script, name, str(place)).communicate()
        if not output.strip():
            sys.exit(f"{name} failed; its error is above. Leave it out by --only.")
        found[name] = json.loads(output.strip().splitlines()[-1])
    return found


def race(
    processes: Mapping[str, subprocess.Popen[str]], rounds: int, what: str, ask: str = "go"
) -> dict[str, list[float]]:
    """How many a second each handles, measured in turns; a first round of each, which warms up, is not counted.

    Args:
      processes: by name; each answers a line with the JSON list [count, seconds].
      what: is counted, for people.
      ask: the line.
    """
    rates: dict[str, list[float]] = {name: [] for name in processes}
    for number in range(rounds + 1):
        for name, one in processes.items():
            count, seconds = answer(name, one, ask)
            print(f"round {number}, {name}: {count / seconds:,.0f} {what}/s", file=sys.stderr, flush=True)
            if number:
                rates[name].append(count / seconds)
    return rates


def answer(name: str, one: subprocess.Popen[str], ask: str) -> Any:
    """What a child answers to a line."""
    assert one.stdin and one.stdout
    one.stdin.write(ask + "\n")
    one.stdin.flush()
    line = one.stdout.readline()
    if not line:
        sys.exit(f"{name} failed; its error is above. Leave it out by --only.")
    return json.loads(line)
