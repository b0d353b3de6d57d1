"""The optimizer of the training loop: AdamW whose clipping, averaging and loss scale see all replicas' gradients.

With Muon for some kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from common.config import RunConfig
from common.training.muon import MOMENTUM, muon_change

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
SCALE_START, SCALE_STEPS = 2.0**15, 2000  # float16: first loss scale, and good steps until it doubles
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


class Slot(NamedTuple):
    """What the optimizer holds of one variable.

    Args:
      first, second: its moments; the first is the momentum of Muon, which has no second.
      average: the moving average of the weight; None for none.
      anchor: the values that the weight decays towards; None for 0.
      lr_multiplier: by what its learning rate is multiplied.
    """

    first: tf.Variable
    second: tf.Variable
    average: tf.Variable | None
    anchor: tf.Variable | None
    lr_multiplier: float


class UpdateStep(NamedTuple):
    """What the updates of all variables at a step have in common.

    Args:
      updates: how many there have been, this one included.
      factor: by what gradients are multiplied, so that their norm stays within bounds.
      rate: the learning rate.
      is_finite: whether all gradients are finite numbers.
    """

    updates: tf.Variable
    factor: tf.Tensor
    rate: tf.Tensor
    is_finite: tf.Tensor


def _merge_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the same sparse gradient with each row once."""
    rows, places = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)), rows)


def _to_counted_dense(gradient: tf.IndexedSlices, rows: int | tf.Tensor) -> tf.Tensor:
    """Return a sparse gradient as a dense one, [rows, units + 1], whose last column counts the uses of each row."""
    uses = tf.concat([gradient.values, tf.ones_like(gradient.values[:, :1])], axis=1)
    return tf.math.unsorted_segment_sum(uses, gradient.indices, rows)


def _to_sparse(dense: tf.Tensor) -> tf.IndexedSlices:
    """Return the sparse gradient out of its counted dense form."""
    rows = tf.where(dense[:, -1] > 0)[:, 0]
    shape = tf.shape(dense, tf.int64) - [0, 1]
    return tf.IndexedSlices(tf.gather(dense, rows)[:, :-1], rows, shape)


def _widen(shape: tf.TensorShape) -> list[int]:
    """Return the shape, of matrices with the column that counts uses."""
    return [shape[0], shape[1] + 1] if len(shape) == 2 else list(shape)


def _make_replica_zeros(shape: Sequence[int]) -> tf.Variable:
    """Return zeros of which each replica has its own, that nobody else reads."""
    synchronization, aggregation = tf.VariableSynchronization.ON_READ, tf.VariableAggregation.SUM
    return tf.Variable(tf.zeros(shape), trainable=False, synchronization=synchronization, aggregation=aggregation)


def _all_reduce(
    replica: tf.distribute.ReplicaContext, gradients: Sequence[Gradient], weight: tf.Tensor
) -> tuple[list[Gradient], tf.Tensor]:
    """Return the sums over all replicas, sparse gradients with each row once.

    Sparse gradients are exchanged in dense form: a collective within a loop must have the same shape in each
    iteration (TensorFlow 2.21 fails with "Shape mismatch in the collective instance").
    """
    if replica.num_replicas_in_sync == 1:
        return [_merge_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients], weight
    are_sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
    dense = [
        _to_counted_dense(gradient, gradient.dense_shape[0]) if is_sparse else gradient
        for gradient, is_sparse in zip(gradients, are_sparse, strict=True)
    ]
    dense, weight = replica.all_reduce(tf.distribute.ReduceOp.SUM, (dense, weight))
    sums = [_to_sparse(g) if is_sparse else g for g, is_sparse in zip(dense, are_sparse, strict=True)]
    return sums, weight


class AdamWMuon:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), to be called inside `strategy.run`.

    Keras optimizers clip before gradients are summed over replicas, so that the result depends on the number of
    replicas, and update every row of an embedding; this one clips after the sum and touches only the rows in use
    (their moments stand still in between, as in lazy Adam). Matrices decay, vectors (biases, norms) don't.

    Args:
      variables: trainable tf.Variables, made in the strategy's scope, in which this must be made too.
      weight_decay: per unit of learning rate.
      global_clipnorm: largest global norm; 0 for no limit.
      ema_momentum: decay of the moving average of weights, 0 for none. Early on it is shorter, (1 + t) / (10 + t).
      scales_loss: keep a dynamic loss scale, for float16.
      muon_variables: those of the variables, kernels of hidden layers, that Muon updates: by their momentum made
        orthogonal (Jordan et al. 2024), in the size that Adam's updates have (Liu et al. 2025, "Muon is scalable for
        LLM training"), so that one learning rate fits both.
      accumulates: make room to sum the gradients of several parts of a batch.
      lr_multipliers: by what each variable's learning rate is multiplied; none are all 1.
      l2_sp_variables: those of the variables that decay towards the values that they have now rather than towards 0.
      l2_sp: their decay, per unit of learning rate, in place of weight_decay (L2-SP, Li et al. 2018, decoupled).
      half: make momentum orthogonal in bfloat16.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        weight_decay: float,
        global_clipnorm: float,
        ema_momentum: float,
        scales_loss: bool,
        muon_variables: Sequence[tf.Variable] = (),
        accumulates: bool = False,
        lr_multipliers: Sequence[float] = (),
        l2_sp_variables: Sequence[tf.Variable] = (),
        l2_sp: float = 0.0,
        half: bool = False,
    ):
        self.variables = list(variables)
        self.weight_decay, self.global_clipnorm, self.l2_sp = weight_decay, global_clipnorm, l2_sp
        self.ema_momentum, self.scales_loss, self.half = ema_momentum, scales_loss, half
        muon_ids = {id(variable) for variable in muon_variables}
        self.muon_indices = {index for index, variable in enumerate(self.variables) if id(variable) in muon_ids}
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.averages = [tf.Variable(v, trainable=False) for v in variables] if ema_momentum else []
        self.lr_multipliers = list(lr_multipliers) or [1.0] * len(self.variables)
        anchored_ids = {id(variable) for variable in l2_sp_variables} if l2_sp else set()
        self.anchors = {
            index: tf.Variable(variable, trainable=False)
            for index, variable in enumerate(self.variables)
            if id(variable) in anchored_ids
        }
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.scale = tf.Variable(SCALE_START if scales_loss else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.sparse_indices: set[int] = set()  # of variables whose accumulated gradients were sparse
        self.accumulated_weight: tf.Variable = _make_replica_zeros([]) if accumulates else None
        self.accumulated = [_make_replica_zeros(_widen(v.shape)) for v in self.variables] if accumulates else []

    def variables_by_name(self) -> dict[str, tf.Variable]:
        """Return all variables by name, for checkpoints."""
        lists = {"first": self.first, "second": self.second, "averages": self.averages}
        named = {f"{name}/{index}": v for name, group in lists.items() for index, v in enumerate(group)}
        named |= {f"anchors/{index}": v for index, v in self.anchors.items()}
        return named | {"updates": self.updates, "scale": self.scale, "good_steps": self.good_steps}

    def apply(self, gradients: Sequence[Gradient | None], weight: tf.Tensor, rate: tf.Tensor) -> None:
        """Make one update from this replica's gradients of the scaled sum of losses and its sum of weights.

        Args:
          gradients: one for each variable; None leaves it as it is.
        """
        replica = tf.distribute.get_replica_context()
        indices = [index for index, gradient in enumerate(gradients) if gradient is not None]
        summed, weight = _all_reduce(replica, [g for g in gradients if g is not None], weight)
        divisor = self.scale * tf.maximum(weight, 1e-9)
        scaled = [
            tf.IndexedSlices(g.values / divisor, g.indices) if isinstance(g, tf.IndexedSlices) else g / divisor
            for g in summed
        ]
        squares = [tf.reduce_sum(tf.square(g.values if isinstance(g, tf.IndexedSlices) else g)) for g in scaled]
        norm = tf.sqrt(tf.add_n(squares))
        limit = self.global_clipnorm
        factor = tf.minimum(1.0, limit / tf.maximum(norm, 1e-12)) if limit else tf.ones_like(norm)
        replica.merge_call(self._update, args=(indices, scaled, factor, rate, tf.math.is_finite(norm)))

    def accumulate(self, gradients: Sequence[Gradient | None], weight: tf.Tensor) -> None:
        """Add the gradients of one part of this replica's batch to those before; nothing is exchanged."""
        for index, (accumulated, gradient) in enumerate(zip(self.accumulated, gradients, strict=True)):
            if isinstance(gradient, tf.IndexedSlices):
                self.sparse_indices.add(index)
                accumulated.assign_add(_to_counted_dense(gradient, gradient.dense_shape[0]))
            elif gradient is not None:
                is_matrix = len(gradient.shape) == 2
                accumulated.assign_add(tf.pad(gradient, [[0, 0], [0, 1]]) if is_matrix else gradient)
        self.accumulated_weight.assign_add(weight)

    def apply_accumulated(self, learns: Sequence[bool], rate: tf.Tensor) -> None:
        """Make one update from all that was accumulated, of the variables that learn; then begin anew."""
        gradients: list[Gradient | None] = []
        for index, (accumulated, variable_learns) in enumerate(zip(self.accumulated, learns, strict=True)):
            gradient = accumulated.read_value()
            if index in self.sparse_indices:
                gradient = _to_sparse(gradient)
            elif len(gradient.shape) == 2:
                gradient = gradient[:, :-1]
            gradients.append(gradient if variable_learns else None)
        self.apply(gradients, self.accumulated_weight.read_value(), rate)
        for accumulated in (*self.accumulated, self.accumulated_weight):
            accumulated.assign(tf.zeros_like(accumulated))

    def reset_moments(self) -> None:
        """Forget the moments and the count of updates, as if training began with the weights as they are."""
        for moment in (*self.first, *self.second):
            moment.assign(tf.zeros_like(moment))
        self.updates.assign(0)

    def _get_slot(self, index: int) -> Slot:
        average = self.averages[index] if self.averages else None
        return Slot(self.first[index], self.second[index], average, self.anchors.get(index), self.lr_multipliers[index])

    def _update(
        self,
        strategy: tf.distribute.Strategy,
        indices: list[int],
        gradients: list[Gradient],
        factor: tf.Tensor,
        rate: tf.Tensor,
        is_finite: tf.Tensor,
    ) -> None:
        # A step whose gradients overflowed in float16 changes nothing: betas of 1 and a rate of 0 keep all state.
        extended = strategy.extended

        def advance(updates: tf.Variable, is_finite: tf.Tensor) -> None:
            updates.assign_add(tf.cast(is_finite, tf.int64) if self.scales_loss else 1)

        extended.update(self.updates, advance, args=(is_finite,), group=False)
        step = UpdateStep(self.updates, factor, rate, is_finite)
        for index, gradient in zip(indices, gradients, strict=True):
            update = self._update_by_muon if index in self.muon_indices else self._update_by_adam
            arguments = (self._get_slot(index), gradient, step)
            extended.update(self.variables[index], update, args=arguments, group=False)
        if self.scales_loss:
            extended.update(self.scale, self._update_scale, args=(self.good_steps, is_finite), group=False)

    def _update_by_adam(self, variable: tf.Variable, slot: Slot, gradient: Gradient, step: UpdateStep) -> None:
        first, second, _, anchor, lr_multiplier = slot
        is_finite, rate = step.is_finite, step.rate * lr_multiplier
        count = tf.cast(tf.maximum(step.updates, 1), tf.float32)
        power1, power2 = tf.pow(BETA1, count), tf.pow(BETA2, count)
        beta1, beta2 = tf.constant(BETA1), tf.constant(BETA2)
        if self.scales_loss:
            beta1, beta2 = tf.where(is_finite, beta1, 1.0), tf.where(is_finite, beta2, 1.0)
            rate = tf.where(is_finite, rate, 0.0)
        decay = self._get_decay(variable, anchor)
        is_sparse = isinstance(gradient, tf.IndexedSlices)
        values = (gradient.values if is_sparse else gradient) * step.factor
        if self.scales_loss:
            values = tf.where(is_finite, values, 0.0)
        if is_sparse:
            rows = gradient.indices
            new_first = beta1 * tf.gather(first, rows) + (1 - beta1) * values
            new_second = beta2 * tf.gather(second, rows) + (1 - beta2) * tf.square(values)
            first.scatter_update(tf.IndexedSlices(new_first, rows))
            second.scatter_update(tf.IndexedSlices(new_second, rows))
            change = rate * tf.sqrt(1 - power2) / (1 - power1) * new_first / (tf.sqrt(new_second) + EPSILON)
            if decay:
                distance = tf.gather(variable, rows) - (0.0 if anchor is None else tf.gather(anchor, rows))
                change += rate * decay * distance
            variable.scatter_sub(tf.IndexedSlices(change, rows))
        else:
            if decay:
                variable.assign_sub(rate * decay * (variable if anchor is None else variable - anchor))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                epsilon=EPSILON,
                grad=values,
            )
        self._update_average(variable, slot, count, is_finite)

    def _update_by_muon(self, variable: tf.Variable, slot: Slot, gradient: tf.Tensor, step: UpdateStep) -> None:
        """Make one update by Muon; the second moment is not used."""
        momentum, anchor, is_finite, rate = slot.first, slot.anchor, step.is_finite, step.rate * slot.lr_multiplier
        count = tf.cast(tf.maximum(step.updates, 1), tf.float32)
        values, new_momentum = gradient * step.factor, MOMENTUM * momentum + gradient * step.factor
        if self.scales_loss:
            values, new_momentum = tf.where(is_finite, values, 0.0), tf.where(is_finite, new_momentum, momentum)
            rate = tf.where(is_finite, rate, 0.0)
        momentum.assign(new_momentum)
        change = muon_change(values, new_momentum, self.half)
        distance = variable if anchor is None else variable - anchor
        variable.assign_sub(rate * (change + self._get_decay(variable, anchor) * distance))
        self._update_average(variable, slot, count, is_finite)

    def _get_decay(self, variable: tf.Variable, anchor: tf.Variable | None) -> float:
        """Return how strongly a variable is drawn, to its anchor or to 0; vectors are not drawn to 0."""
        if anchor is not None:
            return self.l2_sp
        return self.weight_decay if len(variable.shape) > 1 else 0.0

    def _update_average(self, variable: tf.Variable, slot: Slot, count: tf.Tensor, is_finite: tf.Tensor) -> None:
        if slot.average is None:
            return
        momentum = tf.minimum(self.ema_momentum, (1 + count) / (10 + count))
        if self.scales_loss:
            momentum = tf.where(is_finite, momentum, 1.0)
        slot.average.assign_sub((1 - momentum) * (slot.average - variable))

    def _update_scale(self, scale: tf.Variable, good_steps: tf.Variable, is_finite: tf.Tensor) -> None:
        good = tf.where(is_finite, good_steps + 1, 0)
        grown = tf.where(good >= SCALE_STEPS, scale * 2, scale)
        scale.assign(tf.where(is_finite, grown, tf.maximum(scale / 2, 1.0)))
        good_steps.assign(tf.where(good >= SCALE_STEPS, tf.zeros_like(good), good))


def create_optimizer(
    config: RunConfig,
    variables: Sequence[tf.Variable],
    muon_variables: Sequence[keras.Variable],
    *,
    lr_multipliers: Sequence[float] = (),
    l2_sp_variables: Sequence[tf.Variable] = (),
    accumulates: bool = False,
) -> AdamWMuon:
    """Return the optimizer of a run with these settings; the other arguments are those of `AdamWMuon`."""
    return AdamWMuon(
        variables,
        config.weight_decay,
        config.global_clipnorm,
        config.ema_momentum,
        config.precision == "mixed_float16",
        [variable.value for variable in muon_variables],
        accumulates,
        lr_multipliers,
        l2_sp_variables,
        config.l2_sp,
        config.precision == "mixed_bfloat16",
    )
