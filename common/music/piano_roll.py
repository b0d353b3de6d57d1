"""A picture of events: time from left to right, pitch upwards, a bar as long as its note."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported where it is used, for it is slow
    from matplotlib.axes import Axes

BEATS = 64  # in a line of the picture, unless there would be more than LINES of them
LINES = 30
FINE = 500  # steps of a line, from which on a step is too narrow for an edge
WIDTH, GAP, LABEL = 12.0, 0.3, 0.2  # inches: of the picture, between lines, below the last one
DPI = 120
BLACK_KEYS = (1, 3, 6, 8, 10)
NOTE, SHADE, GRID = "#2a5f9e", "#f1f2f4", "#9aa0a8"


def plot_piano_roll(events: np.ndarray, steps: int, steps_per_beat: int, bar: int, kind: str) -> bytes:
    """Return a PNG or SVG file; the same events give the same bytes.

    A long piece is broken into lines, as in a score. Where the bar is not known, time is numbered by beats, from 1.

    Args:
      events: int32 [notes, 3], rows (start, duration, pitch).
      steps: how long the piece is.
      steps_per_beat: steps of a quarter note.
      bar: steps of a bar, 0 if not known.
      kind: "png" or "svg".
    """
    import matplotlib
    from matplotlib.figure import Figure

    steps = max(steps, int((events[:, 0] + events[:, 1]).max(initial=0)), 1)
    unit = bar or steps_per_beat
    across = max(BEATS * steps_per_beat // unit, 1)  # bars, or beats, of a line
    across = max(min(across, _divide_up(steps, unit)), _divide_up(_divide_up(steps, LINES), unit))
    lines = _divide_up(steps, across * unit)
    low, high = _find_octaves(events[:, 2])
    height = min(max((high - low) * 0.05, 0.9), 4.0)
    total = lines * (height + GAP) + LABEL
    figure = Figure(figsize=(WIDTH, total), dpi=DPI)
    edges = {"left": 0.45 / WIDTH, "right": 1 - 0.25 / WIDTH, "top": 1 - 0.1 / total, "hspace": GAP / height}
    axes = figure.subplots(lines, 1, squeeze=False, gridspec_kw=edges | {"bottom": (GAP + LABEL - 0.1) / total})[:, 0]
    for line, axis in enumerate(axes):
        begin = line * across * unit
        _draw_line(axis, events, begin, begin + across * unit, (low, high))
        shown = _divide_up(across, 32)  # numbers that would touch each other are left out
        there = range(line * across, min((line + 1) * across, _divide_up(steps, unit)))
        numbers = [number for number in there if number % shown == 0]
        axis.set_xticks([number * unit for number in numbers], [str(number + 1) for number in numbers])
        # Without bars a beat in four has a line, and so has a bar in as many as are numbered.
        lined = shown if bar else max(shown, 4)
        marks = [number * unit for number in there if number % lined == 0]
        axis.vlines(marks, low, high, colors=GRID, linewidth=0.6, zorder=1)
        if steps < begin + across * unit:
            axis.axvspan(steps, begin + across * unit, color="#d9dbdf", linewidth=0, zorder=3)
    axes[-1].set_xlabel("bar" if bar else "beat")
    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "piano roll"}):
        figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return drawn.getvalue()


def _draw_line(axis: Axes, events: np.ndarray, begin: int, end: int, pitches: tuple[int, int]) -> None:
    """Draws what sounds between two steps."""
    from matplotlib.collections import PolyCollection

    low, high = pitches
    black = np.array([pitch for pitch in range(low, high) if pitch % 12 in BLACK_KEYS])
    shades = _make_boxes(np.full(len(black), begin), np.full(len(black), end), black)
    axis.add_collection(PolyCollection(shades, facecolors=SHADE, linewidths=0, zorder=0))
    names = range(low, high + 1, 12)
    axis.set_yticks(names, [pitch_name(pitch) for pitch in names])
    axis.hlines(names, begin, end, colors=GRID, linewidth=0.4, zorder=1)
    left, right = np.maximum(events[:, 0], begin), np.minimum(events[:, 0] + events[:, 1], end)
    seen = left < right
    boxes = _make_boxes(left[seen], right[seen], events[seen, 2])
    # A fine light edge parts a note from the next one of its pitch, where there is room for it.
    edge = 0.5 if end - begin < FINE else 0
    axis.add_collection(PolyCollection(boxes, facecolors=NOTE, edgecolors="white", linewidths=edge, zorder=2))
    axis.set_xlim(begin, end)
    axis.set_ylim(low, high)
    axis.tick_params(length=2, labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _make_boxes(left: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Corners of boxes one pitch high: [boxes, 4, 2]."""
    top = bottom + 1
    return np.stack([np.stack(xy, 1) for xy in ((left, bottom), (left, top), (right, top), (right, bottom))], 1)


def pitch_name(pitch: int) -> str:
    """Return the name of a C by its MIDI pitch.

    >>> pitch_name(60)
    'C4'
    """
    return f"C{pitch // 12 - 1}"


def _find_octaves(pitches: np.ndarray) -> tuple[int, int]:
    """The whole octaves, from C to C, that hold the pitches."""
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 60)
    return low // 12 * 12, _divide_up(high + 1, 12) * 12


def _divide_up(number: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-number // by)
