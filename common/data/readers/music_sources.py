"""Pieces of music wherever they stand: files, a folder, an archive or a public set; each file is read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from common.config import RunConfig
from common.data.loading import (
    LoadedData,
    SourceRequest,
    combine_fingerprints,
    file_digest,
    fingerprint_files,
    make_request,
)
from common.data.readers.archives import is_archive, unpack_to_cache
from common.data.readers.image_files import IGNORED
from common.data.readers.midi_files import MAGIC, read_midi
from common.data.readers.music_json import read_music_json
from common.data.readers.note_grid import PieceResult, QuantizationStats, UnreadablePiece
from common.data.readers.reader import Reader
from common.data.readers.sheet_music import ZIP, read_abc, read_musicxml
from common.data.readers.text_folders import PARTS
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.console import progress_bar
from common.runtime.open_file import open_compressed as opened_file
from common.runtime.open_file import suffix
from common.types import Example, Field

FEATURES = ("midi", "midi_file", "midi_bytes", "mid")  # of public sets, what those that hold such files are called
MIDI = (".mid", ".midi", ".kar", ".smf")
SCORES = (".musicxml", ".xml", ".mxl")
JSON = (".json", ".jsonl", ".ndjson")
PICKLED = (".pickle", ".pkl", ".mat")
KINDS = (*MIDI, *SCORES, *JSON, ".abc")
KNOWN = (".mid", ".midi", ".musicxml", ".xml", ".mxl", ".abc", ".json", ".jsonl")  # as people are told
MOST_BYTES = 2**28  # of a file, unpacked
SEVERAL = 3  # reasons that are told where there is no piece


class MusicFile(NamedTuple):
    """A file to read.

    Args:
      location: for people.
      part: the folder of a part in which it stands, or "".
      file: its path, or its content if it is MIDI.
    """

    location: str
    part: str
    file: Path | bytes


@dataclass(frozen=True)
class MusicReader(Reader):
    """Pieces in a fixed order, and what could not be used.

    Args:
      summary: how many there are and what became of their notes, for people.
      row_errors: is told of everything that gives no piece.
    """

    summary: str
    pieces: tuple[PieceResult, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every piece.

        Raises:
          DataError: there is something that gives none, and `row_errors` is strict.
        """
        for result in self.pieces:
            if result.piece is None:
                self.row_errors.add(result.location, result.wrong)
            else:
                yield result.location, result.piece


def open_music_source(spec: str, fields: Sequence[Field], config: RunConfig, steps_per_beat: int) -> LoadedData:
    """Open pieces of music: files, folders, archives, or a public set whose examples hold MIDI files.

    Args:
      steps_per_beat: of the grid on which notes are put.

    Raises:
      DataError: there is nothing of the sort, or a part has no piece.
    """
    request = make_request(spec, fields, config)
    if request.is_public:
        readers, prints = _open_public_pieces(request, steps_per_beat)
    else:
        readers, prints = _open_piece_files(request, steps_per_beat)
    parts = {part: request.make_source(part, reader) for part, reader in readers.items()}
    notes = tuple(reader.description for reader in readers.values())
    return LoadedData(parts, notes, combine_fingerprints([*prints, str(steps_per_beat)]))


def _open_public_pieces(request: SourceRequest, steps_per_beat: int) -> tuple[dict[str, MusicReader], list[str]]:
    events = next(field for field in request.fields if field.kind == "events")
    public = request.open_public_set([replace(events, aliases=(*events.aliases, *FEATURES))])
    parts = {}
    for part, split in public.splits.items():
        place, rows = f"tfds:{public.name} {split}", public.reader(split, events.name)()
        files = (MusicFile(f"{place}:{number}", "", row[events.name]) for number, row in enumerate(rows, 1))
        parts[part] = read_music_files(place, files, public.count(split), steps_per_beat, request.config.strict)[""]
    return parts, [public.full_name]


def _open_piece_files(request: SourceRequest, steps_per_beat: int) -> tuple[dict[str, MusicReader], list[str]]:
    if request.config.column:
        raise ConfigError(
            f"--column says what columns hold, but files of music such as {request.spec} have none: leave it out."
        )
    paths = request.joined_paths() if request.is_joined else request.named_paths()
    readers, marked = _open_pieces(request.spec, paths, steps_per_beat, request.config.strict)
    return readers, list(fingerprint_files(marked))


def _open_pieces(
    spec: str, paths: Sequence[Path], steps_per_beat: int, strict: bool
) -> tuple[dict[str, MusicReader], list[tuple[str, Path]]]:
    """Return readers by part, all under "" if there are no parts; and (name, path) of every file that they read.

    Parts are what JSON files call so, or folders of such names if no file stands beside them.

    Args:
      spec: what was named, for people.
      paths: files, folders and archives.
      strict: something that gives no piece is an error.

    Raises:
      DataError: there is nothing of the sort, or there are no pieces.
    """
    named: list[MusicFile] = []
    marked: list[tuple[str, Path]] = []
    for path in paths:
        folder = path
        if not path.is_dir() and suffix(path) not in (*SCORES, *PICKLED) and is_archive(path):
            folder = unpack_to_cache(path, file_digest(path))
            marked.append((path.name, path))
        if folder.is_dir():
            within = list(_files(folder))
            named += _parted(folder, within)
            if folder is path:
                marked += [(file.relative_to(path).as_posix(), file) for file in within]
        else:
            named.append(MusicFile(path.name, "", path))
            marked.append((path.name, path))
    if not named:
        raise DataError(f"{spec} holds no files: name another folder, or a file.")
    if len(paths) == 1 and paths[0].is_file() and suffix(paths[0]) in PICKLED:
        raise DataError(f"{spec} {_refused(paths[0])}.")
    return read_music_files(spec, named, len(named), steps_per_beat, strict), marked


def read_music_files(
    spec: str, named_files: Iterable[MusicFile], total: int | None, steps_per_beat: int, strict: bool
) -> dict[str, MusicReader]:
    """Return readers by part of what stands in files, each of which is read now.

    Args:
      total: how many files there are, if it is known.

    Raises:
      DataError: there are no pieces, or only some name their part.
    """
    parts: dict[str, list[PieceResult]] = {}
    files: Counter[str] = Counter()
    row_errors, pieces = RowErrors(strict), 0
    with progress_bar("Reading music") as shown:
        for number, file in enumerate(named_files, 1):
            held = [_locate(file, result) for result in _read_file(file.file, steps_per_beat)]
            for result in held:
                if result.piece is None:
                    row_errors.add(result.location, result.wrong)
                else:
                    result.piece["file"] = result.location
                    pieces += 1
                parts.setdefault(result.part, []).append(result)
            files.update({result.part for result in held})
            shown.update(number, total, f"{pieces:,} pieces")
    if not pieces:
        raise DataError(f"{spec} gives no piece of music{_format_reasons(row_errors)}: name other files.")
    good = [part for part, rows in parts.items() if any(result.piece for result in rows)]
    if len(good) > 1 and "" in good:
        listed = ", ".join(filter(None, good))
        raise DataError(
            f"{spec} holds pieces of parts ({listed}) and others of none: give each by a --data of its own."
        )
    for part in parts.keys() - good:  # so that they are told
        parts[good[0]] += parts[part]
        files[good[0]] += files[part]
    found_of = {part: tuple(parts[part]) for part in good}
    return {
        part: MusicReader(
            _describe(f"{spec} {part}".strip(), files[part], rows, steps_per_beat), rows, RowErrors(strict)
        )
        for part, rows in found_of.items()
    }


def _locate(file: MusicFile, result: PieceResult) -> PieceResult:
    return result._replace(location=f"{file.location} {result.location}".rstrip(), part=file.part or result.part)


def _format_reasons(row_errors: RowErrors) -> str:
    """How many things gave nothing, and why the first did."""
    if not row_errors.count:
        return ""
    first = "; ".join(row_errors.first_errors()[:SEVERAL])
    rest = f"; and {row_errors.count - SEVERAL:,} more" if row_errors.count > SEVERAL else ""
    return f" ({first}{rest})"


def _describe(name: str, files: int, rows: Iterable[PieceResult], steps_per_beat: int) -> str:
    pieces = [result for result in rows if result.piece]
    stats = sum((result.quantised for result in pieces), QuantizationStats())

    def counted(count: int, what: str) -> str:
        return f"{count:,} {what}{'' if count == 1 else 's'}"

    listed = [counted(files, "file"), counted(len(pieces), "piece"), counted(stats.notes, "note")]
    listed += [f"{stats.moved:,} of them moved to the grid of {counted(steps_per_beat, 'step')} a beat"]
    listed += [f"{stats.dropped:,} fell together"]
    return f"{name}: {', '.join(listed)}" + (f", {stats.drums:,} of drums left out" if stats.drums else "")


# Files


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders, in a fixed order, without those that systems leave there."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): name another folder.")

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _is_passed_over(name))
        yield from (Path(parent, name) for name in sorted(names) if not _is_passed_over(name))


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.casefold() in IGNORED


def _parted(folder: Path, files: Sequence[Path]) -> list[MusicFile]:
    """The files of a folder; those of music have parts if all of them are within folders named so."""
    inner = [file.relative_to(folder).parts for file in files]
    parts = [PARTS.get(names[0].casefold(), "") if len(names) > 1 else "" for names in inner]
    if not all(part for part, file in zip(parts, files, strict=True) if suffix(file) in KINDS):
        parts = [""] * len(files)
    places = ("/".join(names).encode("utf-8", "backslashreplace").decode() for names in inner)
    return [MusicFile(*row) for row in zip(places, parts, files, strict=True)]


def _read_file(file: Path | bytes, steps_per_beat: int) -> list[PieceResult]:
    """What a file gives, at least one reason why it gives nothing."""
    try:
        if isinstance(file, bytes):
            return [PieceResult("", "", *read_midi(file, steps_per_beat))]
        return list(_read_pieces(file, steps_per_beat)) or [
            PieceResult("", "", None, QuantizationStats(), "holds no pieces")
        ]
    except UnreadablePiece as error:
        wrong = str(error)
    except DataError as error:  # such as a file that may not be read
        wrong = str(error).removeprefix(f"{file!s} ").rstrip(".")
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or error})"
    return [PieceResult("", "", None, QuantizationStats(), wrong)]


def _read_pieces(path: Path, steps_per_beat: int) -> Iterator[PieceResult]:
    end = suffix(path)
    if end in PICKLED:
        raise UnreadablePiece(_refused(path))
    if end in SCORES:
        yield PieceResult("", "", *read_musicxml(_read_zip(path) or _read_bytes(path), steps_per_beat))
    elif end == ".abc":
        yield from read_abc(_read_bytes(path), steps_per_beat)
    elif end in JSON:
        yield from read_music_json(_read_bytes(path), steps_per_beat)
    elif end in MIDI or _read_bytes(path, len(MAGIC)) == MAGIC:
        yield PieceResult("", "", *read_midi(_read_bytes(path), steps_per_beat))
    else:
        raise UnreadablePiece(f"is no file of music ({', '.join(KNOWN)})")


def _refused(path: Path) -> str:
    """Why a file is not read that others unpickle: this would run whatever code stands in it."""
    kind = "a MATLAB file" if suffix(path) == ".mat" else "a Python pickle, which may run code when it is read"
    return f"is {kind}: convert it to JSON, lists of frames of pitches"


def _read_zip(path: Path) -> bytes:
    """The content of a zip archive, or nothing if it is none."""
    with open(path, "rb") as file:
        head = file.read(len(ZIP))
        return head + file.read(MOST_BYTES) if head == ZIP else b""


def _read_bytes(path: Path, max_size: int = MOST_BYTES + 1) -> bytes:
    with opened_file(path) as file:
        data: bytes = file.read(max_size)
    if len(data) > MOST_BYTES:
        raise UnreadablePiece(f"has over {MOST_BYTES:,} bytes")
    return data
