"""The benchmark of image classification: its rows, and that it runs where no peer is installed."""

import importlib.util
import json
import subprocess
import sys

import pytest

from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import tiny_images, write_images

SCRIPT = ROOT / "benchmarks" / "image.py"


def run(*words):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_image", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_names_every_row_and_what_it_lacks():
    result = run("--list")
    assert result.returncode == 0
    lines = dict(line.split(": ", 1) for line in result.stderr.splitlines())
    assert list(lines) == ["ours", "torch", "torch compiled", "keras"]
    assert lines["ours"] == "The recipe's model in its own training loop."
    if importlib.util.find_spec("torch") is None:
        told = "skipped, for torch is not installed: pip install -r benchmarks/requirements.txt"
        assert lines["torch"] == lines["torch compiled"] == told


def test_missing_data_is_one_sentence(tmp_path):
    result = run("--data", tmp_path / "none")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ") and "none" in result.stderr
    assert "Traceback" not in result.stderr


def test_peers_follow_the_schedule_of_the_recipe():
    import tensorflow as tf

    from common.training.schedules import learning_rate_at
    from recipes.image_classification.config import Config

    module, config = benchmark(), Config()
    assert (config.warmup_ratio, config.lr_schedule) == (module.WARMUP, "linear")
    for share in (0.0, 0.05, 0.15, 0.4, 0.9, 1.0):
        expected = float(learning_rate_at(tf.constant(share), 0.3, config.warmup_ratio, config.lr_schedule))
        assert module.rate_at(share, 0.3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_rows_are_measured_in_turns_and_after_equal_time(tmp_path):
    data = write_images(tmp_path / "bars", tiny_images(400))
    only = ["--only", "ours", "--only", "keras", "--batch-size", "16", "--rounds", "1", "--minutes", "0.2"]
    result = run("--data", data, *only, "--json", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["ours", "keras"]
    for row in found.values():
        assert row["train"] > 0 and row["predict"] > 0 and row["images"] > 0
        assert row["accuracy"] > 0.7  # bars across from bars down; half of them by chance
        assert 11 < row["seconds"] < 30
