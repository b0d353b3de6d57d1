"""Muon: updates of matrices by their momentum made orthogonal (Jordan et al. 2024)."""

from __future__ import annotations

import tensorflow as tf

MOMENTUM = 0.95
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # of a step of the iteration, by Jordan et al.


def newton_schulz(matrix: tf.Tensor, half: bool = False) -> tf.Tensor:
    """Return the nearest matrix whose singular values are all 1, roughly: they come out between 0.7 and 1.2.

    Three steps of a Newton-Schulz iteration with the coefficients of Jordan et al. 2024 ("Muon: an optimizer for hidden
    layers in neural networks"), which is a few products of matrices rather than a decomposition. Values below 3% of the
    norm come out smaller; the five steps of Jordan et al., which lift those too, took two thirds longer and gave no
    better translations after equal time.

    Args:
      half: in bfloat16, as Jordan et al. do, which some processors multiply twice as fast; to about a hundredth.

    >>> result = newton_schulz(tf.constant([[3.0, 0.0, 0.0], [0.0, 0.1, 0.0]])).numpy()
    >>> bool(0.6 < result[0, 0] < 1.3), bool(0.6 < result[1, 1] < 1.3)
    (True, True)
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = tf.transpose(matrix) if is_tall else matrix
    result /= tf.norm(result) + 1e-7
    rows, columns = sorted(matrix.shape)
    linear, cubic, quintic = NEWTON_SCHULZ  # by the power of the matrix
    if half or 2 * columns <= 3 * rows:
        result = tf.cast(result, tf.bfloat16) if half else result
        for _ in range(3):
            square = tf.matmul(result, result, transpose_b=True)
            factor = cubic * square + quintic * tf.matmul(square, square)
            result = linear * result + tf.matmul(factor, result)
        return tf.cast(tf.transpose(result) if is_tall else result, matrix.dtype)
    # A matrix this long is better multiplied only twice: by itself, which gives a small square, and in the end. Each
    # step multiplies by a polynomial of that square, and so do all together.
    square, identity = tf.matmul(result, result, transpose_b=True), tf.eye(rows, dtype=result.dtype)
    product = identity
    for number in range(3):
        factor = linear * identity + cubic * square + quintic * tf.matmul(square, square)
        product = tf.matmul(factor, product) if number else factor
        if number < 2:
            square = tf.matmul(factor, tf.matmul(square, factor))
    result = tf.matmul(product, result)
    return tf.transpose(result) if is_tall else result


def muon_change(gradient: tf.Tensor, momentum: tf.Tensor, half: bool = False) -> tf.Tensor:
    """Return the change of a weight per unit of learning rate, with Nesterov's momentum.

    Its size is that of Adam's updates (Liu et al. 2025, "Muon is scalable for LLM training"). The matrix of a
    convolution, [height, width, in, out], is that of its columns: [height * width * in, out].

    Args:
      momentum: with this gradient in it.
      half: see `newton_schulz`.
    """
    matrix = tf.reshape(gradient + MOMENTUM * momentum, [-1, momentum.shape[-1]])
    return 0.2 * max(matrix.shape) ** 0.5 * tf.reshape(newton_schulz(matrix, half), momentum.shape)
