"""Predictions for inputs from anywhere, one JSON object each, in order, as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.readers.gettext_fill import messages
from common.errors import ConfigError, suggestion
from common.inference.predict_request import JSON, PredictRequest
from common.inference.prediction_inputs import EXPLAINED, LeftOut, batches, examples, is_catalogue_file, read_texts
from common.inference.served_model import Served
from common.recipe import Aligns, Explains, Generates
from common.runtime.atomic_io import replacing
from common.runtime.console import say
from common.runtime.open_file import located
from common.types import Example, Field, Format, JsonObject

DEFAULT, ALIGNMENT = "serving_default", "alignment"  # endpoints that are asked


def best(shown: JsonObject, count: int) -> JsonObject:
    """A prediction with its `count` largest scores only, from the largest down."""
    if "scores" not in shown:
        raise ConfigError("--top-k is for recipes that give a score for each label, and this one does not.")
    order = sorted(shown["scores"].items(), key=lambda pair: -pair[1])
    return shown | {"scores": dict(order[:count])}


@dataclass
class Explanations:
    """Pictures of what in images made for their labels, written next to each image, or into a folder.

    Args:
      folder: None for next to the image.
    """

    folder: Path | None = None
    written: int = 0

    def write(self, served: Served, examples: Sequence[Example]) -> None:
        """Writes one for each example, which gets its name as "explanation".

        Raises:
          ConfigError: the recipe explains nothing, or there is no place to write to.
        """
        if not isinstance(served.recipe, Explains) or "explain" not in served.calls:
            raise ConfigError("--explain is for recipes that have an endpoint named explain, and this one has none.")
        for positions, outputs in served.outputs("explain", examples):
            for row, position in enumerate(positions):
                example = examples[position]
                path = self._make_path(example)
                row_outputs = {name: values[row] for name, values in outputs.items()}
                with replacing(path) as file:
                    file.write(served.recipe.explanation(example, row_outputs))
                example["explanation"] = str(path)

    def _make_path(self, example: Example) -> Path:
        self.written += 1
        if self.folder is None:
            if "file" not in example:
                raise ConfigError("--explain writes next to files, and this input is none. Give --explain-to FOLDER.")
            return Path(example["file"] + EXPLAINED)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = Path(example["file"]).name if "file" in example else "input"
        return self.folder / f"{self.written:04d}-{name}{EXPLAINED}"


def _fill_catalogue(served: Served, request: PredictRequest, chosen: Format) -> str:
    """The catalogue that a request names, with predictions of the messages that have no translation.

    Raises:
      ConfigError: it is none.
    """
    source = request.source
    if not source or source == "-" or not is_catalogue_file(path := located(source)):
        raise ConfigError("This --format fills in a message catalogue: name one by --input, such as messages.po.")
    name = served.recipe.inputs[0].name

    def translate(texts: list[str]) -> list[str]:
        return served.predictions([{name: text} for text in texts], chosen.one)

    text, count = messages(path, request.encoding).filled(translate)
    say(f"{count:,} entries of {path.name} are filled in and marked fuzzy.")
    return text


def _choose_format(served: Served, request: PredictRequest) -> Format:
    """The format of a request.

    Raises:
      ConfigError: the recipe has no such format, or no alignments; or the format has no place for what is asked for.
    """
    if request.alignment and not (isinstance(served.recipe, Aligns) and ALIGNMENT in served.calls):
        raise ConfigError("--alignment is for recipes that have an endpoint named alignment, and this one has none.")
    for flag, is_given in (("--alignment", request.alignment), ("--top-k", request.top_scores is not None)):
        if is_given and request.format != JSON:
            raise ConfigError(f"{flag} is about JSON objects, and --format is {request.format}: leave one of them out.")
    formats = {JSON: _make_json_format(served, request), **served.recipe.formats}
    if request.format not in formats:
        raise ConfigError(
            f'--format is "{request.format}", but must be one of: {", ".join(formats)}.'
            f"{suggestion(request.format, formats)}"
        )
    return formats[request.format]


def _make_json_format(served: Served, request: PredictRequest) -> Format:
    """The format of one JSON object a line."""
    recipe = served.recipe

    def format_line(example: Example, outputs: Mapping[str, np.ndarray]) -> str:
        shown = recipe.present(example, outputs)
        if request.top_scores is not None:
            shown = best(shown, request.top_scores)
        if "explanation" in example:
            shown["explanation"] = example["explanation"]
        if request.alignment and isinstance(recipe, Aligns):
            shown[ALIGNMENT] = recipe.alignment(example, outputs)
        return json.dumps(shown, ensure_ascii=False)

    return Format(format_line)


def predict(served: Served, request: PredictRequest, write: Callable[[str], object]) -> int:
    """Writes one JSON line per input, or what another format makes of it; returns how many inputs were bad.

    Args:
      write: takes a line, or several.

    Raises:
      ConfigError: the recipe has no such format, scores, explanations or alignments.
    """
    chosen = _choose_format(served, request)
    if chosen.catalogue:
        write(_fill_catalogue(served, request, chosen))
        return 0
    left_out = LeftOut()
    explanations = Explanations(request.explain_dir) if request.explain or request.explain_dir else None
    endpoint = ALIGNMENT if request.alignment else DEFAULT
    if chosen.begin:
        write(chosen.begin)
    for batch in batches(served.recipe.inputs, request, left_out):
        if explanations:
            explanations.write(served, batch)
        for prediction in served.predictions(batch, chosen.one, endpoint):
            write(prediction)
    if chosen.end:
        write(chosen.end)
    return left_out.count


def make(served: Served, request: PredictRequest, write: Callable[[str], object]) -> int:
    """Writes what a recipe makes up, a JSON line and the files of each; returns how many inputs were bad.

    Args:
      request: with the settings of the recipe's class `Wishes`. Inputs are one a line; without any, the recipe begins
        from nothing.
      write: takes a line.

    Raises:
      ConfigError: a setting cannot be fulfilled; nothing is written then.
    """
    left_out = LeftOut()
    name = served.recipe.inputs[0].name
    if request.source:
        inputs = examples(request.source, (Field(name, "text"),), (), request.encoding, left_out)
    else:
        inputs = read_texts(request.texts, name, left_out)
    lines = [example[name] for example in inputs]
    if (request.source or request.texts) and not lines:
        return left_out.count

    def answer(endpoint: str, asked: list[Example]) -> list[Mapping[str, np.ndarray]]:
        return served.predictions(asked, lambda _, outputs: outputs, endpoint)

    if not isinstance(served.recipe, Generates):
        raise ConfigError("This recipe has Wishes in config.py, and no method made in recipe.py to fulfil them.")
    for sample in served.recipe.made(request.generation, lines, answer):
        for path, content in sample.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(content)
        written = {"files": [str(path) for path, _ in sample.files]} if sample.files else {}
        write(json.dumps(sample.shown | written, ensure_ascii=False))
    return left_out.count
