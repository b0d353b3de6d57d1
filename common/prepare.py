"""From the raw parts of a run to what training reads: what is learned from them, and their encoded examples.

Both are kept under the user's cache and taken over by the next run on the same data and settings:

  encoded/KEY/about.json   what they were made from, the assets, and what the parts hold
  encoded/KEY/PART/        the columns of a part
  encoded/.PID-.../        the same while a process writes them; left by a process that is gone, it is removed

The same means: the same bytes in the files, the same code, the same libraries, and the same values of all settings
that were looked at while the data was split, learned from and encoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import recipes
from common.config import OWN_SHARE, RunConfig, watched
from common.errors import ConfigError, DataError, RunError
from common.files import write_json
from common.opening import combined, joined
from common.origin import Origin, data_of
from common.packaged import cache_dir
from common.pipeline import Encoder, encoded
from common.problems import Problems
from common.progress import Display, display, say, with_progress
from common.sources import picked, share
from common.store import Store, StoreWriter, load
from common.train import FEATURE, TARGET
from common.types import Assets, Source, Splits

KEPT_BYTES, KEPT = 10 * 2**30, 20  # what was not used for longest goes, beyond so much or so many
NOTES = 10  # how many files are named, where there are more
IRRELEVANT = ("keep_encoded", "offline")  # settings that are read on the way and change nothing that is encoded


@dataclass
class Prepared:
    """What training reads.

    Args:
      task: the recipe, with its settled config and assets.
      stores: by part, "train" and "valid".
      scratch: a folder to be removed after training.
    """

    task: Any
    config: RunConfig
    assets: Assets
    splits: Splits
    stores: dict[str, Store]
    scratch: Path | None = None

    def close(self) -> None:
        """Removes what is not kept."""
        self.stores.clear()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def prepared(
    recipe: str,
    config: RunConfig,
    versions: Mapping[str, str],
    going_on: Mapping[str, Any] | None = None,
    fingerprint: str | None = None,
    origin: Origin | None = None,
    fold: tuple[int, int] | None = None,
) -> Prepared:
    """Splits, assets and stores of a run, taken over from an earlier one where all is the same.

    Args:
      recipe: a name or path.
      versions: of the libraries in use.
      going_on: the assets of the run that goes on, whose config then is settled already; None for a new run.
      fingerprint: of the data of the run that goes on.
      origin: what the run is fine-tuned from.
      fold: (number from 0, of how many) of the folds of the data, see `common.folds`.

    Raises:
      DataError: the data is missing, damaged or not what the recipe needs, or there is no room for it.
      RunError: the data is not what it was.
    """
    recipe_class = recipes.load(recipe)
    watching, looked_at = watched(config)
    splits = recipe_class.load_data(watching)
    if fold is not None:
        from common.folds import folded

        splits = folded(splits, recipe_class.fields, fold[1])[fold[0]]
    if origin is not None and config.replay:
        splits = _replayed(splits, recipe_class, config.replay, origin)
    say_notes(splits.notes)
    made_from = {"data": splits.fingerprint, "code": code_hash(recipes.folder(recipe)), "versions": dict(versions)}
    if fingerprint not in (None, splits.fingerprint):
        raise RunError("The data has changed since the run was begun. Resume with the same files, or start a new run.")
    known = origin.assets if origin is not None else None
    if known is not None:
        made_from["source"] = hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()
    work = _Work(recipe_class, config, splits, made_from, looked_at, going_on, known)
    folder = cache_dir() / "encoded"
    if config.keep_encoded and (found := work.taken_over(folder)) is not None:
        return found
    return work.made_anew(folder, watching)


def _replayed(splits: Splits, recipe_class: Any, part: float, origin: Origin) -> Splits:
    """The parts, with a share of the source's training data added to the training part."""
    if origin.config is None:
        raise DataError(f"--replay needs to know the data of {origin.path}, and a file of weights tells none.")
    try:
        old = data_of(origin, recipe_class)
    except (DataError, ConfigError) as error:
        raise DataError(f"--replay needs the data of {origin.path}: {error}") from None
    # By another hash than that of the split, all of one side of which the training part holds.
    fields = recipe_class.fields
    held_out = {share(one, fields) for source in (splits.valid, splits.test) for one in source or ()}
    again = picked(
        old.train, f"{part:.0%}", fields, lambda place: place * 1_009 % 1 < part and place not in held_out
    )  # fmt: skip
    note = f"and again {part:.0%} of {old.train.name}, on which {origin.path} was trained"
    return replace(
        splits,
        train=replace(joined(f"{splits.train.name} + {again.name}", [splits.train, again]), own=splits.train),
        notes=(*splits.notes, note),
        fingerprint=combined([splits.fingerprint, old.fingerprint, str(part)]),
    )


@dataclass
class _Work:
    recipe_class: Any
    config: RunConfig
    splits: Splits
    made_from: dict[str, Any]
    looked_at: set[str]
    going_on: Mapping[str, Any] | None
    known: Mapping[str, Any] | None  # the assets of the run that this one is fine-tuned from

    def taken_over(self, folder: Path) -> Prepared | None:
        """What an earlier run kept, or None."""
        for path in sorted(folder.glob("[!.]*/about.json")):
            try:
                about = json.loads(path.read_text(encoding="utf-8"))
                assets = about["assets"]
                if about["made_from"] != self.made_from or (self.going_on is not None and self.going_on != assets):
                    continue
                settled = self._settled(assets)
                if not (_agree(about["learned_with"], self.config) and _agree(about["encoded_with"], settled)):
                    continue
                stores = {name: load(path.parent / name, one) for name, one in about["parts"].items()}
                os.utime(path)  # in use: the last to go
            except (OSError, ValueError, KeyError, TypeError):  # damaged, or removed by another process just now
                shutil.rmtree(path.parent, ignore_errors=True)
                continue
            for lines in about["problems"]:
                for line in lines:
                    say(line)
            say(f"Encoded data: taken over from an earlier run ({path.parent})")
            return Prepared(self.recipe_class(settled, assets), settled, assets, self.splits, stores)
        return None

    def _settled(self, assets: Assets) -> RunConfig:
        return self.config if self.going_on is not None else self.recipe_class.settle(self.config, assets)

    def made_anew(self, folder: Path, watching: RunConfig) -> Prepared:
        """Learns and encodes, and keeps the result if it may."""
        if self.going_on is None:
            with display("Learning from the data") as shown:
                read = self.splits.train.read
                counted_train = replace(self.splits.train, read=lambda: with_progress(read(), shown))
                if self.known is None:
                    assets = self.recipe_class.learn(watching, counted_train)
                else:
                    assets = self.recipe_class.relearn(watching, counted_train, dict(self.known))
                if (own := self.splits.train.own) is not None:
                    assets = {**assets, OWN_SHARE: sum(1 for _ in own) / max(sum(1 for _ in self.splits.train), 1)}
        else:
            assets = dict(self.going_on)
        learned_with = _values(self.config, self.looked_at)
        settled = self._settled(assets)
        scratch = _scratch(folder)
        try:
            encoding, encoded_with = watched(settled)
            writers, stores, lines = self._encode(self.recipe_class(encoding, assets), scratch)
            task = self.recipe_class(settled, assets)
            result = Prepared(task, settled, assets, self.splits, stores, scratch)
            if self.config.keep_encoded and all(len(store) for store in stores.values()):
                about = {
                    "made_from": self.made_from, "learned_with": learned_with,
                    "encoded_with": _values(settled, encoded_with), "assets": assets, "problems": lines,
                }  # fmt: skip
                _keep(folder, scratch, about, writers, stores)
            return result
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _encode(self, task: Any, scratch: Path) -> tuple[dict[str, StoreWriter], dict[str, Store], list[list[str]]]:
        def encode(batch: Any) -> dict[str, Any]:
            inputs = {FEATURE + name: value for name, value in task.encode(batch).items()}
            return inputs | {TARGET + name: value for name, value in task.encode_target(batch).items()}

        encoder = Encoder(encode, [field.name for field in self.recipe_class.fields])
        writers, stores, lines = {}, {}, []
        told: list[Problems] = []
        for name in ("train", "valid"):
            source = getattr(self.splits, name)
            if source is None:
                continue
            writers[name] = StoreWriter(scratch / name)
            done = 0
            with display(f"Reading the {name} part") as shown:

                def advance(count: int, shown: Display = shown) -> None:
                    nonlocal done
                    done += count
                    shown.show(done, None, f"{done:,} examples")

                try:
                    stores[name] = encoded(source, encoder, writers[name], advance)
                except OSError as error:
                    raise DataError(
                        f"The encoded data cannot be written to {scratch.parent} ({error.strerror or error}) after"
                        f" {writers[name].bytes / 2**20:,.0f} MiB: make room there, or set XDG_CACHE_HOME to a folder"
                        " on another disk."
                    ) from None
            if source.problems not in told:  # parts split off one file share its broken rows
                told.append(source.problems)
                lines.append(problem_lines(source))
                for line in lines[-1]:
                    say(line)
            if not len(stores[name]):
                say(f"Warning: the {name} part is empty; the last weights are kept. See --split and --valid.")
        return writers, stores, lines


def say_notes(notes: Sequence[str]) -> None:
    """Tells how the data was understood."""
    for note in notes[:NOTES]:
        say(f"Data: {note}")
    if len(notes) > NOTES:
        say(f"Data: and {len(notes) - NOTES:,} more")


def problem_lines(source: Source) -> list[str]:
    """What to say of a source's broken rows, of what was mended, and of what was left out."""
    lines = []
    for problems, what, more in (
        (source.problems, "Skipped {} broken row{} of {}:", "cli.py check lists more; --strict makes them an error"),
        (source.repairs, "Repaired {} annotation{} of {}:", "cli.py check lists more"),
    ):
        if problems.count:
            lines.append(what.format(f"{problems.count:,}", "s" if problems.count > 1 else "", source.name))
            lines += [f"  {line}" for line in problems.lines()[:5]]
            lines += [f"  ({more})"] if problems.count > 5 else []
    if reasons := source.problems.left_out():
        lines.append(f"Left out of {source.name}: {reasons}")
    return lines


# What is kept


def code_hash(folder: Path) -> str:
    """A hash of all code that may take part in encoding."""
    digest = hashlib.blake2b(digest_size=16)
    for place in (folder, Path(__file__).parent):
        for path in sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(place)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _values(config: RunConfig, names: set[str]) -> dict[str, Any]:
    """The values of some settings as JSON gives them back."""
    found = {name: getattr(config, name) for name in sorted(names) if name not in IRRELEVANT}
    return json.loads(json.dumps(found))


def _agree(values: Mapping[str, Any], config: RunConfig) -> bool:
    return all(hasattr(config, name) for name in values) and values == _values(config, set(values))


def _scratch(folder: Path) -> Path:
    """A new folder of this process; what processes that are gone left there is removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):
            number, _, rest = left.name[1:].partition("-")
            # Another machine's processes may use the same folder.
            if number.isdecimal() and rest.startswith(f"{platform.node()}-") and not _runs(int(number)):
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-{platform.node()}-", dir=folder))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to ({error.strerror or error}): allow it, make room there, or set"
            " XDG_CACHE_HOME to another folder."
        ) from None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks only whether there is such a process
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _keep(
    folder: Path, scratch: Path, about: dict[str, Any], writers: Mapping[str, StoreWriter], stores: Mapping[str, Store]
) -> None:
    """Gives the scratch folder its lasting name; says so if that cannot be, which harms nothing else."""
    try:
        about["parts"] = {name: writers[name].keep(stores[name]) for name in stores}
        for path in scratch.glob("*/*"):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        write_json(scratch / "about.json", about)
        key = hashlib.blake2b(json.dumps([about[k] for k in ("made_from", "learned_with", "encoded_with")]).encode())
        with suppress(OSError):  # another process has kept the same just now
            scratch.rename(folder / key.hexdigest()[:32])
        _make_room(folder)
    except OSError as error:
        say(f"The encoded data is not kept for the next run: {folder}: {error.strerror or error}.")


def _make_room(folder: Path) -> None:
    """Removes what was not used for longest, until the rest is small enough; the latest always stays."""
    entries = sorted(folder.glob("[!.]*/about.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for number, about in enumerate(entries):
        total += sum(path.stat().st_size for path in about.parent.rglob("*"))
        if number and (total > KEPT_BYTES or number >= KEPT):
            shutil.rmtree(about.parent, ignore_errors=True)
