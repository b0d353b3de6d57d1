"""What is left of a training's time, and how much fits into it; speeds are those of this process so far."""

from __future__ import annotations

import math

from common.config import RunConfig

CALL_SECONDS = 0.5  # a call of the compiled loop takes about so long: often enough for progress, signals and limits


class TimeBudget:
    """The seconds of a training: used, allowed, and expected.

    Args:
      config: `config.epochs` and `config.max_minutes`, of which the one that is used up first ends the training.
      steps_per_epoch: how many there are.
      num_train, num_valid: examples of both splits.
    """

    def __init__(self, config: RunConfig, steps_per_epoch: int, num_train: int, num_valid: int):
        self.epochs, self.steps_per_epoch = config.epochs, steps_per_epoch
        self.num_train, self.num_valid = num_train, num_valid
        self.limit = math.inf if config.max_minutes is None else config.max_minutes * 60
        self.seconds = 0.0  # in training so far, validation included
        self.steps_per_second = 0.0  # the latest estimate; 0 before there is one
        self.validation_seconds = 0.0  # of the last one

    @property
    def used_fraction(self) -> float:
        """How much of the time is used up, 1 at most; 0 without a limit."""
        return min(1.0, self.seconds / self.limit)

    def is_used_up(self) -> bool:
        """Whether no more than the next validation fits."""
        return self.seconds + self.estimate_validation() >= self.limit

    def ends_by_time(self, epoch: int, step: int) -> bool:
        """Whether the time is used up before the epochs are, as it seems now; the schedule then follows the clock.

        Args:
          epoch, step: how many epochs are done, and how many steps of the next one.
        """
        if self.epochs is None:
            return True
        return bool(self.steps_per_second) and self.seconds + self._estimate_epochs(epoch, step) > self.limit

    def estimate_validation(self) -> float:
        """Return the seconds of the next validation: those of the last one.

        Before the first, a forward pass is taken for a third of a step.
        """
        if self.validation_seconds or not self.num_valid or not self.steps_per_second:
            return self.validation_seconds
        return self.num_valid / (3 * self.steps_per_second * self.num_train / self.steps_per_epoch)

    def estimate_remaining(self, epoch: int, step: int) -> float | None:
        """Return the seconds until the training ends, as it seems now; None before there is an estimate."""
        by_time = self.limit - self.seconds
        if self.epochs is None or not self.steps_per_second:
            return by_time if by_time < math.inf else None
        return min(by_time, self._estimate_epochs(epoch, step))

    def count_call_steps(self) -> int:
        """Return how many steps the next call of the compiled loop should make."""
        count = 1 if not self.steps_per_second else max(1, round(CALL_SECONDS * self.steps_per_second))
        if self.steps_per_second and self.limit < math.inf:
            remaining = self.limit - self.seconds - self.estimate_validation()
            count = min(count, max(1, int(remaining * self.steps_per_second)))
        return count

    def _estimate_epochs(self, epoch: int, step: int) -> float:
        """Return how long the epochs that are left take, at the present speed."""
        assert self.epochs is not None
        steps = self.steps_per_epoch * (self.epochs or 1) - (epoch * self.steps_per_epoch + step)
        return steps / self.steps_per_second + (self.epochs - epoch) * self.estimate_validation()
