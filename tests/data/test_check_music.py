"""The data report for pieces of music, by hand-made ones."""

import io

import numpy as np
import pytest
from rich.console import Console

from common.data.check_common import format_data_report
from common.data.check_music import check_music, count_voices
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import ExampleSource, Splits


def piece(*events, steps=0, bar=16, key=1):
    rows = np.array(events, np.int32).reshape(-1, 3)
    return {"events": rows, "steps": max(steps, *(rows[:, 0] + rows[:, 1]), 0), "bar": bar, "key": key, "file": ""}


def moved(one, by):
    return one | {"events": one["events"] + np.array([0, 0, by], np.int32)}


def source(name, pieces, row_errors=None):
    return ExampleSource(name, lambda: iter(pieces), row_errors or RowErrors())


A = piece((0, 4, 67), (0, 4, 60), (4, 12, 62), steps=20)
B = piece((0, 16, 72), (2, 2, 48), bar=0, key=0)
C = piece((0, 8, 64), (8, 8, 65), (8, 8, 55), (16, 1, 50), bar=12, key=22)


def report(train, valid=(C,), test=None):
    return check_music(Splits(source("train", train), valid and source("valid", valid), test and source("test", test)))


def test_report_counts_notes_steps_voices_pitches_keys_and_bars():
    found = report([A, B, C])
    train = found["parts"]["train"]
    assert (train["pieces"], train["notes"], train["all_steps"]) == (3, 9, 20 + 16 + 17)
    assert train["steps"] == {"median": 17, "95%": 20, "99%": 20, "max": 20}
    # Steps of notes: 4 + 4 + 12, 16 + 2, 8 + 8 + 8 + 1.
    assert train["voices_by_step"] == {"mean": round((20 + 18 + 25) / 53, 2), "most": 2}
    assert train["silent_steps"] == round(4 / 53, 4)
    assert train["note_steps"] == {"median": 8, "95%": 16, "99%": 16, "max": 16}
    assert train["pitches"] == {"lowest": 48, "highest": 72}
    assert train["keys"] == {"A minor": 1, "C major": 1, "not known": 1}
    assert train["bars"] == {"16 steps": 1, "not known": 1, "12 steps": 1}
    assert (train["duplicates"], train["duplicates_transposed"]) == (0, 0)


def test_voices_are_those_that_a_count_of_each_step_gives():
    random = np.random.default_rng(3)
    events = np.stack([random.integers(0, 50, 40), random.integers(1, 9, 40), random.integers(0, 128, 40)], axis=1)
    by_step = [sum(start <= step < start + duration for start, duration, _ in events) for step in range(60)]
    assert count_voices(events, 60).tolist() == by_step


def test_copies_are_counted_also_transposed_ones():
    train = report([A, A, moved(A, 2), moved(A, 2), B])["parts"]["train"]
    assert (train["duplicates"], train["duplicates_transposed"]) == (2, 1)
    assert "3 pieces repeat another one of the train part." in report([A, A, moved(A, 2), moved(A, 2), B])["warnings"]


def test_pieces_in_two_parts_are_a_warning():
    found = report([A, B], valid=[moved(A, -5), C], test=[B, A])
    assert found["overlap"] == {
        "train and valid": 0,
        "train and valid, also transposed": 1,
        "train and test": 2,
        "train and test, also transposed": 2,
        "valid and test": 0,
        "valid and test, also transposed": 1,
    }
    assert (
        "1 piece stands in both train and valid, some perhaps transposed: scores there would be too good. "
        "Remove it from one."
    ) in found["warnings"]


def test_what_was_skipped_is_told_once():
    row_errors = RowErrors()
    row_errors.add("a.mid", "holds no notes")
    row_errors.count_filtered("of other than four parts")
    found = check_music(Splits(source("train", [A], row_errors), source("valid", [C], row_errors)))
    train, valid = found["parts"]["train"], found["parts"]["valid"]
    assert (train["skipped"], train["first_skipped"]) == (1, ["a.mid holds no notes"])
    assert train["left_out"] == {"of other than four parts": 1}
    assert "skipped" not in valid


def test_odd_parts_are_warnings():
    silent = piece((0, 1, 60), steps=40)
    thick = piece(*[(0, 20, pitch) for pitch in range(90, 60, -1)])
    assert (
        "98% of the steps of the train part are silent: cut the silence out of the pieces."
        in report([silent])["warnings"]
    )
    assert "30 notes sound at a time in the train part: are these whole orchestras?" in report([thick])["warnings"]
    short = piece((0, 2, 60))
    assert "2 of the 3 pieces of the train part have under 16 steps." in report([short, moved(short, 1), A])["warnings"]
    told = report([A], valid=[B])["warnings"]
    assert told == ["Pitches of the valid part go from 48 to 72, those of training from 60 to 67."]
    assert any("There is no part for validation" in one for one in report([A], valid=None)["warnings"])


def test_an_empty_part_is_a_warning_but_that_of_training_an_error():
    assert (
        "The test part is empty."
        in check_music(Splits(source("t", [A]), source("v", [C]), source("e", [])))["warnings"]
    )
    with pytest.raises(DataError, match="holds no training example"):
        report([])


def test_the_report_is_printed():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(format_data_report(report([A, B, C, moved(A, 1)])))
    printed = console.export_text()
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    for row in ("pieces 4 1", "duplicates transposed 1 0", "C major 2 -", "most 2 2"):
        assert row in rows
    assert "In both train and valid, also transposed: 1" in printed


def test_tempos_are_those_that_are_known():
    one, other = ({**piece([[0, 1, 60]]), "tempo": tempo} for tempo in (0, 99.6))
    report = check_music(Splits(ExampleSource("train", lambda: iter([one, other, other]))))
    assert report["parts"]["train"]["tempos"]["median"] == 100
    report = check_music(Splits(ExampleSource("train", lambda: iter([one]))))
    assert report["parts"]["train"]["tempos"] is None
