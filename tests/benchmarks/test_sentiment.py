"""The benchmark of sentiment: its rows, and that it runs where no peer is installed."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import tiny_texts, write

SCRIPT = ROOT / "benchmarks" / "sentiment.py"


def run(*words):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


def test_list_names_every_row_and_what_it_lacks():
    result = run("--list")
    assert result.returncode == 0
    lines = dict(line.split(": ", 1) for line in result.stderr.splitlines())
    assert list(lines) == ["kerasserole", "tfidf", "nbsvm", "torch", "keras"]
    assert lines["kerasserole"] == "This recipe with its defaults, by its command line."
    for name, package in (("tfidf", "sklearn"), ("nbsvm", "sklearn"), ("torch", "torch")):
        try:
            __import__(package)
        except ImportError:
            told = f"skipped, for {package} is not installed: pip install -r benchmarks/requirements.txt"
            assert lines[name] == told


def test_missing_data_is_one_sentence(tmp_path):
    result = run("--data", tmp_path / "none.csv")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ") and "none.csv" in result.stderr
    assert "Traceback" not in result.stderr


def test_shares_give_log_count_ratios_worked_by_hand():
    spec = importlib.util.spec_from_file_location("benchmark_sentiment", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    counts = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]])
    good = np.array([True, True, False])
    # Good texts have 2, 1 and 0 of the features, and 1 more each: 3, 2, 1 of 6. The other has 0, 1, 1: 1, 2, 2 of 5.
    np.testing.assert_allclose(benchmark._shares(counts, good), [3 / 6, 2 / 6, 1 / 6])
    ratio = np.log(benchmark._shares(counts, good) / benchmark._shares(counts, ~good))
    np.testing.assert_allclose(ratio, np.log([5 / 2, 5 / 6, 5 / 12]))


@pytest.mark.slow
def test_rows_are_scored_on_the_same_test_part(tmp_path):
    data = write(tmp_path / "reviews.csv", tiny_texts(120))
    flags = "--epochs 2 --embedding-dim 8 --lstm-units 8 --learning-rate 0.02"
    only = ["--only", "kerasserole", "--only", "keras"]
    result = run("--data", data, *only, "--peer-epochs", "1", "--ours", flags, "--json", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["kerasserole", "keras"]
    assert all(f"{row['accuracy']:.4f}" in result.stdout for row in found.values())
    assert all(row["seconds"] > 0 and row["texts_per_second"] > 0 for row in found.values())
    tests = int(result.stderr.split(" texts;")[0].rsplit(" ", 1)[1])
    for row in found.values():
        right = row["accuracy"] * tests
        assert abs(right - round(right)) < 1e-6
