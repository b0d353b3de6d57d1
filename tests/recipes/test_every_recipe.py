"""What holds for every recipe, by whatever name."""

import ast
import sys

import keras
import pytest

from common import PROJECT_ROOT as ROOT
from common import discovery
from common.config import RunConfig, get_config_fields
from tests.helpers.cli_calls import good, small_data

LIBRARIES = {"keras", "numpy", "sacrebleu", "tensorflow"}


@pytest.fixture(params=discovery.list_recipes())
def name(request):
    return request.param


def imported(path):
    """Top-level names that a module imports from outside its own folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path} imports from above its folder"


def test_recipe_imports_only_common_libraries_and_itself(name):
    for path in (discovery.RECIPES_DIR / name).glob("**/*.py"):
        others = set(imported(path)) - LIBRARIES - {"common"} - set(sys.stdlib_module_names)
        assert not others, f"{path} imports {others}"


def test_common_knows_no_recipe_by_name(name):
    for path in (ROOT / "common").glob("**/*.py"):
        code = ast.parse(path.read_text(encoding="utf-8"))
        texts = [n.value for n in ast.walk(code) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert name not in texts, path
        assert not any(
            isinstance(n, ast.ImportFrom) and (n.module or "").startswith("recipes.") for n in ast.walk(code)
        )


def test_every_setting_has_help_and_a_default_in_range(name):
    from common.config import validate_config_values
    from common.config_io import config_to_dict

    config_class = discovery.load_recipe_config(name).Config
    assert issubclass(config_class, RunConfig)
    assert all(setting.metadata["help"].endswith(".") for setting in get_config_fields(config_class).values())
    values = {k: v for k, v in config_to_dict(config_class()).items() if v is not None}
    assert validate_config_values(config_class, values, "defaults") == {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
    }


def test_layers_have_names_of_their_own(name):
    # Names that Keras makes up (dense_3) differ from process to process, and weights are kept by name.
    recipe, _ = small_recipe(name)
    made_up = [
        layer.name for layer in recipe.build_model().layers if layer.name.rsplit("_", 1)[0] in ("dense", "lstm_cell")
    ]
    paths = [v.path for v in recipe.build_model().variables]
    assert not made_up
    assert len(set(paths)) == len(paths)


def small_recipe(name):
    """(recipe, config) learned from a few examples of its own default data."""
    from common.types import ExampleSource

    config = discovery.load_recipe_config(name).Config(limit=300)
    recipe_class = discovery.load_recipe(name)
    examples = list(recipe_class.load_data(config).train)
    assets = recipe_class.build_assets(config, ExampleSource("few", lambda: iter(examples)))
    config = recipe_class.resolve_defaults(config, assets)
    return recipe_class(config, assets), config


def test_encode_is_the_same_alone_and_in_a_batch(name):
    recipe, _ = small_recipe(name)
    from common.data.encoding import pad_ragged, stack_examples

    examples = [dict(one) for one in recipe.edge_case_inputs()]
    together = pad_ragged(recipe.encode(stack_examples(examples)))
    for number, example in enumerate(examples):
        alone = pad_ragged(recipe.encode(stack_examples([example])))
        for key, value in alone.items():
            row = together[key][number]
            if value.shape[1:] != row.shape:
                assert not row[value.shape[1] :].numpy().any()
                row = row[: value.shape[1]]
            assert (value[0].numpy() == row.numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_recipe_trains_and_is_served_in_lower_precision(tmp_path, name, precision):
    try:
        run, words = tmp_path / "run", [*small_data(name, tmp_path), "--epochs", 1, "--precision", precision]
        good("run", name, *words, "--run-dir", run)
        if precision == "mixed_bfloat16":
            good("export", run, "--output-dir", tmp_path / "exported")  # which compares what both answer
    finally:
        keras.config.set_dtype_policy("float32")
