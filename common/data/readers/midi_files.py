"""Standard MIDI Files: the notes of all tracks on a grid of steps."""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.readers.note_grid import QuantizationStats, UnreadablePiece, check_piece_length, key_id, quantize_notes
from common.data.readers.note_grid import make_piece_example as example
from common.types import Example

if TYPE_CHECKING:  # imported where it is used, for most runs need none
    import mido

MINUTE = 60_000_000  # microseconds, in which tempo is told
DRUMS = 9  # the tenth channel; mido counts from 0
MAGIC = b"MThd"
LONGEST_NUMBER = re.compile(rb"[\x80-\xff]{4000}")  # numbers have 4 bytes; mido reads on, and ever more slowly
KEY_SIGNATURE = re.compile(rb"\xff\x59\x02([\x00-\xff]{2})")
OTHER = b"\xff\x7f\x02"  # a meta event that every reader passes over


def read_midi(data: bytes | Path, steps_per_beat: int) -> tuple[Example, QuantizationStats]:
    """Return the piece in a file of type 0 or 1, and what became of its notes.

    All tracks and channels are one; the tenth channel, of drums, is left out. The bar is that of the first time
    signature, the key that of the first key signature, and the tempo the first one; the grid is of beats. A note of no
    end lasts until the next end of a note of that pitch, or else until its track ends.

    Args:
      data: the file's bytes, or its path.

    Raises:
      Unusable: it is no such file, damaged, or without notes.
    """
    name = data.name if isinstance(data, Path) else ""
    data = data.read_bytes() if isinstance(data, Path) else data
    file = _parse(data)
    if file.type not in (0, 1):
        why = "whose tracks do not sound together" if file.type == 2 else "which there is not"
        raise UnreadablePiece(f"is a MIDI file of type {file.type}, {why}: save it as type 1")
    if file.ticks_per_beat < 0:
        raise UnreadablePiece(
            "counts time in frames of film (SMPTE), not in beats: save it with ticks per quarter note"
        )
    if file.ticks_per_beat == 0:
        raise UnreadablePiece("is a damaged MIDI file (it has 0 ticks a beat)")
    scale = steps_per_beat, file.ticks_per_beat
    notes: list[tuple[float, float, int]] = []
    tempos: list[tuple[int, float]] = []  # (tick, quarter notes a minute)
    meters: list[tuple[int, float]] = []  # (tick, quarter notes of a bar)
    keys: list[tuple[int, int]] = []
    last = drums = 0
    for track in file.tracks:
        end = sum(message.time for message in track)
        last = max(last, end)
        check_piece_length(_to_steps(last, *scale))
        played, beaten = _read_notes(track, end)
        notes += [(_to_steps(start, *scale), _to_steps(stop, *scale), pitch) for start, stop, pitch in played]
        drums += beaten
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "time_signature":
                meters.append((tick, message.numerator * 4 * steps_per_beat / message.denominator))
            elif message.type == "key_signature":
                keys.append((tick, _parse_key(message.key)))
            elif message.type == "set_tempo":
                tempos.append((tick, MINUTE / max(message.tempo, 1)))
    events, stats = quantize_notes(notes, drums)
    bar = min(meters, key=lambda event: event[0])[1] if meters else 0
    key = min(keys, key=lambda event: event[0])[1] if keys else 0
    tempo = min(tempos, key=lambda event: event[0])[1] if tempos else 0
    return example(events, _to_steps(last, *scale), bar, key, name, tempo), stats


def _parse(data: bytes) -> mido.MidiFile:
    """The file as mido reads it."""
    import mido

    if not data.startswith(MAGIC):
        raise UnreadablePiece(
            f"is no MIDI file (it begins with {data[:4].decode('latin-1')!a}, not MThd)" if data else "is empty"
        )
    if LONGEST_NUMBER.search(data):
        raise UnreadablePiece("is a damaged MIDI file (a number in it has no end)")
    try:
        try:
            return mido.MidiFile(file=io.BytesIO(data))
        except mido.KeySignatureError:  # one wrong key is no reason to lose the notes
            return mido.MidiFile(file=io.BytesIO(KEY_SIGNATURE.sub(_remove_odd_key, data)))
    except EOFError:
        raise UnreadablePiece("is a damaged MIDI file (it ends too early)") from None
    except Exception as error:  # mido lets pass whatever goes wrong in what it calls
        reason = str(error).strip() or type(error).__name__
        raise UnreadablePiece(f"is a damaged MIDI file ({reason[0].lower()}{reason[1:]})") from None


def _remove_odd_key(match: re.Match[bytes]) -> bytes:
    sharps, minor = match[1]
    return match[0] if (sharps <= 7 or sharps >= 249) and minor <= 1 else OTHER + match[1]


def _to_steps(ticks: int, steps_per_beat: int, ticks_per_beat: int) -> float:
    # A product of whole numbers divided once, so that a time on the grid is exact.
    try:
        return ticks * steps_per_beat / ticks_per_beat
    except OverflowError:
        return float("inf")


def _read_notes(track: mido.MidiTrack, end: int) -> tuple[list[tuple[int, int, int]], int]:
    """(start, end, pitch) of a track's notes in ticks, and how many of its notes are of drums.

    Args:
      end: of the track.
    """
    sounding: dict[tuple[int, int], deque[int]] = {}  # starts by channel and pitch
    last_off: dict[tuple[int, int], int] = {}
    notes, drums, tick = [], 0, 0
    for message in track:
        tick += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = message.channel, message.note
        if message.type == "note_on" and message.velocity > 0:
            if message.channel == DRUMS:
                drums += 1
            else:
                sounding.setdefault(key, deque()).append(tick)
        else:
            last_off[key] = tick
            if sounding.get(key):
                notes.append((sounding[key].popleft(), tick, message.note))
    for key, starts in sounding.items():
        off = last_off.get(key, -1)
        notes += [(start, off if off > start else end, key[1]) for start in starts]
    return notes, drums


def _parse_key(name: str) -> int:
    """The number of a key as mido writes it, such as "Ebm"."""
    minor = name.endswith("m")
    letter, accidentals = name[0], name[1:].removesuffix("m")
    tonic = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[letter]
    return key_id(tonic + accidentals.count("#") - accidentals.count("b"), "minor" if minor else "major")
