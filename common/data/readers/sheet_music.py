"""Scores in MusicXML and ABC, read by music21: the notes of all parts and voices on a grid of steps."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.readers.archives import UNREADABLE
from common.data.readers.note_grid import (
    PieceResult,
    QuantizationStats,
    UnreadablePiece,
    key_from_signature,
    key_id,
    make_piece_example,
    quantize_notes,
)
from common.runtime.open_file import detect_encoding
from common.types import Example

if TYPE_CHECKING:  # music21 is slow to import
    from xml.etree.ElementTree import Element

    from music21 import note, stream
    from music21.common.types import OffsetQL

MOST_BYTES = 2**26  # of a score, unpacked; an archive made to fill the memory is more
BROKEN: tuple[type[Exception], ...] = (*UNREADABLE, RuntimeError, OSError, LookupError)  # what zipfile raises
ZIP = b"PK\x03\x04"
TUNE = re.compile(r"(?m)^X:")
NEAR = 0.01  # quarter notes that may lie between notes with a tie, for files round times to whole numbers
MANY_BEATS = re.compile(r"\d{4}")  # in a time signature; music21 counts them one by one
METER = re.compile(r"(?m)(?:^|\[)M:([^\n\]]*)")


def read_musicxml(data: bytes | Path, steps_per_beat: int) -> tuple[Example, QuantizationStats]:
    """Return the piece in a MusicXML file, plain or packed (.mxl), and what became of its notes.

    Tied notes are one. Grace notes and chord symbols are left out, repeats are played once, and transposing instruments
    give what they sound. The first bar is filled up from its start with empty steps.

    Args:
      data: the file's bytes, or its path.

    Raises:
      Unusable: it is no such file, damaged, or without notes.
    """
    name = data.name if isinstance(data, Path) else ""
    data = data.read_bytes() if isinstance(data, Path) else data
    root = _parse_root(_unpack(data) if data.startswith(ZIP) else data)
    for beats in root.iter("beats"):
        _check_meter(beats.text or "")
    with _silence("MusicXML"):
        from music21.musicxml.xmlToM21 import MusicXMLImporter

        importer = MusicXMLImporter()
        importer.xmlRoot = root
        importer.xmlRootToScore(root, importer.stream)
        return _read_stream(importer.stream, steps_per_beat, name)


def count_musicxml_parts(data: bytes | Path) -> int:
    """Return how many parts a MusicXML file has.

    Raises:
      Unusable: it is no such file, or damaged.
    """
    data = data.read_bytes() if isinstance(data, Path) else data
    return len(_parse_root(_unpack(data) if data.startswith(ZIP) else data).findall("part"))


def read_abc(data: bytes | Path, steps_per_beat: int) -> Iterator[PieceResult]:
    """Yield the tunes in an ABC file, or why they cannot be used; see `read_musicxml`.

    A tune begins at each line with "X:".

    Raises:
      Unusable: it is no text, or holds no tune.
    """
    data = data.read_bytes() if isinstance(data, Path) else data
    if b"\0" in data or len(data) > MOST_BYTES:
        raise UnreadablePiece("is no ABC but binary data" if b"\0" in data else f"has over {MOST_BYTES:,} bytes")
    text = detect_encoding(data, True, None)[1].lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    starts = [match.start() for match in TUNE.finditer(text)]
    if not starts and not re.search(r"(?m)^K:", text):
        raise UnreadablePiece('is no ABC (it has no line that begins with "X:")' if data else "is empty")
    head, starts = (text[: starts[0]], starts) if starts else ("", [0])
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        location = f"tune {number}" if len(starts) > 1 else ""
        try:
            yield PieceResult(location, "", *_read_tune(head + text[start:end], steps_per_beat))
        except UnreadablePiece as error:
            yield PieceResult(location, "", None, QuantizationStats(), str(error))


def _read_tune(text: str, steps_per_beat: int) -> tuple[Example, QuantizationStats]:
    for meter in METER.findall(text):
        _check_meter(meter)
    if not re.search("(?m)^[LM]:", text):  # then notes are eighths, says the standard
        text = re.sub("(?m)^K:", "L:1/8\nK:", text, count=1)
    with _silence("ABC"):
        from music21 import abcFormat

        return _read_stream(abcFormat.translate.abcToStreamScore(abcFormat.ABCFile().readstr(text)), steps_per_beat, "")


def _check_meter(beats: str) -> None:
    if MANY_BEATS.search(beats):
        raise UnreadablePiece(f"has a time signature of too many beats ({beats.strip()[:40]})")


@contextmanager
def _silence(kind: str) -> Iterator[None]:
    """Keeps what music21 prints from people, and makes whatever it raises of a file Unusable."""
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadablePiece:
        raise
    except ImportError as error:
        raise UnreadablePiece(f"needs music21 to be read ({error}): run make setup") from None
    except Exception as error:  # of damaged files music21 raises whatever went wrong in it
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UnreadablePiece(
            f"cannot be read as {kind} ({type(error).__name__}{': ' * bool(reason)}{reason})"
        ) from None


def _unpack(data: bytes) -> bytes:
    """The score in an .mxl file, which is a zip archive that says in META-INF/container.xml where it stands."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            container = next((name for name in names if name == "META-INF/container.xml"), None)
            listed = _parse_root(_read_member(archive, container)).iter() if container else []
            path = next((element.get("full-path") for element in listed if element.tag.endswith("rootfile")), None)
            if path not in names:
                scores = (name for name in names if name.lower().endswith((".xml", ".musicxml")))
                path = next((name for name in scores if not name.startswith(("META-INF", "__MACOSX"))), None)
            if path is None:
                raise UnreadablePiece("is an archive without a score in it")
            return _read_member(archive, path)
    except BROKEN as error:
        if isinstance(error, UnreadablePiece):
            raise
        raise UnreadablePiece(f"is a damaged archive ({error})") from None


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        data = file.read(MOST_BYTES + 1)  # counted rather than believed
    if len(data) > MOST_BYTES:
        raise UnreadablePiece(f"unpacks to over {MOST_BYTES:,} bytes")
    return data


def _parse_root(data: bytes) -> Element:
    """The root element of an XML file."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if len(data) > MOST_BYTES:
        raise UnreadablePiece(f"has over {MOST_BYTES:,} bytes")
    try:
        root = fromstring(data, forbid_dtd=False, forbid_entities=True, forbid_external=True)
    except DefusedXmlException:
        raise UnreadablePiece("declares entities, which could fill the memory: take its DOCTYPE out") from None
    except ParseError as error:
        raise UnreadablePiece(f"is not well-formed XML ({error})" if data else "is empty") from None
    except (LookupError, ValueError) as error:  # such as an encoding that there is not
        raise UnreadablePiece(f"cannot be read as XML ({error})") from None
    if root.tag not in ("score-partwise", "container") and not root.tag.endswith("}container"):
        raise UnreadablePiece(f"is no MusicXML with the root <score-partwise>, for its root is <{root.tag[:100]}>")
    return root


def _read_stream(whole: stream.Score, steps_per_beat: int, name: str) -> tuple[Example, QuantizationStats]:
    """The piece in a music21 score."""
    from music21 import key, meter

    if any(instrument.transposition is not None for instrument in whole.recurse().getElementsByClass("Instrument")):
        whole = whole.toSoundingPitch()
    flats: list[tuple[stream.Stream, stream.Stream]] = [(part, part.flatten()) for part in whole.parts] or [
        (whole, whole.flatten())
    ]
    meters = (element for _, flat in flats for element in flat.getElementsByClass(meter.TimeSignature))
    first_meter = next(meters, None)
    bar = first_meter.barDuration.quarterLength if first_meter is not None else 0
    bars = [_measure_first_bar(part) for part, _ in flats]
    first = max((filled for filled, _ in bars), default=0)
    lacking = Fraction(bar - first if 0 < first < bar else 0)
    notes: list[tuple[Fraction, Fraction, int]] = []
    length, drums = Fraction(0), 0
    for (_, flat), (_, given) in zip(flats, bars, strict=True):
        # Where parts fill their first bar unlike each other, music21 lets the others begin at different times.
        moved = Fraction(first - given if given and 0 < first <= bar else 0)
        played, beaten = _read_notes(flat)
        notes += [
            (start + moved * (start >= given), end + moved * (end > given), pitch) for start, end, pitch in played
        ]
        length = max(length, Fraction(flat.highestTime) + moved)
        drums += beaten

    def steps(quarters: Fraction) -> float:
        return float((quarters + lacking) * steps_per_beat)

    events, stats = quantize_notes([(steps(start), steps(end), pitch) for start, end, pitch in notes], drums)
    signature = next((element for _, flat in flats for element in flat.getElementsByClass(key.KeySignature)), None)
    if isinstance(signature, key.Key):
        number = key_id(signature.tonic.pitchClass, signature.mode)
    else:
        sharps = signature.sharps if signature is not None else None
        number = 0 if sharps is None else key_from_signature(sharps, events)
    marks = (mark.getQuarterBPM() for _, flat in flats for mark in flat.getElementsByClass("MetronomeMark"))
    tempo = next((bpm for bpm in marks if bpm), 0)
    return make_piece_example(events, steps(length), float(bar * steps_per_beat), number, name, tempo), stats


def _measure_first_bar(part: stream.Stream) -> tuple[OffsetQL, OffsetQL]:
    """How far a part's first bar is filled, and where its second one begins, in quarter notes; 0, 0 if it has one."""
    measures = list(part.getElementsByClass("Measure")[:2])
    return (measures[0].highestTime, measures[1].offset) if len(measures) == 2 else (0, 0)


def _read_notes(flat: stream.Stream) -> tuple[list[tuple[Fraction, Fraction, int]], int]:
    """(start, end, pitch) of the notes of a part in quarter notes, tied ones joined; how many have no pitch."""
    notes: list[tuple[Fraction, Fraction, int]] = []
    open_ties: dict[int, list[int]] = {}  # positions in `notes` by pitch
    unpitched = 0
    for element in flat.notes:
        if element.duration.isGrace or "Harmony" in element.classes:
            continue
        if not hasattr(element, "pitches") or "PercussionChord" in element.classes or "Unpitched" in element.classes:
            unpitched += 1
            continue
        start = Fraction(element.offset)
        end = start + Fraction(element.duration.quarterLength)
        sounding_notes: Sequence[note.Note] = getattr(element, "notes", [element])
        for sounding_note in sounding_notes:
            pitch = int(sounding_note.pitch.ps + 0.5)  # quarter tones go up
            tie = sounding_note.tie.type if sounding_note.tie is not None else ""
            tied = open_ties.setdefault(pitch, [])
            ending = (index for index in tied if abs(notes[index][1] - start) < NEAR)
            index = next(ending, None) if tie in ("stop", "continue") else None
            if index is None:
                index = len(notes)
                notes.append((start, end, pitch))
            else:
                tied.remove(index)
                notes[index] = notes[index][0], end, pitch
            if tie in ("start", "continue"):
                tied.append(index)
    return notes, unpitched
