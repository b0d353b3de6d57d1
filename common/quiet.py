"""TensorFlow without its start-up noise, and with reproducible kernels."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from common.memory import keep_freed_memory


def import_tensorflow(hide_gpus: bool = False) -> Any:
    """The tensorflow module, imported without a word on stderr unless it fails.

    TF_CPP_MIN_LOG_LEVEL alone does not do it: lines logged before the logger is set up go straight to the file
    descriptor, so that is turned aside during the import. Set TF_CPP_MIN_LOG_LEVEL=0 to see all.

    Args:
      hide_gpus: a graph traced with a GPU in sight holds cuDNN kernels that no CPU can run (tensorflow#77442).
    """
    if hide_gpus and "tensorflow" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    keep_freed_memory()
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0" or "tensorflow" in sys.modules:
        return _import()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            return _import()
        except BaseException:
            sys.stderr.flush()
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _without(packages: Sequence[str]) -> Iterator[None]:
    """While it lasts, packages that were not imported yet cannot be."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # which makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _import() -> Any:
    # Keras looks whether these are there, for wrappers and galleries that nothing here uses: 2.8 of 7.4 seconds.
    with _without(("sklearn", "matplotlib")):
        import keras  # noqa: F401  its import is the slow one, and logs too
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    return tf
