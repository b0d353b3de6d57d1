"""The benchmark of fine-tuning: its arithmetic by hand, and a small run of it."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from common.modeling.metrics import ratio_metric
from tests.helpers.cli_calls import SMALL, good, tiny_texts, write

SCRIPT = ROOT / "benchmarks" / "fine_tuning.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_fine_tuning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module


def test_a_row_is_means_over_seeds_and_an_interval_of_the_same_examples(benchmark):
    def measured(tuned, from_scratch, seconds):
        hits = {"tuned new": tuned, "from_scratch new": from_scratch, "base_run new": [1, 0, 1, 0]}
        hits |= {"tuned base_run": [0, 0], "base_run base_run": [1, 1]}
        components = {name: np.array([[hit, 1.0] for hit in values]) for name, values in hits.items()}
        return benchmark.SeedResult(ratio_metric("accuracy", []), components, seconds)

    # What one seed has right the other one has not, so that the mean gain is a half of whatever examples are drawn.
    seeds = [measured([1] * 4, [0, 1, 0, 1], [1.0, 3.0]), measured([1] * 4, [1, 0, 1, 0], [3.0, 5.0])]
    row = benchmark.make_row(seeds)
    assert (row["base_run"], row["from_scratch"], row["tuned"]) == (0.5, 0.5, 1)
    assert row["gain"] == (0.5, 0.5, 0.5) and row["forgotten"] == (-1, -1, -1)
    assert (row["seeds"], row["examples"], row["seconds"]) == (2, 4, [2.0, 4.0])
    assert "| +0.5000 [+0.5000, +0.5000] |" in benchmark.format_table(row)
    assert benchmark.make_row(seeds[:1])["gain"] == (0.5, 0, 1)


@pytest.mark.slow
def test_the_benchmark_runs_by_its_command(tmp_path):
    write(tmp_path / "large.csv", tiny_texts(120))
    write(tmp_path / "few.csv", tiny_texts(60, seed=3))
    good("run", "sentiment", "--data", tmp_path / "large.csv", "--run-dir", tmp_path / "large", *SMALL)
    command = [sys.executable, SCRIPT, "sentiment", tmp_path / "large", "--json", "--", "--data", tmp_path / "few.csv"]
    done = subprocess.run([*command, "--epochs", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["metric"] == "accuracy" and row["seeds"] == 1
    assert row["gain"][0] == pytest.approx(row["tuned"] - row["from_scratch"])
