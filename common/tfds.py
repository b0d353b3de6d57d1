"""Named public data sets by tensorflow-datasets: `tfds:NAME`, from disk where it is there, else fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError, suggestion
from common.problems import Problems
from common.readers import music
from common.readers.columns import is_other_language, is_paired
from common.readers.images import Entry, Images, named
from common.readers.tagged import Sentence, Tagged, sentence, tagged, tagged_fields
from common.types import Example, Field, Source

MIDI = ("midi", "midi_file", "midi_bytes", "mid")  # what features that hold such files are called
PARTS = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid", "test": "test"}


def opened(
    name: str, fields: Sequence[Field], given: Mapping[str, str], offline: bool
) -> tuple[dict[str, Source], str, str]:
    """(parts by name, a note for people, a fingerprint) of a public data set.

    Args:
      name: as TFDS writes it, such as "imdb_reviews" or "glue/sst2".
      given: feature names by field, where the user said so.

    Raises:
      DataError: it is not there and cannot be fetched, or has no fitting features or splits.
    """
    builder = _builder(name, offline)
    picked = _picked(name, builder.info.features, fields, given, builder.info.supervised_keys)
    splits = _splits(name, builder)
    parts = {part: Source(f"tfds:{name} {split}", _reader(builder, split, picked)) for part, split in splits.items()}
    note = f"tfds:{builder.info.full_name}; " + ", ".join(f'{field} = "{key}"' for field, (key, _) in picked.items())
    return parts, note, builder.info.full_name


def tagged_parts(
    name: str, fields: Sequence[Field], given: Mapping[str, str], offline: bool, names: Mapping[str, str], strict: bool
) -> tuple[dict[str, Source], str, str]:
    """As `opened`, of a set whose examples hold a list of tokens and one of tags.

    Args:
      names: of types, as for `readers.tagged.tagged`.
      strict: the first example that cannot be used is an error.
    """
    builder = _builder(name, offline)
    picked = _picked(name, builder.info.features, fields, given)
    tokens, tags = tagged_fields(fields)
    parts, notes = {}, []
    for part, split in _splits(name, builder).items():
        read = _reader(builder, split, picked)

        def sentences(read: Callable[[], Iterator[Example]] = read, split: str = split) -> Iterator[Sentence]:
            for number, row in enumerate(read(), 1):
                yield sentence(f"tfds:{name} {split}:{number}", row[tokens], row[tags])

        one = tagged(f"tfds:{name} {split}", split, sentences, names, Problems(strict))
        notes.append(one.note.replace("; ", ", "))
        parts[part] = Source(f"tfds:{name} {split}", _examples(one), one.problems, one.repairs)
    taken = ", ".join(f'{field} = "{key}"' for field, (key, _) in picked.items())
    return parts, f"tfds:{builder.info.full_name}; {taken}; {'; '.join(notes)}", builder.info.full_name


def image_parts(
    name: str, fields: Sequence[Field], given: Mapping[str, str], offline: bool, strict: bool
) -> tuple[dict[str, Images], str]:
    """(readers by part, a fingerprint) of a public set of labelled images, as the files that it was made of.

    Args:
      strict: the first image that cannot be used is an error.

    Raises: as `opened`.
    """
    builder = _builder(name, offline)
    picked = _picked(name, builder.info.features, fields, given)
    image, _ = named(fields)
    taken = ", ".join(f'{field} = "{key}"' for field, (key, _) in picked.items())
    parts = {}
    for part, split in _splits(name, builder).items():
        read = _reader(builder, split, picked, image)

        def entries(read: Callable[[], Iterator[Example]] = read, split: str = split) -> Iterator[Entry]:
            for number, row in enumerate(read(), 1):
                yield Entry(f"tfds:{name} {split}:{number}", row.pop(image), row)

        note = f"tfds:{builder.info.full_name} {split}; {taken}"
        parts[part] = Images(note, image, entries, Problems(strict))
    return parts, builder.info.full_name


def music_parts(
    name: str, fields: Sequence[Field], given: Mapping[str, str], offline: bool, steps_per_beat: int, strict: bool
) -> tuple[dict[str, music.Music], str]:
    """(readers by part, a fingerprint) of a public set whose examples hold MIDI files.

    Args:
      strict: the first file that cannot be used is an error.

    Raises: as `opened`; and DataError if a part has no piece.
    """
    builder = _builder(name, offline)
    events = next(one for one in fields if one.kind == "events")
    picked = _picked(name, builder.info.features, [replace(events, names=(*events.names, *MIDI))], given)
    parts = {}
    for part, split in _splits(name, builder).items():
        read = _reader(builder, split, picked, events.name)
        place = f"tfds:{name} {split}"
        files = (music.Named(f"{place}:{number}", "", row[events.name]) for number, row in enumerate(read(), 1))
        parts[part] = music.read(place, files, builder.info.splits[split].num_examples, steps_per_beat, strict)[""]
    return parts, builder.info.full_name


def _examples(reader: Tagged) -> Callable[[], Iterator[Example]]:
    def read() -> Iterator[Example]:
        reader.problems.clear()
        return (example for _, example in reader.rows())

    return read


def _splits(name: str, builder: Any) -> dict[str, str]:
    """The split of each part that there is."""
    found = {
        part: split for split, info in builder.info.splits.items() if (part := PARTS.get(split)) and info.num_examples
    }
    if not found:
        have = ", ".join(builder.info.splits) or "none"
        raise DataError(f"tfds:{name} has no split named train, validation or test (it has: {have}).")
    return found


def _builder(name: str, offline: bool) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(f"tfds:{name} needs tensorflow-datasets ({error}): run make setup.") from None
    tfds.disable_progress_bar()
    folder = os.environ.get("TFDS_DATA_DIR") or str(Path("~/tensorflow_datasets").expanduser())
    base, _, config = name.partition("/")
    base = base.partition(":")[0]
    # A prepared set is read from its files: TFDS's own look-up calls the network even then (datasets#3125).
    stem = Path(folder) / base / config if config else Path(folder) / base
    prepared = sorted(path.parent for path in stem.glob("**/dataset_info.json"))
    if prepared:
        return tfds.builder_from_directory(prepared[-1])
    place = f'or place a prepared copy under {Path(folder) / base} (TFDS_DATA_DIR names another folder than "{folder}")'
    if offline:
        raise DataError(f"tfds:{name} is not on this machine and --offline forbids to fetch it: leave it out, {place}.")
    try:
        builder = tfds.builder(name, data_dir=folder, try_gcs=False)
    except Exception as error:  # TFDS raises its own kinds here, and import errors of its optional parts
        near = suggestion(base, tfds.list_builders(with_community_datasets=False))
        raise DataError(f"There is no tfds:{name} ({_first_line(error)}).{near}") from None
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # network, disk, checksum: whatever a builder meets
        raise DataError(f"tfds:{name} could not be fetched ({_first_line(error)}): try again, {place}.") from None
    return builder


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


def _picked(
    name: str, features: Any, fields: Sequence[Field], given: Mapping[str, str], supervised: Any = None
) -> dict[str, tuple[str, Any]]:
    """(key, feature) by field: as given, else by name, else by type where only one is left.

    Args:
      supervised: what the set itself calls input and output, such as ("pt", "en"), which tells several texts apart.
    """
    import tensorflow_datasets as tfds

    kinds = {"text": tfds.features.Text, "label": tfds.features.ClassLabel, "image": tfds.features.Image}
    items = {"tokens": tfds.features.Text, "tags": tfds.features.ClassLabel}  # of sequences

    def fits(feature: Any, kind: str) -> bool:
        if kind == "events":
            return isinstance(feature, tfds.features.Tensor) and feature.shape == () and feature.tf_dtype == "string"
        if kind in kinds:
            return isinstance(feature, kinds[kind])
        return isinstance(feature, tfds.features.Sequence) and isinstance(feature.feature, items[kind])

    picked: dict[str, tuple[str, Any]] = {}

    def fitting(field: Field) -> list[str]:
        taken = {key for key, _ in picked.values()}
        return [key for key in features if fits(features[key], field.kind) and key not in taken]

    for field in fields:
        wanted = given.get(field.name)
        if wanted is not None:
            if wanted not in features:
                raise ConfigError(
                    f"--column {field.name}={wanted}: tfds:{name} has no such feature, only: {', '.join(features)}."
                )
            picked[field.name] = wanted, features[wanted]
    for field in fields:
        named = [key for key in fitting(field) if key.lower() in (field.name, *field.names)]
        if named and field.name not in picked:
            picked[field.name] = named[0], features[named[0]]
    if not picked and is_paired(fields):
        keys = [key for key in supervised or () if isinstance(key, str) and key in features]
        if len(set(keys)) == 2 and not any(map(is_other_language, keys, fields)):
            return {field.name: (key, features[key]) for field, key in zip(fields, keys, strict=True)}
    for field in fields:
        if field.name in picked:
            continue
        left = fitting(field)
        if len(left) != 1 or is_other_language(left[0], field):
            raise DataError(
                f"tfds:{name}: which feature is the {field.name}? It has: {', '.join(features)}."
                f" Say so by --column {field.name}=NAME."
            )
        picked[field.name] = left[0], features[left[0]]
    return {field.name: picked[field.name] for field in fields}


def _reader(
    builder: Any, split: str, picked: Mapping[str, tuple[str, Any]], image: str = ""
) -> Callable[[], Iterator[Example]]:
    """What reads a split.

    Args:
      image: the field that is left as the bytes of a file, if any.
    """

    def plain(feature: Any, value: Any) -> Any:
        if getattr(value, "ndim", 0) == 1:  # an array: a sequence
            return [plain(getattr(feature, "feature", None), one) for one in value]
        if hasattr(feature, "int2str"):
            return feature.int2str(int(value))
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def read() -> Iterator[Example]:
        import tensorflow_datasets as tfds

        # Files in order, one after the other: the same order every time.
        dataset = builder.as_dataset(
            split=split,
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            decoders={picked[image][0]: tfds.decode.SkipDecoding()} if image else None,
        )
        for row in dataset.as_numpy_iterator():
            yield {
                name: row[key] if name == image else plain(feature, row[key]) for name, (key, feature) in picked.items()
            }

    return read
