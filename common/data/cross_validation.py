"""Folds of small data: each example is tested on once, by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from common.data.loading import combined, joined
from common.data.shared_reading import NO_SPLIT
from common.data.splitting import by_share, split_source
from common.data.stratification import strata
from common.errors import ConfigError
from common.types import Field, Splits

HELD_OUT = 10  # one in so many of a label's examples that are not tested on is for validation, and at least one


def folded(splits: Splits, fields: Sequence[Field], k: int) -> list[Splits]:
    """Folds over the examples of all parts: in each another k-th is the test part, and a tenth of the rest validation.

    Each label is dealt out evenly. Examples that `share` takes for the same one are in one part. The folds do not
    depend on the order of the files.

    Args:
      k: how many, at least 2.

    Raises:
      ConfigError: there are too few examples.
    """
    source = joined("all examples", [source for _, source in splits.given()])
    labels = by_share(source, fields)
    places = list(chain(*strata(labels)))
    if len(places) - -(-len(places) // k) < 2 or len(places) < k:  # the rest of a fold is for two parts
        raise ConfigError(
            f"--folds is {k}, but there are only {len(places)} different examples, so that a part would be empty. Give"
            " a smaller number, or more --data."
        )

    def of(fold: int) -> Splits:
        tested = set(places[fold::k])
        rest = strata({place: labels[place] for place in places if place not in tested})
        held_out = {place for one in rest for place in one[len(one) - _held_out(len(one)) :]} or {rest[-1][-1]}
        part_of = {place: 2 if place in tested else 1 if place in held_out else 0 for place in places}
        names = [f"{name}, fold {fold + 1} of {k}" for name in ("train", "valid", "test")]
        train, valid, test = split_source(source, fields, names, lambda place: part_of.get(place, NO_SPLIT))
        fingerprint = combined([splits.fingerprint, f"fold {fold + 1} of {k}"])
        return replace(splits, train=train, valid=valid, test=test, fingerprint=fingerprint)

    return [of(fold) for fold in range(k)]


def _held_out(count: int) -> int:
    """How many of a label's examples are for validation; of a single one none, so that it can be learned."""
    return max(round(count / HELD_OUT), 1) if count > 1 else 0
