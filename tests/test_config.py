"""Settings: types, ranges, files, and messages that help."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from common import PROJECT_ROOT as ROOT
from common.config import RunConfig, config_field, get_config_fields, validate_config_values
from common.config_io import config_to_dict, config_to_toml, load_toml
from common.errors import ConfigError

PROPERTY = property_settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Toy(RunConfig):
    """A recipe's config: fields of every kind, and a changed default."""

    seed: int = config_field(7, "Another default.")
    units: int = config_field(8, "From 1 to 16.", low=1, high=16)
    share: float = config_field(0.5, "Between 0 and 1, neither included.", above=0, below=1)
    kind: str = config_field("max", "A choice.", choices=("max", "mean"))
    free: float = config_field(0.0, "Any number.")
    names: tuple[str, ...] = config_field((), "Several.")
    sizes: tuple[int, ...] = config_field((), "Several numbers.", low=1)
    most: int | None = config_field(None, "A limit, or none.", low=1, shown="no limit")
    fast: bool = config_field(False, "A switch.")


def check(**values):
    return validate_config_values(Toy, values, "toy.toml")


def refusal(**values):
    """What is said of values that are refused."""
    with pytest.raises(ConfigError) as caught:
        check(**values)
    return str(caught.value)


# settings


@pytest.mark.parametrize(
    ("name", "type", "many", "optional"),
    [
        ("units", int, False, False),
        ("share", float, False, False),
        ("kind", str, False, False),
        ("names", str, True, False),
        ("sizes", int, True, False),
        ("most", int, False, True),
        ("fast", bool, False, False),
        ("data", str, True, False),
        ("max_minutes", float, False, True),
    ],
)
def test_settings_know_their_types(name, type, many, optional):
    setting = get_config_fields(Toy)[name]
    assert (setting.type, setting.is_list, setting.optional) == (type, many, optional)


def test_settings_hold_shared_and_own_fields():
    assert set(get_config_fields(RunConfig)) < set(get_config_fields(Toy))
    assert get_config_fields(Toy)["units"].default == 8


def test_settings_default_is_the_recipes_own():
    assert get_config_fields(Toy)["seed"].default == Toy().seed == 7


def test_setting_flag_has_hyphens():
    assert get_config_fields(Toy)["batch_size"].flag == "--batch-size"


def test_every_shared_default_is_allowed():
    given_out = {name: s.default for name, s in get_config_fields(RunConfig).items()}
    assert validate_config_values(RunConfig, given_out, "defaults") == given_out


def test_every_setting_has_help():
    assert all(s.metadata["help"].endswith(".") for s in get_config_fields(RunConfig).values())


# checked: types


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", "8"),
        ("units", 8.0),
        ("units", True),
        ("units", None),
        ("units", [8]),
        ("share", "0.5"),
        ("share", True),
        ("free", False),
        ("kind", 3),
        ("fast", 1),
        ("fast", "true"),
        ("most", True),
        ("most", "none"),
        ("names", [1]),
        ("names", None),
        ("sizes", ["1"]),
        ("sizes", [True]),
        ("names", [["a"]]),
    ],
)
def test_checked_refuses_a_wrong_type(name, value):
    message = refusal(**{name: value})
    assert message.startswith("toy.toml: " + name)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("units", "8", "units is '8', but must be a whole number"),
        ("share", "x", "share is 'x', but must be a finite number"),
        ("fast", 1, "fast is 1, but must be true or false"),
        ("kind", 3, "kind is 3, but must be a text"),
        ("kind", "median", "kind is 'median', but must be one of max, mean"),
        ("units", 0, "units is 0, but must be at least 1"),
        ("units", 17, "units is 17, but must be at most 16"),
        ("share", 0.0, "share is 0.0, but must be above 0"),
        ("share", 1.0, "share is 1.0, but must be below 1"),
    ],
)
def test_checked_says_what_is_wrong(name, value, words):
    assert refusal(**{name: value}) == f"toy.toml: {words}."


def test_checked_takes_a_whole_number_for_a_number():
    value = check(free=3)["free"]
    assert value == 3
    assert type(value) is float


def test_checked_takes_one_value_for_several():
    assert check(names="a", sizes=2) == {"names": ("a",), "sizes": (2,)}


@pytest.mark.parametrize("listed", [["b", "a", "b"], ("b", "a", "b")])
def test_checked_keeps_several_in_order(listed):
    assert check(names=listed) == {"names": ("b", "a", "b")}


def test_checked_takes_none_where_it_means_something():
    assert check(most=None) == {"most": None}


# checked: ranges


@pytest.mark.parametrize(
    ("name", "value"),
    [("units", 1), ("units", 16), ("share", 1e-9), ("share", 0.999), ("kind", "mean"), ("most", 1), ("sizes", [1, 9])],
)
def test_checked_takes_the_ends_of_a_range(name, value):
    assert name in check(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", 0),
        ("units", 17),
        ("share", 0),
        ("share", 1),
        ("share", -0.1),
        ("share", float("nan")),
        ("kind", "MAX"),
        ("most", 0),
        ("sizes", [3, 0]),
        ("seed", True),
        ("learning_rate", 0.0),
        ("warmup_ratio", 1.0),
    ],
)
def test_checked_refuses_values_out_of_range(name, value):
    assert name in refusal(**{name: value})


@PROPERTY
@given(units=st.integers(-5, 25))
def test_checked_takes_exactly_the_range(units):
    if 1 <= units <= 16:
        assert check(units=units) == {"units": units}
    else:
        assert "units" in refusal(units=units)


# checked: names


def test_checked_offers_the_nearest_name():
    assert refusal(batch_sise=3) == 'toy.toml: there is no setting "batch_sise". Did you mean "batch_size"?'


def test_checked_offers_nothing_far_off():
    assert refusal(zebra=3) == 'toy.toml: there is no setting "zebra".'


def test_checked_takes_hyphens_in_names():
    assert validate_config_values(Toy, {"batch-size": 3}, "toy.toml") == {"batch_size": 3}


def test_checked_leaves_out_what_was_not_given():
    assert check() == {}


# from_file


def written(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def file_refusal(path):
    with pytest.raises(ConfigError) as caught:
        load_toml(Toy, path)
    return str(caught.value)


def test_from_file_reads_settings_of_every_kind(tmp_path):
    path = written(
        tmp_path,
        'units = 4\nshare = 0.25\nfree = 2\nkind = "mean"\nnames = ["a", "b"]\nmost = 9\nfast = true\nbatch-size = 2\n',
    )
    assert load_toml(Toy, path) == {
        "units": 4,
        "share": 0.25,
        "free": 2.0,
        "kind": "mean",
        "names": ("a", "b"),
        "most": 9,
        "fast": True,
        "batch_size": 2,
    }


def test_from_file_of_an_empty_file_is_nothing(tmp_path):
    assert load_toml(Toy, written(tmp_path, "# units = 4\n")) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("units = ", "is not TOML"),
        ("units = 4\nunits = 5", "is not TOML"),
        (b'kind = "\xff"', "is not TOML"),
        ("[training]\nunits = 4", 'there is no setting "training"'),
        ("unit = 4", 'Did you mean "units"?'),
        ("units = 40", "units is 40, but must be at most 16"),
        ("units = 1979-05-27", "units is"),
    ],
)
def test_from_file_errors_name_the_file(tmp_path, content, words):
    path = written(tmp_path, content)
    message = file_refusal(path)
    assert message.startswith(f"{path}: ")
    assert words in message


def test_from_file_error_names_the_line(tmp_path):
    assert "line 2" in file_refusal(written(tmp_path, "units = 4\nshare = = 1\n"))


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_from_file_says_that_a_file_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    assert file_refusal(path).startswith(f"{path}: cannot be read (")


# as_json and as_toml


def numbers(low, high):
    return st.floats(low, high, exclude_min=True, exclude_max=True)


# U+007F and infinity have tests of their own.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12)
configs = st.builds(
    Toy,
    data=st.lists(texts, max_size=3).map(tuple),
    split=texts,
    encoding=st.none() | texts,
    limit=st.none() | st.integers(1, 10**20),
    epochs=st.none() | st.integers(1, 99),
    max_minutes=st.none() | st.floats(1e-300, 1e300),
    learning_rate=numbers(0, 10),
    lr_schedule=st.sampled_from(["cosine", "linear", "constant"]),
    weight_decay=st.floats(0, 1e30),
    seed=st.integers(0, 2**31 - 1),
    units=st.integers(1, 16),
    share=numbers(0, 1),
    free=st.floats(allow_nan=False, allow_infinity=False),
    names=st.lists(texts, max_size=3).map(tuple),
    sizes=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    most=st.none() | st.integers(1, 9),
    fast=st.booleans(),
)


def through_toml(config, tmp_path, origins=None):
    """The config of a file that holds `as_toml` of another."""
    return Toy(**load_toml(Toy, written(tmp_path, config_to_toml(config, origins or {}))))


@PROPERTY
@given(
    config=configs, origins=st.dictionaries(st.sampled_from(sorted(get_config_fields(Toy))), st.just("my file.toml"))
)
def test_as_toml_read_again_is_the_same_config(tmp_path_factory, config, origins):
    assert through_toml(config, tmp_path_factory.getbasetemp(), origins) == config


def test_as_toml_escapes_delete(tmp_path):
    config = Toy(names=("a\x7fb",))
    assert through_toml(config, tmp_path) == config


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_as_toml_of_any_number_that_is_taken_can_be_read_again(tmp_path, value):
    try:
        config = Toy(**check(free=value))
    except ConfigError:
        return
    assert repr(through_toml(config, tmp_path).free) == repr(value)


def test_as_toml_says_where_a_value_came_from():
    lines = config_to_toml(Toy(units=3), {"units": "flag"}).splitlines()
    assert "units = 3  # flag" in lines
    assert "share = 0.5  # default" in lines
    assert "# most =  # default: no limit" in lines


def test_as_toml_holds_every_setting_once():
    config = Toy(
        **{name: 1 for name, s in get_config_fields(Toy).items() if s.optional and s.type is not str},
        encoding="utf-8",
        label_names="names.txt",
        devices="cpu:2",
        init_from="runs/a",
        freeze_through="encoder",
    )
    assert set(tomllib.loads(config_to_toml(config, {}))) == set(get_config_fields(Toy))
    assert len(config_to_toml(Toy(), {}).splitlines()) == len(get_config_fields(Toy))


@PROPERTY
@given(config=configs)
def test_as_json_checked_again_is_the_same_config(config):
    assert Toy(**validate_config_values(Toy, json.loads(json.dumps(config_to_dict(config))), "config.json")) == config


def test_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3


def test_config_needs_no_tensorflow():
    code = (
        "import sys, common.config; print([name for name in sys.modules if name in ('tensorflow', 'keras', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
