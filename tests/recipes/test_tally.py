"""What each example adds to the measure that models are compared by: its sum is what `score` reports."""

import importlib

import numpy as np
import pytest
import sacrebleu

from common import discovery
from common.data.encoding import in_batches
from common.inference import served_model
from common.modeling import classification, metrics
from common.text import tag_schemes
from tests.helpers.trainers import made, made_up, trained


def held_out(name):
    """Examples of a recipe, 50 of them, with all that its data may hold."""
    examples = made_up(name, 50)
    if name == "ner":
        for example in examples[::2]:  # annotated as text rather than as tokens
            places = np.cumsum([0, *(len(token) + 1 for token in example["tokens"])])
            example["entities"] = [
                [int(places[first]), int(places[last]) - 1, kind]
                for first, last, kind in tag_schemes.entities(example["tags"])
            ]
    if "label" in examples[0]:
        examples[3]["label"] = "unheard of"
    return examples


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "sentiment" else pytest.mark.slow) for name in discovery.names()]
)
def test_tally_sums_to_the_score_however_answers_come(name):
    trainer = made(name=name, epochs=4)
    trained(trainer)
    served = served_model.of_model(trainer.recipe, trainer.model, trainer.config)
    examples = held_out(name)

    def backwards(endpoint, batch):
        answers = [
            ([position], {key: values[row : row + 1] for key, values in outputs.items()})
            for positions, outputs in served.outputs(endpoint, batch)
            for row, position in enumerate(positions)
        ]
        yield from reversed(answers)

    scored = trainer.recipe.score(in_batches(examples, 17), served.outputs)
    tally = trainer.recipe.tally(in_batches(examples, 17), served.outputs)
    assert tally.parts.shape[0] == len(examples) and tally.parts.dtype == np.float64
    assert float(tally.of(tally.parts.sum(axis=0))) == pytest.approx(scored[tally.measure], rel=1e-9)
    assert 0 < scored[tally.measure] != 1  # otherwise nothing was compared
    assert tally.higher == (name != "music")
    np.testing.assert_array_equal(trainer.recipe.tally(in_batches(examples, 50), backwards).parts, tally.parts)
    # Each row is its own example's, and many sums are measured at once.
    some = [4, 3, 41]
    alone = [trainer.recipe.tally([[examples[at]]], served.outputs) for at in some]
    np.testing.assert_allclose(np.concatenate([one.parts for one in alone]), tally.parts[some], rtol=1e-4)
    np.testing.assert_allclose(
        tally.of(tally.parts[[some]]), [[float(tally.of(tally.parts[at])) for at in some]], rtol=1e-9
    )


def test_tally_of_labels_counts_one_that_training_lacks_as_a_miss():
    head = classification.ClassificationHead({"labels": ["bad", "good"], "label_counts": [1, 1]})
    batches = [[{"label": "good"}, {"label": "odd"}], [{"label": "good"}]]

    def ask(name, batch):
        assert name == "serving_default"
        yield from (([at], {"scores": np.array([[0.2, 0.8]])}) for at in reversed(range(len(batch))))

    tally = head.per_example_metric(batches, ask)
    assert tally.parts.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert tally.of(tally.parts.sum(axis=0)) == pytest.approx(2 / 3)


def test_tally_of_entities_counts_each_once_and_nothing_is_zero():
    person, place, firm = (0, 1, "PER"), (3, 5, "LOC"), (3, 5, "ORG")
    tally = metrics.tally_of_entities([([person, place], [person, person, firm]), ([], []), ([place], [])])
    assert tally.parts.tolist() == [[2, 4], [0, 0], [0, 1]]  # twice the right ones, true and found ones
    assert tally.of(tally.parts).tolist() == [0.5, 0, 0]
    assert tally.of(tally.parts.sum(axis=0)) == pytest.approx(0.4)


def test_a_share_of_nothing_is_the_worst_only_where_more_is_better():
    assert metrics.tally_of_shares("hits", []).of(np.zeros([2, 2])).tolist() == [0, 0]
    assert np.isnan(metrics.tally_of_shares("nats", [(0, 0)], higher=False).of(np.zeros(2)))


def test_chrf_of_any_sample_is_that_of_sacrebleu():
    scoring = importlib.import_module("recipes.translation.scoring")
    found = ["Das Haus", "ein Tier.", "", "sieht rot", "Ja"]
    wanted = ["Das rote Haus", "ein Tier", "nichts", "", "Nein"]
    tally = scoring.tally(found, wanted)
    samples = [[0, 1, 2, 3, 4], [0, 0, 1], [4], [2, 3], [3, 1, 1, 1]]
    expected = [
        sacrebleu.CHRF().corpus_score([found[i] for i in some], [[wanted[i] for i in some]]).score for some in samples
    ]
    assert tally.of(np.array([tally.parts[some].sum(axis=0) for some in samples])) == pytest.approx(expected)
    assert tally.of(tally.parts.sum(axis=0)) == pytest.approx(expected[0])
    assert scoring.tally([], []).parts.shape == (0, 18)
