"""What asks a process to stop, handled for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def handled(handler: Any) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM go to the handler, of the kind that `signal.signal` takes."""
    kept = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
