"""Tags of tokens: which scheme a file's tags follow, the entities they mark, and the tags of entities.

Schemes by what begins an entity: IOB2 a B- always; IOB1 a B- only directly after another of its type; IO nothing, so
that neighbours of one type are one entity; BIOES a B- or, of one token, an S-, and E- ends it (BILOU says L- and U-,
BMEWO says M- and W-); IOE has E- where an entity ends. Entities are read as conlleval reads them, in all schemes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Span = tuple[int, int, str]  # first token, the one after the last, type
Parts = tuple[str, str]  # one of B, I, O, E, S; and the type

OUTSIDE: Parts = ("O", "")
NONE = ("O", "o", "_")  # tags of tokens that are in no entity; the last one in CoNLL-U
LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
PREFIXED = re.compile(r"([BIMELSUW])-(.*\S.*)", re.IGNORECASE | re.DOTALL)  # the type may hold dashes and blanks
ONLY_TYPE = "entity"  # of a file whose tags are B, I and O alone
SCHEMES = ("IOB2", "IO", "IOB1", "BIOES", "IOE")  # the first one that fits best is taken


@dataclass(frozen=True)
class Scheme:
    """How a file writes its tags.

    Args:
      name: one of SCHEMES, or BILOU for the letters that stand for BIOES.
      style: "prefixed" as in B-PER, "bare" as in PER, or "letters" as in B.
    """

    name: str
    style: str = "prefixed"

    def parts(self, tag: str) -> Parts | None:
        """Return the letter and the type of a tag, None if it is no tag of this form."""
        return _split_tag(tag, self.style)

    def first_invalid(self, tags: Sequence[str]) -> int | None:
        """Return where the first tag stands that is none, if any."""
        return next((at for at, tag in enumerate(tags) if _split_tag(tag, self.style) is None), None)

    def __str__(self) -> str:
        kinds = {"prefixed": "", "bare": " (types without prefix)", "letters": " (prefixes without type)"}
        return self.name + kinds[self.style]


IOB2 = Scheme("IOB2")


@lru_cache(maxsize=4096)
def _split_tag(tag: str, form: str) -> Parts | None:
    if tag in NONE:
        return OUTSIDE
    if form == "bare":
        return ("I", tag) if tag.strip() else None
    if form == "letters":
        return (LETTERS[tag.upper()], ONLY_TYPE) if tag.upper() in LETTERS else None
    match = PREFIXED.fullmatch(tag)
    return (LETTERS[match[1].upper()], match[2]) if match else None


def _is_allowed(scheme: str, before: Parts, now: Parts) -> bool:
    """Whether a scheme allows a tag after another one; both ends of a sentence count as O."""
    inside = before[0] in "BI" and before[1] == now[1]  # an entity that may go on
    match scheme, now[0]:
        case "BIOES" | "BILOU", "I" | "E":
            return inside
        case "BIOES" | "BILOU", _:
            return before[0] not in "BI"
        case _, "O":
            return True
        case "IOB2", letter:
            return letter == "B" or (letter == "I" and inside)
        case "IOB1", letter:
            return letter == "I" or (letter == "B" and inside)
        case "IO", letter:
            return letter == "I"
        case _, letter:
            return letter in "IE"


class SchemeDetector:
    """Neighbouring tags of a file, counted, from which its scheme is told.

    >>> tally = SchemeDetector()
    >>> tally.add(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    >>> str(tally.detect())
    'IOB1'
    """

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str | None, str | None]] = Counter()  # None before and after a sentence

    def add(self, tags: Sequence[str]) -> None:
        """Count the tags of a sentence."""
        self.pairs.update(pairwise((None, *tags, None)))

    def tags(self) -> Counter[str]:
        """Return how often each tag occurs."""
        counts: Counter[str] = Counter()
        for (_, tag), count in self.pairs.items():
            if tag is not None:
                counts[tag] += count
        return counts

    def rename(self, names: Mapping[str, str]) -> SchemeDetector:
        """Return a copy with tags by their names; one without a name stays."""
        made = SchemeDetector()
        for (before, now), count in self.pairs.items():
            made.pairs[before and names.get(before, before), now and names.get(now, now)] += count
        return made

    def detect(self) -> Scheme:
        """Return the scheme that allows most of the tags; IOB2 where there is no entity."""
        counts = {tag: count for tag, count in self.tags().items() if tag not in NONE}
        prefixed = sum(count for tag, count in counts.items() if PREFIXED.fullmatch(tag))
        folded = {tag.upper() for tag in counts}
        if folded <= set(LETTERS) and folded & {"B", "I"}:
            form = "letters"
        elif 2 * prefixed < sum(counts.values()):
            return Scheme("IO", "bare")
        else:
            form = "prefixed"
        faults = {name: self.count_illegal(Scheme(name, form)) for name in SCHEMES}
        best = min(SCHEMES, key=lambda name: faults[name])
        return Scheme("BILOU" if best == "BIOES" and any(tag[0] in "LUlu" for tag in counts) else best, form)

    def count_illegal(self, scheme: Scheme) -> int:
        """Return how many tags a scheme does not allow; those that are none do not count."""
        total = 0
        for (before, now), count in self.pairs.items():
            first, second = (OUTSIDE if tag is None else scheme.parts(tag) for tag in (before, now))
            if first and second and not _is_allowed(scheme.name, first, second):
                total += count
        return total


def tags_to_spans(tags: Sequence[str], scheme: Scheme = IOB2) -> list[Span]:
    """Return the entities that tags mark, as conlleval reads them: so illegal tags mark some too.

    >>> tags_to_spans(["B-PER", "I-PER", "I-LOC", "O", "I-LOC", "B-LOC"])
    [(0, 2, 'PER'), (2, 3, 'LOC'), (4, 5, 'LOC'), (5, 6, 'LOC')]

    Raises:
      ValueError: a tag is none.
    """
    spans: list[Span] = []
    start, before = 0, OUTSIDE
    for at, now in enumerate([*_split_tags(tags, scheme), OUTSIDE]):
        if before is now is OUTSIDE:
            continue
        apart = before[0] in "OES" or now[0] in "OBS" or before[1] != now[1]
        if apart and before[0] != "O":
            spans.append((start, at, before[1]))
        if apart:
            start = at
        before = now
    return spans


def find_illegal_tags(tags: Sequence[str], scheme: Scheme) -> list[tuple[int, str]]:
    """Return (position, what is wrong) of every tag that the scheme does not allow there.

    >>> find_illegal_tags(["O", "I-PER"], IOB2)
    [(1, 'has I-PER after O, which IOB2 does not allow; taken as B-PER')]

    Raises:
      ValueError: a tag is none.
    """
    parts = [OUTSIDE, *_split_tags(tags, scheme), OUTSIDE]
    shown = ["the beginning", *tags, "the end"]
    errors = []
    for at, (before, now) in enumerate(pairwise(parts)):
        if _is_allowed(scheme.name, before, now):
            continue
        if scheme.name in ("BIOES", "BILOU") and now[0] in "OBS":  # the tag before it should have ended its entity
            where, taken = f"{shown[at]} before {shown[at + 1]}", f"taken as the end of {before[1]}"
            errors.append((at - 1, f"has {where}, which {scheme.name} does not allow; {taken}"))
            continue
        begins = now[0] in "BS" or before[0] in "OES" or before[1] != now[1]
        tag = f"{'B' if begins else 'I'}-{now[1]}"
        taken = "taken as it is" if tag == tags[at] else f"taken as {tag}"
        place = f"after {shown[at]}" if at else "at the beginning"
        errors.append((at, f"has {tags[at]} {place}, which {scheme.name} does not allow; {taken}"))
    return errors


def _split_tags(tags: Sequence[str], scheme: Scheme) -> list[Parts]:
    all_parts = []
    for tag in tags:
        parts = _split_tag(tag, scheme.style)
        if parts is None:
            raise ValueError(f'has the tag "{tag}", which is none of {scheme.name}')
        all_parts.append(parts)
    return all_parts


def spans_to_iob2(spans: Iterable[Span], length: int) -> list[str]:
    """Return tags of entities that do not overlap.

    >>> spans_to_iob2([(0, 2, "PER"), (2, 3, "LOC")], 4)
    ['B-PER', 'I-PER', 'B-LOC', 'O']
    """
    tags = ["O"] * length
    for start, end, type in spans:
        tags[start:end] = [f"B-{type}", *[f"I-{type}"] * (end - start - 1)]
    return tags


def spans_to_bioes(spans: Iterable[Span], length: int) -> list[str]:
    """Return tags of entities that do not overlap.

    >>> spans_to_bioes([(0, 3, "PER"), (3, 4, "LOC")], 5)
    ['B-PER', 'I-PER', 'E-PER', 'S-LOC', 'O']
    """
    tags = ["O"] * length
    for start, end, type in spans:
        many = [f"B-{type}", *[f"I-{type}"] * (end - start - 2), f"E-{type}"]
        tags[start:end] = many if end - start > 1 else [f"S-{type}"]
    return tags


def split_long_sentence(tags: Sequence[str], max_length: int) -> list[tuple[int, int]]:
    """Return (start, end) of pieces of at most `max_length` tokens, cut between entities where they are short enough.

    Args:
      tags: in IOB2.

    >>> split_long_sentence(["O", "B-PER", "I-PER", "O"], 2)
    [(0, 1), (1, 3), (3, 4)]
    """
    ranges, start = [], 0
    while len(tags) - start > max_length:
        between = (at for at in range(start + max_length, start, -1) if not tags[at].startswith("I-"))
        end = next(between, start + max_length)
        ranges.append((start, end))
        start = end
    return [*ranges, (start, len(tags))]
