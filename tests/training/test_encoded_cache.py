"""When encoded data may be used again: never where a setting differs that is declared to affect it."""

from dataclasses import replace

import numpy as np
import pytest

import common
from common import discovery
from common.config import encoding_values, get_config_fields
from common.data.example_store import StoreWriter
from common.training.encoded_cache import EncodedCache, code_hash

ALL = [
    (name, key)
    for name in discovery.list_recipes()
    for key in get_config_fields(discovery.load_recipe_config(name).Config)
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def cache_of(config, settle=None, **more):
    return EncodedCache({"data": "a"}, config, settle or (lambda assets: config), **more)


def keep(cache, assets):
    scratch = cache.make_scratch()
    writer = StoreWriter(scratch / "train")
    writer.append({"feature/x": np.arange(3)}, {})
    cache.keep(scratch, cache.settle(assets), assets, {"train": writer}, {"train": writer.close()}, [])


def changed(config, name):
    """The config with another value of a setting."""
    setting, value = get_config_fields(type(config))[name], getattr(config, name)
    if setting.type is bool:
        other = not value
    elif choices := setting.metadata["choices"]:
        other = next(choice for choice in choices if choice != value)
    else:
        other = setting.type("1") if value is None or setting.is_list or setting.type is str else value + 1
    return replace(config, **{name: (other,) if setting.is_list else other})


@pytest.mark.parametrize(("recipe", "name"), ALL)
def test_encoded_data_is_used_again_only_where_no_setting_differs_that_affects_it(recipe, name):
    config = discovery.load_recipe_config(recipe).Config()
    keep(cache_of(config), {"words": ["a"]})
    assert cache_of(config).find() is not None
    affects = get_config_fields(type(config))[name].metadata["affects_encoding"]
    assert (cache_of(changed(config, name)).find() is None) == affects
    # So it is with a setting that only comes out of the data.
    assert (cache_of(config, lambda assets: changed(config, name)).find() is None) == affects


def test_settings_affect_encoding_unless_they_are_of_training():
    groups = {one.metadata["group"] for one in get_config_fields(discovery.load_recipe_config("ner").Config).values()}
    for group in groups:
        affecting = {
            name
            for name, one in get_config_fields(discovery.load_recipe_config("ner").Config).items()
            if one.metadata["group"] == group and one.metadata["affects_encoding"]
        }
        assert (affecting <= {"init_from", "replay_ratio"}) == (group in ("Training", "Fine-tuning"))
    assert {"data", "split", "limit", "pretrained_vectors", "vocabulary_size"} <= set(
        encoding_values(discovery.load_recipe_config("ner").Config())
    )


def test_other_data_or_code_or_assets_are_not_taken_over():
    config = discovery.load_recipe_config("sentiment").Config()
    cache = cache_of(config)
    keep(cache, {"words": ["a"]})
    assert replace(cache, made_from={"data": "b"}).find() is None
    assert replace(cache, known_assets={"words": ["b"]}).find() is None
    entry = replace(cache, known_assets={"words": ["a"]}).find()
    assert entry.assets == {"words": ["a"]} and len(entry.stores["train"]) == 3


def test_a_run_that_goes_on_finds_its_data_by_its_settled_settings():
    asked, settled = (discovery.load_recipe_config("ner").Config(tag_scheme=scheme) for scheme in (None, "iob2"))
    keep(cache_of(asked, lambda assets: settled), {"words": ["a"]})
    assert cache_of(settled).find() is None  # of a new run, in which they were asked for
    assert cache_of(settled, known_assets={"words": ["a"]}).find() is not None


def test_code_hash_covers_a_recipe_and_all_of_common(tmp_path, monkeypatch):
    shared, own = tmp_path / "common", tmp_path / "own"
    for path in (shared / "__init__.py", shared / "data" / "readers" / "deep.py", own / "recipe.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.setattr(common, "__file__", str(shared / "__init__.py"))
    hashes = {code_hash(own)}
    for path in (shared / "__init__.py", shared / "data" / "readers" / "deep.py", own / "recipe.py"):
        path.write_text("changed = True\n")
        hashes.add(code_hash(own))
    assert len(hashes) == 4
