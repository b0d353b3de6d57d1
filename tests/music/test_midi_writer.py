"""Standard MIDI Files: the graph's bytes, mido's, and what other readers find in them."""

import io

import mido
import numpy as np
import pretty_midi
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.music.midi_writer import encode_midi, encode_midi_batch, ticks_per_quarter

GRIDS = st.sampled_from([1, 2, 3, 4, 5, 7, 12, 24, 64, 480])
TEMPOS = st.floats(4, 400, width=32)
ROWS = st.tuples(st.integers(0, 5000), st.integers(1, 600), st.integers(0, 127))


@st.composite
def pieces(draw):
    """Events of which no two of one pitch overlap."""
    rows = []
    for pitch in draw(st.sets(st.integers(0, 127), max_size=5)):
        now = 0
        for gap, duration in draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=5)):
            rows.append((now + gap, duration, pitch))
            now += gap + duration
    return array(sorted(rows, key=lambda row: (row[0], -row[2])))


def array(rows):
    return np.array(rows, np.int32).reshape(-1, 3)


def in_graph(pieces, steps_per_beat, tempos):
    """The files of several pieces, padded to the longest with rows that must not count."""
    longest = max(map(len, pieces), default=0)
    padded = [np.concatenate([one, np.full((longest - len(one), 3), 99, np.int32)]) for one in pieces]
    events = tf.constant(np.array(padded, np.int32).reshape(len(pieces), longest, 3))
    lengths = tf.constant([len(one) for one in pieces], tf.int32)
    return encode_midi_batch(events, lengths, steps_per_beat, tf.constant(tempos, tf.float32)).numpy().tolist()


def alone(rows, steps_per_beat=4, tempo=120.0):
    return in_graph([array(rows)], steps_per_beat, [tempo])[0]


def test_a_file_worked_by_hand():
    # At 60 quarter notes a minute one takes 1,000,000 microseconds, 0f 42 40; it has 480 ticks, 83 60.
    track = bytes.fromhex(
        "00 ff 51 03 0f 42 40"
        "00 90 3c 50  00 40 50"  # C4 and E4 begin
        "83 60 80 3c 40  00 40 40"  # and end a quarter note later
        "00 90 3c 50"  # where C4 begins again
        "3c 80 3c 40"  # for 60 ticks
        "00 ff 2f 00"
    )
    header = b"MThd" + bytes.fromhex("00 00 00 06 00 00 00 01 01 e0")
    expected = header + b"MTrk" + len(track).to_bytes(4, "big") + track
    rows = array([(8, 1, 60), (0, 8, 60), (0, 8, 64)])
    assert in_graph([rows], 8, [60.0]) == [expected]
    assert encode_midi(rows, 8, 60.0) == expected


@given(st.lists(st.tuples(st.lists(ROWS, max_size=12), TEMPOS), max_size=4), GRIDS)
@settings(deadline=None)
def test_graph_and_python_write_the_same_bytes(drawn, steps_per_beat):
    found = in_graph([array(rows) for rows, _ in drawn], steps_per_beat, [tempo for _, tempo in drawn])
    assert found == [encode_midi(array(rows), steps_per_beat, tempo) for rows, tempo in drawn]


@given(pieces(), GRIDS, TEMPOS)
@settings(deadline=None)
def test_another_reader_finds_the_same_notes(events, steps_per_beat, tempo):
    read = pretty_midi.PrettyMIDI(io.BytesIO(encode_midi(events, steps_per_beat, tempo)))
    step = ticks_per_quarter(steps_per_beat) // steps_per_beat
    assert read.resolution == ticks_per_quarter(steps_per_beat)
    assert read.get_tempo_changes()[1].tolist() == pytest.approx([tempo], rel=1e-4)
    found = [
        (read.time_to_tick(note.start) / step, read.time_to_tick(note.end) / step, note.pitch, note.velocity)
        for instrument in read.instruments
        for note in instrument.notes
    ]
    assert sorted(found) == sorted((start, start + duration, pitch, 80) for start, duration, pitch in events.tolist())


@pytest.mark.parametrize(
    ("ticks", "written"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "81 00"),
        (16_383, "ff 7f"),
        (16_384, "81 80 00"),
        (2_097_151, "ff ff 7f"),
        (2_097_152, "81 80 80 00"),
        (268_435_455, "ff ff ff 7f"),
    ],
)
def test_waits_take_up_to_four_bytes(ticks, written):
    content = alone([(ticks, 1, 60)], steps_per_beat=480)  # a step is a tick
    assert content[29:].startswith(bytes.fromhex(written + "90 3c 50"))
    assert content == encode_midi(array([(ticks, 1, 60)]), 480, 120.0)


def test_no_pieces_give_no_files():
    assert in_graph([], 4, []) == []


def test_a_piece_without_notes_is_a_file():
    content = alone([])
    assert content == encode_midi(array([]), 4, 120.0)
    assert [one.type for one in mido.MidiFile(file=io.BytesIO(content)).tracks[0]] == ["set_tempo", "end_of_track"]


def test_thousands_of_notes():
    generator = np.random.default_rng(0)
    many = [
        np.stack([generator.integers(0, 9000, n), generator.integers(1, 50, n), generator.integers(0, 128, n)], 1)
        for n in (5000, 3, 4999)
    ]
    found = in_graph([one.astype(np.int32) for one in many], 4, [90.0, 100.0, 110.0])
    assert found == [encode_midi(one, 4, tempo) for one, tempo in zip(many, (90.0, 100.0, 110.0), strict=True)]


@pytest.mark.parametrize(("tempo", "beat"), [(1e-3, 2**24 - 1), (3e8, 1), (120.0, 500_000), (90.5, 662_983)])
def test_tempos_are_written_within_what_the_format_can_say(tempo, beat):
    content = alone([(0, 1, 60)], tempo=tempo)
    assert content == encode_midi(array([(0, 1, 60)]), 4, tempo)
    assert mido.MidiFile(file=io.BytesIO(content)).tracks[0][0].tempo == beat


def test_a_saved_model_writes_the_same_bytes_by_core_operations(tmp_path):
    class Writer(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, 3], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.float32),
            ]
        )
        def __call__(self, events, lengths, tempo):
            return encode_midi_batch(events, lengths, 4, tempo)

    writer = Writer()
    operations = {one.type for one in writer.__call__.get_concrete_function().graph.get_operations()}
    assert not [one for one in operations if "PyFunc" in one]
    tf.saved_model.save(writer, str(tmp_path))
    rows = array([(0, 4, 60), (4, 4, 62), (4, 2, 50)])
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded(tf.constant([rows, rows]), tf.constant([3, 0]), tf.constant([120.0, 60.0])).numpy().tolist()
    assert found == [encode_midi(rows, 4, 120.0), encode_midi(array([]), 4, 60.0)]
    assert loaded(tf.zeros([0, 0, 3], tf.int32), tf.zeros([0], tf.int32), tf.zeros([0])).shape == (0,)


@pytest.mark.parametrize(("steps_per_beat", "ticks"), [(1, 480), (32, 480), (7, 3360), (64, 960), (101, 101)])
def test_a_step_has_a_whole_number_of_ticks(steps_per_beat, ticks):
    assert ticks_per_quarter(steps_per_beat) == ticks
