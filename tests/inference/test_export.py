"""Exports: equal to their run, usable without this project, and never half-written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common import PROJECT_ROOT as ROOT
from common.errors import RunError
from common.inference import export
from tests.helpers.cli_calls import call, fails, good


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    to = tmp_path_factory.mktemp("exports") / "sentiment"
    assert good("export", trained, "--output-dir", to).strip() == str(to / "1")
    return to


def test_export_is_proved_on_held_out_and_odd_inputs(exported):
    card = json.loads((exported / "1" / "assets.extra" / "card.json").read_text())
    assert card["proof"]["inputs"] > 1000
    assert card["proof"]["max_abs_difference"] <= export.TOLERANCE
    assert card["signatures"]["serving_default"] == {
        "inputs": {"text": "string[None]"},
        "outputs": {"label": "string[None]", "score": "float32[None]", "scores": "float32[None, 2]"},
    }


def test_predictions_of_run_and_export_are_alike(trained, exported):
    texts = ["a great film", "", "awful 😀", "x " * 3000]
    by_run, by_export = (good("predict", target, *texts).splitlines() for target in (trained, exported))
    for first, second in zip(map(json.loads, by_run), map(json.loads, by_export), strict=True):
        assert first["label"] == second["label"]
        assert first["scores"] == pytest.approx(second["scores"], abs=1e-5)


def test_measures_of_run_and_export_are_alike(trained, exported, reviews):
    by_run, by_export = (json.loads(good("evaluate", t, "--data", reviews, "--json")) for t in (trained, exported))
    assert by_run.keys() == by_export.keys()
    assert by_run["accuracy"] == by_export["accuracy"]
    assert by_run["confusion_matrix"] == by_export["confusion_matrix"]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_signature_takes_any_batch_size(exported, count):
    model = tf.saved_model.load(str(exported / "1"))
    outputs = model.signatures["serving_default"](text=tf.constant(["a great film"] * count))
    assert outputs["label"].shape == (count,)
    np.testing.assert_allclose(outputs["scores"].numpy().sum(axis=1), 1, atol=1e-5)


def test_signature_takes_invalid_utf8_and_nul(exported):
    model = tf.saved_model.load(str(exported / "1"))
    outputs = model.signatures["serving_default"](text=tf.constant([b"\xff\xfe great", b"a\0great", b""]))
    assert np.isfinite(outputs["scores"].numpy()).all()


def test_next_export_has_the_next_number_by_a_relative_path_too(trained, exported, monkeypatch):
    monkeypatch.chdir(exported.parent)
    assert good("export", trained, "--output-dir", exported.name).strip() == f"{exported.name}/2"
    assert sorted(path.name for path in exported.iterdir()) == ["1", "2"]
    shutil.rmtree(exported / "2")


def signature(folder):
    """(input tensor's name, scores tensor's name) of serving_default, read from the file."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    found = model.meta_graphs[0].signature_def["serving_default"]
    return found.inputs["text"].name, found.outputs["scores"].name


def test_export_runs_by_the_c_api_alone(trained, exported):
    texts = ["a great film", "awful", ""]
    command = [
        sys.executable,
        ROOT / "tests" / "helpers" / "c_api.py",
        exported / "1",
        *signature(exported / "1"),
        *texts,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=exported)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = [json.loads(line)["scores"] for line in good("predict", trained, *texts).splitlines()]
    np.testing.assert_allclose(found, [list(scores.values()) for scores in wanted], atol=1e-5)


@pytest.mark.slow
def test_saved_model_cli_shows_the_signature(exported):
    tool = Path(sys.executable).with_name("saved_model_cli")
    words = ["show", "--dir", exported / "1", "--tag_set", "serve", "--signature_def", "serving_default"]
    done = subprocess.run([tool, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "inputs['text']" in done.stdout
    assert "DT_STRING" in done.stdout


def test_export_that_differs_is_not_published(trained, tmp_path, monkeypatch):
    honest = export.max_abs_difference
    monkeypatch.setattr(export, "max_abs_difference", lambda expected, actual: honest(expected, actual) + 0.5)
    assert "differs from its run by 0.5" in fails("export", trained, "--output-dir", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


class TwoInputs:
    """What the proof asks of a recipe whose endpoints take different inputs."""

    def edge_case_inputs(self):
        return [{"text": "", "tokens": []}, {"text": "é", "tokens": ["é", b"\xff"]}]


HELD_OUT = [{"text": "c", "tokens": ["c"], "tags": ["O"]}, {"text": "without tokens"}]


def test_batches_ask_an_endpoint_for_what_it_takes():
    found = export.make_parity_batches(TwoInputs(), HELD_OUT, ("text",))
    assert all(list(batch) == ["text"] for batch in found)
    asked = [batch["text"].tolist() for batch in found]
    everything = [b"", "é".encode(), b"c", b"without tokens"]
    assert asked[:3] == [[b""], ["é".encode()], everything]
    assert asked[3] == everything[:2] * (export.MANY // 2)  # of the shorter half


def test_batches_of_lists_are_padded_and_leave_out_examples_without_them():
    found = [batch["tokens"].tolist() for batch in export.make_parity_batches(TwoInputs(), HELD_OUT, ("tokens",))]
    everything = [[b"", b""], ["é".encode(), b"\xff"], [b"c", b""]]
    assert found[:3] == [[[]], [["é".encode(), b"\xff"]], everything]
    assert found[3] == [[b""], [b"c"]] * (export.MANY // 2)


def test_max_abs_difference_sees_numbers_and_strings():
    numbers = {"a": np.array([1.0, 2.0])}
    assert export.max_abs_difference(numbers, {"a": np.array([1.0, 2.25])}) == 0.25
    with pytest.raises(RunError, match="differ in s"):
        export.max_abs_difference({"s": np.array([1, 2], np.uint8)}, {"s": np.array([1, 3], np.uint8)})
    with pytest.raises(RunError, match="shape"):
        export.max_abs_difference(numbers, {"a": np.array([1.0])})
    with pytest.raises(RunError, match="where the run gives"):
        export.max_abs_difference(numbers, {"b": np.array([1.0, 2.0])})


def test_a_model_that_gives_no_number_is_not_published(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    with np.load(folder / "best_weights.npz") as stored:
        weights = {name: stored[name] for name in stored.files}
    weights["labels/kernel"][:] = np.nan
    np.savez(folder / "best_weights.npz", **weights)
    fails("export", folder, "--output-dir", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_export_to_a_file_is_refused(trained, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in fails("export", trained, "--output-dir", tmp_path / "file")


def test_a_damaged_export_is_named(exported, tmp_path):
    shutil.copytree(exported / "1", tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\0\1")
    assert "is damaged" in fails("predict", tmp_path, "x")


def test_a_saved_model_of_another_program_is_named(exported, tmp_path):
    shutil.copytree(exported / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "assets.extra")
    assert "of another program" in fails("evaluate", tmp_path, "--data", "x.csv")


def test_export_of_nothing_is_one_sentence(tmp_path):
    assert call("export", tmp_path / "none", "--output-dir", tmp_path / "a").exit_code == 1
    assert not (tmp_path / "a").exists()
