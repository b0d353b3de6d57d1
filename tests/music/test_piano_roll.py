"""The picture of a piece: notes where they stand, lines, labels, the same bytes each time."""

import hashlib
import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from common.music.piano_roll import DPI, LINES, NOTE, WIDTH, plot_piano_roll

LEFT, ACROSS = 0.45 * DPI, (WIDTH - 0.7) * DPI  # where an axis begins and how long it is, in pixels


def array(*rows):
    return np.array(rows, np.int32).reshape(-1, 3)


def pixels(content):
    """Where notes are drawn: bool [height, width]."""
    colours = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)
    return np.abs(colours - np.rint(np.array(to_rgb(NOTE)) * 255)).max(2) < 24


def runs(flags):
    """(start, end) of each run of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_a_note_is_a_bar_of_its_length_at_its_place():
    found = pixels(plot_piano_roll(array((16, 8, 60), (40, 24, 71)), 64, 4, 16, "png"))
    expected = [(16, 24), (40, 64)]
    for (left, right), (start, end) in zip(runs(found.any(0)), expected, strict=True):
        assert (left, right) == pytest.approx((LEFT + ACROSS * start / 64, LEFT + ACROSS * end / 64), abs=2)


def test_higher_notes_are_higher_and_all_as_high():
    found = pixels(plot_piano_roll(array((0, 8, 60), (16, 8, 62), (32, 8, 71)), 64, 4, 16, "png"))
    (low, _), (middle, _), (high, _) = (runs(found[:, int(LEFT + ACROSS * at / 64)])[0] for at in (4, 20, 36))
    assert (low - middle) / 2 == pytest.approx((low - high) / 11, abs=0.6)
    assert high < middle < low


def test_a_note_struck_again_is_parted_from_the_one_before():
    held, struck = (
        pixels(plot_piano_roll(array(*rows), 64, 4, 16, "png")).any(0)
        for rows in ([(0, 8, 60)], [(0, 4, 60), (4, 4, 60)])
    )
    assert (len(runs(held)), len(runs(struck))) == (1, 2)


def test_a_long_piece_is_broken_into_lines_which_a_note_may_cross():
    # 32 bars are two lines of 16; the note is a bar long in each.
    found = pixels(plot_piano_roll(array((15 * 16, 32, 60)), 32 * 16, 4, 16, "png"))
    above, below = runs(found.any(1))
    left = [runs(found[slice(*line)].any(0))[0] for line in (above, below)]
    bar = ACROSS / 16
    assert left[0] == pytest.approx((LEFT + 15 * bar, LEFT + 16 * bar), abs=2)
    assert left[1] == pytest.approx((LEFT, LEFT + bar), abs=2)


@pytest.mark.parametrize("bars", [100, pytest.param(40_000, marks=pytest.mark.slow)])
def test_very_long_pieces_are_pictures_of_bounded_size(bars):
    image = Image.open(io.BytesIO(plot_piano_roll(array((0, 4, 0), (bars * 16 - 4, 4, 127)), bars * 16, 4, 16, "png")))
    assert image.width == WIDTH * DPI
    assert image.height < LINES * 4.5 * DPI


def labels(content):
    """Texts of an SVG, which matplotlib names where it draws them."""
    return [one.strip() for one in re.findall(r"<!--(.*?)-->", content.decode())]


def test_pitches_bars_and_beats_are_named():
    events = array((0, 4, 47), (4, 4, 61))
    assert labels(plot_piano_roll(events, 50, 4, 16, "svg")) == ["1", "2", "3", "4", "bar", "C2", "C3", "C4", "C5"]
    assert labels(plot_piano_roll(events, 12, 4, 0, "svg")) == ["1", "2", "3", "beat", "C2", "C3", "C4", "C5"]


def test_an_svg_is_xml_without_a_date():
    content = plot_piano_roll(array((0, 4, 60)), 16, 4, 16, "svg")
    assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"date" not in content


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("rows", [[], [(0, 1, 0)], [(0, 1, 127)], [(0, 70, 60)]])
@pytest.mark.parametrize(("steps_per_beat", "bar"), [(4, 0), (4, 16), (1, 1), (3, 10_000)])
def test_odd_pieces_are_drawn(kind, rows, steps_per_beat, bar):
    assert plot_piano_roll(array(*rows), 0, steps_per_beat, bar, kind)


def test_another_process_draws_the_same_bytes_without_pyplot():
    code = """
import hashlib, sys
import numpy as np
from common.music.piano_roll import plot_piano_roll
for kind in ("png", "svg"):
    print(hashlib.sha256(plot_piano_roll(np.array([[0, 4, 60], [2, 9, 72]]), 40, 4, 16, kind)).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    events = array((0, 4, 60), (2, 9, 72))
    assert ran.stdout.split() == [
        hashlib.sha256(plot_piano_roll(events, 40, 4, 16, kind)).hexdigest() for kind in ("png", "svg")
    ]
