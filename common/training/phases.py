"""How a training begins with some layers as they are: which parts learn when, and how fast."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

import keras

from common.config import RunConfig
from common.errors import ConfigError, suggestion
from common.training.weights import named_weights
from common.types import WarmUp


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with a learning rate schedule of its own.

    Args:
      end: where it ends, as a share of the training from 0 to 1.
      still: layers that stay as they are in it, their batch normalization's statistics, too.
      rate: by what the highest learning rate is multiplied.
    """

    end: float = 1.0
    still: Sequence[keras.layers.Layer] = ()
    rate: float = 1.0


@dataclass(frozen=True)
class Plan:
    """How the layers of a model learn.

    Args:
      phases: one after the other; only the last one's learning rate follows `--schedule` after its rise.
      rates: by what the learning rate of a trainable variable is multiplied, by its path; others have 1.
      anchored: paths of variables that are drawn to where they began.
    """

    phases: Sequence[Phase] = (Phase(),)
    rates: Mapping[str, float] = field(default_factory=dict)
    anchored: Collection[str] = ()


def warmed_up(warm_up: WarmUp | None) -> Plan:
    """Return the plan of some layers as they are at first, then all."""
    if warm_up is None:
        return Plan()
    return Plan((Phase(warm_up.share, list(warm_up.layers)), Phase(1.0, (), warm_up.rate)))


def parts_of(model: keras.Model, parts: Mapping[str, Sequence[str]]) -> dict[str, list[keras.layers.Layer]]:
    """Return the layers with weights of each part, in the order of parts; a part without any is left out.

    Args:
      parts: patterns of layer names, as of files; a layer is in the last part that it fits.

    Raises:
      ValueError: a layer with weights is in no part.
    """
    grouped: dict[str, list[keras.layers.Layer]] = {name: [] for name in parts}
    weight_ids = {id(variable) for _, variable in named_weights(model)}
    for layer in model.layers:
        if not any(id(variable) in weight_ids for variable in layer.variables):
            continue
        names = [name for name, patterns in parts.items() if any(fnmatch(layer.name, pattern) for pattern in patterns)]
        if not names:
            raise ValueError(f"the layer {layer.name} is in none of the parts {', '.join(parts)}")
        grouped[names[-1]].append(layer)
    return {name: layers for name, layers in grouped.items() if layers}


def check_plan(config: RunConfig, parts: Sequence[str]) -> None:
    """Check whether there can be a plan for a network with such parts, before any data is read.

    Raises:
      ConfigError: a part does not exist, or nothing is left that could learn.
    """
    if config.freeze is not None and config.freeze not in parts:
        raise ConfigError(
            f'--freeze is "{config.freeze}", but the parts of this network are: {", ".join(parts)}.'
            f"{suggestion(config.freeze, parts)}"
        )
    if config.freeze == list(parts)[-1]:
        raise ConfigError(
            f'--freeze is "{config.freeze}", the last part of the network: nothing would be left to learn.'
        )
    if config.fresh_first + config.unfreeze >= 1:
        raise ConfigError("--fresh-first and --unfreeze are 1 or more together: leave time in which all parts learn.")


def fine_tuned(
    config: RunConfig,
    model: keras.Model,
    parts: Mapping[str, Sequence[str]],
    kept: Collection[str],
    extended: Collection[str] = (),
    rate: float = 1.0,
) -> Plan:
    """Return the plan of a training that begins with the weights of another.

    Frozen parts stay as they are (`--freeze`). First only layers that are not wholly kept learn (`--fresh-first`), then
    the parts begin to learn from the last one on (`--unfreeze`; gradual unfreezing, Howard and Ruder 2018), each more
    slowly than the one after it (`--part-rate`; discriminative rates, the same).

    Args:
      parts: of the model, from its input to its output; see `parts_of`.
      kept: paths of the variables that have the other's values throughout.
      extended: paths of those that have some of the other's rows. These are anchored, too (`--anchor`), fresh rows by
        what they begin with.
      rate: of the last phase, as after a warm-up.

    Raises:
      ConfigError: a part does not exist, or nothing is left that could learn.
    """
    grouped = parts_of(model, parts)
    names = list(grouped)
    check_plan(config, names)
    num_frozen = names.index(config.freeze) + 1 if config.freeze is not None else 0
    frozen = [layer for name in names[:num_frozen] for layer in grouped[name]]
    learning_names = names[num_frozen:]
    learning = [layer for name in learning_names for layer in grouped[name]]
    paths = {id(variable): path for path, variable in named_weights(model)}
    kept_layers = [
        layer
        for layer in learning
        if all(paths[id(variable)] in kept for variable in layer.variables if id(variable) in paths)
    ]
    phases = []
    end = 0.0
    if config.fresh_first and 0 < len(kept_layers) < len(learning):
        end = config.fresh_first
        phases.append(Phase(end, [*frozen, *kept_layers]))
    for count in range(1, len(learning_names) if config.unfreeze else 1):
        end += config.unfreeze / (len(learning_names) - 1)
        phases.append(Phase(end, [*frozen, *(layer for name in learning_names[:-count] for layer in grouped[name])]))
    phases.append(Phase(1.0, frozen, rate))
    rates = {
        paths[id(variable)]: config.part_rate ** (len(names) - 1 - index)
        for index, name in enumerate(names)
        for layer in grouped[name]
        for variable in layer.trainable_variables
    }
    return Plan(phases, rates if config.part_rate != 1 else {}, {*kept, *extended} if config.anchor else ())


def phase_at(phases: Sequence[Phase], progress: float) -> int:
    """Return the phase that a fraction of the training lies in."""
    return next((number for number, phase in enumerate(phases) if progress < phase.end), len(phases) - 1)


def first_step(phases: Sequence[Phase], number: int, total: int) -> int:
    """Return the step at which a phase begins, of `total` steps."""
    return math.ceil(phases[number - 1].end * total) if number else 0
