"""Music in JSON: pieces as lists of frames, which are lists of the pitches that sound, or as events."""

from __future__ import annotations

import json
from collections.abc import Iterator

from common.data.readers.note_grid import (
    KEYS,
    PieceResult,
    QuantizationStats,
    UnreadablePiece,
    check_piece_length,
    make_piece_example,
    quantize_notes,
)
from common.data.readers.text_folders import PARTS
from common.types import Example, JsonObject

OPEN = 40  # characters of a broken value that are shown


def read_music_json(data: bytes, steps_per_beat: int) -> Iterator[PieceResult]:
    """Yield the pieces in a JSON file, or why they cannot be used.

    Known are an object whose keys `train`, `valid` and `test` hold lists of pieces, a list of pieces, one piece, and
    JSON lines with a piece each. A piece is a list of frames of one step each, these being lists of MIDI pitches, in
    each of which a note is struck anew; or an object with `events`, a list of [start, duration, pitch], and with
    `steps_per_beat`, `bar`, `key` and `steps` or without them.

    Raises:
      Unusable: it is no JSON, or holds none of these.
    """
    value = _parse(data)
    if isinstance(value, dict) and "events" not in value:
        parts = {part: value[name] for name in value if (part := PARTS.get(name.casefold()))}
        if not parts:
            listed = ", ".join(f'"{name[:OPEN]}"' for name in list(value)[:5]) or "nothing"
            raise UnreadablePiece(f'is JSON with {listed}, where "train", "valid" and "test", or "events", are wanted')
        for part, held in parts.items():
            if not isinstance(held, list):
                yield PieceResult(
                    part, part, None, QuantizationStats(), f"is no list of pieces but {_format_value(held)}"
                )
                continue
            yield from _read_pieces(held, f"{part} piece", part, steps_per_beat)
    elif isinstance(value, dict) or (isinstance(value, list) and _is_piece(value)):
        yield _read_piece("", "", value, steps_per_beat)
    elif isinstance(value, list):
        yield from _read_pieces(value, "piece", "", steps_per_beat)
    else:
        raise UnreadablePiece(
            f"is JSON without pieces ({_format_value(value)}), where a list of frames or events is wanted"
        )


def _parse(data: bytes) -> object:
    """The value in a file; a list of those of its lines if it is JSON lines."""
    try:
        text = data.decode("utf-8-sig")
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            lines = [line for line in text.splitlines() if line.strip()]
            if not error.msg.startswith("Extra data") or len(lines) < 2:
                raise
            return [_parse_line(line) for line in lines]
    except UnicodeDecodeError as error:
        raise UnreadablePiece(f"is no JSON (byte {error.start:,} is no utf-8)") from None
    except json.JSONDecodeError as error:
        raise UnreadablePiece(f"is no JSON ({error.msg}, line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise UnreadablePiece("is JSON of lists in lists without end") from None
    except ValueError as error:  # a number of thousands of digits
        raise UnreadablePiece(f"is JSON with a value that is none ({error})") from None


def _parse_line(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        return UnreadablePiece(f"is no JSON ({error})")


def _is_piece(value: list[object]) -> bool:
    """Whether a list is one of frames rather than of pieces."""
    held = [item for frame in value if isinstance(frame, list) for item in frame]
    nested = any(isinstance(item, dict | UnreadablePiece) for item in value) or any(
        isinstance(item, list) for item in held
    )
    return not nested and any(isinstance(item, int | float) for item in held)


def _read_pieces(values: list[object], name: str, part: str, steps_per_beat: int) -> Iterator[PieceResult]:
    for number, value in enumerate(values, 1):
        yield _read_piece(f"{name} {number}", part, value, steps_per_beat)


def _read_piece(location: str, part: str, value: object, steps_per_beat: int) -> PieceResult:
    try:
        if isinstance(value, UnreadablePiece):
            raise value
        return PieceResult(location, part, *_make_piece(value, steps_per_beat))
    except UnreadablePiece as error:
        return PieceResult(location, part, None, QuantizationStats(), str(error))


def _make_piece(value: object, steps_per_beat: int) -> tuple[Example, QuantizationStats]:
    if isinstance(value, dict):
        return _make_piece_of_events(value, steps_per_beat)
    if not isinstance(value, list):
        raise UnreadablePiece(f"is no list of frames but {_format_value(value)}")
    check_piece_length(len(value))
    notes = []
    for number, frame in enumerate(value):
        if not isinstance(frame, list):
            raise UnreadablePiece(
                f"has a frame that is no list of pitches, number {number + 1}: {_format_value(frame)}"
            )
        for pitch in frame:
            if not _is_whole(pitch) or not 0 <= pitch <= 127:
                what = f"has a pitch of {_format_value(pitch)} in frame {number + 1}"
                raise UnreadablePiece(f"{what}, where 0 to 127 are pitches of MIDI")
            notes.append((number, number + 1, int(pitch)))
    events, stats = quantize_notes(notes)
    return make_piece_example(events, len(value)), stats


def _make_piece_of_events(value: JsonObject, steps_per_beat: int) -> tuple[Example, QuantizationStats]:
    """A piece as an object; its times are taken to the wanted grid if it has another."""
    numbers = {"steps_per_beat": steps_per_beat, "bar": 0, "key": 0, "steps": 0}
    for name, default in numbers.items():
        number = value.get(name, default)
        if not _is_whole(number) or not 0 <= number <= 10**9:
            raise UnreadablePiece(f'has the "{name}" {_format_value(number)}, where a whole number is wanted')
        numbers[name] = int(number)
    own = numbers["steps_per_beat"]
    if not own:
        raise UnreadablePiece('has the "steps_per_beat" 0, where a whole number above 0 is wanted')
    if numbers["key"] > KEYS:
        raise UnreadablePiece(f'has the "key" {numbers["key"]}, where 0 to {KEYS} are keys')
    rows = value.get("events")
    if not isinstance(rows, list):
        raise UnreadablePiece(f'has no list of "events" but {_format_value(rows)}')
    notes = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != 3 or not all(map(_is_whole, row)) or row[0] < 0 or row[1] < 1:
            raise UnreadablePiece(
                f"has the event {_format_value(row)}, number {number}, where [start, duration, pitch] is wanted"
            )
        start, duration, pitch = row
        notes.append((start * steps_per_beat / own, (start + duration) * steps_per_beat / own, pitch))
    events, stats = quantize_notes(notes)
    scaled = {name: numbers[name] * steps_per_beat / own for name in ("steps", "bar")}
    return make_piece_example(events, scaled["steps"], scaled["bar"], numbers["key"]), stats


def _is_whole(value: object) -> bool:
    """Whether a value is a whole number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 and value == int(value)


def _format_value(value: object) -> str:
    """A value of JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= OPEN else f"{text[:OPEN]}..."
