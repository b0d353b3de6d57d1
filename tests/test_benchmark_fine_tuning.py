"""The benchmark of fine-tuning: its arithmetic by hand, and a small run of it."""

import importlib.util
import json
import subprocess
import sys

import pytest
from calls import SMALL, good, tiny_texts, write
from conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "fine_tuning.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_fine_tuning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_row_is_means_and_the_widest_bounds(benchmark):
    def measured(tuned, scratch, low, high):
        new = {"examples": 50, "tuned": [tuned, 0, 1], "scratch": [scratch, 0, 1], "source": [0.5, 0, 1]}
        new["tuned_less_scratch"] = [tuned - scratch, low, high]
        old = {"examples": 9, "tuned_less_source": [-0.25, -0.5, 0.0]}
        return {"measure": "accuracy", "examples_of": {"new": new, "source's": old}, "seconds": [1.0, 3.0]}

    found = benchmark.row([measured(0.75, 0.5, 0.1, 0.4), measured(1.0, 0.5, 0.2, 0.6)])
    assert found["tuned"] == 0.875 and found["scratch"] == 0.5 and found["source"] == 0.5
    assert found["gain"] == (0.375, 0.1, 0.6) and found["forgotten"] == (-0.25, -0.5, 0.0)
    assert (found["seeds"], found["examples"], found["seconds"]) == (2, 50, [1.0, 3.0])
    assert "| +0.3750 [+0.1000, +0.6000] |" in benchmark.table(found)


@pytest.mark.slow
def test_the_benchmark_runs_by_its_command(tmp_path):
    write(tmp_path / "large.csv", tiny_texts(120))
    write(tmp_path / "few.csv", tiny_texts(60, seed=3))
    good("run", "sentiment", "--data", tmp_path / "large.csv", "--run-dir", tmp_path / "large", *SMALL)
    command = [sys.executable, SCRIPT, "sentiment", tmp_path / "large", "--json", "--", "--data", tmp_path / "few.csv"]
    done = subprocess.run([*command, "--epochs", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["measure"] == "accuracy" and found["seeds"] == 1
    assert found["gain"][0] == pytest.approx(found["tuned"] - found["scratch"])
