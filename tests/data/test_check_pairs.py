"""The data report for pairs, by hand-made ones."""

import pytest

from common.data.check_common import format_data_report
from common.data.check_pairs import check_translation_pairs
from common.data.example_filters import filter_examples
from common.errors import DataError
from common.row_errors import RowErrors
from common.text.pair_filter import PairFilter
from common.types import ExampleSource, Splits


def filtered(pairs):
    return filter_examples(pairs, lambda pair: PairFilter().rejection_reason(pair["source"], pair["target"]))


def source(name, rows, row_errors=None):
    return ExampleSource(name, lambda: iter([{"source": a, "target": b} for a, b in rows]), row_errors or RowErrors())


def report(train, valid=(("so", "also"),), test=None):
    return check_translation_pairs(
        Splits(source("train", train), valid and source("valid", valid), test and source("test", test))
    )


TRAIN = [("Yes", "Ja"), ("No, thanks", "Nein, danke"), ("One two three", "Eins zwei drei")]


def test_report_counts_lengths_and_scripts():
    found = report([*TRAIN, ("Moscow", "Москва")])
    assert found["warnings"] == []
    train = found["parts"]["train"]
    assert train["pairs"] == 4
    assert train["source_characters"] == {"median": 6, "95%": 13, "99%": 13, "max": 13}
    assert train["target_words"] == {"median": 1, "95%": 3, "99%": 3, "max": 3}
    assert train["target_by_source_length"] == {"5%": 0.67, "median": 1.0, "95%": 1.1}  # 2/3, 6/6, 14/13, 11/10
    assert train["source_scripts"] == {"latin": 1.0}
    assert train["target_scripts"] == {"latin": 0.7931, "cyrillic": 0.2069}  # 23 and 6 of 29 letters
    assert (train["empty_sides"], train["equal_sides"], train["duplicates"], train["several_targets"]) == (0, 0, 0, 0)


def test_copies_equal_sides_and_several_targets_are_counted():
    found = report([*TRAIN, ("YES ", "ja"), ("yes", "Jawohl"), ("OK", "OK"), ("", "x")])
    train = found["parts"]["train"]
    assert (train["duplicates"], train["several_targets"], train["equal_sides"], train["empty_sides"]) == (1, 1, 1, 1)
    assert any("1 side of a pair of the train part is empty." in warning for warning in found["warnings"])
    assert any("14% of the pairs of the train part have two equal sides" in warning for warning in found["warnings"])


def test_sources_in_two_parts_are_a_warning():
    found = report(TRAIN, test=[("yes", "Doch"), ("Why", "Warum")])
    assert found["overlap"] == {"train and valid": 0, "train and test": 1, "valid and test": 0}
    assert found["parts"]["test"]["several_targets"] == 1
    assert any("1 source stands in both train and test" in warning for warning in found["warnings"])


def test_many_targets_for_one_source_are_a_warning():
    found = report([("Yes", "Ja"), ("Yes", "Jawohl"), ("Yes", "Doch")])
    assert any("67% of the pairs of the train part have a source that also has" in one for one in found["warnings"])


def test_swapped_sides_and_other_scripts_are_warnings():
    russian = [("Yes", "Да"), ("No", "Нет")]
    swapped = report(russian, [("Да", "Yes")])["warnings"]
    assert swapped == ["The sides of the valid part are written as those of training the other way round: swap them."]
    other = report(russian, [("Why", "Warum")])["warnings"]
    assert other == ["The targets of the valid part are mostly latin, those of training cyrillic."]


def test_targets_of_another_length_are_a_warning():
    found = report([("Yes", "A long tale of something else entirely"), ("No", "Another tale without any end")])
    assert any("times as long as their sources or more: is one of them no translation?" in w for w in found["warnings"])


def test_what_was_not_used_is_told_once():
    row_errors = RowErrors()
    rows = [*TRAIN, ("a", "a"), ("b", "b")]
    train = filtered(source("all", rows, row_errors))
    found = check_translation_pairs(Splits(train, source("all", TRAIN, row_errors)))
    assert found["parts"]["train"]["left_out"] == {"with two equal sides": 2}
    assert "broken_rows" not in found["parts"]["valid"]


def test_no_training_pair_is_an_error_and_an_empty_part_a_warning():
    with pytest.raises(DataError, match="train holds no training example"):
        report([])
    found = check_translation_pairs(Splits(source("train", TRAIN), source("valid", [])))
    assert found["parts"]["valid"] == {"pairs": 0}
    assert "The valid part is empty." in found["warnings"]


def test_report_for_people_is_a_table(capsys):
    from rich.console import Console

    Console(width=120).print(format_data_report(report([*TRAIN, ("12", "12")])))
    shown = capsys.readouterr().out
    assert "target by source length" in shown and "latin" in shown
