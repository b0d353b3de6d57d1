"""Archives of data, unpacked once into the user's cache: zip and tar, the latter packed by gzip, bzip2, xz or zstd."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from common.errors import DataError
from common.runtime.console import progress_bar
from common.runtime.open_file import corrupt_file_error, open_compressed
from common.runtime.user_cache import cache_dir

ZIPS = (b"PK\x03\x04", b"PK\x05\x06")  # the latter is an empty one
MOST_BYTES, MOST_FILES = 50 * 2**30, 5_000_000  # what an archive may unpack to; one made to fill the disk is more
KEPT = 5  # archives
STALE = 24 * 3600  # seconds after which unfinished work is that of a process that was killed
BLOCK = 2**20
UNREADABLE: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, struct.error)
UNREADABLE += (EOFError, NotImplementedError, ValueError, OverflowError)  # what their modules raise of damaged ones

FOLDER, LINK = "a folder", "a link or device"

Member = tuple[str, str, Callable[[], IO[bytes]]]  # its name, FOLDER or LINK if it is no file, and what opens it


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar archive, by its bytes.

    Raises:
      DataError: it is missing or damaged.
    """
    return _is_zip(path) or _is_tar(path)


def unpack_to_cache(path: Path, digest: str) -> Path:
    """Return the folder that holds what is in an archive; if this is one folder alone with others in it, that one.

    Args:
      digest: of the archive's bytes, by which it is known.

    Raises:
      DataError: the archive is damaged, encrypted or too large, or holds what no archive of data should, or the cache
        cannot be written.
    """
    cache = cache_dir() / "unpacked"
    folder = cache / digest
    try:
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{digest}-", dir=cache) as temporary:
                files = Path(temporary, "files")
                files.mkdir()
                _unpack(path, files)
                _publish(files, folder)
        os.utime(folder)
        _forget(cache, folder)
    except OSError as error:
        raise _write_error(path, error) from None
    return _find_root(folder)


def _publish(files: Path, folder: Path) -> None:
    """Gives the folder its name; another process may have been faster, whose files are the same."""
    try:
        files.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _forget(cache: Path, used: Path) -> None:
    """Removes all but the archives used last, and what killed processes left."""
    ages = []
    for path in cache.iterdir():
        with suppress(OSError):  # another process removed it
            ages.append((path.stat().st_mtime, path))
    ages.sort(reverse=True)
    whole = [path for _, path in ages if not path.name.startswith(".") and path != used]
    left = [path for age, path in ages if path.name.startswith(".") and time.time() - age > STALE]
    for path in whole[KEPT - 1 :] + left:
        shutil.rmtree(path, ignore_errors=True)


def _find_root(folder: Path) -> Path:
    """The folder, or the only one in it if that is neither a label nor a part."""
    from common.data.readers.image_files import IGNORED
    from common.data.readers.text_folders import PARTS, list_subfolders

    while True:
        inside = [
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name.casefold() not in IGNORED
        ]
        only = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
        if only is None or only.name.casefold() in PARTS:
            return folder
        if not list_subfolders(only) and not _holds_data(only):
            return folder
        folder = only


def _holds_data(folder: Path) -> bool:
    """Whether a folder without folders holds a table or IDX files, so that it is no label."""
    from common.data.readers.idx import NAME
    from common.data.readers.text_folders import TABLES

    names = [path for path in folder.iterdir() if path.suffix.lower() in TABLES or NAME.fullmatch(path.name)]
    return bool(names)


# Reading


def _unpack(path: Path, folder: Path) -> None:
    """Writes an archive's files into an empty folder."""
    count = size = 0
    try:
        with (
            progress_bar(f"Unpacking {path.name}") as shown,
            _open_zip(path) if _is_zip(path) else _open_tar(path) as (members, total),
        ):
            for name, special, open_member in members:
                target = folder / _resolve_member(path, name)
                count += 1
                if count > MOST_FILES:
                    raise DataError(f"{path} holds over {MOST_FILES:,} files: unpack it yourself, and name the folder.")
                if special not in ("", FOLDER):
                    raise DataError(
                        f"{path} holds {special}, {_format_name(name)}: unpack it yourself, and name the folder."
                    )
                try:
                    (target if special else target.parent).mkdir(parents=True, exist_ok=True)
                    if not special:
                        with open_member() as source, open(target, "wb") as file:
                            size += _copy(path, source, file, MOST_BYTES - size)
                except (FileExistsError, NotADirectoryError, IsADirectoryError):
                    both = f"{path} holds a file and a folder of one name, {_format_name(name)}"
                    raise DataError(f"{both}: unpack it yourself, and name the folder.") from None
                except OSError as error:
                    if error.errno is None:  # of reading, where decompressors say so of damage
                        raise
                    raise _write_error(path, error) from None
                shown.update(count, total, f"{count:,} files")
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise corrupt_file_error(path, error) from None


def _copy(path: Path, source: IO[bytes], file: IO[bytes], max_size: int) -> int:
    """How many bytes were copied, counted rather than believed."""
    size = 0
    for block in iter(partial(source.read, BLOCK), b""):
        size += len(block)
        if size > max_size:
            raise DataError(f"{path} unpacks to over {MOST_BYTES:,} bytes: unpack it yourself, and name the folder.")
        file.write(block)
    return size


def _write_error(path: Path, error: OSError) -> DataError:
    remedy = "make room or allow writing there, or set XDG_CACHE_HOME to another folder"
    return DataError(f"{path} cannot be unpacked into {cache_dir()} ({error.strerror or error}): {remedy}.")


def _format_name(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _resolve_member(path: Path, name: str) -> Path:
    """A member's place below the folder it is unpacked into.

    Raises:
      DataError: it would be elsewhere, or its name is none.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = not parts or ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive
    if outside and name.strip("./\\"):
        raise DataError(
            f"{path} holds a file that would be written elsewhere, {_format_name(name)}: name another archive."
        )
    return Path(*parts)


@contextmanager
def _open_zip(path: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The members of a zip archive and their number."""

    def member(info: zipfile.ZipInfo) -> Member:
        if info.flag_bits & 1:
            raise DataError(f"{path} is encrypted: unpack it with its password, and name the folder.")
        name = info.filename
        if not info.flag_bits & 0x800:  # some programs write UTF-8 and do not say so
            with suppress(UnicodeError):
                name = name.encode("cp437").decode("utf-8")
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
        return name, FOLDER if info.is_dir() else "" if kind in (0, stat.S_IFREG) else LINK, partial(file.open, info)

    with zipfile.ZipFile(path) as file:
        yield map(member, file.infolist()), len(file.infolist())


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The members of a tar archive; their number is not known."""

    def member(info: tarfile.TarInfo) -> Member:
        special = "" if info.isfile() else FOLDER if info.isdir() else LINK
        return info.name, special, cast(Callable[[], IO[bytes]], partial(file.extractfile, info))

    with open_compressed(path) as stream, tarfile.open(fileobj=stream, mode="r|") as file:
        yield map(member, file), None


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) in ZIPS
    except OSError:
        return False  # `opened` says why


def _is_tar(path: Path) -> bool:
    with open_compressed(path) as file:
        head = file.read(512)
    return head[257:262] == b"ustar" or (len(head) == 512 and path.suffix.lower() == ".tar")
