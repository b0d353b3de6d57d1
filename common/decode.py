"""Token sequences out of autoregressive models, in the graph: greedy, beam search and sampling.

The loop knows nothing of the model. It calls a step, and whatever the model remembers is the step's state:

    step(state, tokens, position[, memory]) -> (state, logits)  or  (state, logits, attention)

- state: any structure of tensors with the axis of rows first. Other axes may grow from step to step where their size
  is not known when the graph is made. Beam search reorders it. What does not change, such as the encoder's memory, is
  captured by the function: `repeated` for each beam, or once, for the beams of a row follow each other.
- tokens: int32 [rows], the last ones; position: int32 scalar, from 0. It reaches `longest`, where the end's
  probability is asked for; so a cache of a size of its own needs `longest` + 1 places.
- logits: floats [rows, vocabulary]; -inf is a token that may not come.
- attention: floats [rows, source].

    def step(state, tokens, position):
        output, state = cell(embedding(tokens), state)
        return state, scores(output)

    found = beam_search(step, repeated(state, 4), batch, start=1, end=2, longest=100, beam=4)

Written in core TensorFlow operations alone, so that a SavedModel can hold it and this file can be copied elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import tensorflow as tf

Step = Callable[..., tuple[Any, ...]]
NEVER = -float("inf")
STILL = 0.9  # of rows that have memory: when no more of them go on, the others are taken out of the batch
PIECE = 64  # columns of a row that are looked through at once
TINY = 1.1754944e-38  # the smallest float32 that has full precision
_SCALAR = tf.TensorShape([])


@dataclass(frozen=True)
class Decoded:
    """Hypotheses, best first. One that is not there has the score -inf, the length 0 and no tokens.

    Args:
      tokens: int32 [batch, n_best, time], without the end token, 0 after the end; time is the greatest `longest`.
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


def repeated(nest: Any, times: int) -> Any:
    """The tensors of a structure, [batch, ...], with each row `times` in succession: [batch * times, ...].

    >>> repeated({"memory": tf.constant([[1], [2]])}, 2)["memory"].numpy().tolist()
    [[1], [1], [2], [2]]
    """
    return tf.nest.map_structure(lambda one: tf.repeat(one, times, axis=0), nest)


class _Live(NamedTuple):
    sums: tf.Tensor  # [batch, beam], log probabilities; -inf where there is no hypothesis
    last: tf.Tensor  # [batch, beam]
    tokens: tf.Tensor  # [batch, beam, time]
    origins: tf.Tensor  # [batch, beam, time], the beam in which each token was chosen; time is 0 if not wanted
    seen: tf.Tensor  # [batch, beam, source], sums of attention; source is 0 before the first step or if not wanted


class _Row(NamedTuple):
    live: tf.Tensor  # [batch]
    last: tf.Tensor  # [batch]
    tokens: tf.Tensor  # [batch, time]
    lengths: tf.Tensor  # [batch]
    sums: tf.Tensor  # [batch]


class _About(NamedTuple):
    row: tf.Tensor  # [batch], which of all it is
    longest: tf.Tensor  # [batch]
    memory: Any
    mask: Any  # [batch, source], or () for none


class _Finished(NamedTuple):
    scores: tf.Tensor  # [batch, n_best], best first; -inf where there is none yet
    log_probs: tf.Tensor  # [batch, n_best]
    lengths: tf.Tensor  # [batch, n_best]
    tokens: tf.Tensor  # [batch, n_best, time]
    origins: tf.Tensor  # [batch, n_best, time]


def beam_search(
    step: Step,
    state: Any,
    batch: int | tf.Tensor,
    *,
    start: int | tf.Tensor,
    end: int,
    longest: int | tf.Tensor,
    beam: int,
    n_best: int = 1,
    length_penalty: float | tf.Tensor = 1.0,
    coverage_penalty: float = 0.0,
    look_ahead: float | None = None,
    blocked: int = 0,
    attention: bool | None = None,
    source_mask: tf.Tensor | None = None,
    memory: Any = None,
) -> Decoded:
    """The `n_best` best hypotheses that a beam finds for each row.

    At each step the `beam` most probable continuations of the row's hypotheses stay. Those that end are finished, the
    others go on; where several end, fewer go on, and the next step fills the beam again. So a beam of 1 is greedy. A
    row stops once none that goes on can score better than the worst finished one to be returned, or, with `look_ahead`,
    once none can within so many times its length.

    The score is that of Wu et al. 2016, log probability / ((5 + length) / 6) ** length_penalty + coverage, where length
    and coverage count the end token. Coverage is coverage_penalty * the sum over source positions of
    log(min(its attention summed over tokens, 1)). Of equal hypotheses that which ended first comes first, then that
    with the lower token ids.

    Args:
      step: see the head of this file.
      state: for batch * beam rows, each row's beams in succession.
      batch: how many rows; may be 0.
      start: the token before the first, one or int32 [batch].
      end: the token that ends a hypothesis.
      longest: most tokens of a hypothesis, without its end; one or int32 [batch]. It must end there, and the
        probability of the end counts.
      beam: how many hypotheses go on at most.
      n_best: how many are returned, at most `beam`.
      length_penalty: more favours long ones; 0 ranks by probability.
      coverage_penalty: not negative; more favours those that attend to all of the source. Needs attention.
      look_ahead: a hypothesis that goes on is taken to end within so many times the length that it would have if it
        ended next. 1 stops soonest, and what it gives up is seldom better: one whose tokens so far are less likely
        than those of a finished one would have to make up for it by those to come. None for up to `longest`.
      blocked: no sequence of so many tokens comes twice in a hypothesis; 0 allows all.
      attention: whether it is returned.
      source_mask: [batch, source], true or 1 where the source is, for coverage; without it, everywhere.
      memory: any structure of tensors [batch, ...] that stay the same. The step is then given it, too, as its last
        argument. So rows that are done can be taken out of the batch, which is done whenever they are a tenth of it,
        and steps cost what the rows cost that still go on; unless attention is returned.

    Raises:
      ValueError: a number is out of range, or the step returns no attention where it is needed.
    """
    if not 1 <= n_best <= beam:
        raise ValueError(f"n_best must be from 1 to beam, {beam}, not {n_best}.")
    if look_ahead is not None and look_ahead < 1:
        raise ValueError(f"look_ahead must be at least 1, not {look_ahead}.")
    if coverage_penalty < 0:
        raise ValueError(f"coverage_penalty must not be negative; it is {coverage_penalty}.")
    attend = bool(attention) or coverage_penalty > 0
    starts, longest, time = _prepared(batch, start, longest, blocked)
    width = time if attention else 0

    def searched(position: tf.Tensor, state: Any, live: _Live, finished: _Finished, about: _About, still: float) -> Any:
        """Steps, as long as more than a share `still` of the rows go on."""
        there = tf.shape(about.longest)[0]
        rows = tf.range(there)[:, None] * beam  # the first of each row's beams
        more = () if memory is None else (about.memory,)
        least = tf.cast(still * tf.cast(there, tf.float32), tf.int32)

        def going(position: tf.Tensor, state: Any, live: _Live, *_: Any) -> tf.Tensor:
            # The first step is taken even for an empty batch, since it tells how long the source is.
            return tf.logical_or(position == 0, tf.math.count_nonzero(_goes_on(live), dtype=tf.int32) > least)

        def body(position: tf.Tensor, state: Any, live: _Live, finished: _Finished, attentions: Any) -> Any:
            last = tf.reshape(live.last, [-1])
            moved, logits, whole, looked = _called(step, state, last, position, attend, more)
            end_logits = logits[:, end]
            if blocked:
                written = tf.reshape(live.tokens, [there * beam, time])
                logits = _without_repeats(logits, written, position, blocked)

            # The best of each beam, then the best of these: far fewer to sort than beam * vocabulary.
            count = min(beam, logits.shape[1]) if logits.shape[1] else tf.minimum(beam, tf.shape(logits)[1])
            values, tokens = largest(logits, count)  # [there * beam, count]
            forced = tf.repeat(position >= about.longest, beam)[:, None]
            only_end = tf.where(tf.range(count) == 0, end_logits[:, None], NEVER)
            values = _numbers(tf.where(forced, only_end, values) - whole[:, None])
            tokens = tf.where(forced, end, tokens)
            values = tf.reshape(values, [there, beam, count]) + live.sums[:, :, None]
            sums, places = tf.math.top_k(tf.reshape(values, [there, beam * count]), beam)
            tokens = tf.gather(tf.reshape(tokens, [there, beam * count]), places, batch_dims=1)
            parents = places // count  # [there, beam]

            past, origins = (tf.gather(one, parents, batch_dims=1) for one in (live.tokens, live.origins))
            seen = live.seen
            if coverage_penalty > 0:
                source = tf.shape(looked)[1]
                seen = tf.pad(seen, [[0, 0], [0, 0], [0, source - tf.shape(seen)[2]]])  # at the first step alone
                seen = tf.gather(seen + tf.reshape(looked, [there, beam, source]), parents, batch_dims=1)
            if attention:
                attentions = attentions.write(position, looked)

            scores = sums / _normaliser(position + 1, length_penalty)
            if coverage_penalty > 0:
                scores += coverage_penalty * _coverage(seen, None if source_mask is None else about.mask)
            ended = tf.logical_and(tokens == end, sums > NEVER)
            fresh = _Finished(tf.where(ended, scores, NEVER), sums, tf.fill([there, beam], position), past, origins)
            finished = _best(finished, fresh, n_best)

            # Log probabilities only fall and coverage is at most 0. The norm that a hypothesis has at its end is
            # between that of ending next and that of the longest that it is taken to become.
            sums = tf.where(ended, NEVER, sums)
            most = about.longest + 1
            if look_ahead is not None:
                most = tf.minimum(most, tf.cast(look_ahead * tf.cast(position + 2, tf.float32), tf.int32))
            norm = tf.maximum(*(_normaliser(length, length_penalty) for length in (position + 2, most)))
            done = tf.reduce_max(sums, axis=1) / norm <= finished.scores[:, -1]
            sums = tf.where(done[:, None], NEVER, sums)
            past, origins = _written(past, tokens, position), _written(origins, parents, position)
            live = _Live(sums, tokens, past, origins, seen)
            if beam > 1:
                chosen = tf.reshape(rows + parents, [-1])
                moved = tf.nest.map_structure(lambda one: tf.gather(one, chosen), moved)
            return position + 1, moved, live, finished, attentions

        shapes = (_SCALAR, _state_shapes(state), _shapes(live, beam), _shapes(finished, n_best), _SCALAR)
        return tf.while_loop(going, body, (position, state, live, finished, _attentions(time)), shapes)

    state = tf.nest.map_structure(tf.convert_to_tensor, state)
    first = tf.concat([tf.zeros([batch, 1]), tf.fill([batch, beam - 1], NEVER)], axis=1)
    starts = tf.repeat(starts[:, None], beam, axis=1)
    tokens, origins = (tf.zeros([batch, beam, n], tf.int32) for n in (time, width))
    live = _Live(first, starts, tokens, origins, tf.zeros([batch, beam, 0]))
    never, lengths = tf.fill([batch, n_best], NEVER), tf.zeros([batch, n_best], tf.int32)
    tokens, origins = (tf.zeros([batch, n_best, n], tf.int32) for n in (time, width))
    finished = _Finished(never, never, lengths, tokens, origins)
    about = _About(tf.range(batch), longest, memory, () if source_mask is None else source_mask)
    if memory is None or attention:
        steps, _, _, found, attentions = searched(tf.constant(0), state, live, finished, about, 0.0)
        rows = tf.range(batch)[:, None, None] * beam
        looked = _along(attentions, steps, rows + found.origins, found.lengths) if attention else None
        return Decoded(found.tokens, found.lengths, found.scores, found.log_probs, looked)

    def packed(position: tf.Tensor, state: Any, live: _Live, finished: _Finished, about: _About, found: Any) -> Any:
        position, state, live, finished, _ = searched(position, state, live, finished, about, STILL)
        found = _placed(found, finished, about.row)
        left = tf.where(_goes_on(live))[:, 0]
        state = tf.nest.map_structure(lambda one: tf.gather(one, _beams(left, beam)), state)
        live, finished, about = tf.nest.map_structure(lambda one: tf.gather(one, left), (live, finished, about))
        return position, state, live, finished, about, found

    loose = _shapes(live, beam), _shapes(finished, n_best), tf.nest.map_structure(_any_rows, about)
    shapes = (_SCALAR, _state_shapes(state), *loose, _shapes(finished, n_best))
    begin = (tf.constant(0), state, live, finished, about, finished)
    *_, found = tf.while_loop(lambda *now: tf.shape(now[4].row)[0] > 0, packed, begin, shapes)
    return Decoded(found.tokens, found.lengths, found.scores, found.log_probs)


def greedy(
    step: Step,
    state: Any,
    batch: int | tf.Tensor,
    *,
    start: int | tf.Tensor,
    end: int,
    longest: int | tf.Tensor,
    blocked: int = 0,
    return_attention: bool = False,
    length_penalty: float | tf.Tensor = 1.0,
) -> Decoded:
    """The hypothesis of each row whose every token is the most probable one: what `beam_search` finds with a beam of 1.

    Args: as those of `beam_search`, the state for `batch` rows; and
      return_attention: whether it is returned.
    """

    def choose(logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return _likeliest(logits)

    found = _follow(
        step, state, batch, choose, start, end, longest, blocked, length_penalty=length_penalty, attend=return_attention
    )
    there = found.log_probs > NEVER
    looked = found.attention
    return replace(
        found,
        tokens=tf.where(there[:, :, None], found.tokens, 0),
        lengths=tf.where(there, found.lengths, 0),
        attention=None if looked is None else tf.where(there[:, :, None, None], looked, 0.0),
    )


def sample(
    step: Step,
    state: Any,
    batch: int | tf.Tensor,
    *,
    start: int | tf.Tensor,
    end: int | None,
    longest: int | tf.Tensor,
    seed: tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    top_k: int | tf.Tensor = 0,
    top_p: float | tf.Tensor = 1.0,
    blocked: int = 0,
) -> Decoded:
    """A hypothesis of each row, drawn at random; the same for the same seed, to the bit on the same kind of device.

    A token is where a random number falls among the summed probabilities. The log probabilities that are returned are
    the model's own, whatever the temperature and the limits. For several samples of a row, repeat it.

    Args: as those of `beam_search`, the state for `batch` rows; and
      end: None if nothing ends before `longest`. Then neither length nor log probability counts an end.
      seed: integers [2], or [batch, 2] for a seed of each row, whose draws then have nothing to do with other rows.
      temperature: logits are divided by it; 0 is greedy. One, or float32 [batch], as are the next two.
      top_k: so many of the most probable tokens are drawn from (Fan et al. 2018); 0 for all.
      top_p: the fewest most probable ones that hold this share are drawn from, of those that `top_k` leaves (Holtzman
        et al. 2020). 1 for all; one token remains in any case.
      blocked: where it would leave no token at all, it is not heeded.
    """
    temperature, top_p = (tf.broadcast_to(tf.cast(one, tf.float32), [batch]) for one in (temperature, top_p))
    top_k = tf.broadcast_to(tf.cast(top_k, tf.int32), [batch])
    most = tf.maximum(tf.reduce_max(tf.concat([tf.reshape(tf.cast(longest, tf.int32), [-1]), [0]], axis=0)), 0) + 1

    def uniform(key: tf.Tensor, shape: Any) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, key, alg="philox")

    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 1:
        noise = uniform(seed, [batch, most])
    else:
        row = tf.TensorSpec([None], tf.float32)
        noise = tf.map_fn(lambda key: uniform(key, [most]), seed, fn_output_signature=row)  # [batch, most]

    def choose(logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return _drawn(logits, noise[:, position], temperature, top_k, top_p)

    return _follow(step, state, batch, choose, start, end, longest, blocked, heed=False)


def _follow(
    step: Step,
    state: Any,
    batch: int | tf.Tensor,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    start: int | tf.Tensor,
    end: int | None,
    longest: int | tf.Tensor,
    blocked: int,
    length_penalty: float | tf.Tensor = 1.0,
    attend: bool = False,
    heed: bool = True,
) -> Decoded:
    """One hypothesis of each row, of the tokens int32 [rows] that `choose` takes by logits and position.

    Args:
      heed: blocked tokens are not allowed even where no others are left; then the hypothesis has probability 0.
    """
    starts, longest, time = _prepared(batch, start, longest, blocked)

    def going(position: tf.Tensor, state: Any, row: _Row, _: Any) -> tf.Tensor:
        some = tf.reduce_any(row.live)
        return tf.logical_or(position == 0, some) if attend else some

    def body(position: tf.Tensor, state: Any, row: _Row, attentions: Any) -> Any:
        state, logits, whole, looked = _called(step, state, row.last, position, attend)
        if blocked:
            allowed = _without_repeats(logits, row.tokens, position, blocked)
            stuck = tf.reduce_max(allowed, axis=1, keepdims=True) == NEVER
            logits = allowed if heed else tf.where(stuck, logits, allowed)
        token = choose(logits, position)
        if end is not None:
            token = tf.where(position >= longest, end, token)
        sums = row.sums + _numbers(tf.gather(logits, token, batch_dims=1) - whole)
        sums = tf.where(row.live, sums, row.sums)
        goes_on = row.live if end is None else tf.logical_and(row.live, token != end)
        tokens = tf.where(goes_on[:, None], _written(row.tokens, token, position), row.tokens)
        lengths = tf.where(goes_on, position + 1, row.lengths)
        live = tf.logical_and(goes_on, position + 1 < longest if end is None else sums > NEVER)
        if attend:
            attentions = attentions.write(position, looked)
        return position + 1, state, _Row(live, token, tokens, lengths, sums), attentions

    state = tf.nest.map_structure(tf.convert_to_tensor, state)
    live = longest > 0 if end is None else tf.fill([batch], True)
    tokens, lengths = tf.zeros([batch, time], tf.int32), tf.zeros([batch], tf.int32)
    row = _Row(live, starts, tokens, lengths, tf.zeros([batch]))
    shapes = (_SCALAR, _state_shapes(state), _shapes(row), _SCALAR)
    begin = (tf.constant(0), state, row, _attentions(time))
    steps, _, row, attentions = tf.while_loop(going, body, begin, shapes)
    tokens, lengths, sums = row.tokens[:, None], row.lengths[:, None], row.sums[:, None]
    scores = sums / _normaliser(lengths + (end is not None), length_penalty)
    places = tf.range(batch)[:, None, None] + tf.zeros_like(tokens)
    looked = _along(attentions, steps, places, lengths) if attend else None
    return Decoded(tokens, lengths, scores, sums, looked)


def _drawn(
    logits: tf.Tensor, uniform: tf.Tensor, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor
) -> tf.Tensor:
    """A token of each row, where a number from 0 to 1 falls; int32 [rows].

    What a row's token is has nothing to do with other rows: those with limits draw from tokens in order of probability,
    all others from tokens in order of their ids.
    """
    best = _likeliest(logits)
    scaled = logits - tf.reduce_max(logits, axis=1, keepdims=True)
    scaled /= tf.where(temperature > 0, temperature, 1.0)[:, None]
    vocabulary = tf.shape(logits)[1]
    kept = tf.where(top_k > 0, tf.minimum(top_k, vocabulary), vocabulary)  # [rows]
    limits = tf.logical_or(kept < vocabulary, top_p < 1)

    def fallen(shares: tf.Tensor) -> tf.Tensor:
        sums = tf.cumsum(shares, axis=1)
        below = tf.cast(sums <= uniform[:, None] * sums[:, -1:], tf.int32)
        return tf.minimum(tf.reduce_sum(below, axis=1), tf.shape(shares)[1] - 1)

    def limited() -> tf.Tensor:
        values, tokens = tf.math.top_k(scaled, tf.reduce_max(kept))
        shares = tf.exp(values)
        ranks = tf.range(tf.shape(values)[1])
        shares = tf.where(ranks < kept[:, None], shares, 0.0)
        before = tf.cumsum(shares, axis=1, exclusive=True)
        within = before < top_p[:, None] * tf.reduce_sum(shares, axis=1, keepdims=True)
        shares = tf.where(tf.logical_or(within, ranks == 0), shares, 0.0)
        return tf.where(limits, tf.gather(tokens, fallen(shares), batch_dims=1), fallen(tf.exp(scaled)))

    # Only limits need tokens in order.
    drawn = tf.cond(tf.reduce_any(limits), limited, lambda: fallen(tf.exp(scaled)))
    return tf.where(temperature > 0, drawn, best)


def _likeliest(logits: tf.Tensor) -> tf.Tensor:
    # Of equal ones the first, which argmax does not promise.
    return largest(logits, 1)[1][:, 0]


def _called(
    step: Step, state: Any, tokens: tf.Tensor, position: tf.Tensor, attend: bool, more: tuple[Any, ...] = ()
) -> tuple[Any, tf.Tensor, tf.Tensor, Any]:
    """The step's state, its logits float32 [rows, vocabulary], the log of the sum of their exponentials, its attention.

    A logit less that log is a log probability: few are asked for, so not all are made. The largest share is at least
    that of equal ones, so that its logarithm is exact; and softmax is one of the fastest operations that there are.
    """
    answer = step(state, tokens, position, *more)
    if attend and len(answer) < 3:
        raise ValueError("The step returns no attention: it must return (state, logits, attention).")
    moved = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, [None, *old.shape[1:]]), answer[0], state)
    logits = tf.cast(answer[1], tf.float32)
    whole = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(tf.nn.softmax(logits), axis=1))
    return moved, logits, whole, tf.cast(answer[2], tf.float32) if attend else None


def _without_repeats(logits: tf.Tensor, tokens: tf.Tensor, position: tf.Tensor, size: int) -> tf.Tensor:
    """The logits, -inf for tokens that complete an n-gram of this size that was there before.

    Args:
      tokens: int32 [rows, time], of which the first `position` are there.
    """
    places = tf.range(tf.shape(tokens)[1])
    same = tf.logical_and(places >= size - 1, places < position) & tf.ones_like(tokens, tf.bool)
    for back in range(1, size):
        at = tf.maximum(position - back, 0)
        same &= tf.roll(tokens, back, axis=1) == tokens[:, at : at + 1]
    rows = tf.range(tf.shape(tokens)[0])[:, None] + tf.zeros_like(tokens)
    limits = tf.where(same, NEVER, -NEVER)
    return tf.tensor_scatter_nd_min(logits, tf.stack([rows, tokens], axis=2), limits)


def _goes_on(live: _Live) -> tf.Tensor:
    """Which rows do, [batch]."""
    return tf.reduce_any(live.sums > NEVER, axis=1)


def _beams(rows: tf.Tensor, beam: int) -> tf.Tensor:
    """Where the beams of the rows are, [rows * beam]."""
    return tf.reshape(rows[:, None] * beam + tf.range(beam, dtype=rows.dtype), [-1])


def _placed(all_rows: _Finished, some: _Finished, rows: tf.Tensor) -> _Finished:
    """All rows, some of them anew: those at `rows`."""
    count = tf.shape(all_rows.scores)[0]
    places = tf.scatter_nd(rows[:, None], tf.range(1, tf.shape(rows)[0] + 1), [count]) - 1  # -1 is none

    def one(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        there = tf.reshape(places >= 0, [-1, *[1] * (len(old.shape) - 1)])
        return tf.where(there, tf.gather(new, tf.maximum(places, 0)), old)

    return _Finished(*(one(*pair) for pair in zip(all_rows, some, strict=True)))


def _any_rows(value: tf.Tensor) -> tf.TensorShape:
    return tf.TensorShape([None, *value.shape[1:]])


def _best(finished: _Finished, fresh: _Finished, count: int) -> _Finished:
    """The best of both; of equal ones the first."""
    both = _Finished(*(tf.concat(pair, axis=1) for pair in zip(finished, fresh, strict=True)))
    scores, places = tf.math.top_k(both.scores, count)
    return _Finished(scores, *(tf.gather(one, places, batch_dims=1) for one in both[1:]))


def _normaliser(length: tf.Tensor, penalty: float | tf.Tensor) -> tf.Tensor:
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** penalty


def _coverage(seen: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """The sum over the source of log(min(attention, 1)), [batch, beam]; finite even where none fell on a position."""
    logs = tf.math.log(tf.clip_by_value(seen, TINY, 1.0))
    if mask is not None:
        logs = tf.where(tf.cast(mask, tf.bool)[:, None], logs, 0.0)
    return tf.reduce_sum(logs, axis=2)


def _along(attentions: tf.TensorArray, steps: tf.Tensor, rows: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The attention of each token, [batch, n_best, time, source].

    Args:
      attentions: of each step, [rows, source].
      steps: how many there were.
      rows: int32 [batch, n_best, time], the row of each token at its step.
      lengths: int32 [batch, n_best].
    """
    places = tf.range(tf.shape(rows)[2])
    times = tf.minimum(places, steps - 1) + tf.zeros_like(rows)
    looked = tf.gather_nd(attentions.gather(tf.range(steps)), tf.stack([times, rows], axis=3))
    return tf.where((places < lengths[:, :, None])[..., None], looked, 0.0)


def _written(values: tf.Tensor, new: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """[..., time], the new ones at the position; unchanged if it lies beyond."""
    return tf.where(tf.range(tf.shape(values)[-1]) == position, new[..., None], values)


def largest(values: tf.Tensor, count: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(values, places), [rows, count] each: what `tf.math.top_k` finds, of equal ones the first, several times as fast.

    It sorts whole rows. Here rows are cut to pieces, and only those pieces are sorted that have the largest maxima: of
    these there are as many as are looked for, and so no other piece can hold one. NaN comes in any order.

    Args:
      values: float32 [rows, columns].

    >>> largest(tf.constant([[3.0, 1.0, 2.0, 3.0]]), 3)[1].numpy().tolist()
    [[0, 3, 2]]
    """
    columns = values.shape[1]
    if columns is None or not isinstance(count, int) or columns < 4 * PIECE * count:
        return tf.math.top_k(values, count)
    # Of a size that leaves no rest, if there is one.
    size = next((size for size in range(PIECE, PIECE // 2, -1) if columns % size == 0), PIECE)
    rest = -columns % size
    padded = tf.pad(values, [[0, 0], [0, rest]], constant_values=NEVER) if rest else values
    pieces = tf.reshape(padded, [-1, (columns + rest) // size, size])
    some = tf.sort(tf.math.top_k(tf.reduce_max(pieces, axis=2), count).indices, axis=1)
    found, places = tf.math.top_k(tf.reshape(tf.gather(pieces, some, batch_dims=1), [-1, count * size]), count)
    places = tf.gather(some, places // size, batch_dims=1) * size + places % size
    return found, tf.minimum(places, columns - 1)


def _numbers(values: tf.Tensor) -> tf.Tensor:
    # The softmax of a row without any possible token is NaN, which no comparison orders.
    return tf.where(tf.math.is_nan(values), NEVER, values)


def _attentions(time: tf.Tensor) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, time + 1, infer_shape=False, element_shape=[None, None])


def _prepared(
    batch: int | tf.Tensor, start: int | tf.Tensor, longest: int | tf.Tensor, blocked: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The first tokens and the most tokens of each row, int32 [batch]; the most of all rows."""
    if blocked < 0:
        raise ValueError(f"blocked must be 0 or more, not {blocked}.")
    longest = tf.maximum(tf.cast(longest, tf.int32), 0)
    starts = tf.broadcast_to(tf.cast(start, tf.int32), [batch])
    return starts, tf.broadcast_to(longest, [batch]), tf.maximum(tf.reduce_max(longest), 0)


def _state_shapes(state: Any) -> Any:
    return tf.nest.map_structure(_any_rows, state)


def _shapes(values: Any, *known: int) -> Any:
    """Shapes of which all but the known second axis may differ between rounds of the loop."""

    def loose(value: tf.Tensor) -> tf.TensorShape:
        return tf.TensorShape([None, *known, *[None] * (value.shape.rank - 1 - len(known))])

    return tf.nest.map_structure(loose, values)
