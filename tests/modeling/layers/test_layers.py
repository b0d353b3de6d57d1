"""Pooling and recurrent layers against numpy and against Keras's own masked layers; padding must never matter."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.modeling.layers.dropout import ByteDropout, scale_dropout
from common.modeling.layers.embedding import Embedding
from common.modeling.layers.normalization import BatchNormalization, LayerNormalization
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.recurrent import FusedLSTM, ReverseSequence, lstm_states

PROPERTY = settings(max_examples=40, deadline=None)
KINDS = ("max", "mean", "last", "attention")
FEATURES, UNITS = 3, 4


@st.composite
def padded_batches(draw):
    """Inputs [batch, time, FEATURES] and lengths [batch], at least 1."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    time = max(lengths) + draw(st.integers(0, 2))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    return random.normal(size=(len(lengths), time, FEATURES)).astype("float32"), np.array(lengths, "int32")


# ReverseSteps


@PROPERTY
@given(batch=padded_batches())
def test_reverse_steps_equal_numpy(batch):
    inputs, lengths = batch
    expected = np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(inputs, lengths, strict=True)])
    np.testing.assert_array_equal(ReverseSequence()(inputs, lengths).numpy(), expected)


@PROPERTY
@given(batch=padded_batches())
def test_reverse_steps_twice_change_nothing(batch):
    inputs, lengths = batch
    reverse = ReverseSequence()
    np.testing.assert_array_equal(reverse(reverse(inputs, lengths), lengths).numpy(), inputs)


def test_reverse_steps_keep_their_shape_in_a_model():
    states, lengths = keras.Input([None, 5]), keras.Input([], dtype="int32")
    assert ReverseSequence()(states, lengths).shape == (None, None, 5)


# lstm


def lstm_model(bidirectional):
    inputs, lengths = keras.Input([None, FEATURES]), keras.Input([], dtype="int32")
    model = keras.Model([inputs, lengths], lstm_states(inputs, lengths, UNITS, bidirectional, "lstm"))
    random = np.random.default_rng(5)
    model.set_weights([random.normal(size=w.shape, scale=0.7) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def both_ways():
    return lstm_model(bidirectional=True)


def numpy_lstm(inputs, kernel, recurrent, bias):
    """States [time, units] of one row; Hochreiter and Schmidhuber's cell with gates in Keras's order i, f, g, o."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    state, cell, states = np.zeros(len(recurrent)), np.zeros(len(recurrent)), []
    for step in inputs.astype(np.float64):
        i, f, g, o = np.split(step @ kernel + state @ recurrent + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.array(states)


BATCH = np.random.default_rng(2).normal(size=(4, 7, FEATURES)).astype("float32"), np.array([7, 1, 4, 6], "int32")


def assert_real_steps_equal(states, expected, lengths):
    for row, (real, length) in enumerate(zip(expected, lengths, strict=True)):
        np.testing.assert_allclose(np.array(states)[row, :length], np.array(real)[:length], atol=2e-6)


def test_lstm_both_ways_equals_numpy(both_ways):
    inputs, lengths = BATCH
    forward = both_ways.get_layer("lstm_forward").get_weights()
    backward = both_ways.get_layer("lstm_backward").get_weights()
    expected = [
        np.concatenate([numpy_lstm(row[:n], *forward), numpy_lstm(row[:n][::-1], *backward)[::-1]], axis=1)
        for row, n in zip(inputs, lengths, strict=True)
    ]
    assert_real_steps_equal(both_ways([inputs, lengths]), expected, lengths)


def test_lstm_one_way_equals_numpy():
    inputs, lengths = BATCH
    model = lstm_model(bidirectional=False)
    expected = [numpy_lstm(row, *model.get_weights()) for row in inputs]
    assert_real_steps_equal(model([inputs, lengths]), expected, lengths)


def test_lstm_both_ways_equals_masked_keras_layer(both_ways):
    inputs, lengths = BATCH
    reference = keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))
    reference.build(inputs.shape)
    reference.forward_layer.set_weights(both_ways.get_layer("lstm_forward").get_weights())
    reference.backward_layer.set_weights(both_ways.get_layer("lstm_backward").get_weights())
    mask = np.arange(inputs.shape[1]) < lengths[:, None]
    assert_real_steps_equal(both_ways([inputs, lengths]), reference(inputs, mask=tf.constant(mask)), lengths)


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (3, 1), (1, 6), (4, 9)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from a state"])
def test_lstm_gradients_equal_those_of_keras(rows, steps, dtype, given):
    random = np.random.default_rng(rows * 10 + steps)
    inputs, weighted = (tf.constant(random.normal(size=(rows, steps, n)), tf.float32) for n in (FEATURES, UNITS))
    first = [tf.constant(random.normal(size=(rows, UNITS)), tf.float32) for _ in range(2)] if given else []
    ours, theirs = FusedLSTM(UNITS), keras.layers.LSTM(UNITS, return_sequences=True)
    ours.dtype_policy = dtype
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    ours.set_weights([random.normal(size=w.shape, scale=0.7) for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())

    @tf.function
    def gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch([inputs, *first])
            states = layer(inputs, initial_state=first or None)
            loss = tf.reduce_sum(tf.cast(states, tf.float32) * weighted)
        return [loss, *tape.gradient(loss, [inputs, *first, *(w.value for w in layer.weights)])]

    exact = dtype == "float32"
    for ours_is, theirs_is in zip(gradients(ours), gradients(theirs), strict=True):
        assert ours_is.dtype == tf.float32
        np.testing.assert_allclose(ours_is, theirs_is, rtol=1e-5 if exact else 0.1, atol=1e-5 if exact else 0.15)


@pytest.mark.parametrize(("bidirectional", "units"), [(False, UNITS), (True, 2 * UNITS)])
def test_lstm_has_one_state_a_step_and_direction(bidirectional, units):
    assert lstm_model(bidirectional).output.shape == (None, None, units)


def test_lstm_layers_are_named(both_ways):
    names = {layer.name for layer in both_ways.layers}
    assert {"lstm_forward", "lstm_backward", "lstm_reverse", "lstm_states"} <= names


# Pooling


def pooled(kind, states, lengths, bidirectional=False):
    return Pooling(kind, bidirectional)(tf.constant(states), tf.constant(lengths)).numpy()


def real_steps(batch):
    states, lengths = batch
    return [row[:n] for row, n in zip(states, lengths, strict=True)]


@PROPERTY
@given(batch=padded_batches())
def test_pooling_max_equals_numpy(batch):
    np.testing.assert_array_equal(pooled("max", *batch), [row.max(axis=0) for row in real_steps(batch)])


@PROPERTY
@given(batch=padded_batches())
def test_pooling_mean_equals_numpy(batch):
    np.testing.assert_allclose(pooled("mean", *batch), [row.mean(axis=0) for row in real_steps(batch)], atol=1e-6)


@PROPERTY
@given(batch=padded_batches())
def test_pooling_last_equals_numpy(batch):
    np.testing.assert_array_equal(pooled("last", *batch), [row[-1] for row in real_steps(batch)])


def test_pooling_last_both_ways_takes_the_first_step_of_the_backward_half():
    states = np.arange(2 * 3 * 4, dtype="float32").reshape(2, 3, 4)
    found = pooled("last", states, np.array([3, 2], "int32"), bidirectional=True)
    assert found.tolist() == [[8, 9, 2, 3], [16, 17, 14, 15]]


@PROPERTY
@given(batch=padded_batches(), seed=st.integers(0, 99))
def test_pooling_attention_equals_numpy(batch, seed):
    random = np.random.default_rng(seed)
    kernel, bias = random.normal(size=(FEATURES, 1), scale=3), random.normal(size=1)
    layer = Pooling("attention")
    layer.build((None, None, FEATURES))
    layer.energy.set_weights([kernel, bias])
    expected = []
    for row in real_steps(batch):
        shares = np.exp(row @ kernel + bias)  # [time, 1]
        expected.append((row * shares / shares.sum()).sum(axis=0))
    np.testing.assert_allclose(layer(*map(tf.constant, batch)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_of_one_step_is_that_step(kind):
    states = np.random.default_rng(1).normal(size=(2, 4, FEATURES)).astype("float32")
    np.testing.assert_allclose(pooled(kind, states, np.array([1, 1], "int32")), states[:, 0], rtol=1e-6)


def test_pooling_max_of_negative_states_is_not_the_padding():
    states = np.full((1, 3, 2), -5, "float32")
    states[0, 1:] = 0
    assert pooled("max", states, np.array([1], "int32")).tolist() == [[-5, -5]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_pooling_in_half_precision_is_near_to_float32(kind, precision):
    inputs, lengths = BATCH
    layer = Pooling(kind)
    expected = layer(tf.constant(inputs), tf.constant(lengths)).numpy()
    found = layer_like(layer, precision, inputs.shape)(tf.constant(inputs, precision), tf.constant(lengths))
    assert found.dtype == precision
    np.testing.assert_allclose(tf.cast(found, "float32").numpy(), expected, atol=0.05)


def layer_like(layer, precision, shape):
    """The same pooling in another precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        twin = Pooling(layer.kind)
        twin.build(shape)
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(layer.get_weights())
    return twin


def test_pooling_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="'median'"):
        Pooling("median")


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_keeps_its_config(kind):
    layer = Pooling(kind, bidirectional=True, name="pool")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(twin, Pooling)
    assert (twin.kind, twin.bidirectional, twin.name) == (kind, True, "pool")


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_shape_is_known_without_data(kind):
    states, lengths = keras.Input([None, 6]), keras.Input([], dtype="int32")
    assert Pooling(kind)(states, lengths).shape == (None, 6)
    assert Pooling(kind).compute_output_shape((2, 5, 6), (2,)) == (2, 6)


# Both together


@pytest.fixture(scope="module")
def everything():
    """A compiled model: two directions, all four poolings."""
    inputs, lengths = keras.Input([None, FEATURES]), keras.Input([], dtype="int32")
    states = lstm_states(inputs, lengths, UNITS, True, "first")
    states = lstm_states(states, lengths, UNITS, True, "second")
    model = keras.Model([inputs, lengths], [Pooling(kind, True, name=kind)(states, lengths) for kind in KINDS])
    random = np.random.default_rng(5)
    model.set_weights([random.normal(size=w.shape, scale=0.7) for w in model.get_weights()])
    signature = [tf.TensorSpec([None, None, FEATURES]), tf.TensorSpec([None], tf.int32)]
    return model, tf.function(lambda inputs, lengths: model([inputs, lengths]), input_signature=signature)


@PROPERTY
@given(batch=padded_batches(), more=st.integers(0, 5), filling=st.sampled_from([0.0, 1.0, -1e3, 1e6]))
def test_padding_never_changes_the_result(everything, batch, more, filling):
    inputs, lengths = batch
    _, run = everything
    padded = np.full((len(inputs), inputs.shape[1] + more, FEATURES), filling, "float32")
    for row, length in enumerate(lengths):
        padded[row, :length] = inputs[row, :length]
    for found, expected in zip(run(padded, lengths), run(inputs, lengths), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(batch=padded_batches())
def test_rows_of_a_batch_do_not_influence_each_other(everything, batch):
    inputs, lengths = batch
    _, run = everything
    together = run(inputs, lengths)
    for row, length in enumerate(lengths):
        alone = run(inputs[row : row + 1, :length], lengths[row : row + 1])
        for found, expected in zip(alone, together, strict=True):
            np.testing.assert_allclose(found[0], expected[row], atol=1e-6)


@pytest.mark.parametrize("output", range(len(KINDS)), ids=KINDS)
def test_gradients_reach_real_steps_and_no_padding(everything, output):
    model, _ = everything
    inputs, lengths = tf.constant(BATCH[0]), tf.constant(BATCH[1])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(model([inputs, lengths])[output] ** 2)
    gradient = tape.gradient(loss, inputs).numpy()
    real = np.arange(inputs.shape[1]) < BATCH[1][:, None]
    assert np.all(np.any(gradient[real] != 0, axis=-1))
    assert np.all(gradient[~real] == 0)


def test_gradients_reach_every_weight(everything):
    model, _ = everything
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(out**2) for out in model(list(BATCH))])
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        # A softmax does not change when all energies rise alike.
        assert np.any(gradient.numpy() != 0) or variable.path == "attention/energy/bias", variable.path


def test_model_rebuilt_from_its_config_gives_the_same(everything):
    model, _ = everything
    twin = keras.Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    for found, expected in zip(twin(list(BATCH)), model(list(BATCH)), strict=True):
        np.testing.assert_array_equal(found, expected)


# Embedding and batch normalization, against Keras's own


def test_embedding_and_its_gradient_equal_those_of_keras():
    ours, theirs = Embedding(9, 4), keras.layers.Embedding(9, 4)
    ids = np.array([[1, 8, 1], [0, 3, 3]], "uint16")
    for layer in (ours, theirs):
        layer.build(ids.shape)
    theirs.set_weights(ours.get_weights())
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            vectors = layer(ids)
            loss = tf.reduce_sum(vectors**3)
        gradient = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
        found.append((vectors.numpy(), gradient.numpy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_batch_normalization_equals_that_of_keras(dtype):
    random = np.random.default_rng(4)
    images = tf.constant(random.normal(2, 3, size=(5, 4, 3, 6)), tf.float32)
    ours = BatchNormalization(momentum=0.8, dtype=dtype)
    theirs = keras.layers.BatchNormalization(momentum=0.8)
    for layer in (ours, theirs):
        layer.build(images.shape)
    theirs.set_weights([random.uniform(0.5, 2, size=w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    weighted = tf.constant(random.normal(size=images.shape), tf.float32)
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(images)
            normal = tf.cast(layer(images, training=True), tf.float32)
            loss = tf.reduce_sum(normal * weighted)
        gradients = tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])
        after = tf.cast(layer(images, training=False), tf.float32)
        found.append([normal, *gradients, *layer.get_weights(), after])
    close = 1e-4 if dtype == "float32" else 0.1
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=close, atol=close)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_layer_normalization_and_its_gradients_equal_those_of_keras(dtype):
    random = np.random.default_rng(5)
    states = tf.constant(random.normal(2, 3, size=(3, 4, 8)), tf.float32)
    ours, theirs = LayerNormalization(dtype=dtype), keras.layers.LayerNormalization(epsilon=1e-5)
    for layer in (ours, theirs):
        layer.build(states.shape)
        layer.set_weights([random.uniform(0.5, 2, size=8), random.normal(size=8)])
    theirs.set_weights(ours.get_weights())
    weighted = tf.constant(random.normal(size=states.shape), tf.float32)
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(states)
            normal = tf.cast(layer(states), tf.float32)
            loss = tf.reduce_sum(normal * weighted)
        found.append([normal, *tape.gradient(loss, [states, layer.gamma.value, layer.beta.value])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 if dtype == "float32" else 0.05)


def test_dropout_drops_its_share_and_keeps_the_mean():
    values = ByteDropout(0.3)(tf.ones([501, 333]), training=True).numpy()
    kept = values != 0
    assert abs(kept.mean() - (1 - 77 / 256)) < 0.005  # 0.3 is nearest to 77 of 256
    np.testing.assert_allclose(values[kept], 256 / (256 - 77), rtol=1e-6)
    assert abs(np.corrcoef(kept[:, :-1].ravel(), kept[:, 1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(("share", "dropped"), [(0.0, 0), (0.5, 64), (1.0, 128)])
def test_dropout_can_be_less_than_its_rate(share, dropped):
    inputs = keras.Input([1000])
    model = keras.Model(inputs, ByteDropout(0.5, name="drop")(inputs))
    scale_dropout(model, share)
    values = model(tf.ones([64, 1000]), training=True).numpy()
    assert abs((values == 0).mean() - dropped / 256) < 0.01
    assert values.max() == pytest.approx(256 / (256 - dropped))


def test_dropout_draws_anew_each_time_and_passes_its_gradient_where_it_kept():
    layer, states = ByteDropout(0.5), tf.ones([40, 30])
    with tf.GradientTape() as tape:
        tape.watch(states)
        found = layer(states, training=True)
    np.testing.assert_array_equal(tape.gradient(found, states), found)
    assert (layer(states, training=True).numpy() != found.numpy()).any()


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True)])
def test_dropout_of_nothing_changes_nothing(rate, training):
    states = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(ByteDropout(rate)(states, training=training), states)


def test_dropout_takes_no_elements():
    assert ByteDropout(0.5)(tf.zeros([0, 4]), training=True).shape == (0, 4)


def test_dropout_refuses_to_drop_all():
    with pytest.raises(ValueError, match="must be from 0 to below 1"):
        ByteDropout(1.0)
