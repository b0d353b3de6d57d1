"""What asks a process to stop, handled for a while."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


@contextmanager
def handle_stop_signals(handler: Handler) -> Iterator[None]:
    """Send Ctrl-C and SIGTERM within the block to the handler, of the kind that `signal.signal` takes."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous_handler in previous.items():
            signal.signal(number, previous_handler)
