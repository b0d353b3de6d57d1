"""How the C library keeps freed memory, which decides the speed of training on CPUs."""

from __future__ import annotations

import ctypes
import os
import sys

# Options of mallopt (malloc.h of glibc), and their values.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
SETTINGS = {ARENA_MAX: 1, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28, MMAP_MAX: 0}


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep what is freed for the next training step; whether it did.

    TensorFlow allocates every intermediate tensor anew. By default each thread has an arena of its own, which gives
    memory back to the system as soon as it is free: the next step then takes a page fault for every 4 KiB, which was
    half of all time with two threads. One arena that is never trimmed has none of that; what is lost is that the
    process stays as large as it was at its largest. To be called before any thread is started. Does nothing where
    another allocator is in use, or where the environment sets glibc's.
    """
    own = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(set_option(option, value) for option, value in SETTINGS.items())
