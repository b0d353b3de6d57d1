"""What the loops of decoding share: the step that they call, their result, and operations on rows of tokens.

The loops know nothing of the model. They call a step, and whatever the model remembers is the step's state:

    step(state, tokens, position[, memory]) -> (state, logits)  or  (state, logits, attention)

- state: any structure of tensors with the axis of rows first. Other axes may grow from step to step where their size
  is not known when the graph is made. Beam search reorders it. What does not change, such as the encoder's memory, is
  captured by the function: `repeat_rows` for each beam, or once, for the beams of a row follow each other.
- tokens: int32 [rows], the last ones; position: int32 scalar, from 0. It reaches `max_length`, where the end's
  probability is asked for; so a cache of a size of its own needs `max_length` + 1 places.
- logits: floats [rows, vocabulary]; -inf is a token that may not come.
- attention: floats [rows, source].

    def step(state, tokens, position):
        output, state = cell(embedding(tokens), state)
        return state, scores(output)

    config = BeamConfig(start=1, end=2, max_length=100, num_beams=4)
    result = beam_search(step, repeated(state, 4), batch, config)

Written in core TensorFlow operations alone, so that a SavedModel can hold them and these files can be copied elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Nest = Any  # any structure of tensors
Step = Callable[..., tuple[Any, ...]]
NEVER = -float("inf")
PIECE_SIZE = 64  # columns of a row that are looked through at once
SCALAR = tf.TensorShape([])


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodingConfig:
    """The settings of every way to decode.

    Args:
      start: the token before the first, one or int32 [batch].
      end: the token that ends a hypothesis; for `sample` also None, if nothing ends before `max_length`.
      max_length: most tokens of a hypothesis, without its end; one or int32 [batch]. It must end there, and the
        probability of the end counts.
      no_repeat_ngram_size: no sequence of so many tokens comes twice in a hypothesis; 0 allows all.

    Raises:
      ValueError: a number is out of range.
    """

    start: int | tf.Tensor
    end: int | None
    max_length: int | tf.Tensor
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        if self.no_repeat_ngram_size < 0:
            raise ValueError(f"no_repeat_ngram_size must be 0 or more, not {self.no_repeat_ngram_size}.")

    def expand_rows(self, batch: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the start tokens and max lengths of each row, int32 [batch], and the max length of all rows."""
        max_length = tf.maximum(tf.cast(self.max_length, tf.int32), 0)
        start = tf.broadcast_to(tf.cast(self.start, tf.int32), [batch])
        return start, tf.broadcast_to(max_length, [batch]), tf.maximum(tf.reduce_max(max_length), 0)


@dataclass(frozen=True)
class DecodingResult:
    """Hypotheses, best first. One that is not there has the score -inf, the length 0 and no tokens.

    Args:
      tokens: int32 [batch, n_best, time], without the end token, 0 after the end; time is the greatest `max_length`.
      lengths: int32 [batch, n_best], without the end token.
      scores: float32 [batch, n_best], by which they are ranked.
      log_probs: float32 [batch, n_best], in nats, that of the end token included.
      attention: float32 [batch, n_best, time, source], 0 after the end; or None.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor
    attention: tf.Tensor | None = None


def repeat_rows(nest: Nest, times: int) -> Nest:
    """Repeat each row of the tensors of a structure, [batch, ...], in succession: [batch * times, ...].

    >>> repeat_rows({"memory": tf.constant([[1], [2]])}, 2)["memory"].numpy().tolist()
    [[1], [1], [2], [2]]
    """
    return tf.nest.map_structure(lambda tensor: tf.repeat(tensor, times, axis=0), nest)


def call_step(
    step: Step,
    state: Nest,
    tokens: tf.Tensor,
    position: tf.Tensor,
    needs_attention: bool,
    memory: tuple[Nest, ...] = (),
) -> tuple[Nest, tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Return the step's state, its logits float32 [rows, vocabulary], the log of their partition sum, its attention.

    A logit less that log is a log probability: few are asked for, so not all are made. The largest probability is at
    least that of equal ones, so that its logarithm is exact; and softmax is one of the fastest operations that there
    are.

    Args:
      memory: one more argument of the step, if there is any.

    Raises:
      ValueError: the step returns no attention where it is needed.
    """
    answer = step(state, tokens, position, *memory)
    if needs_attention and len(answer) < 3:
        raise ValueError("The step returns no attention: it must return (state, logits, attention).")
    new_state = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, [None, *old.shape[1:]]), answer[0], state)
    logits = tf.cast(answer[1], tf.float32)
    log_sum = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(tf.nn.softmax(logits), axis=1))
    return new_state, logits, log_sum, tf.cast(answer[2], tf.float32) if needs_attention else None


def mask_repeated_ngrams(logits: tf.Tensor, tokens: tf.Tensor, position: tf.Tensor, size: int) -> tf.Tensor:
    """Return the logits with -inf for tokens that complete an n-gram of this size that was there before.

    Args:
      tokens: int32 [rows, time], of which the first `position` are there.
    """
    places = tf.range(tf.shape(tokens)[1])
    same = tf.logical_and(places >= size - 1, places < position) & tf.ones_like(tokens, tf.bool)
    for back in range(1, size):
        place = tf.maximum(position - back, 0)
        same &= tf.roll(tokens, back, axis=1) == tokens[:, place : place + 1]
    rows = tf.range(tf.shape(tokens)[0])[:, None] + tf.zeros_like(tokens)
    limits = tf.where(same, NEVER, -NEVER)
    return tf.tensor_scatter_nd_min(logits, tf.stack([rows, tokens], axis=2), limits)


def length_norm(length: tf.Tensor, penalty: float | tf.Tensor) -> tf.Tensor:
    """Return what log probabilities of hypotheses of this length are divided by (Wu et al. 2016)."""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** penalty


def gather_attention(attentions: tf.TensorArray, steps: tf.Tensor, rows: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the attention of each token, [batch, n_best, time, source].

    Args:
      attentions: of each step, [rows, source].
      steps: how many there were.
      rows: int32 [batch, n_best, time], the row of each token at its step.
      lengths: int32 [batch, n_best].
    """
    places = tf.range(tf.shape(rows)[2])
    times = tf.minimum(places, steps - 1) + tf.zeros_like(rows)
    attention = tf.gather_nd(attentions.gather(tf.range(steps)), tf.stack([times, rows], axis=3))
    return tf.where((places < lengths[:, :, None])[..., None], attention, 0.0)


def make_attention_array(time: tf.Tensor) -> tf.TensorArray:
    """Return an empty array for the attention of each step, the one that ends the longest hypothesis included."""
    return tf.TensorArray(tf.float32, time + 1, infer_shape=False, element_shape=[None, None])


def write_position(values: tf.Tensor, new: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Return the values, [..., time], with the new ones, [...], at a position; unchanged if it lies beyond."""
    return tf.where(tf.range(tf.shape(values)[-1]) == position, new[..., None], values)


def replace_nan(values: tf.Tensor) -> tf.Tensor:
    """Return the values with -inf for NaN, which the softmax of a row without any possible token is.

    No comparison orders NaN.
    """
    return tf.where(tf.math.is_nan(values), NEVER, values)


def find_top_k(values: tf.Tensor, count: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (values, places), [rows, count] each: those of `tf.math.top_k`, several times as fast.

    It sorts whole rows. Here rows are cut to pieces, and only those pieces are sorted that have the largest maxima: of
    these there are as many as are looked for, and so no other piece can hold one. Of equal values the first comes
    first; NaN comes in any order.

    Args:
      values: float32 [rows, columns].

    >>> find_top_k(tf.constant([[3.0, 1.0, 2.0, 3.0]]), 3)[1].numpy().tolist()
    [[0, 3, 2]]
    """
    columns = values.shape[1]
    if columns is None or not isinstance(count, int) or columns < 4 * PIECE_SIZE * count:
        return tf.math.top_k(values, count)
    # Of a size that leaves no rest, if there is one.
    size = next((size for size in range(PIECE_SIZE, PIECE_SIZE // 2, -1) if columns % size == 0), PIECE_SIZE)
    rest = -columns % size
    padded = tf.pad(values, [[0, 0], [0, rest]], constant_values=NEVER) if rest else values
    pieces = tf.reshape(padded, [-1, (columns + rest) // size, size])
    chosen = tf.sort(tf.math.top_k(tf.reduce_max(pieces, axis=2), count).indices, axis=1)
    candidates = tf.reshape(tf.gather(pieces, chosen, batch_dims=1), [-1, count * size])
    top_values, places = tf.math.top_k(candidates, count)
    places = tf.gather(chosen, places // size, batch_dims=1) * size + places % size
    return top_values, tf.minimum(places, columns - 1)


def any_rows_shapes(nest: Nest) -> Nest:
    """Return the shapes of a structure of tensors, of which the number of rows may differ between rounds of a loop."""
    return tf.nest.map_structure(lambda tensor: tf.TensorShape([None, *tensor.shape[1:]]), nest)


def loose_shapes(nest: Nest, *known_sizes: int) -> Nest:
    """Return shapes of which all but the known sizes after the rows may differ between rounds of a loop."""

    def loosen(value: tf.Tensor) -> tf.TensorShape:
        return tf.TensorShape([None, *known_sizes, *[None] * (value.shape.rank - 1 - len(known_sizes))])

    return tf.nest.map_structure(loosen, nest)
