"""The most uncertain of many inputs: which are kept, and which of them are chosen unlike each other."""

import math

import numpy as np
import pytest

from common.inference.candidate_pool import (
    Candidate,
    CandidatePool,
    hash_bag_of_words,
    maximal_marginal_relevance,
    thumbnail_vector,
)


def pool_of(texts, most=100):
    """A pool of (text, uncertainty)."""
    pool = CandidatePool(most)
    for number, (text, uncertainty) in enumerate(texts):
        vector = hash_bag_of_words(text)
        pool.document_frequency[vector[0]] += 1
        if pool.should_keep(text.encode(), uncertainty):
            pool.add(text.encode(), Candidate(uncertainty, number, {"text": text}, vector))
        pool.num_seen += 1
    return pool


OTHERS = [
    "who could have guessed such an ending",
    "three hours of rain and silence",
    "my children laughed a lot",
    "bought tickets twice",
    "subtitles were missing",
]


def test_near_copies_of_the_most_uncertain_text_come_last():
    copies = [(f"the train to the coast was late again on day {number}", 0.99 - number / 1000) for number in range(31)]
    pool = pool_of([*copies, *((text, 0.5) for text in OTHERS)])
    chosen = [candidate.record["text"] for candidate in pool.select(6, rare=True)]
    assert chosen[0] == copies[0][0]
    assert set(chosen[1:]) == set(OTHERS)
    assert len(pool.select(100, rare=True)) == 36  # all, when there are no more


def test_equal_ones_come_in_the_order_of_the_input():
    pool = pool_of([(text, 0.5) for text in OTHERS])
    assert [candidate.record["text"] for candidate in pool.select(5, rare=True)] == OTHERS


def test_words_that_most_inputs_hold_make_no_likeness():
    # The second shares "the" with the first one, the third shares "walrus".
    texts = [("the walrus", 0.9), ("the film", 0.8), ("a walrus", 0.8)]
    fillers = [("the " + filler, 0.0) for filler in OTHERS]
    first, second, _ = pool_of([*texts, *fillers]).select(3, rare=True)
    assert [first.record["text"], second.record["text"]] == ["the walrus", "the film"]
    # Where "the" is as rare as "walrus" is elsewhere, it is the other way round.
    fillers = [("walrus " + filler, 0.0) for filler in OTHERS]
    first, second, _ = pool_of([*texts, *fillers]).select(3, rare=True)
    assert [first.record["text"], second.record["text"]] == ["the walrus", "a walrus"]


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
    assert maximal_marginal_relevance(uncertainties, vectors, 15) == expected


def test_nothing_is_chosen_of_nothing():
    assert maximal_marginal_relevance([], [], 3) == []
    assert CandidatePool(5).select(3, rare=True) == []


def test_scripts_without_blanks_are_compared_by_character():
    one, other, far = (set(hash_bag_of_words(text)[0]) for text in ("彼女は映画が好き", "彼は映画が好き", "雨"))
    assert len(one & other) == 7
    assert not one & far


# The pool


def test_a_pool_keeps_the_most_uncertain_of_any_number():
    uncertainties = np.random.default_rng(1).random(2_000)
    pool = pool_of([(f"text {number}", value) for number, value in enumerate(uncertainties)], most=30)
    assert len(pool.candidates) < 60
    kept = [candidate.uncertainty for _, candidate in pool.sorted_candidates()][:30]
    assert kept == sorted(uncertainties, reverse=True)[:30]


@pytest.mark.parametrize("values", [(0.3, 0.7), (0.7, 0.3)])
def test_of_copies_the_most_uncertain_one_counts(values):
    pool = pool_of([("one text", value) for value in values])
    assert [candidate.uncertainty for candidate in pool.select(5, rare=True)] == [0.7]


def test_thumbnails_are_alike_whatever_the_brightness():
    bar = np.zeros([16, 16, 1], np.uint8)
    bar[4:8] = 120
    across = np.swapaxes(bar, 0, 1)
    vectors = [
        thumbnail_vector(image) for image in (bar, bar + 100, across, np.zeros_like(bar), np.full_like(bar, 200))
    ]
    # Of equal uncertainty, each kind before its second image.
    assert maximal_marginal_relevance([0.5] * 5, vectors, 3) == [0, 2, 3]
