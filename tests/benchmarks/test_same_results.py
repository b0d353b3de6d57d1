"""What benchmarks/same_results.py compares, and under which names; no training."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.comparison_of_results import (
    NAMES,
    Results,
    SideError,
    compare,
    find_command,
    find_file,
    find_json_difference,
    make_flags,
    match_weights,
    rename_keys,
    rename_path,
)
from benchmarks.small_data import WRITERS, write_small_data
from common import PROJECT_ROOT as ROOT

RESULTS = Results(
    weights={"words/embeddings": np.arange(6, dtype=np.float32).reshape(2, 3), "labels/bias": np.zeros(2, np.float32)},
    scores={"test": {"accuracy": 0.5, "per_label": {"bad": {"support": 3}}}},
    predictions=[{"text": "a", "label": "bad"}, {"text": "b", "label": "good"}],
)


def test_equal_results_are_equal_and_counted():
    row = compare("case", RESULTS, dataclasses.replace(RESULTS))
    assert (row.weights, row.scores, row.predictions, row.difference, row.notes) == (2, 2, 2, "", [])


def test_a_flipped_bit_is_found():
    flipped = RESULTS.weights["words/embeddings"].copy()
    flipped.view(np.uint32)[1, 2] ^= 1
    weights = RESULTS.weights | {"words/embeddings": flipped}
    difference = compare("case", RESULTS, dataclasses.replace(RESULTS, weights=weights)).difference
    assert "words/embeddings[1, 2]" in difference and "1 of 6" in difference


def test_the_sign_of_zero_counts():
    weights = RESULTS.weights | {"labels/bias": np.array([0.0, -0.0], np.float32)}
    assert "labels/bias[1]" in compare("case", RESULTS, dataclasses.replace(RESULTS, weights=weights)).difference


def test_another_type_of_the_same_values_is_found():
    weights = RESULTS.weights | {"labels/bias": np.zeros(2, np.float16)}
    assert "float16" in compare("case", RESULTS, dataclasses.replace(RESULTS, weights=weights)).difference


def test_a_missing_weight_and_a_missing_key_are_reported():
    fewer = {"words/embeddings": RESULTS.weights["words/embeddings"]}
    assert "labels/bias" in compare("case", RESULTS, dataclasses.replace(RESULTS, weights=fewer)).difference
    assert "labels/bias" in compare("case", dataclasses.replace(RESULTS, weights=fewer), RESULTS).difference
    scores = {"test": {"accuracy": 0.5, "per_label": {"bad": {}}}}
    assert "per_label.bad" in compare("case", RESULTS, dataclasses.replace(RESULTS, scores=scores)).difference
    fewer_scores = dataclasses.replace(RESULTS, scores={"test": {"accuracy": 0.5}})
    assert "scores.test.per_label.bad.support is new" in compare("case", fewer_scores, RESULTS).difference


def test_the_last_digit_of_a_score_and_a_missing_prediction_are_found():
    scores = {"test": RESULTS.scores["test"] | {"accuracy": np.nextafter(0.5, 1).item()}}
    assert "accuracy" in compare("case", RESULTS, dataclasses.replace(RESULTS, scores=scores)).difference
    fewer = dataclasses.replace(RESULTS, predictions=RESULTS.predictions[:1])
    assert "predictions.1" in compare("case", RESULTS, fewer).difference


def test_nothing_to_compare_is_not_equal():
    assert compare("case", Results({}, {}, []), Results({}, {}, [])).difference


HELP = """
  --pieces INTEGER RANGE         Subword pieces; see --vocabulary-size.
  --precision [float32|bfloat16] Arithmetic.
  --noise / --no-noise           Dropout.
"""
PRESENT = """
  --vocabulary-size INTEGER RANGE      Subword pieces.
  --precision [float32|mixed_bfloat16] Arithmetic.
  --stochastic-regularization / --no-stochastic-regularization  Dropout.
"""


def test_settings_become_the_flags_that_a_side_has():
    former = NAMES["settings"]["run"] | NAMES["settings"]["translation"]
    settings = {"vocabulary_size": 400, "precision": "mixed_bfloat16", "stochastic_regularization": False}
    assert make_flags(HELP, settings, former) == ["--pieces", "400", "--precision", "bfloat16", "--no-noise"]
    flags = "--vocabulary-size 400 --precision mixed_bfloat16 --no-stochastic-regularization"
    assert make_flags(PRESENT, settings, former) == flags.split()
    with pytest.raises(SideError, match="num_beams, beam"):
        make_flags(HELP, {"num_beams": 2}, former)


def test_commands_are_found_under_either_name():
    assert find_command("  predict             A\n  export-predictions  B\n", "pre-annotate") == "export-predictions"
    assert find_command("  pre-annotate  B\n", "pre-annotate") == "pre-annotate"


def test_former_keys_get_their_present_names_and_times_are_left_out():
    former = {
        "interval": {"measure": "f1", "values": [1, 0, 1]},
        "per_label": {"values": {"f1": 1}},
        "seconds": {"a": 1},
    }
    present = {"interval": {"metric": "f1", "ci95": [1, 0, 1]}, "per_label": {"values": {"f1": 1}}}
    assert rename_keys(former, NAMES["scores"]) == rename_keys(present, NAMES["scores"]) == present


def test_former_keys_of_comparisons_and_folds_get_their_present_names():
    rows = {"tuned": [1, 0, 1], "source": [1, 0, 1], "scratch": [1, 0, 1], "tuned_less_scratch": [0, 0, 0]}
    former = {
        "comparison": {"part": "test", "examples_of": {"new": rows, "source's": {"tuned_less_source": [0, 0, 0]}}},
        "folds": {"count": 2, "measures": {"f1": {"mean": 1.0, "deviation": 0.0, "each": [1.0, 1.0]}}},
    }
    renamed = {"tuned": [1, 0, 1], "base_run": [1, 0, 1], "from_scratch": [1, 0, 1], "tuned_minus_scratch": [0, 0, 0]}
    present = {
        "comparison": {"split": "test", "held_out": {"new": renamed, "base_run": {"tuned_minus_base": [0, 0, 0]}}},
        "folds": {"count": 2, "metrics": {"f1": {"mean": 1.0, "std": 0.0, "values": [1.0, 1.0]}}},
    }
    assert rename_keys(former, NAMES["scores"]) == rename_keys(present, NAMES["scores"]) == present


def test_former_keys_of_assets_and_transfers_get_their_present_names():
    former = {"weights": {"kept": 3, "fresh": 1}, "kept": {"blend/shares": 3}, "unlike": [["Good", "good"]]}
    present = {
        "weights": {"copied": 3, "initialized": 1},
        "copied": {"logit_blend/shares": 3},
        "similar_labels": [["Good", "good"]],
    }
    assert rename_keys(former, NAMES["transfer"]) == rename_keys(present, NAMES["transfer"]) == present
    assert rename_keys({"word_count": 5, "moving": False}, NAMES["assets"]) == {"num_words": 5}


def test_unnamed_layers_are_matched_by_their_former_classes():
    assert rename_path("encoder_block_1/inner/kernel") == "transformer_encoder_layer_1/inner/kernel"
    assert rename_path("blend/shares") == "logit_blend/shares"
    assert rename_path("lstm_cell/bias") == "lstm_cell/bias"
    zero = np.zeros(2)
    old, new = {"blend/shares": zero, "words/rows": zero}, {"words/rows": zero, "logit_blend/shares": zero}
    assert match_weights(old, new) == {"words/rows": "words/rows", "blend/shares": "logit_blend/shares"}
    # A layer that has the name of a former class is another's only if there is none of the same name.
    assert match_weights(old, old | {"logit_blend/shares": zero})["blend/shares"] == "blend/shares"


def test_the_rest_is_matched_by_order_if_all_shapes_agree_and_said_so():
    old, new = {"a": np.zeros(2), "b": np.ones(3)}, {"x": np.zeros(2), "y": np.ones(3)}
    row = compare("case", dataclasses.replace(RESULTS, weights=old), dataclasses.replace(RESULTS, weights=new))
    assert row.difference == "" and len(row.notes) == 2
    assert match_weights(old, {"y": np.ones(3), "x": np.zeros(2)}) == {}


def test_files_are_found_under_either_name(tmp_path):
    assert find_file(tmp_path, "best_weights.npz").name == "best_weights.npz"
    (tmp_path / "best.npz").touch()
    assert find_file(tmp_path, "best_weights.npz").name == "best.npz"


@pytest.mark.parametrize("recipe", WRITERS)
def test_data_are_the_same_at_each_call(recipe, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        data = write_small_data(recipe, folder)
        assert data.train.exists() and data.more.exists() and data.inputs
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in folders]
    assert files[0] and files[0] == files[1]


def test_an_unknown_revision_is_one_sentence():
    script = ROOT / "benchmarks" / "same_results.py"
    done = subprocess.run([sys.executable, script, "no-such-revision"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and "no-such-revision" in done.stderr
    assert done.stdout == ""


def test_a_training_loss_may_differ_by_rounding_and_nothing_else_may():
    old = {"scores.history.0.loss": "1.0382488619", "scores.history.0.valid_loss": "0.5"}
    assert find_json_difference(old, {**old, "scores.history.0.loss": "1.0382488501"}) == ""
    assert "loss: 1.0382488619 became 1.03826" in find_json_difference(old, {**old, "scores.history.0.loss": "1.03826"})
    assert "valid_loss" in find_json_difference(old, {**old, "scores.history.0.valid_loss": "0.50000001"})
