"""Workers under watch: what is heard of them, how they end, and when they are started anew."""

import os
import subprocess
import sys
import textwrap

import pytest

from common import PROJECT_ROOT as ROOT
from common.commands import process_supervisor
from common.commands.launch import find_free_addresses, run_with_restarts
from common.commands.process_supervisor import LOST, JobResult, Worker, run_workers

SLEEP = "import time; time.sleep(600)"


def workers(*scripts):
    """A worker for each script, which finds the index in `me`."""
    return [
        Worker(index, [sys.executable, "-c", f"me = {index}\n{textwrap.dedent(script)}"], {})
        for index, script in enumerate(scripts)
    ]


def alive(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


# What is heard of them


def test_stderr_is_passed_on_by_line_and_stdout_of_the_first_is_kept(capsys):
    script = """
        import sys
        print(f"folder {me}")
        sys.stderr.buffer.write(b"one\\ntw\\xffo\\n\\nthree")
    """
    outcome = run_workers(workers(script, script))
    assert outcome == JobResult("folder 0\n")
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    for index in (0, 1):
        mine = [line for line in lines if line.startswith(f"[{index}] ")]
        assert mine == [f"[{index}] one", f"[{index}] tw\ufffdo", f"[{index}] ", f"[{index}] three"]
    assert len(lines) == 8


def test_stderr_is_passed_on_as_it_comes(tmp_path):
    # The first worker ends only after its line was seen here.
    script = f"""
        import pathlib, sys, time
        print("waiting", file=sys.stderr, flush=True)
        while not pathlib.Path({str(tmp_path / "seen")!r}).exists():
            time.sleep(0.02)
    """
    program = (
        "import sys\nfrom common.commands.process_supervisor import Worker, run_workers\n"
        f"sys.exit(run_workers([Worker(0, [sys.executable, '-c', {textwrap.dedent(script)!r}], {{}})]).status)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "[0] waiting\n"
        (tmp_path / "seen").touch()
    assert process.returncode == 0


def test_workers_have_their_environment_and_ours(monkeypatch):
    monkeypatch.setenv("OURS", "ours")
    script = "import os; print(os.environ['OURS'], os.environ['OWN'], os.getsid(0) == os.getpid())"
    outcome = run_workers([Worker(0, [sys.executable, "-c", script], {"OWN": "own"})])
    assert outcome.stdout == "ours own True\n"


# How they end


def test_the_first_failure_ends_the_others_and_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(process_supervisor, "SETTLE", 0.5)
    fails_soon = f"""
        import pathlib, sys, time
        while not pathlib.Path({str(tmp_path / "pid")!r}).exists():
            time.sleep(0.02)
        for number in range(7):
            print(f"line {{number}}", file=sys.stderr)
        sys.exit(3)
    """
    sleeps = f"""
        import os, pathlib
        pathlib.Path({str(tmp_path / "new")!r}).write_text(str(os.getpid()))
        os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pid")!r})
        {SLEEP}
    """
    outcome = run_workers(workers(sleeps, fails_soon))
    assert outcome == JobResult("", 1, 3, ("line 2", "line 3", "line 4", "line 5", "line 6"))
    assert outcome.reason == "worker 1 failed with exit status 3"
    assert not alive((tmp_path / "pid").read_text())


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process_supervisor, "SETTLE", 0.5)
    monkeypatch.setattr(process_supervisor, "GRACE", 0.5)
    ready = tmp_path / "ready"
    stubborn = f"""
        import os, pathlib, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: print("no", file=sys.stderr, flush=True))
        pathlib.Path({str(ready)!r}).write_text(str(os.getpid()))
        while True:
            signal.pause()
    """
    waits = f"""
        import pathlib, sys, time
        while not (pathlib.Path({str(ready)!r}).exists() and pathlib.Path({str(ready)!r}).read_text()):
            time.sleep(0.02)
        sys.exit(1)
    """
    outcome = run_workers(workers(waits, stubborn))
    assert (outcome.failed_worker, outcome.status) == (0, 1)
    assert not alive(ready.read_text())


KILLED = "import os, time; time.sleep(0.4); os.kill(os.getpid(), 9)"
LOSES = f"raise SystemExit({LOST})"


@pytest.mark.parametrize(
    ("scripts", "blamed", "reason"),
    [
        ((LOSES, "raise SystemExit(1)", KILLED), 2, "worker 2 was killed by signal 9 (SIGKILL)"),
        ((LOSES, "import time; time.sleep(0.4); exit(4)"), 1, "worker 1 failed with exit status 4"),
        (("pass", LOSES), 1, "worker 1 lost its connection to the others (exit status 75)"),
        (("pass", "raise SystemExit(1)"), 1, "worker 1 failed with exit status 1"),
    ],
)
def test_the_worker_that_made_the_others_fail_is_blamed(scripts, blamed, reason, monkeypatch):
    monkeypatch.setattr(process_supervisor, "SETTLE", 60)
    outcome = run_workers(workers(*scripts))
    assert outcome.failed_worker == blamed
    assert outcome.reason == reason


def test_a_program_that_cannot_be_started_leaves_no_worker(tmp_path):
    missing = str(tmp_path / "nothing")
    program = f"""
        import os, sys
        from common.commands.process_supervisor import Worker, run_workers
        try:
            run_workers([Worker(0, [sys.executable, "-c", {SLEEP!r}], {{}}), Worker(1, [{missing!r}], {{}})])
        except FileNotFoundError:
            print("not started")
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("none left")
    """
    line = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "not started\nnone left\n"


# Restarts


def once(tmp_path, first):
    """A script that does something only the first time that it is run."""
    marker = str(tmp_path / "marker")
    return f"""
        import os, pathlib, signal, sys, time
        if not pathlib.Path({marker!r}).exists():
            pathlib.Path({marker!r}).touch()
            {first}
        print("done")
    """


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "worker 0 was killed by signal 9 (SIGKILL)"),
        (f"sys.exit({LOST})", "worker 0 lost its connection to the others (exit status 75)"),
    ],
)
def test_workers_are_started_anew_after_one_was_killed_or_lost(tmp_path, capsys, first, reason):
    started = []

    def start():
        started.append(find_free_addresses(1))
        return workers(once(tmp_path, first), "pass")

    assert run_with_restarts(start, 2) == JobResult("done\n")
    assert capsys.readouterr().err == f"Restart 1 of 2: {reason}.\n"
    assert len(started) == 2


def test_restarts_have_an_end(capsys):
    outcome = run_with_restarts(lambda: workers(KILLED), 2)
    assert (outcome.failed_worker, outcome.status) == (0, -9)
    reason = "worker 0 was killed by signal 9 (SIGKILL)"
    assert capsys.readouterr().err == f"Restart 1 of 2: {reason}.\nRestart 2 of 2: {reason}.\n"


def test_a_failure_of_its_own_is_no_reason_to_start_anew(tmp_path, capsys):
    outcome = run_with_restarts(lambda: workers(once(tmp_path, "sys.exit(1)")), 2)
    assert outcome == JobResult("", 0, 1)
    assert capsys.readouterr().err == ""
