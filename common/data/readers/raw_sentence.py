"""Sentences as files hold them: tokens and their tags, or a text and its spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common.data.readers.columns import cell_to_text, text_error
from common.data.readers.spans import parse_spans
from common.text.tag_schemes import Span


class RawSentence(NamedTuple):
    """What a file says of a sentence: tokens and tags as written, or a text and its spans.

    Args:
      location: such as "notes.jsonl:3".
      error: why it cannot be used, or "".
      lines: of each token, where a line holds one.
      spans: of characters, within the text, none empty.
      left_out: why it is not wanted though it is sound, or "".
    """

    location: str
    error: str = ""
    tokens: Sequence[str] = ()
    tags: Sequence[str] = ()
    lines: Sequence[int] = ()
    text: str | None = None
    spans: Sequence[Span] = ()
    left_out: str = ""

    def location_of(self, token: int) -> str:
        """Return the location of a token."""
        return f"{self.location.rpartition(':')[0]}:{self.lines[token]}" if self.lines else self.location


def make_sentence(location: str, tokens: object, tags: object, wrong: str = "") -> RawSentence:
    """Return a sentence of two values: a list of tokens and one of tags, or a text and a list of spans.

    >>> make_sentence("a.jsonl:1", "Ann slept", [[0, 3, "PER"]]).spans
    [(0, 3, 'PER')]
    >>> make_sentence("a.jsonl:2", ["Ann", "slept"], ["B-PER"]).error
    'has 2 tokens, but 1 tags'

    Args:
      wrong: what is wrong already, or "".
    """
    if wrong:
        return RawSentence(location, wrong)
    try:
        if isinstance(tokens, str):
            if why := text_error(tokens):
                raise ValueError(why)
            return RawSentence(location, text=tokens, spans=parse_spans(tokens, tags))
        token_texts, tag_texts = _to_strings(tokens, "token"), _to_strings(tags, "tag")
        if len(token_texts) != len(tag_texts):
            raise ValueError(f"has {len(token_texts):,} tokens, but {len(tag_texts):,} tags")
    except ValueError as error:
        return RawSentence(location, str(error))
    return RawSentence(location, "", token_texts, tag_texts)


def _to_strings(values: object, what: str) -> list[str]:
    if values is None or (isinstance(values, list) and not values):
        raise ValueError(f"has no {what}s")
    if not isinstance(values, list):
        raise ValueError(f"has {what}s that are no list")
    texts = []
    for number, value in enumerate(values, 1):
        try:
            text = (cell_to_text(value) or "").strip()
        except TypeError as error:
            raise ValueError(f"has a {what} (number {number:,}) that {error}") from None
        if wrong := text_error(text) or ("" if text else f"has an empty {what} (number {number:,})"):
            raise ValueError(wrong)
        texts.append(text)
    return texts
