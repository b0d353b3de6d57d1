"""How unsure a model is of an input, from 0 to 1."""

from __future__ import annotations

import math

import numpy as np

from common.errors import ConfigError

MEASURES = ("entropy", "margin")  # of a classifier's shares


def classification_uncertainty(shares: np.ndarray, by: str | None) -> float:
    """Return how unsure a classifier is of an input, from 0, sure, to 1, when all labels that matter are as probable.

    Args:
      shares: of the labels, which sum to 1.
      by: "margin", one less the first share over the second one; else the entropy, over that of equal shares.

    >>> shares = np.array([0.5, 0.5, 0.0])
    >>> round(classification_uncertainty(shares, "entropy"), 3), classification_uncertainty(shares, "margin")
    (0.631, 1.0)
    """
    if by == "margin":
        second, first = np.sort(np.asarray(shares, np.float64))[-2:]
        return clip_unit(1 - (first - second))
    positive = np.asarray(shares, np.float64)[np.asarray(shares) > 0]
    return clip_unit(float(-(positive * np.log(positive)).sum()) / math.log(len(shares)))


def confidence_uncertainty(confidence: float, by: str | None) -> float:
    """One less the probability that an answer has, where there are no shares of all answers.

    Args:
      by: what the user asked for; must be None.

    Raises:
      ConfigError: it is of shares.
    """
    if by is not None:
        raise ConfigError(
            f"--uncertainty {by} is for recipes that give a score for each label, and this one does not: leave it out."
        )
    return clip_unit(1 - confidence)


def clip_unit(value: float) -> float:
    """A number brought between 0 and 1, which rounding may have left."""
    return min(max(float(value), 0.0), 1.0)
