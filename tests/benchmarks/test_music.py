"""The benchmark of music: what it computes itself, and a small run of all rows."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import SMALL_MUSIC, tiny_tunes, write_frames

SCRIPT = ROOT / "benchmarks" / "music.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_music", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rolls_hold_what_sounds_in_each_frame(benchmark):
    roll = benchmark.rolls([{"events": np.array([[0, 2, 60], [1, 1, 64]]), "steps": 3}])[0]
    assert roll.shape == (3, 128)
    assert [np.flatnonzero(frame).tolist() for frame in roll] == [[60], [60, 64], []]


def test_markov_is_worked_by_hand(benchmark):
    # One pitch. Begins once: 2/3. After sounding once on, once off, and one more of each: 1/2; after silence: 1/2.
    one = [np.array([[True], [True], [False]])]
    assert benchmark.markov_nll(one, one) == pytest.approx(-(np.log(2 / 3) + 2 * np.log(1 / 2)) / 3)
    other = [np.array([[False], [True]])]
    assert benchmark.markov_nll(one, other) == pytest.approx(-(np.log(1 / 3) + np.log(1 / 2)) / 2)


def test_missing_data_is_one_sentence(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--data", tmp_path / "none.json"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("Error: ") and "none.json" in done.stderr


@pytest.mark.slow
def test_all_rows_run(tmp_path):
    data = write_frames(tmp_path / "tunes.json", tiny_tunes(40))
    words = ["--data", data, "--steps-per-beat", "1", "--minutes", "0.05", "--ours", *SMALL_MUSIC]
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| markov", "| keras", "| kerasserole"]
    assert all(0 < float(row[1]) < 200 for row in rows)
