"""The IDX files of MNIST: pairs, parts, and what is wrong with a file."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from common.config import RunConfig
from common.data.readers.image_sources import open_image_source
from common.errors import DataError
from common.types import Field
from tests.helpers.made_images import idx, made

FIELDS = (Field("image", "image"), Field("label", "label"))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
IMAGES, LABELS = idx(PIXELS), idx([7, 0, 9])


def found(spec, **settings):
    return open_image_source(str(spec), FIELDS, RunConfig(**settings))


def all_of(source):
    """Pixels [count, height, width] and labels."""
    examples = list(source)
    shown = [tf.io.decode_png(one["image"]).numpy()[:, :, 0] for one in examples]
    return np.array(shown), [one["label"] for one in examples]


def fails(spec):
    """What is wrong, found when the data is opened or when it is read."""
    with pytest.raises(DataError) as error:
        for source in found(spec).splits.values():
            list(source)
    return str(error.value)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pair_in_either_order_or_the_images_alone(tmp_path, packed):
    pack, end = (gzip.compress, ".gz") if packed else (bytes, "")
    names = f"train-images-idx3-ubyte{end}", f"train-labels-idx1-ubyte{end}"
    made(tmp_path, {names[0]: pack(IMAGES), names[1]: pack(LABELS)})
    paths = [str(tmp_path / name) for name in names]
    prints = set()
    for spec in (",".join(paths), ",".join(paths[::-1]), paths[0]):
        one = found(spec)
        shown, labels = all_of(one.splits[""])
        assert np.array_equal(shown, PIXELS) and labels == ["7", "0", "9"]
        assert one.descriptions == (f"{names[0]}, {names[1]}: 3 IDX images of 5 x 4",)
        prints.add(one.fingerprint)
    assert len(prints) == 1


def test_a_folder_of_pairs_has_parts(tmp_path):
    made(tmp_path, {"train-images.idx3-ubyte": IMAGES, "train-labels.idx1-ubyte": LABELS})
    made(
        tmp_path, {"t10k-images-idx3-ubyte.gz": gzip.compress(IMAGES), "t10k-labels-idx1-ubyte": LABELS, "readme": "x"}
    )
    parts = found(tmp_path).splits
    assert {part: all_of(source)[1] for part, source in parts.items()} == {"test": [*"709"], "train": [*"709"]}


def test_names_without_a_part_have_none(tmp_path):
    made(tmp_path, {"images-idx3-ubyte": IMAGES, "labels-idx1-ubyte": LABELS})
    assert list(found(tmp_path).splits) == [""]


def test_labels_can_have_names(tmp_path):
    made(tmp_path, {"images-idx3-ubyte": IMAGES, "labels-idx1-ubyte": LABELS})
    names = made(tmp_path, {"names": "0\tshirt\n7\tbag\n9\tboot\n"}) / "names"
    source = found(tmp_path / "images-idx3-ubyte", label_names=str(names)).splits[""]
    assert all_of(source)[1] == ["bag", "shirt", "boot"]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, idx([1, 2]), "{a} holds 3 images, but {b} 2 labels: copy or download both again."),
        (IMAGES[:-1], LABELS, "{a} holds less than the 3 that its head and that of b say"),
        (IMAGES + b"\0", LABELS, "{a} holds more than the 3 that its head and that of b say"),
        (IMAGES, LABELS[:-1], "{b} holds less than the 3 that its head and that of a say"),
        (IMAGES, LABELS + b"\0", "{b} holds more than the 3 that its head and that of a say"),
        (IMAGES, IMAGES, "{a} holds images and {b} holds images: give an IDX file of images and one of labels."),
        (IMAGES, b"1\n2\n3\n", "{a} holds images and {b} is no IDX file (it begins with 310a320a)"),
        (IMAGES, b"", "{a} holds images and {b} is empty"),
        (IMAGES[:10], LABELS, "{a} with {b} holds 3 images of 0 x 0 pixels"),
        (idx(np.zeros([0, 4, 5])), idx([]), "{a} with {b} holds 0 images of 5 x 4 pixels"),
        (IMAGES[:8] + b"\x7f\xff\xff\xff" * 2, LABELS, "holds 3 images of 2,147,483,647 x 2,147,483,647 pixels"),
        (gzip.compress(IMAGES, mtime=0)[:-9], LABELS, "{a} is damaged ("),
        (IMAGES, gzip.compress(LABELS, mtime=0)[:-9], "{b} is damaged ("),
    ],
)
def test_files_that_do_not_belong_together_are_named_both(tmp_path, images, labels, message):
    made(tmp_path, {"a": images, "b": labels})
    a, b = tmp_path / "a", tmp_path / "b"
    assert message.format(a=a, b=b) in fails(f"{a},{b}")


def test_files_that_are_missing_are_named(tmp_path):
    made(tmp_path, {"train-images-idx3-ubyte": IMAGES, "labels": LABELS})
    path = tmp_path / "train-images-idx3-ubyte"
    assert "needs a file of labels beside it, train-labels-idx1-ubyte" in fails(path)
    assert "does not exist" in fails(f"{path},{tmp_path / 'none'}")
    assert "3 files are joined by commas, where IDX files come in pairs" in fails(f"{path},{path},{path}")
    assert "needs a file" in fails(tmp_path / "labels")
