"""The report on labelled images: what is counted and what is warned of."""

import pytest

from common.config import RunConfig
from common.data import splitting
from common.data.check_common import format_data_report
from common.data.check_images import check_images
from common.data.readers.image_sources import open_image_source
from common.errors import DataError
from common.types import Field
from tests.helpers.cli_calls import good
from tests.helpers.made_images import held, made, picture

FIELDS = (Field("image", "image", ("path",)), Field("label", "label"))


def report(folder, **settings):
    return check_images(
        splitting.load_splits(RunConfig(data=(str(folder),), **settings), FIELDS, lambda: None, open_image_source)
    )


def sound(folder, part="train", labels="ab", count=6, first=0, **settings):
    """A part with pictures that no other one has."""
    files = {
        f"{part}/{label}/{number}.png": picture(seed=first + 100 * at + number, size=(12, 16), **settings)
        for at, label in enumerate(labels)
        for number in range(count)
    }
    return made(folder, files)


def test_sound_data_gives_no_warning(tmp_path):
    for number, part in enumerate(("train", "valid", "test")):
        sound(tmp_path, part, first=1000 * number)
    found = report(tmp_path)
    assert found["warnings"] == []
    assert found["overlap"] == {"train and valid": 0, "train and test": 0, "valid and test": 0}
    assert found["parts"]["train"] == {
        "examples": 12,
        "labels": {"a": 6, "b": 6},
        "rarest_label": 0.5,
        "commonest_label": 0.5,
        "width": {"median": 16, "95%": 16, "99%": 16, "max": 16},
        "height": {"median": 12, "95%": 12, "99%": 12, "max": 12},
        "width_by_height": {"min": 1.33, "5%": 1.33, "median": 1.33, "95%": 1.33, "max": 1.33},
        "modes": {"colour": 12},
        "files": {"PNG": 12},
        "duplicates": 0,
        "two_labels": 0,
        "broken": 0,
        "broken_because_it": None,
        "first_broken": [],
    }


def test_modes_kinds_and_upright_sizes_are_counted(tmp_path):
    sound(tmp_path)
    more = {"1.jpg": picture("JPEG", size=(20, 30), exif=held(6)), "x2.png": picture(mode="L", size=(9, 9))}
    more |= {"x3.png": picture(mode="RGBA", size=(9, 9)), "x4.png": picture(mode="P", size=(9, 9))}
    made(tmp_path / "train" / "a", more | {"x5.png": picture(mode="LA", size=(9, 9))})
    part = report(tmp_path, split="100,0,0")["parts"]["train"]
    assert part["modes"] == {
        "colour": 13,
        "grey": 1,
        "colour, transparent": 1,
        "palette": 1,
        "grey, transparent": 1,
    }
    assert part["files"] == {"PNG": 16, "JPEG": 1}
    assert part["width"]["max"] == 20 and part["height"]["max"] == 30
    assert part["width_by_height"]["min"] == 0.6667


def test_ratios_are_shown_as_numbers_and_shares_as_percentages(tmp_path):
    made(tmp_path / "a", {"1.png": picture(size=(10, 25)), "2.png": picture(size=(10, 25), seed=1)})
    made(tmp_path / "b", {"3.png": picture(size=(10, 25), seed=2)})
    shown = good("check", "image_classification", "--data", tmp_path, "--split", "100,0,0")
    assert "rarest label 33.3%" in " ".join(shown.split())
    below = shown[shown.index("width by height") :].splitlines()[1:6]
    assert [line.split() for line in below] == [[name, "2.50"] for name in ("min", "5%", "median", "95%", "max")]


def test_what_cannot_be_used_is_counted_by_reason(tmp_path):
    sound(tmp_path)
    bad = {"c.png": b"", "d.jpg": picture("JPEG")[:-20], "e.jpg": picture("JPEG", seed=1)[:-20], "f.txt": b"x"}
    made(tmp_path / "train" / "a", bad)
    found = report(tmp_path, split="100,0,0")
    part = found["parts"]["train"]
    assert part["broken"] == 4
    assert part["broken_because_it"] == {"is a broken JPEG file": 2, "is empty": 1, "is no image": 1}
    assert part["first_broken"][0] == "train/a/c.png is empty"
    assert any("4 images of" in one and "the first one, train/a/c.png is empty." in one for one in found["warnings"])


def test_rows_that_name_nothing_are_counted_as_one_kind(tmp_path):
    sound(tmp_path)
    rows = "path,label\ntrain/a/0.png,a\ntrain/b/0.png,b\nx.png,a\ny.png,b\na,b,c\n"
    part = report(made(tmp_path, {"all.csv": rows}) / "all.csv", split="100,0,0")["parts"]["train"]
    assert part["broken_because_it"] == {"is not there": 2, "has 3 cells where the first row has 2": 1}


def test_copies_within_and_across_parts_are_seen(tmp_path):
    sound(tmp_path)
    sound(tmp_path, "test", first=1000)
    copy = picture(seed=0, size=(12, 16))  # of train/a/0.png
    made(tmp_path, {"train/a/copy.png": copy, "train/b/copy.png": copy, "test/a/copy.png": copy})
    found = report(tmp_path, split="100,0,0")
    assert found["parts"]["train"]["duplicates"] == 2 and found["parts"]["train"]["two_labels"] == 1
    assert found["overlap"] == {"train and test": 1}
    assert '1 image of the train part also occurs with another label, such as with "a" and "b".' in found["warnings"]
    assert any(one.startswith("1 image stands in both train and test: ") for one in found["warnings"])


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        ({"train/c/1.png": picture(size=(12, 16))}, "Labels with fewer than 5 examples in the train part: c."),
        ({"train/A/1.png": picture(size=(12, 16))}, 'The labels "A" and "a" differ in case or blanks only'),
        ({"train/a/1x1.png": picture(size=(1, 1))}, "1 image of the train part is under 8 pixels wide or high"),
        ({"train/a/l.png": picture(size=(9, 50))}, "1 image of the train part is over 4 times as long as wide"),
        ({"test/z/1.png": picture(size=(12, 16))}, "Labels of the test part that training lacks"),
        (
            {"test/a/1.png": picture(mode="L", size=(9, 9))},
            "All images of the test part are grey, but",
        ),
        ({"test/a/1.png": b"no"}, "The test part is empty."),
    ],
)
def test_what_is_odd_is_a_warning(tmp_path, files, warning):
    made(sound(tmp_path), files)
    assert any(one.startswith(warning) for one in report(tmp_path, split="100,0,0")["warnings"])


def test_nothing_to_learn_from_is_an_error(tmp_path):
    made(tmp_path, {"train/a/1.png": b"no", "train/b/2.png": b""})
    with pytest.raises(DataError, match=r"no training example. 2 rows are broken, first train/a/1.png is no image"):
        report(tmp_path)


def test_the_report_can_be_shown(tmp_path):
    from rich.console import Console

    sound(tmp_path)
    console = Console(record=True, width=120, file=open("/dev/null", "w"))
    console.print(format_data_report(report(tmp_path)))
    text = console.export_text()
    assert "width by height" in text and "colour" in text
