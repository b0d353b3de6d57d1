"""Predictions as first annotations for people to correct, in the forms that Label Studio and doccano import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.readers.field_roles import get_label_aliases
from common.data.readers.input_reader import get_input_reader
from common.errors import ConfigError
from common.inference.annotation_formats import (
    ENTITIES,
    LABEL,
    LabelStudioTags,
    get_annotation_type,
    to_doccano_line,
    to_label_studio_task,
)
from common.inference.predict_request import PredictRequest
from common.inference.prediction_inputs import SkippedInputs, iter_input_batches
from common.inference.served_model import Predictor
from common.recipe import Recipe
from common.runtime.atomic_io import atomic_write
from common.runtime.open_file import expand_path
from common.runtime.run_dir import find_saved_model
from common.types import Example

LABEL_STUDIO, DOCCANO = "label-studio", "doccano"
TAGS = {LABEL: "Choices", ENTITIES: "Labels"}  # of Label Studio's labelling interface


@dataclass(frozen=True)
class AnnotationTarget:
    """Where first annotations go.

    Args:
      tool: that imports them, LABEL_STUDIO or DOCCANO.
      output: a file, or - for stdout.
      from_name, to_name: of the tags in Label Studio's labelling interface; None for those of its templates.
    """

    tool: str
    output: str = "-"
    from_name: str | None = None
    to_name: str | None = None

    def validate(self) -> None:
        """Check that the options are those of the tool.

        Raises:
          ConfigError: they are another tool's.
        """
        if self.tool != LABEL_STUDIO and (self.from_name or self.to_name):
            raise ConfigError(
                "--from-name and --to-name are of Label Studio: leave them out, or say --tool label-studio."
            )


def write_annotations(
    run_or_export: Path,
    served: Predictor,
    request: PredictRequest,
    target: AnnotationTarget,
    write: Callable[[str], object],
) -> tuple[int, str]:
    """Write a file that a tool imports; return how many inputs were bad, and what to do next, for people.

    Args:
      run_or_export: by whose name Label Studio shows the predictions.
      request: the inputs.
      write: takes pieces of text, where the output is stdout.

    Raises:
      ConfigError: the recipe reads no texts, or predicts neither a label nor entities; nothing is written then.
    """
    target.validate()
    recipe, left_out = served.recipe, SkippedInputs()
    field = recipe.input_fields[0].name
    if not get_input_reader(recipe.input_fields).is_text:
        raise ConfigError("pre-annotate is for recipes that read texts, and this one does not.")
    names = _choose_names(run_or_export, recipe, target)
    kinds: set[str] = set()

    def format_prediction(example: Example, outputs: Mapping[str, np.ndarray]) -> str:
        text, shown = example[field], recipe.format_prediction(example, outputs)
        kinds.add(get_annotation_type(shown))
        task = to_label_studio_task(text, shown, names) if target.tool == LABEL_STUDIO else to_doccano_line(text, shown)
        return json.dumps(task, ensure_ascii=False)

    def predict_lines() -> Iterator[str]:
        for batch in iter_input_batches(recipe.input_fields, request, left_out):
            yield from served.predict(batch, format_prediction)

    write_all = _write_array if target.tool == LABEL_STUDIO else _write_lines
    if target.output == "-":
        write_all(predict_lines(), write)
    else:
        path = expand_path(target.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            write_all(predict_lines(), file.write)
    return left_out.count, _next_step_message(target, names, ENTITIES if ENTITIES in kinds else LABEL)


def _choose_names(run_or_export: Path, recipe: Recipe, target: AnnotationTarget) -> LabelStudioTags:
    """Choose what Label Studio calls things, where the user does not say."""
    folder = find_saved_model(run_or_export)
    version = f"{folder.resolve().parent.name}/{folder.name}" if folder else run_or_export.resolve().name
    # A label's template calls its tag as others call a label's column, "sentiment" for one.
    default = next(iter(get_label_aliases(recipe.fields)), LABEL)
    tags = {LABEL: target.from_name or default, ENTITIES: target.from_name or "label"}
    return LabelStudioTags(version, recipe.input_fields[0].name, tags, target.to_name or "text")


def _next_step_message(target: AnnotationTarget, names: LabelStudioTags, kind: str) -> str:
    imported = "what was printed, saved as a file" if target.output == "-" else target.output
    if target.tool == DOCCANO:
        step = 'Dataset, Actions, Import Dataset, JSONL, and name the columns "text" and "label"'
        return f"Next: in a project of doccano, choose {step}; import {imported}."
    tags = f'<{TAGS[kind]} name="{names.from_name[kind]}" toName="{names.to_name}">'
    tags += f' and <Text name="{names.to_name}" value="${names.data_key}">'
    return f"Next: in a project of Label Studio whose interface has {tags}, import {imported}."


def _write_array(lines: Iterator[str], write: Callable[[str], object]) -> None:
    separator = "[\n"
    for line in lines:
        write(separator + line)
        separator = ",\n"
    write("\n]\n" if separator == ",\n" else "[]\n")


def _write_lines(lines: Iterator[str], write: Callable[[str], object]) -> None:
    for line in lines:
        write(line + "\n")
