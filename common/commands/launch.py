"""A run as several processes that train together, on this machine or one on each of several.

Pure Python: the processes import TensorFlow, their launcher never does. Each learns from TF_CONFIG who the others are,
exits with status 0 when all is done, and with LOST when it cannot go on because another one is gone.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from common import PROJECT_ROOT
from common.commands.gpus import list_driver_gpus
from common.commands.process_supervisor import LOST, JobResult, Worker, run_workers
from common.errors import ConfigError, Interrupted, RunError
from common.runtime.console import print_status
from common.runtime.parallel import available_cpus

PROGRAM = PROJECT_ROOT / "cli.py"
USAGE = 2  # exit status of a command that was typed wrongly
# Seconds before a restart among several machines: what of the old job runs on another one notices in about ten, and
# until then would take in a worker of the new one, and lose it.
PAUSE = 20


def make_tf_config(addresses: Sequence[str], index: int) -> str:
    """Return TF_CONFIG of one worker.

    >>> make_tf_config(["a:2222", "b:2222"], 1)
    '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 1}}'
    """
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}})


def find_free_addresses(count: int) -> list[str]:
    """Find so many addresses of this machine on which nothing listens, no two alike."""
    with ExitStack() as held:  # all at once, else one port might be found twice
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{bound.getsockname()[1]}" for bound in sockets]


def parse_hosts(text: str) -> list[str]:
    """Return the addresses of --hosts.

    Raises:
      ConfigError: one is not HOST:PORT, or stands there twice.

    >>> parse_hosts("a:2222, [::1]:2223")
    ['a:2222', '[::1]:2223']
    """
    addresses = [address.strip() for address in text.split(",")]
    seen = set()
    for address in addresses:
        host, _, port = address.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", " ")
        valid = port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535
        if not valid or not bare or bare.split() != [bare]:
            raise ConfigError(
                f'--hosts: "{address}" is not HOST:PORT with a port from 1 to 65535. Give every machine\'s, separated'
                " by commas, such as a:2222,b:2222."
            )
        if (host.lower(), int(port)) in seen:
            raise ConfigError(f"--hosts: {address} stands there twice. Give each machine once.")
        seen.add((host.lower(), int(port)))
    return addresses


def list_visible_gpus() -> list[str]:
    """Return the GPUs that a process started now may use, as CUDA_VISIBLE_DEVICES names them."""
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is not None:
        names = (name.strip() for name in variable.split(","))
        return list(takewhile(lambda name: name not in ("", "-1"), names))
    return [str(number) for number in range(len(list_driver_gpus()))]


def split_gpus(gpus: Sequence[str], workers: int) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES of each worker: equal shares, of GPUs that are neighbours.

    Raises:
      ConfigError: there are GPUs, but not for every worker.

    >>> split_gpus(["0", "1", "2", "3", "4"], 2)
    ['0,1', '2,3']
    """
    share = len(gpus) // workers
    if gpus and not share:
        raise ConfigError(
            f"{workers} workers need a GPU each, but there are {len(gpus)} in all. Give --workers {len(gpus)}, or hide"
            ' the GPUs by CUDA_VISIBLE_DEVICES="" to train on the processors.'
        )
    return [",".join(gpus[index * share : (index + 1) * share]) for index in range(workers)]


def make_worker_environments(workers: int) -> list[dict[str, str]]:
    """Return what each of the workers on this machine is told of its processors and GPUs.

    Raises:
      ConfigError: there are GPUs, but not for every worker.
    """
    threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, available_cpus() // workers))}
    if workers == 1 or "TF_NUM_INTRAOP_THREADS" in os.environ:
        threads = {}
    gpus = list_visible_gpus()
    return [
        {**threads, **({"CUDA_VISIBLE_DEVICES": own_gpus} if gpus else {})} for own_gpus in split_gpus(gpus, workers)
    ]


# The command


def run_with_restarts(start: Callable[[], Sequence[Worker]], max_restarts: int, pause: float = 0) -> JobResult:
    """Run workers, all anew after one was killed or lost the others, but not for ever; return how they ended at last.

    Args:
      start: gives the workers, whose free ports may differ each time.
      max_restarts: at most so many times.
      pause: seconds before each.
    """
    outcome = run_workers(start())
    for number in range(1, max_restarts + 1):
        if outcome.stopped or not (outcome.status < 0 or outcome.status == LOST):
            break
        print_status(f"Restart {number} of {max_restarts}{f' in {pause:g} s' if pause else ''}: {outcome.reason}.")
        time.sleep(pause)
        outcome = run_workers(start())
    return outcome


def make_resume_args(words: Sequence[str], path: Path) -> list[str]:
    """Return the words of a run, made to go on with what is in the folder.

    >>> make_resume_args(["ner", "--epochs", "3", "--run-dir", "a"], Path("b"))
    ['ner', '--resume', 'b', '--epochs', '3']
    """
    others: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if word in ("--run-dir", "--resume"):
            next(rest, None)
        elif not word.startswith(("--run-dir=", "--resume=")):
            others.append(word)
    return [words[0], "--resume", str(path), *others]


def _check_options(
    workers: int | None, hosts: str | None, worker_index: int | None, max_restarts: int, path: Path | None
) -> None:
    if os.environ.get("TF_CONFIG"):
        raise ConfigError(
            "TF_CONFIG is set in the environment, and a run knows its cluster from it. Leave launch out and start"
            " the run itself, or unset TF_CONFIG."
        )
    if (workers is None) == (hosts is None):
        both = "Both --workers and --hosts are" if workers else "Neither --workers nor --hosts is"
        raise ConfigError(
            f"{both} given. Give --workers N for N processes on this machine, or --hosts A:PORT,B:PORT and"
            " --worker-index I on each of several machines."
        )
    if hosts is None:
        if worker_index is not None:
            raise ConfigError("--worker-index tells which of --hosts this machine is. Leave it out with --workers.")
        return
    count = len(parse_hosts(hosts))
    if worker_index is None or not 0 <= worker_index < count:
        problem = "is not given" if worker_index is None else f"is {worker_index}"
        raise ConfigError(
            f"--worker-index {problem}. Give this machine's place in --hosts, which are {count}: from 0 to {count - 1}."
        )
    if max_restarts and path is None:
        raise ConfigError(
            "--max-restarts needs a folder that all machines know, to go on from. Give --run-dir or --resume after run."
        )


def launch(
    words: Sequence[str],
    workers: int | None,
    hosts: str | None,
    worker_index: int | None,
    max_restarts: int,
    path: Path | None,
) -> str:
    """Return what the first worker printed: the run's folder; empty where it is on another machine.

    Args:
      words: what follows `run` on the command line, known to be right.
      workers: so many processes on this machine, or
      hosts: the addresses of one process on each of several machines, and
      worker_index: which of them this machine is.
      max_restarts: how often all may be started anew.
      path: the run's folder, if the words name it.

    Raises:
      ConfigError: the options do not go together, or do not fit the environment.
      RunError: a worker failed.
      Interrupted: by Ctrl-C or SIGTERM.
    """
    _check_options(workers, hosts, worker_index, max_restarts, path)
    command = ["python", "cli.py", "launch", *(["--max-restarts", str(max_restarts)] if max_restarts else [])]
    if hosts is not None and worker_index is not None:
        command += ["--hosts", hosts, "--worker-index", str(worker_index)]
        environments: dict[int, dict[str, str]] = {worker_index: {}}
    else:
        command += ["--workers", str(workers)]
        environments = dict(enumerate(make_worker_environments(workers or 1)))
        if path is None:
            from common.runtime.run_dir import make_run_path  # imports NumPy

            path = make_run_path(words[0], datetime.now())
            words = [words[0], "--run-dir", str(path), *words[1:]]
    outcome = run_with_restarts(_make_starter(words, hosts, environments), max_restarts, 0 if hosts is None else PAUSE)
    if outcome.failed_worker is None:
        return outcome.stdout
    go_on = f" Go on with: {shlex.join([*command, 'run', *make_resume_args(words, path)])}" if path else ""
    raise _make_error(outcome, path, go_on)


def _make_starter(
    words: Sequence[str], hosts: str | None, environments: Mapping[int, dict[str, str]]
) -> Callable[[], list[Worker]]:
    """What gives the workers, at free addresses of this machine where there are no hosts.

    Args:
      environments: by the workers' indices, beside their cluster.
    """
    command = [sys.executable, str(PROGRAM), "run", *words]

    def start() -> list[Worker]:
        addresses = parse_hosts(hosts) if hosts is not None else find_free_addresses(len(environments))
        return [
            Worker(index, command, {**environment, "TF_CONFIG": make_tf_config(addresses, index)})
            for index, environment in environments.items()
        ]

    return start


def _make_error(outcome: JobResult, path: Path | None, go_on: str) -> Exception:
    """The error that tells how a job failed, whose last lines are quoted.

    Args:
      path: the run's folder, if it is known.
      go_on: a sentence on how to resume, where there is something to resume from.
    """
    if outcome.stopped:
        return Interrupted("Stopped." + (go_on if path and (path / "config.json").exists() else ""))
    sentence = outcome.reason[0].upper() + outcome.reason[1:]
    if outcome.last_stderr_lines:
        print_status("\n  ".join([f"The last lines of worker {outcome.failed_worker}:", *outcome.last_stderr_lines]))
        sentence += "; its last lines are quoted above"
    if outcome.status == USAGE:
        return ConfigError(f"{sentence}.")
    return RunError(f"{sentence}." + (go_on if path and (path / "checkpoint.npz").exists() else ""))
