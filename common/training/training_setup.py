"""What a training begins with: first weights, which layers learn when, and the optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from common.config import OWN_SHARE, RunConfig
from common.data.encoding import FEATURE, TARGET
from common.data.example_store import ExampleStore
from common.errors import TrainingError
from common.training.distributed import WorkerGroup
from common.training.optimizer import AdamWMuon, create_optimizer
from common.training.phases import TrainingPlan, plan_fine_tuning, plan_from_freeze_phase
from common.training.train_step import Tensors, select_columns
from common.training.transfer import WeightTransferPlan
from common.training.weights import iter_named_weights
from common.types import Assets

if TYPE_CHECKING:
    from common.recipe import Recipe

BATCH_SIZE = 256  # of examples from which first weights are computed


def validate_batch_type(recipe: Recipe | type[Recipe], config: RunConfig) -> None:
    """Before any data is read, check whether the recipe's examples have what batches are bounded by.

    Raises:
      TrainingError: batches are to be bounded by tokens, and there are none.
    """
    if config.batch_type == "tokens" and not recipe.length_features:
        raise TrainingError("--batch-type tokens needs sequences, and these examples have none. Leave it out.")


def validate_ends(config: RunConfig, train: ExampleStore) -> None:
    """Check whether there is something to train on, and an end.

    Raises:
      TrainingError: there is not.
    """
    if not len(train):
        raise TrainingError("No training step could be made: the training split is empty. Give more --data.")
    if config.epochs is None and config.max_minutes is None:
        raise TrainingError("Training would never end: give --epochs or --max-minutes.")


def _iter_own_batches(train: ExampleStore, assets: Assets) -> Iterator[tuple[Tensors, Tensors]]:
    """Yield (features, target) of the training part without what is replayed of a base run's, which stands last."""
    count = round(len(train) * assets.get(OWN_SHARE, 1.0))
    for start in range(0, count, BATCH_SIZE):
        batch = train.gather(np.arange(start, min(start + BATCH_SIZE, count)))
        yield select_columns(batch, FEATURE), select_columns(batch, TARGET)


def select_floats(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return those of floating point, which random states are not."""
    return [variable for variable in variables if "float" in variable.dtype]


def initialize_weights(
    recipe: Recipe,
    model: keras.Model,
    train: ExampleStore,
    workers: WorkerGroup,
    transfer_plan: WeightTransferPlan | None,
) -> None:
    """Set the first weights: the recipe's own, and over these what a run is fine-tuned from."""
    copied_paths = transfer_plan.match_weights(recipe, model) if transfer_plan else ()
    fractions = recipe.initialize_weights(model, _iter_own_batches(train, recipe.assets), copied_paths)
    if transfer_plan:
        transfer_plan.copy_weights(model, fractions)
    workers.broadcast_variables(select_floats(model.variables))  # which other processors may have rounded otherwise


def make_plan(
    recipe: Recipe, config: RunConfig, model: keras.Model, transfer_plan: WeightTransferPlan | None
) -> TrainingPlan:
    """Return which layers learn when: as the recipe says, or as fine-tuning does."""
    freeze = recipe.get_initial_freeze(model)
    if not transfer_plan:
        return plan_from_freeze_phase(freeze)
    rate = freeze.lr_multiplier if freeze else 1.0
    return plan_fine_tuning(config, model, recipe.layer_groups, transfer_plan.copied, transfer_plan.extended, rate)


def make_optimizer(recipe: Recipe, config: RunConfig, model: keras.Model, plan: TrainingPlan) -> AdamWMuon:
    """Return the optimizer of a model's trainable variables."""
    named = {path: variable.value for path, variable in iter_named_weights(model) if variable.trainable}
    paths = {id(variable): path for path, variable in named.items()}
    variables = [variable.value for variable in model.trainable_variables]
    return create_optimizer(
        config,
        variables,
        recipe.get_muon_variables(model),
        lr_multipliers=[plan.lr_multipliers.get(paths[id(variable)], 1.0) for variable in variables],
        l2_sp_variables=[named[path] for path in plan.l2_sp_weights if path in named],
        accumulates=config.gradient_accumulation_steps > 1,
    )
