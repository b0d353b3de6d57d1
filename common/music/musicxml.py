"""Written music out of events: MusicXML by music21, and JSON of the events themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # music21 is slow to import
    from music21 import note, stream
    from music21.pitch import Pitch

MIDDLE, REACH = 60, 5  # the pitch that parts two staves; semitones beyond it that one staff alone may hold
STEPS = "FCGDAEB"  # by fifths
MAJOR_SHARPS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)  # of the keys on C, C#, ..., B; negative ones are flats
MINOR_SHARPS = (-3, 4, -1, -6, 1, -4, 3, -2, 5, 0, -5, 2)
SHORTEST_BEAT = 64  # the finest denominator of a time signature
# What music21 writes of itself: the day, and stand-ins for a title and a composer.
OF_ITSELF = re.compile(rb"\n *<(encoding-date|movement-title|creator)\b[^>]*>[^<]*</\1>")

Piece = tuple[int, int, tuple[int, ...]]  # start, end, pitches; without any it is a rest


def events_to_json(events: np.ndarray, steps: int, steps_per_beat: int, bar: int, key: int) -> str:
    """Return the events and what they mean as one JSON object.

    >>> events_to_json(np.array([[0, 4, 60]]), 16, 4, 16, 1)
    '{"steps_per_beat": 4, "bar": 16, "key": 1, "steps": 16, "events": [[0, 4, 60]]}'
    """
    facts = {"steps_per_beat": steps_per_beat, "bar": bar, "key": key, "steps": steps}
    return json.dumps(facts | {"events": events.tolist()})


def events_to_musicxml(events: np.ndarray, steps_per_beat: int, bar: int, key: int, tempo: float) -> bytes:
    """Return a MusicXML file, with two staves where the notes range far; the same events give the same bytes.

    Notes that begin and end together are chords; others that overlap stand in several voices. What crosses a bar line
    is tied. Where the bar is not known, or no time signature says it, bars have four quarter notes.

    Args:
      events: int32 [notes, 3], rows (start, duration, pitch).
      steps_per_beat: steps of a quarter note.
      bar: steps of a bar, 0 if not known.
      key: 0 if not known, 1 to 12 major on C, C#, ..., B, 13 to 24 minor; it decides how notes are spelled.
      tempo: quarter notes a minute.
    """
    from music21 import clef, instrument, layout, stream
    from music21 import tempo as marks
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    signature = _find_signature(steps_per_beat, bar)
    if signature is None:
        signature, bar = (4, 4), 4 * steps_per_beat
    bars = max(-(-int((events[:, 0] + events[:, 1]).max(initial=0)) // bar), 1)
    high = events[:, 2] >= MIDDLE
    if (events[:, 2] >= MIDDLE - REACH).all():
        staves = {"treble": events}
    elif (events[:, 2] < MIDDLE + REACH).all():
        staves = {"bass": events}
    else:
        staves = {"treble": events[high], "bass": events[~high]}
    score = stream.Score()
    parts = []
    for number, (sign, its) in enumerate(staves.items(), 1):
        name = f"P{number}"
        part = stream.PartStaff(id=name) if len(staves) > 1 else stream.Part(id=name)
        measures = list(_make_measures(its, steps_per_beat, bar, bars, signature, key))
        measures[0].insert(0, clef.clefFromString(sign))
        if number == 1:
            measures[0].insert(0, marks.MetronomeMark(number=round(tempo, 3)))
        player = instrument.Piano()
        player.partId, player.instrumentId = name, f"{name}-I1"  # else random ones
        part.insert(0, player)
        part.append(measures)
        part.makeAccidentals(inPlace=True)
        score.insert(0, part)
        parts.append(part)
    if len(parts) > 1:
        score.insert(0, layout.StaffGroup(parts, symbol="brace"))
    exporter = GeneralObjectExporter(score)
    exporter.makeNotation = False
    return OF_ITSELF.sub(b"", exporter.parse())


def _make_measures(
    events: np.ndarray, steps_per_beat: int, bar: int, bars: int, signature: tuple[int, int], key: int
) -> Iterator[stream.Measure]:
    """The bars of one staff as music21's."""
    from music21 import key as keys
    from music21 import meter, note, stream
    from music21.stream.makeNotation import makeTupletBrackets

    sharps, mode = _count_sharps(key), "minor" if key > 12 else "major"
    filled: list[dict[int, list[tuple[Piece, str]]]] = [{} for _ in range(bars)]  # by bar, by number of the voice
    for name, voice in enumerate(_split_voices(events), 1):
        for number, signs in groupby(_notate(voice, steps_per_beat, bar, bars), key=lambda item: item[0][0] // bar):
            whole = list(signs)
            if not filled[number] or any(pitches for (_, _, pitches), _ in whole):  # no voices of rests alone
                filled[number][name] = whole
    for number, voices in enumerate(filled):
        measure = stream.Measure(number=number + 1)
        measure.timeSignature = meter.TimeSignature("{}/{}".format(*signature))
        if key and not number:
            measure.keySignature = keys.KeySignature(sharps).asKey(mode)
        for name, pieces in voices.items():
            inside = stream.Voice(id=str(name)) if len(voices) > 1 else measure
            for (start, end, pitches), tie in pieces:
                length = Fraction(end - start, steps_per_beat)
                made = _make_note(pitches, length, tie, sharps)
                if isinstance(made, note.Rest):
                    made.fullMeasure = end - start == bar
                made.style.hideObjectOnPrint = name > 1 and not pitches
                inside.insert(Fraction(start - number * bar, steps_per_beat), made)
            makeTupletBrackets(inside, inPlace=True)
            if inside is not measure:
                measure.insert(0, inside)
        # Bar by bar with its own time signature, for music21 takes long to look for one before.
        measure.makeBeams(inPlace=True, setStemDirections=False)
        if number:
            measure.timeSignature = None
        yield measure


def _split_voices(events: np.ndarray) -> list[list[Piece]]:
    """Chords, so that in none of the voices two overlap. There is at least one voice, of as few as can be.

    >>> _split_voices(np.array([[0, 4, 64], [0, 4, 60], [2, 4, 72], [4, 4, 62]]))
    [[(0, 4, (60, 64)), (4, 8, (62,))], [(2, 6, (72,))]]
    """
    chords: dict[tuple[int, int], list[int]] = {}
    for start, duration, pitch in events.tolist():
        chords.setdefault((start, start + duration), []).append(pitch)
    voices: list[list[Piece]] = [[]]
    for (start, end), pitches in sorted(chords.items(), key=lambda item: (item[0][0], -max(item[1]))):
        free = next((voice for voice in voices if not voice or voice[-1][1] <= start), None)
        if free is None:
            voices.append(free := [])
        free.append((start, end, tuple(sorted(pitches))))
    return voices


def _notate(voice: list[Piece], steps_per_beat: int, bar: int, bars: int) -> Iterator[tuple[Piece, str]]:
    """The chords and the rests between them, cut to what one sign can say, each with how it is tied."""
    now = 0
    for start, end, pitches in [*voice, (bars * bar, bars * bar, ())]:
        if now < start:
            yield from (((a, b, ()), "") for a, b in pairwise(_find_cuts(now, start, steps_per_beat, bar, True)))
        cuts = list(pairwise(_find_cuts(start, end, steps_per_beat, bar)))
        for index, (a, b) in enumerate(cuts):
            first, last = index == 0, index == len(cuts) - 1
            yield (a, b, pitches), "" if first and last else "start" if first else "stop" if last else "continue"
        now = end


def _find_cuts(start: int, end: int, steps_per_beat: int, bar: int, rest: bool = False) -> list[int]:
    """Steps, `start` and `end` among them, between which single signs of notes can stand.

    A rest of a whole bar is one sign. No other is longer than a dotted half, as many take a whole rest for one of a bar
    whatever its length.

    >>> _find_cuts(2, 21, 4, 16)
    [2, 4, 16, 20, 21]
    """
    max_quarters = 3 if rest else 8  # quarter notes
    cuts = [start]
    while start < end:
        limit = min(end, (start // bar + 1) * bar)  # no sign crosses a bar line
        offset = start % bar
        beat = offset // steps_per_beat * steps_per_beat
        length = limit - start
        if not (_is_sign(length, offset, steps_per_beat, max_quarters) or (rest and length == bar)):
            if offset > beat and offset + length > beat + steps_per_beat:  # to the next beat
                length = beat + steps_per_beat - offset
            elif length > steps_per_beat:  # whole beats
                length = length // steps_per_beat * steps_per_beat
            while not _is_sign(length, offset, steps_per_beat, max_quarters):
                length -= steps_per_beat if length > steps_per_beat else 1
        start += length
        cuts.append(start)
    return cuts


def _is_sign(length: int, offset: int, steps_per_beat: int, max_quarters: int) -> bool:
    """Whether one sign can say a length, dotted or not; signs of tuplets must stand within a beat."""
    quarters = Fraction(length, steps_per_beat)
    plain = quarters.numerator
    while plain % 2 == 0:
        plain //= 2
    tuplet = quarters.denominator & (quarters.denominator - 1) != 0
    crosses = offset % steps_per_beat + length > steps_per_beat
    return plain in (1, 3) and not (tuplet and crosses) and quarters <= max_quarters


def _make_note(pitches: tuple[int, ...], length: Fraction, tie: str, sharps: int) -> note.GeneralNote:
    from music21 import chord, note
    from music21 import tie as ties

    if not pitches:
        return note.Rest(quarterLength=length)
    spelled = [_spell_pitch(pitch, sharps) for pitch in pitches]
    made = (
        chord.Chord(spelled, quarterLength=length) if len(spelled) > 1 else note.Note(spelled[0], quarterLength=length)
    )
    if tie:
        made.tie = ties.Tie(tie)
    return made


def _spell_pitch(number: int, sharps: int) -> Pitch:
    """A MIDI pitch spelled as is usual in a key: within twelve fifths, from three below the key's own."""
    from music21.pitch import Pitch

    lowest = min(max(sharps - 3, -8), 1)  # beyond these there would be double accidentals
    fifths = lowest + (number * 7 - lowest) % 12
    step, alter = STEPS[(fifths + 1) % 7], (fifths + 1) // 7
    name = step + {-1: "-", 0: "", 1: "#"}[alter]
    return Pitch(name, octave=(number - alter) // 12 - 1)


def _count_sharps(key: int) -> int:
    """Of the signature of a key; negative ones are flats."""
    return (0, *MAJOR_SHARPS, *MINOR_SHARPS)[key]


def _find_signature(steps_per_beat: int, bar: int) -> tuple[int, int] | None:
    """A time signature that says how long a bar is, or None.

    >>> _find_signature(4, 16), _find_signature(4, 12), _find_signature(4, 6), _find_signature(3, 4)
    ((4, 4), (3, 4), (3, 8), None)
    """
    quarters = Fraction(bar, steps_per_beat)
    size = 4
    while size < SHORTEST_BEAT and (quarters * size / 4).denominator > 1:
        size *= 2
    count = quarters * size / 4
    return (int(count), size) if bar and count.denominator == 1 else None
