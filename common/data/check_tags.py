"""The data report for tagged sentences: entities by type, how many of them training knows, and faults of the tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from common.data.check_common import (
    RARE,
    SEVERAL,
    UnusedRows,
    clash_warnings,
    collect_split_stats,
    count_split_overlaps,
    hash_normalized_text,
    missing_validation_warning,
    name_overlaps,
    quantiles,
)
from common.data.encoding import ENCODE_BATCH, batch_examples
from common.errors import DataError
from common.text.similar_names import similar_label_warnings
from common.text.tag_schemes import Scheme, tags_to_spans
from common.types import Example, ExampleSource, JsonObject, Splits

LONG = 200  # tokens; where half of the examples are so long, they are hardly sentences
MANY_TYPES, FEW_OUTSIDE = 30, 0.05  # more types, and a smaller share of tokens outside, than data of entities has
PARTS_OF_SPEECH = {"NOUN", "VERB", "ADP", "DET", "PUNCT", "NN", "VB", "IN", "DT"}  # of the two best known tag sets
BARE = str(Scheme("IO", "bare"))  # as it stands in the notes

Entity = tuple[str, str]  # text and type; case counts, for it tells a name from a word


@dataclass
class _TagStats:
    """What a part holds; memory is bounded by its distinct examples, which are hashed, and its distinct entities."""

    lengths: Counter[int] = field(default_factory=Counter)  # of examples
    spans: Counter[int] = field(default_factory=Counter)  # of entities
    uses: Counter[Entity] = field(default_factory=Counter)
    fingerprints: set[int] = field(default_factory=set)
    without: int = 0  # any entity
    duplicates: int = 0
    clashes: int = 0  # examples with other tags elsewhere
    unknown: int = 0  # words
    clash: str = ""  # the first one's text
    entities_beside_training: JsonObject = field(default_factory=dict)  # see `_compare_entities`
    shared: dict[str, str] = field(default_factory=dict)  # by earlier part the first text that stands there too

    @property
    def count(self) -> int:
        """How many examples it has."""
        return self.lengths.total()

    def types(self) -> Counter[str]:
        """Return how many entities each type has."""
        types: Counter[str] = Counter()
        for (_, type), count in self.uses.items():
            types[type] += count
        return types

    def add(self, example: Example, taggings: dict[int, int], earlier: Mapping[str, _TagStats]) -> None:
        """Count an example.

        Args:
          taggings: by fingerprint a hash of the first tags that an example had in any part; is added to.
        """
        tokens, tags = example["tokens"], example["tags"]
        spans = tags_to_spans(tags)
        self.lengths[len(tokens)] += 1
        self.without += not spans
        for start, end, type in spans:
            self.spans[end - start] += 1
            self.uses[" ".join(tokens[start:end]), type] += 1
        text = " ".join(tokens)
        text_hash, tagging = hash_normalized_text(text), hash(tuple(tags))
        self.duplicates += text_hash in self.fingerprints
        if taggings.setdefault(text_hash, tagging) != tagging:
            self.clashes += 1
            self.clash = self.clash or text
        for name, part in earlier.items():
            if text_hash in part.fingerprints:
                self.shared.setdefault(name, text)
        self.fingerprints.add(text_hash)

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""
        tokens = _count_tokens(self.lengths)
        return {
            "examples": self.count,
            "tokens": tokens,
            "entities": self.spans.total(),
            "types": dict(sorted(self.types().items())),
            "tokens_outside_entities": round(1 - _count_tokens(self.spans) / tokens, 4),
            "tokens_per_example": quantiles(self.lengths),
            "tokens_per_entity": quantiles(self.spans) if self.spans else None,
            "without_entity": self.without,
            "duplicates": self.duplicates,
            "tagged_in_two_ways": self.clashes,
            "unknown_words": round(self.unknown / tokens, 4),
            **self.entities_beside_training,
        }


def check_tagged_sentences(
    splits: Splits,
    normalize: Callable[[tf.Tensor], tf.Tensor],
    learn_vocabulary: Callable[[Iterable[Sequence[str]]], set[str]],
) -> JsonObject:
    """Return the report for tokens with tags in IOB2; streams every part once, the training part twice.

    Unseen entities, a share of all that occur, are those whose text and type no entity of training has. Ambiguous ones
    have another type elsewhere in the part or in training.

    Args:
      normalize: gives the form in which words are looked up, of a batch of them.
      learn_vocabulary: gives the vocabulary that would be learned from batches of training tokens.

    Raises:
      DataError: the training part has no entity.
    """
    normalize_batch = tf.function(normalize, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    vocabulary = learn_vocabulary(_join_tokens(batch) for batch in batch_examples(splits.train, ENCODE_BATCH))
    taggings: dict[int, int] = {}

    def survey(source: ExampleSource, earlier: Mapping[str, _TagStats]) -> _TagStats:
        part = _TagStats()
        for batch in batch_examples(source, ENCODE_BATCH):
            for example in batch:
                part.add(example, taggings, earlier)
            words = normalize_batch(tf.constant(_join_tokens(batch))).numpy().tolist()
            part.unknown += sum(word.decode("utf-8") not in vocabulary for word in words)
        if source is splits.train and not part.uses:
            broken = source.row_errors.summary()
            raise DataError(f"{source.name}: there is no entity to learn from.{broken} Give more --data.")
        part.entities_beside_training = _compare_entities(part, earlier.get("train", part))
        return part

    parts, seen, warnings = collect_split_stats(splits, survey, "examples", _describe_faults, _list_warnings)
    if any(BARE in note for note in splits.descriptions):
        warnings += _part_of_speech_warnings(seen["train"], parts["train"]["tokens_outside_entities"])
    warnings += missing_validation_warning(splits)
    warnings += similar_label_warnings({type for part in seen.values() for _, type in part.uses})
    counts = count_split_overlaps({name: part.fingerprints for name, part in seen.items()})
    warnings += _leak_warnings(counts, seen)
    return {"data": list(splits.descriptions), "parts": parts, "overlap": name_overlaps(counts), "warnings": warnings}


def _leak_warnings(counts: Mapping[tuple[str, str], int], seen: Mapping[str, _TagStats]) -> list[str]:
    """A warning of each two parts that share examples, with one of these."""
    warnings = []
    for (first, second), count in counts.items():
        if count:
            stand, them = ("example stands", "it") if count == 1 else ("examples stand", "them")
            text = seen[second].shared[first][:60]
            warnings.append(
                f"{count:,} {stand} in both {first} and {second}, such as {text!r}: scores there would be too good."
                f" Remove {them} from one."
            )
    return warnings


def _compare_entities(part: _TagStats, train: _TagStats) -> JsonObject:
    """How a part's entities agree with those of training, and among each other."""
    in_training = unseen = None
    if part is not train and part.uses:
        unseen_counts = [count for entity, count in part.uses.items() if entity not in train.uses]
        in_training = round(1 - len(unseen_counts) / len(part.uses), 4)
        unseen = round(sum(unseen_counts) / part.uses.total(), 4)
    return {
        "distinct_entities": len(part.uses),
        "distinct_entities_in_training": in_training,
        "unseen_entities": unseen,
        **_describe_ambiguous(part, train),
    }


def _describe_ambiguous(part: _TagStats, train: _TagStats) -> JsonObject:
    """The entities of a part that have several types, there or in training."""
    types_by_text: dict[str, Counter[str]] = {}
    for (text, type), count in part.uses.items():
        types_by_text.setdefault(text, Counter())[type] += count
    uses = {text: types.total() for text, types in types_by_text.items()}
    for (text, type), count in train.uses.items() if part is not train else ():
        if text in types_by_text:
            types_by_text[text][type] += count
    ambiguous = {text: types for text, types in types_by_text.items() if len(types) > 1}
    # First those that are often something else.
    texts = sorted(ambiguous, key=lambda text: (ambiguous[text].most_common(1)[0][1] - ambiguous[text].total(), text))
    lines = []
    for text in texts[:SEVERAL]:
        types = ", ".join(f"{type} {count:,}" for type, count in ambiguous[text].most_common())
        lines.append(f'"{text[:60]}" is {types}{" (with train)" if part is not train else ""}')
    return {"ambiguous_entities": sum(uses[text] for text in ambiguous), "first_ambiguous_entities": lines}


def _describe_faults(source: ExampleSource) -> UnusedRows:
    left_out = {"left_out": dict(source.row_errors.left)} if source.row_errors.left else {}
    return UnusedRows(
        {
            **left_out,
            "repaired": source.repairs.count,
            "first_repaired": source.repairs.first_errors(),
            "broken_rows": source.row_errors.count,
            "first_broken_rows": source.row_errors.first_errors(),
        }
    )


def _list_warnings(name: str, part: _TagStats, train: _TagStats) -> list[str]:
    warnings = []
    here, known = part.types(), train.types()
    if not here:
        warnings.append(f"The {name} part has no entity, so that its score says nothing.")
    elif part is not train:
        if unseen := set(here) - set(known):
            text = f"Types of the {name} part that training lacks, always counted as wrong"
            warnings.append(f"{text}: {_list_first(unseen)}.")
        if missing := set(known) - set(here):
            warnings.append(f"Types that the {name} part lacks: {_list_first(missing)}.")
    elif rare := [type for type, count in here.items() if count < RARE]:
        warnings.append(f"Types with fewer than {RARE} entities in the {name} part: {_list_first(rare)}.")
    warnings += clash_warnings(part.clashes, name, "example", f"other tags, such as: {part.clash[:60]!r}.")
    if (median := quantiles(part.lengths)["median"]) > LONG:
        warnings.append(
            f"Half of the {name} part's examples have {median:,} tokens or more: part them into sentences, which in"
            " CoNLL files a blank line ends."
        )
    return warnings


def _part_of_speech_warnings(train: _TagStats, outside: float) -> list[str]:
    """A warning if the tags look like those of words, not of entities."""
    types = train.types()
    if outside > FEW_OUTSIDE or (len(types) <= MANY_TYPES and len(PARTS_OF_SPEECH & set(types)) < SEVERAL):
        return []
    common = ", ".join(type for type, _ in types.most_common(SEVERAL))
    return [
        f"Nearly every token has one of {len(types):,} tags without prefix, such as {common}: these may be parts of"
        " speech, not entities. If another column holds the entities, name it, such as --column tags=4."
    ]


def _join_tokens(batch: Iterable[Example]) -> list[str]:
    return [token for example in batch for token in example["tokens"]]


def _count_tokens(lengths: Counter[int]) -> int:
    return sum(length * count for length, count in lengths.items())


def _list_first(types: Iterable[str]) -> str:
    ordered = sorted(types)
    more = len(ordered) - RARE
    return ", ".join(ordered[:RARE]) + (f" and {more:,} more" if more > 0 else "")
