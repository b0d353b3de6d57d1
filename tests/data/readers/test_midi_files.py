"""Standard MIDI Files, written here by mido and by hand."""

import io
from contextlib import suppress
from fractions import Fraction

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers.midi_files import read_midi
from common.data.readers.note_grid import MOST_STEPS, QuantizationStats, UnreadablePiece, hash_piece

ON, OFF = "note_on", "note_off"


def written(*tracks, ticks=480, kind=1):
    """A file of tracks, each a list of (tick, message), in ticks from its start."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    for track in tracks:
        now, messages = 0, mido.MidiTrack()
        for tick, message in track:
            messages.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(messages)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def note(start, end, pitch, channel=0):
    on = mido.Message(ON, channel=channel, note=pitch, velocity=80)
    return [(start, on), (end, mido.Message(OFF, channel=channel, note=pitch))]


def track(*notes):
    """Messages in their order in time, ends before starts."""
    return sorted((one for both in notes for one in both), key=lambda one: (one[0], one[1].type == ON))


def by_hand(content, ticks=b"\x00\x04", kind=b"\x00\x00", tracks=b"\x00\x01"):
    """A file of one track of these bytes."""
    return b"MThd\0\0\0\6" + kind + tracks + ticks + b"MTrk" + len(content).to_bytes(4, "big") + content


def rows(data, steps_per_beat=4):
    return read_midi(data, steps_per_beat)[0]["events"].tolist()


@st.composite
def on_grid(draw):
    """Events that keep the contract: sorted, and no two of one pitch at a time."""
    found = []
    for pitch in draw(st.lists(st.integers(0, 127), min_size=1, max_size=8, unique=True)):
        end = 0
        for rest, duration in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=8)):
            found.append((end + rest, duration, pitch))
            end += rest + duration
    return sorted(found, key=lambda row: (row[0], -row[2]))


@settings(max_examples=150, deadline=None)
@given(on_grid(), st.data())
def test_what_is_on_the_grid_comes_back_as_it_was(events, data):
    steps_per_beat = data.draw(st.integers(1, 48))
    ticks = steps_per_beat * data.draw(st.integers(1, 20))
    each = ticks // steps_per_beat
    tracks = [[], [], []]
    for start, duration, pitch in events:
        channel = data.draw(st.sampled_from([0, 3, 8, 15]))
        place = tracks[data.draw(st.integers(0, 2))]
        place.append(note(start * each, (start + duration) * each, pitch, channel))
    found, told = read_midi(written(*[track(*one) for one in tracks], ticks=ticks), steps_per_beat)
    assert found["events"].tolist() == [list(row) for row in events]
    assert found["events"].dtype == np.int32
    assert found["steps"] == max(start + duration for start, duration, _ in events)
    assert told == QuantizationStats(notes=len(events))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 900), st.integers(0, 127)), min_size=1, max_size=20))
def test_any_notes_are_those_that_another_library_reads(notes):
    import pretty_midi

    unique = {(start, pitch): (start, start + duration, pitch) for start, duration, pitch in notes}
    tempi = [(0, mido.MetaMessage("set_tempo", tempo=400_000)), (700, mido.MetaMessage("set_tempo", tempo=900_000))]
    channels = [track(note(*one, channel=number)) for number, one in enumerate(list(unique.values())[:9])]
    data = written(tempi, *channels, ticks=96)
    other = pretty_midi.PrettyMIDI(io.BytesIO(data))
    theirs = [
        (other.time_to_tick(one.start), other.time_to_tick(one.end), one.pitch)
        for instrument in other.instruments
        for one in instrument.notes
    ]
    half = Fraction(1, 2)
    starts = sorted({(int(Fraction(start, 24) + half), -pitch) for start, _, pitch in theirs})
    assert [(start, -pitch) for start, _, pitch in rows(data)] == starts
    last = max(max(int(Fraction(end, 24) + half), int(Fraction(start, 24) + half) + 1) for start, end, _ in theirs)
    assert read_midi(data, 4)[0]["steps"] >= last


def test_times_go_to_the_nearest_step_and_are_counted():
    # 480 ticks a beat, 120 a step: 59 goes to 0, 60 (the middle) and 61 to 1, and a note of no length gets one step.
    data = written(
        track(note(0, 120, 60), note(59, 180, 62), note(60, 240, 64), note(300, 310, 65), note(480, 480, 67))
    )
    found, told = read_midi(data, 4)
    assert found["events"].tolist() == [[0, 2, 62], [0, 1, 60], [1, 1, 64], [3, 1, 65], [4, 1, 67]]
    # 62 begins and ends off the grid, 64 begins off it, 65 both, and 67 is longer than it was.
    assert told == QuantizationStats(notes=5, moved=4)


def test_thirds_of_a_beat_are_exact_on_a_grid_of_three():
    data = written(track(note(0, 160, 60), note(160, 320, 62), note(320, 480, 64)))
    assert rows(data, 3) == [[0, 1, 60], [1, 1, 62], [2, 1, 64]]
    assert read_midi(data, 3)[1].moved == 0
    assert read_midi(data, 4)[1].moved == 3


def test_notes_of_one_pitch_never_overlap_though_tracks_do():
    first, second = track(note(0, 480, 60)), track(note(240, 360, 60), note(0, 240, 60))
    found, told = read_midi(written(first, second), 4)
    assert found["events"].tolist() == [[0, 2, 60], [2, 1, 60]]
    assert told == QuantizationStats(notes=2, dropped=1)


def test_running_status_and_velocity_0_as_an_end():
    # At 0: on C4, on E4 by running status. At 4 ticks: C4 ends by velocity 0; at 8 E4.
    data = by_hand(bytes.fromhex("00 903c40 00 4040 04 3c00 04 4000 00 ff2f00"))
    assert rows(data) == [[0, 8, 64], [0, 4, 60]]


def test_what_never_ends_lasts_to_the_end_of_its_track():
    data = by_hand(bytes.fromhex("00 903c40 04 904040 04 804000 04 ff2f00"))
    assert rows(data) == [[0, 12, 60], [4, 4, 64]]
    # Struck twice and ended once: that is the end of both.
    data = by_hand(bytes.fromhex("00 903c40 04 903c40 04 803c00 04 ff2f00"))
    assert rows(data) == [[0, 4, 60], [4, 4, 60]]
    # An end of nothing is passed over.
    assert rows(by_hand(bytes.fromhex("00 803c00 00 903c40 04 803c00 00 ff2f00"))) == [[0, 4, 60]]


def test_drums_are_left_out_and_counted():
    found, told = read_midi(written(track(note(0, 480, 60), note(0, 480, 36, 9), note(480, 960, 38, 9))), 4)
    assert (found["events"].tolist(), told.drums, told.notes) == ([[0, 4, 60]], 2, 1)
    assert found["steps"] == 8
    with pytest.raises(UnreadablePiece, match=r"^holds no notes but 1 of drums$"):
        read_midi(written(track(note(0, 480, 36, 9))), 4)


def test_silence_at_both_ends_counts():
    end = [(2400, mido.MetaMessage("end_of_track"))]
    found, _ = read_midi(written([*track(note(480, 960, 60)), *end]), 4)
    assert (found["events"].tolist(), found["steps"]) == ([[4, 4, 60]], 20)


@pytest.mark.parametrize(
    ("meters", "steps_per_beat", "bar"),
    [
        ([], 4, 0),
        ([(0, 4, 4)], 4, 16),
        ([(0, 3, 4), (960, 4, 4)], 4, 12),
        ([(960, 4, 4), (960, 2, 4)], 4, 16),
        ([(0, 6, 8)], 4, 12),
        ([(0, 5, 8)], 1, 0),  # two beats and a half
    ],
)
def test_the_bar_is_that_of_the_first_time_signature(meters, steps_per_beat, bar):
    signs = [(tick, mido.MetaMessage("time_signature", numerator=n, denominator=d)) for tick, n, d in meters]
    assert read_midi(written(signs, track(note(0, 480, 60))), steps_per_beat)[0]["bar"] == bar


@pytest.mark.parametrize(
    ("name", "key"), [("C", 1), ("C#", 2), ("Cb", 12), ("B", 12), ("F", 6), ("Am", 22), ("Ebm", 16), ("Bm", 24)]
)
def test_the_key_is_that_of_the_first_key_signature(name, key):
    signs = [(0, mido.MetaMessage("key_signature", key=name)), (480, mido.MetaMessage("key_signature", key="D"))]
    assert read_midi(written(signs, track(note(0, 480, 60))), 4)[0]["key"] == key


def test_a_key_that_there_is_not_costs_no_notes():
    found, _ = read_midi(by_hand(bytes.fromhex("00 ff5902 0b05 00 903c40 04 803c00 00 ff2f00")), 4)
    assert (found["events"].tolist(), found["key"]) == ([[0, 4, 60]], 0)


def test_a_path_gives_its_name(tmp_path):
    path = tmp_path / "tune.mid"
    path.write_bytes(written(track(note(0, 480, 60)), kind=0))
    assert read_midi(path, 4)[0]["file"] == "tune.mid"


GOOD = bytes.fromhex("00 903c40 04 803c00 00 ff2f00")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"^is empty$"),
        (b"RIFF\0\0", r"^is no MIDI file \(it begins with 'RIFF', not MThd\)$"),
        (b"\xff\xfe", r"^is no MIDI file \(it begins with '\\xff\\xfe', not MThd\)$"),
        (by_hand(GOOD, kind=b"\0\2"), r"^is a MIDI file of type 2, whose tracks do not sound together: save"),
        (by_hand(GOOD, kind=b"\0\7"), r"^is a MIDI file of type 7, which there is not"),
        (by_hand(GOOD, ticks=b"\xe7\x28"), r"^counts time in frames of film \(SMPTE\)"),
        (by_hand(GOOD, ticks=b"\0\0"), r"^is a damaged MIDI file \(it has 0 ticks a beat\)$"),
        (by_hand(GOOD)[:-5], r"^is a damaged MIDI file \(it ends too early\)$"),
        (by_hand(GOOD, tracks=b"\xff\x00")[:12], r"^is a damaged MIDI file"),
        (by_hand(b"\x00" + b"\xff" * 5000), r"^is a damaged MIDI file \(a number in it has no end\)$"),
        (by_hand(b"\x00\xff\x01\xff\xff\xff\x7f"), r"^is a damaged MIDI file \(message length 268435455 exceeds"),
        (by_hand(b"\x00\x90\x3c\xff"), r"^is a damaged MIDI file \(data byte must be in range 0..127\)$"),
        (by_hand(b"\x00\xff\x2f\x00"), r"^holds no notes$"),
        (
            by_hand(bytes.fromhex("00 903c40 87ffffff7f 803c00 00 ff2f00")),
            r"^is 2,147,483,\d+ steps long, where at most 1,000,000 can be used$",
        ),
    ],
)
def test_what_cannot_be_used_is_the_rest_of_a_sentence(data, told):
    with pytest.raises(UnreadablePiece, match=told):
        read_midi(data, 4)


def test_the_longest_piece_is_as_long_as_it_is_said():
    def lasting(steps):
        return written(track(note(0, 1, 60), note(steps - 1, steps, 60)), ticks=4)

    assert read_midi(lasting(MOST_STEPS), 4)[0]["steps"] == MOST_STEPS
    with pytest.raises(UnreadablePiece, match=r"1,000,001 steps long"):
        read_midi(lasting(MOST_STEPS + 1), 4)


SOUND = written(
    [
        (0, mido.MetaMessage("time_signature", numerator=3, denominator=4)),
        (0, mido.MetaMessage("key_signature", key="G")),
    ],
    track(note(0, 480, 60), note(240, 700, 64), note(480, 960, 60), note(0, 90, 36, 9)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(4, len(SOUND) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 40))
def test_damaged_files_are_read_or_refused(changes, cut):
    data = bytearray(SOUND)
    for place, value in changes:
        data[place] = value
    try:
        found, told = read_midi(bytes(data[: len(data) - cut]), 4)
    except UnreadablePiece as error:
        assert str(error)[0].islower() and not str(error).endswith(".")
        return
    _check(found)
    assert told.notes == len(found["events"])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 1))
def test_any_bytes_are_read_or_refused(content, whole):
    with suppress(UnreadablePiece):
        _check(read_midi(by_hand(content) if whole else b"MThd" + content, 4)[0])


def _check(found):
    """That a piece is as a piece must be."""
    events = found["events"]
    assert events[:, 0].min() >= 0 and events[:, 1].min() >= 1 and 0 <= events[:, 2].min() <= events[:, 2].max() <= 127
    assert found["steps"] >= (events[:, 0] + events[:, 1]).max()
    assert events.tolist() == sorted(events.tolist(), key=lambda row: (row[0], -row[2]))
    for pitch in set(events[:, 2].tolist()):
        own = events[events[:, 2] == pitch]
        assert (own[:-1, 0] + own[:-1, 1] <= own[1:, 0]).all()
    assert 0 <= found["key"] <= 24 and found["bar"] >= 0


@given(on_grid(), st.integers(-60, 60))
def test_transposed_pieces_share_their_fingerprint(events, by):
    one = np.array(events)
    assert hash_piece(one) == hash_piece(one + np.array([0, 0, by]))
    assert hash_piece(one) != hash_piece(one + np.array([0, 1, 0]))
    assert hash_piece(one.astype(np.int64)) == hash_piece(one.astype(np.int32))


def test_tempo_is_the_first_one_in_any_track():
    first, later = (mido.MetaMessage("set_tempo", tempo=tempo) for tempo in (400_000, 600_000))  # 150 and 100 a minute
    data = written([(0, first), (960, later)], track(note(0, 480, 60)))
    assert read_midi(data, 4)[0]["tempo"] == 150
    assert read_midi(written(track(note(0, 480, 60))), 4)[0]["tempo"] == 0
