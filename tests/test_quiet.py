"""TensorFlow's import: silent, and without packages that only Keras's extras want."""

import subprocess
import sys

from conftest import ROOT

CODE = """
import sys
from common.quiet import import_tensorflow
tf = import_tensorflow()
print(sorted({"sklearn", "matplotlib"} & set(sys.modules)))
import sklearn.metrics, matplotlib.figure
print(int(tf.constant(1) + 1), sklearn.metrics.accuracy_score([1, 0], [1, 1]))
"""


def test_import_is_silent_and_leaves_out_what_is_not_needed_but_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["[]", "2 0.5"], "")
