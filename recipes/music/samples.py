"""Short tunes to begin with, in each format that the recipe takes."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np

from common.data.writers import to_jsonl, to_zip
from common.music.prompt_parser import parse_key, parse_notes, prompt_length
from common.runtime.tensorflow_setup import import_tensorflow

SOURCES = (
    "--data {}/tunes",
    "--data {}/tunes.zip",
    "--data {}/scores",
    "--data {}/tunes.abc",
    "--data {}/events.json",
    "--data {}/frames.json",
)

GRID, BEATS, TEMPO = 4, 4, 96  # steps of a beat, beats of a bar, beats a minute

# The key of each and its notes, four bars of four beats; see `parse_notes` of common/music/prompt_parser.py.
TUNES = (
    ("C", "C4 E4 G4 E4 F4 A4 G4:2 E4 G4 F4 D4 E4 D4 C4:2"),
    ("G", "G4:2 B4 D5 C5 B4 A4:2 B4 G4 A4 F#4 G4:4"),
    ("Am", "A4 C5 B4 A4 E4:2 E4:2 F4 A4 G#4 B4 A4:4"),
    ("D", "D4 F#4 A4:2 B4 A4 F#4 D4 E4:1.5 F#4:0.5 G4 E4 D4:4"),
    ("F", "F4+A4:2 G4+Bb4:2 A4+C5:2 C5 A4 Bb4 A4 G4 E4 F4:4"),
    ("Em", "E4 G4 F#4 E4 B4:3 r A4 G4 F#4 D#4 E4:4"),
    ("C", "G4 G4:0.5 A4:0.5 G4 E4 C5:2 B4 A4 G4 F4:0.5 E4:0.5 D4 G4 C4:3 r"),
    ("G", "D5 B4 G4 B4 C5 A4 F#4 A4 B4:1.5 A4:0.5 G4 D4 G4+B4:4"),
    ("Am", "E5:2 D5 C5 B4 D5 C5:2 A4 B4 C5 D5 E5:2 A4:2"),
    ("F", "C5 A4 F4 A4 Bb4:2 G4:2 C5 Bb4 A4 G4 F4+A4:3 r"),
)


def abc(number: int, key: str, tune: str) -> str:
    """A tune in ABC notation, a blank line at its end."""
    bars, beats = [""], Fraction(0)
    for item in tune.split():
        names, _, length = item.partition(":")
        duration = Fraction(length or 1)
        signs = "".join(_to_abc(name) for name in names.split("+"))
        bars[-1] += (f"[{signs}]" if "+" in names else signs) + ("" if duration == 1 else str(duration))
        beats += duration
        bars += [""] if beats % BEATS == 0 else []
    head = f"X:{number}\nT:Tune {number}\nM:{BEATS}/4\nL:1/4\nQ:1/4={TEMPO}\nK:{key}\n"
    return head + " | ".join(filter(None, bars)) + " |]\n\n"


def _to_abc(name: str) -> str:
    """A note such as F#4 or a rest, r, in ABC."""
    if name == "r":
        return "z"
    match = re.fullmatch(r"([A-G])([#b]?)([45])", name)
    assert match
    letter, accidental, octave = match.groups()
    return {"#": "^", "b": "_", "": ""}[accidental] + (letter.lower() if octave == "5" else letter)


def files() -> dict[str, bytes]:
    """The content of each file by its name."""
    import_tensorflow(hide_gpus=True)  # for MIDI
    from common.music.render import render_music

    midi, scores, events, frames = {}, {}, [], []
    for number, (key, tune) in enumerate(TUNES, 1):
        notes, steps = parse_notes(tune, GRID), prompt_length(tune, GRID)
        about = (notes, steps, GRID, BEATS * GRID, parse_key(key), TEMPO)
        midi[f"tunes/{number:02}.mid"] = render_music("mid", *about)
        scores[f"scores/{number:02}.musicxml"] = render_music("musicxml", *about)
        events.append(json.loads(render_music("json", *about)))
        starts, durations, pitches = notes.T
        sounding = [(starts <= step) & (step < starts + durations) for step in range(steps)]
        frames.append([np.sort(pitches[mask]).tolist() for mask in sounding])
    return {
        **midi,
        "tunes.zip": to_zip(midi),
        **scores,
        "tunes.abc": "".join(abc(number, *tune) for number, tune in enumerate(TUNES, 1)).encode(),
        "events.json": to_jsonl(events),
        "frames.json": to_jsonl(frames),
    }
