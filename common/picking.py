"""Which inputs that a person gave are most worth labelling, out of as many as there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from common import predict, uncertain
from common.endpoints import Served
from common.images import pixels
from common.progress import display
from common.sources import content
from common.types import Example

CANDIDATES, FEWEST = 20, 1_000  # kept for each input that is asked for, and at least; the others are forgotten
SIDE = 16  # pixels of an image's thumbnail


def _thumbnails(files: list[bytes]) -> list[uncertain.Vector]:
    return [uncertain.thumbnail(one) for one in pixels(tf.constant(files), SIDE, SIDE, 1).numpy()] if files else []


def most_worth(
    served: Served, texts: Sequence[str], source: str | None, column: Sequence[str], encoding: str | None,
    emit: Callable[[str], Any], count: int, by: str | None = None, top: int | None = None,
) -> int:  # fmt: skip
    """Writes a JSON line for each of the inputs most worth labelling, the most first; returns how many were bad.

    Args:
      texts, source, column, encoding, emit, top: as for `predict.predict`.
      count: so many of them, or all if there are fewer.
      by: one of uncertain.MEASURES; None for the recipe's own.

    Raises:
      ConfigError: the recipe has no such measure, or no scores for `top`.
    """
    recipe, report = served.recipe, predict.LeftOut()
    first = recipe.inputs[0]
    images = first.kind == "image"
    pool = uncertain.Pool(max(CANDIDATES * count, FEWEST))

    def judged(example: Example, outputs: Any) -> tuple[float, dict[str, Any]]:
        shown = recipe.present(example, outputs)
        return recipe.uncertainty(outputs, by), shown if top is None else predict.best(shown, top)

    with display("Looking for what to label") as progress:
        for batch in predict.batches(recipe.inputs, texts, source, column, encoding, report):
            found = served.predictions(batch, judged)
            vectors = [] if images else [uncertain.hashed(example[first.name]) for example in batch]
            for places, _ in vectors:
                pool.holding[places] += 1
            # Copies have one key.
            keys = [hashlib.blake2b(content(example[first.name]), digest_size=16).digest() for example in batch]
            wanted = [i for i, key in enumerate(keys) if pool.wants(key, found[i][0])]
            if images:
                small = iter(_thumbnails([batch[i][first.name] for i in wanted]))
            for i in wanted:
                uncertainty, shown = found[i]
                vector = next(small) if images else vectors[i]
                shown = {**shown, "uncertainty": uncertainty, "place": batch[i]["place"]}
                if pool.wants(keys[i], uncertainty):  # it may have come twice in this batch
                    pool.add(keys[i], uncertain.Candidate(uncertainty, pool.seen + i, shown, vector))
            pool.seen += len(batch)
            progress.show(pool.seen, None, f"{pool.seen:,} inputs")
    for candidate in pool.best(count, rare=not images):
        emit(json.dumps(candidate.shown, ensure_ascii=False))
    return report.count
