"""Processes that work together: started, listened to and ended as one."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from common.errors import LOST
from common.runtime.console import print_status
from common.runtime.signals import handle_stop_signals

SETTLE = 2.0  # seconds in which the others' failures may turn out to be the cause of the first one that was seen
GRACE = 10.0  # seconds from SIGTERM to SIGKILL
PAUSE = 0.05  # seconds between two looks at the processes
QUOTED = 5  # lines of a failed worker that are kept
PR_SET_PDEATHSIG = 1  # sys/prctl.h of Linux


@dataclass(frozen=True)
class Worker:
    """One process of a run.

    Args:
      index: its place in the cluster.
      words: its command.
      environment: what is added to ours.
    """

    index: int
    command: Sequence[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class JobResult:
    """How the workers ended.

    Args:
      printed: what worker 0 wrote to stdout.
      blamed: which one made the others fail; None if all succeeded.
      status: its exit status; minus the signal's number if one killed it.
      lines: its last ones on stderr.
      stopped: somebody asked for the end.
    """

    stdout: str
    failed_worker: int | None = None
    status: int = 0
    last_stderr_lines: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def reason(self) -> str:
        """What became of the blamed worker, without a full stop."""
        if self.status < 0:
            names = {number.value: f" ({number.name})" for number in signal.Signals}
            return f"worker {self.failed_worker} was killed by signal {-self.status}{names.get(-self.status, '')}"
        if self.status == LOST:
            return f"worker {self.failed_worker} lost its connection to the others (exit status {LOST})"
        return f"worker {self.failed_worker} failed with exit status {self.status}"


_writing = threading.Lock()


def _say_whole_line(line: str) -> None:
    """Says a whole line among those of other threads; nobody may be left to read it."""
    with _writing, suppress(OSError):
        print_status(line)


def _make_parent_death_handler() -> Callable[[], None] | None:
    """What a new process does first so that it ends when its launcher does, even by SIGKILL; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # another C library
        return None
    launcher = os.getpid()

    def end_with_launcher() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:  # it was gone before we asked
            os._exit(1)

    return end_with_launcher


class _Child:
    """A started worker. Its session is its own, so that Ctrl-C of a terminal reaches the launcher alone."""

    def __init__(self, worker: Worker):
        self.index = worker.index
        self.process = subprocess.Popen(
            worker.command,
            env={**os.environ, **worker.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if worker.index else subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_make_parent_death_handler(),
        )
        self.lines: deque[str] = deque(maxlen=QUOTED)
        self.printed: list[str] = []
        self.threads: list[threading.Thread] = []

    def listen(self) -> None:
        for stream, take in ((self.process.stderr, self._pass_on_line), (self.process.stdout, self.printed.append)):
            if stream is not None:
                self.threads.append(threading.Thread(target=_read_lines, args=(stream, take), daemon=True))
                self.threads[-1].start()

    def _pass_on_line(self, line: str) -> None:
        line = line.rstrip("\r\n")
        if line.strip():
            self.lines.append(line)
        _say_whole_line(f"[{self.index}] {line}")

    def close(self) -> None:
        """End it if it has not ended, and hear the last of it."""
        self.process.kill()
        self.process.wait()
        for thread in self.threads:  # not for ever: a process that it left behind may hold the stream open
            thread.join(SETTLE)


def _read_lines(stream: IO[bytes], take: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            take(line.decode("utf-8", "replace"))


class _Job:
    """Workers under watch.

    Args:
      children: the workers.
      caught: grows with each signal that asks the launcher to stop.
    """

    def __init__(self, children: Sequence[_Child], caught: Sequence[int]):
        self.children, self.caught, self.passed_on = children, caught, 0

    def has_ended(self) -> bool:
        return all(child.process.poll() is not None for child in self.children)

    def list_failed(self) -> list[_Child]:
        return [child for child in self.children if child.process.poll()]

    def send(self, number: int) -> None:
        for child in self.children:
            child.process.send_signal(number)  # does nothing to one that has ended

    def wait(self, done: Callable[[], object], seconds: float = math.inf) -> None:
        """Wait until it is done or so much time is over; what asks for the end meanwhile is passed on.

        The first two times as Ctrl-C, after which a run leaves a checkpoint or stops at once; then by killing.
        """
        last = time.monotonic() + seconds
        while not done() and time.monotonic() < last:
            while self.passed_on < len(self.caught):
                self.passed_on += 1
                self.send(signal.SIGINT if self.passed_on < 3 else signal.SIGKILL)
                if self.passed_on == 2:
                    _say_whole_line("Stopping at once; again to kill the workers.")
            time.sleep(PAUSE)

    def watch(self) -> _Child | None:
        """Return the worker to blame when all have ended, or None; the first that fails is the end of the others."""
        self.wait(lambda: self.has_ended() or self.list_failed())
        blamed = None
        if not self.caught and self.list_failed():
            self.wait(self.has_ended, SETTLE)
            blamed = min(self.list_failed(), key=_rank_innocence)
            self.send(signal.SIGTERM)
            self.wait(self.has_ended, GRACE)
            self.send(signal.SIGKILL)
        self.wait(self.has_ended)
        return blamed or min(self.list_failed(), key=_rank_innocence, default=None)


def _rank_innocence(child: _Child) -> int:
    """Those that a signal killed come first: the others fail because of them, and those that lost them say so."""
    status = child.process.returncode
    return 0 if status < 0 else 2 if status == LOST else 1


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Within the block Ctrl-C and SIGTERM only fill the list."""
    caught: list[int] = []
    with handle_stop_signals(lambda number, frame: caught.append(number)):
        yield caught


def run_workers(workers: Sequence[Worker]) -> JobResult:
    """Run the workers to their end; return how they ended, none of which is left.

    Each line of theirs on stderr is passed on with the worker's index; of what they write to stdout worker 0's is kept.
    """
    children: list[_Child] = []
    with _catch_signals() as caught:  # before they start, since a signal that we ignored would be ignored by them too
        try:
            for worker in workers:
                children.append(_Child(worker))
            for child in children:  # after all forks, at which there had better be one thread only
                child.listen()
            blamed = _Job(children, caught).watch()
        finally:
            for child in children:
                child.close()
    printed = "".join(line for child in children for line in child.printed)
    if blamed is None:
        return JobResult(printed)
    return JobResult(printed, blamed.index, blamed.process.returncode, tuple(blamed.lines), bool(caught))
