"""Which of an example's fields holds what, by their kinds."""

from __future__ import annotations

from collections.abc import Sequence

from common.types import Example, Field, JsonObject

TARGETS = ("label", "tags")  # kinds that are predicted from the others


def get_label_names(fields: Sequence[Field]) -> list[str]:
    """Return the names of the labels, of which there mostly is one."""
    return [field.name for field in fields if field.kind == "label"]


def get_label_aliases(fields: Sequence[Field]) -> list[str]:
    """Return what the column of each label is mostly called, of those that have such names."""
    return [field.aliases[0] for field in fields if field.kind == "label" and field.aliases]


def get_tags_name(fields: Sequence[Field]) -> str:
    """Return the name of the tags, or "" where examples have none."""
    return next((field.name for field in fields if field.kind == "tags"), "")


def get_identity_name(fields: Sequence[Field]) -> str:
    """Return the key of an example's content by which duplicates are known: that of its first input.

    Of tokens it is the text in which they stand, so that another way to cut it changes nothing.
    """
    first = next(field for field in fields if field.kind not in TARGETS)
    return "text" if first.kind == "tokens" else first.name


def get_text_names(fields: Sequence[Field]) -> list[str]:
    """Return the names of all fields that hold texts, as such or as tokens."""
    return [field.name for field in fields if field.kind in ("text", "tokens")]


def describe_inputs(example: Example, fields: Sequence[Field]) -> JsonObject:
    """Return what a prediction's JSON object says of its inputs: texts and tokens, and the name of an image's file.

    >>> describe_inputs({"photo": b"...", "file": "a.png"}, [Field("photo", "image")])
    {'file': 'a.png'}
    """
    shown: JsonObject = {}
    for field in fields:
        if field.kind == "image":
            shown["file"] = example.get("file")
        elif field.kind in ("text", "tokens"):
            shown[field.name] = example[field.name]
    return shown
