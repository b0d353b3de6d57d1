"""The optimizer of the training loop: AdamW whose clipping, averaging and loss scale see all replicas' gradients.

With Muon for some kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from common.config import RunConfig

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
MOMENTUM = 0.95  # of Muon
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # of a step of Muon's iteration, by Jordan et al.
SCALE_START, SCALE_STEPS = 2.0**15, 2000  # float16: first loss scale, and good steps until it doubles


def learning_rate(progress: tf.Tensor, peak: float, warmup: float, schedule: str) -> tf.Tensor:
    """The learning rate at a share of the training, from 0 to 1.

    Linear warm-up from 0, then constant, linear to 0, cosine to 0 (Loshchilov and Hutter 2017, without restarts), or
    falling with the inverse square root of the steps (Vaswani et al. 2017).

    >>> [round(float(learning_rate(tf.constant(p), 1.0, 0.5, "linear")), 2) for p in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    rise = progress / max(warmup, 1e-9)
    rest = tf.clip_by_value((progress - warmup) / (1 - warmup), 0.0, 1.0)
    fall = {
        "constant": tf.ones_like(rest),
        "linear": 1 - rest,
        "cosine": 0.5 * (1 + tf.cos(3.141592653589793 * rest)),
        "inverse-sqrt": tf.math.rsqrt(tf.maximum(progress / max(warmup, 0.01), 1.0)),
    }
    return peak * tf.where(progress < warmup, rise, fall[schedule])


def orthogonalised(matrix: tf.Tensor, half: bool = False) -> tf.Tensor:
    """The nearest matrix whose singular values are all 1, roughly: they come out between 0.7 and 1.2.

    Three steps of a Newton-Schulz iteration with the coefficients of Jordan et al. 2024 ("Muon: an optimizer for hidden
    layers in neural networks"), which is a few products of matrices rather than a decomposition. Values below 3% of the
    norm come out smaller; the five steps of Jordan et al., which lift those too, took two thirds longer and gave no
    better translations after equal time.

    Args:
      half: in bfloat16, as Jordan et al. do, which some processors multiply twice as fast; to about a hundredth.

    >>> turned = orthogonalised(tf.constant([[3.0, 0.0, 0.0], [0.0, 0.1, 0.0]])).numpy()
    >>> bool(0.6 < turned[0, 0] < 1.3), bool(0.6 < turned[1, 1] < 1.3)
    (True, True)
    """
    tall = matrix.shape[0] > matrix.shape[1]
    found = tf.transpose(matrix) if tall else matrix
    found /= tf.norm(found) + 1e-7
    short, long = sorted(matrix.shape)
    one, three, five = NEWTON_SCHULZ  # by the power of the matrix
    if half or 2 * long <= 3 * short:
        found = tf.cast(found, tf.bfloat16) if half else found
        for _ in range(3):
            square = tf.matmul(found, found, transpose_b=True)
            bent = three * square + five * tf.matmul(square, square)
            found = one * found + tf.matmul(bent, found)
        return tf.cast(tf.transpose(found) if tall else found, matrix.dtype)
    # A matrix this long is better multiplied only twice: by itself, which gives a small square, and in the end. Each
    # step multiplies by a polynomial of that square, and so do all together.
    square, unchanged = tf.matmul(found, found, transpose_b=True), tf.eye(short, dtype=found.dtype)
    whole = unchanged
    for number in range(3):
        bent = one * unchanged + three * square + five * tf.matmul(square, square)
        whole = tf.matmul(bent, whole) if number else bent
        if number < 2:
            square = tf.matmul(bent, tf.matmul(square, bent))
    found = tf.matmul(whole, found)
    return tf.transpose(found) if tall else found


def _merged(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same sparse gradient with each row once."""
    rows, places = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)), rows)


def _counted_dense(gradient: tf.IndexedSlices, rows: int) -> tf.Tensor:
    """A sparse gradient as a dense one, [rows, units + 1], whose last column counts the uses of each row."""
    uses = tf.concat([gradient.values, tf.ones_like(gradient.values[:, :1])], axis=1)
    return tf.math.unsorted_segment_sum(uses, gradient.indices, rows)


def _used_rows(dense: tf.Tensor) -> tf.IndexedSlices:
    """The sparse gradient out of its counted dense form."""
    rows = tf.where(dense[:, -1] > 0)[:, 0]
    shape = tf.shape(dense, tf.int64) - [0, 1]
    return tf.IndexedSlices(tf.gather(dense, rows)[:, :-1], rows, shape)


def _widened(shape: tf.TensorShape) -> list[int]:
    """Of matrices with the column that counts uses."""
    return [shape[0], shape[1] + 1] if len(shape) == 2 else list(shape)


def _local(shape: Sequence[int]) -> tf.Variable:
    """Zeros of which each replica has its own, that nobody else reads."""
    kept = tf.VariableSynchronization.ON_READ, tf.VariableAggregation.SUM
    return tf.Variable(tf.zeros(shape), trainable=False, synchronization=kept[0], aggregation=kept[1])


def _summed(replica: Any, gradients: Sequence[Any], weight: tf.Tensor) -> tuple[list[Any], tf.Tensor]:
    """The sums over all replicas, sparse gradients with each row once.

    Sparse gradients are exchanged in dense form: a collective within a loop must have the same shape in each
    iteration (TensorFlow 2.21 fails with "Shape mismatch in the collective instance").
    """
    if replica.num_replicas_in_sync == 1:
        return [_merged(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients], weight
    sparse = [isinstance(g, tf.IndexedSlices) for g in gradients]
    dense = [_counted_dense(g, g.dense_shape[0]) if s else g for g, s in zip(gradients, sparse, strict=True)]
    dense, weight = replica.all_reduce(tf.distribute.ReduceOp.SUM, (dense, weight))
    return [_used_rows(g) if s else g for g, s in zip(dense, sparse, strict=True)], weight


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), to be called inside `strategy.run`.

    Keras optimizers clip before gradients are summed over replicas, so that the result depends on the number of
    replicas, and update every row of an embedding; this one clips after the sum and touches only the rows in use
    (their moments stand still in between, as in lazy Adam). Matrices decay, vectors (biases, norms) don't.

    Args:
      variables: trainable tf.Variables, made in the strategy's scope, in which this must be made too.
      weight_decay: per unit of learning rate.
      clip_norm: largest global norm; 0 for no limit.
      average: decay of the moving average of weights, 0 for none. Early on it is shorter, (1 + t) / (10 + t).
      scaled: keep a dynamic loss scale, for float16.
      orthogonal: those of the variables, kernels of hidden layers, that Muon updates: by their momentum made
        orthogonal (Jordan et al. 2024), in the size that Adam's updates have (Liu et al. 2025, "Muon is scalable for
        LLM training"), so that one learning rate fits both.
      gathering: make room to gather the gradients of several parts of a batch.
      rates: by what each variable's learning rate is multiplied; none are all 1.
      anchored: those of the variables that decay towards the values that they have now rather than towards 0.
      anchor: their decay, per unit of learning rate, in place of weight_decay (L2-SP, Li et al. 2018, decoupled).
      half: make momentum orthogonal in bfloat16.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], weight_decay: float, clip_norm: float, average: float, scaled: bool,
        orthogonal: Sequence[tf.Variable] = (), gathering: bool = False, rates: Sequence[float] = (),
        anchored: Sequence[tf.Variable] = (), anchor: float = 0.0, half: bool = False,
    ):  # fmt: skip
        self.variables = list(variables)
        self.weight_decay, self.clip_norm, self.average, self.scaled = weight_decay, clip_norm, average, scaled
        turned = {id(variable) for variable in orthogonal}
        self.orthogonal = {index for index, variable in enumerate(self.variables) if id(variable) in turned}
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.averages = [tf.Variable(v, trainable=False) for v in variables] if average else []
        self.rates = list(rates) or [1.0] * len(self.variables)
        kept = {id(variable) for variable in anchored} if anchor else set()
        self.anchor, self.half = anchor, half
        self.anchors = {i: tf.Variable(v, trainable=False) for i, v in enumerate(self.variables) if id(v) in kept}
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.scale = tf.Variable(SCALE_START if scaled else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.sparse: set[int] = set()  # variables whose gathered gradients were sparse
        self.weight: Any = _local([]) if gathering else None
        self.gathered = [_local(_widened(v.shape)) for v in self.variables] if gathering else []

    def state(self) -> dict[str, tf.Variable]:
        """All variables by name, for checkpoints."""
        lists = {"first": self.first, "second": self.second, "averages": self.averages}
        named = {f"{name}/{i}": v for name, group in lists.items() for i, v in enumerate(group)}
        named |= {f"anchors/{i}": v for i, v in self.anchors.items()}
        return named | {"updates": self.updates, "scale": self.scale, "good_steps": self.good_steps}

    def apply(self, gradients: Sequence[Any], weight: tf.Tensor, rate: tf.Tensor) -> None:
        """One update from this replica's gradients of the scaled sum of losses and its sum of weights.

        Args:
          gradients: one for each variable; None leaves it as it is.
        """
        replica = tf.distribute.get_replica_context()
        chosen = [index for index, gradient in enumerate(gradients) if gradient is not None]
        gradients, weight = _summed(replica, [gradients[index] for index in chosen], weight)
        divisor = self.scale * tf.maximum(weight, 1e-9)
        scaled = []
        for gradient in gradients:
            if isinstance(gradient, tf.IndexedSlices):
                scaled.append(tf.IndexedSlices(gradient.values / divisor, gradient.indices))
            else:
                scaled.append(gradient / divisor)
        squares = [tf.reduce_sum(tf.square(g.values if isinstance(g, tf.IndexedSlices) else g)) for g in scaled]
        norm = tf.sqrt(tf.add_n(squares))
        factor = tf.minimum(1.0, self.clip_norm / tf.maximum(norm, 1e-12)) if self.clip_norm else tf.ones_like(norm)
        replica.merge_call(self._update, args=(chosen, scaled, factor, rate, tf.math.is_finite(norm)))

    def gather(self, gradients: Sequence[Any], weight: tf.Tensor) -> None:
        """Adds the gradients of one part of this replica's batch to those before; nothing is exchanged."""
        for index, (gathered, gradient) in enumerate(zip(self.gathered, gradients, strict=True)):
            if isinstance(gradient, tf.IndexedSlices):
                self.sparse.add(index)
                gathered.assign_add(_counted_dense(gradient, gradient.dense_shape[0]))
            elif gradient is not None:
                wider = len(gradient.shape) == 2
                gathered.assign_add(tf.pad(gradient, [[0, 0], [0, 1]]) if wider else gradient)
        self.weight.assign_add(weight)

    def apply_gathered(self, learning: Sequence[bool], rate: tf.Tensor) -> None:
        """One update from all that was gathered, of the variables that learn; then gathering begins anew."""
        gradients: list[Any] = []
        for index, (gathered, learns) in enumerate(zip(self.gathered, learning, strict=True)):
            value = gathered.read_value()
            if index in self.sparse:
                value = _used_rows(value)
            elif len(value.shape) == 2:
                value = value[:, :-1]
            gradients.append(value if learns else None)
        self.apply(gradients, self.weight.read_value(), rate)
        for gathered in (*self.gathered, self.weight):
            gathered.assign(tf.zeros_like(gathered))

    def restart(self) -> None:
        """Forgets the moments and the count of updates, as if training began with the weights as they are."""
        for slot in (*self.first, *self.second):
            slot.assign(tf.zeros_like(slot))
        self.updates.assign(0)

    def _update(
        self, strategy: Any, chosen: list[int], gradients: list[Any], factor: Any, rate: Any, finite: Any
    ) -> None:
        # A step whose gradients overflowed in float16 changes nothing: betas of 1 and a rate of 0 keep all state.
        extended = strategy.extended

        def advance(updates: Any, finite: Any) -> None:
            updates.assign_add(tf.cast(finite, tf.int64) if self.scaled else 1)

        extended.update(self.updates, advance, args=(finite,), group=False)
        for index, gradient in zip(chosen, gradients, strict=True):
            variable = self.variables[index]
            slots = (self.first[index], self.second[index], self.updates)
            average = self.averages[index] if self.average else None
            more = {"anchor": self.anchors.get(index), "average": average, "share": self.rates[index]}
            arguments = (*slots, gradient, factor, rate, finite)
            update = self._turn_one if index in self.orthogonal else self._update_one
            extended.update(variable, update, args=arguments, kwargs=more, group=False)
        if self.scaled:
            extended.update(self.scale, self._update_scale, args=(self.good_steps, finite), group=False)

    def _update_one(
        self,
        variable: Any,
        first: Any,
        second: Any,
        updates: Any,
        gradient: Any,
        factor: Any,
        rate: Any,
        finite: Any,
        anchor: Any,
        average: Any,
        share: float,
    ) -> None:
        rate = rate * share
        step = tf.cast(tf.maximum(updates, 1), tf.float32)
        power1, power2 = tf.pow(BETA1, step), tf.pow(BETA2, step)
        beta1, beta2 = tf.constant(BETA1), tf.constant(BETA2)
        if self.scaled:
            beta1, beta2, rate = tf.where(finite, beta1, 1.0), tf.where(finite, beta2, 1.0), tf.where(finite, rate, 0.0)
        decay = self._decay(variable, anchor)
        if isinstance(gradient, tf.IndexedSlices):
            rows, values = gradient.indices, gradient.values * factor
            if self.scaled:
                values = tf.where(finite, values, 0.0)
            moved1 = beta1 * tf.gather(first, rows) + (1 - beta1) * values
            moved2 = beta2 * tf.gather(second, rows) + (1 - beta2) * tf.square(values)
            first.scatter_update(tf.IndexedSlices(moved1, rows))
            second.scatter_update(tf.IndexedSlices(moved2, rows))
            change = rate * tf.sqrt(1 - power2) / (1 - power1) * moved1 / (tf.sqrt(moved2) + EPSILON)
            if decay:
                off = tf.gather(variable, rows) - (0.0 if anchor is None else tf.gather(anchor, rows))
                change += rate * decay * off
            variable.scatter_sub(tf.IndexedSlices(change, rows))
        else:
            values = gradient * factor
            if self.scaled:
                values = tf.where(finite, values, 0.0)
            if decay:
                variable.assign_sub(rate * decay * (variable if anchor is None else variable - anchor))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=first.handle, v=second.handle, beta1_power=power1, beta2_power=power2,
                lr=rate, beta1=beta1, beta2=beta2, epsilon=EPSILON, grad=values,
            )  # fmt: skip
        self._average(variable, step, finite, average)

    def _turn_one(
        self,
        variable: Any,
        first: Any,
        second: Any,
        updates: Any,
        gradient: Any,
        factor: Any,
        rate: Any,
        finite: Any,
        anchor: Any,
        average: Any,
        share: float,
    ) -> None:
        """One update by Muon, with Nesterov's momentum; `second` is not used.

        The matrix of a convolution, [height, width, in, out], is that of its columns: [height * width * in, out].
        """
        rate = rate * share
        step = tf.cast(tf.maximum(updates, 1), tf.float32)
        values, kept = gradient * factor, MOMENTUM * first + gradient * factor
        if self.scaled:
            values, kept = tf.where(finite, values, 0.0), tf.where(finite, kept, first)
            rate = tf.where(finite, rate, 0.0)
        first.assign(kept)
        matrix = tf.reshape(values + MOMENTUM * kept, [-1, variable.shape[-1]])
        change = 0.2 * max(matrix.shape) ** 0.5 * tf.reshape(orthogonalised(matrix, self.half), variable.shape)
        off = variable if anchor is None else variable - anchor
        variable.assign_sub(rate * (change + self._decay(variable, anchor) * off))
        self._average(variable, step, finite, average)

    def _decay(self, variable: Any, anchor: Any) -> float:
        """How strongly a variable is drawn, to its anchor or to 0; vectors are not drawn to 0."""
        if anchor is not None:
            return self.anchor
        return self.weight_decay if len(variable.shape) > 1 else 0.0

    def _average(self, variable: Any, step: Any, finite: Any, average: Any) -> None:
        if average is None:
            return
        keep = tf.minimum(self.average, (1 + step) / (10 + step))
        if self.scaled:
            keep = tf.where(finite, keep, 1.0)
        average.assign_sub((1 - keep) * (average - variable))

    def _update_scale(self, scale: Any, good_steps: Any, finite: Any) -> None:
        good = tf.where(finite, good_steps + 1, 0)
        grown = tf.where(good >= SCALE_STEPS, scale * 2, scale)
        scale.assign(tf.where(finite, grown, tf.maximum(scale / 2, 1.0)))
        good_steps.assign(tf.where(good >= SCALE_STEPS, tf.zeros_like(good), good))


def optimizer(config: RunConfig, variables: Sequence[tf.Variable], orthogonal: Sequence[Any], **more: Any) -> AdamW:
    """That of a run with these settings; `more` are further arguments of `AdamW`."""
    return AdamW(
        variables, config.weight_decay, config.clip_norm, config.average, config.precision == "float16",
        [variable.value for variable in orthogonal], half=config.precision == "bfloat16", **more,
    )  # fmt: skip
