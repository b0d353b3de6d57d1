"""A run's folder: which ones are refused, and in what words."""

import json

import pytest

from common.errors import RunError
from common.runtime.run_dir import FORMAT, Run

METADATA = {"format": FORMAT, "recipe": "sentiment", "is_custom_recipe": False, "settings": {}}


def write_config(folder, metadata):
    (folder / "config.json").write_text(json.dumps(metadata), encoding="utf-8")
    return folder


def test_a_run_of_this_format_is_opened(tmp_path):
    assert Run.open(write_config(tmp_path, METADATA)).metadata == METADATA


@pytest.mark.parametrize("number", [1, 3])
def test_a_run_of_another_format_is_refused_in_one_sentence(tmp_path, number):
    older = {"format": number, "recipe": "sentiment", "own": False, "settings": {}, "asked": {}}
    with pytest.raises(RunError) as caught:
        Run.open(write_config(tmp_path, older))
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'} is of format {number}, but this version reads format 2 only: use the version of"
        " Kerasserole that made it, or train anew."
    )


@pytest.mark.parametrize("key", METADATA)
def test_what_a_config_lacks_is_named(tmp_path, key):
    rest = {name: value for name, value in METADATA.items() if name != key}
    with pytest.raises(RunError, match=f"is damaged: {key} is missing. Restore it"):
        Run.open(write_config(tmp_path, rest))
