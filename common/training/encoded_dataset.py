"""From the raw splits of a run to what training reads: what is learned from them, and their encoded examples.

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

from common.config import OWN_SHARE, RunConfig
from common.data.encoding import FEATURE, TARGET, CompiledEncoder, encode_together
from common.data.example_store import ExampleStore, StoreWriter
from common.data.loading import combine_fingerprints, concatenate_sources
from common.data.shared_reading import HeldOutExamples, get_shared_rows, read_together
from common.data.splitting import filter_by_hash, hash_fraction
from common.discovery import load_recipe, recipe_dir
from common.errors import ConfigError, DataError, RunError
from common.recipe import Recipe
from common.row_errors import RowErrors
from common.runtime.console import ProgressBar, print_status, progress_bar
from common.training.base_run import BaseRun, load_base_data
from common.training.encoded_cache import CacheEntry, EncodedCache, code_hash
from common.types import Assets, Batch, Example, ExampleSource, Splits

ENCODED = ("train", "valid")  # the splits that training reads
NOTES = 10  # how many files are named, where there are more


@dataclass
class PreparedRun:
    """What training reads.

    Args:
      recipe: with its settled config and assets.
      stores: by split, "train" and "valid".
      splits: the held-out ones are read from `held_out` where it has them.
      temp_dir: a folder to be removed after training.
    """

    recipe: Recipe
    config: RunConfig
    assets: Assets
    splits: Splits
    stores: dict[str, ExampleStore]
    held_out: HeldOutExamples
    temp_dir: Path | None = None

    def close(self) -> None:
        """Remove what is not kept."""
        self.stores.clear()
        self.held_out.close()
        if self.temp_dir is not None:
            shutil.rmtree(self.temp_dir, ignore_errors=True)


def prepare_run(
    recipe: str,
    config: RunConfig,
    versions: Mapping[str, str],
    resumed_assets: Assets | None = None,
    fingerprint: str | None = None,
    base_run: BaseRun | None = None,
    fold: tuple[int, int] | None = None,
) -> PreparedRun:
    """Return splits, assets and stores of a run, taken over from an earlier one where all is the same.

    Args:
      recipe: a name or path.
      versions: of the libraries in use.
      resumed_assets: the assets of the run that goes on, whose config then is settled already; None for a new run.
      fingerprint: of the data of the run that goes on.
      base_run: what the run is fine-tuned from.
      fold: (number from 0, of how many) of the folds of the data, see `common.data.cross_validation`.

    Raises:
      DataError: the data is missing, damaged or not what the recipe needs, or there is no room for it.
      RunError: the data is not what it was.
    """
    recipe_class = load_recipe(recipe)
    splits = recipe_class.load_data(config)
    if fold is not None:
        from common.data.cross_validation import make_folds

        splits = make_folds(splits, recipe_class.fields, fold[1])[fold[0]]
    if base_run is not None and config.replay_ratio:
        splits = _add_replayed(splits, recipe_class, config.replay_ratio, base_run)
    log_data_notes(splits.descriptions)
    made_from = {"data": splits.fingerprint, "code": code_hash(recipe_dir(recipe)), "versions": dict(versions)}
    if fingerprint not in (None, splits.fingerprint):
        raise RunError("The data has changed since the run was begun. Resume with the same files, or start a new run.")
    known = base_run.assets if base_run is not None else None
    if known is not None:
        made_from["base_run"] = hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()

    def settle(assets: Assets) -> RunConfig:
        settled: RunConfig = recipe_class.resolve_defaults(config, assets) if resumed_assets is None else config
        return settled

    cache = EncodedCache(made_from, config, settle, None if resumed_assets is None else dict(resumed_assets))
    held_out = _collect_held_out(splits, cache.folder)
    splits = replace(splits, **held_out.kept())  # type: ignore[arg-type]  # by name: train, valid, test
    try:
        if config.cache_encoded and (entry := cache.find()) is not None:
            return _take_over(recipe_class, entry, splits, held_out)
        assets = _learn(recipe_class, config, splits.train, known) if resumed_assets is None else dict(resumed_assets)
        return _encode(recipe_class, assets, splits, held_out, cache)
    except BaseException:
        held_out.close()
        raise


def _add_replayed(splits: Splits, recipe_class: type[Recipe], ratio: float, base_run: BaseRun) -> Splits:
    """Return the splits, with a fraction of the base run's training examples added to the training split."""
    if base_run.config is None:
        raise DataError(f"--replay-ratio needs to know the data of {base_run.path}, and a file of weights tells none.")
    try:
        old = load_base_data(base_run, recipe_class)
    except (DataError, ConfigError) as error:
        raise DataError(f"--replay-ratio needs the data of {base_run.path}: {error}") from None
    # By another hash than that of the split, all of one side of which the training split holds.
    fields = recipe_class.fields
    others = {name: source for name, source in splits.items() if name != "train"}
    held_out = {hash_fraction(example, fields) for _, example in read_together(others)}

    def is_replayed(place: float) -> bool:
        return place * 1_009 % 1 < ratio and place not in held_out

    again = filter_by_hash(old.train, f"{ratio:.0%}", fields, is_replayed)
    note = f"and again {ratio:.0%} of {old.train.name}, on which {base_run.path} was trained"
    return replace(
        splits,
        train=replace(
            concatenate_sources(f"{splits.train.name} + {again.name}", [splits.train, again]),
            without_replay=splits.train,
        ),
        descriptions=(*splits.descriptions, note),
        fingerprint=combine_fingerprints([splits.fingerprint, old.fingerprint, str(ratio)]),
    )


def _collect_held_out(splits: Splits, folder: Path) -> HeldOutExamples:
    """Return the held-out splits for which others would be read again whenever a model is scored on them."""
    held_out = {"valid": splits.valid, "test": splits.test}
    splits_of_rows = {
        name: source for name, source in held_out.items() if source is not None and get_shared_rows(source) is not None
    }
    return HeldOutExamples(splits_of_rows, folder)


def _take_over(recipe_class: type[Recipe], entry: CacheEntry, splits: Splits, held_out: HeldOutExamples) -> PreparedRun:
    """Return what an earlier run encoded."""
    for lines in entry.row_errors:
        for line in lines:
            print_status(line)
    print_status(f"Encoded data: taken over from an earlier run ({entry.path})")
    fitted = recipe_class(entry.config, entry.assets)
    return PreparedRun(fitted, entry.config, entry.assets, splits, entry.stores, held_out)


def _learn(recipe_class: type[Recipe], config: RunConfig, train: ExampleSource, known: Assets | None) -> Assets:
    """Return what is learned from the training split.

    Args:
      known: the assets of the run that this one is fine-tuned from.
    """
    with progress_bar("Learning from the data") as shown:
        shown_train = replace(train, read=lambda: with_progress(train.read(), shown))
        if known is None:
            assets = recipe_class.build_assets(config, shown_train)
        else:
            assets = recipe_class.extend_assets(config, shown_train, dict(known))
        if train.without_replay is not None:
            assets = {**assets, OWN_SHARE: sum(1 for _ in train.without_replay) / max(sum(1 for _ in train), 1)}
    return assets


def _encode(
    recipe_class: type[Recipe], assets: Assets, splits: Splits, held_out: HeldOutExamples, cache: EncodedCache
) -> PreparedRun:
    """Encode the data, and keep the result for the next run if it may."""
    settled = cache.settle(assets)
    fitted = recipe_class(settled, assets)
    scratch = cache.make_scratch()
    try:
        sources = {name: source for name, source in splits.items() if name in ENCODED}
        writers = {name: StoreWriter(scratch / name) for name in sources}
        try:
            stores = _encode_sources(fitted, sources, held_out, writers)
        except OSError as error:
            written = sum(writer.bytes for writer in writers.values())
            raise DataError(
                f"The encoded data cannot be written to {scratch.parent} ({error.strerror or error}) after"
                f" {written / 2**20:,.0f} MiB: make room there, or set XDG_CACHE_HOME to a folder on another disk."
            ) from None
        lines = _print_row_errors(sources, stores)
        if cache.config.cache_encoded and all(len(store) for store in stores.values()):
            cache.keep(scratch, settled, assets, writers, stores, lines)
        return PreparedRun(fitted, settled, assets, splits, stores, held_out, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _encode_sources(
    recipe: Recipe, sources: Mapping[str, ExampleSource], held_out: HeldOutExamples, writers: Mapping[str, StoreWriter]
) -> dict[str, ExampleStore]:
    """Return stores by split; the held-out examples are kept by the way, so that the data is read once."""

    def encode(batch: Batch) -> Batch:
        inputs = {FEATURE + name: value for name, value in recipe.encode(batch).items()}
        return inputs | {TARGET + name: value for name, value in recipe.encode_targets(batch).items()}

    def examples() -> Iterator[tuple[str, Example]]:
        held_out.open_files()
        for name, example in read_together({**sources, **held_out.sources}):
            held_out.append(name, example)
            if name in sources:
                yield name, example
        held_out.is_filled = True

    done = 0
    with progress_bar("Encoding the data") as shown:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            shown.update(done, None, f"{done:,} examples")

        return encode_together(
            examples(), CompiledEncoder(encode, [field.name for field in recipe.fields]), writers, advance
        )


def _print_row_errors(sources: Mapping[str, ExampleSource], stores: Mapping[str, ExampleStore]) -> list[list[str]]:
    """Print what could not be used; return the lines on each split that has row errors of its own."""
    lines = []
    printed: list[RowErrors] = []
    for name, source in sources.items():
        if source.row_errors not in printed:  # splits of one file share its broken rows
            printed.append(source.row_errors)
            lines.append(format_row_errors(source))
            for line in lines[-1]:
                print_status(line)
        if not len(stores[name]):
            print_status(f"Warning: the {name} split is empty; the last weights are kept. See --split and --valid.")
    return lines


def with_progress(source: Iterable[Example], shown: ProgressBar) -> Iterator[Example]:
    """Yield the examples, showing their number."""
    for number, example in enumerate(source, 1):
        if number % 1000 == 0:
            shown.update(number, None, f"{number:,} examples")
        yield example


def log_data_notes(notes: Sequence[str]) -> None:
    """Print how the data was understood."""
    for note in notes[:NOTES]:
        print_status(f"Data: {note}")
    if len(notes) > NOTES:
        print_status(f"Data: and {len(notes) - NOTES:,} more")


def format_row_errors(source: ExampleSource) -> list[str]:
    """Return what to say of a source's broken rows, of what was mended, and of what was left out."""
    lines = []
    for row_errors, what, more in (
        (source.row_errors, "Skipped {} broken row{} of {}:", "cli.py check lists more; --strict makes them an error"),
        (source.repairs, "Repaired {} annotation{} of {}:", "cli.py check lists more"),
    ):
        if row_errors.count:
            lines.append(what.format(f"{row_errors.count:,}", "s" if row_errors.count > 1 else "", source.name))
            lines += [f"  {line}" for line in row_errors.first_errors()[:5]]
            lines += [f"  ({more})"] if row_errors.count > 5 else []
    if reasons := source.row_errors.filtered_summary():
        lines.append(f"Left out of {source.name}: {reasons}")
    return lines
