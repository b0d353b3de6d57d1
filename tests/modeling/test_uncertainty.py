"""How unsure a model is of an input."""

import math

import numpy as np
import pytest

from common import discovery
from common.errors import ConfigError
from common.modeling.uncertainty import classification_uncertainty, confidence_uncertainty


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
    assert classification_uncertainty(np.array(shares, np.float32), None) == pytest.approx(entropy, abs=1e-6)
    assert classification_uncertainty(np.array(shares, np.float32), "entropy") == pytest.approx(entropy, abs=1e-6)
    assert classification_uncertainty(np.array(shares, np.float32), "margin") == pytest.approx(margin, abs=1e-6)


def test_shares_that_rounding_made_too_large_stay_within_the_range():
    assert classification_uncertainty(np.array([0.4999999, 0.4999999]), "entropy") == 1
    assert classification_uncertainty(np.array([1.0000001, 0.0]), "margin") == 0


def test_confidence_gives_what_is_left_of_one_and_has_no_measures():
    assert confidence_uncertainty(0.75, None) == 0.25
    assert confidence_uncertainty(1.0000001, None) == 0
    with pytest.raises(ConfigError, match="--uncertainty entropy is for recipes that give a score for each label"):
        confidence_uncertainty(0.75, "entropy")


def test_ner_is_as_uncertain_as_its_least_certain_token_or_entity():
    uncertainty = discovery.import_recipe_module("ner", "scoring").TaggingHead.uncertainty
    # An entity of two tokens with 0.6, a token outside with 0.9; a row of padding behind, whose score is 0.
    outputs = {"scores": np.array([0.6, 0.6, 0.9, 0]), "lengths": np.int32(3), "tags": [b"B-A", b"I-A", b"O", b""]}
    assert uncertainty(None, outputs, None) == pytest.approx(0.4)
    outside = {"scores": np.array([0.95, 0.7]), "lengths": np.int32(2), "tags": [b"O", b"O"]}
    assert uncertainty(None, outside, None) == pytest.approx(0.3)
    assert uncertainty(None, {"scores": np.zeros(1), "lengths": np.int32(0), "tags": [b""]}, None) == 0


def test_a_translation_is_as_uncertain_as_its_score_is_low():
    uncertainty = discovery.import_recipe_module("translation", "scoring").TranslationHead.uncertainty
    assert uncertainty(None, {"score": np.float32(math.log(0.25))}, None) == pytest.approx(0.75)
    assert uncertainty(None, {"score": np.float32(0.1)}, None) == 0
    assert uncertainty(None, {"score": np.float32(-np.inf)}, None) == 1
