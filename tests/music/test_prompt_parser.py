"""What people type of music: notes, lengths, keys; and what they are told where it cannot be read."""

import re

import music21
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.music.prompt_parser import parse_key, parse_length, parse_notes, prompt_length


def test_notes_follow_each_other_a_beat_each():
    found = parse_notes("C4 E4 G4", 4)
    assert found.tolist() == [[0, 4, 60], [4, 4, 64], [8, 4, 67]]
    assert (found.dtype, parse_notes("", 4).dtype, parse_notes(" ", 4).shape) == (np.int32, np.int32, (0, 3))


def test_a_chord_sounds_together_from_high_to_low_and_no_note_twice():
    assert parse_notes("C4+E4+G4+60 A4", 2).tolist() == [[0, 2, 67], [0, 2, 64], [0, 2, 60], [2, 2, 69]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C4:2", [[0, 24, 60]]),
        ("F#3:0.5", [[0, 6, 54]]),
        ("Bb4:1/3 60", [[0, 4, 70], [4, 12, 60]]),
        ("r C4", [[12, 12, 60]]),
        ("R:0.25 c4+e4:1.5 r d4:0.75", [[3, 18, 64], [3, 18, 60], [33, 9, 62]]),
        ("bb3 b3 Cb4 B#3", [[0, 12, 58], [12, 12, 59], [24, 12, 59], [36, 12, 60]]),
        ("F♯3 B♭4 F##3 Ebb4", [[0, 12, 54], [12, 12, 70], [24, 12, 55], [36, 12, 62]]),
        ("C-1 G9 0 127", [[0, 12, 0], [12, 12, 127], [24, 12, 0], [36, 12, 127]]),
        ("r r:4", []),
    ],
)
def test_names_numbers_durations_and_rests(text, expected):
    assert parse_notes(text, 12).tolist() == expected


def test_steps_count_rests_at_the_end():
    assert [prompt_length(text, 4) for text in ("", "C4", "C4 r", "r:2 C4+E4:0.5 r:0.25")] == [0, 4, 8, 11]


@given(st.lists(st.integers(0, 127), max_size=8))
def test_names_are_those_of_music21(numbers):
    pitches = [music21.pitch.Pitch(midi=number) for number in numbers]
    signs = {None: "", "sharp": "#", "flat": "b"}
    names = [f"{one.step}{signs[one.accidental and one.accidental.name]}{one.octave}" for one in pitches]
    assert parse_notes(" ".join(names), 4)[:, 2].tolist() == numbers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "C4 E G4",
            'The prompt\'s item 2, "E", is no note, chord or rest: write notes such as "C4", "F#3:0.5" or "60"',
        ),
        ("H4", 'item 1, "H4", is no note'),
        ("C4+", 'item 1, "C4+", is no note'),
        ("C4+r", 'item 1, "C4+r", is no note'),
        ("C4,E4", 'item 1, "C4,E4", is no note'),
        ("C44", 'item 1, "C44", is no note'),
        ("1000", 'item 1, "1000", is no note'),
        (":2", 'item 1, ":2", is no note'),
        ("C4 128", 'item 2, "128", is beyond MIDI\'s range: notes go from C-1 (0) to G9 (127)'),
        ("G#9", 'item 1, "G#9", is beyond'),
        ("Cb-1", 'item 1, "Cb-1", is beyond'),
        ("C4:", 'item 1, "C4:", has no number of beats behind its colon'),
        ("C4:0", 'item 1, "C4:0", has no number of beats'),
        ("C4:1/0", 'item 1, "C4:1/0", has no number of beats'),
        ("C4:-1", 'item 1, "C4:-1", has no number of beats'),
        ("C4:1:2", 'item 1, "C4:1:2", has no number of beats'),
        ("r:x", 'item 1, "r:x", has no number of beats'),
        ("C4 C4:0.3", 'item 2, "C4:0.3", does not end on the grid, for a beat has 4 steps: give it a multiple of 1/4'),
        ("C4:999999", 'item 1, "C4:999999", is too long: give it at most 250000 beats'),
    ],
)
def test_an_item_that_cannot_be_read_is_quoted_with_its_place(text, told):
    for function in (parse_notes, prompt_length):
        with pytest.raises(ConfigError, match=re.escape(told)):
            function(text, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16bars", 192),
        ("16 bars", 192),
        ("1bar", 12),
        ("1.5 Bars", 18),
        ("32beats", 128),
        ("1 beat", 4),
        ("64steps", 64),
        ("1step", 1),
        ("30s", 180),  # 90 beats a minute are 6 steps a second
        ("30 sec", 180),
        ("2 seconds", 12),
        ("0.3s", 2),  # 1.8
        (" 8 bars ", 96),
    ],
)
def test_lengths_in_each_unit(text, expected):
    assert parse_length(text, 4, 12, 90.0) == expected


@pytest.mark.parametrize(
    ("text", "bar", "told"),
    [
        ("16", 16, 'The length "16" cannot be read: write such as "16bars", "32beats", "64steps" or "30s".'),
        ("", 16, 'The length "" cannot be read'),
        ("bars", 16, "cannot be read"),
        ("-2bars", 16, "cannot be read"),
        ("2 weeks", 16, "cannot be read"),
        ("2barss", 16, "cannot be read"),
        ("1e9s", 16, "cannot be read"),
        ("4bars", 0, 'is in bars, but how long a bar is is not known: give beats, such as "32beats"'),
        ("0bars", 16, 'The length "0bars" is 0 steps: there must be from 1 to 1,000,000.'),
        ("0.01s", 16, "is 0 steps"),
        ("999999999bars", 16, "is 15,999,999,984 steps"),
    ],
)
def test_lengths_that_cannot_be_are_refused(text, bar, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse_length(text, 4, bar, 120.0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("  ", 0),
        ("C", 1),
        ("c major", 1),
        ("C#", 2),
        ("Db", 2),
        ("D♭ major", 2),
        ("G major", 8),
        ("B", 12),
        ("Cb", 12),
        ("B#", 1),
        ("Bb", 11),
        ("bb", 11),
        ("Bbm", 23),
        ("C minor", 13),
        ("g minor", 20),
        ("F#m", 19),
        ("F# m", 19),
        ("f♯ min", 19),
        ("A Minor", 22),
        ("Em", 17),
        ("CM", 1),
        ("C maj", 1),
        ("Cmaj", 1),
        ("bm", 24),
    ],
)
def test_keys(text, number):
    assert parse_key(text) == number


@pytest.mark.parametrize("text", ["H", "C lydian", "major", "4", "C4", "Am7", "C#b", "G  mayor"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(
        ConfigError, match=re.escape(f'"{text}" is no key: write such as "G major", "g minor", "F#m" or')
    ):
        parse_key(text)
