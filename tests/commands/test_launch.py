"""A run as several processes: who they are, how they are launched and stopped, and what is typed wrongly."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import PROJECT_ROOT as ROOT
from common.commands import launch
from common.commands.launch import (
    find_free_addresses,
    list_visible_gpus,
    make_tf_config,
    make_worker_environments,
    parse_hosts,
    split_gpus,
)
from common.errors import ConfigError
from tests.helpers.cli_calls import call, fails, good


def alive(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


# Who the workers are


def test_a_cluster_tells_each_worker_all_addresses_and_its_place():
    assert json.loads(make_tf_config(["a:1", "b:2"], 1)) == {
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }


def test_free_addresses_can_be_listened_on_and_differ():
    addresses = find_free_addresses(5)
    assert len(set(addresses)) == 5
    for address in addresses:
        host, port = address.split(":")
        assert host == "127.0.0.1"
        with socket.socket() as one:
            one.bind((host, int(port)))


HOSTS = st.tuples(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True), st.integers(1, 65535))


@given(st.lists(HOSTS, min_size=1, max_size=5, unique=True))
def test_hosts_are_read_as_they_are_written(hosts):
    addresses = [f"{host}:{port}" for host, port in hosts]
    assert parse_hosts(",".join(addresses)) == addresses
    assert parse_hosts(" , ".join(addresses)) == addresses


@pytest.mark.parametrize(
    "bad", ["", "a", "a:", ":2222", "a:0", "a:65536", "a:x", "a:-1", "a:²", "a b:2222", "::1:2222", "[]:2222"]
)
def test_an_address_that_is_none_is_named(bad):
    with pytest.raises(ConfigError) as caught:
        parse_hosts(f"good:2222,{bad}")
    assert f'"{bad}" is not HOST:PORT' in str(caught.value)


def test_an_address_given_twice_is_named():
    with pytest.raises(ConfigError, match="A:02222 stands there twice"):
        parse_hosts("a:2222,b:2222,A:02222")
    assert parse_hosts("a:2222,a:2223") == ["a:2222", "a:2223"]


def test_gpus_are_shared_out_among_neighbours():
    assert split_gpus(["0", "1", "2", "3"], 2) == ["0,1", "2,3"]
    assert split_gpus(["GPU-a", "GPU-b", "GPU-c"], 2) == ["GPU-a", "GPU-b"]
    assert split_gpus(["4"], 1) == ["4"]


def test_fewer_gpus_than_workers_are_refused():
    with pytest.raises(ConfigError, match="3 workers need a GPU each, but there are 2 in all") as caught:
        split_gpus(["0", "1"], 3)
    assert "Give --workers 2, or hide the GPUs by CUDA_VISIBLE_DEVICES=" in str(caught.value)


@pytest.mark.parametrize(
    ("told", "seen"), [("", []), ("-1", []), ("0", ["0"]), ("2, 3", ["2", "3"]), ("1,-1,2", ["1"])]
)
def test_the_environment_tells_which_gpus_are_visible(told, seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert list_visible_gpus() == seen


@pytest.mark.parametrize(("status", "seen"), [(0, ["0", "1"]), (9, [])])
def test_gpus_are_counted_by_the_driver_where_nothing_is_told(tmp_path, monkeypatch, status, seen):
    program = tmp_path / "nvidia-smi"
    listed = "GPU 0: Made-up (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\nGPU 1: Made-up (UUID: GPU-2)"
    program.write_text(f"#!/bin/sh\necho '{listed}'\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert list_visible_gpus() == seen
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert list_visible_gpus() == []


def test_processors_are_shared_out_unless_the_user_did(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(launch, "available_cpus", lambda: 5)
    assert make_worker_environments(1) == [{}]
    assert make_worker_environments(2) == [{"TF_NUM_INTRAOP_THREADS": "2"}] * 2
    assert make_worker_environments(6) == [{"TF_NUM_INTRAOP_THREADS": "1"}] * 6
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    assert make_worker_environments(2) == [{}, {}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert make_worker_environments(2) == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]


# The command line


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Makes a recipe whose workers run a script instead of training; what is launched runs in its folder."""
    for name in ("TF_CONFIG", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def make(script):
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "recipe.py").touch()
        (tmp_path / "own" / "config.py").write_text(
            f"import json, os, signal, sys, time\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from recipes.sentiment.config import ABOUT, Config\n"
            "if 'TF_CONFIG' in os.environ:\n"
            "    told = json.loads(os.environ['TF_CONFIG'])\n"
            "    me = told['task']['index']\n"
            "    place = [after for word, after in zip(sys.argv, sys.argv[1:]) if word in ('--run-dir', '--resume')]\n"
            "    run = Path(place[0]) if place else None\n"
            + textwrap.indent(textwrap.dedent(script), "    ")
            + "\n    sys.exit(0)\n"
        )

    return make


def started(tmp_path, *words):
    line = [sys.executable, ROOT / "cli.py", "launch", *words]
    return subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def launched(tmp_path, *words):
    """(exit status, stdout, lines of stderr)"""
    with started(tmp_path, *words) as process:
        out, err = process.communicate()
    return process.returncode, out, err.splitlines()


def test_launch_starts_a_cluster_on_this_machine(tmp_path, own):
    own(
        "print(json.dumps([told, run and str(run), os.environ.get('TF_NUM_INTRAOP_THREADS'), sys.argv[1:]]),"
        " file=sys.stderr)\nif not me: print(run)"
    )
    status, out, lines = launched(tmp_path, "--workers", "2", "run", "./own", "--epochs", "3")
    assert status == 0, lines
    assert out.startswith("runs/own-2")
    first, second = (json.loads(line[4:]) for line in sorted(lines))
    assert [first[0]["task"]["index"], second[0]["task"]["index"]] == [0, 1]
    assert first[0]["cluster"] == second[0]["cluster"]
    assert len(set(first[0]["cluster"]["worker"])) == 2
    assert first[1:] == second[1:]
    folder, threads, words = first[1:]
    assert folder == out.strip()
    assert int(threads) >= 1
    assert words == ["run", "./own", "--run-dir", folder, "--epochs", "3"]


def test_launch_starts_one_worker_of_several_machines(tmp_path, own):
    own("print(json.dumps([told, sys.argv[1:]]), file=sys.stderr)\nprint('folder')")
    status, out, lines = launched(tmp_path, "--hosts", "a:2222,b:2223", "--worker-index", "1", "run", "./own")
    assert (status, out) == (0, "")
    assert len(lines) == 1
    assert lines[0].startswith("[1] ")
    told, words = json.loads(lines[0][4:])
    assert told == json.loads(make_tf_config(["a:2222", "b:2223"], 1))
    assert words == ["run", "./own"]


def test_launch_blames_quotes_and_tells_how_to_go_on(tmp_path, own):
    own("""
        run.mkdir(exist_ok=True)
        (run / "checkpoint.npz").touch()
        if not me:
            time.sleep(600)
        print("what went wrong", file=sys.stderr)
        sys.exit(1)
    """)
    status, out, lines = launched(
        tmp_path, "--workers", "2", "--max-restarts", "3", "run", "./own", "--run-dir", "a b", "--label-names", "it's"
    )
    assert (status, out) == (1, "")
    go_on = lines[-1].partition(" Go on with: ")[2]
    assert lines == [
        "[1] what went wrong",
        "The last lines of worker 1:",
        "  what went wrong",
        f"Error: Worker 1 failed with exit status 1; its last lines are quoted above. Go on with: {go_on}",
    ]
    assert shlex.split(go_on) == [
        "python",
        "cli.py",
        "launch",
        "--max-restarts",
        "3",
        "--workers",
        "2",
        "run",
        "./own",
        "--resume",
        "a b",
        "--label-names",
        "it's",
    ]


def test_launch_starts_anew_in_the_same_folder(tmp_path, own):
    own("""
        if me:
            time.sleep(1)
        elif not Path("folder").exists():
            Path("folder").write_text(str(run))
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            print(run)
    """)
    status, out, lines = launched(tmp_path, "--workers", "2", "--max-restarts", "1", "run", "./own")
    assert lines == ["Restart 1 of 1: worker 0 was killed by signal 9 (SIGKILL)."]
    assert (status, out) == (0, (tmp_path / "folder").read_text() + "\n")


def test_a_usage_error_of_a_worker_is_one_of_launch(tmp_path, own):
    own("sys.exit(2)")
    status, out, lines = launched(tmp_path, "--workers", "1", "run", "./own")
    assert (status, out) == (2, "")
    assert lines[-1] == "Error: Worker 0 failed with exit status 2."


STOPS = """
if {known}:
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").touch()
try:
    print(f"ready {{os.getpid()}}", file=sys.stderr, flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("stopped", file=sys.stderr)
    sys.exit(1)
"""


def interrupted(tmp_path, number):
    """The lines and the end of a launch of two workers that gets a signal once both are ready."""
    with started(tmp_path, "--workers", "2", "run", "./own", "--run-dir", "a", "--epochs", "3") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        lines = [process.stderr.readline() for _ in range(2)]
        assert all(" ready " in line for line in lines)
        process.send_signal(number)
        lines += process.stderr.readlines()
        assert process.stdout.read() == ""
    assert not any(alive(line.split()[-1]) for line in lines[:2])
    return process.returncode, [line.rstrip("\n") for line in lines[2:]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_all_workers_and_tells_how_to_go_on(tmp_path, own, number):
    own(STOPS.format(known=True))
    status, lines = interrupted(tmp_path, number)
    assert status == 1
    assert sorted(lines[:-1]) == ["[0] stopped", "[1] stopped"]
    assert lines[-1] == ("Error: Stopped. Go on with: python cli.py launch --workers 2 run ./own --resume a --epochs 3")


def test_ctrl_c_before_there_is_a_run_tells_only_that(tmp_path, own):
    own(STOPS.format(known=False))
    status, lines = interrupted(tmp_path, signal.SIGINT)
    assert (status, lines[-1]) == (1, "Error: Stopped.")


def test_the_third_ctrl_c_kills(tmp_path, own):
    own("""
        signal.signal(signal.SIGINT, lambda *_: print("no", file=sys.stderr, flush=True))
        print("ready", os.getpid(), file=sys.stderr, flush=True)
        while True:
            time.sleep(600)
    """)
    with started(tmp_path, "--workers", "1", "run", "./own") as process:
        assert process.stderr is not None
        pid = process.stderr.readline().split()[-1]
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "[0] no\n"
        process.send_signal(signal.SIGINT)
        seen = {process.stderr.readline() for _ in range(2)}
        assert seen == {"[0] no\n", "Stopping at once; again to kill the workers.\n"}
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "Error: Stopped.\n"
    assert process.returncode == 1
    assert not alive(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
def test_workers_end_with_their_launcher(tmp_path, own):
    own("""
        def end(*_):
            Path("ended").touch()
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        print("ready", file=sys.stderr, flush=True)
        time.sleep(60)
    """)
    with started(tmp_path, "--workers", "1", "run", "./own") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "[0] ready\n"
        process.kill()
    for _ in range(1000):
        if (tmp_path / "ended").exists():
            return
        time.sleep(0.02)
    raise AssertionError("the worker goes on")


# Usage


RUN = ("run", "sentiment")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (RUN, "Neither --workers nor --hosts is given."),
        (("--workers", 2, "--hosts", "a:1", *RUN), "Both --workers and --hosts are given."),
        (("--workers", 2, "--worker-index", 0, *RUN), "--worker-index tells which of --hosts this machine is."),
        (
            ("--hosts", "a:1,b:1", *RUN),
            "--worker-index is not given. Give this machine's place in --hosts, which are 2",
        ),
        (("--hosts", "a:1,b:1", "--worker-index", 2, *RUN), "--worker-index is 2."),
        (("--hosts", "a:1,b:1", "--worker-index", -1, *RUN), "--worker-index is -1."),
        (("--hosts", "a", "--worker-index", 0, *RUN), '"a" is not HOST:PORT'),
        (("--hosts", "a:1,a:1", "--worker-index", 0, *RUN), "a:1 stands there twice"),
        (
            ("--hosts", "a:1", "--worker-index", 0, "--max-restarts", 1, *RUN),
            "--max-restarts needs a folder that all machines know",
        ),
        (("--workers", 0, *RUN), "'--workers': 0 is not in the range x>=1."),
        (("--workers", 2, "--max-restarts", -1, *RUN), "'--max-restarts': -1 is not in the range x>=0."),
        (("--workers", 2), "There is nothing to launch: give python cli.py launch --workers N run RECIPE [OPTIONS]."),
        (("--workers", 2, "check", "ner"), '"check" cannot be launched: give python cli.py launch --workers N run'),
        (("--max-restart", 2, *RUN), "No such option '--max-restart'. Did you mean '--max-restarts'?"),
    ],
)
def test_usage_errors_of_launch_are_told(words, part, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert part in fails("launch", *words, status=2)


def test_launch_within_a_cluster_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", make_tf_config(["a:1"], 0))
    assert fails("launch", "--workers", 2, *RUN, status=2).startswith("TF_CONFIG is set in the environment")


@pytest.mark.parametrize(
    "words",
    [
        ("--epochs", "x"),
        ("--epoch", "3"),
        ("--batch-type", "pages"),
        ("nonsense",),
        ("--config", "nothing.toml"),
        ("--resume", "a", "--run-dir", "b"),
    ],
)
def test_usage_errors_of_run_are_told_once_and_as_its_own(words):
    alone, launched = call(*RUN, *words), call("launch", "--workers", 2, *RUN, *words)
    assert (launched.exit_code, launched.stdout, launched.stderr) == (2, "", alone.stderr)


def test_an_unknown_recipe_is_suggested_by_launch():
    assert 'Did you mean "sentiment"?' in fails("launch", "--workers", 2, "run", "sentimnet", status=2)


@pytest.mark.parametrize("flag", ["--help", "--print-config"])
def test_what_only_tells_is_told_once(flag):
    assert good("launch", "--workers", 2, *RUN, flag) == good(*RUN, flag)


def test_usage_errors_of_launch_import_nothing_heavy():
    script = (
        "import sys, runpy\n"
        "sys.argv = ['cli.py', 'launch', '--hosts', 'a', '--worker-index', '0', 'run', 'sentiment']\n"
        "try:\n    runpy.run_path('cli.py', run_name='__main__')\nexcept SystemExit: pass\n"
        "print('heavy:', sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "is not HOST:PORT" in done.stderr
    assert done.stderr.splitlines()[-1] == "heavy: []"
