"""The base class of recipes: its defaults, and what is refused by name; by a toy recipe that says only what it must."""

import json
import re
import shutil

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from common import discovery
from common.types import Aligns, Explains, Generates
from tests.helpers.cli_calls import fails, good, tiny_texts, write

TOY = ROOT / "tests" / "helpers" / "toy"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of the toy, by its path, through the command line."""
    folder = tmp_path_factory.mktemp("toy")
    data = write(folder / "texts.csv", tiny_texts(200))
    good("run", TOY, "--data", data, "--run-dir", folder / "run")
    return folder / "run"


@pytest.fixture
def copy(tmp_path):
    """A function that writes the toy with another text in it: the folder."""

    def write_copy(old, new):
        folder = tmp_path / "copy"
        shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("__pycache__"))
        code = (folder / "recipe.py").read_text()
        assert old in code
        (folder / "recipe.py").write_text(code.replace(old, new))
        return folder

    return write_copy


def test_toy_learns_through_the_command_line(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.8


def test_toy_is_evaluated_and_predicts(trained, tmp_path):
    data = write(tmp_path / "more.csv", tiny_texts(60, seed=5))
    assert json.loads(good("evaluate", trained, "--data", data, "--recipe", TOY, "--json"))["accuracy"] > 0.8
    shown = json.loads(good("predict", trained, "a lovely film", "--recipe", TOY))
    assert shown["text"] == "a lovely film" and shown["label"] == "good"
    assert sum(shown["scores"].values()) == pytest.approx(1)


def test_toy_is_exported_and_predicts_without_its_code(trained, tmp_path):
    good("export", trained, "--output-dir", tmp_path / "exports", "--recipe", TOY)
    words = ("a dull plot", "a great film")
    by_run, by_export = (good("predict", at, *words, "--recipe", TOY) for at in (trained, tmp_path / "exports"))
    for run, export in zip(by_run.splitlines(), by_export.splitlines(), strict=True):
        np.testing.assert_allclose(json.loads(run)["score"], json.loads(export)["score"], rtol=1e-5)


def test_toy_goes_on_from_a_base_run_and_checks_its_data(trained, tmp_path):
    data = write(tmp_path / "more.csv", tiny_texts(120, seed=7))
    good("run", TOY, "--data", data, "--init-from", trained, "--run-dir", tmp_path / "tuned")
    report = json.loads(good("check", TOY, "--data", data, "--json"))
    assert report["parts"]["train"]["labels"].keys() == {"bad", "good"}


@pytest.mark.parametrize("member", ["build_assets", "encode", "compute_loss", "predict"])
def test_a_recipe_that_lacks_a_member_is_refused_by_name_before_data_is_read(copy, member):
    message = fails("run", copy(f"def {member}(", f"def other_{member}("), "--data", "not-there.csv", status=2)
    assert f"ToyRecipe lacks {member};" in message


def test_a_recipe_without_fields_or_class_is_refused(copy):
    folder = copy("fields = (", "other_fields = (")
    assert "lacks fields;" in fails("run", folder, "--data", "not-there.csv", status=2)


def test_a_recipe_without_data_of_its_own_asks_for_a_file():
    assert fails("run", TOY, status=2) == "This recipe has no data of its own: give --data FILE."


def test_a_folder_without_a_recipe_class_is_refused(copy):
    folder = copy("class ToyRecipe(Recipe[Config])", "class ToyRecipe")
    assert "no class that extends common.recipe.Recipe" in fails("run", folder, "--data", "not-there.csv", status=2)


def test_a_prediction_without_what_the_head_needs_is_refused_by_name(copy, tmp_path):
    folder = copy(
        'return self.head.prediction_outputs(model(features, training=False)["logits"])',
        'return {"label": tf.argmax(model(features, training=False)["logits"], axis=1)}',
    )
    data = write(tmp_path / "texts.csv", tiny_texts(60))
    message = fails("run", folder, "--data", data, "--run-dir", tmp_path / "run", status=2)
    assert re.search(r"ToyRecipe\.predict gives no score and no scores, which its ClassificationHead needs", message)


def test_a_recipe_without_a_head_is_measured_by_its_loss(copy, tmp_path):
    folder = copy("self.head = ClassificationHead(assets)", "self.labels = ClassificationHead(assets)")
    code = (folder / "recipe.py").read_text().replace("self.head.", "self.labels.")
    (folder / "recipe.py").write_text(code)
    data = write(tmp_path / "texts.csv", tiny_texts(100))
    good("run", folder, "--data", data, "--run-dir", tmp_path / "run")
    shown = json.loads(good("predict", tmp_path / "run", "a great film", "--recipe", folder))
    assert shown["text"] == "a great film" and shown["label"] in ("good", "bad")


def test_what_only_some_recipes_can_do_is_told_by_protocols():
    able = {
        protocol: [name for name in discovery.list_recipes() if issubclass(discovery.load_recipe(name), protocol)]
        for protocol in (Explains, Aligns, Generates)
    }
    assert able == {Explains: ["image_classification"], Aligns: ["translation"], Generates: ["music"]}
