"""The optimizer step by step against keras.optimizers.AdamW and against numpy."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.training.muon import newton_schulz
from common.training.optimizer import SCALE_START, SCALE_STEPS, AdamWMuon
from common.training.schedules import learning_rate_at

ROWS, WIDTH = 6, 3


def adam(*values, weight_decay=0.0, clip_norm=0.0, average=0.0, scaled=False):
    """The optimizer of new variables."""
    return AdamWMuon(
        [tf.Variable(tf.constant(v, tf.float32)) for v in values], weight_decay, clip_norm, average, scaled
    )


def applied(optimizer, gradients, weight=1.0, rate=0.1):
    """One update as the training loop makes it: in a graph, inside `strategy.run`."""

    @tf.function
    def step(gradients, weight, rate):
        tf.distribute.get_strategy().run(optimizer.apply, args=(gradients, weight, rate))

    step(
        [g if isinstance(g, tf.IndexedSlices) else tf.constant(g, tf.float32) for g in gradients],
        tf.constant(weight, tf.float32),
        tf.constant(rate, tf.float32),
    )


def sparse(rows, values):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows, tf.int32), tf.constant([ROWS, WIDTH]))


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def values(variables):
    return [v.numpy() for v in variables]


# Dense updates


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_dense_updates_equal_keras(weight_decay):
    start = [numbers(1, 4, 3), numbers(2, 3), numbers(3, 2, 2, 2)]
    ours = adam(*start, weight_decay=weight_decay)
    theirs = keras.optimizers.AdamW(learning_rate=0.1, weight_decay=weight_decay, epsilon=1e-7)
    reference = [keras.Variable(v, name=f"part_{i}") for i, v in enumerate(start)]
    theirs.exclude_from_weight_decay(var_names=["part_1"])  # a vector
    for step in range(8):
        gradients, rate = [numbers(10 * step + i, *v.shape) for i, v in enumerate(start)], 0.02 / (1 + step)
        applied(ours, gradients, rate=rate)
        theirs.learning_rate = rate
        theirs.apply([tf.constant(g) for g in gradients], reference)
        for found, expected in zip(values(ours.variables), reference, strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6, atol=1e-6)


def test_first_update_moves_by_the_rate_against_the_sign():
    optimizer = adam([1.0, 1.0, 1.0])
    applied(optimizer, [[5.0, -2.0, 0.0]], rate=0.1)
    np.testing.assert_allclose(optimizer.variables[0].numpy(), [0.9, 1.1, 1.0], atol=1e-5)


def test_weight_decay_spares_vectors():
    optimizer = adam(np.ones((2, 2)), np.ones(2), weight_decay=0.5)
    applied(optimizer, [np.zeros((2, 2)), np.zeros(2)], rate=0.1)
    np.testing.assert_allclose(optimizer.variables[0].numpy(), np.full((2, 2), 0.95))
    np.testing.assert_array_equal(optimizer.variables[1].numpy(), [1, 1])


def test_gradients_are_divided_by_the_weight():
    optimizer = adam([0.0, 0.0])
    applied(optimizer, [[8.0, -4.0]], weight=4.0)
    np.testing.assert_allclose(optimizer.first[0].numpy(), [0.2, -0.1], rtol=1e-6)  # a tenth of [2, -1]
    np.testing.assert_allclose(optimizer.second[0].numpy(), [0.004, 0.001], rtol=1e-4)  # a thousandth of [4, 1]


def test_update_without_weight_is_finite():
    optimizer = adam([1.0, 2.0])
    applied(optimizer, [[0.0, 0.0]], weight=0.0)
    assert optimizer.variables[0].numpy().tolist() == [1, 2]


def test_updates_are_counted():
    optimizer = adam([1.0])
    for _ in range(3):
        applied(optimizer, [[1.0]])
    assert int(optimizer.updates) == 3


# Clipping


@settings(max_examples=12, deadline=None)
@given(clip_norm=st.floats(0.01, 20), seed=st.integers(0, 999))
def test_clipping_limits_the_global_norm(clip_norm, seed):
    matrix, vector, rows = numbers(seed, 4, 2), numbers(seed + 1, 3), numbers(seed + 2, 4, WIDTH)
    optimizer = adam(np.zeros((4, 2)), np.zeros(3), np.zeros((ROWS, WIDTH)), clip_norm=clip_norm)
    applied(optimizer, [matrix, vector, sparse([5, 0, 5, 2], rows)])
    table = np.zeros((ROWS, WIDTH))
    np.add.at(table, [5, 0, 5, 2], rows)  # duplicates count together
    norm = math.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in (matrix, vector, table)))
    factor = min(1, clip_norm / norm)
    for moment, gradient in zip(optimizer.first, (matrix, vector, table), strict=True):
        np.testing.assert_allclose(moment.numpy(), 0.1 * factor * gradient, rtol=1e-4, atol=1e-6)


def test_clipping_comes_after_the_division_by_the_weight():
    optimizer = adam([0.0, 0.0], clip_norm=1.0)
    applied(optimizer, [[30.0, 40.0]], weight=100.0)  # a norm of 0.5 is left as it is
    np.testing.assert_allclose(optimizer.first[0].numpy(), [0.03, 0.04], rtol=1e-5)


def test_clipping_at_zero_is_none():
    optimizer = adam([0.0, 0.0], clip_norm=0.0)
    applied(optimizer, [[3e4, 4e4]])
    np.testing.assert_allclose(optimizer.first[0].numpy(), [3e3, 4e3], rtol=1e-6)


# Sparse updates


def test_sparse_first_update_equals_the_dense_one():
    start, rows, gradient = numbers(1, ROWS, WIDTH), [4, 1, 4, 4], numbers(2, 4, WIDTH)
    table = np.zeros((ROWS, WIDTH), np.float32)
    np.add.at(table, rows, gradient)
    some, all_rows = adam(start), adam(start)
    applied(some, [sparse(rows, gradient)])
    applied(all_rows, [table])
    for found, expected in zip(some.variables_by_name().values(), all_rows.variables_by_name().values(), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(some.variables[0].numpy(), all_rows.variables[0].numpy(), atol=1e-6)


def test_sparse_updates_touch_only_the_rows_in_use():
    optimizer = adam(numbers(1, ROWS, WIDTH), weight_decay=0.1, average=0.9)
    applied(optimizer, [sparse(range(ROWS), numbers(2, ROWS, WIDTH))])  # so that no moment is zero
    everything = [optimizer.variables[0], optimizer.first[0], optimizer.second[0]]
    before = values(everything)
    applied(optimizer, [sparse([3, 0, 3], numbers(3, 3, WIDTH))])
    for old, new in zip(before, values(everything), strict=True):
        np.testing.assert_array_equal(new[[1, 2, 4, 5]], old[[1, 2, 4, 5]])
        assert np.all(new[[0, 3]] != old[[0, 3]])


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_sparse_updates_equal_lazy_adam_in_numpy(weight_decay):
    table = numbers(1, ROWS, WIDTH).astype(np.float64)
    optimizer = adam(table, weight_decay=weight_decay)
    first, second = np.zeros_like(table), np.zeros_like(table)
    for step, rows in enumerate([[0, 1, 0], [2], [1, 1, 5, 0], [0, 2]], start=1):
        gradient = numbers(10 + step, len(rows), WIDTH)
        applied(optimizer, [sparse(rows, gradient)], rate=0.05)
        for row in sorted(set(rows)):
            total = sum(gradient[i] for i in range(len(rows)) if rows[i] == row).astype(np.float64)
            first[row] = 0.9 * first[row] + 0.1 * total
            second[row] = 0.999 * second[row] + 0.001 * total**2
            corrected = math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            change = 0.05 * corrected * first[row] / (np.sqrt(second[row]) + 1e-7)
            table[row] -= change + 0.05 * weight_decay * table[row]
        np.testing.assert_allclose(optimizer.variables[0].numpy(), table, atol=1e-5)


# Averages


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_averages_follow_the_formula(decay):
    optimizer = adam(numbers(1, 2, 2), average=decay)
    expected = optimizer.variables[0].numpy().astype(np.float64)
    for step in range(1, 7):
        applied(optimizer, [numbers(step, 2, 2)])
        keep = min(decay, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * optimizer.variables[0].numpy()
        np.testing.assert_allclose(optimizer.averages[0].numpy(), expected, atol=1e-5)


def test_averages_of_sparse_variables_follow_every_row():
    optimizer = adam(numbers(1, ROWS, WIDTH), average=0.5)
    start = optimizer.variables[0].numpy()
    applied(optimizer, [sparse([2], numbers(2, 1, WIDTH))])
    keep = 2 / 11
    expected = keep * start + (1 - keep) * optimizer.variables[0].numpy()
    np.testing.assert_allclose(optimizer.averages[0].numpy(), expected, atol=1e-6)


def test_averages_are_kept_only_when_asked_for():
    assert adam([1.0]).averages == []


# The loss scale of float16


def test_scale_is_divided_out_of_the_gradients():
    optimizer = adam([0.0, 0.0], scaled=True)
    assert float(optimizer.scale) == SCALE_START == 2.0**15
    applied(optimizer, [[SCALE_START * 8, SCALE_START * -4]], weight=4.0)
    np.testing.assert_allclose(optimizer.first[0].numpy(), [0.2, -0.1], rtol=1e-6)


def test_scale_is_one_unless_scaled():
    optimizer = adam([0.0])
    applied(optimizer, [[1.0]])
    assert float(optimizer.scale) == 1


def after_some_steps(average=0.0):
    """An optimizer with a dense and a sparse variable and no zero moment."""
    optimizer = adam(
        numbers(1, 2, 2), numbers(2, ROWS, WIDTH), weight_decay=0.1, clip_norm=1.0, average=average, scaled=True
    )
    for step in range(3):
        scaled = SCALE_START * numbers(step, 2, 2), SCALE_START * numbers(step + 9, ROWS, WIDTH)
        applied(optimizer, [scaled[0], sparse(range(ROWS), scaled[1])])
    return optimizer


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", ["dense", "sparse"])
def test_overflow_changes_no_variable_and_no_moment(bad, place):
    optimizer = after_some_steps()
    everything = [*optimizer.variables, *optimizer.first, *optimizer.second, optimizer.updates]
    before = values(everything)
    dense, rows = np.ones((2, 2), np.float32), np.ones((2, WIDTH), np.float32)
    (dense if place == "dense" else rows)[1, 1] = bad
    applied(optimizer, [dense, sparse([0, 4], rows)])
    for old, new in zip(before, values(everything), strict=True):
        np.testing.assert_array_equal(new, old)


def test_overflow_changes_no_average():
    optimizer = after_some_steps(average=0.5)
    before = values(optimizer.averages)
    applied(optimizer, [np.full((2, 2), np.inf), sparse([0], np.ones((1, WIDTH)))])
    for old, new in zip(before, values(optimizer.averages), strict=True):
        np.testing.assert_array_equal(new, old)


def test_overflow_on_the_first_step_changes_nothing():
    optimizer = adam([1.0, 2.0], average=0.9, scaled=True)
    applied(optimizer, [[np.inf, 1.0]])
    assert optimizer.variables[0].numpy().tolist() == [1, 2]
    assert optimizer.averages[0].numpy().tolist() == [1, 2]
    assert int(optimizer.updates) == 0


def test_overflow_halves_the_scale_down_to_one():
    optimizer = adam([0.0], scaled=True)
    optimizer.scale.assign(4.0)
    scales = []
    for _ in range(4):
        applied(optimizer, [[np.inf]])
        scales.append(float(optimizer.scale))
    assert scales == [2, 1, 1, 1]


def test_overflow_starts_the_count_of_good_steps_anew():
    optimizer = adam([0.0], scaled=True)
    applied(optimizer, [[1.0]])
    assert int(optimizer.good_steps) == 1
    applied(optimizer, [[np.inf]])
    assert int(optimizer.good_steps) == 0


def test_scale_doubles_after_enough_good_steps():
    optimizer = adam([0.0], scaled=True)
    optimizer.good_steps.assign(SCALE_STEPS - 2)
    applied(optimizer, [[1.0]])
    assert float(optimizer.scale) == SCALE_START
    applied(optimizer, [[1.0]])
    assert float(optimizer.scale) == 2 * SCALE_START
    assert int(optimizer.good_steps) == 0


def test_update_after_an_overflow_equals_one_without_it():
    troubled, calm = after_some_steps(), after_some_steps()
    applied(troubled, [np.full((2, 2), np.inf), sparse([0], np.ones((1, WIDTH)))])
    for optimizer in (troubled, calm):
        scale = float(optimizer.scale)
        applied(optimizer, [scale * numbers(7, 2, 2), sparse([1, 1], scale * numbers(8, 2, WIDTH))])
    for found, expected in zip(values(troubled.variables), values(calm.variables), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


# Replicas


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5, "weight_decay": 0.1, "average": 0.9}, {"scaled": True}])
def test_replicas_equal_one_with_all_gradients(options, three_replicas):
    start = numbers(1, 2, 3), numbers(2, ROWS, WIDTH)
    strategy = three_replicas
    with strategy.scope():
        many = adam(*start, **options)
    one = adam(*start, **options)
    rows, weights = [[0, 4, 0], [4, 5], [1]], [3.0, 1.0, 2.0]  # by replica; two use row 4

    @tf.function
    def step(dense, values, rows, weight):
        def on_replica(dense, values, rows, weight):
            many.apply([dense, tf.IndexedSlices(values, rows, [ROWS, WIDTH])], weight, tf.constant(0.1))

        strategy.run(on_replica, args=(dense, values, rows, weight))

    for number in range(3):
        dense = [SCALE_START * numbers(10 * number + replica, 2, 3) for replica in range(3)]
        values_of = [SCALE_START * numbers(10 * number + 5 + i, len(part), WIDTH) for i, part in enumerate(rows)]
        shared = [
            strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: tf.constant(parts[context.replica_id_in_sync_group])
            )
            for parts in (dense, values_of, rows, weights)
        ]
        step(*shared)
        applied(
            one,
            [sum(dense), sparse([row for part in rows for row in part], np.concatenate(values_of))],
            weight=sum(weights),
        )
    for ours, expected in zip(
        [*many.variables, *many.variables_by_name().values()],
        [*one.variables, *one.variables_by_name().values()],
        strict=True,
    ):
        copies = [copy.numpy() for copy in strategy.experimental_local_results(ours)]
        np.testing.assert_array_equal(copies[0], copies[1])
        np.testing.assert_allclose(copies[0], expected.numpy(), rtol=1e-4, atol=1e-6)


# The state


def test_state_restored_goes_on_to_the_same_weights():
    def fresh():
        return adam(numbers(1, 2, 2), average=0.9, scaled=True)

    whole, first, second = fresh(), fresh(), fresh()
    for step in range(4):
        applied(whole, [SCALE_START * numbers(step, 2, 2)])
        if step < 2:
            applied(first, [SCALE_START * numbers(step, 2, 2)])
    for name, variable in second.variables_by_name().items():
        variable.assign(first.variables_by_name()[name].numpy())
    second.variables[0].assign(first.variables[0].numpy())
    for step in (2, 3):
        applied(second, [SCALE_START * numbers(step, 2, 2)])
    np.testing.assert_array_equal(second.variables[0].numpy(), whole.variables[0].numpy())
    for name, variable in whole.variables_by_name().items():
        np.testing.assert_array_equal(second.variables_by_name()[name].numpy(), variable.numpy())


# Muon


def test_orthogonalised_matrices_have_singular_values_near_to_one():
    random = np.random.default_rng(2)
    for shape in ((4, 9), (9, 4), (6, 6), (5, 7), (300, 20)):
        matrix = random.normal(size=shape).astype(np.float32)
        found = newton_schulz(tf.constant(matrix)).numpy()
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        assert found.shape == shape
        turned = left.T @ found @ right.T  # diagonal, since the singular vectors stay
        np.testing.assert_allclose(turned - np.diag(np.diag(turned)), 0, atol=1e-4)
        expected = values / np.linalg.norm(matrix)
        for _ in range(3):
            expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
        np.testing.assert_allclose(np.diag(turned), expected, atol=1e-4)
        large = values > 0.05 * np.linalg.norm(matrix)
        assert np.all(np.abs(np.diag(turned)[large] - 1) < 0.35)


def test_orthogonalised_in_bfloat16_are_nearly_the_same():
    random = np.random.default_rng(2)
    for shape in ((40, 90), (200, 60), (60, 60)):
        matrix = tf.constant(random.normal(size=shape), tf.float32)
        exact, found = newton_schulz(matrix).numpy(), newton_schulz(matrix, half=True).numpy()
        assert found.dtype == np.float32 and (found != exact).any()
        assert np.linalg.norm(found - exact) < 0.06 * np.linalg.norm(exact)


def test_muon_updates_by_the_orthogonal_momentum_in_the_size_of_adam():
    start = numbers(1, 3, 5)
    variable, other = tf.Variable(start), tf.Variable(start)
    optimizer = AdamWMuon([variable, other], 0.1, 0, 0, False, [variable])
    momentum, expected = np.zeros((3, 5), np.float32), start.copy()
    for step in range(3):
        gradient = numbers(step + 2, 3, 5)
        applied(optimizer, [gradient, gradient], rate=0.01)
        momentum = 0.95 * momentum + gradient
        turned = newton_schulz(tf.constant(gradient + 0.95 * momentum)).numpy()
        expected -= 0.01 * (0.2 * 5**0.5 * turned + 0.1 * expected)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(other.numpy() - expected).max() > 1e-3  # which AdamW updated


def test_muon_takes_the_columns_of_a_convolutions_kernel_for_a_matrix():
    kernel, matrix = tf.Variable(numbers(1, 3, 2, 5, 4)), tf.Variable(numbers(1, 3, 2, 5, 4).reshape(30, 4))
    optimizer = AdamWMuon([kernel, matrix], 0.1, 0, 0, False, [kernel, matrix])
    for step in range(2):
        gradient = numbers(step + 2, 3, 2, 5, 4)
        applied(optimizer, [gradient, gradient.reshape(30, 4)], rate=0.01)
    np.testing.assert_allclose(kernel.numpy().reshape(30, 4), matrix.numpy(), rtol=1e-5)
    assert np.abs(kernel.numpy() - numbers(1, 3, 2, 5, 4)).max() > 1e-3


def test_muon_keeps_all_when_float16_overflows():
    variable = tf.Variable(numbers(1, 3, 5))
    optimizer = AdamWMuon([variable], 0.1, 1.0, 0.9, True, [variable])
    applied(optimizer, [SCALE_START * numbers(2, 3, 5)])
    kept = {
        name: one.numpy()
        for name, one in optimizer.variables_by_name().items()
        if name.split("/")[0] in ("first", "averages")
    }
    before = variable.numpy()
    applied(optimizer, [np.full((3, 5), np.inf, np.float32)])
    np.testing.assert_array_equal(variable.numpy(), before)
    for name, value in kept.items():
        np.testing.assert_array_equal(optimizer.variables_by_name()[name].numpy(), value)


# The schedule

SCHEDULES = ["constant", "linear", "cosine", "inverse-sqrt"]


def rate_at(progress, warmup, schedule, peak=2.0):
    return float(learning_rate_at(tf.constant(progress), peak, warmup, schedule))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.2, 2.0)])
def test_learning_rate_rises_in_a_line_to_its_peak(schedule, progress, expected):
    assert rate_at(progress, 0.2, schedule) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2, 2, 2, 2]),
        ("linear", [2, 1.5, 1, 0]),
        ("cosine", [2, 1 + math.sqrt(0.5), 1, 0]),
        ("inverse-sqrt", [2, 2 * math.sqrt(1 / 2), 2 * math.sqrt(1 / 3), 2 * math.sqrt(1 / 5)]),
    ],
)
def test_learning_rate_falls_as_scheduled(schedule, expected):
    found = [rate_at(progress, 0.2, schedule) for progress in (0.2, 0.4, 0.6, 1.0)]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_without_warmup_begins_at_its_peak(schedule):
    assert rate_at(0.0, 0.0, schedule) == 2


@settings(max_examples=40, deadline=None)
@given(
    progress=st.floats(0, 1.5, width=32),
    warmup=st.floats(0, 0.9),
    schedule=st.sampled_from(SCHEDULES),
)
def test_learning_rate_stays_between_zero_and_its_peak(progress, warmup, schedule):
    assert -1e-6 <= rate_at(progress, warmup, schedule) <= 2 + 1e-6
