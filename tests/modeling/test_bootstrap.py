"""Intervals against all resamples there are, against SciPy, and against simulated data."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.modeling import bootstrap
from common.modeling.metrics import entity_f1_metric, ratio_metric
from common.types import PerExampleMetric


def accuracy(hits):
    return ratio_metric("accuracy", [(hit, 1) for hit in hits])


def f1(parts):
    return PerExampleMetric("f1", True, np.array(parts, float), lambda sums: sums[..., 0] / sums[..., 1])


def test_interval_of_three_examples_is_that_of_all_27_samples():
    hits = [1, 1, 0]
    every = [sum(sample) / 3 for sample in itertools.product(hits, repeat=3)]  # 0, 1/3, 2/3, 1: 1, 6, 12, 8 times
    for level in (0.9, 0.5):  # whose ends are well within these steps
        value, low, high = bootstrap.bootstrap_interval(accuracy(hits), level)
        assert value == pytest.approx(2 / 3)
        ends = np.quantile(every, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        assert [low, high] == pytest.approx(ends.tolist())


def test_interval_of_a_ratio_is_that_of_scipy():
    random = np.random.default_rng(1)
    parts = random.integers(0, 6, (60, 2)).astype(float)
    parts[:, 1] += parts[:, 0]
    expected = stats.bootstrap(
        (parts[:, 0], parts[:, 1]),
        lambda above, below, axis: above.sum(axis) / below.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(2),
    ).confidence_interval
    value, low, high = bootstrap.bootstrap_interval(f1(parts), samples=20_000)
    assert value == pytest.approx(parts[:, 0].sum() / parts[:, 1].sum())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert high - low > 0.1


def test_interval_holds_the_true_share_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    held = 0
    for number in range(300):
        _, low, high = bootstrap.bootstrap_interval(accuracy(random.random(100) < 0.8), samples=400, seed=number)
        held += low <= 0.8 <= high
    assert 0.90 < held / 300 < 0.985


def test_interval_is_the_same_by_the_same_seed_only_and_narrows_with_examples():
    tally = f1(np.random.default_rng(4).random((50, 2)))
    assert (
        bootstrap.bootstrap_interval(tally)
        == bootstrap.bootstrap_interval(tally)
        != bootstrap.bootstrap_interval(tally, seed=1)
    )
    few, many = (bootstrap.minimum_detectable_difference(accuracy([1, 1, 1, 0] * count)) for count in (10, 250))
    assert 4 < few / many < 6  # the root of 25
    # Half of a normal distribution's interval at 95%.
    assert many == pytest.approx(1.96 * (0.75 * 0.25 / 1000) ** 0.5, rel=0.1)


def test_one_example_and_none():
    assert bootstrap.bootstrap_interval(accuracy([1])) == (1, 1, 1)
    assert np.isnan(bootstrap.bootstrap_interval(accuracy([]))).all()
    assert np.isnan(bootstrap.bootstrap_difference(accuracy([]), accuracy([]))).all()


def test_tellable_is_infinite_of_few_that_are_alike():
    assert (
        bootstrap.minimum_detectable_difference(accuracy([1] * 29))
        == bootstrap.minimum_detectable_difference(accuracy([]))
        == float("inf")
    )
    assert bootstrap.minimum_detectable_difference(accuracy([1] * 30)) == 0
    assert 0 < bootstrap.minimum_detectable_difference(accuracy([1] * 4 + [0])) < 1


def test_samples_without_a_measure_are_left_out():
    # Of one piece without frames and one of 4 frames with 2 nats each, a quarter of all samples has no frame.
    nats = ratio_metric("nats", [(0, 0), (8, 4)], higher_is_better=False)
    assert bootstrap.bootstrap_interval(nats) == (2, 2, 2)
    never = bootstrap.bootstrap_interval(ratio_metric("nats", [(0, 0)] * 3, higher_is_better=False))
    assert np.isnan(never).all()
    # The F1 of nothing is 0, and so are its samples.
    assert bootstrap.bootstrap_interval(entity_f1_metric([([], []), (["a"], ["a"])]))[1:] == (0, 1)


def test_difference_is_narrower_than_two_intervals_where_models_fail_on_the_same_examples():
    random = np.random.default_rng(5)
    hard = random.random(400) < 0.3
    old, new = (~hard & (random.random(400) < share) for share in (0.9, 0.97))
    value, low, high = bootstrap.bootstrap_difference(accuracy(new), accuracy(old))
    assert value == pytest.approx(new.mean() - old.mean())
    assert low < value < high
    apart = np.hypot(*(2 * bootstrap.minimum_detectable_difference(accuracy(hits)) for hits in (new, old)))
    assert high - low < 0.7 * apart
    # The normal interval of the mean of paired differences.
    each = new.astype(float) - old
    assert (high - low) / 2 == pytest.approx(1.96 * each.std() / 20, rel=0.1)


def test_difference_of_a_model_and_itself_is_nothing():
    tally = f1(np.random.default_rng(6).random((30, 2)))
    assert bootstrap.bootstrap_difference(tally, tally) == (0, 0, 0)


def test_mean_difference_is_that_of_the_means_where_these_add_up():
    random = np.random.default_rng(7)
    hits = random.random((6, 300)) < 0.7
    pairs = [(accuracy(new), accuracy(old)) for new, old in zip(hits[:3], hits[3:], strict=True)]
    value, low, high = bootstrap.bootstrap_mean_difference(pairs)
    each = hits[:3].mean(axis=0) - hits[3:].mean(axis=0)  # of an example
    assert value == pytest.approx(each.mean())
    assert ((low - value) / each.std(), (high - value) / each.std()) == pytest.approx(
        (-1.96 / 300**0.5, 1.96 / 300**0.5), rel=0.1
    )
    assert bootstrap.bootstrap_mean_difference(pairs[:1]) == bootstrap.bootstrap_difference(*pairs[0])
    with pytest.raises(ValueError, match="no differences"):
        bootstrap.bootstrap_mean_difference([])


def test_mean_difference_of_ratios_is_of_each_and_not_of_their_sums():
    (a, b), (c, d) = [(f1([[1, 2]]), f1([[1, 4]])), (f1([[30, 40]]), f1([[10, 40]]))]
    assert bootstrap.bootstrap_mean_difference([(a, b), (c, d)])[0] == pytest.approx((0.25 + 0.5) / 2)


def test_difference_of_other_measures_or_examples_is_refused():
    with pytest.raises(ValueError, match=r"accuracy and f1 was asked for, which are not the same\."):
        bootstrap.bootstrap_difference(accuracy([1]), f1([[1, 1]]))
    with pytest.raises(ValueError, match=r"of 2 examples and the other of 3: take the same ones\."):
        bootstrap.bootstrap_difference(accuracy([1, 0]), accuracy([1, 0, 1]))


def test_difference_takes_tallies_whose_parts_are_of_other_widths():
    wide = PerExampleMetric("accuracy", True, np.array([[1.0, 9, 9], [1, 9, 9]]), lambda sums: sums[..., 0] / 2)
    assert bootstrap.bootstrap_difference(wide, accuracy([0, 0])) == (1, 1, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=40, deadline=None)
def test_interval_of_an_accuracy_lies_between_0_and_1_and_mirrors_that_of_the_errors(hits, level):
    value, low, high = bootstrap.bootstrap_interval(accuracy(hits), level, samples=200)
    errors, least, most = bootstrap.bootstrap_interval(accuracy([not hit for hit in hits]), level, samples=200)
    assert 0 <= low <= high <= 1
    assert (1 - errors, 1 - most, 1 - least) == pytest.approx((value, low, high))


def test_memory_is_bounded_by_the_chunks_of_samples():
    tally = accuracy(np.arange(100_000) % 2)
    tracemalloc.start()
    value, low, high = bootstrap.bootstrap_interval(tally, samples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert value == 0.5 and 0.49 < low < 0.5 < high < 0.51
    assert peak < 60e6  # the weights of all samples take 160e6
