"""The command line as people and other programs use it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from common import PROJECT_ROOT as ROOT
from common import discovery
from tests.helpers.cli_calls import SMALL, call, fails, good, small_data, tiny_texts, write

# What answers without TensorFlow


LIGHT = (
    "--help",
    "list",
    "run --help",
    "run sentiment --help",
    "run sentiment --epochs 0",
    "run sentimnet",
    "run sentiment --print-config",
    "check sentiment --help",
    "run ner --help",
    "run ner --strategy tpu",
    "launch --help",
    "launch --workers 2 run sentiment --epochs 0",
)


@pytest.mark.parametrize("line", LIGHT)
def test_help_and_usage_errors_import_nothing_heavy(line):
    script = (
        "import sys, runpy\nsys.argv = ['cli.py', *sys.argv[1:]]\n"
        "try:\n    runpy.run_path('cli.py', run_name='__main__')\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'rich', 'tensorflow_datasets'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *line.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "heavy: []"


def test_list_names_every_recipe():
    rows = json.loads(good("list", "--json"))
    assert (
        [row["recipe"] for row in rows]
        == discovery.list_recipes()
        == ["image_classification", "music", "ner", "sentiment", "translation"]
    )
    assert all(row["example_data"] and row["example_input"] for row in rows)


def test_unknown_recipe_is_suggested():
    there_are = ", ".join(discovery.list_recipes())
    message = fails("run", "sentimnet", status=2)
    assert f'There is no recipe "sentimnet" (there are: {there_are}). Did you mean "sentiment"?' in message


def test_unknown_command_is_suggested():
    assert fails("rnu", status=2) == 'There is no command "rnu". Did you mean "run"?'


def test_unknown_option_is_suggested():
    result = call("run", "sentiment", "--epoch", "3")
    assert result.exit_code == 2
    assert "--epochs" in result.stderr


def test_print_config_tells_where_values_come_from(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("epochs = 7\nlstm-units = 32\nseed = 2\n")
    lines = good("run", "sentiment", "--config", file, "--seed", "5", "--print-config").splitlines()
    assert f"epochs = 7  # {file}" in lines
    assert f"lstm_units = 32  # {file}" in lines
    assert "seed = 5  # flag" in lines
    assert "lstm_layers = 1  # default" in lines


def test_config_file_with_an_unknown_setting_is_a_usage_error(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("epoch = 7\n")
    assert fails("run", "sentiment", "--config", file, status=2) == (
        f'{file}: there is no setting "epoch". Did you mean "epochs"?'
    )


@pytest.mark.parametrize("name", ["ner", "music", "translation"])
def test_settings_that_mean_nothing_to_a_recipe_are_refused(name, tmp_path):
    message = fails("run", name, "--class-weights", "balanced", "--run-dir", tmp_path / "run", status=2)
    assert message.startswith("--class-weights is given, but ") and not (tmp_path / "run").exists()


# A run


def test_run_writes_its_measures(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert set(metrics) == {"valid", "test", "interval", "examples", "seconds"}  # of few examples
    assert {"accuracy", "macro_f1", "log_loss", "calibration_error", "per_label", "confusion_matrix"} <= set(
        metrics["test"]
    )
    assert sum(metrics["examples"].values()) == 200
    assert metrics["test"]["accuracy"] > 0.8


def test_run_writes_a_line_per_epoch(trained):
    lines = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    wanted = {"epoch", "loss", "valid_loss", "valid_accuracy", "seconds", "examples_per_second", "input_wait_ratio"}
    assert all(wanted <= set(line) for line in lines)


def test_validation_by_logits_equals_validation_by_raw_texts(trained):
    # The last epoch's measures came from encoded arrays, the final ones from raw texts through serving_default. The
    # validation part is so small that the last weights are kept.
    lines = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    final = json.loads((trained / "metrics.json").read_text())["valid"]
    assert lines[-1]["valid_accuracy"] == final["accuracy"]
    assert lines[-1]["valid_log_loss"] == pytest.approx(final["log_loss"], abs=1e-5)


def test_run_leaves_curves_and_a_report(trained):
    assert list((trained / "tensorboard").glob("events.*"))
    page = (trained / "report.html").read_text()
    assert "Confusion matrix" in page
    assert "data:image/svg+xml" in page


def test_run_again_is_finished(trained, reviews):
    result = call("run", "sentiment", "--data", reviews, "--run-dir", trained, *SMALL, "--epochs", "6")
    assert result.exit_code == 0
    assert result.stdout.strip() == str(trained)
    assert "is finished" in result.stderr


def test_resume_with_another_value_names_both(trained):
    assert fails("run", "sentiment", "--resume", trained, "--lstm-units", "9", status=2).startswith(
        f"{trained} was begun with lstm_units 8, and now it is 9."
    )


def test_more_epochs_train_a_finished_run_further(tmp_path, reviews):
    good("run", "sentiment", "--data", reviews, "--run-dir", tmp_path / "a", *SMALL)
    good("run", "sentiment", "--resume", tmp_path / "a", "--epochs", "3")
    assert len((tmp_path / "a" / "history.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "a" / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", discovery.list_recipes())
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, name):
    words = [sys.executable, ROOT / "cli.py", "run", name, *small_data(name, tmp_path), "--epochs", "12"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*words, "--run-dir", whole], check=True, capture_output=True)
    process = subprocess.Popen([*words, "--run-dir", cut], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            process.kill()
            break
    process.wait()
    process.stderr.close()
    assert not (cut / "metrics.json").exists()
    done = subprocess.run([*words, "--run-dir", cut], check=True, capture_output=True, text=True)
    assert "Resumed" in done.stderr
    for file in ("checkpoint.npz", "best_weights.npz"):
        with np.load(whole / file) as first, np.load(cut / file) as second:
            different = [n for n in first.files if n != "numbers" and not np.array_equal(first[n], second[n])]
        assert different == []


@pytest.mark.slow
def test_deterministic_runs(tmp_path, reviews):
    # In a process of its own, since TensorFlow cannot leave this mode.
    words = [sys.executable, ROOT / "cli.py", "run", "sentiment", "--data", reviews, *SMALL, "--deterministic"]
    subprocess.run([*words, "--run-dir", tmp_path / "a"], check=True, capture_output=True)
    assert (tmp_path / "a" / "metrics.json").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, reviews):
    words = [
        sys.executable,
        ROOT / "cli.py",
        "run",
        "sentiment",
        "--data",
        reviews,
        *SMALL,
        "--epochs",
        "4000",
        "--patience",
        "0",
        "--run-dir",
        tmp_path / "a",
    ]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("epoch 2/"):
            process.send_signal(2)
    process.wait()
    assert process.returncode == 1
    assert seen[-1] == f"Error: Stopped. Go on with: python cli.py run sentiment --resume {tmp_path / 'a'}\n"
    assert "Traceback" not in "".join(seen)
    assert not [line for line in seen if line.startswith(("I0000", "WARNING", "W0000", "E0000"))]
    assert (tmp_path / "a" / "checkpoint.npz").exists()


def test_valid_leaves_all_data_to_training_and_gives_no_test_score(tmp_path, reviews):
    dev = write(tmp_path / "dev.csv", tiny_texts(40, seed=9))
    good("run", "sentiment", "--data", reviews, "--run-dir", tmp_path / "a", *SMALL, "--valid", dev)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["examples"] == {"train": 200, "valid": 40}
    assert "test" not in metrics


def test_run_trains_on_a_public_set_by_name(tmp_path, tfds_folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    good("run", "sentiment", "--data", "tfds:tiny", "--run-dir", tmp_path / "a", *SMALL, "--epochs", "1", "--offline")
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["examples"]["train"] + metrics["examples"]["valid"] == 60
    assert metrics["examples"]["test"] == 15
    assert json.loads(good("evaluate", tmp_path / "a", "--data", "tfds:tiny", "--json"))["examples"] == 15


def test_max_minutes_alone_does_not_lengthen_what_more_epochs_make_worse(tmp_path, reviews):
    good("run", "sentiment", "--data", reviews, "--run-dir", tmp_path / "a", *SMALL[:4], "--max-minutes", "0.1")
    settings = json.loads((tmp_path / "a" / "config.json").read_text())["settings"]
    assert (settings["epochs"], settings["max_minutes"]) == (8, 0.1)
    assert (tmp_path / "a" / "metrics.json").exists()


def test_default_data_without_a_network_names_the_file_and_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    message = fails("run", "sentiment", "--offline", "--run-dir", tmp_path / "a")
    assert str(tmp_path / "kerasserole" / "archives" / "vaderSentiment-3.3.2.tar.gz") in message
    assert not (tmp_path / "a").exists()


def test_source_and_licence_of_the_default_data_are_kept_in_the_run(tmp_path):
    good("run", "sentiment", "--limit", "60", "--run-dir", tmp_path / "a", *SMALL, "--epochs", "1")
    kept = json.loads((tmp_path / "a" / "config.json").read_text())["data"]["attribution"]
    assert kept["licence"] == "MIT"
    assert "ICWSM 2014" in kept["source"]


# A run's use


def test_evaluate_prints_one_flat_object(trained, reviews):
    measured = json.loads(good("evaluate", trained, "--data", reviews, "--json"))
    assert measured["examples"] == 200
    assert 0.8 < measured["accuracy"] <= 1
    assert isinstance(measured["per_label"], dict)


def test_predict_keeps_order_and_gives_scores(trained):
    lines = good("predict", trained, "a great film", "", "an awful plot " * 50).splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["text"] for one in found] == ["a great film", "", "an awful plot " * 50]
    assert [found[0]["label"], found[2]["label"]] == ["good", "bad"]
    assert all(sum(one["scores"].values()) == pytest.approx(1, abs=1e-5) for one in found)


def test_predict_reads_stdin_and_reports_bad_lines(trained):
    result = call("predict", trained, "-", text=b"great\n\xff\xfe\nawful\n")
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["good", "bad"]
    assert "stdin:2 is not valid utf-8" in result.stderr
    assert result.exit_code == 1


def test_predict_reads_tables_and_json_lines(trained, tmp_path):
    table = write(tmp_path / "a.csv", [("great",), ("awful, really",)], header=("text",))
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "great"}\n{"text": "awful, really"}\n')
    found = [good("predict", trained, "--input", file) for file in (table, lines)]
    assert found[0] == found[1]
    assert json.loads(found[0].splitlines()[1])["text"] == "awful, really"


@pytest.mark.parametrize("name", [pytest.param("ner", marks=pytest.mark.slow), "sentiment"])
def test_copy_makes_a_recipe_that_runs_and_is_trusted_only_when_told(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good("copy", name, "mine")
    good("run", "./mine", *small_data(name, tmp_path), "--run-dir", "a", "--epochs", "2")
    assert "--trust-code" in fails("predict", "a", "great")
    by_copy = good("predict", "a", "great", "--trust-code")
    by_name = good("predict", "a", "great", "--recipe", "./mine")
    assert by_copy == by_name


def test_the_shell_completes_runs_and_recipes(tmp_path, monkeypatch):
    (tmp_path / "runs" / "first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def completed(line, place):
        environment = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": place, "_CLI_PY_COMPLETE": "bash_complete"}
        done = subprocess.run([sys.executable, ROOT / "cli.py"], env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert "plain,runs/first" in completed("cli.py predict ru", "2")
    assert "plain,sentiment" in completed("cli.py run sen", "2")


def test_doctor_tells_versions_and_the_lstm_kernel():
    facts = json.loads(good("doctor", "--json"))["facts"]
    assert facts["tensorflow"].startswith("2.")
    assert "LSTM kernel" in facts


# Bad input


def test_bad_data_is_one_sentence(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    write(tmp_path / "header.csv", [])
    write(tmp_path / "other.csv", [("a", "b", "c")], header=("x", "y", "z"))
    write(tmp_path / "one.csv", [(text, "good") for text, _ in tiny_texts(50)])
    for name in ("missing.csv", "empty.csv", "header.csv", "other.csv", "one.csv", "."):
        for command in ("run", "check"):
            if (command, name) != ("check", "one.csv"):  # a warning there
                message = fails(command, "sentiment", "--data", tmp_path / name)
                assert str(tmp_path / name).rstrip("/.") in message or name in message


def test_a_failed_run_leaves_no_folder(tmp_path):
    data = write(tmp_path / "one.csv", [(text, "good") for text, _ in tiny_texts(50)])
    fails("run", "sentiment", "--data", data, "--run-dir", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path, trained):
    assert "is no run" in fails("predict", tmp_path / "nothing", "x")
    assert "has no config.json" in fails("evaluate", tmp_path, "--data", "x.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert "holds files but no run" in fails("run", "sentiment", "--run-dir", tmp_path / "full")
    assert "is a file" in fails("run", "sentiment", "--run-dir", tmp_path / "full" / "file")


def damaged_copy(trained, tmp_path, name, content):
    import shutil

    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["config.json", "assets.json", "best_weights.npz"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PK\x03\x04 half"], ids=["empty", "cut", "list", "zip"])
def test_damaged_run_files_are_named(trained, tmp_path, name, content):
    assert str(tmp_path / "damaged") in fails("predict", damaged_copy(trained, tmp_path, name, content), "x")


def test_a_damaged_checkpoint_is_named(trained, tmp_path, reviews):
    whole = (trained / "checkpoint.npz").read_bytes()
    folder = damaged_copy(trained, tmp_path, "checkpoint.npz", whole[: len(whole) // 2])
    assert "checkpoint.npz is damaged" in fails("run", "sentiment", "--resume", folder, "--epochs", "9")


def test_a_run_of_another_recipe_is_refused(trained, tmp_path):
    about = json.loads((trained / "config.json").read_text()) | {"recipe": "ner"}
    folder = damaged_copy(trained, tmp_path, "config.json", json.dumps(about).encode())
    assert "is a run of ner, not of sentiment" in fails("run", "sentiment", "--resume", folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_named(tmp_path, reviews):
    tmp_path.chmod(0o500)
    assert "cannot be written" in fails("run", "sentiment", "--data", reviews, "--run-dir", tmp_path / "a")
