"""What music means: a piece's notes, its length, bar and key; and the default set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.data.loading import LoadedData
from common.data.readers.archives import UNREADABLE
from common.data.readers.music_sources import open_music_source
from common.data.readers.note_grid import UnreadablePiece
from common.data.readers.sheet_music import count_musicxml_parts, read_musicxml
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.atomic_io import save_npz
from common.runtime.console import print_status, progress_bar
from common.runtime.user_cache import cache_dir
from common.types import Example, ExampleSource, Field

if TYPE_CHECKING:
    from .config import Config

FIELDS = (Field("events", "events"), Field("steps", "number"), Field("bar", "number"), Field("key", "number"))

ARCHIVES = ()  # what `make setup` fetches: nothing, for music21 is installed

FACTS = ("steps", "bar", "key")
VOICES = 4  # parts of a chorale
SIMILAR = 0.5  # fraction of the passages of the shorter one that two settings of one chorale have in common
PASSAGE = 4  # beats

Passage = tuple[tuple[int, ...], ...]

NO_CACHE: tuple[type[Exception], ...] = (OSError, KeyError, *UNREADABLE)  # raised where none is, or a damaged one


def open_source(spec: str, fields: Sequence[Field], config: Config) -> LoadedData:
    """Open pieces of music on the grid of a run."""
    return open_music_source(spec, fields, config, config.steps_per_beat)


def load_bach_chorales(steps_per_beat: int, offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Return the four-part chorales by J.S. Bach that music21 carries, and their attribution.

    They are read from its files once for each grid, which takes a minute, and kept in the user's cache. Left out are
    files of other than four parts, and chorales half of whose passages stand in another one.

    Args:
      offline: makes no difference, for nothing is fetched.

    Raises:
      DataError: music21 or its chorales are not there, or the cache cannot be written.
    """
    if (spec := find_spec("music21")) is None or not spec.submodule_search_locations:
        raise DataError("The default data stands in music21, which is not installed: run make setup, or give --data.")
    release = version("music21")
    path = cache_dir() / "data" / f"chorales-{release}-{steps_per_beat}.npz"
    try:
        arrays = _load_cached(path)
    except NO_CACHE:
        arrays = _read(Path(spec.submodule_search_locations[0], "corpus", "bach"), steps_per_beat)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_npz(path, arrays)
        except OSError as error:
            remedy = "make room or allow writing there, or set XDG_CACHE_HOME to another folder"
            raise DataError(f"The chorales cannot be kept in {path.parent} ({error.strerror}): {remedy}.") from None
        print_status(f"data: {len(arrays['steps'])} chorales out of music21 {release}; kept in {path}")
    row_errors = RowErrors()
    ends = np.cumsum(arrays["notes"])

    def read() -> Iterator[Example]:
        row_errors.clear()
        for why, count in zip(("of other than four parts", "that repeat another one"), arrays["left"], strict=True):
            for _ in range(count):
                row_errors.count_filtered(why)
        for number, events in enumerate(np.split(arrays["events"], ends[:-1])):
            facts = {name: int(arrays[name][number]) for name in FACTS}
            yield {"events": events, **facts, "file": str(arrays["files"][number])}

    attribution = {
        "source": "Chorales by J.S. Bach, encoded by M. Greentree and others, in the corpus of music21",
        "licence": "the music is in the public domain; the encodings come with music21 by permission of their makers",
        "package": "music21",
        "version": release,
        "sha256": "",
    }
    return ExampleSource(f"{len(ends)} four-part chorales by J.S. Bach", read, row_errors), attribution


def _load_cached(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in ("events", "notes", "left", "files", *FACTS)}


def _read(folder: Path, steps_per_beat: int) -> dict[str, np.ndarray]:
    """Return all chorales, their events one after the other, and how many files were left out by either reason."""
    files = sorted(folder.glob("bwv*.mxl")) + sorted(folder.glob("bwv*.xml"))
    pieces: list[Example] = []
    passages: list[set[Passage]] = []
    others = repeats = 0
    with progress_bar("Reading chorales") as shown:
        for number, file in enumerate(files, 1):
            shown.update(number, len(files), f"{len(pieces)} chorales")
            try:
                if count_musicxml_parts(file) != VOICES:
                    others += 1
                    continue
                piece, _ = read_musicxml(file, steps_per_beat)
            except UnreadablePiece as error:
                raise DataError(f"{file} {error}: install music21 anew.") from None
            own = _passages(piece, steps_per_beat)
            if any(len(own & known) > SIMILAR * min(len(own), len(known)) for known in passages):
                repeats += 1
                continue
            pieces.append(piece)
            passages.append(own)
    if not pieces:
        raise DataError(f"{folder} holds no chorales: install music21 with its corpus, or give --data.")
    arrays = {name: np.array([piece[name] for piece in pieces]) for name in FACTS}
    events = [piece["events"] for piece in pieces]
    arrays["files"] = np.array([piece["file"] for piece in pieces])
    arrays["notes"] = np.array([len(notes) for notes in events])
    arrays["left"] = np.array([others, repeats])
    return arrays | {"events": np.concatenate(events)}


def _passages(piece: Example, steps_per_beat: int) -> set[Passage]:
    """Return what sounds on each of some beats in a row, for all such rows, as intervals above their lowest note."""
    starts, durations, pitches = piece["events"].T
    beats = [
        pitches[(starts <= step) & (step < starts + durations)].tolist()
        for step in range(0, piece["steps"], steps_per_beat)
    ]
    passages = set()
    for first in range(len(beats) - PASSAGE + 1):
        row = beats[first : first + PASSAGE]
        lowest = min((pitch for beat in row for pitch in beat), default=0)
        passages.add(tuple(tuple(sorted(pitch - lowest for pitch in beat)) for beat in row))
    return passages
