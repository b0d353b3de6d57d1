"""What each example adds to the measure that models are compared by: its sum is what `score` reports."""

import importlib

import numpy as np
import pytest
import sacrebleu

from common import discovery
from common.data.encoding import batch_examples
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
                for first, last, kind in tag_schemes.tags_to_spans(example["tags"])
            ]
    if "label" in examples[0]:
        examples[3]["label"] = "unheard of"
    return examples


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "sentiment" else pytest.mark.slow) for name in discovery.list_recipes()],
)
def test_tally_sums_to_the_score_however_answers_come(name):
    trainer = made(name=name, epochs=4)
    trained(trainer)
    served = served_model.serve_model(trainer.recipe, trainer.model, trainer.config)
    examples = held_out(name)

    def backwards(endpoint, batch):
        answers = [
            ([position], {key: values[row : row + 1] for key, values in outputs.items()})
            for positions, outputs in served.iter_outputs(endpoint, batch)
            for row, position in enumerate(positions)
        ]
        yield from reversed(answers)

    scored = trainer.recipe.compute_metrics(batch_examples(examples, 17), served.iter_outputs)
    tally = trainer.recipe.per_example_metric(batch_examples(examples, 17), served.iter_outputs)
    assert tally.components.shape[0] == len(examples) and tally.components.dtype == np.float64
    assert float(tally.aggregate(tally.components.sum(axis=0))) == pytest.approx(scored[tally.name], rel=1e-9)
    assert 0 < scored[tally.name] != 1  # otherwise nothing was compared
    assert tally.higher_is_better == (name != "music")
    np.testing.assert_array_equal(
        trainer.recipe.per_example_metric(batch_examples(examples, 50), backwards).components, tally.components
    )
    # Each row is its own example's, and many sums are measured at once.
    some = [4, 3, 41]
    alone = [trainer.recipe.per_example_metric([[examples[at]]], served.iter_outputs) for at in some]
    np.testing.assert_allclose(np.concatenate([one.components for one in alone]), tally.components[some], rtol=1e-4)
    np.testing.assert_allclose(
        tally.aggregate(tally.components[[some]]),
        [[float(tally.aggregate(tally.components[at])) for at in some]],
        rtol=1e-9,
    )


def test_tally_of_labels_counts_one_that_training_lacks_as_a_miss():
    head = classification.ClassificationHead({"labels": ["bad", "good"], "label_counts": [1, 1]})
    batches = [[{"label": "good"}, {"label": "odd"}], [{"label": "good"}]]

    def ask(name, batch):
        assert name == "serving_default"
        yield from (([at], {"scores": np.array([[0.2, 0.8]])}) for at in reversed(range(len(batch))))

    tally = head.per_example_metric(batches, ask)
    assert tally.components.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert tally.aggregate(tally.components.sum(axis=0)) == pytest.approx(2 / 3)


def test_tally_of_entities_counts_each_once_and_nothing_is_zero():
    person, place, firm = (0, 1, "PER"), (3, 5, "LOC"), (3, 5, "ORG")
    tally = metrics.entity_f1_metric([([person, place], [person, person, firm]), ([], []), ([place], [])])
    assert tally.components.tolist() == [[2, 4], [0, 0], [0, 1]]  # twice the right ones, true and found ones
    assert tally.aggregate(tally.components).tolist() == [0.5, 0, 0]
    assert tally.aggregate(tally.components.sum(axis=0)) == pytest.approx(0.4)


def test_a_share_of_nothing_is_the_worst_only_where_more_is_better():
    assert metrics.ratio_metric("hits", []).aggregate(np.zeros([2, 2])).tolist() == [0, 0]
    assert np.isnan(metrics.ratio_metric("nats", [(0, 0)], higher_is_better=False).aggregate(np.zeros(2)))


def test_chrf_of_any_sample_is_that_of_sacrebleu():
    scoring = importlib.import_module("recipes.translation.scoring")
    found = ["Das Haus", "ein Tier.", "", "sieht rot", "Ja"]
    wanted = ["Das rote Haus", "ein Tier", "nichts", "", "Nein"]
    tally = scoring.per_example_chrf(found, wanted)
    samples = [[0, 1, 2, 3, 4], [0, 0, 1], [4], [2, 3], [3, 1, 1, 1]]
    expected = [
        sacrebleu.CHRF().corpus_score([found[i] for i in some], [[wanted[i] for i in some]]).score for some in samples
    ]
    assert tally.aggregate(np.array([tally.components[some].sum(axis=0) for some in samples])) == pytest.approx(
        expected
    )
    assert tally.aggregate(tally.components.sum(axis=0)) == pytest.approx(expected[0])
    assert scoring.per_example_chrf([], []).components.shape == (0, 18)
