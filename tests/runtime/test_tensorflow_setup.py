"""TensorFlow's import: silent, without packages that only Keras's extras want, and with freed memory kept."""

import os
import subprocess
import sys

import pytest

from common import PROJECT_ROOT as ROOT

CODE = """
import sys

from common.runtime.tensorflow_setup import import_tensorflow
tf = import_tensorflow()
print(sorted({"sklearn", "matplotlib"} & set(sys.modules)))
import sklearn.metrics, matplotlib.figure
print(int(tf.constant(1) + 1), sklearn.metrics.accuracy_score([1, 0], [1, 1]))
"""

# Two threads that take and free eight megabytes a hundred times each; prints what was set, and the page faults.
PROGRAM = """
import ctypes, resource, sys, threading
from common.runtime.tensorflow_setup import configure_malloc

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
print(configure_malloc())

def use():
    for _ in range(100):
        parts = [library.malloc(2**20) for _ in range(8)]
        for part in parts:
            ctypes.memset(part, 1, 2**20)
        for part in parts:
            library.free(part)

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_import_is_silent_and_leaves_out_what_is_not_needed_but_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["[]", "2 0.5"], "")


# Freed memory, seen by the page faults of a process of its own


def used(**environment):
    """(what configure_malloc returned, page faults)."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is that of Linux")
def test_memory_is_not_given_back_and_taken_anew():
    kept, faults = used()
    assert kept == "True"
    assert faults < 3 * 16 * 2**20 // 4096  # the first use of each page, and little more; not a hundred times


def test_own_settings_of_the_allocator_are_left_alone():
    assert used(MALLOC_ARENA_MAX="2")[0] == "False"
