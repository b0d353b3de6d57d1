"""Public data sets of labelled images, prepared on disk."""

import pytest

from common.config import RunConfig
from common.data import splitting
from common.data.readers import image_bytes
from common.data.readers.image_sources import open_image_source
from common.errors import DataError
from common.types import Field
from tests.helpers.cli_calls import prepared_by

FIELDS = (Field("image", "image", ("picture",)), Field("label", "label"))
BUILDER = """
import io
import sys
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

class Pictures(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["cat", "dog"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 30), "test": self._generate_examples(30, 35)}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            pixels = np.full([4, 5 + number, 3], number, np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            if number == 31:
                file.truncate(file.tell() - 3)
            file.seek(0)
            yield number, {"image": file if number % 2 else pixels, "label": number % 2}

Pictures(data_dir=sys.argv[1]).download_and_prepare()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set."""
    return prepared_by(BUILDER, tmp_path_factory.mktemp("tfds"))


def test_images_are_the_files_that_the_set_was_made_of(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    one = open_image_source("tfds:pictures", FIELDS, RunConfig(offline=True))
    assert set(one.splits) == {"train", "test"}
    assert one.descriptions[0].startswith('tfds:pictures/1.0.0 train; image = "image", label = "label"')
    test = one.splits["test"]
    for _ in range(2):
        examples = list(test)
        kinds = {(image_bytes.sniff_image_format(example["image"]), example["label"]) for example in examples}
        assert kinds == {("PNG", "cat"), ("JPEG", "dog")}
        assert {image_bytes.image_size_and_mode(example["image"])[0] for example in examples} == {35, 37, 38, 39}
        assert [what for _, what in test.row_errors.first] == ["is a broken JPEG file (cut off or damaged)"]
    assert len(list(one.splits["train"])) == 30
    strict = open_image_source("tfds:pictures", FIELDS, RunConfig(offline=True, strict=True))
    with pytest.raises(DataError, match=r"tfds:pictures test:\d is a broken JPEG file"):
        list(strict.splits["test"])


def test_a_part_for_validation_is_split_off(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    splits = splitting.load_splits(
        RunConfig(data=("tfds:pictures",), split="50,50,0"), FIELDS, lambda: None, open_image_source
    )
    assert splits.valid is not None
    sizes = len(list(splits.train)), len(list(splits.valid))
    assert sum(sizes) == 30 and min(sizes) > 0


def test_labels_can_have_other_names(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    (tmp_path / "names").write_text("cat\tKatze\n")
    source = open_image_source(
        "tfds:pictures", FIELDS, RunConfig(offline=True, label_names=str(tmp_path / "names"))
    ).splits["test"]
    assert {example["label"] for example in source} == {"Katze"}
    assert source.row_errors.count == 2
