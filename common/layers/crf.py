"""A linear-chain conditional random field: log-likelihood, best paths, marginals; for the scores of any tagger.

Lafferty, McCallum and Pereira 2001; with neural scores, Collobert et al. 2011 and Lample et al. 2016.

Written in `keras.ops` alone, so that this file can be copied into any Keras 3 project:

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
from typing import Any, NamedTuple

import keras
from keras import ops


class Moves(NamedTuple):
    """What it costs to go from tag to tag; -inf is forbidden.

    Args:
      start: [tags], score of the first tag.
      between: [tags, tags], score of going from the tag of the row to that of the column.
      end: [tags], score of the last tag.
    """

    start: Any
    between: Any
    end: Any


def path_score(emissions: Any, tags: Any, lengths: Any, moves: Moves) -> Any:
    """The unnormalised score of a tagging, [batch]; that of a row without steps is 0.

    Args:
      emissions: [batch, time, tags], time at least 1.
      tags: integers [batch, time]; what stands beyond the length is not looked at.
      lengths: integers [batch].
    """
    gains, end = _gains(emissions, tags, lengths, moves)
    return ops.cast(ops.sum(gains, axis=1) + end, "float32")


def log_likelihood(emissions: Any, tags: Any, lengths: Any, moves: Moves, weights: Moves | None = None) -> Any:
    """The log probability of a tagging, [batch]; -inf if it holds a forbidden move, 0 for a row without steps.

    Its gradient is exact: the tagging's counts less those that the field expects, by the forward-backward algorithm
    (Rabiner 1989). They are worked out here rather than by taking the gradient of a loop, which would keep every
    intermediate of the loop.

    Args: as those of `path_score`; and
      weights: finite ones to take the gradient of, where `moves` were made -inf in places.
    """
    fixed = Moves(*(ops.stop_gradient(one) for one in moves))
    emissions, weights = ops.cast(emissions, "float64"), _exact(weights or moves)
    found = _expected(ops.stop_gradient(emissions), lengths, fixed)

    def varied(value: Any) -> Any:
        # Zero, with a gradient.
        value = ops.where(value > -float("inf"), value, 0.0)
        return value - ops.stop_gradient(value)

    last = ops.take_along_axis(found.tags, ops.maximum(ops.cast(lengths, "int32") - 1, 0)[:, None, None], axis=1)[:, 0]
    # All steps' moves in one product of matrices; their sum over [tags, tags] is never held for each example.
    moved = ops.matmul(found.come, found.ways * varied(weights.between)) * found.go
    varying = (
        ops.sum(found.tags * varied(emissions), axis=(1, 2))
        + ops.sum(moved, axis=(1, 2))
        + ops.sum(found.tags[:, 0] * varied(weights.start), axis=1)
        + ops.sum(last * varied(weights.end), axis=1)
    )
    gains, end = _gains(emissions, tags, lengths, _gated(_exact(moves), weights))
    # Step by step, for the sums of long rows are large and their difference would lose digits.
    return ops.cast(ops.sum(gains - found.norms, axis=1) + (end - found.final) - varying, "float32")


def marginals(emissions: Any, lengths: Any, moves: Moves) -> Any:
    """The probability of each tag at each step, [batch, time, tags]; 0 beyond the length."""
    return ops.cast(_expected(emissions, lengths, moves).tags, "float32")


def segment_probability(emissions: Any, tags: Any, begins: Any, lengths: Any, moves: Moves) -> Any:
    """How probable each segment of a tagging is, all its tags together, at each of its steps: [batch, time].

    The exact marginal over all taggings of the rest, so for a segment of one step the marginal of its tag. 0 beyond the
    length.

    Args: as those of `path_score`; and
      begins: bool [batch, time], whether a step begins a segment; the first step does in any case.
    """
    gains, _ = _gains(emissions, tags, lengths, moves)
    emissions, lengths, present = _prepared(emissions, lengths)
    tags = ops.where(present, ops.cast(tags, "int32"), 0)
    ahead, norms, _ = _forward(emissions, lengths, moves)
    behind = _backward(emissions, lengths, moves)
    own, after = (ops.take_along_axis(one, tags[:, :, None], axis=2)[:, :, 0] for one in (ahead, behind))
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


def best_paths(emissions: Any, lengths: Any, moves: Moves, count: int = 1) -> tuple[Any, Any]:
    """The `count` best taggings, best first, int32 [batch, count, time], 0 beyond the length; their scores
    [batch, count].

    Viterbi's algorithm; with more than one, each tag keeps its `count` best ways so far. Where there are fewer taggings
    than asked for, the rest have the score -inf.

    Args: as those of `path_score`.
    """
    emissions, lengths, present = _prepared(emissions, lengths, "float32")
    batch, tags = ops.shape(emissions)[0], moves.start.shape[0]
    kept = tags * count
    begin = ops.concatenate([moves.start + ops.zeros([batch, tags])] + [_never([batch, tags])] * (count - 1), axis=1)
    own = _by_time(emissions)

    def step(scores: Any, at: Any) -> Any:
        ways = ops.reshape(scores, [batch, count, tags, 1]) + moves.between  # [batch, way, from, to]
        if count == 1:
            reached = ops.max(ways[:, 0], axis=1)
        else:
            ways = ops.transpose(ops.reshape(ways, [batch, kept, tags]), [0, 2, 1])
            reached = ops.reshape(ops.transpose(ops.top_k(ways, count)[0], [0, 2, 1]), [batch, kept])
        new = ops.where(at == 0, begin, reached) + ops.tile(_at(own, at), [1, count])
        new = ops.where((at < lengths)[:, None], new, scores)
        return new, new

    scores, passed = ops.scan(step, ops.zeros_like(begin), _steps(own))
    alone = ops.concatenate([ops.zeros([batch, 1]), _never([batch, kept - 1])], axis=1)  # of a row without steps
    scores = ops.where((lengths > 0)[:, None], scores + ops.tile(moves.end, [count]), alone)
    values, last = ops.top_k(scores, count)
    come = ops.tile(ops.transpose(moves.between), [1, count])  # [to, from, way by way]

    def back(place: Any, at: Any) -> Any:
        # Where each path came from is found for the tags on it alone, rather than for all tags on the way there.
        ways = _at(passed, ops.maximum(at - 1, 0))[:, None, :] + ops.take(come, place % tags, axis=0)
        if count == 1:
            origin = ops.argmax(ways, axis=2)
        else:
            origin = ops.take_along_axis(ops.top_k(ways, count)[1], (place // tags)[:, :, None], axis=2)[:, :, 0]
        return ops.where((at < lengths)[:, None], ops.cast(origin, "int32"), place), place

    _, places = ops.scan(back, ops.cast(last, "int32"), _steps(own), reverse=True)
    found = ops.transpose(places, [1, 2, 0]) % tags
    return ops.where(present[:, None, :], found, 0), values


class _Expected(NamedTuple):
    norms: Any  # [batch, time] and
    final: Any  # [batch], which sum to the log of the sum over all taggings
    tags: Any  # [batch, time, tags], probabilities
    come: Any  # [batch, time - 1, tags] and
    ways: Any  # [tags, tags] and
    go: Any  # [batch, time - 1, tags], whose product is the probability of each move


def _prepared(emissions: Any, lengths: Any, dtype: str = "float64") -> tuple[Any, Any, Any]:
    """Emissions in the given type, int32 lengths, bool [batch, time] of the steps that there are."""
    emissions, lengths = ops.cast(emissions, dtype), ops.cast(lengths, "int32")
    return emissions, lengths, ops.arange(ops.shape(emissions)[1], dtype="int32")[None, :] < lengths[:, None]


def _exact(moves: Moves) -> Moves:
    return Moves(*(ops.cast(one, "float64") for one in moves))


def _ways(moves: Moves) -> tuple[Any, Any]:
    """The moves between tags as exponentials, divided by the largest of each column; the logs of these, [tags].

    With them a step of the recursions is a product of matrices. It is taken in float64, where no sum that matters
    vanishes as long as scores differ by less than 700.
    """
    between = ops.cast(moves.between, "float64")
    largest = ops.max(between, axis=0)
    largest = ops.where(largest > -float("inf"), largest, 0.0)
    return ops.exp(between - largest), largest


def _by_time(values: Any) -> Any:
    return ops.transpose(values, [1, 0, *range(2, len(values.shape))])


def _steps(by_time: Any) -> Any:
    """The numbers of steps, to be scanned: Keras 3.15 cannot scan several arrays of unknown length on TensorFlow."""
    return ops.arange(ops.shape(by_time)[0], dtype="int32")


def _at(by_time: Any, step: Any) -> Any:
    return ops.take(by_time, step, axis=0)


def _never(shape: Any) -> Any:
    return ops.full(shape, -float("inf"))


def _gated(moves: Moves, weights: Moves) -> Moves:
    """The moves, with the gradient of the weights."""
    return Moves(*(ops.where(m > -float("inf"), w, m) for m, w in zip(moves, weights, strict=True)))


def _gains(emissions: Any, tags: Any, lengths: Any, moves: Moves) -> tuple[Any, Any]:
    """What a tagging's score gains at each step, [batch, time], and at the end, [batch]."""
    emissions, lengths, present = _prepared(emissions, lengths)
    tags = ops.where(present, ops.cast(tags, "int32"), 0)
    own = ops.take_along_axis(emissions, tags[:, :, None], axis=2)[:, :, 0]
    moves = _exact(moves)
    pairs = tags[:, :-1] * moves.start.shape[0] + tags[:, 1:]
    between = ops.take(ops.reshape(moves.between, [-1]), pairs)
    moved = ops.concatenate([ops.take(moves.start, tags[:, :1]), between], axis=1)
    last = ops.take_along_axis(tags, ops.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
    end = ops.where(lengths > 0, ops.take(moves.end, last), 0.0)
    return ops.where(present, own + moved, 0.0), end


def _forward(emissions: Any, lengths: Any, moves: Moves) -> tuple[Any, Any, Any]:
    """(log probabilities of each step's tags given what came before, [batch, time, tags]; norms; final).

    Norms, [batch, time], are what was taken off at each step to make them so; final, [batch], is the log of the sum
    over last tags.
    """
    emissions, lengths, present = _prepared(emissions, lengths)
    moves, (ways, largest) = _exact(moves), _ways(moves)
    own = _by_time(emissions)

    def step(carry: Any, at: Any) -> Any:
        ahead, _ = carry
        new = ops.log(ops.matmul(ops.exp(ahead), ways)) + largest  # [batch, tags]
        new = ops.where(at == 0, moves.start, new) + _at(own, at)
        norm = ops.logsumexp(new, axis=1)
        new = ops.where((at < lengths)[:, None], new - norm[:, None], ahead)
        return (new, norm), (new, norm)

    begin = ops.zeros_like(own[0])
    (last, _), (ahead, norms) = ops.scan(step, (begin, begin[:, 0]), _steps(own))
    final = ops.where(lengths > 0, ops.logsumexp(last + moves.end, axis=1), 0.0)
    return _by_time(ahead), ops.where(present, _by_time(norms), 0.0), final


def _backward(emissions: Any, lengths: Any, moves: Moves) -> Any:
    """Log scores of all ways on from each step's tags, without their own, up to a constant: [batch, time, tags]."""
    emissions, lengths, _ = _prepared(emissions, lengths)
    moves, (ways, largest) = _exact(moves), _ways(moves)
    onward = ops.transpose(ways)
    own = _by_time(emissions)
    end = moves.end + ops.zeros_like(own[0])

    def step(behind: Any, at: Any) -> Any:
        following = _at(own, ops.minimum(at + 1, ops.shape(own)[0] - 1)) + behind + largest
        following -= ops.max(following, axis=1, keepdims=True)
        new = ops.log(ops.matmul(ops.exp(following), onward))
        new = ops.where((at + 1 < lengths)[:, None], new, end)
        return new, new

    _, behind = ops.scan(step, end, _steps(own), reverse=True)
    return _by_time(behind)


def _expected(emissions: Any, lengths: Any, moves: Moves) -> _Expected:
    """What the field expects, by the forward-backward algorithm."""
    emissions, lengths, present = _prepared(emissions, lengths)
    ahead, norms, final = _forward(emissions, lengths, moves)
    behind = _backward(emissions, lengths, moves)
    tags = ops.exp(ahead + behind - ops.logsumexp(ahead + behind, axis=2, keepdims=True))
    tags = ops.where(present[:, :, None], tags, 0.0)
    ways, largest = _ways(moves)
    go = emissions + behind + largest
    go = ops.exp(go - ops.max(go, axis=2, keepdims=True))[:, 1:]
    come = ops.exp(ahead[:, :-1])
    total = ops.sum(ops.matmul(come, ways) * go, axis=2, keepdims=True)
    come = ops.where(present[:, 1:, None], come / ops.where(present[:, 1:, None], total, 1.0), 0.0)
    return _Expected(norms, final, tags, come, ways, go)


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

    def build(self, shape: Any) -> None:
        if shape[-1] != self.tags:
            raise ValueError(f"the last axis holds the scores of {shape[-1]} tags, not of {self.tags}")
        self.start_scores = self.add_weight(shape=(self.tags,), initializer="zeros", name="start")
        self.between_scores = self.add_weight(shape=(self.tags, self.tags), initializer="zeros", name="between")
        self.end_scores = self.add_weight(shape=(self.tags,), initializer="zeros", name="end")

    def call(self, emissions: Any) -> Any:
        return ops.cast(emissions, "float32") + 0.0  # a tensor of its own, for Keras hangs a mask on the old one

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    @property
    def weights_of_moves(self) -> Moves:
        """The scores as they are learned, all finite."""
        return Moves(*(ops.convert_to_tensor(v) for v in (self.start_scores, self.between_scores, self.end_scores)))

    @property
    def moves(self) -> Moves:
        """The scores of moves, -inf where one is not allowed."""

        def gated(weight: Any, allowed: Any) -> Any:
            return weight if allowed is None else ops.where(ops.cast(ops.array(allowed), "bool"), weight, -float("inf"))

        allowed = (self.start, self.between, self.end)
        return Moves(*(gated(w, a) for w, a in zip(self.weights_of_moves, allowed, strict=True)))

    def log_likelihood(self, emissions: Any, tags: Any, lengths: Any) -> Any:
        """See `log_likelihood`."""
        return log_likelihood(emissions, tags, lengths, self.moves, self.weights_of_moves)

    def loss(self, tags: Any, emissions: Any) -> Any:
        """The negative log-likelihood of each row in nats, [batch]; to be given to `compile`.

        Args:
          tags: integers [batch, time], -1 where padded, at the right.
          emissions: what the layer returned.
        """
        lengths = ops.sum(ops.cast(tags >= 0, "int32"), axis=1)
        return -self.log_likelihood(emissions, tags, lengths)

    def best(self, emissions: Any, lengths: Any) -> tuple[Any, Any]:
        """The best tagging, int32 [batch, time], 0 beyond the length; and its log probability, [batch]."""
        tags = best_paths(emissions, lengths, self.moves)[0][:, 0]
        gains, end = _gains(emissions, tags, lengths, self.moves)
        _, norms, final = _forward(emissions, lengths, self.moves)
        return tags, ops.cast(ops.sum(gains - norms, axis=1) + (end - final), "float32")

    def get_config(self) -> dict[str, Any]:
        own = {"tags": self.tags, "start": self.start, "between": self.between, "end": self.end}
        return {**super().get_config(), **own}
