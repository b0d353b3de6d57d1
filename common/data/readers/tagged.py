"""Tagged sentences of any file: tokens with tags, or a text with spans, as examples whose tags are IOB2.

An example holds "text", "tokens" and "tags"; one of a text with spans also "entities": [start, end, type] in characters
of the text, as given but without blanks at their ends, and its tokens are those of common/text/tokenizer.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.data.readers.columns import quote_list
from common.data.readers.jsonl import open_json_lines
from common.data.readers.raw_sentence import RawSentence, make_sentence
from common.data.readers.reader import Reader
from common.data.readers.spans import align_spans_to_tokens, tokenize_examples
from common.errors import DataError
from common.row_errors import RowErrors
from common.text.tag_schemes import (
    NONE,
    Scheme,
    SchemeDetector,
    Span,
    find_illegal_tags,
    spans_to_iob2,
    split_long_sentence,
    tags_to_spans,
)
from common.types import Example, Field

LONGEST = 1300  # tokens of a sentence; longer ones are cut
BATCH = 256  # texts that are tokenised at once
FEW_TAGS, MOST_TAGS, MOST_PAIRS = 30, 1000, 50_000  # different ones; words have more
REVERSED = re.compile(r".+-[BILESU]")  # PER-B


@dataclass(frozen=True)
class TaggedReader(Reader):
    """A file whose scheme is known.

    Args:
      summary: how the file was understood, for people.
      read: starts a pass.
      scheme: of the tags.
      has_illegal_tags: it does not allow all of them.
      names: by type or tag, where the user gave them.
      names_are_tags: they are names of tags such as 3, not of types.
      row_errors: is told of every sentence that cannot be used.
      repairs: is told of every tag or span that was mended.
    """

    summary: str
    read: Callable[[], Iterator[RawSentence]] = field(repr=False)
    scheme: Scheme
    has_illegal_tags: bool
    names: Mapping[str, str] = field(repr=False)
    names_are_tags: bool
    row_errors: RowErrors = field(repr=False, compare=False)
    repairs: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        return self.summary

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sentence that can be used, or of every piece of one that is too long.

        Raises:
          DataError: the file cannot be read to its end, or a sentence is broken and `row_errors` is strict.
        """
        self.repairs.clear()
        for batch in _batch_sentences(self.read()):
            cut = iter(tokenize_examples([sentence.text for sentence in batch if sentence.text is not None]))
            for sentence in batch:
                try:
                    if sentence.left_out:
                        self.row_errors.count_filtered(sentence.left_out)
                    elif sentence.error:
                        self.row_errors.add(sentence.location, sentence.error)
                    elif sentence.text is None:
                        yield from self._read_tags(sentence)
                    else:
                        yield from self._read_text(sentence, sentence.text, *next(cut))
                except _Unusable as error:
                    self.row_errors.add(error.location, error.what)

    def _read_tags(self, sentence: RawSentence) -> Iterator[tuple[str, Example]]:
        tags = sentence.tags
        if self.names_are_tags:
            if unknown := [at for at, tag in enumerate(tags) if tag not in self.names]:
                raise _Unusable(
                    sentence.location_of(unknown[0]), f'has the tag "{tags[unknown[0]]}", which --label-names lacks'
                )
            tags = [self.names[tag] for tag in tags]
        if (foreign := self.scheme.first_invalid(tags)) is not None:
            raise _Unusable(
                sentence.location_of(foreign), f'has the tag "{tags[foreign]}", which is none of {self.scheme.name}'
            )
        spans = self._rename(tags_to_spans(tags, self.scheme), sentence)
        for at, what in find_illegal_tags(tags, self.scheme) if self.has_illegal_tags else ():
            self.repairs.add(sentence.location_of(at), what)
        made = spans_to_iob2(spans, len(tags))
        for start, end in split_long_sentence(made, LONGEST):
            tokens = list(sentence.tokens[start:end])
            yield sentence.location_of(start), {"text": " ".join(tokens), "tokens": tokens, "tags": made[start:end]}

    def _read_text(
        self, sentence: RawSentence, text: str, tokens: list[str], starts: list[int], ends: list[int]
    ) -> Iterator[tuple[str, Example]]:
        if not tokens:
            raise _Unusable(sentence.location, "holds no token")

        tagged, placed, mended = align_spans_to_tokens(
            text, self._rename(sentence.spans, sentence), tokens, starts, ends
        )
        for what in mended:
            self.repairs.add(sentence.location, what)
        tags = spans_to_iob2(tagged, len(tokens))
        cuts = split_long_sentence(tags, LONGEST)
        for first, last in cuts:
            left, right = (0, len(text)) if len(cuts) == 1 else (starts[first], ends[last - 1])
            within = [span for at, span in placed if first <= at < last]
            spans = [[max(start, left) - left, min(end, right) - left, type] for start, end, type in within]
            example = {"text": text[left:right], "tokens": tokens[first:last], "tags": tags[first:last]}
            yield sentence.location, example | {"entities": sorted(spans)}

    def _rename(self, spans: Sequence[Span], sentence: RawSentence) -> Sequence[Span]:
        """Entities under the names of their types; those of a type whose name is O are none."""
        if not self.names or (self.names_are_tags and sentence.text is None):
            return spans
        for _, _, type in spans:
            if type not in self.names:
                raise _Unusable(sentence.location, f'has the entity type "{type}", which --label-names does not name')
        return [(start, end, name) for start, end, type in spans if (name := self.names[type]) not in NONE]


def open_tagged(
    name: str, layout: str, read: Callable[[], Iterator[RawSentence]], names: Mapping[str, str], row_errors: RowErrors
) -> TaggedReader:
    """Open a reader of sentences, its scheme found in a pass over all of them.

    Args:
      name: of the file.
      layout: the note's beginning.
      names: of types, or of tags if these are numbers or all among them.

    Raises:
      DataError: the file cannot be read to its end, or holds no tags.
    """
    survey = _survey_tags(read)
    tally, counts = survey.tally, survey.tally.tags()
    numbers = bool(counts) and all(tag.lstrip("-").isdecimal() for tag in counts)
    _check_tags(name, tally, numbers and not names)
    named_tags = bool(names) and (numbers or (bool(counts) and set(counts) <= set(names)))
    if named_tags:
        tally = tally.rename(names)
    scheme = tally.detect()
    if scheme.style == "bare" and all(REVERSED.fullmatch(tag) for tag in set(tally.tags()) - set(NONE)):
        raise DataError(
            f"The tags of {name} have their letter last ({_list_few(tally.tags())}): write B-PER for PER-B."
        )
    layout += f"; scheme {scheme}" if counts else ""
    if survey.long:  # most often a file whose sentences are not parted
        layout += f"; {survey.long:,} {'sentence' if survey.long == 1 else 'sentences'} of over {LONGEST:,} tokens cut"
    faulty = tally.count_illegal(scheme) > 0
    reader = TaggedReader(layout, read, scheme, faulty, names, named_tags, RowErrors(), RowErrors())
    if survey.has_spans or faulty:
        layout += _describe_repairs(reader, "entity" if not counts else "illegal tag")
    return replace(reader, summary=layout, row_errors=row_errors, repairs=RowErrors())


@dataclass
class _TagSurvey:
    """What a pass over the sentences of a file found.

    Args:
      tally: of the tags.
      has_spans: there are texts with spans.
      long: sentences that are cut.
    """

    tally: SchemeDetector
    has_spans: bool = False
    long: int = 0


def _survey_tags(read: Callable[[], Iterator[RawSentence]]) -> _TagSurvey:
    """Counts the tags of a file; stops where there are too many different ones."""
    survey = _TagSurvey(SchemeDetector())
    for sentence in read():
        survey.has_spans |= sentence.text is not None
        survey.long += len(sentence.tags) > LONGEST
        if not (sentence.error or sentence.left_out) and sentence.text is None:
            survey.tally.add(sentence.tags)
            if len(survey.tally.pairs) > MOST_PAIRS:
                break
    return survey


def _check_tags(name: str, tally: SchemeDetector, unnamed: bool) -> None:
    """Refuses tags that are words, or numbers without names.

    Args:
      name: of the file.
      unnamed: the tags are numbers, and nobody said what they stand for.
    """
    counts = tally.tags()
    words = len(counts) > FEW_TAGS and 4 * len(counts) > counts.total()  # hardly any twice
    if words or len(counts) > MOST_TAGS or len(tally.pairs) > MOST_PAIRS:
        raise DataError(
            f"{name} has too many different tags, such as {_list_few(counts)}: name the column of the tags."
        )
    if unnamed:
        remedy = "say what they stand for by --label-names FILE, with a name such as B-PER on each line"
        raise DataError(f"The tags of {name} are numbers ({_list_few(counts)}): {remedy}.")


def _describe_repairs(reader: TaggedReader, kind: str) -> str:
    """What a pass mends, to stand at the end of a note; "" if it is nothing.

    Args:
      kind: "entity" or "illegal tag".
    """
    for _ in reader.rows():
        pass
    if not (count := reader.repairs.count):
        return ""
    first = reader.repairs.first_errors()[0]
    if kind == "entity":
        kinds = kind if count == 1 else "entities"
    else:
        kinds, first = kind if count == 1 else f"{kind}s", first.partition(", which")[0]
    return f"; {count:,} {kinds} repaired, first {first}"


def open_tagged_jsonl(
    path: Path,
    fields: tuple[Field, ...],
    columns: Mapping[str, str],
    encoding: str | None,
    names: Mapping[str, str],
    row_errors: RowErrors,
) -> TaggedReader:
    """Open a file of JSON objects that hold lists of tokens and of tags, or a text and its spans.

    Args: as those of `open_tagged` and `jsonl.json_lines`.
    """
    rows = open_json_lines(path, fields, columns, encoding, row_errors)
    tokens, tags = (rows.keys[name] for name in tag_field_names(fields))

    def read() -> Iterator[RawSentence]:
        for location, value, wrong in rows.read():
            yield make_sentence(location, value.get(tokens), value.get(tags), wrong)

    return open_tagged(path.name, rows.description, read, names, row_errors)


def tag_field_names(fields: Iterable[Field]) -> tuple[str, str]:
    """Return the names of the fields of tokens and of tags."""
    kinds = {field.kind: field.name for field in fields}
    return kinds["tokens"], kinds["tags"]


class _Unusable(Exception):
    def __init__(self, location: str, what: str):
        self.location, self.what = location, what


def _batch_sentences(sentences: Iterable[RawSentence]) -> Iterator[list[RawSentence]]:
    """Lists of sentences, many where they hold texts, which are best tokenised together."""
    batch = []
    for sentence in sentences:
        batch.append(sentence)
        if sentence.text is None or len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _list_few(tags: Iterable[str]) -> str:
    return quote_list(sorted(tags)[:5])
