"""Predictions as first annotations for people to correct, in the forms that Label Studio and doccano import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import predict
from common.endpoints import Served, export_folder
from common.errors import ConfigError
from common.files import replacing
from common.readers import files
from common.recipe import Example

LABEL_STUDIO, DOCCANO = "label-studio", "doccano"
LABEL, ENTITIES = "label", "entities"  # keys of a prediction, by which its kind is known
TAGS = {LABEL: "Choices", ENTITIES: "Labels"}  # of Label Studio's labelling interface


@dataclass(frozen=True)
class Names:
    """What Label Studio calls things.

    Args:
      version: of the model.
      data: the text in a task's data.
      annotation, text: the tags of the labelling interface, by the kind of prediction.
    """

    version: str
    data: str
    annotation: Mapping[str, str]
    text: str


def label_studio(text: str, shown: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A task with one prediction.

    Args:
      shown: what the recipe presents: "label" and "score", or "entities".
    """
    kind = kind_of(shown)
    if kind == ENTITIES:
        values = [
            (
                "labels",
                {
                    "start": one["start"],
                    "end": one["end"],
                    "text": text[one["start"] : one["end"]],
                    "labels": [one["label"]],
                },
                one.get("score"),
            )
            for one in shown[ENTITIES]
        ]
    else:
        values = [("choices", {"choices": [shown[LABEL]]}, shown.get("score"))]
    tags = {"from_name": names.annotation[kind], "to_name": names.text}
    result = [
        {"id": str(number), **tags, "type": type, "value": value} | ({} if score is None else {"score": score})
        for number, (type, value, score) in enumerate(values, 1)
    ]
    # A text is as sure as its least sure entity, so that sorted by score the doubtful ones come first.
    scores = [score for _, _, score in values if score is not None]
    prediction = {"model_version": names.version} | ({"score": min(scores)} if scores else {}) | {"result": result}
    return {"data": {names.data: text}, "predictions": [prediction]}


def doccano(text: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a file.

    >>> doccano("Ann slept", {"entities": [{"start": 0, "end": 3, "label": "PER"}]})
    {'text': 'Ann slept', 'label': [[0, 3, 'PER']]}
    >>> doccano("fine", {"label": "pos", "score": 0.9})
    {'text': 'fine', 'label': ['pos']}
    """
    if kind_of(shown) == LABEL:
        return {"text": text, "label": [shown[LABEL]]}
    return {"text": text, "label": [[one["start"], one["end"], one["label"]] for one in shown[ENTITIES]]}


def kind_of(shown: Mapping[str, Any]) -> str:
    """Whether a label or entities were predicted.

    Raises:
      ConfigError: neither.
    """
    for kind in (ENTITIES, LABEL):
        if kind in shown:
            return kind
    keys = ", ".join(f'"{key}"' for key in shown)
    raise ConfigError(f"export-predictions is for recipes that predict a label or entities, and this one gives {keys}.")


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
