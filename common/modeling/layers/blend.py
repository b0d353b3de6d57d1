"""The answers of several classifiers, blended with weights that are fitted on examples which none of them has seen."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

PULL = 10  # towards weights of 1; with 1, fifty examples left out a linear part that helps with other texts
STEPS = 50  # of Newton's method; a handful is enough

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kerasserole")
class LogitBlend(keras.layers.Layer):
    """The weighted sum of logits: a logarithmic pool, whose weights also set how sure it is.

    The weights are 1 until they are set, and are never trained: on the training part each head is as good as it can
    learn to be, and only examples that none has seen tell which to trust (stacking, Wolpert 1992). With one head this
    is temperature scaling (Guo et al. 2017).

    Call arguments:
      heads: a list of logits, each [batch, labels].

    Returns: [batch, labels].
    """

    def build(self, shapes: Sequence[Shape]) -> None:
        self.shares = self.add_weight(shape=(len(shapes),), initializer="ones", trainable=False, name="shares")

    def call(self, heads: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.einsum("h,hbl->bl", self.shares.value, tf.stack(heads))

    def compute_output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return shapes[0]


def fit_blend_weights(heads: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the weights, [heads], none below 0, of the blend that fits the targets best.

    Least cross entropy, with a pull towards 1, so that few examples cannot say much: the sum of squared distances from
    it times half of `PULL` is added. The problem is convex; projected Newton's method with halved steps (Bertsekas
    1982).

    Args:
      heads: logits, [heads, examples, labels].
      target: label ids, [examples]; examples with an id below 0 are passed over.

    >>> sure, unsure = np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> shares = fit_blend_weights(np.stack([sure, unsure] * 1), np.array([0, 1]))
    >>> bool(shares[0] > shares[1])
    True
    """
    known = target >= 0
    logits = heads[:, known].astype(np.float64)
    logits -= logits.mean(axis=2, keepdims=True)
    targets = np.eye(heads.shape[2])[target[known]]  # [examples, labels]

    def evaluate(shares: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.tensordot(shares, logits, axes=1)
        mixed -= mixed.max(axis=1, keepdims=True)
        sums = np.exp(mixed).sum(axis=1)
        loss = float((np.log(sums) - (mixed * targets).sum(axis=1)).sum() + PULL * ((shares - 1) ** 2).sum() / 2)
        return loss, np.exp(mixed) / sums[:, None]

    shares = np.ones(len(heads))
    loss, probabilities = evaluate(shares)
    for _ in range(STEPS):
        expected = (logits * probabilities).sum(axis=2)  # [heads, examples]
        slope = ((probabilities - targets) * logits).sum(axis=(1, 2)) + PULL * (shares - 1)
        curve = (
            np.einsum("hel,el,gel->hg", logits, probabilities, logits)
            - expected @ expected.T
            + PULL * np.eye(len(heads))
        )
        free = (shares > 0) | (slope < 0)  # a weight stays at 0 as long as it would go below
        step, size = np.zeros(len(heads)), 1.0
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        while size > 1e-6:
            tried = np.maximum(shares - size * step, 0)
            tried_loss, tried_probabilities = evaluate(tried)
            if tried_loss < loss - 1e-12:
                break
            size /= 2
        else:
            break
        shares, loss, probabilities = tried, tried_loss, tried_probabilities
    return shares
