"""Which inputs are most worth labelling."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from calls import call, fails, good, write

import recipes
from common.candidate_pool import Candidate, Pool, diverse, hashed, thumbnail
from common.endpoints import Call, Served
from common.errors import ConfigError
from common.picking import most_worth
from common.predict_request import PredictRequest
from common.readers.pictures import png
from common.recipe import Field
from common.uncertain import of_confidence, of_shares


@pytest.mark.parametrize(
    ("shares", "entropy", "margin"),
    [
        ([0.25, 0.25, 0.25, 0.25], 1, 1),
        ([1, 0, 0], 0, 0),
        ([0.5, 0.5, 0], 0.6309298, 1),  # ln 2 / ln 3
        ([0.7, 0.2, 0.1], 0.7298467, 0.5),  # 0.8018186 / ln 3
        ([0.1, 0.9], 0.4689956, 0.2),  # 0.3250830 / ln 2
    ],
)
def test_uncertainty_of_shares_is_entropy_or_margin(shares, entropy, margin):
    assert of_shares(np.array(shares, np.float32), None) == pytest.approx(entropy, abs=1e-6)
    assert of_shares(np.array(shares, np.float32), "entropy") == pytest.approx(entropy, abs=1e-6)
    assert of_shares(np.array(shares, np.float32), "margin") == pytest.approx(margin, abs=1e-6)


def test_shares_that_rounding_made_too_large_stay_within_the_range():
    assert of_shares(np.array([0.4999999, 0.4999999]), "entropy") == 1
    assert of_shares(np.array([1.0000001, 0.0]), "margin") == 0


def test_confidence_gives_what_is_left_of_one_and_has_no_measures():
    assert of_confidence(0.75, None) == 0.25
    assert of_confidence(1.0000001, None) == 0
    with pytest.raises(ConfigError, match="--by entropy is for recipes that give a score for each label"):
        of_confidence(0.75, "entropy")


def test_ner_is_as_uncertain_as_its_least_certain_token_or_entity():
    uncertainty = recipes.load("ner").uncertainty
    # An entity of two tokens with 0.6, a token outside with 0.9; a row of padding behind, whose score is 0.
    outputs = {"scores": np.array([0.6, 0.6, 0.9, 0]), "lengths": np.int32(3), "tags": [b"B-A", b"I-A", b"O", b""]}
    assert uncertainty(None, outputs, None) == pytest.approx(0.4)
    outside = {"scores": np.array([0.95, 0.7]), "lengths": np.int32(2), "tags": [b"O", b"O"]}
    assert uncertainty(None, outside, None) == pytest.approx(0.3)
    assert uncertainty(None, {"scores": np.zeros(1), "lengths": np.int32(0), "tags": [b""]}, None) == 0


def test_a_translation_is_as_uncertain_as_its_score_is_low():
    uncertainty = recipes.load("translation").uncertainty
    assert uncertainty(None, {"score": np.float32(math.log(0.25))}, None) == pytest.approx(0.75)
    assert uncertainty(None, {"score": np.float32(0.1)}, None) == 0
    assert uncertainty(None, {"score": np.float32(-np.inf)}, None) == 1


# Unlike each other


def pool_of(texts, most=100):
    """A pool of (text, uncertainty)."""
    pool = Pool(most)
    for number, (text, uncertainty) in enumerate(texts):
        vector = hashed(text)
        pool.document_frequency[vector[0]] += 1
        if pool.wants(text.encode(), uncertainty):
            pool.add(text.encode(), Candidate(uncertainty, number, {"text": text}, vector))
        pool.num_seen += 1
    return pool


OTHERS = [
    "who could have guessed such an ending", "three hours of rain and silence", "my children laughed a lot",
    "bought tickets twice", "subtitles were missing",
]  # fmt: skip


def test_near_copies_of_the_most_uncertain_text_come_last():
    copies = [(f"the train to the coast was late again on day {number}", 0.99 - number / 1000) for number in range(31)]
    pool = pool_of([*copies, *((text, 0.5) for text in OTHERS)])
    chosen = [candidate.shown["text"] for candidate in pool.best(6, rare=True)]
    assert chosen[0] == copies[0][0]
    assert set(chosen[1:]) == set(OTHERS)
    assert len(pool.best(100, rare=True)) == 36  # all, when there are no more


def test_equal_ones_come_in_the_order_of_the_input():
    pool = pool_of([(text, 0.5) for text in OTHERS])
    assert [candidate.shown["text"] for candidate in pool.best(5, rare=True)] == OTHERS


def test_words_that_most_inputs_hold_make_no_likeness():
    # The second shares "the" with the first one, the third shares "walrus".
    texts = [("the walrus", 0.9), ("the film", 0.8), ("a walrus", 0.8)]
    fillers = [("the " + filler, 0.0) for filler in OTHERS]
    first, second, _ = pool_of([*texts, *fillers]).best(3, rare=True)
    assert [first.shown["text"], second.shown["text"]] == ["the walrus", "the film"]
    # Where "the" is as rare as "walrus" is elsewhere, it is the other way round.
    fillers = [("walrus " + filler, 0.0) for filler in OTHERS]
    first, second, _ = pool_of([*texts, *fillers]).best(3, rare=True)
    assert [first.shown["text"], second.shown["text"]] == ["the walrus", "a walrus"]


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_comparing_all_with_all(seed):
    random = np.random.default_rng(seed)
    dense = random.integers(-1, 4, (40, 12)) * random.integers(0, 2, (40, 12))
    dense[7] = 0  # an empty text
    uncertainties = random.random(40)
    vectors = [(np.flatnonzero(row), row[np.flatnonzero(row)].astype(float)) for row in dense]

    def likeness(a, b):
        norms = math.sqrt(sum(a * a)) * math.sqrt(sum(b * b))
        return min(max(float(sum(a * b)) / norms, 0), 1) if norms else 0

    expected: list[int] = []
    for _ in range(15):
        worth = {
            one: uncertainties[one] * (1 - max((likeness(dense[one], dense[other]) for other in expected), default=0))
            for one in range(40)
            if one not in expected
        }
        expected.append(max(worth, key=lambda one: worth[one]))
    assert diverse(uncertainties, vectors, 15) == expected


def test_nothing_is_chosen_of_nothing():
    assert diverse([], [], 3) == []
    assert Pool(5).best(3, rare=True) == []


def test_scripts_without_blanks_are_compared_by_character():
    one, other, far = (set(hashed(text)[0]) for text in ("彼女は映画が好き", "彼は映画が好き", "雨"))
    assert len(one & other) == 7
    assert not one & far


# The pool


def test_a_pool_keeps_the_most_uncertain_of_any_number():
    uncertainties = np.random.default_rng(1).random(2_000)
    pool = pool_of([(f"text {number}", value) for number, value in enumerate(uncertainties)], most=30)
    assert len(pool.candidates) < 60
    kept = [candidate.uncertainty for _, candidate in pool.ordered()][:30]
    assert kept == sorted(uncertainties, reverse=True)[:30]


@pytest.mark.parametrize("values", [(0.3, 0.7), (0.7, 0.3)])
def test_of_copies_the_most_uncertain_one_counts(values):
    pool = pool_of([("one text", value) for value in values])
    assert [candidate.uncertainty for candidate in pool.best(5, rare=True)] == [0.7]


def test_thumbnails_are_alike_whatever_the_brightness():
    bar = np.zeros([16, 16, 1], np.uint8)
    bar[4:8] = 120
    across = np.swapaxes(bar, 0, 1)
    vectors = [thumbnail(image) for image in (bar, bar + 100, across, np.zeros_like(bar), np.full_like(bar, 200))]
    # Of equal uncertainty, each kind before its second image.
    assert diverse([0.5] * 5, vectors, 3) == [0, 2, 3]


# The command


def test_predict_lists_the_uncertain_inputs_with_place_and_uncertainty(trained, tmp_path):
    texts = ["a great film", "A  great FILM", "a dull film", "great and dull", "dull and great", "the story", "lovely"]
    pool = write(tmp_path / "pool.csv", [(text,) for text in texts], header=("text",))
    shares = [json.loads(line)["scores"].values() for line in good("predict", trained, "--input", pool).splitlines()]
    entropies = [-sum(p * math.log(p) for p in one) / math.log(2) for one in shares]
    result = call("predict", trained, "--input", pool, "--uncertain", 5)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    numbers = [int(row["place"].removeprefix("pool.csv:")) - 2 for row in rows]
    assert [texts[number] for number in numbers] == [row["text"] for row in rows]
    assert [row["uncertainty"] for row in rows] == pytest.approx([entropies[n] for n in numbers], abs=1e-4)
    assert rows[0]["uncertainty"] == pytest.approx(max(entropies), abs=1e-4)
    assert not {0, 1} <= set(numbers)  # copies
    assert f"--init-from {trained}" in result.stderr.splitlines()[-1]


def test_predict_measures_by_margin_and_shows_the_first_scores(trained):
    printed = good("predict", trained, "a great film", "so so", "--uncertain", 9, "--by", "margin", "--top-k", 1)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert {row["place"] for row in rows} == {"input 1", "input 2"}
    for row in rows:
        assert list(row["scores"].values()) == [row["score"]]
        assert row["uncertainty"] == pytest.approx(2 - 2 * row["score"], abs=1e-6)  # of two labels


def test_predict_tells_of_bad_inputs_and_lists_the_others(trained):
    result = call("predict", trained, "fine", "a\0b", "--uncertain", 2)
    assert result.exit_code == 1
    assert [json.loads(line)["place"] for line in result.stdout.splitlines()] == ["input 1"]


@pytest.mark.parametrize(
    "words",
    [("--explain",), ("--explain-to", "pictures"), ("--alignment",), ("--format", "conll")],
)
def test_predict_refuses_what_is_of_all_predictions(trained, words):
    message = fails("predict", trained, "fine", "--uncertain", 2, *words, status=2)
    assert message == f"--uncertain lists inputs to label, and {words[0]} is of all predictions: leave one out."


def test_predict_refuses_a_measure_without_a_number(trained):
    message = fails("predict", trained, "fine", "--by", "margin", status=2)
    assert message == "--by says how --uncertain looks for inputs: add --uncertain K, or leave it out."


def test_predict_of_a_recipe_that_makes_something_up_has_nothing_to_label(tmp_path):
    (tmp_path / "config.json").write_text('{"recipe": "music"}')
    message = fails("predict", tmp_path, "--uncertain", 2, status=2)
    assert message == "--uncertain is of predictions, and this recipe makes something up: leave it out."


class Shade:
    """A recipe whose model is the less sure of an image the brighter it is."""

    inputs = (Field("image_bytes", "image"),)

    def present(self, example, outputs):
        return {"file": example["file"]}

    def uncertainty(self, outputs, by):
        return float(outputs["bright"])


def test_images_that_look_alike_are_not_both_chosen(tmp_path):
    def bar(side, shade):
        image = np.zeros([20, 20], np.uint8)
        image[side] = shade
        return png(image)

    up, left = np.s_[3:8, :], np.s_[:, 3:8]
    for name, side, shade in (("a", up, 200), ("b", up, 190), ("c", up, 180), ("d", left, 100), ("e", up, 200)):
        (tmp_path / f"{name}.png").write_bytes(bar(side, shade))
    brightness = {bar(side, shade): shade / 255 for side in (up, left) for shade in (200, 190, 180, 100)}

    def function(batch):
        return {"bright": np.array([brightness[bytes(one)] for one in np.asarray(batch["image_bytes"])])}

    served = Served(Shade(), SimpleNamespace(), {"serving_default": Call(function, ("image_bytes",))})
    lines: list[str] = []
    assert most_worth(served, PredictRequest((str(tmp_path),), select_uncertain=4), lines.append) == 0
    rows = [json.loads(line) for line in lines]
    names = [row["file"].removeprefix(f"{tmp_path}/") for row in rows]
    assert names[:2] == ["a.png", "d.png"]
    assert sorted(names[2:]) == ["b.png", "c.png"]  # e is a copy of a
    assert rows[1]["uncertainty"] == pytest.approx(100 / 255)
    assert rows[1]["place"] == rows[1]["file"]
