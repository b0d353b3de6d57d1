"""The data report for pairs of texts, such as sentences and their translations: lengths, copies, scripts, overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.data.check_common import (
    UnusedRows,
    collect_split_stats,
    count_split_overlaps,
    hash_normalized_text,
    leakage_warnings,
    missing_validation_warning,
    name_overlaps,
    quantiles,
    weighted_quantiles,
)
from common.text.pair_filter import count_scripts
from common.types import ExampleSource, JsonObject, Splits

PLACES = {"5%": 0.05, "median": 0.5, "95%": 0.95}  # of which ratios are told
MANY_EQUAL, MANY_SEVERAL = 0.05, 0.3  # shares of the pairs beyond which there is a warning
FEW = 0.01  # a script with a smaller share of the letters is not listed by itself
SHORT, LONG = 1 / 3, 3  # median lengths of targets by those of sources that are odd within one script


@dataclass
class _Side:
    """What stands on one side of the pairs."""

    characters: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)
    empty: int = 0

    def add(self, text: str) -> None:
        self.characters[len(text)] += 1
        self.words[len(text.split())] += 1
        self.scripts += count_scripts(text)
        self.empty += not text.strip()

    def shares(self) -> dict[str, float] | None:
        """Return the share of the letters that each script has."""
        total = self.scripts.total()
        shares = {name.lower(): count / total for name, count in self.scripts.most_common()}
        listed = {name: round(share, 4) for name, share in shares.items() if share >= FEW}
        rest = sum(share for share in shares.values() if share < FEW)
        return (listed | ({"others": round(rest, 4)} if round(rest, 4) else {})) or None

    def script(self) -> str:
        """Return the commonest one."""
        return next((name.lower() for name, _ in self.scripts.most_common(1)), "")


@dataclass
class _PairStats:
    """What a part holds; memory is bounded by its distinct pairs, which are hashed."""

    source: _Side = field(default_factory=_Side)
    target: _Side = field(default_factory=_Side)
    ratios: Counter[float] = field(default_factory=Counter)  # characters of the target by those of the source
    sources: set[int] = field(default_factory=set)
    pairs: set[int] = field(default_factory=set)
    count: int = 0
    duplicates: int = 0
    equal: int = 0
    several: int = 0  # pairs whose source has another target elsewhere
    example: str = ""  # the first one's source

    def add(self, source: str, target: str, targets: dict[int, int]) -> None:
        """Count a pair.

        Args:
          targets: by fingerprint of a source that of its first target in any part; is added to.
        """
        self.count += 1
        self.source.add(source)
        self.target.add(target)
        if source.strip():
            self.ratios[round(len(target) / len(source), 2)] += 1
        self.equal += source.strip() == target.strip()
        source_hash, target_hash = hash_normalized_text(source), hash_normalized_text(target)
        pair = hash((source_hash, target_hash))
        self.duplicates += pair in self.pairs
        self.pairs.add(pair)
        self.sources.add(source_hash)
        if targets.setdefault(source_hash, target_hash) != target_hash:
            self.several += 1
            self.example = self.example or source

    def spread(self) -> dict[str, float] | None:
        """Return quantiles of the ratios of lengths, without the outermost."""
        return weighted_quantiles(self.ratios, PLACES) if self.ratios else None

    def to_dict(self) -> JsonObject:
        """Return what the report says of it."""
        return {
            "pairs": self.count,
            "source_characters": quantiles(self.source.characters),
            "target_characters": quantiles(self.target.characters),
            "source_words": quantiles(self.source.words),
            "target_words": quantiles(self.target.words),
            "target_by_source_length": self.spread(),
            "source_scripts": self.source.shares(),
            "target_scripts": self.target.shares(),
            "empty_sides": self.source.empty + self.target.empty,
            "equal_sides": self.equal,
            "duplicates": self.duplicates,
            "several_targets": self.several,
        }


def check_translation_pairs(splits: Splits, source: str = "source", target: str = "target") -> JsonObject:
    """Return the report for pairs of texts; streams every part once.

    Texts are the same if they differ in case and blanks only. Words are what blanks part. Several targets are counted
    once for each pair whose source stood with another target before, in the same part or an earlier one.

    Args:
      source, target: what an example calls its sides.

    Raises:
      DataError: the training part holds nothing.
    """
    targets: dict[int, int] = {}

    def survey(examples: ExampleSource, earlier: Mapping[str, _PairStats]) -> _PairStats:
        part = _PairStats()
        for example in examples:
            part.add(example[source], example[target], targets)
        return part

    parts, seen, warnings = collect_split_stats(splits, survey, "pairs", _describe_broken_rows, _list_warnings)
    warnings += missing_validation_warning(splits)
    overlap = name_overlaps(count_split_overlaps({name: part.sources for name, part in seen.items()}))
    warnings += leakage_warnings(overlap, "source")
    return {"data": list(splits.descriptions), "parts": parts, "overlap": overlap, "warnings": warnings}


def _describe_broken_rows(examples: ExampleSource) -> UnusedRows:
    row_errors = examples.row_errors
    return UnusedRows(
        {
            "left_out": dict(row_errors.left.most_common()) or None,
            "broken_rows": row_errors.count,
            "first_broken_rows": row_errors.first_errors(),
        }
    )


def _list_warnings(name: str, part: _PairStats, train: _PairStats) -> list[str]:
    warnings = []
    if empty := part.source.empty + part.target.empty:
        sides, are = ("side of a pair", "is") if empty == 1 else ("sides of pairs", "are")
        warnings.append(f"{empty:,} {sides} of the {name} part {are} empty.")
    if part.equal > MANY_EQUAL * part.count:
        warnings.append(
            f"{part.equal / part.count:.0%} of the pairs of the {name} part have two equal sides: most are perhaps not"
            " translated."
        )
    if part.several > MANY_SEVERAL * part.count:
        warnings.append(
            f"{part.several / part.count:.0%} of the pairs of the {name} part have a source that also has another"
            f" target, such as {part.example[:60]!r}: a model learns a mixture of them."
        )
    scripts = part.source.script(), part.target.script()
    spread = part.spread()
    if scripts[0] == scripts[1] and spread and not SHORT <= spread["median"] <= LONG:
        warnings.append(
            f"Half of the targets of the {name} part are {spread['median']:.2f} times as long as their sources or "
            f"{'less' if spread['median'] < 1 else 'more'}: is one of them no translation?"
        )
    expected = train.source.script(), train.target.script()
    if part is not train and scripts != expected and scripts == expected[::-1]:
        warnings.append(
            f"The sides of the {name} part are written as those of training the other way round: swap them."
        )
    elif part is not train and scripts != expected:
        for side, here, there in zip(("sources", "targets"), scripts, expected, strict=True):
            if here != there:
                held = f"The {side} of the {name} part are mostly {here or 'without letters'}"
                warnings.append(f"{held}, those of training {there or 'without letters'}.")
    return warnings
