"""Which inputs that a person gave are most worth labelling, out of as many as there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from common.data.image_decoding import decode_and_resize
from common.data.readers.input_reader import get_input_reader
from common.data.splitting import hashable_content
from common.inference.candidate_pool import Candidate, CandidatePool, Vector, hash_bag_of_words, thumbnail_vector
from common.inference.predict import keep_top_scores
from common.inference.prediction_inputs import SkippedInputs, iter_input_batches
from common.runtime.console import progress_bar
from common.types import Example, JsonObject

if TYPE_CHECKING:
    import numpy as np

    from common.inference.predict_request import PredictRequest
    from common.inference.served_model import Predictor

CANDIDATES, FEWEST = 20, 1_000  # kept for each input that is asked for, and at least; the others are forgotten
SIDE = 16  # pixels of an image's thumbnail


def _make_thumbnails(files: list[bytes]) -> list[Vector]:
    return (
        [thumbnail_vector(shades) for shades in decode_and_resize(tf.constant(files), SIDE, SIDE, 1).numpy()]
        if files
        else []
    )


def select_for_labeling(served: Predictor, request: PredictRequest, write: Callable[[str], object]) -> int:
    """Write a JSON line for each of the inputs most worth labelling, the most first; return how many were bad.

    Args:
      request: with `select_uncertain`, of which there may be fewer.
      write: takes a line.

    Raises:
      ConfigError: the recipe has no such measure of uncertainty, or no scores for `top_labels`.
    """
    assert request.select_uncertain is not None
    recipe, left_out = served.recipe, SkippedInputs()
    is_image = get_input_reader(recipe.input_fields).is_image
    pool = CandidatePool(max(CANDIDATES * request.select_uncertain, FEWEST))

    def judge(example: Example, outputs: Mapping[str, np.ndarray]) -> tuple[float, JsonObject]:
        shown = recipe.format_prediction(example, outputs)
        uncertainty = recipe.uncertainty(outputs, request.uncertainty)
        return uncertainty, shown if request.top_labels is None else keep_top_scores(shown, request.top_labels)

    with progress_bar("Looking for what to label") as progress:
        for batch in iter_input_batches(recipe.input_fields, request, left_out):
            _add_batch(pool, batch, served.predict(batch, judge), recipe.input_fields[0].name, is_image)
            progress.update(pool.num_seen, None, f"{pool.num_seen:,} inputs")
    for candidate in pool.select(request.select_uncertain, rare=not is_image):
        write(json.dumps(candidate.record, ensure_ascii=False))
    return left_out.count


def _add_batch(
    pool: CandidatePool, batch: list[Example], judged: list[tuple[float, JsonObject]], input_name: str, is_image: bool
) -> None:
    """Add to the pool what it wants of a batch.

    Args:
      judged: (uncertainty, what is shown) of each example.
      input_name: which of an example's fields is compared.
    """
    inputs = [example[input_name] for example in batch]
    vectors = [] if is_image else [hash_bag_of_words(text) for text in inputs]
    for indices, _ in vectors:
        pool.document_frequency[indices] += 1
    keys = [
        hashlib.blake2b(hashable_content(value), digest_size=16).digest() for value in inputs
    ]  # copies have one key
    wanted = [i for i, key in enumerate(keys) if pool.should_keep(key, judged[i][0])]
    thumbnails = iter(_make_thumbnails([inputs[i] for i in wanted]) if is_image else ())
    for i in wanted:
        uncertainty, shown = judged[i]
        vector = next(thumbnails) if is_image else vectors[i]
        shown = {**shown, "uncertainty": uncertainty, "place": batch[i]["place"]}
        if pool.should_keep(keys[i], uncertainty):  # it may have come twice in this batch
            pool.add(keys[i], Candidate(uncertainty, pool.num_seen + i, shown, vector))
    pool.num_seen += len(batch)
