"""The training loop: what counts, what is kept, and going on from any point."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import discovery
from common.errors import RunError, TrainingError
from common.training.schedules import peak_learning_rate
from common.training.trainer import EpochResult, Trainer
from common.training.weights import get_model_weights, set_model_weights
from tests.helpers.trainers import EACH, SMALL_OF, assert_same_training, assert_same_weights, made, trained


def test_fit_learns_and_tells_the_facts_of_each_epoch():
    facts = trained(made(200, epochs=6))
    assert [epoch["epoch"] for epoch in facts] == [1, 2, 3, 4, 5, 6]
    assert facts[-1]["loss"] < facts[0]["loss"]
    assert facts[-1]["valid_accuracy"] > 0.9
    assert all(0 <= epoch["input_wait_ratio"] <= 1 and epoch["examples_per_second"] > 0 for epoch in facts)


def test_fit_is_the_same_twice():
    first, second = made(), made()
    trained(first), trained(second)
    assert_same_weights(first.get_weights(), second.get_weights())


@EACH
def test_fill_rows_of_the_last_batch_count_in_nothing(name):
    # 5 examples in batches of 8: one batch of 5 and three fill rows, against the 5 alone. Images are normalised over
    # the batch, in which fill rows have a part: 4 of them and 4 copies have the statistics of the 4.
    count = 4 if name == "image_classification" else 5
    filled = made(
        count, epochs=1, batch_size=8, stochastic_regularization=False, global_clipnorm=0, warmup_ratio=0, name=name
    )
    exact = made(
        count, epochs=1, batch_size=count, stochastic_regularization=False, global_clipnorm=0, warmup_ratio=0, name=name
    )
    losses = trained(filled)[0]["loss"], trained(exact)[0]["loss"]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)  # rounding
    # Rounding, times what Adam makes of it; a row that counted would move weights by 1e-2.
    assert_same_weights(filled.get_weights(), exact.get_weights(), tolerance=1e-5 if count == 5 else 1e-4)


def test_loss_of_an_epoch_is_the_mean_over_examples():
    trainer = made(21, epochs=1, stochastic_regularization=False, learning_rate=1e-12)
    assert trained(trainer)[0]["loss"] == pytest.approx(trainer.evaluate(trainer.train)["loss"], abs=1e-5)


RESUMED = {"epochs": 3, "ema_momentum": 0.9, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def uninterrupted():
    trainer = made(**RESUMED)
    facts = trained(trainer)
    return trainer.get_weights(), facts


@pytest.mark.parametrize("stop_at", [2, 5], ids=["within an epoch", "after an epoch"])
def test_restore_goes_on_to_the_same_weights(stop_at, uninterrupted):
    weights, facts = uninterrupted
    cut = made(**RESUMED)
    states = []
    # One step a call, so that the cut may fall within an epoch.
    cut._count_steps = lambda: 1
    for number, fact in enumerate(cut.fit(), 1):
        del fact
        if number == stop_at:
            states.append(cut.state_dict())
            break
    resumed = made(**RESUMED)
    resumed.load_state_dict(*states[0])
    rest = trained(resumed)
    assert_same_weights(weights, resumed.get_weights())
    assert rest[-1]["valid_loss"] == facts[-1]["valid_loss"]


# 48 examples make 3 batches of 16; with 2 epochs the first 3 of 6 steps are the freeze phase.
FREEZE = {"count": 48, "freeze": ("words", 0.5, 0.1)}


def layer_weights(trainer, layer):
    return {name: value for name, value in get_model_weights(trainer.model).items() if name.startswith(layer + "/")}


def test_frozen_layers_stay_as_they_are_in_the_freeze_phase_and_learn_after_it():
    trainer = made(**FREEZE)
    first = layer_weights(trainer, "words"), get_model_weights(trainer.model)
    epochs = []
    for fact in trainer.fit():
        if isinstance(fact, EpochResult):
            epochs.append((layer_weights(trainer, "words"), get_model_weights(trainer.model)))
    assert_same_weights(first[0], epochs[0][0])
    assert any((first[1][name] != value).any() for name, value in epochs[0][1].items())
    assert all((first[0][name] != value).any() for name, value in epochs[1][0].items())
    # Moments start anew when all layers learn.
    assert int(trainer.optimizer.updates) == 3


def test_rate_after_the_freeze_phase_has_a_schedule_of_its_own():
    trainer = made(**FREEZE, learning_rate=0.5, warmup_ratio=0.5, lr_schedule="linear")
    assert [float(trainer.train_step.get_learning_rate(tf.constant(p))) for p in (0.125, 0.25, 0.4)] == pytest.approx(
        [0.25, 0.5, 0.5]
    )
    trainer.train_step.begin_phase(1)
    assert [
        float(trainer.train_step.get_learning_rate(tf.constant(p))) for p in (0.5, 0.625, 0.75, 0.875, 1.0)
    ] == pytest.approx([0, 0.025, 0.05, 0.025, 0])


@pytest.mark.parametrize("stop_at", [2, 3, 5], ids=["in the freeze phase", "at its end", "after it"])
def test_restore_goes_on_in_and_after_a_freeze_phase(stop_at):
    whole = made(**FREEZE)
    trained(whole)
    cut = made(**FREEZE)
    cut._count_steps = lambda: 1
    for number, _ in enumerate(cut.fit(), 1):
        if number == stop_at:
            break
    resumed = made(**FREEZE)
    resumed.load_state_dict(*cut.state_dict())
    trained(resumed)
    assert_same_weights(whole.get_weights(), resumed.get_weights())


def test_freeze_phase_ends_by_the_clock_where_training_does():
    trainer = made(**FREEZE, epochs=1_000_000, max_minutes=0.2)
    first = layer_weights(trainer, "words")
    frozen = None
    for _ in trainer.fit():
        if trainer.phase == 0:
            frozen = layer_weights(trainer, "words")
    assert_same_weights(first, frozen)
    assert trainer.phase == 1
    assert all((first[name] != value).any() for name, value in layer_weights(trainer, "words").items())


def test_restore_refuses_other_data():
    trainer = made(50)
    arrays, numbers = trainer.state_dict()
    with pytest.raises(RunError, match="data with 99 batches an epoch, and this has 4"):
        trainer.load_state_dict(arrays, {**numbers, "steps": 99})


@EACH
def test_mirrored_replicas_give_the_numbers_of_one_device(three_replicas, name):
    settings = {
        "name": name,
        "epochs": 2,
        "stochastic_regularization": False,
        "ema_momentum": 0.9,
        "weight_decay": 0.01,
        "global_clipnorm": 0.5,
    }
    single = made(53, batch_size=18, **settings)
    mirrored = made(53, batch_size=18, strategy=three_replicas, **settings)
    assert_same_training(single, mirrored)


@pytest.mark.slow
def test_rows_that_only_make_a_batch_divisible_count_in_no_statistics(three_replicas):
    # Batches of 16 have 18 rows on three replicas.
    settings = {"name": "image_classification", "epochs": 2, "stochastic_regularization": False, "batch_size": 16}
    assert_same_training(made(53, **settings), made(53, strategy=three_replicas, **settings))


@pytest.mark.slow
def test_batches_by_tokens_give_the_numbers_of_one_device(three_replicas):
    settings = {
        "name": "translation",
        "epochs": 2,
        "stochastic_regularization": False,
        "batch_type": "tokens",
        "batch_size": 120,
    }
    single, mirrored = made(31, **settings), made(31, strategy=three_replicas, **settings)
    assert single.steps == mirrored.steps > 3
    assert_same_training(single, mirrored)


def test_batches_by_tokens_have_the_loss_of_all_examples():
    trainer = made(
        21, epochs=1, stochastic_regularization=False, learning_rate=1e-12, batch_type="tokens", batch_size=30
    )
    assert trainer.steps > 2
    assert trained(trainer)[0]["loss"] == pytest.approx(trainer.evaluate(trainer.train)["loss"], abs=1e-5)


@pytest.mark.slow
def test_batches_by_tokens_need_sequences():
    with pytest.raises(TrainingError, match="--batch-type tokens needs sequences"):
        made(20, name="image_classification", batch_type="tokens")


def test_averaged_weights_are_kept_and_training_goes_on_with_the_others():
    trainer = made(ema_momentum=0.9)
    trained(trainer)
    plain, averaged = get_model_weights(trainer.model), trainer.get_weights()
    assert any(not np.array_equal(plain[name], averaged[name]) for name in plain)
    assert_same_weights(plain, get_model_weights(trainer.model))


def test_patience_stops_when_validation_does_not_improve():
    trainer = made(epochs=40, patience=2, learning_rate=1e-12)
    assert len(trained(trainer)) == 3  # the first is the best, then two in vain


def test_schedule_does_not_heed_the_clock_where_the_epochs_end_first():
    alone, bounded = made(epochs=3), made(epochs=3, max_minutes=600)
    trained(alone), trained(bounded)
    assert_same_weights(alone.get_weights(), bounded.get_weights())


def test_max_minutes_alone_lifts_epochs_and_patience():
    trainer = made(name="music", epochs=None, max_minutes=10, patience=1, learning_rate=1e-12)
    epochs = 0
    for fact in trainer.fit():
        if isinstance(fact, EpochResult):
            epochs += 1
            trainer.budget.seconds += 120  # as if it had taken two minutes more
    assert epochs == 5


def test_without_validation_the_last_weights_are_kept():
    ends = [fact for fact in made(valid=False).fit() if isinstance(fact, EpochResult)]
    assert [end.improved for end in ends] == [True, True]
    assert "valid_loss" not in ends[0].logs


def test_a_loss_that_is_no_number_stops_with_its_step():
    trainer = made(50, learning_rate=0.1)
    weights = get_model_weights(trainer.model)
    weights["labels/kernel"] = np.full_like(weights["labels/kernel"], np.nan)
    set_model_weights(trainer.model, weights)
    with pytest.raises(TrainingError, match=r"no finite number at step 1 \(epoch 1\)"):
        trained(trainer)


def test_nothing_to_train_on_is_an_error():
    trainer = made(20)
    empty = dataclasses.replace(trainer.config)
    store = trainer.train
    store.count = 0
    with pytest.raises(TrainingError, match="training split is empty"):
        Trainer(trainer.recipe, empty, store, None, tf.distribute.get_strategy())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_lower_precision_learns_too(precision):
    keras.config.set_dtype_policy(precision)
    try:
        trainer = made(200, epochs=6, precision=precision)
        facts = trained(trainer)
    finally:
        keras.config.set_dtype_policy("float32")
    assert facts[-1]["valid_accuracy"] > 0.9
    assert all(value.dtype == np.float32 for value in trainer.get_weights().values())


def test_set_model_weights_refuses_another_shape():
    trainer = made(20)
    weights = get_model_weights(trainer.model)
    weights["labels/bias"] = np.zeros(7, np.float32)
    with pytest.raises(RunError, match=r"labels/bias has shape \(7,\), not \(2,\)"):
        set_model_weights(trainer.model, weights)


# Images are left out: their batch normalization sees a part at a time.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL_OF if name != "image_classification"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(name):
    settings = {"name": name, "stochastic_regularization": False, "global_clipnorm": 0.5, "weight_decay": 0.01}
    whole = made(29, batch_size=12, **settings)
    parts = made(29, batch_size=12, gradient_accumulation_steps=3, **settings)
    assert_same_training(whole, parts)


@pytest.mark.slow
def test_parts_on_replicas_give_the_numbers_of_one_device(three_replicas):
    settings = {"stochastic_regularization": False, "batch_size": 16}
    single, mirrored = (
        made(31, **settings),
        made(31, strategy=three_replicas, gradient_accumulation_steps=2, **settings),
    )
    assert single.steps == mirrored.steps == 2
    assert_same_training(single, mirrored)


@pytest.mark.slow
def test_float16_with_its_loss_scale_gives_the_numbers_of_one_device(three_replicas):
    settings = {"stochastic_regularization": False, "batch_size": 18, "precision": "mixed_float16"}
    keras.config.set_dtype_policy("mixed_float16")
    try:
        single, mirrored = made(53, **settings), made(53, strategy=three_replicas, **settings)
        facts = trained(single), trained(mirrored)
    finally:
        keras.config.set_dtype_policy("float32")
    assert single.optimizer.scale.numpy() == mirrored.optimizer.scale.numpy() > 1
    for first, second in zip(*facts, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=2e-3)  # 11 bits a number


@pytest.mark.slow
def test_noise_on_replicas_is_the_same_twice(three_replicas):
    settings = {"stochastic_regularization": True, "batch_size": 18, "strategy": three_replicas}
    first, second = made(53, **settings), made(53, **settings)
    trained(first), trained(second)
    assert_same_weights(first.get_weights(), second.get_weights())


def test_restore_on_replicas_goes_on_with_their_own_noise(three_replicas):
    settings = {"stochastic_regularization": True, "batch_size": 18, "strategy": three_replicas}
    whole = made(53, **settings)
    trained(whole)
    cut = made(53, **settings)
    cut._count_steps = lambda: 1
    for number, _ in enumerate(cut.fit(), 1):
        if number == 2:
            break
    resumed = made(53, **settings)
    resumed.load_state_dict(*cut.state_dict())
    trained(resumed)
    assert_same_weights(whole.get_weights(), resumed.get_weights())


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_learning_rate_is_scaled_by_the_batch_size_if_asked_for(rule, factor):
    config = discovery.load_recipe_config("sentiment").Config
    given = config(learning_rate=0.001, batch_size=4 * config.batch_size, lr_batch_scaling=rule)
    assert peak_learning_rate(given) == pytest.approx(0.001 * factor)
    fits_the_data = discovery.load_recipe_config("image_classification").Config  # whose default is none
    assert peak_learning_rate(
        fits_the_data(learning_rate=0.001, batch_size=256, lr_batch_scaling=rule)
    ) == pytest.approx(0.001 * factor)
