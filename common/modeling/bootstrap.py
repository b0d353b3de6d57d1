"""How far a measure can be trusted that was taken of few examples: intervals by resampling these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from common.types import Tally

CELLS = 2**20  # of the weights that are in memory at once, samples times examples
ALIKE = 30  # examples; where so many agree, a tenth of all at most does not, with 95% (Hanley and Lippman-Hand 1983)


def interval(tally: Tally, level: float = 0.95, samples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Return (value, low, high): a measure, and its interval at this level, by the percentile bootstrap (Efron 1979).

    Samples without a measure, such as the F1 of none, are left out. Of one example, and where all are alike, low and
    high are the value itself. All three are nan without any example.

    Args:
      level: how often such an interval holds the measure of all examples that there could be.
      samples: of as many examples as there are, drawn with replacement.

    >>> hits = np.array([[1.0, 1.0]] * 80 + [[0.0, 1.0]] * 20)
    >>> bounds = interval(Tally("accuracy", True, hits, lambda sums: sums[..., 0] / sums[..., 1]))
    >>> [round(bound, 2) for bound in bounds]
    [0.8, 0.72, 0.88]
    """
    return _bootstrap(tally.parts, tally.of, level, samples, seed)


def difference(
    new: Tally, old: Tally, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, low, high): how much greater a measure is in `new` than in `old`, see `interval`.

    Both are of the same examples in the same order, and each sample is of both (paired; Koehn 2004), so that what is
    hard for both models cancels out. If 0 is outside of low and high, one of them is better, whichever `higher` says.

    Raises:
      ValueError: they are of different measures or numbers of examples.
    """
    return mean_difference([(new, old)], level, samples, seed)


def mean_difference(
    pairs: Sequence[tuple[Tally, Tally]], level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, low, high): the mean difference of several pairs, such as those of several seeds of training.

    See `difference`: all are of the same examples, and each sample is of all. What one seed got right by luck another
    one often did not, so that the mean is known better than the difference of one pair; how far those of other seeds
    would be from it is not in the interval.

    Raises:
      ValueError: they are of different measures or numbers of examples, or there are none.
    """
    tallies = [tally for pair in pairs for tally in pair]
    if not tallies:
        raise ValueError("The mean of no differences was asked for.")
    for tally in tallies[1:]:
        if tally.measure != tallies[0].measure:
            raise ValueError(
                f"The difference of {tallies[0].measure} and {tally.measure} was asked for, which are not the same."
            )
        if len(tally.parts) != len(tallies[0].parts):
            raise ValueError(
                f"One {tally.measure} is of {len(tallies[0].parts)} examples and the other of {len(tally.parts)}: take"
                " the same ones."
            )
    ends = np.cumsum([tally.parts.shape[1] for tally in tallies])[:-1]

    def aggregate(sums: np.ndarray) -> np.ndarray:
        values = [tally.of(parts) for tally, parts in zip(tallies, np.split(sums, ends, axis=-1), strict=True)]
        return np.mean([new - old for new, old in zip(values[::2], values[1::2], strict=True)], axis=0)

    return _bootstrap(np.concatenate([tally.parts for tally in tallies], axis=1), aggregate, level, samples, seed)


def tellable(tally: Tally) -> float:
    """Return about the smallest difference that the examples can tell: half the width of the interval.

    Infinite if there are few of which all are alike, such as five that are all right: the interval of these is a
    point, and says nothing of others.
    """
    _, low, high = interval(tally)
    return (high - low) / 2 if high > low or len(tally.parts) >= ALIKE else float("inf")


def _bootstrap(
    parts: np.ndarray, aggregate: Callable[[np.ndarray], np.ndarray], level: float, samples: int, seed: int
) -> tuple[float, float, float]:
    if not len(parts):
        return (float("nan"),) * 3
    value = float(aggregate(parts.sum(axis=0)))
    values = aggregate(np.concatenate([weights @ parts for weights in _draw_weights(len(parts), samples, seed)]))
    values = values[~np.isnan(values)]
    if not len(values):
        return value, float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def _draw_weights(examples: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each example is in each sample, float64 [some samples, examples]; some at a time."""
    random = np.random.default_rng(seed)
    step = max(CELLS // examples, 1)
    for first in range(0, samples, step):
        rows = min(step, samples - first)
        drawn = random.integers(0, examples, (rows, examples)) + examples * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples).astype(np.float64)
