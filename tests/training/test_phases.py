"""Which parts of a network learn when, and how fast."""

import keras
import pytest

from common.config import RunConfig
from common.errors import ConfigError
from common.training.phases import (
    Phase,
    group_layers,
    phase_index,
    phase_start_step,
    plan_fine_tuning,
    plan_from_freeze_phase,
)
from common.training.weights import get_model_weights
from common.types import FreezePhase
from tests.helpers.trainers import made, trained

GROUPS = {"low": ("a*",), "middle": ("b*",), "top": ("c*",)}


def network():
    """Layers a_1, a_2, b and c, in the order of parts."""
    states = inputs = keras.Input([2], name="inputs")
    for name in ("a_1", "a_2", "b", "c"):
        states = keras.layers.Dense(2, name=name)(states)
    return keras.Model(inputs, states)


def names(layers):
    return [layer.name for layer in layers]


def plan(copied=(), **settings):
    model = network()
    return plan_fine_tuning(RunConfig(**settings), model, GROUPS, copied)


def test_parts_hold_layers_with_weights_in_the_order_of_parts():
    groups = group_layers(network(), {"top": ("*",), "low": ("a_1",), "none": ("z",)})
    assert {name: names(layers) for name, layers in groups.items()} == {"top": ["a_2", "b", "c"], "low": ["a_1"]}
    with pytest.raises(ValueError, match="the layer c is in none of the layer groups low, middle"):
        group_layers(network(), {"low": ("a*",), "middle": ("b",)})


def test_without_settings_all_learn_at_once():
    whole = plan()
    assert [(phase.end, names(phase.frozen_layers), phase.lr_multiplier) for phase in whole.phases] == [(1.0, [], 1.0)]
    assert (whole.lr_multipliers, whole.l2_sp_weights) == ({}, ())


def test_weights_of_which_any_are_the_others_are_anchored():
    given = {"copied": ["a_1/kernel"], "extended": ["c/kernel"]}
    assert plan_fine_tuning(RunConfig(l2_sp=0.5), network(), GROUPS, **given).l2_sp_weights == {
        "a_1/kernel",
        "c/kernel",
    }
    assert not plan_fine_tuning(RunConfig(), network(), GROUPS, **given).l2_sp_weights


def test_freeze_keeps_a_part_and_all_before_it():
    assert names(plan(freeze_through="middle").phases[0].frozen_layers) == ["a_1", "a_2", "b"]


def test_unfreeze_lets_parts_learn_one_by_one_from_the_last():
    phases = plan(gradual_unfreeze_ratio=0.4).phases
    assert [phase.end for phase in phases] == pytest.approx([0.2, 0.4, 1.0])
    assert [names(phase.frozen_layers) for phase in phases] == [["a_1", "a_2", "b"], ["a_1", "a_2"], []]
    frozen = plan(gradual_unfreeze_ratio=0.4, freeze_through="low").phases
    assert [phase.end for phase in frozen] == pytest.approx([0.4, 1.0])
    assert [names(phase.frozen_layers) for phase in frozen] == [["a_1", "a_2", "b"], ["a_1", "a_2"]]


def test_fresh_first_keeps_layers_whose_weights_are_all_copied():
    copied = {f"{name}/{kind}" for name in ("a_1", "a_2", "c") for kind in ("kernel", "bias")} | {"b/kernel"}
    phases = plan(copied, new_layers_first_ratio=0.1).phases
    assert [(phase.end, names(phase.frozen_layers)) for phase in phases] == [(0.1, ["a_1", "a_2", "c"]), (1.0, [])]
    # Where nothing or all is fresh, there is nothing to wait for.
    assert (
        len(plan((), new_layers_first_ratio=0.1).phases)
        == len(plan(copied | {"b/bias"}, new_layers_first_ratio=0.1).phases)
        == 1
    )


def test_part_rate_lowers_the_rate_from_part_to_part():
    rates = plan(layerwise_lr_decay=0.5).lr_multipliers
    assert {path: rates[path] for path in ("a_1/kernel", "a_2/bias", "b/kernel", "c/bias")} == {
        "a_1/kernel": 0.25,
        "a_2/bias": 0.25,
        "b/kernel": 0.5,
        "c/bias": 1.0,
    }


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ConfigError,
        match=r'--freeze-through is "midle", but the layer groups .*low, middle, top. Did you mean "middle"',
    ):
        plan(freeze_through="midle")
    with pytest.raises(ConfigError, match="nothing would be left to learn"):
        plan(freeze_through="top")
    with pytest.raises(ConfigError, match="1 or more together"):
        plan(new_layers_first_ratio=0.5, gradual_unfreeze_ratio=0.5)


def test_a_freeze_is_two_phases():
    layer = keras.layers.Dense(1)
    assert [
        (p.end, list(p.frozen_layers), p.lr_multiplier)
        for p in plan_from_freeze_phase(FreezePhase([layer], 0.2, 0.1)).phases
    ] == [
        (0.2, [layer], 1.0),
        (1.0, [], 0.1),
    ]
    assert list(plan_from_freeze_phase(None).phases) == [Phase()]


def test_phases_are_found_by_share_and_by_step():
    phases = [Phase(0.25), Phase(0.5), Phase(1.0)]
    assert [phase_index(phases, share) for share in (0.0, 0.2, 0.25, 0.4, 0.5, 0.99, 1.0)] == [0, 0, 1, 1, 2, 2, 2]
    assert [phase_start_step(phases, number, 10) for number in range(3)] == [0, 3, 5]


def test_rates_and_anchors_move_weights_as_they_say():
    """With a learning rate of nearly 0 for lower parts only the last one moves; an anchor draws weights back."""
    trainer = made(48, epochs=1, learning_rate=0.05)
    first = get_model_weights(trainer.model)
    paths = list(first)
    from common.training.optimizer import AdamWMuon

    variables = trainer.optimizer.variables
    named = {variable.path: place for place, variable in enumerate(trainer.model.trainable_variables)}
    rates = [0.0 if path.startswith("words") else 1.0 for path in named]
    trainer.train_step.optimizer = AdamWMuon(variables, 0.0, 1.0, 0.0, False, lr_multipliers=rates)
    trained(trainer)
    after = get_model_weights(trainer.model)
    assert (after["words/embeddings"] == first["words/embeddings"]).all()
    assert (after["labels/kernel"] != first["labels/kernel"]).any()
    assert paths == list(after)


def distance(anchor):
    trainer = made(48, epochs=2, learning_rate=0.05, stochastic_regularization=False)
    first = get_model_weights(trainer.model)["labels/kernel"]
    from common.training.optimizer import AdamWMuon

    variables = trainer.optimizer.variables
    trainer.train_step.optimizer = AdamWMuon(variables, 0.0, 1.0, 0.0, False, l2_sp_variables=variables, l2_sp=anchor)
    trained(trainer)
    return float(((get_model_weights(trainer.model)["labels/kernel"] - first) ** 2).sum())


def test_a_stronger_anchor_keeps_weights_nearer_to_where_they_began():
    free, weak, strong = (distance(anchor) for anchor in (0.0, 5.0, 20.0))
    assert strong < weak < free
