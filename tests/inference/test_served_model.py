"""Calls of endpoints: every example once, in batches of like length, and answers in the order of the questions."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.inference.served_model import BATCH, CHUNK, EndpointCaller, Predictor, compile_endpoint
from common.types import Endpoint

PROPERTY = settings(max_examples=25, deadline=None)


def sizes_of_texts(batch):
    return {"size": np.array([len(text) for text in batch["text"].numpy()])}


def sizes_of_tokens(batch):
    tokens = batch["tokens"].numpy()
    return {"counts": np.array([sum(map(bool, row)) for row in tokens]), "width": np.full(len(tokens), tokens.shape[1])}


def served(recipe=None):
    calls = {
        "serving_default": EndpointCaller(sizes_of_texts, ("text",)),
        "tokens": EndpointCaller(sizes_of_tokens, ("tokens",)),
    }
    return Predictor(recipe, None, calls)


def texts(lengths):
    return [{"text": "x" * length, "number": number} for number, length in enumerate(lengths)]


LENGTHS = st.lists(st.integers(0, 40), max_size=3 * BATCH)


@PROPERTY
@given(LENGTHS)
def test_predictions_are_in_the_order_of_the_examples(lengths):
    found = served().predict(texts(lengths), lambda example, one: (example["number"], int(one["size"])))
    assert found == list(enumerate(lengths))


@PROPERTY
@given(LENGTHS)
def test_outputs_are_of_every_example_once_in_batches_of_like_length(lengths):
    found = list(served().iter_outputs("serving_default", texts(lengths)))
    assert sorted(at for positions, _ in found for at in positions) == list(range(len(lengths)))
    assert [len(positions) for positions, _ in found[:-1]] == [BATCH] * (len(found) - 1)
    sizes = [size for _, outputs in found for size in outputs["size"].tolist()]
    assert sizes == sorted(lengths)


def test_outputs_of_lists_are_padded_within_their_batch():
    counts = [5] * BATCH + [1] * BATCH
    examples = [{"tokens": ["x"] * count, "tags": ["O"] * count} for count in counts]
    found = list(served().iter_outputs("tokens", examples))
    assert [set(outputs["width"].tolist()) for _, outputs in found] == [{1}, {5}]
    assert all(
        counts[position] == count
        for positions, outputs in found
        for position, count in zip(positions, outputs["counts"], strict=True)
    )


def test_outputs_of_no_example_are_none():
    assert list(served().iter_outputs("tokens", [])) == []


def test_measures_see_every_example_once_and_tell_how_they_advance():
    count, told = CHUNK + 7, []

    def compute_metrics(batches, ask):
        seen, total = [], 0
        for batch in batches:
            seen.append([example["number"] for example in batch])
            total += sum(int(outputs["size"].sum()) for _, outputs in ask("serving_default", batch))
        return {"seen": seen, "total": total}

    recipe = SimpleNamespace(compute_metrics=compute_metrics)
    measured = served(recipe).compute_metrics(iter(texts([number % 5 for number in range(count)])), told.append)
    assert [number for batch in measured["seen"] for number in batch] == list(range(count))
    assert measured["total"] == sum(number % 5 for number in range(count))
    assert told == [CHUNK, 7]


def test_an_endpoint_is_compiled_once_for_batches_of_any_size():
    traced = []

    def double(numbers):
        traced.append(numbers)
        return {"twice": 2 * numbers, "sum": tf.reduce_sum(numbers, axis=1)}

    call = compile_endpoint(Endpoint(double, {"numbers": tf.TensorSpec([None, None], tf.int32, "numbers")}))
    assert call.inputs == ("numbers",)
    for rows in ([[1, 2], [3]], [[4]]):
        found = call([{"numbers": row, "other": "left out"} for row in rows])
        assert found["sum"].tolist() == [sum(row) for row in rows]
        assert isinstance(found["twice"], np.ndarray)
    assert len(traced) == 1
