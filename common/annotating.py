"""Texts with a label or entities in the forms that Label Studio and doccano import and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError

LABEL, ENTITIES = "label", "entities"  # keys of what is shown, by which its kind is known


@dataclass(frozen=True)
class Names:
    """What Label Studio calls things.

    Args:
      version: of the model that predicted; None for what a person annotated.
      data: the text in a task's data.
      annotation, text: the tags of the labelling interface, by whether a label or entities are meant.
    """

    version: str | None
    data: str
    annotation: Mapping[str, str]
    text: str


def label_studio(text: str, shown: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A task with one prediction, or with the annotation of a person.

    Args:
      shown: "label", or "entities" with "start", "end" and "label" of each, as recipes present them; and the "score".
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
    if names.version is None:
        return {"data": {names.data: text}, "annotations": [{"result": result}]}
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
