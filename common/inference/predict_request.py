"""What a person asks `predict` for; without TensorFlow, so that a wrong request is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError

JSON = "json"  # the format of every recipe


@dataclass(frozen=True)
class PredictRequest:
    """Which inputs are predicted, and what is written of the predictions.

    Args:
      texts: inputs as such, or none.
      source: a file of inputs, or - for stdin; None where there are texts.
      column: FIELD=COLUMN of a table, for each that does not go by a name of its own.
      encoding: of the file, as the user gave it; None finds it.
      format: one of the recipe's, or "json".
      top_labels: show so many scores only, the largest first; None for all, in the order of the labels.
      explain: write pictures that explain the predictions next to the images, or to `explain_dir`.
      alignment: add to each JSON object which words of input and prediction belong together.
      select_uncertain: write so many inputs only, those most worth labelling.
      uncertainty: how these are found, one of `common.modeling.uncertainty.MEASURES`; None for the recipe's own.
      generation: the settings of a recipe that generates, an instance of its `GenerationConfig`; None for all others.
    """

    texts: tuple[str, ...] = ()
    source: str | None = None
    column: tuple[str, ...] = ()
    encoding: str | None = None
    format: str = JSON
    top_labels: int | None = None
    explain: bool = False
    explain_dir: Path | None = None
    alignment: bool = False
    select_uncertain: int | None = None
    uncertainty: str | None = None
    generation: object | None = None

    def validate(self) -> None:
        """Check that the parts of the request go together.

        Raises:
          ConfigError: they do not; the message names the flags.
        """
        if (self.texts and self.source) or not (self.texts or self.source or self.generation):
            alternative = "; or none of them." if self.generation else "."
            raise ConfigError(f"Give either texts, or --input FILE, or - to read lines from stdin{alternative}")
        if self.uncertainty and not self.select_uncertain:
            raise ConfigError(
                "--uncertainty says how --select-uncertain looks for inputs: add --select-uncertain K, or leave it out."
            )
        if self.select_uncertain:
            for flag in self._list_flags_of_all_predictions():
                raise ConfigError(
                    f"--select-uncertain lists inputs to label, and {flag} is of all predictions: leave one out."
                )

    def _list_flags_of_all_predictions(self) -> list[str]:
        is_given = {
            "--explain": self.explain,
            "--explain-dir": self.explain_dir,
            "--alignment": self.alignment,
            "--format": self.format != JSON,
        }
        return [flag for flag, given in is_given.items() if given]
