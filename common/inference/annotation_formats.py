"""Texts with a label or entities in the forms that Label Studio and doccano import and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import ConfigError
from common.types import JsonObject

LABEL, ENTITIES = "label", "entities"  # keys of what is shown, by which its kind is known


@dataclass(frozen=True)
class LabelStudioTags:
    """What Label Studio calls things.

    Args:
      model_version: of the model that predicted; None for what a person annotated.
      data_key: of the text in a task's data.
      from_name, to_name: the tags of the labelling interface, by whether a label or entities are meant.
    """

    model_version: str | None
    data_key: str
    from_name: Mapping[str, str]
    to_name: str


def to_label_studio_task(text: str, shown: JsonObject, names: LabelStudioTags) -> JsonObject:
    """Return a task with one prediction, or with the annotation of a person.

    Args:
      shown: "label", or "entities" with "start", "end" and "label" of each, as recipes present them; and the "score".
    """
    kind = get_annotation_type(shown)
    tags = {"from_name": names.from_name[kind], "to_name": names.to_name}
    result: list[JsonObject] = []
    for number, (type_, value, score) in enumerate(_list_annotations(text, shown), 1):
        annotation = {"id": str(number), **tags, "type": type_, "value": value}
        result.append(annotation | ({} if score is None else {"score": score}))
    if names.model_version is None:
        return {"data": {names.data_key: text}, "annotations": [{"result": result}]}
    # A text is as sure as its least sure entity, so that sorted by score the doubtful ones come first.
    scores = [annotation["score"] for annotation in result if "score" in annotation]
    prediction = (
        {"model_version": names.model_version} | ({"score": min(scores)} if scores else {}) | {"result": result}
    )
    return {"data": {names.data_key: text}, "predictions": [prediction]}


def _list_annotations(text: str, shown: JsonObject) -> list[tuple[str, JsonObject, float | None]]:
    """Return (type, value, score) of each annotation of a text, as Label Studio has them."""
    if get_annotation_type(shown) == LABEL:
        return [("choices", {"choices": [shown[LABEL]]}, shown.get("score"))]
    annotations = []
    for entity in shown[ENTITIES]:
        start, end = entity["start"], entity["end"]
        value = {"start": start, "end": end, "text": text[start:end], "labels": [entity["label"]]}
        annotations.append(("labels", value, entity.get("score")))
    return annotations


def to_doccano_line(text: str, shown: JsonObject) -> JsonObject:
    """Return a line of a file.

    >>> to_doccano_line("Ann slept", {"entities": [{"start": 0, "end": 3, "label": "PER"}]})
    {'text': 'Ann slept', 'label': [[0, 3, 'PER']]}
    >>> to_doccano_line("fine", {"label": "pos", "score": 0.9})
    {'text': 'fine', 'label': ['pos']}
    """
    if get_annotation_type(shown) == LABEL:
        return {"text": text, "label": [shown[LABEL]]}
    return {"text": text, "label": [[entity["start"], entity["end"], entity["label"]] for entity in shown[ENTITIES]]}


def get_annotation_type(shown: JsonObject) -> str:
    """Return whether a label or entities were predicted.

    Raises:
      ConfigError: neither.
    """
    for kind in (ENTITIES, LABEL):
        if kind in shown:
            return kind
    keys = ", ".join(f'"{key}"' for key in shown)
    raise ConfigError(f"pre-annotate is for recipes that predict a label or entities, and this one gives {keys}.")
