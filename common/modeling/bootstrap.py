"""How far a metric can be trusted that was taken of few examples: intervals by resampling these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from common.types import PerExampleMetric

CELLS = 2**20  # of the weights that are in memory at once, samples times examples
ALIKE = 30  # examples; where so many agree, a tenth of all at most does not, with 95% (Hanley and Lippman-Hand 1983)


def bootstrap_interval(
    metric: PerExampleMetric, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, low, high): a metric, and its interval at this level, by the percentile bootstrap (Efron 1979).

    Samples without a metric, such as the F1 of none, are left out. Of one example, and where all are alike, low and
    high are the value itself. All three are nan without any example.

    Args:
      level: how often such an interval holds the metric of all examples that there could be.
      samples: of as many examples as there are, drawn with replacement.

    >>> hits = np.array([[1.0, 1.0]] * 80 + [[0.0, 1.0]] * 20)
    >>> bounds = bootstrap_interval(PerExampleMetric("accuracy", True, hits, lambda sums: sums[..., 0] / sums[..., 1]))
    >>> [round(bound, 2) for bound in bounds]
    [0.8, 0.72, 0.88]
    """
    return _bootstrap(metric.components, metric.aggregate, level, samples, seed)


def bootstrap_difference(
    new: PerExampleMetric, old: PerExampleMetric, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, low, high): how much greater a metric is in `new` than in `old`, see `bootstrap_interval`.

    Both are of the same examples in the same order, and each sample is of both (paired; Koehn 2004), so that what is
    hard for both models cancels out. If 0 is outside of low and high, one of them is better, whichever `higher` says.

    Raises:
      ValueError: they are of different metrics or numbers of examples.
    """
    return bootstrap_mean_difference([(new, old)], level, samples, seed)


def bootstrap_mean_difference(
    pairs: Sequence[tuple[PerExampleMetric, PerExampleMetric]], level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, low, high): the mean difference of several pairs, such as those of several seeds of training.

    See `bootstrap_difference`: all are of the same examples, and each sample is of all. What one seed got right by luck
    another one often did not, so that the mean is known better than the difference of one pair; how far those of
    other seeds would be from it is not in the interval.

    Raises:
      ValueError: they are of different metrics or numbers of examples, or there are none.
    """
    metrics = [metric for pair in pairs for metric in pair]
    if not metrics:
        raise ValueError("The mean of no differences was asked for.")
    for metric in metrics[1:]:
        if metric.name != metrics[0].name:
            raise ValueError(
                f"The difference of {metrics[0].name} and {metric.name} was asked for, which are not the same."
            )
        if len(metric.components) != len(metrics[0].components):
            raise ValueError(
                f"One {metric.name} is of {len(metrics[0].components)} examples and the other of"
                f" {len(metric.components)}: take"
                " the same ones."
            )
    ends = np.cumsum([metric.components.shape[1] for metric in metrics])[:-1]

    def aggregate(sums: np.ndarray) -> np.ndarray:
        values = [
            metric.aggregate(components)
            for metric, components in zip(metrics, np.split(sums, ends, axis=-1), strict=True)
        ]
        return np.mean([new - old for new, old in zip(values[::2], values[1::2], strict=True)], axis=0)

    return _bootstrap(
        np.concatenate([metric.components for metric in metrics], axis=1), aggregate, level, samples, seed
    )


def minimum_detectable_difference(metric: PerExampleMetric) -> float:
    """Return about the smallest difference that the examples can tell: half the width of the interval.

    Infinite if there are few of which all are alike, such as five that are all right: the interval of these is a
    point, and says nothing of others.
    """
    _, low, high = bootstrap_interval(metric)
    return (high - low) / 2 if high > low or len(metric.components) >= ALIKE else float("inf")


def _bootstrap(
    components: np.ndarray, aggregate: Callable[[np.ndarray], np.ndarray], level: float, samples: int, seed: int
) -> tuple[float, float, float]:
    if not len(components):
        return (float("nan"),) * 3
    value = float(aggregate(components.sum(axis=0)))
    values = aggregate(
        np.concatenate([weights @ components for weights in _draw_weights(len(components), samples, seed)])
    )
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
