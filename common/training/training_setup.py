"""What a training begins with: first weights, which layers learn when, and the optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from common.config import OWN_SHARE, RunConfig
from common.data.encoding import FEATURE, TARGET
from common.data.example_store import Store
from common.training.distributed import Peers
from common.training.optimizer import AdamW, optimizer
from common.training.phases import Plan, fine_tuned, warmed_up
from common.training.train_step import Tensors, select_columns
from common.training.transfer import Inherited
from common.training.weights import named_weights
from common.types import Assets

if TYPE_CHECKING:
    from common.recipe import Recipe

BATCH_SIZE = 256  # of examples from which first weights are computed


def _iter_own_batches(train: Store, assets: Assets) -> Iterator[tuple[Tensors, Tensors]]:
    """Yield (features, target) of the training part without what is replayed of a source's, which stands last."""
    count = round(len(train) * assets.get(OWN_SHARE, 1.0))
    for start in range(0, count, BATCH_SIZE):
        batch = train.rows(np.arange(start, min(start + BATCH_SIZE, count)))
        yield select_columns(batch, FEATURE), select_columns(batch, TARGET)


def select_floats(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return those of floating point, which random states are not."""
    return [variable for variable in variables if "float" in variable.dtype]


def initialize_weights(
    recipe: Recipe, model: keras.Model, train: Store, workers: Peers, inherited: Inherited | None
) -> None:
    """Set the first weights: the recipe's own, and over these what a run is fine-tuned from."""
    kept_paths = inherited.plan(recipe, model) if inherited else ()
    fractions = recipe.begin(model, _iter_own_batches(train, recipe.assets), kept_paths)
    if inherited:
        inherited.apply(model, fractions)
    workers.broadcast(select_floats(model.variables))  # which other processors may have rounded otherwise


def make_plan(recipe: Recipe, config: RunConfig, model: keras.Model, inherited: Inherited | None) -> Plan:
    warm_up = recipe.warm_up(model)
    if not inherited:
        return warmed_up(warm_up)
    rate = warm_up.rate if warm_up else 1.0
    return fine_tuned(config, model, recipe.parts, inherited.kept, inherited.extended, rate)


def make_optimizer(recipe: Recipe, config: RunConfig, model: keras.Model, plan: Plan) -> AdamW:
    named = {path: variable.value for path, variable in named_weights(model) if variable.trainable}
    paths = {id(variable): path for path, variable in named.items()}
    variables = [variable.value for variable in model.trainable_variables]
    return optimizer(
        config,
        variables,
        recipe.orthogonal(model),
        lr_multipliers=[plan.rates.get(paths[id(variable)], 1.0) for variable in variables],
        l2_sp_variables=[named[path] for path in plan.anchored if path in named],
        accumulates=config.accumulate > 1,
    )
