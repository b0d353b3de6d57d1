"""Decoding against enumeration and against searches in plain Python."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common import decode

NEVER = -np.inf
START, END = 0, 1
SOURCE = 3


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    most = logits.max()
    return logits - most - np.log(np.exp(logits - most).sum()) if most > NEVER else logits


class Prefixes:
    """A model whose logits and attention depend on the whole prefix, which its state numbers; other ones each row."""

    def __init__(self, seed, vocabulary, longest, rows, masked=0.0):
        random = np.random.default_rng(seed)
        self.vocabulary, self.rows = vocabulary, rows
        nodes = sum(vocabulary**n for n in range(longest + 1))
        self.logits = random.normal(0, 1.5, (rows, nodes, vocabulary)).astype(np.float32)
        self.logits[random.random(self.logits.shape) < masked] = NEVER
        self.attention = random.dirichlet(np.ones(SOURCE), (rows, nodes)).astype(np.float32)

    def node(self, prefix):
        number = 0
        for token in prefix:
            number = number * self.vocabulary + token + 1
        return number

    def log_probs(self, row, prefix):
        return log_softmax(self.logits[row, self.node(prefix)])

    def attends(self, row, prefix):
        return self.attention[row, self.node(prefix)]

    def state(self, times=1, rows=None):
        rows = np.arange(self.rows) if rows is None else rows
        begin = {"row": tf.constant(rows, tf.int32), "node": tf.zeros([len(rows), 1], tf.int32)}
        return decode.repeated(begin, times)

    def step(self, state, tokens, position):
        node = tf.where(position == 0, 0, state["node"] * self.vocabulary + tokens[:, None] + 1)
        places = tf.stack([state["row"], node[:, 0]], axis=1)
        state = {"row": state["row"], "node": node}
        return state, tf.gather_nd(self.logits, places), tf.gather_nd(self.attention, places)


class Pairs:
    """A model whose logits depend on the position and on the last token alone, without state or attention."""

    def __init__(self, seed, vocabulary, longest, rows=1, masked=0.0):
        random = np.random.default_rng(seed)
        self.vocabulary, self.rows = vocabulary, rows
        self.logits = random.normal(0, 1.5, (longest + 1, vocabulary, vocabulary)).astype(np.float32)
        self.logits[random.random(self.logits.shape) < masked] = NEVER

    def log_probs(self, row, prefix):
        return log_softmax(self.logits[len(prefix), prefix[-1] if prefix else START])

    def state(self, times=1, rows=None):
        return ()

    def step(self, state, tokens, position):
        return state, tf.gather(tf.gather(self.logits, position), tokens)


class Sums(Pairs):
    """A model whose logits depend on the sum of all tokens so far, in its state as two numbers of different types."""

    def log_probs(self, row, prefix):
        return log_softmax(self.logits[len(prefix), (sum(prefix) + START) % self.vocabulary])

    def state(self, times=1, rows=None):
        begin = (tf.zeros([self.rows], tf.int32), [tf.zeros([self.rows, 2, 1], tf.bfloat16)])
        return decode.repeated(begin, times)

    def step(self, state, tokens, position):
        total, [again] = state
        total += tokens
        again += tf.cast(tokens, tf.bfloat16)[:, None, None]
        mixed = (total + tf.cast(again[:, 1, 0], tf.int32)) // 2
        return (total, [again]), tf.gather(tf.gather(self.logits, position), mixed % self.vocabulary)


def fixed(probabilities):
    """A step whose tokens have the same probabilities at all times."""
    logits = tf.math.log(tf.constant(probabilities, tf.float32))
    return lambda state, tokens, position: (state, tf.zeros([tf.shape(tokens)[0], 1]) + logits)


def repeats(prefix, token, size):
    """Whether the token completes a sequence of tokens of this size that the prefix holds."""
    if not size or token == END or len(prefix) < size:
        return False
    whole = [*prefix, token]
    return whole[-size:] in [whole[at : at + size] for at in range(len(prefix) - size + 1)]


def scored(model, row, prefix, log_prob, penalty, coverage, mask):
    """The score of Wu et al. of an ended hypothesis."""
    score = log_prob / ((5 + len(prefix) + 1) / 6) ** penalty
    if coverage:
        total = sum(model.attends(row, prefix[:at]).astype(np.float64) for at in range(len(prefix) + 1))
        score += coverage * sum(np.log(min(one, 1)) for one, there in zip(total, mask, strict=True) if there)
    return score


def enumerated(model, row, longest, penalty, coverage=0.0, mask=(1,) * SOURCE):
    """All hypotheses of a row, (score, log probability, tokens), best first."""
    others = [token for token in range(model.vocabulary) if token != END]
    found = []
    for length in range(longest + 1):
        for tokens in itertools.product(others, repeat=length):
            steps = zip(range(length + 1), [*tokens, END], strict=True)
            log_prob = sum(model.log_probs(row, tokens[:at])[token] for at, token in steps)
            if log_prob > NEVER:
                found.append((scored(model, row, tokens, log_prob, penalty, coverage, mask), log_prob, tokens))
    return sorted(found, key=lambda one: -one[0])


def searched(
    model, row, longest, beam, penalty=1.0, coverage=0.0, mask=(1,) * SOURCE, blocked=0, look_ahead=None, n_best=1
):
    """What a beam finds that stops early by `look_ahead` alone; and the least difference that decided something."""
    live, finished, margin = [(0.0, ())], [], np.inf
    for position in range(longest + 1):
        ways = []
        for log_prob, prefix in live:
            for token, own in enumerate(model.log_probs(row, prefix)):
                allowed = token == END if position == longest else not repeats(prefix, token, blocked)
                if allowed and own > NEVER:
                    ways.append((log_prob + own, prefix, token))
        ways.sort(key=lambda way: -way[0])
        if len(ways) > beam:
            margin = min(margin, ways[beam - 1][0] - ways[beam][0])
        for log_prob, prefix, token in ways[:beam]:
            if token == END:
                finished.append((scored(model, row, prefix, log_prob, penalty, coverage, mask), log_prob, prefix))
        live = [(log_prob, (*prefix, token)) for log_prob, prefix, token in ways[:beam] if token != END]
        if look_ahead and live and len(finished) >= n_best:
            worst = sorted(finished, key=lambda one: -one[0])[n_best - 1][0]
            lengths = {position + 2, max(position + 2, min(longest + 1, int(look_ahead * (position + 2))))}
            hope = max(live[0][0] / ((5 + length) / 6) ** penalty for length in lengths) - worst
            margin = min(margin, abs(hope))
            if hope < 0:
                break
    return sorted(finished, key=lambda one: -one[0]), margin


def hypotheses(found, row):
    """The (score, log probability, tokens) of a row that are there."""
    lengths, scores = found.lengths[row].numpy(), found.scores[row].numpy()
    tokens = found.tokens[row].numpy()
    for number, length in enumerate(lengths):
        assert not tokens[number, length:].any()
        assert scores[number] > NEVER or not length
    logs = found.log_probs[row].numpy()
    whole = [(s, p, tuple(t[:n].tolist())) for s, p, t, n in zip(scores, logs, tokens, lengths, strict=True)]
    return [one for one in whole if one[0] > NEVER]


def assert_same(found, row, expected, n_best):
    """Scores are equal in order, and so are the hypotheses, but for such as score alike to the last digits."""
    own, expected = hypotheses(found, row), expected[:n_best]
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


@given(seeds, penalties, st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=30, deadline=None)
def test_beam_search_equals_enumeration_of_a_model_of_prefixes(seed, penalty, coverage, masked):
    model, longest = Prefixes(seed, 3, 3, rows=3, masked=masked), [3, 1, 2]
    mask = [[1, 1, 1], [1, 0, 1], [1, 1, 0]]
    found = decode.beam_search(
        model.step, model.state(15), 3, start=START, end=END, longest=tf.constant(longest), beam=15, n_best=15,
        length_penalty=penalty, coverage_penalty=coverage, source_mask=tf.constant(mask),
    )  # fmt: skip
    for row in range(3):
        assert_same(found, row, enumerated(model, row, longest[row], penalty, coverage, mask[row]), 15)


@given(seeds, penalties)
@settings(max_examples=20, deadline=None)
def test_beam_search_equals_enumeration_of_a_model_of_pairs(seed, penalty):
    model = Pairs(seed, 4, 3)
    found = decode.beam_search(
        model.step, model.state(), 1, start=START, end=END, longest=3, beam=40, n_best=40, length_penalty=penalty
    )
    expected = enumerated(model, 0, 3, penalty)
    assert len(expected) == 40  # 1 + 3 + 9 + 27
    assert_same(found, 0, expected, 40)


@st.composite
def searches(draw, most_beam=4):
    seed, kind = draw(seeds), draw(st.sampled_from([Prefixes, Pairs, Sums]))
    model = kind(seed, draw(st.integers(2, 5)), 4, rows=2, masked=draw(st.sampled_from([0.0, 0.3])))
    longest, beam = draw(st.lists(st.integers(0, 4), min_size=2, max_size=2)), draw(st.integers(1, most_beam))
    coverage = draw(st.sampled_from([0.0, 0.5])) if kind is Prefixes else 0.0
    return model, longest, beam, draw(st.integers(1, beam)), draw(penalties), coverage, draw(st.integers(0, 3))


@given(searches(), st.sampled_from([None, None, 1.0, 1.6]))
@settings(max_examples=60, deadline=None)
def test_beam_search_equals_a_plain_one(search, look_ahead):
    model, longest, beam, n_best, penalty, coverage, blocked = search
    attended = isinstance(model, Prefixes)
    found = decode.beam_search(
        model.step, model.state(beam), 2, start=START, end=END, longest=tf.constant(longest), beam=beam, n_best=n_best,
        length_penalty=penalty, coverage_penalty=coverage, blocked=blocked, attention=attended, look_ahead=look_ahead,
    )  # fmt: skip
    assert found.tokens.shape == (2, n_best, max(longest))
    for row in range(2):
        expected, margin = searched(
            model, row, longest[row], beam, penalty, coverage, blocked=blocked, look_ahead=look_ahead, n_best=n_best
        )
        assume(margin > 1e-4)
        assert_same(found, row, expected, n_best)
        if attended:
            assert found.attention.shape == (2, n_best, max(longest), SOURCE)
            for number, (_, _, tokens) in enumerate(hypotheses(found, row)):
                own = found.attention[row, number].numpy()
                for at in range(len(tokens)):
                    np.testing.assert_array_equal(own[at], model.attends(row, tokens[:at]))
                assert not own[len(tokens) :].any()


@given(searches())
@settings(max_examples=40, deadline=None)
def test_greedy_equals_a_beam_of_one(search):
    model, longest, _, _, penalty, _, blocked = search
    attended = isinstance(model, Prefixes)
    options = {"start": START, "end": END, "longest": tf.constant(longest), "blocked": blocked}
    options["length_penalty"] = penalty
    one = decode.greedy(model.step, model.state(), 2, return_attention=attended, **options)
    other = decode.beam_search(model.step, model.state(), 2, beam=1, attention=attended, **options)
    for row in range(2):
        expected, margin = searched(model, row, longest[row], 1, penalty, blocked=blocked)
        assume(margin > 1e-4)
        assert_same(one, row, expected, 1)
    for name in ("tokens", "lengths", "log_probs", "scores", *(["attention"] if attended else [])):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(seeds, st.sampled_from(["beam", "greedy"]))
@settings(max_examples=20, deadline=None)
def test_rows_do_not_influence_one_another(seed, how):
    model, longest = Prefixes(seed, 3, 5, rows=3), np.array([5, 2, 4])

    def decoded(rows):
        options = {"start": START, "end": END, "longest": tf.constant(longest[rows])}
        if how == "greedy":
            return decode.greedy(model.step, model.state(1, rows), len(rows), **options)
        return decode.beam_search(model.step, model.state(2, rows), len(rows), beam=2, n_best=2, **options)

    together = decoded([0, 1, 2])
    for row in range(3):
        assert hypotheses(decoded([row]), 0) == hypotheses(together, row)


@given(
    seeds, st.integers(0, 5), st.integers(1, 3), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.5]),
    st.sampled_from([0, 2]),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_rows_that_are_done_are_taken_out_and_change_nothing(seed, rows, beam, penalty, coverage, blocked):
    """With a memory of each row, rows are fewer and fewer; each finds what it finds alone, with all it looks at."""
    random = np.random.default_rng(seed)
    longest = random.integers(0, 7, rows).astype(np.int32)
    logits = random.normal(0, 1.5, (rows, 7, 4, 4)).astype(np.float32)  # by row, position and last token
    attention = random.random((rows, 7, 3)).astype(np.float32)
    seen = []

    def step(state, tokens, position, memory):
        of_row, looks = (decode.repeated(one, beam) for one in memory)
        scores = tf.gather(tf.gather(of_row, position, axis=1), tokens, batch_dims=1)
        seen.append(tf.shape(tokens)[0])
        sums = state + tokens  # of the tokens so far, on which the scores depend, too
        return sums, scores * (1 + 0.1 * tf.cast(sums % 3, tf.float32))[:, None], looks[:, position]

    def found(of):
        memory = tf.constant(logits[of]), tf.constant(attention[of])
        return decode.beam_search(
            step, tf.zeros([len(of) * beam], tf.int32), len(of), start=START, end=END,
            longest=tf.constant(longest[of]), beam=beam, n_best=beam,
            length_penalty=penalty, coverage_penalty=coverage, blocked=blocked, memory=memory,
            source_mask=tf.ones([len(of), 3]),
        )  # fmt: skip

    together = found(np.arange(rows))
    sizes = [int(one) for one in seen]
    assert sizes == sorted(sizes, reverse=True)
    for row in range(rows):
        alone = found(np.array([row]))
        for name in ("tokens", "lengths", "scores", "log_probs"):
            one, other = getattr(alone, name)[0].numpy(), getattr(together, name)[row].numpy()
            # Sums over the axis of a batch of another size may round differently.
            np.testing.assert_allclose(one, other[:, : one.shape[1]] if name == "tokens" else other, rtol=1e-6)


def test_steps_get_cheaper_as_rows_are_done():
    seen = []

    def step(state, tokens, position, memory):
        seen.append(tf.shape(memory)[0])
        return state, tf.math.log(tf.constant([0.2, 0.2, 0.3, 0.3])) + tf.zeros([tf.shape(tokens)[0], 1])

    longest = tf.constant([0, 0, 0, 4, 1, 9])
    found = decode.beam_search(
        step, (), 6, start=START, end=END, longest=longest, beam=1, length_penalty=0.0, memory=tf.range(6)
    )
    assert found.lengths[:, 0].numpy().tolist() == longest.numpy().tolist()
    # A tenth of six is less than one: so whenever some are done, they are taken out.
    assert [int(one) for one in seen] == [6, 3, 2, 2, 2, 1, 1, 1, 1, 1]


def test_few_rows_that_are_done_stay_until_they_are_a_tenth():
    seen = []

    def step(state, tokens, position, memory):
        seen.append(tf.shape(memory)[0])
        return state, tf.math.log(tf.constant([0.2, 0.2, 0.3, 0.3])) + tf.zeros([tf.shape(tokens)[0], 1])

    longest = tf.constant([0, 2, *[5] * 18])
    decode.beam_search(
        step, (), 20, start=START, end=END, longest=longest, beam=1, length_penalty=0.0, memory=tf.range(20)
    )
    assert [int(one) for one in seen] == [20, 20, 20, 18, 18, 18]


@pytest.mark.parametrize("how", ["beam", "greedy"])
def test_end_is_forced_at_the_longest_of_each_row(how):
    options = {"start": START, "end": END, "longest": tf.constant([0, 1, 3]), "length_penalty": 0.5}
    step = fixed([0.1, 0.1, 0.7, 0.1])
    if how == "beam":
        found = decode.beam_search(step, (), 3, beam=1, **options)
    else:
        found = decode.greedy(step, (), 3, **options)
    assert found.tokens.numpy().tolist() == [[[0, 0, 0]], [[2, 0, 0]], [[2, 2, 2]]]
    assert found.lengths.numpy().tolist() == [[0], [1], [3]]
    logs = np.log([[0.1], [0.7 * 0.1], [0.7**3 * 0.1]])
    np.testing.assert_allclose(found.log_probs, logs, rtol=1e-5)
    np.testing.assert_allclose(found.scores, logs / np.sqrt([[6 / 6], [7 / 6], [9 / 6]]), rtol=1e-5)


def test_longest_zero_leaves_the_end_alone():
    found = decode.beam_search(fixed([0.5, 0.25, 0.25]), (), 2, start=START, end=END, longest=0, beam=3, n_best=2)
    assert found.tokens.shape == (2, 2, 0)
    np.testing.assert_allclose(found.scores, [[np.log(0.25), NEVER]] * 2, rtol=1e-6)
    for blocked in (1, 2):
        one = decode.greedy(fixed([0.5, 0.25, 0.25]), (), 2, start=START, end=END, longest=0, blocked=blocked)
        assert one.lengths.numpy().tolist() == [[0], [0]]


def test_length_penalty_and_coverage_worked_by_hand():
    logits, looks = np.log(np.float32([[0.5, 0.25, 0.25]])), np.float32([[0.5, 0.25, 0.25]])
    found = decode.beam_search(
        lambda state, tokens, position: (state, logits, looks), (), 1, start=START, end=END, longest=0, beam=1,
        coverage_penalty=0.5, source_mask=tf.constant([[True, True, False]]),
    )  # fmt: skip
    # The length is 1, so that the normaliser is 1; log 1/4 + (log 1/2 + log 1/4) / 2 = -3.5 log 2.
    assert found.scores.numpy() == pytest.approx(-3.5 * np.log(2), rel=1e-6)
    assert found.log_probs.numpy() == pytest.approx(-2 * np.log(2), rel=1e-6)
    assert found.attention is None


def test_source_never_attended_to_leaves_a_finite_score():
    logits, looks = tf.zeros([2, 3]), tf.constant([[1.0, 0.0]] * 2)
    found = decode.beam_search(
        lambda *_: ((), logits, looks), (), 1, start=START, end=END, longest=1, beam=2, coverage_penalty=1.0
    )
    assert np.isfinite(found.scores.numpy()).all()


def test_equal_hypotheses_come_in_the_order_of_their_tokens():
    found = decode.beam_search(fixed([0.25] * 4), (), 1, start=0, end=3, longest=2, beam=2, n_best=2)
    assert found.tokens.numpy().tolist() == [[[0, 0], [0, 1]]]
    assert decode.greedy(fixed([0.25] * 4), (), 1, start=0, end=3, longest=2).tokens.numpy().tolist() == [[[0, 0]]]


def test_start_may_differ_by_row():
    follows = tf.constant(np.eye(4, k=1, dtype=np.float32) * 20)  # 0 1 2 3
    found = decode.greedy(
        lambda state, tokens, position: (state, tf.gather(follows, tokens)), (), 3, start=tf.constant([0, 1, 2]), end=3,
        longest=5,
    )  # fmt: skip
    assert found.tokens.numpy().tolist() == [[[1, 2, 0, 0, 0]], [[2, 0, 0, 0, 0]], [[0] * 5]]


@pytest.mark.parametrize(
    ("longest", "look_ahead", "steps"),
    [(50, None, 3), (1000, None, 4), (1000, 1.0, 3), (1000, 12.0, 3), (1000, 250.0, 4)],
)
def test_beam_search_stops_once_nothing_better_can_come(longest, look_ahead, steps):
    # 2 2 END has the log probability 3 log .98 and the score -.0455. The best that goes on has then 2 log .98 + log .01
    # = -4.65, so at most -.50 after 50 tokens, but -.028 after 1000. One step later it has log .01 less: -.055. If it
    # ended next, it would have 4 tokens: so 12 times its length is 48 tokens, and 250 times 1000.
    logits = np.log(np.float32([[0.005, 0.01, 0.98, 0.005], [0.01, 0.98, 0.005, 0.005]]))
    calls = tf.Variable(0)

    def step(state, tokens, position):
        calls.assign_add(1)
        return state, tf.repeat(tf.gather(logits, tf.cast(position >= 2, tf.int32))[None], tf.shape(tokens)[0], axis=0)

    @tf.function
    def decoded(batch):
        found = decode.beam_search(
            step, (), batch, start=START, end=END, longest=longest, beam=2, look_ahead=look_ahead
        )  # fmt: skip
        return found.tokens, found.scores

    tokens, scores = decoded(tf.constant(2))
    assert calls.numpy() == steps
    assert tokens[:, 0, :4].numpy().tolist() == [[2, 2, 0, 0]] * 2
    np.testing.assert_allclose(scores, [[3 * np.log(0.98) / (8 / 6)]] * 2, rtol=1e-4)


def test_beam_search_goes_on_where_a_negative_penalty_favours_short_ones():
    # The end at once scores log .3 = -1.204; 2 END scores (log .6 + log .99) 7/6 = -.608, but 50 tokens at best
    # log .6 * 56/6 = -4.8.
    logits = np.log(np.float32([[0.05, 0.3, 0.6, 0.05], [0.003, 0.99, 0.004, 0.003]]))

    def step(state, tokens, position):
        return state, tf.repeat(logits[min(int(position), 1)][None], tf.shape(tokens)[0], axis=0)

    found = decode.beam_search(step, (), 1, start=START, end=END, longest=50, beam=2, length_penalty=-1.0)
    assert hypotheses(found, 0)[0][2] == (2,)
    assert found.scores.numpy() == pytest.approx((np.log(0.6) + np.log(0.99)) * 7 / 6, rel=1e-4)


def test_greedy_and_sample_stop_when_all_rows_have_ended():
    positions = []

    def step(state, tokens, position):
        positions.append(int(position))
        return state, tf.one_hot(tf.where(state[:, 0] <= position, END, 2), 3) * 50

    options = {"start": START, "end": END, "longest": 50}
    found = decode.greedy(step, tf.constant([[1], [4]]), 2, **options)
    assert found.lengths.numpy().tolist() == [[1], [4]]
    assert positions == [0, 1, 2, 3, 4]
    found = decode.sample(step, tf.constant([[1], [4]]), 2, seed=tf.constant([1, 2]), **options)
    assert found.lengths.numpy().tolist() == [[1], [4]]
    assert positions == [0, 1, 2, 3, 4] * 2


def test_blocked_sequences_worked_by_hand():
    step = fixed([0.2, 0.1, 0.4, 0.3])  # 2 before 3 before 0 before END
    one = decode.greedy(step, (), 1, start=START, end=END, longest=9, blocked=1)
    assert hypotheses(one, 0)[0][2] == (2, 3, 0)
    two = decode.greedy(step, (), 1, start=START, end=END, longest=9, blocked=2)
    assert hypotheses(two, 0)[0][2] == (2, 2, 3, 2, 0, 2)


@given(seeds, st.integers(1, 3), st.sampled_from(["beam", "greedy", "sample"]))
@settings(max_examples=30, deadline=None)
def test_blocked_sequences_never_come_twice(seed, size, how):
    model = Pairs(seed, 4, 14, masked=0.0)
    model.logits[:, :, END] -= 4
    options = {"start": START, "end": END, "longest": 14, "blocked": size}
    if how == "beam":
        found = decode.beam_search(model.step, (), 2, beam=3, n_best=3, **options)
    elif how == "greedy":
        found = decode.greedy(model.step, (), 2, **options)
    else:
        found = decode.sample(model.step, (), 2, seed=tf.constant([seed, 1], tf.int64), **options)
    for row in range(2):
        for _, _, tokens in hypotheses(found, row):
            parts = [tokens[at : at + size] for at in range(len(tokens) - size + 1)]
            assert len(set(parts)) == len(parts)


def test_sample_goes_on_where_all_tokens_are_blocked():
    found = decode.sample(fixed([1 / 3] * 3), (), 8, start=0, end=None, longest=5, seed=[3, 4], blocked=1)
    assert found.lengths.numpy().tolist() == [[5]] * 8
    assert all(set(row[0, :3]) == {0, 1, 2} for row in found.tokens.numpy())
    np.testing.assert_allclose(found.log_probs, np.full((8, 1), 5 * np.log(1 / 3)), rtol=1e-5)


def test_hypothesis_without_possible_end_is_not_there():
    for found in (
        decode.greedy(fixed([0.5, 0.0, 0.5]), (), 1, start=START, end=END, longest=3),
        decode.beam_search(fixed([0.5, 0.0, 0.5]), (), 1, start=START, end=END, longest=3, beam=2, n_best=2),
    ):
        assert not hypotheses(found, 0)
        assert not found.tokens.numpy().any()
        assert (found.log_probs.numpy() == NEVER).all()


SHARES = np.float64([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SHARES),
        ({"temperature": 0.5}, SHARES**2 / 0.3),
        ({"temperature": 2.0}, SHARES**0.5 / (SHARES**0.5).sum()),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, SHARES),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),  # .4 + .3 is less
        ({"top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.0}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.75}, [0, 4 / 7, 0, 3 / 7]),  # of 4/9, 3/9 and 2/9 the first two hold 7/9
        ({"temperature": 0.5, "top_p": 0.8}, [0, 16 / 25, 0, 9 / 25]),  # 16/30 + 9/30
        ({"temperature": 0}, [0, 1, 0, 0]),
    ],
)
def test_sample_has_the_frequencies_of_the_softmax(options, expected):
    found = decode.sample(fixed(SHARES), (), 20000, start=0, end=None, longest=1, seed=tf.constant([1, 2]), **options)
    tokens = found.tokens.numpy().ravel()
    counts = np.bincount(tokens, minlength=4) / 20000
    np.testing.assert_allclose(counts, expected, atol=0.015)  # four standard deviations
    assert ((counts > 0) == (np.asarray(expected) > 0)).all()
    np.testing.assert_allclose(found.log_probs.numpy().ravel(), np.log(SHARES)[tokens], rtol=1e-5)


def test_sample_is_the_same_for_the_same_seed_alone():
    model = Pairs(3, 6, 20)

    def decoded(seed, temperature, top_k, top_p):
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return decode.sample(model.step, (), 4, start=0, end=None, longest=20, seed=seed, **options).tokens

    scalars = [tf.TensorSpec([], dtype) for dtype in (tf.float32, tf.int32, tf.float32)]
    graph = tf.function(decoded, input_signature=[tf.TensorSpec([2], tf.int32), *scalars])
    for top_k, top_p in ((0, 1.0), (3, 0.9)):
        first = decoded(tf.constant([5, 6]), 1.0, top_k, top_p).numpy()
        again = graph(tf.constant([5, 6]), tf.constant(1.0), tf.constant(top_k), tf.constant(top_p)).numpy()
        assert first.tobytes() == again.tobytes()
        for other in ([5, 7], [6, 6]):
            assert (decoded(tf.constant(other), 1.0, top_k, top_p).numpy() != first).any()


def test_sample_draws_anew_at_each_position_and_for_each_row():
    found = decode.sample(fixed([0.25] * 4), (), 400, start=0, end=None, longest=30, seed=tf.constant([1, 2]))
    tokens = found.tokens[:, 0].numpy()
    assert np.mean(tokens[:, 1:] == tokens[:, :-1]) == pytest.approx(0.25, abs=0.02)
    assert np.mean(tokens[1:] == tokens[:-1]) == pytest.approx(0.25, abs=0.02)


def test_sample_of_a_row_with_its_own_seed_is_the_same_whatever_stands_beside_it():
    model = Pairs(3, 6, 40)
    seeds = tf.constant([[5, 6], [7, 8], [5, 6], [9, 9]])
    options = {
        "temperature": tf.constant([1.0, 0.7, 1.0, 0.0]),
        "top_k": tf.constant([0, 3, 0, 0]),
        "top_p": tf.constant([1.0, 0.9, 1.0, 1.0]),
        "longest": tf.constant([20, 40, 20, 5]),
    }

    def drawn(rows):
        chosen = {name: tf.gather(values, rows) for name, values in options.items()}
        return decode.sample(model.step, (), len(rows), start=0, end=None, seed=tf.gather(seeds, rows), **chosen)

    together = drawn([0, 1, 2, 3])
    for row in range(4):
        alone = drawn([row])
        length = int(alone.lengths[0, 0])
        assert length == int(options["longest"][row])
        np.testing.assert_array_equal(together.tokens[row, 0, :length], alone.tokens[0, 0, :length])
    np.testing.assert_array_equal(together.tokens[0], together.tokens[2])
    assert (together.tokens[0, 0, :20].numpy() != together.tokens[1, 0, :20].numpy()).any()


def test_sample_with_limits_of_each_row_draws_within_them():
    shares = tf.repeat(tf.constant(np.log(SHARES), tf.float32)[None], 3000, axis=0)
    kind = np.arange(3000) % 3  # all tokens; the two best; 0.6 of the sum, which are the two best
    found = decode.sample(
        lambda state, tokens, position: (state, shares), (), 3000, start=0, end=None, longest=1,
        seed=tf.stack([tf.range(3000), tf.fill([3000], 7)], axis=1),
        top_k=tf.constant(np.where(kind == 1, 2, 0)), top_p=tf.constant(np.where(kind == 2, 0.6, 1.0)),
    )  # fmt: skip
    tokens = found.tokens.numpy().ravel()
    for number, expected in enumerate((SHARES, [0, 4 / 7, 0, 3 / 7], [0, 4 / 7, 0, 3 / 7])):
        counts = np.bincount(tokens[kind == number], minlength=4) / 1000
        np.testing.assert_allclose(counts, expected, atol=0.065)  # four standard deviations
        assert ((counts > 0) == (np.asarray(expected) > 0)).all()


@given(seeds, st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_sample_of_temperature_zero_is_greedy(seed, blocked):
    model = Prefixes(seed, 4, 4, rows=3)
    options = {"start": START, "end": END, "longest": tf.constant([4, 0, 3]), "blocked": blocked}
    greedy = decode.greedy(model.step, model.state(), 3, **options)
    drawn = decode.sample(model.step, model.state(), 3, seed=tf.constant([seed, 1], tf.int64), temperature=0, **options)
    for name in ("tokens", "lengths", "log_probs", "scores"):
        np.testing.assert_array_equal(getattr(greedy, name), getattr(drawn, name))


def test_sample_without_end_runs_to_the_longest_of_each_row():
    found = decode.sample(
        fixed([0.5, 0.25, 0.25]), (), 3, start=0, end=None, longest=tf.constant([0, 2, 4]), seed=tf.constant([1, 2])
    )
    assert found.lengths.numpy().tolist() == [[0], [2], [4]]
    tokens = found.tokens[:, 0].numpy()
    logs = [sum(np.log([0.5, 0.25, 0.25])[tokens[row, :n]]) for row, n in enumerate((0, 2, 4))]
    np.testing.assert_allclose(found.log_probs[:, 0], logs, rtol=1e-5)
    assert not tokens[1, 2:].any()


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_logits_may_have_any_float_type(dtype):
    logits = tf.cast(tf.math.log([[0.25, 0.25, 0.5]]), dtype)
    found = decode.greedy(lambda *_: ((), logits), (), 1, start=0, end=2, longest=3)
    assert found.log_probs.dtype == tf.float32
    assert found.log_probs.numpy() == pytest.approx(np.log(0.5), abs=1e-2)


class Small(tf.Module):
    """A recurrent model with attention to its source, and its endpoints."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.table = tf.Variable(random.normal(0, 1, (6, 8)), dtype=tf.float32)
        self.out = tf.Variable(random.normal(0, 1, (8, 6)), dtype=tf.float32)

    def stepping(self, memory):
        def step(state, tokens, position):
            hidden = tf.tanh(state["hidden"] + tf.gather(self.table, tokens))
            weights = tf.nn.softmax(tf.einsum("ru,rsu->rs", hidden, memory))
            hidden += tf.einsum("rs,rsu->ru", weights, memory)
            return {"hidden": hidden}, hidden @ self.out, weights

        return step

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)])
    def translate(self, words, longest):
        memory, batch = tf.gather(self.table, words), tf.shape(words)[0]
        step = self.stepping(decode.repeated(memory, 3))
        found = decode.beam_search(
            step, {"hidden": tf.zeros([batch * 3, 8])}, batch, start=START, end=END, longest=longest, beam=3, n_best=2,
            coverage_penalty=0.1, blocked=2, attention=True, source_mask=words > 0,
        )  # fmt: skip
        one = decode.greedy(
            self.stepping(memory), {"hidden": tf.zeros([batch, 8])}, batch, start=START, end=END, longest=longest,
            return_attention=True,
        )  # fmt: skip
        return {**vars(found), "greedy": one.tokens, "greedy_attention": one.attention}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int64), tf.TensorSpec([]),
            tf.TensorSpec([], tf.int32), tf.TensorSpec([]),
        ]
    )  # fmt: skip
    def compose(self, words, seed, temperature, top_k, top_p):
        state = {"hidden": tf.zeros([tf.shape(words)[0], 8])}
        found = decode.sample(
            self.stepping(tf.gather(self.table, words)), state, tf.shape(words)[0], start=0, end=None, longest=7,
            seed=seed, temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip
        return {"tokens": found.tokens}


def test_saved_model_answers_as_before_for_batches_of_any_size(tmp_path):
    model = Small()
    tf.saved_model.save(model, str(tmp_path), {"translate": model.translate, "compose": model.compose})
    again = tf.saved_model.load(str(tmp_path))
    for batch, source in ((3, 4), (1, 2), (0, 5)):
        words = tf.constant(np.arange(batch * source).reshape(batch, source) % 6, tf.int32)
        longest = tf.constant([5, 3, 4][:batch], tf.int32)
        expected, found = model.translate(words, longest), again.translate(words, longest)
        assert found["tokens"].shape == (batch, 2, 5 if batch else 0)
        assert found["attention"].shape == (*found["tokens"].shape, source)
        assert found["greedy_attention"].shape == (*found["greedy"].shape, source)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        served = again.signatures["translate"](words=words, longest=longest)
        np.testing.assert_array_equal(served["scores"], expected["scores"])
        numbers = tf.constant([1, 2], tf.int64), tf.constant(0.8), tf.constant(4), tf.constant(0.95)
        drawn = again.compose(words, *numbers)["tokens"]
        assert drawn.shape == (batch, 1, 7)
        np.testing.assert_array_equal(drawn, model.compose(words, *numbers)["tokens"])


def test_empty_batch_has_no_hypotheses():
    model = Prefixes(0, 3, 3, rows=1)
    options = {"start": START, "end": END, "longest": 3}
    for found, n_best in (
        (decode.beam_search(model.step, model.state(2, []), 0, beam=2, n_best=2, attention=True, **options), 2),
        (decode.greedy(model.step, model.state(1, []), 0, return_attention=True, **options), 1),
        (decode.sample(model.step, model.state(1, []), 0, seed=tf.constant([1, 2]), **options), 1),
    ):
        assert found.tokens.shape == (0, n_best, 3)
        assert found.scores.shape == (0, n_best)
        assert found.attention is None or found.attention.shape == (0, n_best, 3, SOURCE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 2, "n_best": 3}, "n_best must be from 1 to beam, 2, not 3"),
        ({"beam": 0}, "n_best must be from 1 to beam, 0, not 1"),
        ({"beam": 1, "coverage_penalty": -0.1}, "coverage_penalty must not be negative; it is -0.1"),
        ({"beam": 1, "look_ahead": 0.5}, "look_ahead must be at least 1, not 0.5"),
        ({"beam": 1, "blocked": -1}, "blocked must be 0 or more, not -1"),
        ({"beam": 1, "attention": True}, "returns no attention"),
        ({"beam": 1, "coverage_penalty": 0.1}, "returns no attention"),
    ],
)
def test_beam_search_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        decode.beam_search(fixed([0.5, 0.5]), (), 1, start=START, end=END, longest=2, **options)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(0, 3), columns=st.integers(250, 1200), count=st.integers(1, 5),
    kinds=st.sampled_from([2, 5, 1000]), never=st.sampled_from([0.0, 0.5, 0.999]),
)  # fmt: skip
def test_largest_are_those_of_a_sorted_row(seed, rows, columns, count, kinds, never):
    # Few kinds of values, so that many are equal; and some rows in which hardly anything can come.
    random = np.random.default_rng(seed)
    values = random.integers(0, kinds, [rows, columns]).astype(np.float32)
    values[random.random(values.shape) < never] = decode.NEVER
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    found, places = decode.largest(tf.constant(values), count)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, axis=1))


def test_largest_of_what_is_no_number_are_places_of_the_row():
    values = tf.fill([2, 1031], float("nan"))
    places = decode.largest(values, 4)[1].numpy()
    assert ((places >= 0) & (places < 1031)).all()
