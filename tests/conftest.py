"""What all tests share: TensorFlow imported quietly, and the real data beside the checkout where it is."""

from pathlib import Path

import pytest

from common.quiet import import_tensorflow

tf = import_tensorflow()
# Three logical processors, so that replicas can be tried on any machine.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared():
    """The folder of real data sets; a test that needs it skips where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"real data sets are not here ({SHARED})")
    return SHARED


def tiny_texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up reviews whose label a model can learn from one word, no two alike: (text, label)."""
    import numpy as np

    random = np.random.default_rng(seed)
    filler = ["the", "film", "plot", "was", "an", "actor", "scene", "who", "with", "music", "story", "it"]
    rows = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        verdict = {"bad": ["dull", "awful", "boring"], "good": ["great", "fine", "lovely"]}[label]
        words = [*random.choice(filler, random.integers(2, 12)), str(random.choice(verdict)), f"n{number}"]
        random.shuffle(words)
        rows.append((" ".join(words), label))
    return rows
