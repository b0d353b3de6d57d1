"""TensorFlow without its start-up noise, with reproducible kernels, in a process that keeps freed memory."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from common import __version__

# Options of glibc's mallopt (malloc.h), and their values.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
SETTINGS = {ARENA_MAX: 1, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28, MMAP_MAX: 0}


def import_tensorflow(hide_gpus: bool = False) -> ModuleType:
    """Import the tensorflow module without a word on stderr unless it fails.

    TF_CPP_MIN_LOG_LEVEL alone does not do it: lines logged before the logger is set up go straight to the file
    descriptor, so that is turned aside during the import. Set TF_CPP_MIN_LOG_LEVEL=0 to see all.

    Args:
      hide_gpus: a graph traced with a GPU in sight holds cuDNN kernels that no CPU can run (tensorflow#77442).
    """
    if hide_gpus and "tensorflow" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    configure_malloc()
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0" or "tensorflow" in sys.modules:
        return _import_quietly()
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            return _import_quietly()
        except BaseException:
            sys.stderr.flush()
            aside.seek(0)
            os.write(stderr, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _hide(packages: Sequence[str]) -> Iterator[None]:
    """While it lasts, packages that were not imported yet cannot be."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # which makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _import_quietly() -> ModuleType:
    # Keras looks whether these are there, for wrappers and galleries that nothing here uses: 2.8 of 7.4 seconds.
    with _hide(("sklearn", "matplotlib")):
        import keras  # noqa: F401  its import is the slow one, and logs too
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    return tf


def library_versions() -> dict[str, str]:
    """Return what a run was made with."""
    import keras
    import numpy as np
    import tensorflow as tf

    libraries = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    return {"kerasserole": __version__, "python": platform.python_version(), **libraries}


def set_seed(value: int) -> None:
    """Start all random numbers, so that a model built next is the same every time."""
    import keras

    keras.utils.set_random_seed(value)


def configure_malloc() -> bool:
    """Tell glibc's allocator to keep what is freed for the next training step; return whether it did.

    TensorFlow allocates every intermediate tensor anew. By default each thread has an arena of its own, which gives
    memory back to the system as soon as it is free: the next step then takes a page fault for every 4 KiB, which was
    half of all time with two threads. One arena that is never trimmed has none of that; what is lost is that the
    process stays as large as it was at its largest. To be called before any thread is started. Does nothing where
    another allocator is in use, or where the environment sets glibc's.
    """
    is_user_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if is_user_set or not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(set_option(option, value) for option, value in SETTINGS.items())
