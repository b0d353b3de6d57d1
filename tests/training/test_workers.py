"""Several processes on this machine give the numbers of one device: each recipe, by two and by three workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from common.commands.launch import find_free_addresses, make_tf_config
from common.commands.process_supervisor import LOST
from common.inference import served_model
from common.runtime.parallel import available_cpus
from tests.helpers.cli_calls import SMALL, fails, good, tiny_texts, write
from tests.helpers.trainers import SMALL_OF, assert_same_weights, made, made_up, trained

pytestmark = pytest.mark.slow
SHARED = {"stochastic_regularization": False, "epochs": 2}
JOBS = {
    # 53 examples in batches of 18: the last one is not full, and 3 workers do not divide it evenly.
    **{
        name: {**SHARED, "name": name, "count": 53, "batch_size": 18, "ema_momentum": 0.9, "weight_decay": 0.01}
        for name in SMALL_OF
    },
    # Which 3 workers fill up, with rows that must not count in the statistics of batches.
    "odd": {**SHARED, "name": "image_classification", "count": 53, "batch_size": 16},
    "parts": {**SHARED, "name": "ner", "count": 31, "batch_size": 12, "gradient_accumulation_steps": 2},
    "tokens": {**SHARED, "name": "translation", "count": 31, "batch_type": "tokens", "batch_size": 120},
}
OF_ONE_POOL = {"odd": 3, "parts": 2, "tokens": 2}  # for each job takes all workers of a pool some seconds
TIMEOUT = 600


def jobs_of(workers):
    """The jobs that so many workers do."""
    return {name: job for name, job in JOBS.items() if OF_ONE_POOL.get(name, workers) == workers}


def environments(count):
    addresses = find_free_addresses(count)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    threads = str(max(1, (os.cpu_count() or 1) // count))
    return [
        {
            **os.environ,
            "TF_CONFIG": make_tf_config(addresses, at),
            "PYTHONPATH": path,
            "TF_NUM_INTRAOP_THREADS": threads,
        }
        for at in range(count)
    ]


def all_of(commands, environments):
    """(exit status, stderr) of processes that run at the same time."""
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        return [(process.communicate(timeout=TIMEOUT)[1], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def pool(request, tmp_path_factory):
    """The folder of what so many workers have made of all jobs."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "jobs.json").write_text(json.dumps(jobs_of(request.param)))
    command = [sys.executable, "tests/helpers/worker.py", folder]
    for told, status in all_of([command] * request.param, environments(request.param)):
        assert status == 0, told[-3000:]
    return request.param, folder


@pytest.fixture(scope="module")
def alone():
    """(facts, weights, measures) of a job on one device, each computed once."""
    results = {}

    def of(job):
        if job not in results:
            trainer = made(**JOBS[job])
            facts = trained(trainer)
            served = served_model.serve_model(trainer.recipe, trainer.model, trainer.config)
            measured = served.compute_metrics(made_up("sentiment", 300)) if JOBS[job]["name"] == "sentiment" else {}
            results[job] = facts, trainer.get_weights(), measured
        return results[job]

    return of


def told_by(pool, job, index):
    count, folder = pool
    if job not in jobs_of(count):
        pytest.skip(f"this job is done by {OF_ONE_POOL[job]} workers")
    facts, measured = json.loads((folder / f"{job}-{index}.json").read_text())
    with np.load(folder / f"{job}-{index}.npz") as stored:
        return facts, dict(stored), measured


@pytest.mark.parametrize("job", JOBS)
def test_workers_give_the_numbers_of_one_device(pool, alone, job):
    count = pool[0]
    outcomes = [told_by(pool, job, index) for index in range(count)]
    expected, weights, _ = alone(job)
    for facts, worker_weights, _ in outcomes:
        for first, second in zip(expected, facts, strict=True):
            assert first["steps"] == second["steps"]
            assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)  # sums of floats in another order
            # Adam moves a weight by its gradient's sign, however small, so that rounding shows in a few of them.
            assert first["valid_loss"] == pytest.approx(second["valid_loss"], abs=5e-4)
        assert_same_weights(weights, worker_weights, tolerance=1e-4)


@pytest.mark.parametrize("job", JOBS)
def test_workers_end_with_one_set_of_weights(pool, job):
    count = pool[0]
    first = told_by(pool, job, 0)[1]
    for index in range(1, count):
        assert_same_weights(first, told_by(pool, job, index)[1])


def test_each_example_is_scored_once_by_several_workers(pool, alone):
    count = pool[0]
    _, _, expected = alone("sentiment")
    for index in range(count):
        found = told_by(pool, "sentiment", index)[2]
        assert found["examples"] == 300
        assert found["confusion_matrix"] == expected["confusion_matrix"]
        assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)


def test_workers_agree_on_what_they_exchange(pool):
    count, folder = pool
    for index in range(count):
        assert json.loads((folder / f"exchanges-{index}.json").read_text()) == {
            "agreed": [0.1, 1e300],
            "any": [False, True],
            "exchanged": ["ab" * at for at in range(count)],
            "large": [100_000 * (at + 1) for at in range(count)],
            "broadcast": {"path": "runs/0", "old": False},
            "spread": [[item, [str(item), ""]] for item in range(7)],
            "identical": None,
            "differ": "Worker 1 differs from worker 0 in --epochs: 3, not 2. Start all workers by the same"
            " command, with the same code and data.",
        }


# The launcher

TRAINING = (*SMALL, "--epochs", "30", "--patience", "0")


def training(data, folder):
    """The command of a worker that trains, as a scheduler starts it."""
    return [sys.executable, "cli.py", "run", "sentiment", "--data", data, *TRAINING, "--run-dir", folder]


def weights_of(folder):
    with np.load(folder / "best_weights.npz") as stored:
        return dict(stored)


def launched(*words):
    """A launcher at work."""
    command = [sys.executable, "cli.py", "launch", "--workers", "2", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epochs(folder, count, process):
    """Returns when so many epochs are in the history."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        history = folder / "history.jsonl"
        if history.exists() and len(history.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def worker_process(launcher, index):
    """The process of a worker, found by its environment."""
    for children in (Path("/proc") / str(launcher.pid) / "task").glob("*/children"):
        for number in children.read_text().split():
            if f'"index": {index}' in (Path("/proc") / number / "environ").read_text(errors="replace"):
                return int(number)
    raise AssertionError("the launcher has no such worker")


def test_run_that_was_stopped_and_lost_a_worker_ends_as_the_uninterrupted_one(reviews, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ("run", "sentiment", "--data", reviews, *TRAINING)

    process = launched(*words, "--run-dir", cut)
    wait_for_epochs(cut, 2, process)
    process.send_signal(signal.SIGINT)
    shown, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1 and shown == ""
    assert f"launch --workers 2 run sentiment --resume {cut}" in told
    assert (cut / "checkpoint.npz").exists() and not (cut / "metrics.json").exists()

    before = len((cut / "history.jsonl").read_text().splitlines())
    process = launched("--max-restarts", "1", *words, "--run-dir", cut)
    wait_for_epochs(cut, before + 2, process)
    os.kill(worker_process(process, 1), signal.SIGKILL)
    shown, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, told
    assert shown == f"{cut}\n"
    assert "Restart 1 of 1" in told and "[0] Resumed" in told

    # The uninterrupted one by a launcher for each of two hosts, with as many threads as workers of one launcher have.
    hosts, threads = ",".join(find_free_addresses(2)), {"TF_NUM_INTRAOP_THREADS": str(max(1, available_cpus() // 2))}
    launchers = [
        [
            sys.executable,
            "cli.py",
            "launch",
            "--hosts",
            hosts,
            "--worker-index",
            index,
            *map(str, words),
            "--run-dir",
            whole,
        ]
        for index in "01"
    ]
    for told, status in all_of(launchers, [os.environ | threads] * 2):
        assert status == 0, told
    assert_same_weights(weights_of(whole), weights_of(cut))


def test_a_worker_that_lost_the_other_one_ends_by_itself_and_can_be_started_anew(reviews, tmp_path):
    """As a scheduler starts them, without our launcher, which would end it."""
    command = training(reviews, tmp_path / "run")
    started = [
        subprocess.Popen([*command, "--epochs", "4000"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for environment in environments(2)
    ]
    try:
        wait_for_epochs(tmp_path / "run", 2, started[0])
        started[1].kill()
        told = started[0].communicate(timeout=60)[1]
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stderr.close()
    assert started[0].returncode == LOST, told
    assert told.splitlines()[-1].startswith("Error: Another worker is gone, so this one cannot go on. Start all again")
    assert (tmp_path / "run" / "checkpoint.npz").exists()


def test_workers_that_were_started_otherwise_are_told_how(reviews, tmp_path):
    command = training(reviews, tmp_path / "run")
    found = all_of([[*command, "--seed", "1"], [*command, "--seed", "2"]], environments(2))
    for told, status in found:
        assert status == 1
        assert "Error: Worker 1 differs from worker 0 in --seed: 2, not 1. Start all workers by the same" in told
    assert not (tmp_path / "run").exists()


def test_virtual_devices_by_a_flag_give_the_numbers_of_one(reviews, tmp_path):
    words = ("run", "sentiment", "--data", reviews, *SMALL, "--no-stochastic-regularization")
    good(*words, "--run-dir", tmp_path / "one")
    command = [sys.executable, "cli.py", *map(str, words), "--devices", "cpu:2", "--run-dir", tmp_path / "two"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Strategy: mirrored on CPU:0, CPU:1 (several devices)" in done.stderr
    assert "Batches of 16 examples on 2 replicas, 8 at a time on each; LSTM kernel: plain" in done.stderr
    assert_same_weights(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"), tolerance=1e-4)

    # Two batches and a rest for two devices.
    many = write(tmp_path / "many.csv", tiny_texts(2 * served_model.BATCH + 77))

    def by_two(*words):
        command = [sys.executable, "cli.py", *map(str, words), "--devices", "cpu:2"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    words = ("evaluate", tmp_path / "one", "--data", many, "--json")
    expected, found = json.loads(good(*words)), json.loads(by_two(*words))
    assert found["examples"] == 2 * served_model.BATCH + 77
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)
    words = ("predict", tmp_path / "one", "--input", many)
    lines = [[json.loads(line) for line in text.splitlines()] for text in (good(*words), by_two(*words))]
    assert [line["text"] for line in lines[1]] == [text for text, _ in tiny_texts(2 * served_model.BATCH + 77)]
    assert [line["score"] for line in lines[1]] == pytest.approx([line["score"] for line in lines[0]], abs=1e-5)


def test_worker_that_cannot_listen_says_at_which_address(tmp_path):
    (one, two), (first, _) = find_free_addresses(2), environments(2)
    first["TF_CONFIG"] = make_tf_config([one, two], 0)
    command = [sys.executable, "cli.py", "run", "sentiment", "--run-dir", tmp_path / "run"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(one.rpartition(":")[2])))
        taken.listen()
        [(told, status)] = all_of([command], [first])
    assert status == 1
    assert f"Error: Worker 0 cannot speak to the others at {one}" in told


def test_devices_are_not_for_an_export(trained, tmp_path):
    good("export", trained, "--output-dir", tmp_path / "sentiment")
    assert "runs on one device" in fails("predict", tmp_path / "sentiment", "a text", "--devices", "cpu:2", status=2)
