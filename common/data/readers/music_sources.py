"""Pieces of music wherever they stand: files, a folder, an archive or a public set; each file is read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from common.config import RunConfig
from common.data.loading import Opened, SourceRequest, combined, digest, file_prints, make_request
from common.data.readers import music_json
from common.data.readers.archives import is_archive, unpacked
from common.data.readers.image_files import IGNORED
from common.data.readers.midi_files import MAGIC, piece
from common.data.readers.note_grid import Found, Quantised, Unusable
from common.data.readers.reader import Reader
from common.data.readers.sheet_music import ZIP, score, tunes
from common.data.readers.text_folders import PARTS
from common.errors import ConfigError, DataError
from common.row_errors import Problems
from common.runtime.console import display
from common.runtime.open_file import opened as opened_file
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


class Named(NamedTuple):
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
class Music(Reader):
    """Pieces in a fixed order, and what could not be used.

    Args:
      summary: how many there are and what became of their notes, for people.
      problems: is told of everything that gives no piece.
    """

    summary: str
    found: tuple[Found, ...] = field(repr=False)
    problems: Problems = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def rows(self) -> Iterator[tuple[str, Example]]:
        """(location, example) of every piece.

        Raises:
          DataError: there is something that gives none, and `problems` is strict.
        """
        for result in self.found:
            if result.piece is None:
                self.problems.add(result.location, result.wrong)
            else:
                yield result.location, result.piece


def open_music_source(spec: str, fields: Sequence[Field], config: RunConfig, steps_per_beat: int) -> Opened:
    """Opens pieces of music: files, folders, archives, or a public set whose examples hold MIDI files.

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
    return Opened(parts, notes, combined([*prints, str(steps_per_beat)]))


def _open_public_pieces(request: SourceRequest, steps_per_beat: int) -> tuple[dict[str, Music], list[str]]:
    events = next(one for one in request.fields if one.kind == "events")
    public = request.open_public_set([replace(events, names=(*events.names, *FEATURES))])
    parts = {}
    for part, split in public.splits.items():
        place, rows = f"tfds:{public.name} {split}", public.reader(split, events.name)()
        files = (Named(f"{place}:{number}", "", row[events.name]) for number, row in enumerate(rows, 1))
        parts[part] = read(place, files, public.count(split), steps_per_beat, request.config.strict)[""]
    return parts, [public.full_name]


def _open_piece_files(request: SourceRequest, steps_per_beat: int) -> tuple[dict[str, Music], list[str]]:
    if request.config.column:
        raise ConfigError(
            f"--column says what columns hold, but files of music such as {request.spec} have none: leave it out."
        )
    paths = request.joined_paths() if request.is_joined else request.named_paths()
    readers, marked = _open_pieces(request.spec, paths, steps_per_beat, request.config.strict)
    return readers, list(file_prints(marked))


def _open_pieces(
    spec: str, paths: Sequence[Path], steps_per_beat: int, strict: bool
) -> tuple[dict[str, Music], list[tuple[str, Path]]]:
    """Readers by part, all under "" if there are no parts; and (name, path) of every file that they read.

    Parts are what JSON files call so, or folders of such names if no file stands beside them.

    Args:
      spec: what was named, for people.
      paths: files, folders and archives.
      strict: something that gives no piece is an error.

    Raises:
      DataError: there is nothing of the sort, or there are no pieces.
    """
    named: list[Named] = []
    marked: list[tuple[str, Path]] = []
    for path in paths:
        folder = path
        if not path.is_dir() and suffix(path) not in (*SCORES, *PICKLED) and is_archive(path):
            folder = unpacked(path, digest(path))
            marked.append((path.name, path))
        if folder.is_dir():
            within = list(_files(folder))
            named += _parted(folder, within)
            if folder is path:
                marked += [(file.relative_to(path).as_posix(), file) for file in within]
        else:
            named.append(Named(path.name, "", path))
            marked.append((path.name, path))
    if not named:
        raise DataError(f"{spec} holds no files: name another folder, or a file.")
    if len(paths) == 1 and paths[0].is_file() and suffix(paths[0]) in PICKLED:
        raise DataError(f"{spec} {_refused(paths[0])}.")
    return read(spec, named, len(named), steps_per_beat, strict), marked


def read(
    spec: str, named_files: Iterable[Named], total: int | None, steps_per_beat: int, strict: bool
) -> dict[str, Music]:
    """Readers by part of what stands in files, each of which is read now.

    Args:
      total: how many files there are, if it is known.

    Raises:
      DataError: there are no pieces, or only some name their part.
    """
    parts: dict[str, list[Found]] = {}
    files: Counter[str] = Counter()
    problems, pieces = Problems(strict), 0
    with display("Reading music") as shown:
        for number, file in enumerate(named_files, 1):
            held = [_locate(file, result) for result in _read_file(file.file, steps_per_beat)]
            for result in held:
                if result.piece is None:
                    problems.add(result.location, result.wrong)
                else:
                    result.piece["file"] = result.location
                    pieces += 1
                parts.setdefault(result.part, []).append(result)
            files.update({result.part for result in held})
            shown.show(number, total, f"{pieces:,} pieces")
    if not pieces:
        raise DataError(f"{spec} gives no piece of music{_format_reasons(problems)}: name other files.")
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
        part: Music(_describe(f"{spec} {part}".strip(), files[part], rows, steps_per_beat), rows, Problems(strict))
        for part, rows in found_of.items()
    }


def _locate(file: Named, result: Found) -> Found:
    return result._replace(location=f"{file.location} {result.location}".rstrip(), part=file.part or result.part)


def _format_reasons(problems: Problems) -> str:
    """How many things gave nothing, and why the first did."""
    if not problems.count:
        return ""
    first = "; ".join(problems.lines()[:SEVERAL])
    rest = f"; and {problems.count - SEVERAL:,} more" if problems.count > SEVERAL else ""
    return f" ({first}{rest})"


def _describe(name: str, files: int, rows: Iterable[Found], steps_per_beat: int) -> str:
    pieces = [result for result in rows if result.piece]
    stats = sum((result.quantised for result in pieces), Quantised())

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


def _parted(folder: Path, files: Sequence[Path]) -> list[Named]:
    """The files of a folder; those of music have parts if all of them are within folders named so."""
    inner = [file.relative_to(folder).parts for file in files]
    parts = [PARTS.get(names[0].casefold(), "") if len(names) > 1 else "" for names in inner]
    if not all(part for part, file in zip(parts, files, strict=True) if suffix(file) in KINDS):
        parts = [""] * len(files)
    places = ("/".join(names).encode("utf-8", "backslashreplace").decode() for names in inner)
    return [Named(*row) for row in zip(places, parts, files, strict=True)]


def _read_file(file: Path | bytes, steps_per_beat: int) -> list[Found]:
    """What a file gives, at least one reason why it gives nothing."""
    try:
        if isinstance(file, bytes):
            return [Found("", "", *piece(file, steps_per_beat))]
        return list(_read_pieces(file, steps_per_beat)) or [Found("", "", None, Quantised(), "holds no pieces")]
    except Unusable as error:
        wrong = str(error)
    except DataError as error:  # such as a file that may not be read
        wrong = str(error).removeprefix(f"{file!s} ").rstrip(".")
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or error})"
    return [Found("", "", None, Quantised(), wrong)]


def _read_pieces(path: Path, steps_per_beat: int) -> Iterator[Found]:
    end = suffix(path)
    if end in PICKLED:
        raise Unusable(_refused(path))
    if end in SCORES:
        yield Found("", "", *score(_read_zip(path) or _read_bytes(path), steps_per_beat))
    elif end == ".abc":
        yield from tunes(_read_bytes(path), steps_per_beat)
    elif end in JSON:
        yield from music_json.pieces(_read_bytes(path), steps_per_beat)
    elif end in MIDI or _read_bytes(path, len(MAGIC)) == MAGIC:
        yield Found("", "", *piece(_read_bytes(path), steps_per_beat))
    else:
        raise Unusable(f"is no file of music ({', '.join(KNOWN)})")


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
        raise Unusable(f"has over {MOST_BYTES:,} bytes")
    return data
