"""Files that are whole or not there; and time spans for people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common.errors import RunError
from common.runtime.atomic_io import atomic_write, read_json, save_npz, write_json
from common.runtime.console import format_duration

PROPERTY = settings(max_examples=50, deadline=None)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# replacing


def test_replacing_writes_the_file(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_replacing_takes_the_place_of_an_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"a long old content")
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_replacing_shows_the_old_file_until_it_ends(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [b"old", None])
def test_replacing_changes_nothing_when_the_block_fails(tmp_path, old, error):
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == ([] if old is None else ["a.bin"])
    assert old is None or path.read_bytes() == old


def test_replacing_writes_text_as_utf8(tmp_path):
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("é漢😀")
    assert (tmp_path / "a.txt").read_bytes() == "é漢😀".encode()


# write_json and read_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@PROPERTY
@given(value=st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4))
def test_json_read_again_is_the_same(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_keeps_file_names_that_are_no_utf8(tmp_path):
    value = {"data": [b"caf\xe9.csv".decode("utf-8", "surrogateescape")]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


def test_arrays_come_back_as_they_were(tmp_path):
    values = {"none": np.zeros([0, 3], np.int32), "some": np.array([[1, -2, 3]], np.int32)}
    write_json(tmp_path / "a.json", values)
    found = read_json(tmp_path / "a.json")
    for name, value in values.items():
        assert found[name].dtype == np.int32 and found[name].shape == value.shape
        assert (found[name] == value).all()


def test_write_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "a.json", {"word": "é", "more": [1]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "word": "é",\n "more": [\n  1\n ]\n}\n'


def test_write_json_keeps_the_old_file_when_a_value_is_none_of_jsons(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"good": 1})
    with pytest.raises(TypeError):
        write_json(path, {"good": 2, "bad": object()})
    assert read_json(path) == {"good": 1}
    assert names(tmp_path) == ["a.json"]


def read_refusal(path):
    with pytest.raises(RunError) as caught:
        read_json(path)
    return str(caught.value)


def test_read_json_says_that_a_file_is_missing(tmp_path):
    message = read_refusal(tmp_path / "config.json")
    assert message.startswith(f"{tmp_path / 'config.json'} is missing")


def test_read_json_below_a_file_is_missing(tmp_path):
    (tmp_path / "run").write_text("a file, no run")
    assert "config.json" in read_refusal(tmp_path / "run" / "config.json")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b'{"a": "\xff"}', b"{} {}"])
def test_read_json_says_that_a_file_is_damaged(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert read_refusal(path).startswith(f"{path} is damaged (")


@pytest.mark.parametrize("value", [[], 3, "text", None])
def test_read_json_takes_objects_only(tmp_path, value):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(value))
    assert read_refusal(path).startswith(f"{path} is damaged (a JSON object was expected)")


# save_arrays


@PROPERTY
@given(
    arrays=st.dictionaries(
        st.text("abc/_0", min_size=1, max_size=8).map(lambda name: f"model/{name}"),
        npst.arrays(
            st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "bool", "<U3"]),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        ),
        max_size=4,
    )
)
def test_save_arrays_loaded_again_are_the_same(tmp_path_factory, arrays):
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    save_npz(path, arrays)
    with np.load(path, allow_pickle=False) as loaded:
        assert set(loaded) == set(arrays)
        for name, value in arrays.items():
            assert loaded[name].dtype == value.dtype
            np.testing.assert_array_equal(loaded[name], value)


def test_save_arrays_pickles_nothing(tmp_path):
    path = tmp_path / "arrays.npz"
    save_npz(path, {"a": np.array([1])})
    with pytest.raises(ValueError, match="pickle"):
        save_npz(path, {"a": np.array([2]), "b": np.array([object()])})
    assert np.load(path)["a"].tolist() == [1]
    assert names(tmp_path) == ["arrays.npz"]


# duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (3.21, "3.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00 min"),
        (60, "1:00 min"),
        (75, "1:15 min"),
        (600, "10:00 min"),
        (3599, "59:59 min"),
        (3600, "1:00 h"),
        (3660, "1:01 h"),
        (7322, "2:02 h"),
        (86_400, "24:00 h"),
    ],
)
def test_duration_is_worded_for_people(seconds, expected):
    assert format_duration(seconds) == expected


@PROPERTY
@given(seconds=st.floats(0, 1e6))
def test_duration_is_near_to_the_truth(seconds):
    number, unit = format_duration(seconds).split(" ")
    if unit == "s":
        assert abs(float(number) - seconds) <= 0.05 + 1e-9
    else:
        major, minor = map(int, number.split(":"))
        size = 60 if unit == "h" else 1
        assert minor < 60
        assert abs((major * 60 + minor) * size - seconds) <= size
