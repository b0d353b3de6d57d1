"""What scores the predictions of a recipe; a recipe holds one as `head`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.errors import ConfigError
from common.modeling.metrics import NoMetrics
from common.types import Ask, Example, JsonObject, Metrics, OutputRow, PerExampleMetric

if TYPE_CHECKING:
    import keras


class Head(ABC):
    """Metrics, calibration and presentation of one kind of prediction, apart from how it is made.

    Attributes:
      required_outputs: names of the outputs that a recipe's `predict` must give.
      monitor: the validation metric that the best weights have.
      monitor_mode: "max" or "min".
    """

    required_outputs: tuple[str, ...] = ()
    monitor: str = "loss"
    monitor_mode: str = "min"

    @abstractmethod
    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        """Compute the final metrics of what the endpoints answer, against raw examples."""

    @abstractmethod
    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        """Return the metric by which two models are compared, as what each example adds to it."""

    @abstractmethod
    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        """Format one row of serving_default's outputs as a JSON object."""

    def make_metrics(self, model: keras.Model) -> Metrics:
        """Return empty validation metrics over encoded targets and the model's outputs; none besides the loss."""
        return NoMetrics()

    def on_validation_end(self, model: keras.Model, metrics: Metrics) -> None:  # noqa: B027
        """Set weights that are fitted on the validation split, such as a calibration."""

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """Return how unsure the model is of one row of outputs, from 0 to 1.

        Args:
          by: "entropy" or "margin", of the probabilities of labels; None for the head's own measure.

        Raises:
          ConfigError: there is no such measure of what is predicted.
        """
        raise ConfigError("--select-uncertain needs a measure of uncertainty, and this recipe has none: leave it out.")

    def data_warnings(self) -> list[str]:
        """Return what is doubtful in what was learned from the data, for people."""
        return []
