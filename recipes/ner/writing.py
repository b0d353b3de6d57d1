"""Predicted entities for people and programs: JSON objects, CoNLL lines, highlighted text."""

from __future__ import annotations

import html

from common.text.tag_schemes import tags_to_spans
from common.types import Example, JsonObject, OutputFormat, OutputRow

COLOURS = ("#cfe8ff", "#ffe1c4", "#d5f2d3", "#f6d3ea", "#e3dcff", "#fff3b8", "#cdeeee", "#f3d6d0")

_BEGIN = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Entities</title>
<style>
 body { font: 16px/1.9 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f24; }
 p { white-space: pre-wrap; overflow-wrap: anywhere; border-bottom: 1px solid #d8dee4; padding-bottom: .6rem; }
 mark { border-radius: 4px; padding: .1rem .3rem; color: inherit; }
 small { font-size: .7rem; font-weight: 600; margin-left: .35rem; color: #424a53; }
</style>"""


def entity_spans(outputs: OutputRow) -> list[tuple[int, int, str, float]]:
    """Return where entities stand (characters, the end excluded), what they are, and how probable they are.

    Args:
      outputs: one row of serving_default.
    """
    tags = [tag.decode("utf-8") for tag in outputs["tags"][: int(outputs["lengths"])]]
    starts, ends, scores = outputs["starts"], outputs["ends"], outputs["scores"]
    return [(int(starts[a]), int(ends[b - 1]), kind, float(scores[a])) for a, b, kind in tags_to_spans(tags)]


def format_entities(example: Example, outputs: OutputRow) -> list[JsonObject]:
    """Return the entities of a text as JSON objects; `outputs` is one row of serving_default."""
    return [
        {"text": example["text"][start:end], "label": label, "start": start, "end": end, "score": score}
        for start, end, label, score in entity_spans(outputs)
    ]


def format_conll(example: Example, outputs: OutputRow) -> str:
    """Return a line for each token, with its tag behind a tab, and an empty one at the end."""
    count = int(outputs["lengths"])
    pairs = zip(outputs["tokens"][:count], outputs["tags"][:count], strict=True)
    return "".join(f"{token.decode('utf-8')}\t{tag.decode('utf-8')}\n" for token, tag in pairs)


def html_format(types: list[str]) -> OutputFormat:
    """Return a page with a paragraph for each text, its entities marked, a colour for each type."""
    colours = {kind: COLOURS[number % len(COLOURS)] for number, kind in enumerate(types)}

    def format_paragraph(example: Example, outputs: OutputRow) -> str:
        parts, at = [], 0
        for entity in format_entities(example, outputs):
            parts.append(html.escape(example["text"][at : entity["start"]]))
            label = html.escape(entity["label"])
            parts.append(
                f'<mark style="background: {colours[entity["label"]]}" title="{label} {entity["score"]:.2f}">'
                f"{html.escape(entity['text'])}<small>{label}</small></mark>"
            )
            at = entity["end"]
        return f"<p>{''.join(parts)}{html.escape(example['text'][at:])}</p>"

    return OutputFormat(format_paragraph, _BEGIN, "</html>")
