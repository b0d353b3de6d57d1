"""Folders, tables and archives of labelled images: what is read, in which order, and what is told of the rest."""

import io
import os
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.config import RunConfig
from common.data import splitting
from common.data.readers import archives, image_bytes
from common.data.readers.image_sources import open_image_source, open_image_table
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.user_cache import cache_dir
from common.types import Field
from tests.helpers.made_images import idx, made, picture, raw_png, written

IMAGE = Field("image", "image", ("path", "file", "filename", "file_name", "image_path", "img", "image_file"))
FIELDS = (IMAGE, Field("label", "label", ("class", "category", "target", "y")))
ONE, TWO, THREE = (picture(seed=seed) for seed in range(3))
SMALL = {"cats/1.png": ONE, "cats/2.png": TWO, "dogs/3.png": THREE}


def found(path, **settings):
    return open_image_source(str(path), FIELDS, RunConfig(**settings))


def pairs(source):
    return [(example["image"], example["label"]) for example in source]


def all_of(path, **settings):
    return {part: pairs(source) for part, source in found(path, **settings).splits.items()}


# Folders


def test_sub_folders_are_labels_and_images_may_lie_deeper(tmp_path):
    files = {"dogs/b/2.png": TWO, "dogs/a/9.png": ONE, "dogs/c.png": THREE, "cats/1": ONE, "cats/.hidden": TWO}
    made(tmp_path, files | {"cats/Thumbs.db": "x", "__MACOSX/cats/1.png": "x", ".git/a": "x", "README": "x"})
    assert all_of(tmp_path) == {"": [(ONE, "cats"), (ONE, "dogs"), (TWO, "dogs"), (THREE, "dogs")]}
    assert found(tmp_path).descriptions == (f"{tmp_path}: a folder of images for each label: cats, dogs",)


def test_parts_have_the_usual_names(tmp_path):
    made(tmp_path, {"Train/a/1.png": ONE, "val/a/2.png": TWO, "test/b/3.png": THREE, "test/4.png": ONE})
    assert all_of(tmp_path) == {"test": [(THREE, "b")], "train": [(ONE, "a")], "valid": [(TWO, "a")]}
    assert "1 image beside the folders left out, as they have no label" in found(tmp_path).descriptions[1]


def test_a_label_may_have_the_name_of_a_part(tmp_path):
    made(tmp_path, {"train/1.png": ONE, "bus/2.png": TWO})
    assert all_of(tmp_path) == {"": [(TWO, "bus"), (ONE, "train")]}


def test_bytes_decide_and_not_the_suffix(tmp_path):
    made(tmp_path, {"a/1.jpg": ONE, "a/2.dat": picture("JPEG"), "a/3.png": picture("WEBP"), "a/4.png": "text"})
    source = found(tmp_path).splits[""]
    assert [image_bytes.sniff_image_format(example["image"]) for example in source] == ["PNG", "JPEG", "PNG"]
    assert source.row_errors.first_errors() == ["a/4.png is no image"]


def test_names_may_be_in_any_script(tmp_path):
    made(tmp_path, {"猫/картинка 1.png": ONE, "ñandú/é.png": TWO})
    assert all_of(tmp_path) == {"": [(TWO, "ñandú"), (ONE, "猫")]}


def test_files_that_cannot_be_used_are_told_in_every_pass(tmp_path):
    bomb = raw_png(100_000, 100_000, 8, 2, b"")
    files = {"a/1.png": "", "a/2.jpg": picture("JPEG")[:-20], "a/3.png": bomb, "a/4.txt": ONE, "a/5.png": ONE}
    made(tmp_path, files)
    (tmp_path / "a" / "6.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "a" / "7.png")
    source = found(tmp_path).splits[""]
    for _ in range(2):
        assert pairs(source) == [(ONE, "a")]
        assert source.row_errors.first_errors() == [
            "a/1.png is empty",
            "a/2.jpg is a broken JPEG file (cut off or damaged)",
            "a/3.png is too large, for it holds over 100,000,000 pixels",
            "a/4.txt is no image",
            "a/6.png is not there",
            "a/7.png is a pipe or device",
        ]
    with pytest.raises(DataError, match=r"a/1.png is empty. Mend the row"):
        pairs(found(tmp_path, strict=True).splits[""])


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    made(tmp_path, {"far/1.png": ONE, "data/a/2.png": TWO})
    (tmp_path / "data" / "b").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "far")
    assert all_of(tmp_path / "data") == {"": [(TWO, "a"), (ONE, "b")]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.png": ONE}, "has no folder of images for each label: name another, or a table of paths and labels."),
        ({"train/1.png": ONE, "test/2.png": ONE}, "/test has no folder of images for each label"),
        ({"a/.hidden": ONE}, "hold no files: name another folder, or one of them."),
        ({"val/a/1.png": ONE, "dev/a/1.png": ONE}, "has two folders of its valid part, dev and val"),
    ],
)
def test_a_folder_of_another_kind_is_an_error(tmp_path, files, message):
    with pytest.raises(DataError) as error:
        found(made(tmp_path, files))
    assert message in str(error.value)


def test_a_single_image_is_an_error(tmp_path):
    made(tmp_path, {"1.png": ONE, "2.webp": picture("WEBP")})
    for name in ("1.png", "2.webp", "*.png"):
        with pytest.raises(DataError, match="is one image: name a folder that has a folder of images for each label"):
            found(tmp_path / name)


def test_the_fingerprint_changes_with_any_byte(tmp_path):
    made(tmp_path, SMALL)
    before = found(tmp_path).fingerprint
    assert found(tmp_path).fingerprint == before
    made(tmp_path, {"cats/1.png": TWO})
    assert found(tmp_path).fingerprint != before


def test_labels_have_other_names_where_the_user_gives_them(tmp_path):
    made(tmp_path, SMALL | {"mice/1.png": ONE})
    made(tmp_path, {"names.tsv": "cats\tKatze\ndogs\tHund\n"}).joinpath("names.tsv").rename(tmp_path.parent / "n.tsv")
    source = found(tmp_path, label_names=str(tmp_path.parent / "n.tsv")).splits[""]
    assert [label for _, label in pairs(source)] == ["Katze", "Katze", "Hund"]
    assert source.row_errors.first_errors() == ['mice/1.png has the label "mice", which --label-names does not name']


def test_copies_of_a_file_are_in_one_part(tmp_path):
    copies = {
        f"{label}/{number}-{copy}.png": picture(seed=number) for number in range(40) for copy, label in enumerate("ab")
    }
    config = RunConfig(data=(str(made(tmp_path, copies)),))
    splits = splitting.load_splits(config, FIELDS, lambda: None, open_image_source)
    parts = [{image for image, _ in pairs(part)} for part in (splits.train, splits.valid, splits.test)]
    assert sum(map(len, parts)) == 40 and min(map(len, parts)) > 0


# Tables


def test_a_table_names_images_from_where_it_stands(tmp_path):
    made(tmp_path, {"img/1.png": ONE, "img/2.png": TWO, "3.png": THREE})
    rows = f"class,file\ncat,img/1.png\ndog,img\\2.png\ncat,{tmp_path / '3.png'}\n"
    made(tmp_path, {"all.csv": rows, "all.jsonl": '{"file": "img/1.png", "label": 3}\n'})
    assert all_of(tmp_path / "all.csv") == {"": [(ONE, "cat"), (TWO, "dog"), (THREE, "cat")]}
    assert found(tmp_path / "all.csv").descriptions == (
        'all.csv: comma-separated, utf-8, header; image = "file", label = "class"',
    )
    assert all_of(tmp_path / "all.jsonl") == {"": [(ONE, "3")]}


def test_a_table_needs_no_header(tmp_path):
    made(tmp_path, SMALL | {"all.tsv": "cats/1.png\ta\ncats/2.png\tb\ndogs/3.png\ta\n"})
    assert all_of(tmp_path / "all.tsv") == {"": [(ONE, "a"), (TWO, "b"), (THREE, "a")]}


def test_rows_that_cannot_be_used_are_told_in_order(tmp_path):
    rows = ["image,label", "a.png,x", "b.png,x", "c.png,x,y", "cats,x", ",x", "cats/1.png,", "d.txt,x", "cats/1.png,y"]
    made(tmp_path, SMALL | {"all.csv": "\n".join(rows), "b.png": "no"})
    source = found(tmp_path / "all.csv").splits[""]
    for _ in range(2):
        assert pairs(source) == [(ONE, "y")]
        assert source.row_errors.first_errors() == [
            "all.csv:2 names a.png, which is not there",
            "all.csv:3 names b.png, which is no image",
            "all.csv:4 has 3 cells where the first row has 2",
            "all.csv:5 names cats, which is a folder",
            "all.csv:6 has no image",
            "all.csv:7 has no label",
            "all.csv:8 names d.txt, which is no image",
        ]
    with pytest.raises(DataError, match=r"all.csv:2 names a.png, which is not there. Mend the row"):
        pairs(found(tmp_path / "all.csv", strict=True).splits[""])


def test_a_table_of_long_texts_names_nothing(tmp_path):
    made(tmp_path, {"all.csv": f"image,label\n{'so long ' * 50},a\nC:\\{'x' * 300}.png,a\nhttps://a.org/1.png,a\n"})
    source = found(tmp_path / "all.csv").splits[""]
    assert pairs(source) == []
    assert all(what.endswith(", which is not there") for _, what in source.row_errors.first)
    assert source.row_errors.count == 3


def test_a_picture_that_ends_in_zeros_is_whole(tmp_path):
    black = written(Image.new("RGB", (8, 8)), "BMP")
    assert all_of(made(tmp_path, {"a/1.bmp": black, "a/2.png": ONE})) == {"": [(black, "a"), (ONE, "a")]}


def test_the_fingerprint_of_a_table_is_that_of_its_images_too(tmp_path):
    made(tmp_path, SMALL | {"all.csv": "image,label\ncats/1.png,a\ngone.png,b\n"})
    before = found(tmp_path / "all.csv").fingerprint
    made(tmp_path, {"cats/1.png": TWO})
    assert found(tmp_path / "all.csv").fingerprint != before


def test_columns_can_be_named(tmp_path):
    made(tmp_path, SMALL | {"all.csv": "where,what,who\ncats/1.png,a,b\n"})
    with pytest.raises(DataError, match="which column is the image"):
        found(tmp_path / "all.csv")
    assert all_of(tmp_path / "all.csv", column=("image=where", "label=who")) == {"": [(ONE, "b")]}
    with pytest.raises(ConfigError, match="no such column"):
        found(tmp_path / "all.csv", column=("image=wo", "label=who"))


def test_a_table_without_labels_can_be_read_for_its_images(tmp_path):
    made(tmp_path, SMALL | {"all.csv": "image,other\ncats/1.png,a\n"})
    one = open_image_table(tmp_path / "all.csv", (IMAGE,), (), None, RowErrors())
    assert list(one.rows()) == [("all.csv:2", {"image": ONE})]


def test_parquet_holds_images_or_their_paths(tmp_path):
    import pyarrow
    from pyarrow import parquet

    made(tmp_path, SMALL)
    names = b'{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    structs = [{"bytes": ONE, "path": None}, {"bytes": None, "path": "cats/2.png"}, None, {"bytes": b"no", "path": ""}]
    columns = {"image": structs, "label": [0, 1, 0, 0]}
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": names})
    parquet.write_table(table, tmp_path / "a.parquet")
    source = found(tmp_path / "a.parquet").splits[""]
    assert pairs(source) == [(ONE, "cat"), (TWO, "dog")]
    assert source.row_errors.first_errors() == ["a.parquet:3 has no image", "a.parquet:4 is no image"]
    for images in ([ONE], ["cats/1.png"]):
        parquet.write_table(pyarrow.table({"img": images, "label": ["x"]}), tmp_path / "b.parquet")
        assert all_of(tmp_path / "b.parquet") == {"": [(ONE, "x")]}
    parquet.write_table(pyarrow.table({"image": [[1, 2]], "label": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="not images: name another by --column image=NAME"):
        found(tmp_path / "c.parquet")


def test_a_folder_with_a_table_is_read_by_it(tmp_path):
    made(tmp_path, {"images/1.png": ONE, "images/2.png": TWO, "metadata.csv": "file_name,label\nimages/1.png,a\n"})
    assert all_of(tmp_path) == {"": [(ONE, "a")]}


def test_a_table_of_other_things_is_passed_over_beside_labels(tmp_path):
    made(tmp_path, SMALL | {"sizes.csv": "width,height,depth\n1,2,3\n"})
    assert len(all_of(tmp_path)[""]) == 3


# Archives


def zipped(path, files, change=None):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            if change:
                change(info)
            file.writestr(info, content)
    return path


def tarred(path, files, mode="w", **attributes):
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(content))
    return path


EXPECTED = [(ONE, "cats"), (TWO, "cats"), (THREE, "dogs")]


def unpacked_folders():
    folder = cache_dir() / "unpacked"
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2", "renamed"])
def test_archives_are_read_as_what_they_hold(tmp_path, name):
    packing = {"gz": "gz", "tgz": "gz", "xz": "xz", "bz2": "bz2"}.get(name.rpartition(".")[2], "")
    nested = {f"pets/{path}": data for path, data in SMALL.items()} | {"__MACOSX/x": b"x"}
    path = zipped(tmp_path / name, nested) if name == "a.zip" else tarred(tmp_path / name, nested, f"w:{packing}")
    assert all_of(path) == {"": EXPECTED}
    assert found(path).descriptions == (f"{path}: a folder of images for each label: cats, dogs",)
    before = unpacked_folders()
    assert all_of(path) == {"": EXPECTED} and unpacked_folders() == before


def test_archives_may_hold_parts_tables_or_idx_files(tmp_path):
    parts = {f"train/{name}": data for name, data in SMALL.items()}
    assert all_of(zipped(tmp_path / "parts.zip", parts)) == {"train": EXPECTED}
    table = SMALL | {"all.csv": b"image,label\ncats/1.png,x\n../../up.png,x\n/etc/hostname,x\n"}
    source = found(zipped(tmp_path / "table.zip", table)).splits[""]
    assert pairs(source) == [(ONE, "x")]
    assert [what for _, what in source.row_errors.first] == [
        "names ../../up.png, which is outside of the archive",
        "names /etc/hostname, which is outside of the archive",
    ]
    files = {"raw/train-images-idx3-ubyte": idx(np.zeros([2, 3, 3])), "raw/train-labels-idx1-ubyte": idx([7, 8])}
    assert [label for _, label in all_of(zipped(tmp_path / "idx.zip", files))["train"]] == ["7", "8"]


def test_a_single_label_is_no_wrapper(tmp_path):
    assert all_of(zipped(tmp_path / "a.zip", {"cats/1.png": ONE})) == {"": [(ONE, "cats")]}


def test_names_in_archives_may_be_in_any_script(tmp_path):
    path = zipped(tmp_path / "a.zip", {"猫/é.png": ONE, "ö/1.png": TWO})
    assert all_of(path) == {"": [(TWO, "ö"), (ONE, "猫")]}
    assert all_of(flagged(path, 0)) == {"": [(TWO, "ö"), (ONE, "猫")]}


def link(info):
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def flagged(path, flags):
    """Sets the flags of every member, in both places where they stand."""
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + at : place + at + 2] = struct.pack("<H", flags)
            place = data.find(mark, place + 1)
    path.write_bytes(data)
    return path


BAD = {
    "a path that leads up": (lambda path: zipped(path, {"../up.png": ONE}), "would be written elsewhere, ../up.png:"),
    "one by a backslash": (lambda path: zipped(path, {"..\\up.png": ONE}), "would be written elsewhere"),
    "an absolute path": (lambda path: tarred(path, {"/tmp/up.png": ONE}), "would be written elsewhere"),
    "a drive": (lambda path: zipped(path, {"C:/up.png": ONE}), "would be written elsewhere"),
    "a link in a zip": (
        lambda path: zipped(path, {"a/1.png": b"/etc/passwd"}, link),
        "holds a link or device, a/1.png",
    ),
    "a link": (
        lambda path: tarred(path, {"a/1.png": b""}, type=tarfile.SYMTYPE, linkname="/etc"),
        "holds a link or device, a/1.png",
    ),
    "a hard link": (
        lambda path: tarred(path, {"a/1.png": b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "holds a link or device",
    ),
    "a device": (lambda path: tarred(path, {"a/1.png": b""}, type=tarfile.CHRTYPE), "holds a link or device"),
    "a pipe": (lambda path: tarred(path, {"a/1.png": b""}, type=tarfile.FIFOTYPE), "holds a link or device"),
    "a password": (lambda path: flagged(zipped(path, {"a/1.png": ONE}), 1), "is encrypted: unpack it"),
    "a file and folder": (
        lambda path: zipped(path, {"a": b"x", "a/1.png": ONE}),
        "a file and a folder of one name",
    ),
}


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


BAD |= {
    "a cut zip": (lambda path: cut(zipped(path, SMALL), 0.5), "is damaged ("),
    "a cut tar": (lambda path: cut(tarred(path, {"a/1.png": ONE * 90}), 0.5), "is damaged ("),
    "a cut tar.gz": (lambda path: cut(tarred(path, SMALL, "w:gz"), 0.7), "is damaged ("),
    "a cut tar.xz": (lambda path: cut(tarred(path, SMALL, "w:xz"), 0.7), "is damaged ("),
    "nothing": (lambda path: zipped(path, {}), "has no folder of images for each label"),
    "another archive": (lambda path: zipped(path, {"a/1.zip": ONE}), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_archives_that_cannot_be_trusted_are_refused(tmp_path, name):
    make, message = BAD[name]
    path, before = make(tmp_path / "bad.zip"), set(unpacked_folders())
    if not message:
        assert all_of(path) == {"": []}
        return
    with pytest.raises(DataError) as error:
        found(path)
    assert message in str(error.value) and str(error.value).count("\n") == 0
    assert str(path) in str(error.value)
    assert not any(one.startswith(".") for one in unpacked_folders())
    assert name == "nothing" or set(unpacked_folders()) == before
    assert not (tmp_path / "up.png").exists()


def test_archives_made_to_fill_the_disk_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/1.png", bytes(100_001))
    # Its head says that it is small.
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 100_001), struct.pack("<I", 99)))
    with pytest.raises(DataError, match=r"unpacks to over 100,000 bytes|is damaged"):
        found(path)
    with pytest.raises(DataError, match="unpacks to over 100,000 bytes"):
        found(tarred(tmp_path / "b.tar.gz", {"a/1.png": bytes(60_000), "a/2.png": bytes(60_000)}, "w:gz"))
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    with pytest.raises(DataError, match="holds over 2 files"):
        found(zipped(tmp_path / "c.zip", SMALL))


def test_only_the_latest_archives_are_kept(tmp_path):
    for number in range(8):
        path = zipped(tmp_path / f"{number}.zip", {"cats/1.png": ONE, "cats/n": str(number)})
        assert len(all_of(path)[""]) == 1
        os.utime(cache_dir() / "unpacked" / archive_digest(path), (number + 1e9, number + 1e9))
    names = unpacked_folders()
    assert len(names) == archives.KEPT
    assert archive_digest(path) in names


def archive_digest(path):
    from common.data.loading import file_digest

    return file_digest(path)
