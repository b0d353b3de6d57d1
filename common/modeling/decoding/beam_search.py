"""Beam search in the graph, over any model that makes one step at a time; see common/modeling/decoding/ops.py."""

from __future__ import annotations

from dataclasses import dataclass
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

PACK_FRACTION = 0.9  # of rows that have memory: when no more of them go on, the others are taken out of the batch
TINY = 1.1754944e-38  # the smallest float32 that has full precision


@dataclass(frozen=True, kw_only=True, eq=False)
class BeamConfig(DecodingConfig):
    """The settings of a beam search.

    Args: as those of `DecodingConfig`; and
      num_beams: how many hypotheses go on at most.
      n_best: how many are returned, at most `num_beams`.
      length_penalty: more favours long ones; 0 ranks by probability.
      coverage_penalty: not negative; more favours those that attend to all of the source. Needs attention.
      beam_stop_ratio: a hypothesis that goes on is taken to end within so many times the length that it would have if
        it ended next. 1 stops soonest, and what it gives up is seldom better: one whose tokens so far are less likely
        than those of a finished one would have to make up for it by those to come. None for up to `max_length`.
      return_attention: whether it is returned.

    Raises:
      ValueError: a number is out of range.
    """

    end: int
    num_beams: int
    n_best: int = 1
    length_penalty: float | tf.Tensor = 1.0
    coverage_penalty: float = 0.0
    beam_stop_ratio: float | None = None
    return_attention: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_best <= self.num_beams:
            raise ValueError(f"n_best must be from 1 to num_beams, {self.num_beams}, not {self.n_best}.")
        if self.beam_stop_ratio is not None and self.beam_stop_ratio < 1:
            raise ValueError(f"beam_stop_ratio must be at least 1, not {self.beam_stop_ratio}.")
        if self.coverage_penalty < 0:
            raise ValueError(f"coverage_penalty must not be negative; it is {self.coverage_penalty}.")

    @property
    def needs_attention(self) -> bool:
        """Whether the step must return its attention."""
        return self.return_attention or self.coverage_penalty > 0


class _ActiveBeams(NamedTuple):
    log_probs: tf.Tensor  # [batch, beams]; -inf where there is no hypothesis
    last_tokens: tf.Tensor  # [batch, beams]
    tokens: tf.Tensor  # [batch, beams, time]
    origins: tf.Tensor  # [batch, beams, time], the beam in which each token was chosen; time is 0 if not wanted
    attended: tf.Tensor  # [batch, beams, source], sums of attention; source is 0 before the first step or if not wanted


class _FinishedBeams(NamedTuple):
    scores: tf.Tensor  # [batch, n_best], best first; -inf where there is none yet
    log_probs: tf.Tensor  # [batch, n_best]
    lengths: tf.Tensor  # [batch, n_best]
    tokens: tf.Tensor  # [batch, n_best, time]
    origins: tf.Tensor  # [batch, n_best, time]


class _Rows(NamedTuple):
    indices: tf.Tensor  # [batch], which of all they are
    max_length: tf.Tensor  # [batch]
    memory: Nest  # or None
    source_mask: tf.Tensor | tuple[()]  # [batch, source], or () for none


def beam_search(
    step: Step,
    state: Nest,
    batch: int | tf.Tensor,
    config: BeamConfig,
    *,
    source_mask: tf.Tensor | None = None,
    memory: Nest = None,
) -> DecodingResult:
    """Return the `n_best` best hypotheses that a beam finds for each row.

    At each step the `num_beams` most probable continuations of the row's hypotheses stay. Those that end are finished,
    the others go on; where several end, fewer go on, and the next step fills the beam again. So a beam of 1 is greedy.
    A row stops once none that goes on can score better than the worst finished one to be returned, or, with
    `beam_stop_ratio`, once none can within so many times its length.

    The score is that of Wu et al. 2016, log probability / ((5 + length) / 6) ** length_penalty + coverage, where length
    and coverage count the end token. Coverage is coverage_penalty * the sum over source positions of
    log(min(its attention summed over tokens, 1)). Of equal hypotheses that which ended first comes first, then that
    with the lower token ids.

    Args:
      step: see common/modeling/decoding/ops.py.
      state: for batch * num_beams rows, each row's beams in succession.
      batch: how many rows; may be 0.
      source_mask: [batch, source], true or 1 where the source is, for coverage; without it, everywhere.
      memory: any structure of tensors [batch, ...] that stay the same. The step is then given it, too, as its last
        argument. So rows that are done can be taken out of the batch, which is done whenever they are a tenth of it,
        and steps cost what the rows cost that still go on; unless attention is returned.

    Raises:
      ValueError: the step returns no attention where it is needed.
    """
    beams, n_best = config.num_beams, config.n_best
    start, max_length, time = config.expand_rows(batch)
    width = time if config.return_attention else 0
    state = tf.nest.map_structure(tf.convert_to_tensor, state)
    log_probs = tf.concat([tf.zeros([batch, 1]), tf.fill([batch, beams - 1], NEVER)], axis=1)
    start = tf.repeat(start[:, None], beams, axis=1)
    tokens, origins = (tf.zeros([batch, beams, size], tf.int32) for size in (time, width))
    active = _ActiveBeams(log_probs, start, tokens, origins, tf.zeros([batch, beams, 0]))
    never, lengths = tf.fill([batch, n_best], NEVER), tf.zeros([batch, n_best], tf.int32)
    tokens, origins = (tf.zeros([batch, n_best, size], tf.int32) for size in (time, width))
    finished = _FinishedBeams(never, never, lengths, tokens, origins)
    rows = _Rows(tf.range(batch), max_length, memory, () if source_mask is None else source_mask)
    begin = (tf.constant(0), state, active, finished)
    if memory is not None and not config.return_attention:
        finished = _search_packed(step, config, time, rows, *begin)
        return DecodingResult(finished.tokens, finished.lengths, finished.scores, finished.log_probs)

    steps, _, _, finished, attentions = _BeamLoop(step, config, rows, time).run(*begin, min_active=0.0)
    first_beams = tf.range(batch)[:, None, None] * beams
    attention = None
    if config.return_attention:
        attention = gather_attention(attentions, steps, first_beams + finished.origins, finished.lengths)
    return DecodingResult(finished.tokens, finished.lengths, finished.scores, finished.log_probs, attention)


def _search_packed(
    step: Step,
    config: BeamConfig,
    time: tf.Tensor,
    rows: _Rows,
    position: tf.Tensor,
    state: Nest,
    active: _ActiveBeams,
    finished: _FinishedBeams,
) -> _FinishedBeams:
    """Search, and take rows that are done out of the batch again and again."""

    def search_and_pack(*variables: Nest) -> tuple[Nest, ...]:
        position, state, active, finished, rows, results = variables
        loop = _BeamLoop(step, config, rows, time)
        position, state, active, finished, _ = loop.run(position, state, active, finished, PACK_FRACTION)
        results = _update_rows(results, finished, rows.indices)
        return position, *_pack(state, active, finished, rows, config.num_beams), results

    state_shapes, active_shapes = any_rows_shapes(state), loose_shapes(active, config.num_beams)
    finished_shapes = loose_shapes(finished, config.n_best)
    shapes = (SCALAR, state_shapes, active_shapes, finished_shapes, any_rows_shapes(rows), finished_shapes)
    begin = (position, state, active, finished, rows, finished)
    *_, results = tf.while_loop(lambda *loop: tf.shape(loop[4].indices)[0] > 0, search_and_pack, begin, shapes)
    return results


def _pack(
    state: Nest, active: _ActiveBeams, finished: _FinishedBeams, rows: _Rows, beams: int
) -> tuple[Nest, _ActiveBeams, _FinishedBeams, _Rows]:
    """Return the state, the beams and the rows without those that are done."""
    remaining = tf.where(_is_active(active))[:, 0]
    state_rows = tf.reshape(remaining[:, None] * beams + tf.range(beams, dtype=remaining.dtype), [-1])
    state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, state_rows), state)
    packed = tf.nest.map_structure(lambda tensor: tf.gather(tensor, remaining), (active, finished, rows))
    return state, *packed


class _BeamLoop:
    """The loop over the steps of a batch whose rows stay the same.

    Args:
      time: the most tokens of any hypothesis.
    """

    def __init__(self, step: Step, config: BeamConfig, rows: _Rows, time: tf.Tensor):
        self.step, self.config, self.rows, self.time = step, config, rows, time
        self.batch = tf.shape(rows.max_length)[0]
        self.first_beams = tf.range(self.batch)[:, None] * config.num_beams  # of each row
        self.memory = () if rows.memory is None else (rows.memory,)

    def run(
        self,
        position: tf.Tensor,
        state: Nest,
        active: _ActiveBeams,
        finished: _FinishedBeams,
        min_active: float,
    ) -> tuple[tf.Tensor, Nest, _ActiveBeams, _FinishedBeams, tf.TensorArray]:
        """Make steps, as long as more than a fraction `min_active` of the rows go on."""
        count = tf.cast(min_active * tf.cast(self.batch, tf.float32), tf.int32)

        def goes_on(position: tf.Tensor, state: Nest, active: _ActiveBeams, *_: Nest) -> tf.Tensor:
            # The first step is taken even for an empty batch, since it tells how long the source is.
            return tf.logical_or(position == 0, tf.math.count_nonzero(_is_active(active), dtype=tf.int32) > count)

        shapes = (
            SCALAR,
            any_rows_shapes(state),
            loose_shapes(active, self.config.num_beams),
            loose_shapes(finished, self.config.n_best),
            SCALAR,
        )
        begin = (position, state, active, finished, make_attention_array(self.time))
        return tf.while_loop(goes_on, self._advance, begin, shapes)

    def _advance(
        self,
        position: tf.Tensor,
        state: Nest,
        active: _ActiveBeams,
        finished: _FinishedBeams,
        attentions: tf.TensorArray,
    ) -> tuple[tf.Tensor, Nest, _ActiveBeams, _FinishedBeams, tf.TensorArray]:
        """Make one step: continue the beams, finish those that end, stop the rows that are done."""
        config, last_tokens = self.config, tf.reshape(active.last_tokens, [-1])
        state, logits, log_sum, attention = call_step(
            self.step, state, last_tokens, position, config.needs_attention, self.memory
        )
        log_probs, tokens, parents = self._choose_tokens(position, logits, log_sum, active)
        past, origins = (tf.gather(values, parents, batch_dims=1) for values in (active.tokens, active.origins))
        attended = active.attended
        if config.coverage_penalty > 0:
            attended = self._add_attention(attended, attention, parents)
        if config.return_attention:
            attentions = attentions.write(position, attention)

        ended = tf.logical_and(tokens == config.end, log_probs > NEVER)
        scores = tf.where(ended, self._score(position, log_probs, attended), NEVER)
        lengths = tf.fill([self.batch, config.num_beams], position)
        finished = _keep_best(finished, _FinishedBeams(scores, log_probs, lengths, past, origins), config.n_best)
        log_probs = self._prune(position, tf.where(ended, NEVER, log_probs), finished)
        past, origins = write_position(past, tokens, position), write_position(origins, parents, position)
        active = _ActiveBeams(log_probs, tokens, past, origins, attended)
        if config.num_beams > 1:
            chosen = tf.reshape(self.first_beams + parents, [-1])
            state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, chosen), state)
        return position + 1, state, active, finished, attentions

    def _choose_tokens(
        self, position: tf.Tensor, logits: tf.Tensor, log_sum: tf.Tensor, active: _ActiveBeams
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the best continuations, [batch, beams]: log probabilities, tokens, and the beams that they continue.

        The best of each beam, then the best of these: far fewer to sort than beams * vocabulary.
        """
        batch, beams, end = self.batch, self.config.num_beams, self.config.end
        end_logits = logits[:, end]
        if size := self.config.no_repeat_ngram_size:
            past = tf.reshape(active.tokens, [batch * beams, self.time])
            logits = mask_repeated_ngrams(logits, past, position, size)
        count = min(beams, logits.shape[1]) if logits.shape[1] else tf.minimum(beams, tf.shape(logits)[1])
        values, tokens = find_top_k(logits, count)  # [batch * beams, count]
        forced = tf.repeat(position >= self.rows.max_length, beams)[:, None]
        only_end = tf.where(tf.range(count) == 0, end_logits[:, None], NEVER)
        values = replace_nan(tf.where(forced, only_end, values) - log_sum[:, None])
        tokens = tf.where(forced, end, tokens)
        values = tf.reshape(values, [batch, beams, count]) + active.log_probs[:, :, None]
        log_probs, places = tf.math.top_k(tf.reshape(values, [batch, beams * count]), beams)
        tokens = tf.gather(tf.reshape(tokens, [batch, beams * count]), places, batch_dims=1)
        return log_probs, tokens, places // count

    def _add_attention(self, attended: tf.Tensor, attention: tf.Tensor, parents: tf.Tensor) -> tf.Tensor:
        """Return the sums of attention of the beams that go on, with that of this step."""
        source = tf.shape(attention)[1]
        attended = tf.pad(attended, [[0, 0], [0, 0], [0, source - tf.shape(attended)[2]]])  # at the first step alone
        attention = tf.reshape(attention, [self.batch, self.config.num_beams, source])
        return tf.gather(attended + attention, parents, batch_dims=1)

    def _score(self, position: tf.Tensor, log_probs: tf.Tensor, attended: tf.Tensor) -> tf.Tensor:
        """Return the scores of hypotheses that end at this position, [batch, beams]."""
        config, mask = self.config, self.rows.source_mask
        scores = log_probs / length_norm(position + 1, config.length_penalty)
        if config.coverage_penalty > 0:
            scores += config.coverage_penalty * _coverage(attended, None if isinstance(mask, tuple) else mask)
        return scores

    def _prune(self, position: tf.Tensor, log_probs: tf.Tensor, finished: _FinishedBeams) -> tf.Tensor:
        """Return the log probabilities of the beams that go on; -inf in rows where none can score better any more.

        Log probabilities only fall and coverage is at most 0. The norm that a hypothesis has at its end is between that
        of ending next and that of the longest that it is taken to become.
        """
        config, longest = self.config, self.rows.max_length + 1
        if config.beam_stop_ratio is not None:
            expected = tf.cast(config.beam_stop_ratio * tf.cast(position + 2, tf.float32), tf.int32)
            longest = tf.minimum(longest, expected)
        norm = tf.maximum(*(length_norm(length, config.length_penalty) for length in (position + 2, longest)))
        done = tf.reduce_max(log_probs, axis=1) / norm <= finished.scores[:, -1]
        return tf.where(done[:, None], NEVER, log_probs)


def _is_active(active: _ActiveBeams) -> tf.Tensor:
    """Tell which rows go on, [batch]."""
    return tf.reduce_any(active.log_probs > NEVER, axis=1)


def _update_rows(all_rows: _FinishedBeams, updated: _FinishedBeams, indices: tf.Tensor) -> _FinishedBeams:
    """Return all rows, those at the indices updated."""
    count = tf.shape(all_rows.scores)[0]
    places = tf.scatter_nd(indices[:, None], tf.range(1, tf.shape(indices)[0] + 1), [count]) - 1  # -1 is none

    def update(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        is_updated = tf.reshape(places >= 0, [-1, *[1] * (len(old.shape) - 1)])
        return tf.where(is_updated, tf.gather(new, tf.maximum(places, 0)), old)

    return _FinishedBeams(*(update(old, new) for old, new in zip(all_rows, updated, strict=True)))


def _keep_best(finished: _FinishedBeams, new: _FinishedBeams, count: int) -> _FinishedBeams:
    """Return the best of both; of equal ones the first."""
    both = _FinishedBeams(*(tf.concat(pair, axis=1) for pair in zip(finished, new, strict=True)))
    scores, places = tf.math.top_k(both.scores, count)
    return _FinishedBeams(scores, *(tf.gather(values, places, batch_dims=1) for values in both[1:]))


def _coverage(attended: tf.Tensor, source_mask: tf.Tensor | None) -> tf.Tensor:
    """Sum log(min(attention, 1)) over the source, [batch, beams]; finite even where none fell on a position."""
    logs = tf.math.log(tf.clip_by_value(attended, TINY, 1.0))
    if source_mask is not None:
        logs = tf.where(tf.cast(source_mask, tf.bool)[:, None], logs, 0.0)
    return tf.reduce_sum(logs, axis=2)
