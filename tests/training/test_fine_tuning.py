"""Runs that begin with the weights of another: what they take, how they are told, and going on."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from common import discovery
from common.config import get_config_fields
from common.reports.compare import PER_EXAMPLE_METRICS
from common.runtime.atomic_io import load_npz, read_json
from common.runtime.run_dir import Run
from common.training.transfer import FILE, WeightTransferPlan, load_transfer_report
from common.types import ExampleSource
from tests.helpers.cli_calls import SMALL, call, fails, good, small_data, tiny_texts, write
from tests.helpers.trainers import SMALL_OF, assert_same_weights, made_up

NEW = [(f"{text} zebra", label) for text, label in tiny_texts(60, seed=5)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a source run, `large`, on 200 texts, and few.csv, of 60 others with a word of their own."""
    folder = tmp_path_factory.mktemp("tuning")
    write(folder / "large.csv", tiny_texts(200))
    write(folder / "few.csv", NEW)
    good("run", "sentiment", "--data", folder / "large.csv", "--run-dir", folder / "large", *SMALL)
    return folder


def tune(place, name, *words):
    """What a run on few.csv says, fine-tuned from the source unless told otherwise."""
    begin = () if "--init-from" in words else ("--init-from", place / "large")
    ends = () if "--epochs" in words else ("--epochs", "2")
    result = call("run", "sentiment", "--data", place / "few.csv", "--run-dir", place / name, *begin, *ends, *words)
    assert result.exit_code == 0, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def compared(place):
    """What a fine-tuned run says that is compared with one from scratch."""
    return tune(place, "compared", "--compare-from-scratch")


def test_weights_are_told_by_kind_and_kept_in_the_folder(place, compared):
    assert re.search(r"Weights of .*large:\n  copied +[\d,]+  .*\n  extended +[\d,]+  .*words/embeddings", compared)
    report = read_json(place / "compared" / FILE)
    shapes = {path: value.size for path, value in load_npz(place / "compared" / "best_weights.npz").items()}
    assert report["weights"]["copied"] + report["weights"]["extended"] + report["weights"]["initialized"] == sum(
        shapes.values()
    )
    assert report["weights"]["initialized"] == report["weights"]["unused"] == 0
    words = [read_json(place / name / "assets.json")["words"] for name in ("large", "compared")]
    assert words[1][: len(words[0])] == words[0] and "zebra" in words[1][len(words[0]) :]
    kept, new = report["extended"]["words/embeddings"]["rows"][0]
    assert (kept, new) == (len(words[0]) + 3, len(words[1]) - len(words[0]))  # padding, boundary, unknown


def test_source_tuned_and_scratch_are_compared_on_the_same_examples(place, compared):
    metrics = read_json(place / "compared" / "metrics.json")
    found = metrics["comparison"]
    new, old = found["held_out"]["new"], found["held_out"]["base_run"]
    assert (found["metric"], found["split"]) == ("accuracy", "test")
    assert new["examples"] == metrics["examples"]["test"] == 6
    assert old["examples"] == read_json(place / "large" / "metrics.json")["examples"]["test"]
    assert new["tuned"][0] == pytest.approx(metrics["test"]["accuracy"])
    assert old["base_run"][0] == pytest.approx(read_json(place / "large" / "metrics.json")["test"]["accuracy"])
    scratch = read_json(place / "compared" / "from_scratch" / "metrics.json")
    assert new["from_scratch"][0] == pytest.approx(scratch["test"]["accuracy"])
    assert new["tuned_minus_scratch"][0] == pytest.approx(new["tuned"][0] - new["from_scratch"][0])
    for rows in (new, old):
        for name in rows.keys() - {"examples"}:
            value, low, high = rows[name]
            assert low <= value <= high
    parts = load_npz(place / "compared" / PER_EXAMPLE_METRICS)  # hits and examples
    assert {name: hits[:, 0].mean() for name, hits in parts.items()} == pytest.approx(
        {f"{name} new": new[name][0] for name in ("base_run", "from_scratch", "tuned")}
        | {f"{name} base_run": old[name][0] for name in ("base_run", "tuned")}
    )
    assert "fine-tuned - from scratch" in compared and "base run's held-out" in compared
    assert "Fine-tuned and not" in (place / "compared" / "report.html").read_text()


def test_scratch_has_none_of_the_sources_words_and_settings_of_its_own(place, compared):
    assert "zebra" in read_json(place / "compared" / "from_scratch" / "assets.json")["words"]
    mine, scratch = (
        read_json(place / name / "config.json")["settings"] for name in ("compared", "compared/from_scratch")
    )
    assert scratch["init_from"] is None and scratch["lstm_units"] == mine["lstm_units"] == 8
    tuned = discovery.load_recipe_config("sentiment").TUNED
    default = get_config_fields(discovery.load_recipe_config("sentiment").Config)["learning_rate"].default
    assert (mine["learning_rate"], scratch["learning_rate"]) == (tuned["learning_rate"], default)


def test_an_export_and_a_file_in_a_run_give_what_the_run_gives(place, compared):
    good("export", place / "large", "--output-dir", place / "export")
    tune(place, "by_export", "--init-from", place / "export")
    tune(place, "by_file", "--init-from", place / "large" / "best_weights.npz")
    run, export, file = (load_npz(place / name / "best_weights.npz") for name in ("compared", "by_export", "by_file"))
    assert_same_weights(run, export)
    assert_same_weights(run, file)
    (index,) = (place / "export").glob("*/variables/variables.index")
    index.write_bytes(index.read_bytes()[:20])
    words = ("--data", place / "few.csv", "--init-from", place / "export", "--run-dir", place / "none")
    assert "is damaged" in fails("run", "sentiment", *words)


def test_a_file_alone_gives_what_has_no_names(place):
    shutil.copy(place / "large" / "best_weights.npz", place / "alone.npz")
    told = tune(place, "by_weights", "--init-from", place / "alone.npz", "--embedding-dim", "8", "--lstm-units", "8")
    report = read_json(place / "by_weights" / FILE)
    assert "lstm_1_forward/lstm_cell/kernel" in report["copied"] and "words/embeddings" in report["initialized"]
    assert "base run's held-out" not in told


def test_a_setting_that_weights_depend_on_must_be_the_sources(place):
    words = (
        "run",
        "sentiment",
        "--data",
        place / "few.csv",
        "--run-dir",
        place / "none",
        "--init-from",
        place / "large",
    )
    told = fails(*words, "--lstm-units", "16", status=2)
    assert "--lstm-units is 16, but" in told and "has 8" in told
    assert not (place / "none").exists()
    good(*words, "--lstm-units", "8", "--pooled-dropout", "0.1", "--print-config")
    shown = good(*words, "--print-config", "--seed", "3").splitlines()
    assert f"lstm_units = 8  # {place / 'large'}" in shown
    assert "learning_rate = 0.001  # default of fine-tuning" in shown
    assert "seed = 3  # flag" in shown and "replay_ratio = 0.0  # default" in shown


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--init-from", "nowhere"], 1, "nowhere is no run"),
        (["--init-from", "{}/few.csv"], 1, "no .npz file of weights"),
        (["--freeze-through", "encoder"], 2, "--freeze-through is of fine-tuning"),
        (
            ["--init-from", "{}/large", "--freeze-through", "middle"],
            2,
            "the layer groups of this network are: embedding, encoder, head",
        ),
        (
            ["--init-from", "{}/large", "--gradual-unfreeze-ratio", "0.6", "--new-layers-first-ratio", "0.5"],
            2,
            "1 or more together",
        ),
    ],
)
def test_what_cannot_be_begun_with_is_one_sentence(place, words, status, told):
    words = [word.format(place) for word in words]
    found = fails("run", "sentiment", "--data", place / "few.csv", "--run-dir", place / "bad", *words, status=status)
    assert told in found
    assert not (place / "bad").exists()


def test_damaged_and_foreign_sources_are_refused(place, tmp_path):
    shutil.copytree(place / "large", tmp_path / "damaged")
    content = (tmp_path / "damaged" / "best_weights.npz").read_bytes()
    (tmp_path / "damaged" / "best_weights.npz").write_bytes(content[: len(content) // 2])
    shutil.copytree(place / "large", tmp_path / "foreign")
    about = json.loads((tmp_path / "foreign" / "config.json").read_text()) | {"recipe": "ner"}
    (tmp_path / "foreign" / "config.json").write_text(json.dumps(about))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    shutil.copytree(place / "large", tmp_path / "wordless")
    assets = read_json(tmp_path / "wordless" / "assets.json")
    (tmp_path / "wordless" / "assets.json").write_text(json.dumps({k: v for k, v in assets.items() if k != "words"}))
    for name, told in (
        ("damaged", "is damaged"),
        ("wordless", "its assets lack 'words'"),
        ("foreign", "a run of ner, and this is one of sentiment"),
        ("other.npz", "Nothing of"),
    ):
        words = ("--data", place / "few.csv", "--run-dir", tmp_path / "run", "--init-from", tmp_path / name)
        assert told in fails("run", "sentiment", *words, *SMALL)
        assert not (tmp_path / "run").exists()


def test_doubtful_data_is_warned_of(place, tmp_path):
    letters = str.maketrans("abcdefghijklmnoprstuvwy", "абцдефгхийклмнопрстувыя")
    strange = [(text.translate(letters), {"good": "Good", "bad": "bad"}[label]) for text, label in tiny_texts(60)]
    write(tmp_path / "strange.csv", strange)
    result = call(
        "run",
        "sentiment",
        "--data",
        tmp_path / "strange.csv",
        "--run-dir",
        tmp_path / "run",
        "--epochs",
        "1",
        "--init-from",
        place / "large",
    )
    assert result.exit_code == 0, result.stderr
    assert 'Warning: "Good" is new, and the base run has "good"' in result.stderr
    assert "written in Cyrillic" in result.stderr
    assert "of the most frequent words are known" in result.stderr


def test_replay_trains_on_some_of_the_sources_data(place, compared, tmp_path):
    told = tune(place, "replayed", "--replay-ratio", "0.5")
    alone = read_json(place / "compared" / "metrics.json")["examples"]["train"]
    count = read_json(place / "replayed" / "metrics.json")["examples"]["train"]
    assert 0.3 * 160 < count - alone < 0.7 * 160
    assert "again 50% of" in told
    share = read_json(place / "replayed" / "assets.json")["own_share"]
    assert share == pytest.approx(alone / count)
    known = {"label_counts": [1_500, 1_000], "num_words": 0}
    recipe, config = (
        discovery.load_recipe("sentiment"),
        discovery.load_recipe_config("sentiment").Config(init_from="source"),
    )
    epochs = [recipe.resolve_defaults(config, known | more).epochs for more in ({}, {"own_share": 0.5})]
    assert epochs == [10, 20]  # only the new examples count
    assert recipe.resolve_defaults(config, known | {"labels_all_known": True}).epochs == 5
    shutil.copytree(place / "large", tmp_path / "moved")
    about = json.loads((tmp_path / "moved" / "config.json").read_text())
    about["settings"]["data"] = [str(tmp_path / "gone.csv")]
    (tmp_path / "moved" / "config.json").write_text(json.dumps(about))
    words = ("run", "sentiment", "--data", place / "few.csv", "--init-from", tmp_path / "moved", "--epochs", "1")
    assert "--replay-ratio needs the data of" in fails(*words, "--run-dir", tmp_path / "a", "--replay-ratio", "0.5")
    result = call(*words, "--run-dir", tmp_path / "b")
    assert result.exit_code == 0 and "own task is forgotten is not measured: " in result.stderr
    assert list(read_json(tmp_path / "b" / "metrics.json")["comparison"]["held_out"]) == ["new"]


def test_what_a_model_was_trained_on_is_left_out_of_its_comparison(place, tmp_path):
    write(tmp_path / "seen.csv", tiny_texts(200)[:60])
    words = ("--data", place / "few.csv", "--test", tmp_path / "seen.csv", "--init-from", place / "large")
    result = call("run", "sentiment", *words, "--epochs", "1", "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    metrics = read_json(tmp_path / "run" / "metrics.json")
    told = re.search(r"(\d+) examples of .*seen.csv.* stand in .*large.csv", result.stderr)
    assert told, result.stderr
    assert metrics["examples"]["test"] == 60
    assert metrics["comparison"]["held_out"]["new"]["examples"] == 60 - int(told[1]) < 30


def test_a_source_whose_data_has_changed_is_not_compared_on_it(place, tmp_path):
    shutil.copytree(place / "large", tmp_path / "source")
    write(tmp_path / "large.csv", [*tiny_texts(200), ("another row", "good")])
    about = json.loads((tmp_path / "source" / "config.json").read_text())
    about["settings"]["data"] = [str(tmp_path / "large.csv")]
    (tmp_path / "source" / "config.json").write_text(json.dumps(about))
    words = ("run", "sentiment", "--data", place / "few.csv", "--init-from", tmp_path / "source", "--epochs", "1")
    result = call(*words, "--run-dir", tmp_path / "run")
    assert result.exit_code == 0 and "has changed since it was trained on" in result.stderr
    assert "has changed since it was trained on" in fails(*words, "--run-dir", tmp_path / "b", "--replay-ratio", "0.5")


def test_a_finished_part_is_not_trained_again_and_the_source_may_be_gone(place, tmp_path):
    """A run whose source is deleted after its first checkpoint goes on by what it keeps."""
    shutil.copytree(place / "large", tmp_path / "source")
    words = (
        "--data",
        place / "few.csv",
        "--init-from",
        tmp_path / "source",
        "--compare-from-scratch",
        "--cv-folds",
        "2",
    )
    good("run", "sentiment", *words, "--epochs", "2", "--run-dir", tmp_path / "run")
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/*/best_weights.npz")}
    assert len(first) == 3
    shutil.rmtree(tmp_path / "source")
    (tmp_path / "run" / "metrics.json").unlink()
    result = call("run", "sentiment", "--resume", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "What is forgotten is not measured" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in first} == first
    rows = read_json(tmp_path / "run" / "metrics.json")["comparison"]["held_out"]["new"]
    assert {"base_run", "from_scratch", "tuned"} <= rows.keys()
    good("run", "sentiment", "--resume", tmp_path / "run", "--epochs", "3")
    for part in (".", "from_scratch", "fold-1", "fold-2"):
        assert len(Run.open(tmp_path / "run" / part).history()) == 3


@pytest.mark.slow
def test_what_is_trained_from_scratch_after_a_stop_has_the_settings_that_it_would_have_had(place, tmp_path):
    """Epochs that the recipe fitted to fine-tuning are not those of scratch; those that were asked for are."""

    def scratch_epochs(*words):
        result = call("run", "sentiment", *words)
        assert result.exit_code == 0, result.stderr
        return read_json(tmp_path / "run" / "from_scratch" / "config.json")["settings"]["epochs"]

    def stopped():
        shutil.rmtree(tmp_path / "run" / "from_scratch")
        (tmp_path / "run" / "metrics.json").unlink()

    words = (
        "--data",
        place / "few.csv",
        "--init-from",
        place / "large",
        "--compare-from-scratch",
        "--run-dir",
        tmp_path / "run",
    )
    fitted = scratch_epochs(*words)
    tuned = read_json(tmp_path / "run" / "config.json")["settings"]["epochs"]
    assert tuned != fitted
    stopped()
    assert scratch_epochs("--resume", tmp_path / "run") == fitted
    more = max(tuned, fitted) + 1
    assert scratch_epochs("--resume", tmp_path / "run", "--epochs", more) == more
    stopped()
    assert scratch_epochs("--resume", tmp_path / "run") == more


def test_a_run_killed_before_its_first_checkpoint_goes_on_from_the_source(place, compared, tmp_path):
    shutil.copytree(place / "compared", tmp_path / "run")
    for name in ("checkpoint.npz", "best_weights.npz", "history.jsonl", "metrics.json", FILE):
        (tmp_path / "run" / name).unlink()
    good("run", "sentiment", "--resume", tmp_path / "run")
    assert_same_weights(*(load_npz(folder / "best_weights.npz") for folder in (place / "compared", tmp_path / "run")))
    assert read_json(tmp_path / "run" / FILE) == read_json(place / "compared" / FILE)


@pytest.mark.slow
def test_fine_tuning_on_several_devices_and_in_parts_gives_the_numbers_of_one(place, tmp_path):
    words = [
        "--data",
        place / "few.csv",
        "--init-from",
        place / "large",
        "--epochs",
        "2",
        "--no-stochastic-regularization",
        "--compare-from-scratch",
    ]
    words += ["--l2-sp", "1", "--layerwise-lr-decay", "0.5", "--gradual-unfreeze-ratio", "0.3", "--batch-size", "16"]
    good("run", "sentiment", *words, "--run-dir", tmp_path / "one")
    line = [sys.executable, ROOT / "cli.py", "run", "sentiment", *words, "--run-dir", tmp_path / "two"]
    line += ["--strategy", "mirrored", "--devices", "cpu:2", "--gradient-accumulation-steps", "2"]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (load_npz(tmp_path / name / "best_weights.npz") for name in ("one", "two"))
    assert_same_weights(one, two, tolerance=1e-4)
    one, two = (read_json(tmp_path / name / "metrics.json")["comparison"] for name in ("one", "two"))
    assert one["held_out"].keys() == two["held_out"].keys()


def test_what_a_source_can_do_is_not_lost():
    """Held notes of music, and placeholders of translations, where the new data has none."""
    recipe, config = discovery.load_recipe("music"), discovery.load_recipe_config("music").Config()
    struck = made_up("music", 8)
    assert recipe.build_assets(config, ExampleSource("made up", lambda: iter(struck)))["has_held_notes"] is False
    known = {**recipe.build_assets(config, ExampleSource("made up", lambda: iter(struck))), "has_held_notes": True}
    assert recipe.extend_assets(config, ExampleSource("made up", lambda: iter(struck)), known)["has_held_notes"] is True
    recipe, config = (
        discovery.load_recipe("translation"),
        discovery.load_recipe_config("translation").Config(vocabulary_size=300),
    )
    plain = [{"text": "one two", "target": "eins zwei"}] * 4
    marked = [{"text": "%(n)s of {0}", "target": "{0} von %(n)s"}] * 4
    source = recipe.build_assets(config, ExampleSource("made up", lambda: iter(marked)))
    assert recipe.extend_assets(config, ExampleSource("made up", lambda: iter(plain)), source)["placeholders"] is True
    other = recipe.build_assets(config, ExampleSource("made up", lambda: iter(plain)))
    found = recipe.extend_assets(config, ExampleSource("made up", lambda: iter(marked)), other)
    assert found["pieces"][: len(other["pieces"])] == other["pieces"]
    assert len(found["pieces"]) == len(other["pieces"]) + 32  # 16 marks, with and without a blank before them


@pytest.mark.parametrize(("labels", "known"), [("ab", True), ("abc", False), ("bc", False)])
def test_labels_that_the_source_knows_take_fewer_epochs(labels, known):
    recipe, config = discovery.load_recipe("sentiment"), discovery.load_recipe_config("sentiment").Config()

    def texts(names):
        return ExampleSource("made up", lambda: iter({"text": f"word {name}", "label": name} for name in names * 3))

    source = recipe.build_assets(config, texts("ab"))
    found = recipe.extend_assets(config, texts(labels), source)
    assert found["labels_all_known"] is known
    tuned = recipe.resolve_defaults(discovery.load_recipe_config("sentiment").Config(init_from="source"), found)
    assert tuned.epochs == (5 if known else 20)


def test_folds_score_every_example_once_and_a_finished_run_has_nothing_left(place):
    told = tune(place, "folded", "--cv-folds", "3")
    metrics = read_json(place / "folded" / "metrics.json")
    each = [read_json(place / "folded" / f"fold-{number}" / "metrics.json") for number in (1, 2, 3)]
    assert sum(one["examples"]["test"] for one in each) == len(NEW)
    accuracy = metrics["folds"]["metrics"]["accuracy"]
    assert accuracy["values"] == [one["test"]["accuracy"] for one in each]
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["std"] == pytest.approx(np.std(accuracy["values"], ddof=1))
    assert "3 folds, mean and standard deviation: accuracy" in told
    again = call("run", "sentiment", "--resume", place / "folded")
    assert again.exit_code == 0 and "is finished" in again.stderr


def test_few_held_out_examples_are_told_to_tell_little(place, tmp_path):
    result = call("run", "sentiment", "--data", place / "few.csv", "--run-dir", tmp_path / "run", *SMALL)
    assert "The validation part is too small to choose weights by" in result.stderr
    assert re.search(r"the test part has only 6 examples, by which .*accuracy", result.stderr)
    assert read_json(tmp_path / "run" / "metrics.json")["interval"]["examples"] == 6


def test_frozen_parts_stay_and_the_others_learn(place):
    tune(place, "frozen", "--freeze-through", "encoder", "--epochs", "3")  # the first step has a learning rate of 0
    before, after = (load_npz(place / name / "best_weights.npz") for name in ("large", "frozen"))
    for path in ("lstm_1_forward/lstm_cell/kernel", "affix_vectors/rows/embeddings"):
        np.testing.assert_array_equal(before[path], after[path])
    assert (before["labels/kernel"] != after["labels/kernel"]).any()


def test_a_run_that_goes_on_knows_what_was_copied(place, compared):
    plan = load_transfer_report(Run.open(place / "compared"))
    assert isinstance(plan, WeightTransferPlan)
    assert "labels/kernel" in plan.copied and "words/embeddings" not in plan.copied
    assert "words/embeddings" in plan.extended


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL_OF if name != "sentiment"])
def test_every_recipe_is_fine_tuned_by_its_command(name, tmp_path):
    words = small_data(name, tmp_path)
    good("run", name, *words, "--epochs", "1", "--run-dir", tmp_path / "source")
    data = words[:2]
    result = call(
        "run", name, *data, "--init-from", tmp_path / "source", "--epochs", "1", "--run-dir", tmp_path / "run"
    )
    assert result.exit_code == 0, result.stderr
    report = read_json(tmp_path / "run" / FILE)
    assert report["weights"]["copied"] > 0.9 * sum(report["weights"].values())
    found = read_json(tmp_path / "run" / "metrics.json")["comparison"]["held_out"]
    assert "base_run" in found["new"] and "tuned_minus_base" in found["base_run"]
