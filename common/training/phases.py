"""How a training begins with some layers as they are: which layers learn when, and how fast."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

import keras

from common.config import RunConfig
from common.errors import ConfigError, did_you_mean
from common.training.weights import iter_named_weights
from common.types import FreezePhase


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with a learning rate schedule of its own.

    Args:
      end: where it ends, as a fraction of the training from 0 to 1.
      frozen_layers: layers that stay as they are in it, their batch normalization's statistics, too.
      lr_multiplier: by what the highest learning rate is multiplied.
    """

    end: float = 1.0
    frozen_layers: Sequence[keras.layers.Layer] = ()
    lr_multiplier: float = 1.0


@dataclass(frozen=True)
class TrainingPlan:
    """How the layers of a model learn.

    Args:
      phases: one after the other; only the last one's learning rate follows `--lr-schedule` after its rise.
      lr_multipliers: by what the learning rate of a trainable variable is multiplied, by its path; others have 1.
      l2_sp_weights: paths of variables that are drawn to where they began.
    """

    phases: Sequence[Phase] = (Phase(),)
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    l2_sp_weights: Collection[str] = ()


def plan_from_freeze_phase(freeze: FreezePhase | None) -> TrainingPlan:
    """Return the plan of some layers as they are at first, then all."""
    if freeze is None:
        return TrainingPlan()
    return TrainingPlan((Phase(freeze.ratio, list(freeze.layers)), Phase(1.0, (), freeze.lr_multiplier)))


def group_layers(model: keras.Model, layer_groups: Mapping[str, Sequence[str]]) -> dict[str, list[keras.layers.Layer]]:
    """Return the layers with weights of each group, in the order of groups; a group without any is left out.

    Args:
      layer_groups: patterns of layer names, as of files; a layer is in the last group that it fits.

    Raises:
      ValueError: a layer with weights is in no group.
    """
    grouped: dict[str, list[keras.layers.Layer]] = {name: [] for name in layer_groups}
    weight_ids = {id(variable) for _, variable in iter_named_weights(model)}
    for layer in model.layers:
        if not any(id(variable) in weight_ids for variable in layer.variables):
            continue
        names = [
            name for name, patterns in layer_groups.items() if any(fnmatch(layer.name, pattern) for pattern in patterns)
        ]
        if not names:
            raise ValueError(f"the layer {layer.name} is in none of the layer groups {', '.join(layer_groups)}")
        grouped[names[-1]].append(layer)
    return {name: layers for name, layers in grouped.items() if layers}


def validate_freeze_options(config: RunConfig, layer_groups: Sequence[str]) -> None:
    """Check whether there can be a plan for a network with such layer groups, before any data is read.

    Raises:
      ConfigError: a layer group does not exist, or nothing is left that could learn.
    """
    if config.freeze_through is not None and config.freeze_through not in layer_groups:
        raise ConfigError(
            f'--freeze-through is "{config.freeze_through}", but the layer groups of this network are:'
            f" {', '.join(layer_groups)}."
            f"{did_you_mean(config.freeze_through, layer_groups)}"
        )
    if config.freeze_through == list(layer_groups)[-1]:
        raise ConfigError(
            f'--freeze-through is "{config.freeze_through}", the last layer group of the network: nothing would be'
            " left to learn."
        )
    if config.new_layers_first_ratio + config.gradual_unfreeze_ratio >= 1:
        raise ConfigError(
            "--new-layers-first-ratio and --gradual-unfreeze-ratio are 1 or more together: leave time in which all"
            " layer groups learn."
        )


def plan_fine_tuning(
    config: RunConfig,
    model: keras.Model,
    layer_groups: Mapping[str, Sequence[str]],
    copied: Collection[str],
    extended: Collection[str] = (),
    rate: float = 1.0,
) -> TrainingPlan:
    """Return the plan of a training that begins with the weights of another.

    Frozen groups stay as they are (`--freeze-through`). First only layers that are not wholly copied learn
    (`--new-layers-first-ratio`), then the groups begin to learn from the last one on (`--gradual-unfreeze-ratio`;
    gradual unfreezing, Howard and Ruder 2018), each more slowly than the one after it (`--layerwise-lr-decay`;
    discriminative rates, the same).

    Args:
      layer_groups: of the model, from its input to its output; see `group_layers`.
      copied: paths of the variables that have the other's values throughout.
      extended: paths of those that have some of the other's rows. These are anchored, too (`--l2-sp`), fresh rows by
        what they begin with.
      rate: of the last phase, as after a freeze phase.

    Raises:
      ConfigError: a layer group does not exist, or nothing is left that could learn.
    """
    grouped = group_layers(model, layer_groups)
    names = list(grouped)
    validate_freeze_options(config, names)
    num_frozen = names.index(config.freeze_through) + 1 if config.freeze_through is not None else 0
    frozen = [layer for name in names[:num_frozen] for layer in grouped[name]]
    learning_names = names[num_frozen:]
    learning = [layer for name in learning_names for layer in grouped[name]]
    paths = {id(variable): path for path, variable in iter_named_weights(model)}
    copied_layers = [
        layer
        for layer in learning
        if all(paths[id(variable)] in copied for variable in layer.variables if id(variable) in paths)
    ]
    phases = []
    end = 0.0
    if config.new_layers_first_ratio and 0 < len(copied_layers) < len(learning):
        end = config.new_layers_first_ratio
        phases.append(Phase(end, [*frozen, *copied_layers]))
    for count in range(1, len(learning_names) if config.gradual_unfreeze_ratio else 1):
        end += config.gradual_unfreeze_ratio / (len(learning_names) - 1)
        phases.append(Phase(end, [*frozen, *(layer for name in learning_names[:-count] for layer in grouped[name])]))
    phases.append(Phase(1.0, frozen, rate))
    rates = {
        paths[id(variable)]: config.layerwise_lr_decay ** (len(names) - 1 - index)
        for index, name in enumerate(names)
        for layer in grouped[name]
        for variable in layer.trainable_variables
    }
    return TrainingPlan(
        phases, rates if config.layerwise_lr_decay != 1 else {}, {*copied, *extended} if config.l2_sp else ()
    )


def phase_index(phases: Sequence[Phase], progress: float) -> int:
    """Return the phase that a fraction of the training lies in."""
    return next((number for number, phase in enumerate(phases) if progress < phase.end), len(phases) - 1)


def phase_start_step(phases: Sequence[Phase], number: int, total: int) -> int:
    """Return the step at which a phase begins, of `total` steps."""
    return math.ceil(phases[number - 1].end * total) if number else 0
