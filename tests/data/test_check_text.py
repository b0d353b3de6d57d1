"""The data report, by the command line and by hand-made faults."""

import json
from collections import Counter

from common.data.check_common import quantiles
from tests.helpers.cli_calls import call, good, tiny_texts, write


def report(*words):
    return json.loads(good("check", "sentiment", "--json", *words))


def test_report_counts_labels_lengths_and_broken_rows(tmp_path):
    rows = [*tiny_texts(300), ("one cell",)]
    found = report("--data", write(tmp_path / "a.csv", rows))
    train = found["parts"]["train"]
    assert sum(part["examples"] for part in found["parts"].values()) == 300
    assert set(train["labels"]) == {"bad", "good"}
    assert train["words"]["max"] <= 14
    assert train["broken_rows"] == 1
    assert train["first_broken_rows"] == ["a.csv:302 has 1 cell where the first row has 2"]
    assert found["advised_max_length"] == train["words"]["99%"]


def test_report_of_sound_data_warns_of_nothing(tmp_path):
    assert report("--data", write(tmp_path / "a.csv", tiny_texts(600)))["warnings"] == []


def test_overlap_between_parts_is_a_warning(tmp_path):
    rows = tiny_texts(60)
    train = write(tmp_path / "train.csv", rows)
    test = write(tmp_path / "test.csv", [(f"  {rows[0][0].upper()}", rows[0][1]), *tiny_texts(9, seed=3)[1:]])
    found = report("--data", train, "--test", test, "--split", "100,0,0")
    assert found["overlap"]["train and test"] == 1
    assert any("1 text stands in both train and test" in warning for warning in found["warnings"])


def test_duplicates_and_two_labels_for_one_text_are_seen(tmp_path):
    rows = [("same text", "a"), ("Same  text", "b"), *tiny_texts(60)]
    found = report("--data", write(tmp_path / "a.csv", rows), "--split", "100,0,0")
    assert found["parts"]["train"]["duplicates"] == 1
    assert found["parts"]["train"]["two_labels"] == 1


def test_labels_that_training_lacks_are_a_warning(tmp_path):
    train, test = write(tmp_path / "a.csv", tiny_texts(60)), write(tmp_path / "b.csv", [("x", "odd"), ("y", "good")])
    warnings = report("--data", train, "--test", test, "--split", "100,0,0")["warnings"]
    assert "Labels of the test part that training lacks, always counted as wrong: odd." in warnings


def test_labels_alike_but_for_case_and_one_label_are_warnings(tmp_path):
    alike = [("a text", "Good"), ("b text", "good "), ("c text", "good")] * 20
    assert any(
        "differ in case or blanks only" in w for w in report("--data", write(tmp_path / "a.csv", alike))["warnings"]
    )
    one = [(text, "good") for text, _ in tiny_texts(60)]
    assert any("needs two" in w for w in report("--data", write(tmp_path / "b.csv", one))["warnings"])


def test_unknown_words_are_those_too_rare_to_learn(tmp_path):
    rows = [(f"common word w{number}", "ab"[number % 2]) for number in range(50)]
    found = report("--data", write(tmp_path / "a.csv", rows), "--split", "100,0,0")
    assert found["parts"]["train"]["unknown_words"] == round(1 / 3, 4)


def test_report_for_people_is_a_table(tmp_path):
    shown = good("check", "sentiment", "--data", write(tmp_path / "a.csv", tiny_texts(60)))
    assert "examples" in shown
    assert "Advised --max-length" in shown


def test_strict_makes_a_broken_row_an_error(tmp_path):
    result = call(
        "check", "sentiment", "--strict", "--data", write(tmp_path / "a.csv", [*tiny_texts(60), ("one cell",)])
    )
    assert result.exit_code == 1
    assert "a.csv:62 has 1 cell where the first row has 2" in result.stderr


def test_quantiles_equal_a_sorted_list():
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    assert quantiles(Counter(lengths)) == {"median": 3, "95%": 9, "99%": 9, "max": 9}
