"""Spans of characters that mark entities in a text: read from JSON values, and set beside the text's tokens."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence

from common.data.readers.columns import quote_list, text_error
from common.text.tag_schemes import Span

STARTS, ENDS, TYPES = ("start", "start_offset"), ("end", "end_offset"), ("label", "type", "labels")


def parse_spans(text: str, values: object) -> list[Span]:
    """Return the different spans of a text, without blanks at their ends."""
    if isinstance(values, dict) and values and all(isinstance(column, list) for column in values.values()):
        # As `datasets` writes a list of objects: {"start": [0], "end": [4], "label": ["PER"]}.
        values = [dict(zip(values, row, strict=False)) for row in zip(*values.values(), strict=False)]
    if not isinstance(values, list):
        raise ValueError("has no tags" if values is None else 'has a text, but no list of spans such as [0, 4, "PER"]')
    spans: dict[Span, None] = {}
    for value in values:
        start, end, label = _parse_span(value)
        if not 0 <= start <= end <= len(text):
            raise ValueError(f"has the entity [{start}, {end}], but its text has {len(text):,} characters")
        inner = text[start:end]
        if not inner.strip():
            raise ValueError(f"has the entity [{start}, {end}], which is {'blank' if inner else 'empty'}")
        spans[start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()), label] = None
    return sorted(spans)


def _parse_span(value: object) -> Span:
    """The numbers and the label of [start, end, label] or an object, as annotation tools write it."""
    parts = value
    if isinstance(value, dict):
        parts = [next((value[key] for key in keys if key in value), None) for keys in (STARTS, ENDS, TYPES)]
    if isinstance(parts, list) and len(parts) == 3:
        start, end, label = parts
        if isinstance(label, list) and len(label) == 1:  # as Label Studio has it
            label = label[0]
        numbers = all(isinstance(number, int | float) and number == number // 1 for number in (start, end))
        if numbers and isinstance(label, str | int) and (name := str(label).strip()) and not text_error(name):
            return int(start), int(end), name
    shown = json.dumps(value, ensure_ascii=True, default=str)
    raise ValueError(f"has the span {shown[:60]}{'…' * (len(shown) > 60)}, which is no [start, end, label]")


def align_spans_to_tokens(
    text: str, spans: Sequence[Span], tokens: Sequence[str], starts: Sequence[int], ends: Sequence[int]
) -> tuple[list[Span], list[tuple[int, Span]], list[str]]:
    """Return spans of whole tokens, none over another; (first token, span) of each that is kept; and what was mended.

    Args:
      starts, ends: of the tokens, in characters.
    """

    def shown(span: Span) -> str:
        return f"{quote_list([text[span[0] : span[1]]])} [{span[0]}, {span[1]}]"

    mended = []
    separate, lost = _remove_overlaps([(span[0], span[1], span) for span in spans])
    mended += [(span, f"overlaps {shown(winner)}; the latter is taken") for span, winner in lost]
    placed = []
    for start, end, span in separate:
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if first == last:  # of characters that are not seen
            mended.append((span, "holds no token; it is left out"))
            continue
        placed.append((first, last, span))
        if starts[first] < start or ends[last - 1] > end:
            what, are = ("token", "token is") if last - first == 1 else ("tokens", "tokens are")
            whole = quote_list([text[starts[first] : ends[last - 1]]])
            mended.append((span, f"is part of the {what} {whole}; the whole {are} taken"))
    tagged, lost = _remove_overlaps(placed)
    mended += [(span, f"shares a token with {shown(winner)}; the latter is taken") for span, winner in lost]
    messages = [f"has the entity {shown(span)}, which {what}" for span, what in mended]
    return (
        [(first, last, span[2]) for first, last, span in tagged],
        [(first, span) for first, _, span in placed],
        messages,
    )


def _remove_overlaps(
    placed: Sequence[tuple[int, int, Span]],
) -> tuple[list[tuple[int, int, Span]], list[tuple[Span, Span]]]:
    """Places that do not overlap, those of longer spans kept; and (span, the one kept instead) of the others."""
    separate: list[tuple[int, int, Span]] = []
    lost = []
    for candidate in sorted(placed, key=lambda candidate: (candidate[2][0] - candidate[2][1], candidate[2][0])):
        at = bisect_left(separate, candidate[0], key=lambda item: item[0])
        if at and separate[at - 1][1] > candidate[0]:
            lost.append((candidate[2], separate[at - 1][2]))
        elif at < len(separate) and separate[at][0] < candidate[1]:
            lost.append((candidate[2], separate[at][2]))
        else:
            insort(separate, candidate)
    return separate, lost


def tokenize_examples(texts: Sequence[str]) -> Iterator[tuple[list[str], list[int], list[int]]]:
    """Yield tokens, where they start and where they end, of each text."""
    if texts:
        import tensorflow as tf  # here, for most files need none

        from common.text.tokenizer import tokenize_with_offsets

        tokens, starts, ends = (ragged.to_list() for ragged in tokenize_with_offsets(tf.constant(texts)))
        for words, left, right in zip(tokens, starts, ends, strict=True):
            yield [word.decode() for word in words], left, right
