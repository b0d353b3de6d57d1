"""Pieces in JSON: frames of pitches, and events."""

import json
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers.music_json import read_music_json
from common.data.readers.note_grid import QuantizationStats, UnreadablePiece


def read(value, steps_per_beat=4):
    return list(read_music_json(value if isinstance(value, bytes) else json.dumps(value).encode(), steps_per_beat))


def only(value, steps_per_beat=4):
    (found,) = read(value, steps_per_beat)
    assert found.wrong == ""
    return found.piece


def test_a_note_stands_in_each_frame():
    found = only([[60, 67], [], [60], []])
    assert found["events"].tolist() == [[0, 1, 67], [0, 1, 60], [2, 1, 60]]
    assert (found["steps"], found["bar"], found["key"]) == (4, 0, 0)
    assert found["events"].dtype == np.int32


@given(st.lists(st.sets(st.integers(0, 127), max_size=4), min_size=1, max_size=20).filter(any))
def test_frames_come_back_as_they_were(frames):
    found = only([sorted(frame) for frame in frames])
    by_start = {
        start: {row[2] for row in rows} for start, rows in groupby(found["events"].tolist(), lambda row: row[0])
    }
    assert [by_start.get(step, set()) for step in range(found["steps"])] == frames


def test_a_pitch_that_two_voices_share_is_one():
    (found,) = read([[60, 60, 48.0]])
    assert found.piece["events"].tolist() == [[0, 1, 60], [0, 1, 48]]
    assert found.quantised == QuantizationStats(notes=2, dropped=1)


def test_parts_are_told_by_their_names():
    found = read({"train": [[[60]], [[62]]], "validation": [[[64]]], "test": [], "about": "x"})
    assert [(one.location, one.part) for one in found] == [
        ("train piece 1", "train"),
        ("train piece 2", "train"),
        ("valid piece 1", "valid"),
    ]
    assert [one.piece["events"][0, 2] for one in found] == [60, 62, 64]


def test_a_list_of_pieces_has_no_parts():
    assert [(one.location, one.part) for one in read([[[60]], [[], [62]]])] == [("piece 1", ""), ("piece 2", "")]


def test_json_lines_hold_a_piece_each():
    found = read(b'[[60], [62]]\n{"events": [[0, 4, 64]]}\n\nnonsense\n[[], [65]]\n')
    assert [one.location for one in found] == ["piece 1", "piece 2", "piece 3", "piece 4"]
    assert found[2].wrong.startswith("is no JSON (Expecting value")
    assert [one.piece["events"].tolist() for one in found if one.piece] == [
        [[0, 1, 60], [1, 1, 62]],
        [[0, 4, 64]],
        [[1, 1, 65]],
    ]


HELD = {"steps_per_beat": 4, "bar": 16, "key": 3, "steps": 64, "events": [[0, 8, 62], [8, 2, 66]]}


def test_events_keep_their_lengths_bar_and_key():
    for value in (HELD, [HELD]):
        found = only(value)
        assert found["events"].tolist() == HELD["events"]
        assert (found["steps"], found["bar"], found["key"]) == (64, 16, 3)


def test_events_of_another_grid_are_taken_to_ours():
    found = only(HELD, steps_per_beat=2)
    assert found["events"].tolist() == [[0, 4, 62], [4, 1, 66]]
    assert (found["steps"], found["bar"]) == (32, 8)
    (coarse,) = read(HELD, steps_per_beat=1)
    assert coarse.piece["events"].tolist() == [[0, 2, 62], [2, 1, 66]]
    assert coarse.quantised == QuantizationStats(notes=2, moved=1)


def test_events_are_as_long_as_their_notes():
    assert only({"events": [[3, 5, 60]]})["steps"] == 8


@pytest.mark.parametrize(
    ("piece", "told"),
    [
        ([[60], [200]], "has a pitch of 200 in frame 2, where 0 to 127 are pitches of MIDI"),
        ([[60], [-1]], "has a pitch of -1 in frame 2, where 0 to 127 are pitches of MIDI"),
        ([[60.5]], "has a pitch of 60.5 in frame 1, where 0 to 127 are pitches of MIDI"),
        ([[True], [60]], "has a pitch of true in frame 1, where 0 to 127 are pitches of MIDI"),
        ([[60], 62], "has a frame that is no list of pitches, number 2: 62"),
        ([[60], None], "has a frame that is no list of pitches, number 2: null"),
        (7, "is no list of frames but 7"),
        ([[], []], "holds no notes"),
        ([], "holds no notes"),
        ({"events": []}, "holds no notes"),
        ({"events": 3}, 'has no list of "events" but 3'),
        ({"notes": 3}, 'has no list of "events" but null'),
        ({"events": [[0, 0, 60]]}, "has the event [0, 0, 60], number 1, where [start, duration, pitch] is wanted"),
        ({"events": [[0, 1, 128]]}, "has a pitch of 128, where 0 to 127 are pitches of MIDI"),
        ({"events": [[0, 2000000, 60]]}, "is 2,000,000 steps long, where at most 1,000,000 can be used"),
        (HELD | {"key": 25}, 'has the "key" 25, where 0 to 24 are keys'),
        (HELD | {"steps_per_beat": 0}, 'has the "steps_per_beat" 0, where a whole number above 0 is wanted'),
        (HELD | {"bar": "4/4"}, 'has the "bar" "4/4", where a whole number is wanted'),
        (HELD | {"steps": 10**8}, "is 100,000,000 steps long, where at most 1,000,000 can be used"),
    ],
)
def test_a_broken_piece_is_told_with_its_place(piece, told):
    good, bad = read({"train": [[[60]], piece]})
    assert good.piece["events"].tolist() == [[0, 1, 60]]
    assert (bad.location, bad.piece, bad.wrong) == ("train piece 2", None, told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"^is no JSON \(Expecting value, line 1, column 1\)$"),
        (b"[[[60]]", r"^is no JSON \("),
        (b"\xff\xfe[", r"^is no JSON \(byte 0 is no utf-8\)$"),
        (b"[" * 100_000, r"^is JSON of lists in lists without end$"),
        (b"[[" + b"9" * 5000 + b"]]", r"^is JSON with a value that is none \("),
        (b'"tune"', r'^is JSON without pieces \("tune"\), where a list of frames or events is wanted$'),
        (b'{"a": [], "b": 1}', r'^is JSON with "a", "b", where "train", "valid" and "test", or "events", are wanted$'),
        (b"{}", r"^is JSON with nothing, where"),
    ],
)
def test_what_is_no_piece_at_all_is_one_reason(data, told):
    with pytest.raises(UnreadablePiece, match=told):
        read(data)


def test_a_part_that_is_no_list_is_told():
    (found,) = read({"train": 3})
    assert (found.location, found.wrong) == ("train", "is no list of pieces but 3")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*HELD, "train", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(value):
    try:
        for found in read(value):
            assert (found.piece is None) == bool(found.wrong)
    except UnreadablePiece:
        pass


def test_frames_of_chorales_are_read_whole(shared):
    path = shared / "music" / "jsb_chorales" / "jsb-chorales-quarter.train-valid.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    value = json.loads(path.read_bytes())
    found = read(path.read_bytes())
    assert [one.part for one in found].count("train") == len(value["train"]) == 229
    for one, frames in zip(found, value["train"] + value["valid"], strict=True):
        assert one.piece["steps"] == len(frames)
        again = [[] for _ in frames]
        for start, duration, pitch in one.piece["events"].tolist():
            assert duration == 1
            again[start].append(pitch)
        assert again == [sorted(set(map(int, frame)), reverse=True) for frame in frames]
