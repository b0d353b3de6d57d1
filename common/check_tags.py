"""The data report for tagged sentences: entities by type, how many of them training knows, and faults of the tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from common.check import RARE, SEVERAL, alike, fingerprint, overlaps, quantiles, unvalidated
from common.encoding import ENCODE_BATCH, in_batches
from common.errors import DataError
from common.problems import Problems
from common.recipe import Example, Source, Splits
from common.tags import Scheme, entities

LONG = 200  # tokens; where half of the examples are so long, they are hardly sentences
MANY_TYPES, FEW_OUTSIDE = 30, 0.05  # more types, and a smaller share of tokens outside, than data of entities has
PARTS_OF_SPEECH = {"NOUN", "VERB", "ADP", "DET", "PUNCT", "NN", "VB", "IN", "DT"}  # of the two best known tag sets
BARE = str(Scheme("IO", "bare"))  # as it stands in the notes

Entity = tuple[str, str]  # text and type; case counts, for it tells a name from a word


@dataclass
class _Seen:
    """What a part holds; memory is bounded by its distinct examples, which are hashed, and its distinct entities."""

    lengths: Counter[int] = field(default_factory=Counter)  # of examples
    spans: Counter[int] = field(default_factory=Counter)  # of entities
    uses: Counter[Entity] = field(default_factory=Counter)
    marks: set[int] = field(default_factory=set)
    without: int = 0  # any entity
    duplicates: int = 0
    clashes: int = 0  # examples with other tags elsewhere
    unknown: int = 0  # words
    clash: str = ""  # the first one's text
    shared: dict[str, str] = field(default_factory=dict)  # by earlier part the first text that stands there too

    def types(self) -> Counter[str]:
        """How many entities each type has."""
        found: Counter[str] = Counter()
        for (_, type), count in self.uses.items():
            found[type] += count
        return found

    def add(self, example: Example, taggings: dict[int, int], earlier: Mapping[str, _Seen]) -> None:
        """Counts an example.

        Args:
          taggings: by fingerprint a hash of the first tags that an example had in any part; is added to.
        """
        tokens, tags = example["tokens"], example["tags"]
        found = entities(tags)
        self.lengths[len(tokens)] += 1
        self.without += not found
        for start, end, type in found:
            self.spans[end - start] += 1
            self.uses[" ".join(tokens[start:end]), type] += 1
        text = " ".join(tokens)
        mark, tagging = fingerprint(text), hash(tuple(tags))
        self.duplicates += mark in self.marks
        if taggings.setdefault(mark, tagging) != tagging:
            self.clashes += 1
            self.clash = self.clash or text
        for name, other in earlier.items():
            if mark in other.marks:
                self.shared.setdefault(name, text)
        self.marks.add(mark)

    def facts(self) -> dict[str, Any]:
        """What is told of it."""
        tokens = _sum(self.lengths)
        return {
            "examples": self.lengths.total(),
            "tokens": tokens,
            "entities": self.spans.total(),
            "types": dict(sorted(self.types().items())),
            "tokens_outside_entities": round(1 - _sum(self.spans) / tokens, 4),
            "tokens_per_example": quantiles(self.lengths),
            "tokens_per_entity": quantiles(self.spans) if self.spans else None,
            "without_entity": self.without,
            "duplicates": self.duplicates,
            "tagged_in_two_ways": self.clashes,
            "unknown_words": round(self.unknown / tokens, 4),
        }


def named_entities(
    splits: Splits,
    normal: Callable[[tf.Tensor], tf.Tensor],
    known: Callable[[Iterable[Sequence[str]]], set[str]],
) -> dict[str, Any]:
    """The report for tokens with tags in IOB2; streams every part once, the training part twice.

    Unseen entities, a share of all that occur, are those whose text and type no entity of training has. Ambiguous ones
    have another type elsewhere in the part or in training.

    Args:
      normal: the form in which words are looked up, of a batch of them.
      known: the vocabulary that would be learned from batches of training tokens.

    Raises:
      DataError: the training part has no entity.
    """
    look_up = tf.function(normal, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    vocabulary = known(_tokens(batch) for batch in in_batches(splits.train, ENCODE_BATCH))
    parts: dict[str, Any] = {}
    seen: dict[str, _Seen] = {}
    taggings: dict[int, int] = {}
    told: list[Problems] = []
    warnings: list[str] = []
    for name, source in splits.given():
        part = _Seen()
        for batch in in_batches(source, ENCODE_BATCH):
            for example in batch:
                part.add(example, taggings, seen)
            words = look_up(tf.constant(_tokens(batch))).numpy().tolist()
            part.unknown += sum(word.decode("utf-8") not in vocabulary for word in words)
        if name == "train" and not part.uses:
            broken = source.problems.summary()
            raise DataError(f"{source.name}: there is no entity to learn from.{broken} Give more --data.")
        if not part.lengths:
            warnings.append(f"The {name} part is empty.")
            parts[name] = {"examples": 0}
            continue
        seen[name] = part
        parts[name] = part.facts() | _compared(part, seen["train"])
        if source.problems not in told:  # parts split off one file share its broken rows and its repairs
            told.append(source.problems)
            parts[name] |= _faults(source)
        warnings += _warnings(name, part, seen["train"])
    if any(BARE in note for note in splits.notes):
        warnings += _parts_of_speech(seen["train"], parts["train"]["tokens_outside_entities"])
    warnings += unvalidated(splits)
    warnings += alike({type for part in seen.values() for _, type in part.uses})
    overlap = overlaps({name: part.marks for name, part in seen.items()})
    for (a, b), count in overlap.items():
        if count:
            stand = "example stands" if count == 1 else "examples stand"
            text = seen[b].shared[a][:60]
            warnings.append(
                f"{count:,} {stand} in both {a} and {b}, such as {text!r}: scores there would be too good."
                f" Remove {'it' if count == 1 else 'them'} from one."
            )
    named = {f"{a} and {b}": count for (a, b), count in overlap.items()}
    return {"data": list(splits.notes), "parts": parts, "overlap": named, "warnings": warnings}


def _compared(part: _Seen, train: _Seen) -> dict[str, Any]:
    """How a part's entities agree with those of training, and among each other."""
    keys = ("distinct_entities", "distinct_entities_in_training", "unseen_entities")
    found: dict[str, Any] = dict.fromkeys(keys)  # the order in which they are shown
    found["distinct_entities"] = len(part.uses)
    if part is not train and part.uses:
        unseen = [count for entity, count in part.uses.items() if entity not in train.uses]
        found["distinct_entities_in_training"] = round(1 - len(unseen) / len(part.uses), 4)
        found["unseen_entities"] = round(sum(unseen) / part.uses.total(), 4)
    types: dict[str, Counter[str]] = {}
    for (text, type), count in part.uses.items():
        types.setdefault(text, Counter())[type] += count
    own = {text: one.total() for text, one in types.items()}
    for (text, type), count in train.uses.items() if part is not train else ():
        if text in types:
            types[text][type] += count
    several = {text: one for text, one in types.items() if len(one) > 1}
    found["ambiguous_entities"] = sum(own[text] for text in several)
    # First those that are often something else.
    first = sorted(several, key=lambda text: (several[text].most_common(1)[0][1] - several[text].total(), text))
    shown = []
    for text in first[:SEVERAL]:
        counts = ", ".join(f"{type} {count:,}" for type, count in several[text].most_common())
        shown.append(f'"{text[:60]}" is {counts}{" (with train)" if part is not train else ""}')
    found["first_ambiguous_entities"] = shown
    return found


def _faults(source: Source) -> dict[str, Any]:
    left_out = {"left_out": dict(source.problems.left)} if source.problems.left else {}
    return left_out | {
        "repaired": source.repairs.count,
        "first_repaired": source.repairs.lines(),
        "broken_rows": source.problems.count,
        "first_broken_rows": source.problems.lines(),
    }


def _warnings(name: str, part: _Seen, train: _Seen) -> list[str]:
    found = []
    here, known = part.types(), train.types()
    if not here:
        found.append(f"The {name} part has no entity, so that its score says nothing.")
    elif part is not train:
        if unseen := set(here) - set(known):
            text = f"Types of the {name} part that training lacks, always counted as wrong"
            found.append(f"{text}: {_few(unseen)}.")
        if missing := set(known) - set(here):
            found.append(f"Types that the {name} part lacks: {_few(missing)}.")
    elif rare := [type for type, count in here.items() if count < RARE]:
        found.append(f"Types with fewer than {RARE} entities in the {name} part: {_few(rare)}.")
    if part.clashes:
        occur = "example of the {} part also occurs" if part.clashes == 1 else "examples of the {} part also occur"
        found.append(f"{part.clashes:,} {occur.format(name)} with other tags, such as: {part.clash[:60]!r}.")
    if (median := quantiles(part.lengths)["median"]) > LONG:
        found.append(
            f"Half of the {name} part's examples have {median:,} tokens or more: part them into sentences, which in"
            " CoNLL files a blank line ends."
        )
    return found


def _parts_of_speech(train: _Seen, outside: float) -> list[str]:
    """A warning if the tags look like those of words, not of entities."""
    types = train.types()
    if outside > FEW_OUTSIDE or (len(types) <= MANY_TYPES and len(PARTS_OF_SPEECH & set(types)) < SEVERAL):
        return []
    common = ", ".join(type for type, _ in types.most_common(SEVERAL))
    return [
        f"Nearly every token has one of {len(types):,} tags without prefix, such as {common}: these may be parts of"
        " speech, not entities. If another column holds the entities, name it, such as --column tags=4."
    ]


def _tokens(batch: Iterable[Example]) -> list[str]:
    return [token for example in batch for token in example["tokens"]]


def _sum(lengths: Counter[int]) -> int:
    return sum(length * count for length, count in lengths.items())


def _few(types: Iterable[str]) -> str:
    ordered = sorted(types)
    more = len(ordered) - RARE
    return ", ".join(ordered[:RARE]) + (f" and {more:,} more" if more > 0 else "")
