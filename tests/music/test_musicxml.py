"""Written music as music21 reads it back, and files of every kind."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from xml.etree import ElementTree

import music21
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import wavfile

from common.errors import ConfigError
from common.music.midi_writer import encode_midi
from common.music.musicxml import events_to_musicxml
from common.music.render import KINDS, render_music


def array(rows):
    return np.array(rows, np.int32).reshape(-1, 3)


@st.composite
def pieces(draw, longest=20):
    """Events of which no two of one pitch overlap."""
    rows = []
    for pitch in draw(st.sets(st.integers(0, 127), max_size=5)):
        now = 0
        for gap, duration in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, longest)), max_size=5)):
            rows.append((now + gap, duration, pitch))
            now += gap + duration
    return array(sorted(rows, key=lambda row: (row[0], -row[2])))


def read(content):
    return music21.converter.parseData(content, format="musicxml")


def notes(score, steps_per_beat):
    """(start, duration, pitch) in steps, tied notes joined: each part that is tied to one before must follow it."""
    found, tied = [], {}
    for part in score.parts:
        for element in part.flatten().notes:
            start = Fraction(element.offset).limit_denominator(10_000)
            end = start + Fraction(element.quarterLength).limit_denominator(10_000)
            for one in element.notes if element.isChord else [element]:
                kind = one.tie.type if one.tie else None
                row = (
                    tied.pop((one.pitch.midi, start)) if kind in ("stop", "continue") else [start, end, one.pitch.midi]
                )
                row[1] = end
                if kind not in ("stop", "continue"):
                    found.append(row)
                if kind in ("start", "continue"):
                    tied[one.pitch.midi, end] = row
    assert not tied
    return Counter((float(a * steps_per_beat), float((b - a) * steps_per_beat), pitch) for a, b, pitch in found)


def given_notes(events):
    return Counter(map(tuple, events.astype(float).tolist()))


@pytest.mark.slow
@given(pieces(), st.sampled_from([1, 2, 3, 4, 6, 7, 12]), st.integers(0, 40), st.integers(0, 24))
@settings(deadline=None, max_examples=100)
def test_what_is_written_is_read_back(events, steps_per_beat, bar, key):
    assert notes(read(events_to_musicxml(events, steps_per_beat, bar, key, 90.0)), steps_per_beat) == given_notes(
        events
    )


@pytest.mark.parametrize(("steps_per_beat", "bar"), [(4, 16), (4, 12), (4, 0), (3, 9), (12, 36), (4, 14), (1, 1)])
def test_a_piece_of_four_voices_is_read_back(steps_per_beat, bar):
    generator = np.random.default_rng(1)
    rows = []
    for base in (40, 52, 60, 72):
        now = 0
        while now < 100:
            duration = int(generator.integers(1, 4 * steps_per_beat))
            rows.append((now, duration, base + int(generator.integers(0, 8))))
            now += duration
    events = array(sorted(rows))
    score = read(events_to_musicxml(events, steps_per_beat, bar, 3, 100.0))
    assert notes(score, steps_per_beat) == given_notes(events)
    for part in score.parts:  # every bar is full
        full = part.measure(1).timeSignature.barDuration.quarterLength
        assert {float(one.duration.quarterLength) for one in part.getElementsByClass("Measure")} == {float(full)}


def test_chords_rests_and_ties_are_as_they_would_be_written():
    # C4 and E4 of a half note, a rest, then G4 over the bar line: a quarter tied to a dotted quarter.
    part = read(events_to_musicxml(array([(0, 8, 60), (0, 8, 64), (12, 10, 67)]), 4, 16, 1, 100.0)).parts[0]
    first, second = part.getElementsByClass("Measure")
    assert [one.fullName for one in first.notesAndRests] == [
        "Chord {C in octave 4 | E in octave 4} Half",
        "Quarter Rest",
        "G in octave 4 Quarter Note",
    ]
    assert [one.fullName for one in second.notesAndRests][:1] == ["G in octave 4 Dotted Quarter Note"]
    assert (first.notes[-1].tie.type, second.notes[0].tie.type) == ("start", "stop")


def test_a_bar_of_six_quarters_keeps_its_length_whatever_rests_it_holds():
    # Many take a whole rest for one of a bar, so that in a longer bar there may be none but that.
    events = array([(0, 1, 60), (5, 1, 62), (23, 1, 60)])
    score = read(events_to_musicxml(events, 1, 6, 1, 100.0))
    assert notes(score, 1) == given_notes(events)
    assert [float(one.quarterLength) for one in score.parts[0].measure(1).notesAndRests] == [1, 3, 1, 1]
    assert [float(one.quarterLength) for one in score.parts[0].measure(2).notesAndRests] == [6]


def test_notes_that_overlap_stand_in_voices():
    part = read(events_to_musicxml(array([(0, 16, 60), (4, 4, 72)]), 4, 16, 1, 100.0)).parts[0]
    assert [[one.fullName for one in voice.notesAndRests] for voice in part.measure(1).voices] == [
        ["C in octave 4 Whole Note"],
        ["Quarter Rest", "C in octave 5 Quarter Note", "Half Rest"],
    ]


@pytest.mark.parametrize(
    ("pitches", "clefs"), [([60, 72], ["G"]), ([40, 60], ["F"]), ([40, 72], ["G", "F"]), ([], ["G"]), ([57], ["G"])]
)
def test_staves_are_as_the_range_asks(pitches, clefs):
    score = read(events_to_musicxml(array([(0, 4, pitch) for pitch in pitches]), 4, 16, 1, 100.0))
    assert [part.measure(1).clef.sign for part in score.parts] == clefs


@pytest.mark.parametrize(
    ("steps_per_beat", "bar", "ratio"),
    [(4, 16, "4/4"), (4, 12, "3/4"), (4, 6, "3/8"), (4, 7, "7/16"), (4, 0, "4/4"), (3, 4, "4/4"), (2, 8, "4/4")],
)
def test_the_time_signature_is_that_of_the_bar(steps_per_beat, bar, ratio):
    score = read(events_to_musicxml(array([(0, 4, 60)]), steps_per_beat, bar, 1, 100.0))
    assert score.parts[0].measure(1).timeSignature.ratioString == ratio


@pytest.mark.parametrize(
    ("key", "name", "spelled"),
    [
        (1, "C major", "E-4"),
        (5, "E major", "D#4"),
        (4, "E- major", "E-4"),
        (22, "A minor", "E-4"),
        (17, "E minor", "D#4"),
        (0, None, "E-4"),
    ],
)
def test_the_key_decides_how_notes_are_spelled(key, name, spelled):
    measure = read(events_to_musicxml(array([(0, 4, 63)]), 4, 16, key, 100.0)).parts[0].measure(1)
    assert measure.notes[0].pitch.nameWithOctave == spelled
    assert (measure.keySignature and measure.keySignature.name) == name


@pytest.mark.parametrize("key", range(25))
def test_every_pitch_is_right_in_every_key(key):
    events = array([(4 * index, 4, pitch) for index, pitch in enumerate(range(21, 109, 3))] + [(0, 4, 0), (0, 4, 127)])
    part_notes = [
        one for part in read(events_to_musicxml(events, 4, 0, key, 100.0)).parts for one in part.flatten().notes
    ]
    found = [pitch for one in part_notes for pitch in one.pitches]
    assert sorted(pitch.midi for pitch in found) == sorted(events[:, 2].tolist())
    assert all(abs(pitch.alter) <= 1 for pitch in found)


def test_the_tempo_is_written():
    (mark,) = (
        read(events_to_musicxml(array([(0, 4, 60)]), 4, 16, 1, 97.5)).flatten().getElementsByClass("MetronomeMark")
    )
    assert (mark.number, mark.referent.type) == (97.5, "quarter")


def test_another_process_writes_the_same_bytes_without_a_date():
    code = """
import hashlib
import numpy as np
from common.music.musicxml import events_to_musicxml
print(hashlib.sha256(events_to_musicxml(np.array([[0, 5, 72], [2, 9, 40]]), 4, 16, 3, 100.0)).hexdigest())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    content = events_to_musicxml(array([(0, 5, 72), (2, 9, 40)]), 4, 16, 3, 100.0)
    assert ran.stdout.strip() == hashlib.sha256(content).hexdigest()
    assert not {"encoding-date", "movement-title", "creator"} & {
        one.tag for one in ElementTree.fromstring(content).iter()
    }


PIECE = (array([(0, 4, 64), (0, 4, 60), (4, 8, 62)]), 16, 4, 16, 1, 120.0)


def test_each_kind_of_file_is_what_it_is_called():
    files = {kind: render_music(kind, *PIECE) for kind in KINDS}
    assert files["mid"] == encode_midi(PIECE[0], 4, 120.0)
    assert wavfile.read(io.BytesIO(files["wav"]))[0] == 44_100
    assert Image.open(io.BytesIO(files["png"])).format == "PNG"
    assert ElementTree.fromstring(files["svg"]).tag.endswith("svg")
    assert notes(read(files["musicxml"]), 4) == given_notes(PIECE[0])
    assert json.loads(files["json"]) == {
        "steps_per_beat": 4,
        "bar": 16,
        "key": 1,
        "steps": 16,
        "events": [[0, 4, 64], [0, 4, 60], [4, 8, 62]],
    }


def test_a_piece_without_notes_is_a_file_of_each_kind():
    assert all(render_music(kind, array([]), 0, 4, 0, 0, 120.0) for kind in KINDS)


def test_another_kind_is_refused():
    with pytest.raises(
        ConfigError, match='cannot be written as "midi": name one of mid, wav, png, svg, musicxml or json'
    ):
        render_music("midi", *PIECE)
