"""Predictions as first annotations for people to correct, in the forms that Label Studio and doccano import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import predict
from common.annotating import ENTITIES, LABEL, Names, doccano, kind_of, label_studio
from common.endpoints import Served, export_folder
from common.errors import ConfigError
from common.files import replacing
from common.readers import files
from common.types import Example

LABEL_STUDIO, DOCCANO = "label-studio", "doccano"
TAGS = {LABEL: "Choices", ENTITIES: "Labels"}  # of Label Studio's labelling interface


def export_predictions(
    target: Path, served: Served, source: str, column: Sequence[str], encoding: str | None, tool: str, to: str,
    emit: Callable[[str], Any], from_name: str | None = None, to_name: str | None = None,
) -> tuple[int, str]:  # fmt: skip
    """Writes a file that a tool imports; returns how many inputs were bad, and what to do next, for people.

    Args:
      target: the run or export, by whose name Label Studio shows the predictions.
      source, column, encoding: the inputs, as for `predict.predict`.
      to: a file, or - for `emit`, which takes pieces of text.
      from_name, to_name: of the tags in Label Studio's labelling interface; None for those of its templates.

    Raises:
      ConfigError: the recipe reads no texts, or predicts neither a label nor entities; nothing is written then.
    """
    if tool != LABEL_STUDIO and (from_name or to_name):
        raise ConfigError("--from-name and --to-name are of Label Studio: leave them out, or say --tool label-studio.")
    recipe, report = served.recipe, predict.LeftOut()
    field = recipe.inputs[0].name
    if recipe.inputs[0].kind != "text":
        raise ConfigError("export-predictions is for recipes that read texts, and this one does not.")
    folder = export_folder(target)
    version = f"{folder.resolve().parent.name}/{folder.name}" if folder else target.resolve().name
    # A label's template calls its tag as others call a label's column, "sentiment" for one.
    usual = next((one.names[0] for one in recipe.fields if one.kind == LABEL and one.names), LABEL)
    names = Names(version, field, {LABEL: from_name or usual, ENTITIES: from_name or "label"}, to_name or "text")
    kinds: set[str] = set()

    def formed(example: Example, outputs: Mapping[str, Any]) -> str:
        text, shown = example[field], recipe.present(example, outputs)
        kinds.add(kind_of(shown))
        made = label_studio(text, shown, names) if tool == LABEL_STUDIO else doccano(text, shown)
        return json.dumps(made, ensure_ascii=False)

    def lines() -> Iterator[str]:
        for batch in predict.batches(recipe.inputs, (), source, column, encoding, report):
            yield from served.predictions(batch, formed)

    write = _as_array if tool == LABEL_STUDIO else _as_lines
    if to == "-":
        write(lines(), emit)
    else:
        path = files.located(to)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "w") as file:
            write(lines(), file.write)
    imported = "what was printed, saved as a file" if to == "-" else to
    if tool == DOCCANO:
        step = 'Dataset, Actions, Import Dataset, JSONL, and name the columns "text" and "label"'
        return report.count, f"Next: in a project of doccano, choose {step}; import {imported}."
    kind = ENTITIES if ENTITIES in kinds else LABEL
    tags = f'<{TAGS[kind]} name="{names.annotation[kind]}" toName="{names.text}">'
    tags += f' and <Text name="{names.text}" value="${field}">'
    return report.count, f"Next: in a project of Label Studio whose interface has {tags}, import {imported}."


def _as_array(lines: Iterator[str], emit: Callable[[str], Any]) -> None:
    before = "[\n"
    for line in lines:
        emit(before + line)
        before = ",\n"
    emit("\n]\n" if before == ",\n" else "[]\n")


def _as_lines(lines: Iterator[str], emit: Callable[[str], Any]) -> None:
    for line in lines:
        emit(line + "\n")
