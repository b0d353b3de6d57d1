"""The benchmark of translation: its rows, and what it computes itself; no peer is needed."""

import importlib.util
import json
import subprocess
import sys

import pytest

from common import PROJECT_ROOT as ROOT

SCRIPT = ROOT / "benchmarks" / "translation.py"


def run(*words):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_translation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_names_every_row_and_what_it_lacks(tmp_path):
    result = run("--list", "--peer", tmp_path / "python")
    assert result.returncode == 0
    lines = dict(line.split(": ", 1) for line in result.stderr.splitlines())
    assert list(lines) == ["ours", "ours small", "memory", "opennmt", "opennmt small"]
    assert lines["ours"] == "The recipe with its defaults, by its command line."
    told = "skipped, for it has no environment: make one by --make-peer, or name an interpreter by --peer"
    assert lines["opennmt"] == lines["opennmt small"] == told
    if importlib.util.find_spec("rapidfuzz") is None:
        assert lines["memory"] == (
            "skipped, for rapidfuzz is not installed: pip install -r benchmarks/requirements.txt"
        )


def test_interpreter_without_the_peer_is_named(benchmark, tmp_path):
    python, lacks = benchmark.interpreter(sys.executable, tmp_path, make=False)
    assert python == "" and lacks == f"{sys.executable} does not have it: pip install -r benchmarks/opennmt.txt"


def test_missing_data_is_one_sentence(tmp_path):
    result = run("--only", "ours", "--train", tmp_path / "none.tsv", "--valid", tmp_path / "none.tsv")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ") and "none.tsv" in result.stderr
    assert "Traceback" not in result.stderr


def test_sample_is_evenly_spread(benchmark):
    assert benchmark.sampled(range(7), 4) == [0, 1, 3, 5]
    assert benchmark.sampled(range(3), 4) == [0, 1, 2]


def test_words_are_counted_between_blanks_of_both_sides(benchmark):
    assert benchmark.words([["a dog", "ein  Hund"], ["dogs", ""]]) == 5


def test_scores_of_the_references_are_full(benchmark):
    wanted = ["Zwei Hunde laufen im Schnee.", "Ein Mann liest."]
    assert benchmark.scores(wanted, wanted) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100), "exact": 1}
    assert benchmark.scores([wanted[0], ""], wanted)["exact"] == 0.5


def test_all_are_translated_once_and_in_order_before_speeds_are_taken(benchmark):
    asked = []

    def translate(texts):
        asked.append(len(texts))
        return [text.upper() for text in texts]

    found = benchmark.speeds(translate, ["a", "b", "c"], 2)
    assert found["translations"] == ["A", "B", "C"]
    assert found["sentences"] > 0 and found["alone"] > 0
    assert asked == [2, 1] * 4 + [1] * 4  # all and three passes in batches; one to warm up and three alone


def test_peer_batches_are_counted_without_the_mark_of_the_end(benchmark):
    import tensorflow as tf

    # Two pairs of 3 and 2 source pieces; 4 and 1 target pieces, each with an end.
    batch = {"length": [3, 2]}, {"length": [5, 2]}
    counted = sys.modules["benchmarks.translation_peer"].Counted(tf.data.Dataset.from_tensors(batch))
    assert len(list(counted)) == 1
    assert (counted.pairs, counted.pieces) == (2, 10)


def test_table_is_markdown_with_a_dash_for_what_a_row_has_not(benchmark):
    rows = {"memory": {"bleu": 12.34}, "ours": {"bleu": 40.0, "pieces": 7000.4}}
    head, rule, memory, ours = benchmark.table(rows, ["bleu", "pieces"]).splitlines()
    assert head == "| | BLEU | pieces/s | what it is |" and rule == "|---|---|---|---|"
    assert memory.startswith("| memory | 12.3 | - | A translation memory")
    assert ours.startswith("| ours | 40.0 | 7,000 | The recipe")


def test_ratios_are_of_ours_to_each_peer(benchmark):
    rows = {name: {"pieces": value} for name, value in (("ours small", 9000), ("opennmt", 4500), ("memory", 1))}
    assert list(benchmark.ratios(rows, ["pieces"])) == ["ours small beside opennmt: 2.00 times its pieces/s"]


def test_memory_gives_the_translation_of_the_most_similar_source(benchmark, tmp_path):
    pytest.importorskip("rapidfuzz")
    pairs = [["Save the changes", "Speichern"], ["Delete a file", "Löschen"]]
    row = benchmark.Memory({"parts": {"train": pairs}, "settings": {}, "work": str(tmp_path)})
    row.fit(None)
    assert row.translate(["Delete the files", "Save changes"]) == ["Löschen", "Speichern"]


@pytest.mark.slow
def test_rows_are_measured_in_turns_and_after_training(tmp_path):
    for part, count in (("train", 64), ("valid", 8)):
        for language, verb in (("en", "eats"), ("de", "isst")):
            lines = "".join(f"{number} {verb} {number % 7}\n" for number in range(count))
            (tmp_path / f"{part}.{language}").write_text(lines, encoding="utf-8")
    sources = [f"--{part}={tmp_path / part}.en,{tmp_path / part}.de" for part in ("train", "valid")]
    given = ["--only", "ours small", "--rounds", "1", "--round-pairs", "32", "--minutes", "0.1"]
    small = ["--ours", "--hidden-dim 8 --vocabulary-size 300", "--json", tmp_path / "found.json"]
    result = run(*sources, *given, *small)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["turns"]["ours small"]["pieces"] > 0
    alone = found["alone"]["ours small"]
    assert len(alone["translations"]) == 8 and 0 <= alone["bleu"] <= 100
    assert alone["sentences"] > 0 and alone["words"] > 0
