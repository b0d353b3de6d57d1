"""Which inputs `predict --select-uncertain` lists."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from common.data.readers.image_bytes import encode_png
from common.inference.active_learning import select_for_labeling
from common.inference.predict_request import PredictRequest
from common.inference.served_model import EndpointCaller, Predictor
from common.types import Field
from tests.helpers.cli_calls import call, fails, good, write


def test_predict_lists_the_uncertain_inputs_with_place_and_uncertainty(trained, tmp_path):
    texts = ["a great film", "A  great FILM", "a dull film", "great and dull", "dull and great", "the story", "lovely"]
    pool = write(tmp_path / "pool.csv", [(text,) for text in texts], header=("text",))
    shares = [json.loads(line)["scores"].values() for line in good("predict", trained, "--input", pool).splitlines()]
    entropies = [-sum(p * math.log(p) for p in one) / math.log(2) for one in shares]
    result = call("predict", trained, "--input", pool, "--select-uncertain", 5)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    numbers = [int(row["place"].removeprefix("pool.csv:")) - 2 for row in rows]
    assert [texts[number] for number in numbers] == [row["text"] for row in rows]
    assert [row["uncertainty"] for row in rows] == pytest.approx([entropies[n] for n in numbers], abs=1e-4)
    assert rows[0]["uncertainty"] == pytest.approx(max(entropies), abs=1e-4)
    assert not {0, 1} <= set(numbers)  # copies
    assert f"--init-from {trained}" in result.stderr.splitlines()[-1]


def test_predict_measures_by_margin_and_shows_the_first_scores(trained):
    printed = good(
        "predict",
        trained,
        "a great film",
        "so so",
        "--select-uncertain",
        9,
        "--uncertainty",
        "margin",
        "--top-labels",
        1,
    )
    rows = [json.loads(line) for line in printed.splitlines()]
    assert {row["place"] for row in rows} == {"input 1", "input 2"}
    for row in rows:
        assert list(row["scores"].values()) == [row["score"]]
        assert row["uncertainty"] == pytest.approx(2 - 2 * row["score"], abs=1e-6)  # of two labels


def test_predict_tells_of_bad_inputs_and_lists_the_others(trained):
    result = call("predict", trained, "fine", "a\0b", "--select-uncertain", 2)
    assert result.exit_code == 1
    assert [json.loads(line)["place"] for line in result.stdout.splitlines()] == ["input 1"]


@pytest.mark.parametrize(
    "words",
    [("--explain",), ("--explain-dir", "pictures"), ("--alignment",), ("--format", "conll")],
)
def test_predict_refuses_what_is_of_all_predictions(trained, words):
    message = fails("predict", trained, "fine", "--select-uncertain", 2, *words, status=2)
    assert message == f"--select-uncertain lists inputs to label, and {words[0]} is of all predictions: leave one out."


def test_predict_refuses_a_measure_without_a_number(trained):
    message = fails("predict", trained, "fine", "--uncertainty", "margin", status=2)
    assert (
        message
        == "--uncertainty says how --select-uncertain looks for inputs: add --select-uncertain K, or leave it out."
    )


def test_predict_of_a_recipe_that_makes_something_up_has_nothing_to_label(tmp_path):
    (tmp_path / "config.json").write_text('{"recipe": "music"}')
    message = fails("predict", tmp_path, "--select-uncertain", 2, status=2)
    assert message == "--select-uncertain is of predictions, and this recipe makes something up: leave it out."


class Shade:
    """A recipe whose model is the less sure of an image the brighter it is."""

    input_fields = (Field("image_bytes", "image"),)

    def format_prediction(self, example, outputs):
        return {"file": example["file"]}

    def uncertainty(self, outputs, by):
        return float(outputs["bright"])


def test_images_that_look_alike_are_not_both_chosen(tmp_path):
    def bar(side, shade):
        image = np.zeros([20, 20], np.uint8)
        image[side] = shade
        return encode_png(image)

    up, left = np.s_[3:8, :], np.s_[:, 3:8]
    for name, side, shade in (("a", up, 200), ("b", up, 190), ("c", up, 180), ("d", left, 100), ("e", up, 200)):
        (tmp_path / f"{name}.png").write_bytes(bar(side, shade))
    brightness = {bar(side, shade): shade / 255 for side in (up, left) for shade in (200, 190, 180, 100)}

    def function(batch):
        return {"bright": np.array([brightness[bytes(one)] for one in np.asarray(batch["image_bytes"])])}

    served = Predictor(Shade(), SimpleNamespace(), {"serving_default": EndpointCaller(function, ("image_bytes",))})
    lines: list[str] = []
    assert select_for_labeling(served, PredictRequest((str(tmp_path),), select_uncertain=4), lines.append) == 0
    rows = [json.loads(line) for line in lines]
    names = [row["file"].removeprefix(f"{tmp_path}/") for row in rows]
    assert names[:2] == ["a.png", "d.png"]
    assert sorted(names[2:]) == ["b.png", "c.png"]  # e is a copy of a
    assert rows[1]["uncertainty"] == pytest.approx(100 / 255)
    assert rows[1]["place"] == rows[1]["file"]
