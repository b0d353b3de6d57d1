"""What translation serves, against its model one step at a time; alignments and scores by hand."""

import math
from functools import cache
from itertools import pairwise

import keras
import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

from common.inference import served_model
from common.text import subwords
from common.types import ExampleSource
from recipes.translation import alignment, scoring, serving
from recipes.translation.config import Config
from recipes.translation.networks import make_decoder_step
from recipes.translation.recipe import TranslationRecipe
from tests.helpers.cli_calls import tiny_pairs

PAIRS = [{"text": text, "target": target} for text, target in tiny_pairs(60)]
TEXTS = [{"text": text} for text in ("the cat sees a red house now", "a cat", "")]
SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "intermediate_dim": 12, "vocabulary_size": 330}


@cache
def translator(**settings):
    """(served, recipe, model) of a model with random weights, the same for all settings of decoding."""
    config = Config(**SIZES | settings)
    assets = TranslationRecipe.build_assets(config, ExampleSource("some", lambda: iter(PAIRS)))
    config = TranslationRecipe.resolve_defaults(config, assets)
    keras.utils.set_random_seed(4)
    recipe = TranslationRecipe(config, assets)
    model = recipe.build_model()
    random = np.random.default_rng(1)
    model.set_weights([weight + random.normal(size=weight.shape, scale=0.3) for weight in model.get_weights()])
    return served_model.serve_model(recipe, model, config), recipe, model


def asked(served, name, examples):
    """The outputs for each example."""
    return served.predict(examples, lambda _, outputs: outputs, name)


@pytest.mark.parametrize("network", ["transformer", "lstm"])
def test_likelihood_is_that_of_each_piece_after_those_before_it(network):
    served, recipe, model = translator(model=network)
    examples = [*PAIRS[:3], {"text": "", "target": ""}, {"text": "ein 日本", "target": "x"}]
    for example, found in zip(examples, asked(served, "likelihood", examples), strict=True):
        source = recipe.encode({"text": tf.constant([example["text"]])})["source"].to_tensor()
        wanted = recipe.encode_targets({name: tf.constant([example[name]]) for name in ("text", "target")})[
            "target"
        ].numpy()[0]
        step = make_decoder_step(recipe.config, model, source, 1)
        state, before, expected = step.state, subwords.START, 0.0
        for position, piece in enumerate(wanted):
            state, logits, _ = step(state, tf.constant([before]), tf.constant(position), step.memory)
            scores = logits.numpy()[0].astype(float)
            expected += scores[piece] - np.log(np.sum(np.exp(scores)))
            before = int(piece)
        assert found["log_prob"] == pytest.approx(expected, rel=1e-4)
        assert found["pieces"] == len(wanted)


def test_likelihood_is_the_same_in_slices_as_alone():
    served, _, _ = translator(model="transformer")
    examples = PAIRS[: serving.ROWS + 3]
    call = served.calls["likelihood"]
    together = call(examples)["log_prob"]
    alone = [call([example])["log_prob"][0] for example in examples[:: serving.ROWS]]
    np.testing.assert_allclose(together[:: serving.ROWS], alone, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["transformer", "lstm"])
def test_every_endpoint_takes_no_text_at_all(network):
    served, _, _ = translator(model=network)
    for call in served.calls.values():
        found = call.function({name: tf.zeros([0], tf.string) for name in call.inputs})
        assert {len(value) for value in found.values()} == {0}


def test_alignment_translates_alike_and_looks_at_the_source_alone():
    served, recipe, _ = translator(model="transformer")
    best, found = asked(served, "serving_default", TEXTS), asked(served, "alignment", TEXTS)
    for example, one, other in zip(TEXTS, best, found, strict=True):
        assert (other["translation"], other["score"]) == (one["translation"], one["score"])
        source, target = other["source_lengths"], other["target_lengths"]
        assert b"".join(other["source_pieces"]).decode() == example["text"]
        assert not any(other["source_pieces"][source:]) and not any(other["target_pieces"][target:])
        assert b"".join(other["target_pieces"]).decode("utf-8", "replace") == other["translation"].decode()
        sums = other["attention"].sum(axis=1)
        np.testing.assert_allclose(sums, np.arange(len(sums)) < target, atol=1e-5)
        assert not other["attention"][:, source + 1 :].any()  # after the end of the source
        shown = recipe.format_alignment(example, other)
        assert shown["source"] == example["text"].split()
        assert len(shown["pairs"]) == (len(shown["target"]) if shown["source"] else 0)


def test_no_repeat_keeps_pieces_from_coming_again():
    def most(settings):
        """How often one pair of pieces comes in a translation."""
        served, _, _ = translator(**settings)
        counts = []
        for one in asked(served, "alignment", TEXTS):
            pieces = one["target_pieces"][: one["target_lengths"]].tolist()
            pairs = list(pairwise(pieces))
            counts += [pairs.count(pair) for pair in pairs]
        return max(counts)

    assert most({"model": "transformer"}) > 1
    assert most({"no_repeat_ngram_size": 2}) == 1


def test_translations_are_as_long_as_the_ratio_allows():
    lengths = {}
    for ratio in (0.5, 3.0):
        served, _, _ = translator(max_length_ratio=ratio)
        for one in asked(served, "alignment", TEXTS):
            most = int(ratio * (one["source_lengths"] + 1)) + serving.SPARE
            assert one["target_lengths"] <= most
            lengths.setdefault(ratio, []).append(one["target_lengths"])
    assert max(lengths[0.5]) < max(lengths[3.0])


def test_coverage_lowers_scores_by_what_was_not_looked_at():
    # A beam of 1 finds the same with and without it.
    plain, _, _ = translator(num_beams=1, max_length_ratio=0.1)
    covered, _, _ = translator(num_beams=1, max_length_ratio=0.1, coverage_penalty=0.5)
    texts = [{"text": "the cat sees a red house now and " * 4}, TEXTS[1]]
    before, after = asked(plain, "alignment", texts), asked(covered, "alignment", texts)
    for one, other, example in zip(before, after, texts, strict=True):
        assert one["translation"] == other["translation"]
        looked = one["attention"].sum(axis=0)[: one["source_lengths"] + 1]  # without the end of the translation
        least = 0.5 * np.log(np.minimum(looked, 1)).sum()
        assert least - 1e-5 <= other["score"] - one["score"] <= 0
        # Padding is nothing that could be left out.
        assert asked(covered, "serving_default", [example])[0]["score"] == pytest.approx(other["score"], abs=1e-5)
    assert after[0]["score"] < before[0]["score"] - 1


# Words out of pieces


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], ([], [])),
        (["Ein", " ", " Ha", "us", ".", "\n", "x"], (["Ein", "Haus.", "x"], [0, -1, 1, 1, 1, -1, 2])),
        ([" a b", "c d"], (["a", "bc", "d"], [1, 2])),  # a piece of two words is the last one's
        (["日本", "語", "です"], (["日本", "語", "です"], [0, 1, 2])),
        (["日", "本x", "y", "語"], (["日", "本xy", "語"], [0, 1, 1, 2])),
        (["สวั", "สดี"], (["สวั", "สดี"], [0, 1])),
        (["ส", "ว", "ั"], (["ส", "วั"], [0, 1, 1])),  # a mark stays with its letter
        (["über", "all"], (["überall"], [0, 0])),
    ],
)
def test_words_are_between_blanks_or_pieces_where_there_are_none(pieces, expected):
    assert alignment.group_pieces_into_words([piece.encode() for piece in pieces]) == expected


def test_words_may_have_pieces_that_are_parts_of_characters():
    assert alignment.group_pieces_into_words([b"\xe6", b"\x97\xa5", " ü".encode()[:2], "ü".encode()[1:]]) == (
        ["日", "ü"],
        [0, 0, 1, 1],
    )
    assert alignment.group_pieces_into_words([b"a\xff", b" b"]) == (["a�", "b"], [0, 1])


def test_words_are_aligned_by_the_attention_of_all_their_pieces():
    source, target = [b"the", b" house", b"s"], [b"die", b" H", b"user", b" da"]
    attention = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.1, 0.2, 0.3], [0.0, 0.45, 0.55]])
    # Of the second word the first one has 0.6, and the second one 1.0.
    assert alignment.align_words(source, target, attention) == {
        "source": ["the", "houses"],
        "target": ["die", "Huser", "da"],
        "pairs": [[0, 0], [1, 1], [1, 2]],
    }
    assert alignment.align_words([b"  "], target, np.ones([4, 1]))["pairs"] == []


# Scores


def test_scores_are_those_of_sacrebleu_and_of_hand():
    sources = ["%d files of %s", "Yes", "<b>No</b>", "Save it", "{0}"]
    found = ["%d Dateien von %s", "Ja", "Nein", "%s speichern", "{0}"]
    wanted = ["%d Dateien von %s", "Ja!", "<b>Nein</b>", "Speichern", "{0}"]
    measured = scoring.compute_metrics(sources, found, wanted)
    assert next(iter(measured)) == "bleu"
    for name in ("bleu", "chrf", "ter"):
        assert measured[name] == getattr(sacrebleu, f"corpus_{name}")(found, [wanted]).score
    assert measured["exact_match"] == 2 / 5
    assert (measured["placeholder_errors"], measured["with_placeholders"]) == (2 / 4, 4)
    assert "tok:13a" in measured["bleu_signature"]
    assert scoring.compute_metrics(["Yes"], ["Ja"], ["Ja"])["placeholder_errors"] == 0


def test_the_measures_of_a_run_are_of_all_examples():
    served, _, _ = translator(model="transformer")
    measured = served.compute_metrics(PAIRS[:7])
    answers = asked(served, "likelihood", PAIRS[:7])
    total, pieces = (sum(float(one[name]) for one in answers) for name in ("log_prob", "pieces"))
    assert measured["perplexity"] == pytest.approx(math.exp(-total / pieces), rel=1e-5)
    assert measured["sentences_per_second"] == pytest.approx(7 / measured["seconds"])
    assert measured["examples"] == 7
    found = [one["translation"].decode() for one in asked(served, "serving_default", PAIRS[:7])]
    assert measured["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(found, [[pair["target"] for pair in PAIRS[:7]]]).score
    )
    assert served.compute_metrics([]) == {"examples": 0}
