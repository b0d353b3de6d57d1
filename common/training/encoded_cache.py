"""Encoded data that is kept under the user's cache, and taken over by the next run on the same data and settings.

  encoded/KEY/about.json   what it was made from, the assets, and what the splits hold
  encoded/KEY/SPLIT/       the columns of a split
  encoded/.PID-.../        the same while a process writes them; left by a process that is gone, it is removed

The same means: the same bytes in the files, the same code, the same libraries, and the same values of all settings
that are declared to affect the encoding (see `config.option`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import common
from common.config import RunConfig, encoding_values
from common.data.example_store import ExampleStore, StoreWriter, load_store
from common.errors import DataError
from common.runtime.atomic_io import write_json
from common.runtime.console import print_status
from common.runtime.user_cache import cache_dir
from common.types import Assets, JsonObject

KEPT_BYTES, KEPT = 10 * 2**30, 20  # what was not used for longest goes, beyond so much or so many


@dataclass(frozen=True)
class CacheEntry:
    """Encoded data of an earlier run.

    Args:
      config: the settled one of this run.
      stores: by split.
      row_errors: lines for people on each split.
    """

    path: Path
    config: RunConfig
    assets: Assets
    stores: dict[str, ExampleStore]
    row_errors: list[list[str]]


@dataclass(frozen=True)
class EncodedCache:
    """The encoded data that this machine keeps, seen by one run.

    Args:
      made_from: what else than settings the data depends on, as a JSON object.
      config: the settings as they were given.
      settle: fills in those that depend on the data, by its assets.
      known_assets: of a run that goes on, whose settings are settled already.
    """

    made_from: JsonObject
    config: RunConfig
    settle: Callable[[Assets], RunConfig]
    known_assets: Assets | None = None

    @property
    def folder(self) -> Path:
        """The folder that all of it is in."""
        return cache_dir() / "encoded"

    def find(self) -> CacheEntry | None:
        """Return what an earlier run kept, or None."""
        for path in sorted(self.folder.glob("[!.]*/about.json")):
            try:
                if (entry := self._open(path)) is not None:
                    os.utime(path)  # in use: the last to go
                    return entry
            except (OSError, ValueError, KeyError, TypeError):  # damaged, or removed by another process just now
                shutil.rmtree(path.parent, ignore_errors=True)
        return None

    def _open(self, path: Path) -> CacheEntry | None:
        """Return the entry that a file describes, or None if it is of something else."""
        about = json.loads(path.read_text(encoding="utf-8"))
        assets = about["assets"]
        if about["made_from"] != self.made_from:
            return None
        if self.known_assets is None:
            if about["learned_with"] != as_json_values(self.config):
                return None
        elif assets != self.known_assets:
            return None
        settled = self.settle(assets)
        if about["encoded_with"] != as_json_values(settled):
            return None
        stores = {name: load_store(path.parent / name, entry) for name, entry in about["splits"].items()}
        return CacheEntry(path.parent, settled, assets, stores, about["row_errors"])

    def make_scratch(self) -> Path:
        """Make a new folder of this process; what processes that are gone left there is removed."""
        return _make_scratch(self.folder)

    def keep(
        self,
        scratch: Path,
        settled: RunConfig,
        assets: Assets,
        writers: Mapping[str, StoreWriter],
        stores: Mapping[str, ExampleStore],
        row_errors: list[list[str]],
    ) -> None:
        """Keep what was encoded into a scratch folder; say so if that cannot be, which harms nothing else."""
        about = {
            "made_from": self.made_from,
            "learned_with": as_json_values(self.config),
            "encoded_with": as_json_values(settled),
            "assets": assets,
            "row_errors": row_errors,
        }
        _keep(self.folder, scratch, about, writers, stores)


def as_json_values(config: RunConfig) -> JsonObject:
    """Return the settings on which encoded data depends, as JSON gives them back."""
    values: JsonObject = json.loads(json.dumps(encoding_values(config)))
    return values


def code_hash(folder: Path) -> str:
    """Return a hash of all code that may take part in encoding: of a recipe's folder, and all that recipes share."""
    digest = hashlib.blake2b(digest_size=16)
    for place in (folder, Path(common.__file__).parent):
        for path in sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(place)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_scratch(folder: Path) -> Path:
    """Make a new folder of this process; what processes that are gone left there is removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*"):
            number, _, rest = leftover.name[1:].partition("-")
            # Another machine's processes may use the same folder.
            if number.isdecimal() and rest.startswith(f"{platform.node()}-") and not _is_running(int(number)):
                shutil.rmtree(leftover, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-{platform.node()}-", dir=folder))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to ({error.strerror or error}): allow it, make room there, or set"
            " XDG_CACHE_HOME to another folder."
        ) from None


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks only whether there is such a process
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _keep(
    folder: Path,
    scratch: Path,
    about: JsonObject,
    writers: Mapping[str, StoreWriter],
    stores: Mapping[str, ExampleStore],
) -> None:
    """Give the scratch folder its lasting name; say so if that cannot be, which harms nothing else."""
    try:
        about["splits"] = {name: writers[name].save(stores[name]) for name in stores}
        for path in scratch.glob("*/*"):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        write_json(scratch / "about.json", about)
        key = hashlib.blake2b(json.dumps([about[k] for k in ("made_from", "learned_with", "encoded_with")]).encode())
        with suppress(OSError):  # another process has kept the same just now
            scratch.rename(folder / key.hexdigest()[:32])
        _make_room(folder)
    except OSError as error:
        print_status(f"The encoded data is not kept for the next run: {folder}: {error.strerror or error}.")


def _make_room(folder: Path) -> None:
    """Remove what was not used for longest, until the rest is small enough; the latest always stays."""
    entries = sorted(folder.glob("[!.]*/about.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for number, about in enumerate(entries):
        total += sum(path.stat().st_size for path in about.parent.rglob("*"))
        if number and (total > KEPT_BYTES or number >= KEPT):
            shutil.rmtree(about.parent, ignore_errors=True)
