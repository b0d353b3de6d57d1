"""Models to decode, searches in plain Python to compare with, and short calls of the loops of decoding."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from common.modeling.decoding.beam_search import BeamConfig, beam_search
from common.modeling.decoding.ops import DecodingResult, Nest, Step, repeat_rows
from common.modeling.decoding.sampling import GreedyConfig, SamplingConfig, greedy, sample

NEVER = -np.inf
START, END = 0, 1
SOURCE = 3

Hypothesis = tuple[float, float, tuple[int, ...]]  # score, log probability, tokens


def search_beams(
    step: Step,
    state: Nest,
    batch: int | tf.Tensor,
    source_mask: tf.Tensor | None = None,
    memory: Nest = None,
    **settings: Any,
) -> DecodingResult:
    """`beam_search` with these settings."""
    return beam_search(step, state, batch, BeamConfig(**settings), source_mask=source_mask, memory=memory)


def decode_greedily(step: Step, state: Nest, batch: int | tf.Tensor, **settings: Any) -> DecodingResult:
    """`greedy` with these settings."""
    return greedy(step, state, batch, GreedyConfig(**settings))


def draw_samples(step: Step, state: Nest, batch: int | tf.Tensor, **settings: Any) -> DecodingResult:
    """`sample` with these settings."""
    return sample(step, state, batch, SamplingConfig(**settings))


def log_softmax(logits: npt.ArrayLike) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    most = logits.max()
    return logits - most - np.log(np.exp(logits - most).sum()) if most > NEVER else logits


class Prefixes:
    """A model whose logits and attention depend on the whole prefix, which its state numbers; other ones each row."""

    def __init__(self, seed: int, vocabulary: int, max_length: int, rows: int, masked: float = 0.0):
        random = np.random.default_rng(seed)
        self.vocabulary, self.rows = vocabulary, rows
        nodes = sum(vocabulary**n for n in range(max_length + 1))
        self.logits = random.normal(0, 1.5, (rows, nodes, vocabulary)).astype(np.float32)
        self.logits[random.random(self.logits.shape) < masked] = NEVER
        self.attention = random.dirichlet(np.ones(SOURCE), (rows, nodes)).astype(np.float32)

    def node(self, prefix: Sequence[int]) -> int:
        number = 0
        for token in prefix:
            number = number * self.vocabulary + token + 1
        return number

    def log_probs(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        return log_softmax(self.logits[row, self.node(prefix)])

    def attends(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        return self.attention[row, self.node(prefix)]

    def state(self, times: int = 1, rows: Sequence[int] | np.ndarray | None = None) -> Nest:
        rows = np.arange(self.rows) if rows is None else rows
        begin = {"row": tf.constant(rows, tf.int32), "node": tf.zeros([len(rows), 1], tf.int32)}
        return repeat_rows(begin, times)

    def step(self, state: Nest, tokens: tf.Tensor, position: tf.Tensor) -> tuple[Any, ...]:
        node = tf.where(position == 0, 0, state["node"] * self.vocabulary + tokens[:, None] + 1)
        places = tf.stack([state["row"], node[:, 0]], axis=1)
        state = {"row": state["row"], "node": node}
        return state, tf.gather_nd(self.logits, places), tf.gather_nd(self.attention, places)


class Pairs:
    """A model whose logits depend on the position and on the last token alone, without state or attention."""

    def __init__(self, seed: int, vocabulary: int, max_length: int, rows: int = 1, masked: float = 0.0):
        random = np.random.default_rng(seed)
        self.vocabulary, self.rows = vocabulary, rows
        self.logits = random.normal(0, 1.5, (max_length + 1, vocabulary, vocabulary)).astype(np.float32)
        self.logits[random.random(self.logits.shape) < masked] = NEVER

    def log_probs(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        return log_softmax(self.logits[len(prefix), prefix[-1] if prefix else START])

    def state(self, times: int = 1, rows: Sequence[int] | np.ndarray | None = None) -> Nest:
        return ()

    def step(self, state: Nest, tokens: tf.Tensor, position: tf.Tensor) -> tuple[Any, ...]:
        return state, tf.gather(tf.gather(self.logits, position), tokens)


class Sums(Pairs):
    """A model whose logits depend on the sum of all tokens so far, in its state as two numbers of different types."""

    def log_probs(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        return log_softmax(self.logits[len(prefix), (sum(prefix) + START) % self.vocabulary])

    def state(self, times: int = 1, rows: Sequence[int] | np.ndarray | None = None) -> Nest:
        begin = (tf.zeros([self.rows], tf.int32), [tf.zeros([self.rows, 2, 1], tf.bfloat16)])
        return repeat_rows(begin, times)

    def step(self, state: Nest, tokens: tf.Tensor, position: tf.Tensor) -> tuple[Any, ...]:
        total, [again] = state
        total += tokens
        again += tf.cast(tokens, tf.bfloat16)[:, None, None]
        mixed = (total + tf.cast(again[:, 1, 0], tf.int32)) // 2
        return (total, [again]), tf.gather(tf.gather(self.logits, position), mixed % self.vocabulary)


def fixed_step(probabilities: npt.ArrayLike) -> Step:
    """A step whose tokens have the same probabilities at all times."""
    logits = tf.math.log(tf.constant(probabilities, tf.float32))
    return lambda state, tokens, position: (state, tf.zeros([tf.shape(tokens)[0], 1]) + logits)


def repeats(prefix: Sequence[int], token: int, size: int) -> bool:
    """Whether the token completes a sequence of tokens of this size that the prefix holds."""
    if not size or token == END or len(prefix) < size:
        return False
    whole = [*prefix, token]
    return whole[-size:] in [whole[at : at + size] for at in range(len(prefix) - size + 1)]


def score_hypothesis(
    model: Any,
    row: int,
    prefix: Sequence[int],
    log_prob: float,
    penalty: float,
    coverage: float,
    mask: Sequence[int],
) -> float:
    """The score of Wu et al. of an ended hypothesis."""
    score = log_prob / ((5 + len(prefix) + 1) / 6) ** penalty
    if coverage:
        total = sum(model.attends(row, prefix[:at]).astype(np.float64) for at in range(len(prefix) + 1))
        score += coverage * sum(np.log(min(one, 1)) for one, there in zip(total, mask, strict=True) if there)
    return score


def enumerate_hypotheses(
    model: Any,
    row: int,
    max_length: int,
    penalty: float,
    coverage: float = 0.0,
    mask: Sequence[int] = (1,) * SOURCE,
) -> list[Hypothesis]:
    """All hypotheses of a row, (score, log probability, tokens), best first."""
    others = [token for token in range(model.vocabulary) if token != END]
    result = []
    for length in range(max_length + 1):
        for tokens in itertools.product(others, repeat=length):
            steps = zip(range(length + 1), [*tokens, END], strict=True)
            log_prob = sum(model.log_probs(row, tokens[:at])[token] for at, token in steps)
            if log_prob > NEVER:
                result.append(
                    (score_hypothesis(model, row, tokens, log_prob, penalty, coverage, mask), log_prob, tokens)
                )
    return sorted(result, key=lambda one: -one[0])


def search_in_python(
    model: Any,
    row: int,
    max_length: int,
    beam: int,
    penalty: float = 1.0,
    coverage: float = 0.0,
    mask: Sequence[int] = (1,) * SOURCE,
    no_repeat_ngram_size: int = 0,
    beam_stop_ratio: float | None = None,
    n_best: int = 1,
) -> tuple[list[Hypothesis], float]:
    """What a beam finds that stops early by `beam_stop_ratio` alone; and the least difference that decided."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[Hypothesis] = []
    margin = np.inf
    for position in range(max_length + 1):
        ways: list[tuple[float, tuple[int, ...], int]] = []
        for log_prob, prefix in live:
            for token, own in enumerate(model.log_probs(row, prefix)):
                allowed = token == END if position == max_length else not repeats(prefix, token, no_repeat_ngram_size)
                if allowed and own > NEVER:
                    ways.append((log_prob + own, prefix, token))
        ways.sort(key=lambda way: -way[0])
        if len(ways) > beam:
            margin = min(margin, ways[beam - 1][0] - ways[beam][0])
        for log_prob, prefix, token in ways[:beam]:
            if token == END:
                finished.append(
                    (score_hypothesis(model, row, prefix, log_prob, penalty, coverage, mask), log_prob, prefix)
                )
        live = [(log_prob, (*prefix, token)) for log_prob, prefix, token in ways[:beam] if token != END]
        if beam_stop_ratio and live and len(finished) >= n_best:
            worst = sorted(finished, key=lambda one: -one[0])[n_best - 1][0]
            lengths = {position + 2, max(position + 2, min(max_length + 1, int(beam_stop_ratio * (position + 2))))}
            hope = max(live[0][0] / ((5 + length) / 6) ** penalty for length in lengths) - worst
            margin = min(margin, abs(hope))
            if hope < 0:
                break
    return sorted(finished, key=lambda one: -one[0]), margin


def hypotheses(result: DecodingResult, row: int) -> list[Hypothesis]:
    """The (score, log probability, tokens) of a row that are there."""
    lengths, scores = result.lengths[row].numpy(), result.scores[row].numpy()
    tokens = result.tokens[row].numpy()
    for number, length in enumerate(lengths):
        assert not tokens[number, length:].any()
        assert scores[number] > NEVER or not length
    logs = result.log_probs[row].numpy()
    whole = [(s, p, tuple(t[:n].tolist())) for s, p, t, n in zip(scores, logs, tokens, lengths, strict=True)]
    return [one for one in whole if one[0] > NEVER]


def assert_same(result: DecodingResult, row: int, expected: list[Hypothesis], n_best: int) -> None:
    """Scores are equal in order, and so are the hypotheses, but for such as score alike to the last digits."""
    own, expected = hypotheses(result, row), expected[:n_best]
    assert len(own) == len(expected)
    np.testing.assert_allclose([one[0] for one in own], [one[0] for one in expected], atol=2e-4, rtol=1e-4)
    log_probs = {tokens: log_prob for _, log_prob, tokens in expected}
    for (score, log_prob, tokens), (wanted, _, same) in zip(own, expected, strict=True):
        alike = sum(abs(other[0] - wanted) < 1e-3 for other in expected)
        assert tokens == same or alike > 1 or score == pytest.approx(expected[-1][0], abs=1e-3)
        assert log_prob == pytest.approx(log_probs.get(tokens, log_prob), abs=2e-4)
    assert len({one[2] for one in own}) == len(own)


penalties = st.sampled_from([-0.5, 0.0, 0.6, 1.0, 2.5])


seeds = st.integers(0, 2**32 - 1)


@st.composite
def searches(draw: st.DrawFn, most_beam: int = 4) -> tuple[Any, ...]:
    seed, kind = draw(seeds), draw(st.sampled_from([Prefixes, Pairs, Sums]))
    model = kind(seed, draw(st.integers(2, 5)), 4, rows=2, masked=draw(st.sampled_from([0.0, 0.3])))
    max_length, beam = draw(st.lists(st.integers(0, 4), min_size=2, max_size=2)), draw(st.integers(1, most_beam))
    coverage = draw(st.sampled_from([0.0, 0.5])) if kind is Prefixes else 0.0
    return model, max_length, beam, draw(st.integers(1, beam)), draw(penalties), coverage, draw(st.integers(0, 3))
