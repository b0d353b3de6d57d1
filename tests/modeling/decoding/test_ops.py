"""What all loops of decoding have in common, and the operations that they share."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.decoding.ops import find_top_k, repeat_rows
from tests.helpers.decoding_models import (
    END,
    NEVER,
    SOURCE,
    START,
    Pairs,
    Prefixes,
    decode_greedily,
    draw_samples,
    fixed_step,
    hypotheses,
    search_beams,
    seeds,
)


@given(seeds, st.sampled_from(["beam", "greedy"]))
@settings(max_examples=20, deadline=None)
def test_rows_do_not_influence_one_another(seed, how):
    model, max_length = Prefixes(seed, 3, 5, rows=3), np.array([5, 2, 4])

    def decoded(rows):
        options = {"start": START, "end": END, "max_length": tf.constant(max_length[rows])}
        if how == "greedy":
            return decode_greedily(model.step, model.state(1, rows), len(rows), **options)
        return search_beams(model.step, model.state(2, rows), len(rows), num_beams=2, n_best=2, **options)

    together = decoded([0, 1, 2])
    for row in range(3):
        assert hypotheses(decoded([row]), 0) == hypotheses(together, row)


@pytest.mark.parametrize("how", ["beam", "greedy"])
def test_end_is_forced_at_the_longest_of_each_row(how):
    options = {"start": START, "end": END, "max_length": tf.constant([0, 1, 3]), "length_penalty": 0.5}
    step = fixed_step([0.1, 0.1, 0.7, 0.1])
    if how == "num_beams":
        result = search_beams(step, (), 3, num_beams=1, **options)
    else:
        result = decode_greedily(step, (), 3, **options)
    assert result.tokens.numpy().tolist() == [[[0, 0, 0]], [[2, 0, 0]], [[2, 2, 2]]]
    assert result.lengths.numpy().tolist() == [[0], [1], [3]]
    logs = np.log([[0.1], [0.7 * 0.1], [0.7**3 * 0.1]])
    np.testing.assert_allclose(result.log_probs, logs, rtol=1e-5)
    np.testing.assert_allclose(result.scores, logs / np.sqrt([[6 / 6], [7 / 6], [9 / 6]]), rtol=1e-5)


def test_blocked_sequences_worked_by_hand():
    step = fixed_step([0.2, 0.1, 0.4, 0.3])  # 2 before 3 before 0 before END
    one = decode_greedily(step, (), 1, start=START, end=END, max_length=9, no_repeat_ngram_size=1)
    assert hypotheses(one, 0)[0][2] == (2, 3, 0)
    two = decode_greedily(step, (), 1, start=START, end=END, max_length=9, no_repeat_ngram_size=2)
    assert hypotheses(two, 0)[0][2] == (2, 2, 3, 2, 0, 2)


@given(seeds, st.integers(1, 3), st.sampled_from(["beam", "greedy", "sample"]))
@settings(max_examples=30, deadline=None)
def test_blocked_sequences_never_come_twice(seed, size, how):
    model = Pairs(seed, 4, 14, masked=0.0)
    model.logits[:, :, END] -= 4
    options = {"start": START, "end": END, "max_length": 14, "no_repeat_ngram_size": size}
    if how == "num_beams":
        result = search_beams(model.step, (), 2, num_beams=3, n_best=3, **options)
    elif how == "greedy":
        result = decode_greedily(model.step, (), 2, **options)
    else:
        result = draw_samples(model.step, (), 2, seed=tf.constant([seed, 1], tf.int64), **options)
    for row in range(2):
        for _, _, tokens in hypotheses(result, row):
            parts = [tokens[at : at + size] for at in range(len(tokens) - size + 1)]
            assert len(set(parts)) == len(parts)


def test_longest_zero_leaves_the_end_alone():
    result = search_beams(
        fixed_step([0.5, 0.25, 0.25]), (), 2, start=START, end=END, max_length=0, num_beams=3, n_best=2
    )
    assert result.tokens.shape == (2, 2, 0)
    np.testing.assert_allclose(result.scores, [[np.log(0.25), NEVER]] * 2, rtol=1e-6)
    for no_repeat_ngram_size in (1, 2):
        one = decode_greedily(
            fixed_step([0.5, 0.25, 0.25]),
            (),
            2,
            start=START,
            end=END,
            max_length=0,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        assert one.lengths.numpy().tolist() == [[0], [0]]


def test_equal_hypotheses_come_in_the_order_of_their_tokens():
    result = search_beams(fixed_step([0.25] * 4), (), 1, start=0, end=3, max_length=2, num_beams=2, n_best=2)
    assert result.tokens.numpy().tolist() == [[[0, 0], [0, 1]]]
    assert decode_greedily(fixed_step([0.25] * 4), (), 1, start=0, end=3, max_length=2).tokens.numpy().tolist() == [
        [[0, 0]]
    ]


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_logits_may_have_any_float_type(dtype):
    logits = tf.cast(tf.math.log([[0.25, 0.25, 0.5]]), dtype)
    result = decode_greedily(lambda *_: ((), logits), (), 1, start=0, end=2, max_length=3)
    assert result.log_probs.dtype == tf.float32
    assert result.log_probs.numpy() == pytest.approx(np.log(0.5), abs=1e-2)


class Small(tf.Module):
    """A recurrent model with attention to its source, and its endpoints."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.table = tf.Variable(random.normal(0, 1, (6, 8)), dtype=tf.float32)
        self.out = tf.Variable(random.normal(0, 1, (8, 6)), dtype=tf.float32)

    def stepping(self, memory):
        def step(state, tokens, position):
            hidden = tf.tanh(state["hidden"] + tf.gather(self.table, tokens))
            weights = tf.nn.softmax(tf.einsum("ru,rsu->rs", hidden, memory))
            hidden += tf.einsum("rs,rsu->ru", weights, memory)
            return {"hidden": hidden}, hidden @ self.out, weights

        return step

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)])
    def translate(self, words, max_length):
        memory, batch = tf.gather(self.table, words), tf.shape(words)[0]
        step = self.stepping(repeat_rows(memory, 3))
        result = search_beams(
            step,
            {"hidden": tf.zeros([batch * 3, 8])},
            batch,
            start=START,
            end=END,
            max_length=max_length,
            num_beams=3,
            n_best=2,
            coverage_penalty=0.1,
            no_repeat_ngram_size=2,
            return_attention=True,
            source_mask=words > 0,
        )
        one = decode_greedily(
            self.stepping(memory),
            {"hidden": tf.zeros([batch, 8])},
            batch,
            start=START,
            end=END,
            max_length=max_length,
            return_attention=True,
        )
        return {**vars(result), "greedy": one.tokens, "greedy_attention": one.attention}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([2], tf.int64),
            tf.TensorSpec([]),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([]),
        ]
    )
    def compose(self, words, seed, temperature, top_k, top_p):
        state = {"hidden": tf.zeros([tf.shape(words)[0], 8])}
        result = draw_samples(
            self.stepping(tf.gather(self.table, words)),
            state,
            tf.shape(words)[0],
            start=0,
            end=None,
            max_length=7,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return {"tokens": result.tokens}


def test_saved_model_answers_as_before_for_batches_of_any_size(tmp_path):
    model = Small()
    tf.saved_model.save(model, str(tmp_path), {"translate": model.translate, "compose": model.compose})
    again = tf.saved_model.load(str(tmp_path))
    for batch, source in ((3, 4), (1, 2), (0, 5)):
        words = tf.constant(np.arange(batch * source).reshape(batch, source) % 6, tf.int32)
        max_length = tf.constant([5, 3, 4][:batch], tf.int32)
        expected, result = model.translate(words, max_length), again.translate(words, max_length)
        assert result["tokens"].shape == (batch, 2, 5 if batch else 0)
        assert result["attention"].shape == (*result["tokens"].shape, source)
        assert result["greedy_attention"].shape == (*result["greedy"].shape, source)
        for name, value in expected.items():
            np.testing.assert_array_equal(result[name], value)
        served = again.signatures["translate"](words=words, max_length=max_length)
        np.testing.assert_array_equal(served["scores"], expected["scores"])
        numbers = tf.constant([1, 2], tf.int64), tf.constant(0.8), tf.constant(4), tf.constant(0.95)
        drawn = again.compose(words, *numbers)["tokens"]
        assert drawn.shape == (batch, 1, 7)
        np.testing.assert_array_equal(drawn, model.compose(words, *numbers)["tokens"])


def test_empty_batch_has_no_hypotheses():
    model = Prefixes(0, 3, 3, rows=1)
    options = {"start": START, "end": END, "max_length": 3}
    for result, n_best in (
        (search_beams(model.step, model.state(2, []), 0, num_beams=2, n_best=2, return_attention=True, **options), 2),
        (decode_greedily(model.step, model.state(1, []), 0, return_attention=True, **options), 1),
        (draw_samples(model.step, model.state(1, []), 0, seed=tf.constant([1, 2]), **options), 1),
    ):
        assert result.tokens.shape == (0, n_best, 3)
        assert result.scores.shape == (0, n_best)
        assert result.attention is None or result.attention.shape == (0, n_best, 3, SOURCE)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(0, 3),
    columns=st.integers(250, 1200),
    count=st.integers(1, 5),
    kinds=st.sampled_from([2, 5, 1000]),
    never=st.sampled_from([0.0, 0.5, 0.999]),
)
def test_largest_are_those_of_a_sorted_row(seed, rows, columns, count, kinds, never):
    # Few kinds of values, so that many are equal; and some rows in which hardly anything can come.
    random = np.random.default_rng(seed)
    values = random.integers(0, kinds, [rows, columns]).astype(np.float32)
    values[random.random(values.shape) < never] = NEVER
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    result, places = find_top_k(tf.constant(values), count)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(result, np.take_along_axis(values, order, axis=1))


def test_largest_of_what_is_no_number_are_places_of_the_row():
    values = tf.fill([2, 1031], float("nan"))
    places = find_top_k(values, 4)[1].numpy()
    assert ((places >= 0) & (places < 1031)).all()


def test_hypothesis_without_possible_end_is_not_there():
    for result in (
        decode_greedily(fixed_step([0.5, 0.0, 0.5]), (), 1, start=START, end=END, max_length=3),
        search_beams(fixed_step([0.5, 0.0, 0.5]), (), 1, start=START, end=END, max_length=3, num_beams=2, n_best=2),
    ):
        assert not hypotheses(result, 0)
        assert not result.tokens.numpy().any()
        assert (result.log_probs.numpy() == NEVER).all()
