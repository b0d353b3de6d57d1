"""A linear-chain conditional random field: log-likelihood, best paths, marginals; for the scores of any tagger.

Lafferty, McCallum and Pereira 2001; with neural scores, Collobert et al. 2011 and Lample et al. 2016.

Written in `keras.ops` alone, so that this file and crf_recursions.py can be copied into any Keras 3 project:

    words = keras.Input([None], dtype="int32")
    vectors = keras.layers.Embedding(10_000, 100, mask_zero=True)(words)
    states = keras.layers.Bidirectional(keras.layers.LSTM(64, return_sequences=True))(vectors)
    crf = CRF(tags=9)
    model = keras.Model(words, crf(keras.layers.Dense(9)(states)))
    model.compile("adam", loss=crf.loss)                 # y: tag ids [batch, time], -1 where padded
    model.fit(x, y)
    tags, scores = crf.best(model(x), lengths)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from common.modeling.layers.crf_recursions import (
    Tensor,
    Transitions,
    compute_expectation,
    compute_gains,
    make_never,
    number_steps,
    prepare,
    put_time_first,
    run_backward,
    run_forward,
    take_step,
    to_float64,
)


def _use_gradient_of_weights(moves: Transitions, weights: Transitions) -> Transitions:
    """Return the moves, with the gradient of the weights."""
    return Transitions(*(ops.where(m > -float("inf"), w, m) for m, w in zip(moves, weights, strict=True)))


def sequence_score(emissions: Tensor, tags: Tensor, lengths: Tensor, moves: Transitions) -> Tensor:
    """Return the unnormalised score of a tagging, [batch]; that of a row without steps is 0.

    Args:
      emissions: [batch, time, tags], time at least 1.
      tags: integers [batch, time]; what stands beyond the length is not looked at.
      lengths: integers [batch].
    """
    gains, end = compute_gains(emissions, tags, lengths, moves)
    return ops.cast(ops.sum(gains, axis=1) + end, "float32")


def log_likelihood(
    emissions: Tensor, tags: Tensor, lengths: Tensor, moves: Transitions, weights: Transitions | None = None
) -> Tensor:
    """Return the log probability of a tagging, [batch]; -inf if it holds a forbidden move, 0 for a row without steps.

    Its gradient is exact: the tagging's counts less those that the field expects, by the forward-backward algorithm
    (Rabiner 1989). They are worked out here rather than by taking the gradient of a loop, which would keep every
    intermediate of the loop.

    Args: as those of `sequence_score`; and
      weights: finite ones to take the gradient of, where `transitions` were made -inf in places.
    """
    fixed = Transitions(*(ops.stop_gradient(scores) for scores in moves))
    emissions, weights = ops.cast(emissions, "float64"), to_float64(weights or moves)
    expected = compute_expectation(ops.stop_gradient(emissions), lengths, fixed)

    def varied(value: Tensor) -> Tensor:
        # Zero, with a gradient.
        value = ops.where(value > -float("inf"), value, 0.0)
        return value - ops.stop_gradient(value)

    last = ops.take_along_axis(expected.tags, ops.maximum(ops.cast(lengths, "int32") - 1, 0)[:, None, None], axis=1)[
        :, 0
    ]
    # All steps' moves in one product of matrices; their sum over [tags, tags] is never held for each example.
    moved = ops.matmul(expected.come, expected.ways * varied(weights.matrix)) * expected.go
    varying = (
        ops.sum(expected.tags * varied(emissions), axis=(1, 2))
        + ops.sum(moved, axis=(1, 2))
        + ops.sum(expected.tags[:, 0] * varied(weights.start), axis=1)
        + ops.sum(last * varied(weights.end), axis=1)
    )
    gains, end = compute_gains(emissions, tags, lengths, _use_gradient_of_weights(to_float64(moves), weights))
    # Step by step, for the sums of long rows are large and their difference would lose digits.
    return ops.cast(ops.sum(gains - expected.norms, axis=1) + (end - expected.final) - varying, "float32")


def marginals(emissions: Tensor, lengths: Tensor, moves: Transitions) -> Tensor:
    """Return the probability of each tag at each step, [batch, time, tags]; 0 beyond the length."""
    return ops.cast(compute_expectation(emissions, lengths, moves).tags, "float32")


def segment_probability(emissions: Tensor, tags: Tensor, begins: Tensor, lengths: Tensor, moves: Transitions) -> Tensor:
    """Return how probable each segment of a tagging is, all its tags together, at each of its steps: [batch, time].

    The exact marginal over all taggings of the rest, so for a segment of one step the marginal of its tag. 0 beyond the
    length.

    Args: as those of `sequence_score`; and
      begins: bool [batch, time], whether a step begins a segment; the first step does in any case.
    """
    gains, _ = compute_gains(emissions, tags, lengths, moves)
    emissions, lengths, present = prepare(emissions, lengths)
    tags = ops.where(present, ops.cast(tags, "int32"), 0)
    ahead, norms, _ = run_forward(emissions, lengths, moves)
    behind = run_backward(emissions, lengths, moves)
    own, after = (ops.take_along_axis(scores, tags[:, :, None], axis=2)[:, :, 0] for scores in (ahead, behind))
    after -= ops.logsumexp(ahead + behind, axis=2)
    begins = ops.logical_or(ops.cast(begins, "bool"), ops.arange(ops.shape(tags)[1])[None, :] == 0)
    begins = ops.logical_or(begins, ops.logical_not(present))
    ends = ops.concatenate([begins[:, 1:], ops.ones_like(begins[:, :1])], axis=1)

    steps = ops.where(begins, own, gains - norms) + ops.where(ends, after, 0.0)
    # Numbers of segments that are all different, each row having as many as it has steps.
    batch, time = ops.shape(tags)[0], ops.shape(tags)[1]
    segments = ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1 + time * ops.arange(batch, dtype="int32")[:, None]
    whole = ops.segment_sum(ops.reshape(steps, [-1]), ops.reshape(segments, [-1]), num_segments=batch * time)
    score = ops.take(whole, segments)
    return ops.cast(ops.where(present, ops.exp(ops.minimum(score, 0.0)), 0.0), "float32")


def viterbi_n_best(emissions: Tensor, lengths: Tensor, moves: Transitions, count: int = 1) -> tuple[Tensor, Tensor]:
    """Return the `count` best taggings, best first, int32 [batch, count, time], 0 beyond the length; their scores.

    Viterbi's algorithm; with more than one, each tag keeps its `count` best ways so far. Where there are fewer taggings
    than asked for, the rest have the score -inf.

    Args: as those of `sequence_score`.
    """
    emissions, lengths, present = prepare(emissions, lengths, "float32")
    batch, tags = ops.shape(emissions)[0], moves.start.shape[0]
    width = tags * count
    begin = ops.concatenate(
        [moves.start + ops.zeros([batch, tags])] + [make_never([batch, tags])] * (count - 1), axis=1
    )
    own = put_time_first(emissions)

    def step(scores: Tensor, at: Tensor) -> Tensor:
        ways = ops.reshape(scores, [batch, count, tags, 1]) + moves.matrix  # [batch, way, from, to]
        if count == 1:
            reached = ops.max(ways[:, 0], axis=1)
        else:
            ways = ops.transpose(ops.reshape(ways, [batch, width, tags]), [0, 2, 1])
            reached = ops.reshape(ops.transpose(ops.top_k(ways, count)[0], [0, 2, 1]), [batch, width])
        new = ops.where(at == 0, begin, reached) + ops.tile(take_step(own, at), [1, count])
        new = ops.where((at < lengths)[:, None], new, scores)
        return new, new

    scores, passed = ops.scan(step, ops.zeros_like(begin), number_steps(own))
    alone = ops.concatenate([ops.zeros([batch, 1]), make_never([batch, width - 1])], axis=1)  # of a row without steps
    scores = ops.where((lengths > 0)[:, None], scores + ops.tile(moves.end, [count]), alone)
    values, last = ops.top_k(scores, count)
    come = ops.tile(ops.transpose(moves.matrix), [1, count])  # [to, from, way by way]

    def back(place: Tensor, at: Tensor) -> Tensor:
        # Where each path came from is found for the tags on it alone, rather than for all tags on the way there.
        ways = take_step(passed, ops.maximum(at - 1, 0))[:, None, :] + ops.take(come, place % tags, axis=0)
        if count == 1:
            origin = ops.argmax(ways, axis=2)
        else:
            origin = ops.take_along_axis(ops.top_k(ways, count)[1], (place // tags)[:, :, None], axis=2)[:, :, 0]
        return ops.where((at < lengths)[:, None], ops.cast(origin, "int32"), place), place

    _, places = ops.scan(back, ops.cast(last, "int32"), number_steps(own), reverse=True)
    paths = ops.transpose(places, [1, 2, 0]) % tags
    return ops.where(present[:, None, :], paths, 0), values


@keras.saving.register_keras_serializable("kerasserole")
class CRF(keras.layers.Layer):
    """A linear-chain conditional random field over the scores of a tagger.

    Called, it returns the scores of tags as they are, in float32 whatever the precision of the layers before it; it
    holds the scores of moves. `loss` trains both.

    Args:
      tags: how many there are.
      start, between, end: which moves are allowed: [tags], [tags, tags] (from the row's tag to the column's), [tags],
        of 0 and 1; None for all. A tagging with another move has the probability 0.

    Call arguments:
      emissions: [batch, time, tags].
    """

    def __init__(
        self,
        tags: int,
        start: Sequence[int] | None = None,
        between: Sequence[Sequence[int]] | None = None,
        end: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.supports_masking = True  # of layers before; it ends here, since `loss` is told the padding by the tags
        self.tags, self.start, self.between, self.end = tags, start, between, end
        shapes = ((start, (tags,)), (between, (tags, tags)), (end, (tags,)))
        for allowed, shape in shapes:
            if allowed is not None and ops.shape(ops.array(allowed)) != shape:
                raise ValueError(f"the allowed moves have the shape {ops.shape(ops.array(allowed))}, not {shape}")

    def build(self, shape: Sequence[int | None]) -> None:
        if shape[-1] != self.tags:
            raise ValueError(f"the last axis holds the scores of {shape[-1]} tags, not of {self.tags}")
        self.start_scores = self.add_weight(shape=(self.tags,), initializer="zeros", name="start")
        self.between_scores = self.add_weight(shape=(self.tags, self.tags), initializer="zeros", name="between")
        self.end_scores = self.add_weight(shape=(self.tags,), initializer="zeros", name="end")

    def call(self, emissions: Tensor) -> Tensor:
        return ops.cast(emissions, "float32") + 0.0  # a tensor of its own, for Keras hangs a mask on the old one

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> None:
        return None

    def compute_output_shape(self, shape: Sequence[int | None]) -> Sequence[int | None]:
        return shape

    @property
    def transition_weights(self) -> Transitions:
        """The scores as they are learned, all finite."""
        return Transitions(
            *(ops.convert_to_tensor(v) for v in (self.start_scores, self.between_scores, self.end_scores))
        )

    @property
    def transitions(self) -> Transitions:
        """The scores of moves, -inf where one is not allowed."""

        def mask(weight: Tensor, allowed: Tensor) -> Tensor:
            return weight if allowed is None else ops.where(ops.cast(ops.array(allowed), "bool"), weight, -float("inf"))

        allowed = (self.start, self.between, self.end)
        return Transitions(*(mask(w, a) for w, a in zip(self.transition_weights, allowed, strict=True)))

    def log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """See `log_likelihood`."""
        return log_likelihood(emissions, tags, lengths, self.transitions, self.transition_weights)

    def loss(self, tags: Tensor, emissions: Tensor) -> Tensor:
        """Return the negative log-likelihood of each row in nats, [batch]; to be given to `compile`.

        Args:
          tags: integers [batch, time], -1 where padded, at the right.
          emissions: what the layer returned.
        """
        lengths = ops.sum(ops.cast(tags >= 0, "int32"), axis=1)
        return -self.log_likelihood(emissions, tags, lengths)

    def decode(self, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best tagging, int32 [batch, time], 0 beyond the length; and its log probability, [batch]."""
        tags = viterbi_n_best(emissions, lengths, self.transitions)[0][:, 0]
        gains, end = compute_gains(emissions, tags, lengths, self.transitions)
        _, norms, final = run_forward(emissions, lengths, self.transitions)
        return tags, ops.cast(ops.sum(gains - norms, axis=1) + (end - final), "float32")

    def get_config(self) -> dict[str, Any]:
        own = {"tags": self.tags, "start": self.start, "between": self.between, "end": self.end}
        return {**super().get_config(), **own}
