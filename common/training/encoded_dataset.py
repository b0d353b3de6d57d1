"""From the raw parts of a run to what training reads: what is learned from them, and their encoded examples.

The data is read in two passes: one to learn and to assign splits, one to encode. The held-out examples that a model is
scored on are kept apart in the second one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import discovery
from common.config import OWN_SHARE, RunConfig
from common.data.encoding import FEATURE, TARGET, Encoder, encode_together
from common.data.example_store import Store, StoreWriter
from common.data.loading import combined, joined
from common.data.shared_reading import HeldOutExamples, read_together, rows_of
from common.data.splitting import picked, share
from common.errors import ConfigError, DataError, RunError
from common.recipe import Recipe
from common.row_errors import Problems
from common.runtime.console import Display, display, say
from common.training.base_run import Origin, data_of
from common.training.encoded_cache import CacheEntry, EncodedCache, code_hash
from common.types import Assets, Batch, Example, Source, Splits

ENCODED = ("train", "valid")  # the parts that training reads
NOTES = 10  # how many files are named, where there are more


@dataclass
class Prepared:
    """What training reads.

    Args:
      task: the recipe, with its settled config and assets.
      stores: by part, "train" and "valid".
      splits: their held-out parts are read from `held_out` where it has them.
      scratch: a folder to be removed after training.
    """

    task: Recipe
    config: RunConfig
    assets: Assets
    splits: Splits
    stores: dict[str, Store]
    held_out: HeldOutExamples
    scratch: Path | None = None

    def close(self) -> None:
        """Removes what is not kept."""
        self.stores.clear()
        self.held_out.close()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def prepared(
    recipe: str,
    config: RunConfig,
    versions: Mapping[str, str],
    going_on: Assets | None = None,
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
      fold: (number from 0, of how many) of the folds of the data, see `common.data.cross_validation`.

    Raises:
      DataError: the data is missing, damaged or not what the recipe needs, or there is no room for it.
      RunError: the data is not what it was.
    """
    recipe_class = discovery.load(recipe)
    splits = recipe_class.load_data(config)
    if fold is not None:
        from common.data.cross_validation import folded

        splits = folded(splits, recipe_class.fields, fold[1])[fold[0]]
    if origin is not None and config.replay:
        splits = _replayed(splits, recipe_class, config.replay, origin)
    say_notes(splits.notes)
    made_from = {"data": splits.fingerprint, "code": code_hash(discovery.folder(recipe)), "versions": dict(versions)}
    if fingerprint not in (None, splits.fingerprint):
        raise RunError("The data has changed since the run was begun. Resume with the same files, or start a new run.")
    known = origin.assets if origin is not None else None
    if known is not None:
        made_from["source"] = hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()

    def settle(assets: Assets) -> RunConfig:
        settled: RunConfig = recipe_class.settle(config, assets) if going_on is None else config
        return settled

    cache = EncodedCache(made_from, config, settle, None if going_on is None else dict(going_on))
    held_out = _held_out(splits, cache.folder)
    splits = replace(splits, **held_out.kept())
    try:
        if config.keep_encoded and (entry := cache.find()) is not None:
            return _taken_over(recipe_class, entry, splits, held_out)
        assets = _learn(recipe_class, config, splits.train, known) if going_on is None else dict(going_on)
        return _encode(recipe_class, assets, splits, held_out, cache)
    except BaseException:
        held_out.close()
        raise


def _replayed(splits: Splits, recipe_class: type[Recipe], part: float, origin: Origin) -> Splits:
    """The parts, with a share of the source's training data added to the training part."""
    if origin.config is None:
        raise DataError(f"--replay needs to know the data of {origin.path}, and a file of weights tells none.")
    try:
        old = data_of(origin, recipe_class)
    except (DataError, ConfigError) as error:
        raise DataError(f"--replay needs the data of {origin.path}: {error}") from None
    # By another hash than that of the split, all of one side of which the training part holds.
    fields = recipe_class.fields
    apart = {name: source for name, source in splits.given() if name != "train"}
    held_out = {share(example, fields) for _, example in read_together(apart)}

    def is_replayed(place: float) -> bool:
        return place * 1_009 % 1 < part and place not in held_out

    again = picked(old.train, f"{part:.0%}", fields, is_replayed)
    note = f"and again {part:.0%} of {old.train.name}, on which {origin.path} was trained"
    return replace(
        splits,
        train=replace(joined(f"{splits.train.name} + {again.name}", [splits.train, again]), own=splits.train),
        notes=(*splits.notes, note),
        fingerprint=combined([splits.fingerprint, old.fingerprint, str(part)]),
    )


def _held_out(splits: Splits, folder: Path) -> HeldOutExamples:
    """The held-out parts for which the data of others would be read again whenever a model is scored on them."""
    held_out = {"valid": splits.valid, "test": splits.test}
    parts_of_rows = {
        name: source for name, source in held_out.items() if source is not None and rows_of(source) is not None
    }
    return HeldOutExamples(parts_of_rows, folder)


def _taken_over(recipe_class: type[Recipe], entry: CacheEntry, splits: Splits, held_out: HeldOutExamples) -> Prepared:
    """What an earlier run encoded."""
    for lines in entry.problems:
        for line in lines:
            say(line)
    say(f"Encoded data: taken over from an earlier run ({entry.path})")
    task = recipe_class(entry.config, entry.assets)
    return Prepared(task, entry.config, entry.assets, splits, entry.stores, held_out)


def _learn(recipe_class: type[Recipe], config: RunConfig, train: Source, known: Assets | None) -> Assets:
    """What is learned from the training part.

    Args:
      known: the assets of the run that this one is fine-tuned from.
    """
    with display("Learning from the data") as shown:
        shown_train = replace(train, read=lambda: counted(train.read(), shown))
        if known is None:
            assets = recipe_class.learn(config, shown_train)
        else:
            assets = recipe_class.relearn(config, shown_train, dict(known))
        if train.own is not None:
            assets = {**assets, OWN_SHARE: sum(1 for _ in train.own) / max(sum(1 for _ in train), 1)}
    return assets


def _encode(
    recipe_class: type[Recipe], assets: Assets, splits: Splits, held_out: HeldOutExamples, cache: EncodedCache
) -> Prepared:
    """Encodes the data, and keeps the result for the next run if it may."""
    settled = cache.settle(assets)
    task = recipe_class(settled, assets)
    scratch = cache.make_scratch()
    try:
        sources = {name: source for name, source in splits.given() if name in ENCODED}
        writers = {name: StoreWriter(scratch / name) for name in sources}
        try:
            stores = _encode_sources(task, sources, held_out, writers)
        except OSError as error:
            written = sum(writer.bytes for writer in writers.values())
            raise DataError(
                f"The encoded data cannot be written to {scratch.parent} ({error.strerror or error}) after"
                f" {written / 2**20:,.0f} MiB: make room there, or set XDG_CACHE_HOME to a folder on another disk."
            ) from None
        lines = _say_problems(sources, stores)
        if cache.config.keep_encoded and all(len(store) for store in stores.values()):
            cache.keep(scratch, settled, assets, writers, stores, lines)
        return Prepared(task, settled, assets, splits, stores, held_out, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _encode_sources(
    task: Recipe, sources: Mapping[str, Source], held_out: HeldOutExamples, writers: Mapping[str, StoreWriter]
) -> dict[str, Store]:
    """Stores by part; the held-out examples are kept by the way, so that the data is read once."""

    def encode(batch: Batch) -> Batch:
        inputs = {FEATURE + name: value for name, value in task.encode(batch).items()}
        return inputs | {TARGET + name: value for name, value in task.encode_target(batch).items()}

    def examples() -> Iterator[tuple[str, Example]]:
        held_out.open_files()
        for name, example in read_together({**sources, **held_out.sources}):
            held_out.append(name, example)
            if name in sources:
                yield name, example
        held_out.is_filled = True

    done = 0
    with display("Encoding the data") as shown:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            shown.show(done, None, f"{done:,} examples")

        return encode_together(examples(), Encoder(encode, [field.name for field in task.fields]), writers, advance)


def _say_problems(sources: Mapping[str, Source], stores: Mapping[str, Store]) -> list[list[str]]:
    """Tells what could not be used; the lines on each part that has problems of its own."""
    lines = []
    said: list[Problems] = []
    for name, source in sources.items():
        if source.problems not in said:  # parts split off one file share its broken rows
            said.append(source.problems)
            lines.append(problem_lines(source))
            for line in lines[-1]:
                say(line)
        if not len(stores[name]):
            say(f"Warning: the {name} part is empty; the last weights are kept. See --split and --valid.")
    return lines


def counted(source: Iterable[Example], shown: Display) -> Iterator[Example]:
    """The examples, their number shown."""
    for number, example in enumerate(source, 1):
        if number % 1000 == 0:
            shown.show(number, None, f"{number:,} examples")
        yield example


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
