"""docs/recipe_in_fifteen_minutes.md holds: its blocks, carried out in order from an empty folder, make what it says."""

import json
import os
import re
import subprocess
import sys

import pytest

from common import PROJECT_ROOT as ROOT

PAGE = ROOT / "docs" / "recipe_in_fifteen_minutes.md"
CHANCE = 1 / 3


def blocks():
    """(language, source) of each block of the page, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path):
    """That of a reader: KERASSEROLE is this checkout, and python the one that runs here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python").chmod(0o755)
    return {**os.environ, "KERASSEROLE": str(ROOT), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_page_makes_a_recipe_that_learns(tmp_path, environment):
    folder = tmp_path / "empty"
    folder.mkdir()
    printed = []
    for language, source in blocks():
        if named := re.match(r"# (\S+\.py)\n", source):
            path = folder / named[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
            continue
        command = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run(
            [*command, source], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{source}\nends with status {done.returncode}:\n{done.stdout}{done.stderr}"
        printed.append(done.stdout)
    metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["examples"]["test"] > 30
    assert metrics["test"]["accuracy"] > CHANCE + 0.25
    languages = {"finnish", "italian", "polish"}
    shown = [json.loads(line) for line in printed[-2].splitlines() if line.startswith("{")]
    assert [row["text"] for row in shown] == ["yliopisto", "ragazze", "szczotka"]
    assert all(row["label"] in languages and row["scores"].keys() == languages for row in shown)
    assert printed[-1].count("b'") == 3  # the export's answers
