"""What `doctor` says of GPUs and clusters, with drivers made up for the purpose."""

import json
import os

import pytest

from common.commands import gpus
from tests.helpers.cli_calls import call, good

CUDA = {"is_cuda_build": True, "cuda_version": "12.5.1"}
TWO = ["NVIDIA A100", "NVIDIA T4"]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Puts a shell script of the name nvidia-smi first on PATH; CUDA_VISIBLE_DEVICES is not set."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(script):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))

    return put


SHOWS_TWO = """test "$*" = -L || exit 2
echo 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5b5a3cd4-9f11-2d7c-3a5e-5f1c9a0f6e01)'
echo '  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)'
echo 'GPU 1: Tesla T4 (UUID: GPU-0c1f9d52-7b0a-4a9e-b2f4-2c1d3e4f5a6b)'"""


@pytest.fixture
def no_gpu():
    """For tests of what is said where TensorFlow sees no GPU."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees a GPU here")


def test_doctor_names_what_stands_between_driver_and_tensorflow(driver, no_gpu):
    driver(SHOWS_TWO)
    result = call("doctor", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["facts"]["GPUs"] == "none; the driver shows NVIDIA A100-SXM4-40GB, Tesla T4"
    # Which of the three it is depends on the TensorFlow that is installed here.
    (fault,) = [sentence for sentence in told["faults"] if "CUDA" in sentence]
    assert "make setup GPU=1" in fault or "the driver may be too old" in fault
    assert f"Missing: {fault}\n" in call("doctor").stderr


def test_doctor_names_the_packages_that_are_not_installed(driver, no_gpu):
    driver(SHOWS_TWO)
    missing = gpus.list_missing_cuda_packages()
    if not missing:
        pytest.skip("the packages of CUDA libraries are installed here")
    (fault,) = [sentence for sentence in json.loads(call("doctor", "--json").stdout)["faults"] if "CUDA" in sentence]
    assert "nvidia-cudnn-cu12" in fault
    assert fault.endswith("run make setup GPU=1.")


@pytest.mark.parametrize("script", ["exit 9", "echo 'GPU 0: NVIDIA A100 (UUID: GPU-5b5a)'; exit 9", "echo No devices"])
def test_doctor_finds_no_fault_where_no_driver_shows_a_gpu(driver, no_gpu, script):
    driver(script)
    assert json.loads(good("doctor", "--json"))["facts"]["GPUs"] == "none"


def test_doctor_finds_no_fault_without_a_driver(tmp_path, monkeypatch, no_gpu):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert json.loads(good("doctor", "--json"))["facts"]["GPUs"] == "none"


def test_missing_packages_are_those_of_another_version_too(tmp_path, monkeypatch):
    folder = tmp_path / "nvidia_cudnn_cu12-8.9.7.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cudnn-cu12\nVersion: 8.9.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = [name for name in gpus.list_missing_cuda_packages() if name.startswith("nvidia-cudnn-cu12")]
    assert found.endswith(" instead of 8.9.7")


def test_doctor_names_the_variable_that_hides_gpus(driver, monkeypatch, no_gpu):
    driver(SHOWS_TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = json.loads(call("doctor", "--json").stdout)
    assert told["facts"]["GPUs"].endswith('Tesla T4; CUDA_VISIBLE_DEVICES is ""')
    assert 'CUDA_VISIBLE_DEVICES is "", which hides every GPU: unset it.' in told["faults"]


def test_faults_are_none_where_all_visible_gpus_are_seen():
    assert gpus.explain_missing_gpus(TWO, 2, None, CUDA, []) == []
    assert gpus.explain_missing_gpus(TWO, 1, "1", CUDA, []) == []  # the other is hidden by choice
    assert gpus.explain_missing_gpus([], 1, None, {}, []) == []  # a GPU without NVIDIA's driver


def test_faults_count_what_the_variable_leaves_visible():
    (fault,) = gpus.explain_missing_gpus(TWO, 1, "0,1", CUDA, ["nvidia-nccl-cu12"])
    assert fault == "TensorFlow lacks packages of CUDA libraries (nvidia-nccl-cu12): run make setup GPU=1."


def test_faults_tell_a_build_without_cuda_before_its_packages():
    (fault,) = gpus.explain_missing_gpus(TWO, 0, None, {"is_cuda_build": False}, ["nvidia-nccl-cu12"])
    assert fault.startswith("TensorFlow is built without CUDA")
    assert "nvidia-nccl-cu12" not in fault


def test_faults_doubt_the_driver_where_nothing_is_missing():
    (fault,) = gpus.explain_missing_gpus(TWO, 0, None, CUDA, [])
    assert "The driver shows 2 and TensorFlow sees 0 GPUs" in fault
    assert "too old for CUDA 12.5.1" in fault


def test_faults_name_all_that_must_be_done():
    hidden, missing = gpus.explain_missing_gpus(TWO, 0, "-1", CUDA, ["nvidia-nccl-cu12"])
    assert 'CUDA_VISIBLE_DEVICES is "-1"' in hidden
    assert "nvidia-nccl-cu12" in missing


def test_doctor_tells_the_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert json.loads(call("doctor", "--json").stdout)["facts"]["cluster"] == "none"
    job = {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(job))
    assert json.loads(call("doctor", "--json").stdout)["facts"]["cluster"] == "worker 1 of 2 (a:2222, b:2222)"


def test_doctor_names_a_cluster_that_cannot_be_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "worker 1")
    result = call("doctor", "--json")
    assert result.exit_code == 1
    assert "TF_CONFIG" in json.loads(result.stdout)["faults"][-1]
