"""What all tests share: TensorFlow imported quietly, and the real data beside the checkout where it is."""

from collections import Counter

import pytest

from common import PROJECT_ROOT as ROOT
from common.runtime.tensorflow_setup import import_tensorflow
from tests.helpers.cli_calls import SMALL, good, prepared_by, tiny_texts, write

tf = import_tensorflow()
# Three logical processors, so that replicas can be tried on any machine.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
)

collect_ignore_glob = ["helpers/*"]  # what tests use; no tests, and a recipe that imports by its own folder


def pytest_collection_modifyitems(items):
    """Files with the most slow tests first, so that no process is left with a long file when the others are done."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """A cache of the tests' own, with the default data of the user's."""
    from common.runtime.user_cache import cache_dir

    data, cache = cache_dir() / "data", tmp_path_factory.mktemp("cache")
    (cache / "kerasserole").mkdir()
    data.mkdir(parents=True, exist_ok=True)
    (cache / "kerasserole" / "data").symlink_to(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache


SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared():
    """The folder of real data sets; a test that needs it skips where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"real data sets are not here ({SHARED})")
    return SHARED


@pytest.fixture(scope="session")
def three_replicas():
    """The strategy that all tests of replicas share: two in one process mix up their collective operations."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A CSV file of 200 made-up reviews."""
    return write(tmp_path_factory.mktemp("data") / "reviews.csv", tiny_texts(200))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, reviews):
    """The folder of a small finished run on them; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "sentiment"
    printed = good("run", "sentiment", "--data", reviews, "--run-dir", folder, *SMALL, "--epochs", "6")
    assert printed.strip() == str(folder)
    return folder


BUILDER = """
import sys
import tensorflow_datasets as tfds

class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"body": tfds.features.Text(), "verdict": tfds.features.ClassLabel(names=["bad", "good"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 60), "test": self._generate_examples(60, 75)}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            yield number, {"body": f"text {number}", "verdict": number % 2}

Tiny(data_dir=sys.argv[1]).download_and_prepare()
"""


@pytest.fixture(scope="session")
def tfds_folder(tmp_path_factory):
    """A prepared data set."""
    return prepared_by(BUILDER, tmp_path_factory.mktemp("tfds"))
