"""A published file from disk, or from the web where it is not there yet."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from common.errors import ConfigError
from common.runtime.atomic_io import atomic_write
from common.runtime.console import progress_bar

WAIT = 10  # seconds without an answer until a download is given up
PIECE = 1 << 20


def download_file(url: str, folder: Path, digest: str, offline: bool, otherwise: str) -> Path:
    """Return where a published file is; downloaded, checked and put there if it is not.

    Args:
      url: http or https, with the file's name at its end.
      digest: of its content in hexadecimal, MD5 or SHA-256.
      offline: never use the network.
      otherwise: what else one can do, for people.

    Raises:
      ConfigError: the file is not there and cannot be or shall not be downloaded, or is another one.
    """
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        if _digest_of(path, len(digest)) != digest:
            raise ConfigError(f"{path} is not the file that {url} names. Remove it, or {otherwise}.")
        return path
    if offline:
        raise ConfigError(
            f"{path.name} is not there, and --offline forbids to download it. {_by_hand(url, path, otherwise)}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(url, path, digest)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"{path.name} could not be downloaded ({reason}). {_by_hand(url, path, otherwise)}") from None
    return path


def _by_hand(url: str, path: Path, otherwise: str) -> str:
    return f"Place {url} at {path}, or {otherwise}."


def _download(url: str, path: Path, digest: str) -> None:
    actual = hashlib.new(_kind(len(digest)), usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=WAIT) as answer, progress_bar(f"Downloading {path.name}") as shown:
        size, done = int(answer.headers.get("Content-Length") or 0), 0
        with atomic_write(path) as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                actual.update(piece)
                done += len(piece)
                shown.update(done / 1e6, size / 1e6 or None, f"{done / 1e6:.0f} MB")
            if actual.hexdigest() != digest:
                raise ValueError(f"what came is not the published file: {done:,} bytes of another content")


def _kind(length: int) -> str:
    return "md5" if length == 32 else "sha256"


def _digest_of(path: Path, length: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(_kind(length), usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]


def keras_home() -> Path:
    """Return where Keras keeps what it downloads: `KERAS_HOME`, or .keras in the home folder."""
    return Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
