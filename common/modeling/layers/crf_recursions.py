"""The recursions of a linear-chain conditional random field: forward, backward, and what it expects.

Written in `keras.ops` alone, as common/modeling/layers/crf.py is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import keras
from keras import ops

Tensor: TypeAlias = keras.KerasTensor


class Transitions(NamedTuple):
    """What it costs to go from tag to tag; -inf is forbidden.

    Args:
      start: [tags], score of the first tag.
      between: [tags, tags], score of going from the tag of the row to that of the column.
      end: [tags], score of the last tag.
    """

    start: Tensor
    matrix: Tensor
    end: Tensor


class Expectation(NamedTuple):
    """What a field expects over all taggings."""

    norms: Tensor  # [batch, time] and
    final: Tensor  # [batch], which sum to the log of the sum over all taggings
    tags: Tensor  # [batch, time, tags], probabilities
    come: Tensor  # [batch, time - 1, tags] and
    ways: Tensor  # [tags, tags] and
    go: Tensor  # [batch, time - 1, tags], whose product is the probability of each move


def prepare(emissions: Tensor, lengths: Tensor, dtype: str = "float64") -> tuple[Tensor, Tensor, Tensor]:
    """Return emissions in the given type, int32 lengths, bool [batch, time] of the steps that there are."""
    emissions, lengths = ops.cast(emissions, dtype), ops.cast(lengths, "int32")
    return emissions, lengths, ops.arange(ops.shape(emissions)[1], dtype="int32")[None, :] < lengths[:, None]


def to_float64(moves: Transitions) -> Transitions:
    return Transitions(*(ops.cast(scores, "float64") for scores in moves))


def exponentiate_moves(moves: Transitions) -> tuple[Tensor, Tensor]:
    """Return the moves between tags as exponentials, divided by the largest of each column; the logs of these, [tags].

    With them a step of the recursions is a product of matrices. It is taken in float64, where no sum that matters
    vanishes as long as scores differ by less than 700.
    """
    between = ops.cast(moves.matrix, "float64")
    largest = ops.max(between, axis=0)
    largest = ops.where(largest > -float("inf"), largest, 0.0)
    return ops.exp(between - largest), largest


def put_time_first(values: Tensor) -> Tensor:
    return ops.transpose(values, [1, 0, *range(2, len(values.shape))])


def number_steps(by_time: Tensor) -> Tensor:
    """Return the numbers of steps, to be scanned.

    Keras 3.15 cannot scan several arrays of unknown length on TensorFlow.
    """
    return ops.arange(ops.shape(by_time)[0], dtype="int32")


def take_step(by_time: Tensor, step: Tensor) -> Tensor:
    return ops.take(by_time, step, axis=0)


def make_never(shape: Sequence[int | Tensor]) -> Tensor:
    return ops.full(shape, -float("inf"))


def compute_gains(emissions: Tensor, tags: Tensor, lengths: Tensor, moves: Transitions) -> tuple[Tensor, Tensor]:
    """Return what a tagging's score gains at each step, [batch, time], and at the end, [batch]."""
    emissions, lengths, present = prepare(emissions, lengths)
    tags = ops.where(present, ops.cast(tags, "int32"), 0)
    own = ops.take_along_axis(emissions, tags[:, :, None], axis=2)[:, :, 0]
    moves = to_float64(moves)
    pairs = tags[:, :-1] * moves.start.shape[0] + tags[:, 1:]
    between = ops.take(ops.reshape(moves.matrix, [-1]), pairs)
    moved = ops.concatenate([ops.take(moves.start, tags[:, :1]), between], axis=1)
    last = ops.take_along_axis(tags, ops.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
    end = ops.where(lengths > 0, ops.take(moves.end, last), 0.0)
    return ops.where(present, own + moved, 0.0), end


def run_forward(emissions: Tensor, lengths: Tensor, moves: Transitions) -> tuple[Tensor, Tensor, Tensor]:
    """Return (log probabilities of each step's tags given what came before, [batch, time, tags]; norms; final).

    Norms, [batch, time], are what was taken off at each step to make them so; final, [batch], is the log of the sum
    over last tags.
    """
    emissions, lengths, present = prepare(emissions, lengths)
    moves, (ways, largest) = to_float64(moves), exponentiate_moves(moves)
    own = put_time_first(emissions)

    def step(carry: Tensor, at: Tensor) -> Tensor:
        ahead, _ = carry
        new = ops.log(ops.matmul(ops.exp(ahead), ways)) + largest  # [batch, tags]
        new = ops.where(at == 0, moves.start, new) + take_step(own, at)
        norm = ops.logsumexp(new, axis=1)
        new = ops.where((at < lengths)[:, None], new - norm[:, None], ahead)
        return (new, norm), (new, norm)

    begin = ops.zeros_like(own[0])
    (last, _), (ahead, norms) = ops.scan(step, (begin, begin[:, 0]), number_steps(own))
    final = ops.where(lengths > 0, ops.logsumexp(last + moves.end, axis=1), 0.0)
    return put_time_first(ahead), ops.where(present, put_time_first(norms), 0.0), final


def run_backward(emissions: Tensor, lengths: Tensor, moves: Transitions) -> Tensor:
    """Return log scores of all ways on from each step's tags, without their own, [batch, time, tags].

    They are right up to a constant for each step.
    """
    emissions, lengths, _ = prepare(emissions, lengths)
    moves, (ways, largest) = to_float64(moves), exponentiate_moves(moves)
    onward = ops.transpose(ways)
    own = put_time_first(emissions)
    end = moves.end + ops.zeros_like(own[0])

    def step(behind: Tensor, at: Tensor) -> Tensor:
        following = take_step(own, ops.minimum(at + 1, ops.shape(own)[0] - 1)) + behind + largest
        following -= ops.max(following, axis=1, keepdims=True)
        new = ops.log(ops.matmul(ops.exp(following), onward))
        new = ops.where((at + 1 < lengths)[:, None], new, end)
        return new, new

    _, behind = ops.scan(step, end, number_steps(own), reverse=True)
    return put_time_first(behind)


def compute_expectation(emissions: Tensor, lengths: Tensor, moves: Transitions) -> Expectation:
    """Return what the field expects, by the forward-backward algorithm."""
    emissions, lengths, present = prepare(emissions, lengths)
    ahead, norms, final = run_forward(emissions, lengths, moves)
    behind = run_backward(emissions, lengths, moves)
    tags = ops.exp(ahead + behind - ops.logsumexp(ahead + behind, axis=2, keepdims=True))
    tags = ops.where(present[:, :, None], tags, 0.0)
    ways, largest = exponentiate_moves(moves)
    go = emissions + behind + largest
    go = ops.exp(go - ops.max(go, axis=2, keepdims=True))[:, 1:]
    come = ops.exp(ahead[:, :-1])
    total = ops.sum(ops.matmul(come, ways) * go, axis=2, keepdims=True)
    come = ops.where(present[:, 1:, None], come / ops.where(present[:, 1:, None], total, 1.0), 0.0)
    return Expectation(norms, final, tags, come, ways, go)
