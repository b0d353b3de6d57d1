"""Sound: pitches, lengths, loudness, no clicks."""

import io
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from scipy.signal import find_peaks

from common.music.synth import PARTIALS, TAIL, pitch_to_hz, synthesize_wav

RATE = 44100


def array(*rows):
    return np.array(rows, np.int32).reshape(-1, 3)


def heard(*rows, steps_per_beat=4, tempo=120.0, rate=RATE, steps=0):
    """The samples as another library reads them, from -1 to 1."""
    found, samples = wavfile.read(io.BytesIO(synthesize_wav(array(*rows), steps_per_beat, tempo, rate, steps)))
    assert (found, samples.dtype, samples.ndim) == (rate, np.int16, 1)
    return samples / 32767


def peaks(samples, rate=RATE, share=0.5):
    """Frequencies of the spectrum's peaks that are at least `share` of the highest one."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**20))
    found, _ = find_peaks(spectrum, height=share * spectrum.max(), distance=2**20 * 10 // rate)
    return found * rate / 2**20


def test_a4_sounds_at_440_hertz():
    found = peaks(heard((0, 16, 69)), share=0.9)
    assert found.tolist() == pytest.approx([440], abs=1)


def test_two_notes_are_two_peaks():
    found = peaks(heard((0, 16, 69), (0, 16, 64)), share=0.7)
    assert found.tolist() == pytest.approx([329.63, 440], abs=1)


def test_partials_stand_at_multiples_and_fall():
    found = peaks(heard((0, 8, 57)), share=0.02)
    assert found[:4].tolist() == pytest.approx([220, 440, 660, 880], abs=1)


def test_nothing_sounds_that_half_the_rate_cannot_hold():
    # The third partial of 3,136 Hz, 9,408 Hz, would sound as 16,000 - 9,408 = 6,592 Hz.
    found = peaks(heard((0, 8, 103), rate=16_000), rate=16_000, share=0.01)
    assert found.tolist() == pytest.approx([pitch_to_hz(103), 2 * pitch_to_hz(103)], abs=2)


@pytest.mark.parametrize(("steps", "seconds"), [(0, 2.0), (3, 2.0), (40, 5.0)])
def test_its_length_is_that_of_the_piece_and_a_tail(steps, seconds):
    samples = heard((0, 2, 60), (12, 4, 62), steps=steps)  # 16 steps of 1 / 8 of a second
    assert len(samples) == round((seconds + TAIL) * RATE)


def test_a_note_sounds_when_it_stands_and_fades_after():
    samples = np.abs(heard((8, 8, 60)))
    assert samples[: RATE - 1].max() == 0
    assert samples[RATE : RATE + RATE // 10].max() == pytest.approx(0.9, abs=1e-4)
    assert samples[RATE * 2 - 2000 : RATE * 2].max() > 0.2
    assert samples[RATE * 2 + RATE // 10 :].max() == 0


def test_silence_is_a_file_of_silence():
    assert heard(steps=16).tolist() == [0] * round((2 + TAIL) * RATE)
    assert heard().tolist() == [0] * round(TAIL * RATE)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 127)), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_no_sample_is_at_the_limits_and_the_loudest_is_at_nine_tenths(rows):
    samples = heard(*rows)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("duration", [1, 2, 7, 16])
def test_notes_begin_and_end_without_a_click(duration):
    samples = heard((4, duration, 57), steps_per_beat=8)
    bends = np.abs(np.diff(samples, 2))
    # Those of steady partials of this loudness, as if all bent at once. A tone that set in at once, at a zero of its
    # own, would bend ten times as much.
    phases = np.linspace(0, 2 * np.pi, 1000)
    scale = 0.9 / np.abs(np.sin(np.outer(phases, range(1, len(PARTIALS) + 1))) @ PARTIALS).max()
    steady = scale * sum(loud * (2 * np.pi * 220 * n / RATE) ** 2 for n, loud in enumerate(PARTIALS, 1))
    assert bends.max() < 1.2 * steady
    end = round((4 + duration) / 16 * RATE)
    assert bends[end - 2 :].max() < bends.max()  # the end is no rougher than the tone
    assert np.abs(np.diff(samples)).max() < 0.1


def test_a_piece_in_notes_of_all_lengths_has_no_click():
    rows = [(start, 1 + start % 5, 48 + start * 7 % 24) for start in range(60)]
    assert np.abs(np.diff(heard(*rows), 2)).max() < 0.08


def test_a_note_held_for_minutes_dies_away():
    samples = heard((0, 720, 60))  # 90 seconds
    assert np.abs(samples[RATE * 30 :]).max() == 0


def test_the_file_says_what_it_is():
    with wave.open(io.BytesIO(synthesize_wav(array((0, 4, 60)), 4, 120.0, 22_050))) as file:
        assert file.getparams()[:4] == (1, 2, 22_050, round((0.5 + TAIL) * 22_050))


def test_the_same_events_give_the_same_bytes():
    rows = array((0, 4, 60), (2, 4, 64))
    assert synthesize_wav(rows, 4, 97.3) == synthesize_wav(rows, 4, 97.3)
