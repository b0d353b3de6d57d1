"""Which settings the encoded data of each recipe depends on: none is looked at that is not declared so."""

import dataclasses

import pytest

from common import discovery
from common.config import get_config_fields
from common.types import ExampleSource

VARIANTS = {
    "image_classification": ({"color_mode": "grayscale"}, {"image_size": "20"}),
    "music": ({"steps_per_beat": 2},),
    "ner": (
        {"tag_scheme": "iob2"},
        {"decoder": "softmax", "char_encoder": "none"},
        {"wide_buckets": 0, "affix_buckets": 0},
    ),
    "sentiment": ({"bigram_buckets": 0, "affix_buckets": 0},),
    "translation": ({"shared_vocabulary": "joint"}, {"protect_placeholders": False}, {"model": "lstm"}),
}


# Read on the way, but of no effect on what is encoded: --offline, and what a recipe refuses unless it is the default.
WITHOUT_EFFECT = {
    "music": {"offline", "label_smoothing", "class_weights"},
    "ner": {"offline", "label_smoothing", "class_weights"},
    "translation": {"offline", "class_weights"},
}


def tracked(config):
    """A copy of a config, and the names of the fields that are read from it from now on."""
    fields = {item.name for item in dataclasses.fields(config)}
    names = set()

    class Tracked(type(config)):
        def __getattribute__(self, name):
            if name == "__dict__":  # all at once, as vars() does
                names.update(fields)
            elif name in fields:
                names.add(name)
            return super().__getattribute__(name)

    copy = object.__new__(Tracked)
    for name in fields:
        object.__setattr__(copy, name, getattr(config, name))
    return copy, names


def names_read(name, **values):
    """The settings that are read while data is loaded, learned from and encoded."""
    from common.data.encoding import stack_examples

    recipe_class, config = discovery.load_recipe(name), discovery.load_recipe_config(name).Config(limit=60, **values)
    copy, names = tracked(config)
    train = list(recipe_class.load_data(copy).train)
    assets = recipe_class.build_assets(copy, ExampleSource("few", lambda: iter(train)))
    own = ExampleSource("own", lambda: iter(train[:30]))
    both = ExampleSource("both", lambda: iter(train), without_replay=own)
    recipe_class.extend_assets(copy, both, assets)
    settled, names_of_encoding = tracked(recipe_class.resolve_defaults(config, assets))
    recipe = recipe_class(settled, assets)
    batch = stack_examples(
        [{field.name: example[field.name] for field in recipe_class.fields} for example in train[:3]]
    )
    recipe.encode(batch)
    recipe.encode_targets(batch)
    return names | names_of_encoding


@pytest.mark.parametrize("name", discovery.list_recipes())
def test_every_setting_that_is_read_on_the_way_is_declared_to_affect_encoding(name):
    declared = {
        key
        for key, one in get_config_fields(discovery.load_recipe_config(name).Config).items()
        if one.metadata["affects_encoding"]
    }
    for values in ({}, *VARIANTS.get(name, ())):
        undeclared = names_read(name, **values) - declared - WITHOUT_EFFECT.get(name, {"offline"})
        assert not undeclared, values


def test_tracking_sees_every_way_to_read_a_setting():
    copy, names = tracked(discovery.load_recipe_config("sentiment").Config(seed=3))
    assert copy.seed == 3 and names == {"seed"}
    assert vars(copy)["epochs"] is None and "epochs" in names
