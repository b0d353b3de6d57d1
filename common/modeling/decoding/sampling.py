"""One hypothesis of each row in the graph, greedy or sampled; over any model that makes one step at a time.

See common/modeling/decoding/ops.py for what such a step is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import tensorflow as tf

from common.modeling.decoding.ops import (
    NEVER,
    SCALAR,
    DecodingConfig,
    DecodingResult,
    Nest,
    Step,
    any_rows_shapes,
    call_step,
    find_top_k,
    gather_attention,
    length_norm,
    loose_shapes,
    make_attention_array,
    mask_repeated_ngrams,
    replace_nan,
    write_position,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class GreedyConfig(DecodingConfig):
    """The settings of greedy decoding.

    Args: as those of `DecodingConfig`; and
      length_penalty: as of `BeamConfig`.
      return_attention: whether it is returned.
    """

    length_penalty: float | tf.Tensor = 1.0
    return_attention: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingConfig(DecodingConfig):
    """The settings of sampling.

    Args: as those of `DecodingConfig`; and
      end: None if nothing ends before `max_length`. Then neither length nor log probability counts an end.
      no_repeat_ngram_size: where it would leave no token at all, repeats are allowed.
      seed: integers [2], or [batch, 2] for a seed of each row, whose draws then have nothing to do with other rows.
      temperature: logits are divided by it; 0 is greedy. One, or float32 [batch], as are the next two.
      top_k: so many of the most probable tokens are drawn from (Fan et al. 2018); 0 for all.
      top_p: the fewest most probable ones that hold this probability are drawn from, of those that `top_k` leaves
        (Holtzman et al. 2020). 1 for all; one token remains in any case.
    """

    seed: tf.Tensor
    temperature: float | tf.Tensor = 1.0
    top_k: int | tf.Tensor = 0
    top_p: float | tf.Tensor = 1.0


class _ActiveRows(NamedTuple):
    is_active: tf.Tensor  # [batch]
    last_tokens: tf.Tensor  # [batch]
    tokens: tf.Tensor  # [batch, time]
    lengths: tf.Tensor  # [batch]
    log_probs: tf.Tensor  # [batch]


def greedy(step: Step, state: Nest, batch: int | tf.Tensor, config: GreedyConfig) -> DecodingResult:
    """Return the hypothesis of each row whose every token is the most probable one: that of a beam of 1.

    Args:
      step: see common/modeling/decoding/ops.py.
      state: for `batch` rows.
      batch: how many rows; may be 0.

    Raises:
      ValueError: the step returns no attention where it is needed.
    """

    def choose(logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return _most_likely(logits)

    search = _SingleSearch(step, config, choose, config.length_penalty, config.return_attention, strict=True)
    result = search.run(state, batch)
    is_possible = result.log_probs > NEVER
    attention = result.attention
    return replace(
        result,
        tokens=tf.where(is_possible[:, :, None], result.tokens, 0),
        lengths=tf.where(is_possible, result.lengths, 0),
        attention=None if attention is None else tf.where(is_possible[:, :, None, None], attention, 0.0),
    )


def sample(step: Step, state: Nest, batch: int | tf.Tensor, config: SamplingConfig) -> DecodingResult:
    """Draw a hypothesis of each row; the same for the same seed, to the bit on the same kind of device.

    A token is where a random number falls among the summed probabilities. The log probabilities that are returned are
    the model's own, whatever the temperature and the limits. For several samples of a row, repeat it.

    Args: as those of `greedy`.
    """
    temperature, top_p = (
        tf.broadcast_to(tf.cast(setting, tf.float32), [batch]) for setting in (config.temperature, config.top_p)
    )
    top_k = tf.broadcast_to(tf.cast(config.top_k, tf.int32), [batch])
    max_lengths = tf.reshape(tf.cast(config.max_length, tf.int32), [-1])
    steps = tf.maximum(tf.reduce_max(tf.concat([max_lengths, [0]], axis=0)), 0) + 1
    noise = _draw_noise(tf.convert_to_tensor(config.seed), batch, steps)

    def choose(logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return _draw_tokens(logits, noise[:, position], temperature, top_k, top_p)

    return _SingleSearch(step, config, choose, strict=False).run(state, batch)


class _SingleSearch:
    """The loop of one hypothesis of each row.

    Args:
      choose: the tokens int32 [rows] by logits and position.
      strict: repeats are not allowed even where no other tokens are left; then the hypothesis has probability 0.
    """

    def __init__(
        self,
        step: Step,
        config: DecodingConfig,
        choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        length_penalty: float | tf.Tensor = 1.0,
        return_attention: bool = False,
        strict: bool = True,
    ):
        self.step, self.config, self.choose = step, config, choose
        self.length_penalty, self.return_attention, self.strict = length_penalty, return_attention, strict

    def run(self, state: Nest, batch: int | tf.Tensor) -> DecodingResult:
        """Return the hypotheses, [batch, 1, ...]."""
        end = self.config.end
        start, max_length, time = self.config.expand_rows(batch)

        def goes_on(position: tf.Tensor, state: Nest, rows: _ActiveRows, _: tf.TensorArray) -> tf.Tensor:
            any_active = tf.reduce_any(rows.is_active)
            return tf.logical_or(position == 0, any_active) if self.return_attention else any_active

        def advance(
            position: tf.Tensor, state: Nest, rows: _ActiveRows, attentions: tf.TensorArray
        ) -> tuple[tf.Tensor, Nest, _ActiveRows, tf.TensorArray]:
            return self._advance(max_length, position, state, rows, attentions)

        state = tf.nest.map_structure(tf.convert_to_tensor, state)
        is_active = max_length > 0 if end is None else tf.fill([batch], True)
        tokens, lengths = tf.zeros([batch, time], tf.int32), tf.zeros([batch], tf.int32)
        rows = _ActiveRows(is_active, start, tokens, lengths, tf.zeros([batch]))
        shapes = (SCALAR, any_rows_shapes(state), loose_shapes(rows), SCALAR)
        begin = (tf.constant(0), state, rows, make_attention_array(time))
        steps, _, rows, attentions = tf.while_loop(goes_on, advance, begin, shapes)
        tokens, lengths, log_probs = rows.tokens[:, None], rows.lengths[:, None], rows.log_probs[:, None]
        scores = log_probs / length_norm(lengths + (end is not None), self.length_penalty)
        places = tf.range(batch)[:, None, None] + tf.zeros_like(tokens)
        attention = gather_attention(attentions, steps, places, lengths) if self.return_attention else None
        return DecodingResult(tokens, lengths, scores, log_probs, attention)

    def _advance(
        self,
        max_length: tf.Tensor,
        position: tf.Tensor,
        state: Nest,
        rows: _ActiveRows,
        attentions: tf.TensorArray,
    ) -> tuple[tf.Tensor, Nest, _ActiveRows, tf.TensorArray]:
        """Make one step: choose a token of each row, and stop the rows that end."""
        end, size = self.config.end, self.config.no_repeat_ngram_size
        state, logits, log_sum, attention = call_step(
            self.step, state, rows.last_tokens, position, self.return_attention
        )
        if size:
            allowed = mask_repeated_ngrams(logits, rows.tokens, position, size)
            is_stuck = tf.reduce_max(allowed, axis=1, keepdims=True) == NEVER
            logits = allowed if self.strict else tf.where(is_stuck, logits, allowed)
        token = self.choose(logits, position)
        if end is not None:
            token = tf.where(position >= max_length, end, token)
        log_probs = rows.log_probs + replace_nan(tf.gather(logits, token, batch_dims=1) - log_sum)
        log_probs = tf.where(rows.is_active, log_probs, rows.log_probs)
        goes_on = rows.is_active if end is None else tf.logical_and(rows.is_active, token != end)
        tokens = tf.where(goes_on[:, None], write_position(rows.tokens, token, position), rows.tokens)
        lengths = tf.where(goes_on, position + 1, rows.lengths)
        is_active = tf.logical_and(goes_on, position + 1 < max_length if end is None else log_probs > NEVER)
        if self.return_attention:
            attentions = attentions.write(position, attention)
        return position + 1, state, _ActiveRows(is_active, token, tokens, lengths, log_probs), attentions


def _draw_noise(seed: tf.Tensor, batch: int | tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Return random numbers from 0 to 1 for each row and step, [batch, steps]."""

    def draw(key: tf.Tensor, shape: list[int | tf.Tensor]) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, key, alg="philox")

    if seed.shape.rank == 1:
        return draw(seed, [batch, steps])
    return tf.map_fn(lambda key: draw(key, [steps]), seed, fn_output_signature=tf.TensorSpec([None], tf.float32))


def _draw_tokens(
    logits: tf.Tensor, uniform: tf.Tensor, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor
) -> tf.Tensor:
    """Return a token of each row, where a number from 0 to 1 falls; int32 [rows].

    What a row's token is has nothing to do with other rows: those with limits draw from tokens in order of probability,
    all others from tokens in order of their ids.
    """
    best = _most_likely(logits)
    scaled = logits - tf.reduce_max(logits, axis=1, keepdims=True)
    scaled /= tf.where(temperature > 0, temperature, 1.0)[:, None]
    vocabulary_size = tf.shape(logits)[1]
    counts = tf.where(top_k > 0, tf.minimum(top_k, vocabulary_size), vocabulary_size)  # [rows]
    has_limits = tf.logical_or(counts < vocabulary_size, top_p < 1)

    def draw(weights: tf.Tensor) -> tf.Tensor:
        sums = tf.cumsum(weights, axis=1)
        below = tf.cast(sums <= uniform[:, None] * sums[:, -1:], tf.int32)
        return tf.minimum(tf.reduce_sum(below, axis=1), tf.shape(weights)[1] - 1)

    def draw_limited() -> tf.Tensor:
        values, tokens = tf.math.top_k(scaled, tf.reduce_max(counts))
        weights = tf.exp(values)
        ranks = tf.range(tf.shape(values)[1])
        weights = tf.where(ranks < counts[:, None], weights, 0.0)
        before = tf.cumsum(weights, axis=1, exclusive=True)
        within = before < top_p[:, None] * tf.reduce_sum(weights, axis=1, keepdims=True)
        weights = tf.where(tf.logical_or(within, ranks == 0), weights, 0.0)
        return tf.where(has_limits, tf.gather(tokens, draw(weights), batch_dims=1), draw(tf.exp(scaled)))

    # Only limits need tokens in order.
    drawn = tf.cond(tf.reduce_any(has_limits), draw_limited, lambda: draw(tf.exp(scaled)))
    return tf.where(temperature > 0, drawn, best)


def _most_likely(logits: tf.Tensor) -> tf.Tensor:
    # Of equal ones the first, which argmax does not promise.
    return find_top_k(logits, 1)[1][:, 0]
