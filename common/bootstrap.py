"""How far a measure can be trusted that was taken of few examples: intervals by resampling these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from common.types import Tally

CELLS = 2**20  # of the weights that are in memory at once, samples times examples
ALIKE = 30  # examples; where so many agree, a tenth of all at most does not, with 95% (Hanley and Lippman-Hand 1983)


def interval(tally: Tally, level: float = 0.95, samples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """(value, low, high): a measure, and between what it lies at this level; the percentile bootstrap (Efron 1979).

    Samples without a measure, such as the F1 of none, are left out. Of one example, and where all are alike, low and
    high are the value itself. All three are nan without any example.

    Args:
      level: how often such an interval holds the measure of all examples that there could be.
      samples: of as many examples as there are, drawn with replacement.

    >>> hits = np.array([[1.0, 1.0]] * 80 + [[0.0, 1.0]] * 20)
    >>> found = interval(Tally("accuracy", True, hits, lambda sums: sums[..., 0] / sums[..., 1]))
    >>> [round(one, 2) for one in found]
    [0.8, 0.72, 0.88]
    """
    return _interval(tally.parts, tally.of, level, samples, seed)


def difference(
    new: Tally, old: Tally, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high): how much greater a measure is in `new` than in `old`, see `interval`.

    Both are of the same examples in the same order, and each sample is of both (paired; Koehn 2004), so that what is
    hard for both models cancels out. If 0 is outside of low and high, one of them is better, whichever `higher` says.

    Raises:
      ValueError: they are of different measures or numbers of examples.
    """
    return mean_difference([(new, old)], level, samples, seed)


def mean_difference(
    pairs: Sequence[tuple[Tally, Tally]], level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high): the mean of the differences of several pairs, such as those of several seeds of training.

    See `difference`: all are of the same examples, and each sample is of all. What one seed got right by luck another
    one often did not, so that the mean is known better than the difference of one pair; how far those of other seeds
    would be from it is not in the interval.

    Raises:
      ValueError: they are of different measures or numbers of examples, or there are none.
    """
    every = [tally for pair in pairs for tally in pair]
    if not every:
        raise ValueError("The mean of no differences was asked for.")
    for tally in every[1:]:
        if tally.measure != every[0].measure:
            raise ValueError(
                f"The difference of {every[0].measure} and {tally.measure} was asked for, which are not the same."
            )
        if len(tally.parts) != len(every[0].parts):
            raise ValueError(
                f"One {tally.measure} is of {len(every[0].parts)} examples and the other of {len(tally.parts)}: take"
                " the same ones."
            )
    ends = np.cumsum([tally.parts.shape[1] for tally in every])[:-1]

    def of(sums: np.ndarray) -> np.ndarray:
        of_each = [tally.of(own) for tally, own in zip(every, np.split(sums, ends, axis=-1), strict=True)]
        return np.mean([new - old for new, old in zip(of_each[::2], of_each[1::2], strict=True)], axis=0)

    return _interval(np.concatenate([tally.parts for tally in every], axis=1), of, level, samples, seed)


def tellable(tally: Tally) -> float:
    """About the smallest difference that the examples can tell: half the width of the interval.

    Infinite if there are few of which all are alike, such as five that are all right: the interval of these is a
    point, and says nothing of others.
    """
    _, low, high = interval(tally)
    return (high - low) / 2 if high > low or len(tally.parts) >= ALIKE else float("inf")


def _interval(
    parts: np.ndarray, of: Callable[[np.ndarray], np.ndarray], level: float, samples: int, seed: int
) -> tuple[float, float, float]:
    if not len(parts):
        return (float("nan"),) * 3
    value = float(of(parts.sum(axis=0)))
    found = of(np.concatenate([weights @ parts for weights in _weights(len(parts), samples, seed)]))
    found = found[~np.isnan(found)]
    if not len(found):
        return value, float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def _weights(examples: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each example is in each sample, float64 [some samples, examples]; some at a time."""
    random = np.random.default_rng(seed)
    step = max(CELLS // examples, 1)
    for first in range(0, samples, step):
        rows = min(step, samples - first)
        drawn = random.integers(0, examples, (rows, examples)) + examples * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples).astype(np.float64)
