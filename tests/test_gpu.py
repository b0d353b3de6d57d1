"""What only a GPU can show: runs trained on it score as those of the CPU and are exported for it.

Each command has a process of its own, for one that has used its devices cannot change them. With all other tests before
these, set TF_FORCE_GPU_ALLOW_GROWTH=true: else the tests' process keeps the GPU's memory.
"""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import SMALL

SEEN = len(tf.config.list_physical_devices("GPU"))
pytestmark = pytest.mark.skipif(SEEN < 1, reason="needs a GPU; TensorFlow sees none here")
TWO = pytest.mark.skipif(SEEN < 2, reason="needs two GPUs; TensorFlow sees fewer here")

ABOUT = 1e-3  # kernels of a GPU add in another order, and may round factors to 10 bits
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def command(*words, **variables):
    """Runs a command, with environment variables besides those that are set; its stdout."""
    line = [sys.executable, "cli.py", *map(str, words)]
    done = subprocess.run(line, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(reviews, folder, strategy, **variables):
    """The folder of a run of two epochs without noise."""
    data = ("--data", reviews, "--run-dir", folder)
    command("run", "sentiment", *data, *SMALL, "--no-stochastic-regularization", "--strategy", strategy, **variables)
    return folder


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def by_gpu(reviews, tmp_path_factory):
    return run(reviews, tmp_path_factory.mktemp("gpu") / "run", "one-device")


def test_export_of_a_run_on_the_gpu_answers_on_the_cpu(by_gpu, tmp_path):
    texts = ["a great film", "", "awful 😀", "x " * 3000]
    command("export", by_gpu, "--output-dir", tmp_path / "sentiment")
    of_run = command("predict", by_gpu, *texts).splitlines()
    of_export = command("predict", tmp_path / "sentiment", *texts, **ON_CPU).splitlines()
    for first, second in zip(map(json.loads, of_run), map(json.loads, of_export), strict=True):
        assert first["scores"] == pytest.approx(second["scores"], abs=ABOUT)


def test_losses_of_gpu_and_cpu_are_about_the_same(by_gpu, reviews, tmp_path):
    by_cpu = run(reviews, tmp_path / "run", "one-device", **ON_CPU)
    assert len(losses(by_gpu)) == 2
    assert losses(by_gpu) == pytest.approx(losses(by_cpu), abs=ABOUT)


@TWO
def test_losses_of_two_gpus_are_those_of_one(by_gpu, reviews, tmp_path):
    by_both = run(reviews, tmp_path / "run", "mirrored")
    assert losses(by_gpu) == pytest.approx(losses(by_both), abs=ABOUT)
