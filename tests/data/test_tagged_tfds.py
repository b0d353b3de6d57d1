"""Public data sets of tagged tokens, prepared on disk."""

import pytest

from common.config import RunConfig
from common.data import splitting
from common.data.loading import open_tagged_source
from common.errors import DataError
from common.types import Field
from tests.helpers.cli_calls import prepared_by

FIELDS = (Field("tokens", "tokens", ("words",)), Field("tags", "tags", ("ner",)))
BUILDER = """
import sys
import tensorflow_datasets as tfds

NAMES = ["O", "B-PER", "I-PER", "B-LOC"]

class Tagged(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "chunks": tfds.features.Sequence(tfds.features.ClassLabel(names=["x", "y"])),
            "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES)),
            "tokens": tfds.features.Sequence(tfds.features.Text()),
            "title": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 60), "test": self._generate_examples(60, 75)}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            ner = ["B-PER", "I-PER", "O"] if number else ["O", "I-PER", "O"]
            yield number, {
                "chunks": ["x"] * 3, "ner": ner, "tokens": ["Zoë", f"n{number}", "ran"] if number != 61 else ["a"],
                "title": "t",
            }

Tagged(data_dir=sys.argv[1]).download_and_prepare()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set."""
    return prepared_by(BUILDER, tmp_path_factory.mktemp("tfds"))


@pytest.fixture(autouse=True)
def prepared(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))


def own():
    raise AssertionError("data was given")


def splits(fields=FIELDS, **settings):
    return splitting.load_splits(
        RunConfig(data=("tfds:tagged",), offline=True, split="100,0,0", **settings), fields, own, open_tagged_source
    )


def test_sequences_of_tokens_and_tags_are_read():
    found = splits()
    train = {one["tokens"][1]: one for one in found.train}
    assert len(train) == 60
    assert train["n7"] == {"text": "Zoë n7 ran", "tokens": ["Zoë", "n7", "ran"], "tags": ["B-PER", "I-PER", "O"]}
    assert train["n0"]["tags"] == ["O", "B-PER", "O"]
    assert found.test is not None and len(list(found.test)) == 14
    assert [line.rpartition(" has ")[2] for line in found.test.row_errors.first_errors()] == ["1 tokens, but 3 tags"]
    (note,) = found.descriptions
    assert note.startswith('tfds:tagged/1.0.0; tokens = "tokens", tags = "ner"; train, scheme IOB2, 1 illegal tag')
    assert note.endswith("; test, scheme IOB2")


def test_features_are_named_by_the_user():
    found = splits(column=("tags=chunks",))
    assert next(iter(found.train))["tags"] == ["B-x", "I-x", "I-x"]
    with pytest.raises(DataError, match="which feature is the tags"):
        splits((FIELDS[0], Field("tags", "tags")))


def test_types_are_renamed_and_strictness_is_kept(tmp_path):
    (tmp_path / "names.txt").write_text("PER\tperson\n")
    found = splits(label_names=str(tmp_path / "names.txt"))
    assert {tag for one in found.train for tag in one["tags"]} == {"O", "B-person", "I-person"}
    with pytest.raises(DataError, match="1 tokens, but 3 tags"):
        list(splits(strict=True).test)
