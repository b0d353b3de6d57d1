"""Folds of small data: each example is tested on once, by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from common.data.loading import combine_fingerprints, concatenate_sources
from common.data.shared_reading import NO_SPLIT
from common.data.splitting import group_by_hash, split_source
from common.data.stratification import stratify
from common.errors import ConfigError
from common.types import Field, Splits

HELD_OUT = 10  # one in so many of a label's examples that are not tested on is for validation, and at least one


def make_folds(splits: Splits, fields: Sequence[Field], k: int) -> list[Splits]:
    """Return folds over the examples of all splits: each tests on another k-th, and validates on a tenth of the rest.

    Each label is dealt out evenly. Examples of one `hash_fraction` are in one split. The folds do not
    depend on the order of the files.

    Args:
      k: how many, at least 2.

    Raises:
      ConfigError: there are too few examples.
    """
    source = concatenate_sources("all examples", [source for _, source in splits.items()])
    labels = group_by_hash(source, fields)
    places = list(chain(*stratify(labels)))
    if len(places) - -(-len(places) // k) < 2 or len(places) < k:  # the rest of a fold is for two splits
        raise ConfigError(
            f"--cv-folds is {k}, but there are only {len(places)} different examples, so that a part would be empty."
            " Give a smaller number, or more --data."
        )

    def of(fold: int) -> Splits:
        tested = set(places[fold::k])
        rest = stratify({place: labels[place] for place in places if place not in tested})
        held_out = {place for group in rest for place in group[len(group) - _held_out(len(group)) :]} or {rest[-1][-1]}
        split_of = {place: 2 if place in tested else 1 if place in held_out else 0 for place in places}
        names = [f"{name}, fold {fold + 1} of {k}" for name in ("train", "valid", "test")]
        train, valid, test = split_source(source, fields, names, lambda place: split_of.get(place, NO_SPLIT))
        fingerprint = combine_fingerprints([splits.fingerprint, f"fold {fold + 1} of {k}"])
        return replace(splits, train=train, valid=valid, test=test, fingerprint=fingerprint)

    return [of(fold) for fold in range(k)]


def _held_out(count: int) -> int:
    """How many of a label's examples are for validation; of a single one none, so that it can be learned."""
    return max(round(count / HELD_OUT), 1) if count > 1 else 0
