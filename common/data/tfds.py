"""Named public data sets by tensorflow-datasets: `tfds:NAME`, from disk where it is there, else fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.data.readers.columns import is_other_language, is_text_pair
from common.errors import ConfigError, DataError, did_you_mean
from common.types import Example, Field

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.features import FeatureConnector

PARTS = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid", "test": "test"}


@dataclass(frozen=True)
class PublicSet:
    """A public data set on disk, and which of its features are read.

    Args:
      name: as TFDS writes it, such as "imdb_reviews" or "glue/sst2".
      features: (key, feature) by field.
      splits: by part, what the set calls it.
    """

    name: str
    builder: tfds.core.DatasetBuilder
    features: Mapping[str, tuple[str, FeatureConnector]]
    splits: Mapping[str, str]

    @property
    def full_name(self) -> str:
        """Its name with its version, by which its content is known."""
        return str(self.builder.info.full_name)

    @property
    def taken(self) -> str:
        """Which feature each field is, for people."""
        return ", ".join(f'{field} = "{key}"' for field, (key, _) in self.features.items())

    def count(self, split: str) -> int:
        """Return how many examples a split has."""
        return int(self.builder.info.splits[split].num_examples)

    def reader(self, split: str, raw: str = "") -> Callable[[], Iterator[Example]]:
        """Return what reads a split.

        Args:
          raw: the field that is left as the bytes of a file, if any.
        """

        def read() -> Iterator[Example]:
            import tensorflow_datasets as tfds

            # Files in order, one after the other: the same order every time.
            dataset = self.builder.as_dataset(
                split=split,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                decoders={self.features[raw][0]: tfds.decode.SkipDecoding()} if raw else None,
            )
            for row in dataset.as_numpy_iterator():
                yield {
                    name: row[key] if name == raw else _plain(feature, row[key])
                    for name, (key, feature) in self.features.items()
                }

        return read


def open_public_set(name: str, fields: Sequence[Field], given: Mapping[str, str], offline: bool) -> PublicSet:
    """Open a public data set, fetched if it is not on disk.

    Args:
      name: as TFDS writes it.
      given: feature names by field, where the user said so.

    Raises:
      DataError: it is not there and cannot be fetched, or has no fitting features or splits.
    """
    builder = _builder(name, offline)
    features = _Matcher(name, builder.info.features, fields).match(given, builder.info.supervised_keys)
    return PublicSet(name, builder, features, _splits(name, builder))


def _plain(feature: FeatureConnector | None, value: object) -> object:
    """A value as text, or as a list of texts."""
    if isinstance(value, np.ndarray) and value.ndim == 1:  # a sequence
        return [_plain(getattr(feature, "feature", None), item) for item in value]
    if feature is not None and hasattr(feature, "int2str"):
        return feature.int2str(int(value))  # type: ignore[call-overload]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _splits(name: str, builder: tfds.core.DatasetBuilder) -> dict[str, str]:
    """The split of each part that there is."""
    splits = {
        part: split for split, info in builder.info.splits.items() if (part := PARTS.get(split)) and info.num_examples
    }
    if not splits:
        have = ", ".join(builder.info.splits) or "none"
        raise DataError(f"tfds:{name} has no split named train, validation or test (it has: {have}).")
    return splits


def _builder(name: str, offline: bool) -> tfds.core.DatasetBuilder:
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
        near = did_you_mean(base, tfds.list_builders(with_community_datasets=False))
        raise DataError(f"There is no tfds:{name} ({_first_line(error)}).{near}") from None
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # network, disk, checksum: whatever a builder meets
        raise DataError(f"tfds:{name} could not be fetched ({_first_line(error)}): try again, {place}.") from None
    return builder


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


class _Matcher:
    """Finds the feature of each field: as given, else by name, else by type where only one is left."""

    def __init__(self, name: str, features: Mapping[str, FeatureConnector], fields: Sequence[Field]):
        self.name, self.features, self.fields = name, features, fields
        self.matched: dict[str, str] = {}  # key by field

    def match(
        self, given: Mapping[str, str], supervised: Sequence[str] | None
    ) -> dict[str, tuple[str, FeatureConnector]]:
        """Return (key, feature) by field.

        Args:
          supervised: what the set itself calls input and output, such as ("pt", "en"), which tells several texts apart.
        """
        self._take_given(given)
        self._take_named()
        if not self._take_supervised(supervised or ()):
            self._take_left()
        return {field.name: (key := self.matched[field.name], self.features[key]) for field in self.fields}

    def _fitting(self, field: Field) -> list[str]:
        """The keys of free features whose type is a field's."""
        taken, fits = set(self.matched.values()), _types()[field.kind]
        return [key for key in self.features if fits(self.features[key]) and key not in taken]

    def _take_given(self, given: Mapping[str, str]) -> None:
        for field in self.fields:
            key = given.get(field.name)
            if key is not None and key not in self.features:
                have = ", ".join(self.features)
                raise ConfigError(f"--column {field.name}={key}: tfds:{self.name} has no such feature, only: {have}.")
            if key is not None:
                self.matched[field.name] = key

    def _take_named(self) -> None:
        for field in self.fields:
            named = [key for key in self._fitting(field) if key.lower() in (field.name, *field.aliases)]
            if named and field.name not in self.matched:
                self.matched[field.name] = named[0]

    def _take_supervised(self, supervised: Sequence[str]) -> bool:
        """Whether the set's own input and output are the two fields."""
        if self.matched or not is_text_pair(self.fields):
            return False
        keys = [key for key in supervised if isinstance(key, str) and key in self.features]
        if len(set(keys)) != 2 or any(map(is_other_language, keys, self.fields)):
            return False
        self.matched = {field.name: key for field, key in zip(self.fields, keys, strict=True)}
        return True

    def _take_left(self) -> None:
        for field in self.fields:
            if field.name in self.matched:
                continue
            left = self._fitting(field)
            if len(left) != 1 or is_other_language(left[0], field):
                raise DataError(
                    f"tfds:{self.name}: which feature is the {field.name}? It has: {', '.join(self.features)}."
                    f" Say so by --column {field.name}=NAME."
                )
            self.matched[field.name] = left[0]


def _types() -> dict[str, Callable[[FeatureConnector], bool]]:
    """Whether a feature can be a field of a kind, by kind."""
    from tensorflow_datasets import features as kinds

    def is_file(feature: FeatureConnector) -> bool:
        return isinstance(feature, kinds.Tensor) and feature.shape == () and feature.tf_dtype == "string"

    def is_sequence(feature: FeatureConnector, of: type) -> bool:
        return isinstance(feature, kinds.Sequence) and isinstance(feature.feature, of)

    return {
        "text": lambda feature: isinstance(feature, kinds.Text),
        "label": lambda feature: isinstance(feature, kinds.ClassLabel),
        "image": lambda feature: isinstance(feature, kinds.Image),
        "tokens": lambda feature: is_sequence(feature, kinds.Text),
        "tags": lambda feature: is_sequence(feature, kinds.ClassLabel),
        "events": is_file,
    }
