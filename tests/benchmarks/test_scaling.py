"""The benchmark of replicas: its counters and its model of networks by hand, and a small run of all layouts."""

import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks import networks
from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import SMALL, tiny_texts, write

SCRIPT = ROOT / "benchmarks" / "scaling.py"
COUNTERS = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
  eth0:     900       9    0    0    0     0          0         0      800       8    0    0    0     0       0          0
    lo:170   6877    0    0    0     0          0         0 170     6877    0    0    0     0       0          0
 flow0:     700       7    0    0    0     0          0         0      600       6    0    0    0     0       0          0
"""  # noqa: E501


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_scaling", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def run(*words):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


def test_bytes_of_loopback_are_read_beside_other_devices(benchmark):
    assert benchmark.loopback_bytes(COUNTERS) == 170


def test_counters_without_loopback_are_refused(benchmark):
    with pytest.raises(ValueError, match="no line of lo"):
        benchmark.loopback_bytes("  eth0: 900 9 0 0\n")


def test_layouts_are_both_ways_but_for_one_replica(benchmark):
    found = benchmark.layouts([1, 2, 4])
    assert [one.name for one in found] == ["one device", "cpu:2", "2 processes", "cpu:4", "4 processes"]
    assert [(one.replicas, one.processes) for one in found] == [(1, 1), (2, 1), (2, 2), (4, 1), (4, 4)]


def test_parts_last_as_long_as_was_asked(benchmark):
    calls = iter([(2, 20, 0.5, 0.1), (3, 30, 0.75, 0.2), (4, 40, 1.0, 0.3)])
    assert benchmark.part(calls, 1.0) == pytest.approx([5, 50, 1.25, 0.3])
    assert benchmark.part(calls, 1.0) == pytest.approx([4, 40, 1.0, 0.3])


def test_ring_is_worked_by_hand():
    # Two workers exchange halves twice, 2 x 50 bytes at 25 a second, and wait twice for 0.5 s.
    assert networks.ring_seconds(2, 100, 25, 0.5) == pytest.approx(4 + 1)
    # Four send 6 quarters each: 150 bytes, and 6 waits.
    assert networks.ring_seconds(4, 100, 25, 0.5) == pytest.approx(6 + 3)
    assert networks.ring_seconds(1, 100, 25, 0.5) == 0


def test_step_divides_its_batch_down_to_a_row():
    assert networks.step_seconds(8.0, 16, 4, 0.5) == pytest.approx(2.5)
    assert networks.step_seconds(8.0, 16, 16, 0.5) == pytest.approx(1.0)
    assert networks.step_seconds(8.0, 16, 64, 0.5) == pytest.approx(1.0)


def test_fit_finds_the_network_that_times_were_made_of():
    # 100 bytes at 25 bytes a second with waits of 0.5 s, as above; and 200 bytes on two workers: 8 s and 1 s.
    bandwidth, latency = networks.fitted([(2, 100, 5.0), (4, 100, 9.0), (2, 200, 9.0)])
    assert (bandwidth, latency) == pytest.approx((25, 0.5))


def test_fit_has_no_latency_below_none():
    # The line through both points starts at -1 s. Without latency: s = (100 + 200/3) / (100^2 + (200/3)^2) a byte.
    bandwidth, latency = networks.fitted([(2, 100, 1.0), (2, 200, 3.0)])
    assert latency == 0
    assert bandwidth == pytest.approx((100**2 + (200 / 3) ** 2) / (100 + 200 / 3))


def test_fit_has_no_bandwidth_below_none():
    # More bytes take less time. Two waits in 2 s and in 1 s: terms of 1 and 2, so (1 + 2) / (1 + 4).
    assert networks.fitted([(2, 100, 2.0), (2, 200, 1.0)]) == pytest.approx((float("inf"), 0.6))


def results(gradient_bytes, norms=0):
    """Of a made-up recipe: a step of 9 ms on one device, of which 1 ms waits for 16 rows."""
    one = {"replicas": 1, "processes": 1, "rate": 1777.8, "step": 0.009, "rows": 16, "input": 0.001, "bytes": 0}
    two = one | {"replicas": 2, "processes": 2, "reduce": 0.002}
    layouts = [one | {"reduce": 0}, two]
    return {"made-up": {"parameters": 781250, "gradient_bytes": gradient_bytes, "norms": norms, "layouts": layouts}}


def test_table_of_networks_is_worked_by_hand():
    # 3.125 MB take 1 ms at 25 Gb/s, so that the rings take 14/8, 126/64 and 1022/512 ms; and a quarter at 100 Gb/s.
    # Computing takes 8 ms, or 1, 0.5 and 0.5 on 8, 64 and 512 workers, for there are 16 rows.
    lines = networks.modelled(results(3_125_000), 0.0).splitlines()
    assert lines[-2:] == [
        "| made-up | 781,250 | 3.12 | 8.0 | 25 | 1.8 / 2.0 / 2.0 | 82% / 80% / 80% | 2.9 / 3.2 / 3.2 |",
        "| made-up | 781,250 | 3.12 | 8.0 | 100 | 0.4 / 0.5 / 0.5 | 95% / 94% / 94% | 5.6 / 8.1 / 8.0 |",
    ]
    # Two workers exchange all of it once in 2 ms: 1.5625 GB/s are 12.5 Gb/s.
    assert "| made-up | 2 | 3.12 | 2.0 | 2.0 |" in lines


def test_latency_counts_each_message():
    # 14, 126 and 1022 messages of 20 microseconds, and nothing to send.
    lines = networks.modelled(results(0.001), 20e-6).splitlines()
    assert "| 0.3 / 2.5 / 20.4 |" in lines[-1]
    # Three batch normalizations are two exchanges more each.
    lines = networks.modelled(results(0.001, norms=3), 20e-6).splitlines()
    assert "| 2.0 / 17.6 / 143.1 |" in lines[-1]


def test_document_has_the_tables_that_the_model_prints():
    found = run("--model", ROOT / "benchmarks" / "scaling.json")
    assert found.returncode == 0, found.stderr
    document = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    tables = [line for line in found.stdout.splitlines() if line.startswith("|")]
    assert len(tables) > 10 and [line for line in tables if line not in document] == []


def test_missing_results_are_one_sentence(tmp_path):
    done = run("--model", tmp_path / "none.json")
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and "none.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_flag_is_told_by_the_command_line():
    done = run("sentiment", "--ours", "--epochs", "0")
    assert done.returncode == 2 and "--epochs" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_missing_data_is_one_sentence(tmp_path):
    done = run("sentiment", "--replicas", "1", "--ours", "--data", tmp_path / "none.csv")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "none.csv" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_all_layouts_run(tmp_path):
    data = write(tmp_path / "reviews.csv", tiny_texts(200))
    few = ["--replicas", "2", "--rounds", "1", "--seconds", "0.2", "--json", tmp_path / "found.json"]
    done = run("sentiment", *few, "--ours", "--data", data, *SMALL)
    assert done.returncode == 0, done.stderr
    table = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| sentiment")]
    assert [row[1] for row in table] == ["one device", "cpu:2", "2 processes"]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["sentiment"]
    one, devices, processes = found["layouts"]
    assert one["bytes"] == devices["bytes"] == 0 and one["reduce"] == 0
    # Two workers in a ring send each number once.
    assert processes["bytes"] > found["gradient_bytes"] > 4 * found["parameters"]
    assert 0 < processes["reduce"] < 10 and 0 < devices["reduce"] < 10
    assert one["rows"] == pytest.approx(devices["rows"], rel=0.2)
    assert "share its cores" in done.stdout
    modelled = run("--model", tmp_path / "found.json")
    assert modelled.returncode == 0 and f"| sentiment | {found['parameters']:,} |" in modelled.stdout, modelled.stderr
