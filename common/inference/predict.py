"""Predictions for inputs from anywhere, one JSON object each, in order, as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.readers.gettext_fill import open_messages
from common.data.readers.input_reader import EXPLAINED, get_input_reader
from common.errors import ConfigError, did_you_mean
from common.inference.predict_request import JSON, PredictRequest
from common.inference.prediction_inputs import SkippedInputs, is_catalogue_file, iter_input_batches, read_inputs
from common.inference.served_model import Predictor
from common.runtime.atomic_io import atomic_write
from common.runtime.console import print_status
from common.runtime.open_file import expand_path
from common.types import Aligns, Example, Explains, Field, Generates, JsonObject, OutputFormat

DEFAULT, ALIGNMENT = "serving_default", "alignment"  # endpoints that are asked


def keep_top_scores(shown: JsonObject, count: int) -> JsonObject:
    """Return a prediction with its `count` largest scores only, from the largest down."""
    if "scores" not in shown:
        raise ConfigError("--top-labels is for recipes that give a score for each label, and this one does not.")
    order = sorted(shown["scores"].items(), key=lambda pair: -pair[1])
    return shown | {"scores": dict(order[:count])}


@dataclass
class ExplanationWriter:
    """Pictures of what in images made for their labels, written next to each image, or into a folder.

    Args:
      folder: None for next to the image.
    """

    folder: Path | None = None
    count: int = 0

    def write(self, served: Predictor, examples: Sequence[Example]) -> None:
        """Write one for each example, which gets its name as "explanation".

        Raises:
          ConfigError: the recipe explains nothing, or there is no place to write to.
        """
        if not isinstance(served.recipe, Explains) or "explain" not in served.calls:
            raise ConfigError("--explain is for recipes that have an endpoint named explain, and this one has none.")
        for positions, outputs in served.iter_outputs("explain", examples):
            for row, position in enumerate(positions):
                example = examples[position]
                path = self._make_path(example)
                row_outputs = {name: values[row] for name, values in outputs.items()}
                with atomic_write(path) as file:
                    file.write(served.recipe.render_explanation(example, row_outputs))
                example["explanation"] = str(path)

    def _make_path(self, example: Example) -> Path:
        self.count += 1
        if self.folder is None:
            if "file" not in example:
                raise ConfigError("--explain writes next to files, and this input is none. Give --explain-dir FOLDER.")
            return Path(example["file"] + EXPLAINED)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = Path(example["file"]).name if "file" in example else "input"
        return self.folder / f"{self.count:04d}-{name}{EXPLAINED}"


def _fill_catalogue(served: Predictor, request: PredictRequest, chosen: OutputFormat) -> str:
    """Fill the catalogue that a request names with predictions of the messages that have no translation.

    Raises:
      ConfigError: it is none.
    """
    source = request.source
    if not source or source == "-" or not is_catalogue_file(path := expand_path(source)):
        raise ConfigError("This --format fills in a message catalogue: name one by --input, such as messages.po.")
    name = served.recipe.input_fields[0].name

    def translate(texts: list[str]) -> list[str]:
        return served.predict([{name: text} for text in texts], chosen.format_row)

    text, count = open_messages(path, request.encoding).fill_translations(translate)
    print_status(f"{count:,} entries of {path.name} are filled in and marked fuzzy.")
    return text


def _choose_format(served: Predictor, request: PredictRequest) -> OutputFormat:
    """Choose the format of a request.

    Raises:
      ConfigError: the recipe has no such format, or no alignments; or the format has no place for what is asked for.
    """
    if request.alignment and not (isinstance(served.recipe, Aligns) and ALIGNMENT in served.calls):
        raise ConfigError("--alignment is for recipes that have an endpoint named alignment, and this one has none.")
    for flag, is_given in (("--alignment", request.alignment), ("--top-labels", request.top_labels is not None)):
        if is_given and request.format != JSON:
            raise ConfigError(f"{flag} is about JSON objects, and --format is {request.format}: leave one of them out.")
    formats = {JSON: _make_json_format(served, request), **served.recipe.output_formats}
    if request.format not in formats:
        raise ConfigError(
            f'--format is "{request.format}", but must be one of: {", ".join(formats)}.'
            f"{did_you_mean(request.format, formats)}"
        )
    return formats[request.format]


def _make_json_format(served: Predictor, request: PredictRequest) -> OutputFormat:
    """Make the format of one JSON object a line."""
    recipe = served.recipe

    def format_line(example: Example, outputs: Mapping[str, np.ndarray]) -> str:
        shown = recipe.format_prediction(example, outputs)
        if request.top_labels is not None:
            shown = keep_top_scores(shown, request.top_labels)
        if "explanation" in example:
            shown["explanation"] = example["explanation"]
        if request.alignment and isinstance(recipe, Aligns):
            shown[ALIGNMENT] = recipe.format_alignment(example, outputs)
        return json.dumps(shown, ensure_ascii=False)

    return OutputFormat(format_line)


def predict(served: Predictor, request: PredictRequest, write: Callable[[str], object]) -> int:
    """Write one JSON line per input, or what another format makes of it; return how many inputs were bad.

    Args:
      write: takes a line, or several.

    Raises:
      ConfigError: the recipe has no such format, scores, explanations or alignments.
    """
    chosen = _choose_format(served, request)
    if chosen.fills_catalogue:
        write(_fill_catalogue(served, request, chosen))
        return 0
    left_out = SkippedInputs()
    explanations = ExplanationWriter(request.explain_dir) if request.explain or request.explain_dir else None
    endpoint = ALIGNMENT if request.alignment else DEFAULT
    if chosen.header:
        write(chosen.header)
    for batch in iter_input_batches(served.recipe.input_fields, request, left_out):
        if explanations:
            explanations.write(served, batch)
        for prediction in served.predict(batch, chosen.format_row, endpoint):
            write(prediction)
    if chosen.footer:
        write(chosen.footer)
    return left_out.count


def generate(served: Predictor, request: PredictRequest, write: Callable[[str], object]) -> int:
    """Write what a recipe generates, a JSON line and the files of each; return how many inputs were bad.

    Args:
      request: with the settings of the recipe's class `GenerationConfig`. Inputs are one a line; without
        any, the recipe begins from nothing.
      write: takes a line.

    Raises:
      ConfigError: a setting cannot be fulfilled; nothing is written then.
    """
    left_out = SkippedInputs()
    field = Field(served.recipe.input_fields[0].name, "text")
    if request.source:
        inputs = read_inputs(request.source, (field,), (), request.encoding, left_out)
    else:
        inputs = get_input_reader((field,)).read_arguments(request.texts, left_out)
    lines = [example[field.name] for example in inputs]
    if (request.source or request.texts) and not lines:
        return left_out.count

    def answer(endpoint: str, asked: list[Example]) -> list[Mapping[str, np.ndarray]]:
        return served.predict(asked, lambda _, outputs: outputs, endpoint)

    if not isinstance(served.recipe, Generates):
        raise ConfigError("This recipe has GenerationConfig in config.py, and no method generate in recipe.py.")
    for sample in served.recipe.generate(request.generation, lines, answer):
        for path, content in sample.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(content)
        written = {"files": [str(path) for path, _ in sample.files]} if sample.files else {}
        write(json.dumps(sample.record | written, ensure_ascii=False))
    return left_out.count
