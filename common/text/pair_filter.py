"""Pairs of texts, such as a sentence and its translation: which are worth learning from, and their placeholders."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from string import ascii_letters

from common.text.languages import language_scripts, letter_script

PLACEHOLDER = re.compile(
    r"""
    %%                                             # a percent sign, no placeholder
  | %\([^()\s]+\)[-+\#0]*\d*(?:\.\d+)?[a-zA-Z]     # %(name)s
  | %\d+\$[-+\#0]*\d*(?:\.\d+)?[a-zA-Z@]           # %1$s
  | (?<![\d%])%[+\#0]?\d*(?:\.\d+)?(?:hh?|ll?|z)?(?:[sdfgxXuc@]|i(?![a-z]))  # %s, but not 100%ig
  | \{\{\s*[\w.$-]+\s*\}\}                         # {{name}}
  | \{[\w.\[\]]*(?:![rsa])?(?::[^{}\s]*)?\}        # {0}, {name}, {price:.2f}
  | </?(?:[A-Za-z][\w:.-]*|\d+)(?:\s[^<>]*)?/?>    # <b>, </a>, <br/>
    """,
    re.VERBOSE | re.ASCII,
)
URL = re.compile(r"\bhttps?://\S+")
ASCII_LETTERS = dict.fromkeys(map(ord, ascii_letters))
ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def find_placeholders(text: str) -> list[str]:
    """Return what must stand in a translation as it stands in the source, in order: %s, %(name)s, {0}, {name} and tags.

    >>> find_placeholders('<b>%(user)s</b> has {0} of %d files, 100% of them.')
    ['<b>', '%(user)s', '</b>', '{0}', '%d']
    """
    if "//" in text:  # what a URL escapes, such as %20, is its own
        text = URL.sub(lambda url: ESCAPE.sub("", url[0]), text)
    return [match[0] for match in PLACEHOLDER.finditer(text) if match[0] != "%%"]


def diff_placeholders(source: str, target: str) -> tuple[list[str], list[str]]:
    """Return the placeholders that a translation lacks, and those that it has too many; order does not count.

    >>> diff_placeholders("%d of %s", "%s von <b>")
    (['%d'], ['<b>'])
    """
    expected, actual = Counter(find_placeholders(source)), Counter(find_placeholders(target))
    return list((expected - actual).elements()), list((actual - expected).elements())


def count_scripts(text: str) -> Counter[str]:
    """Return how many letters each script has in a text, its placeholders and URLs left out.

    >>> count_scripts("%(name)s: Жук a")
    Counter({'CYRILLIC': 3, 'LATIN': 1})
    """
    plain = URL.sub(" ", text) if "//" in text else text
    if any(mark in plain for mark in "%{<"):
        plain = PLACEHOLDER.sub(" ", plain)
    if plain.isascii():
        letters = len(plain) - len(plain.translate(ASCII_LETTERS))
        return Counter({"LATIN": letters} if letters else {})
    counts: Counter[str] = Counter()
    for letter, count in Counter(plain).items():
        if name := letter_script(letter):
            counts[name] += count
    return counts


def script_fraction(text: str, language: str | None) -> float:
    """Return the share of a text's letters that are of a language's scripts; 1 if it has none or these are unknown.

    >>> script_fraction("Жук abc", "ru")
    0.5
    """
    known, counts = language_scripts(language), count_scripts(text)
    return sum(counts[name] for name in known) / counts.total() if known and counts else 1.0


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are left out.

    Args:
      max_chars: characters of a side.
      max_length_ratio: by how many times one side may be longer than the other.
      smoothing: characters added to each length before they are compared, since of short texts one is soon twice as
        long as the other.
      script: the least share of a side's letters in the script of its language.
      languages: of the source and the target; None if it is not known.
    """

    max_chars: int = 2_000
    max_length_ratio: float = 3.0
    smoothing: int = 20
    script: float = 0.25
    languages: tuple[str | None, str | None] = (None, None)

    def rejection_reason(self, source: str, target: str) -> str:
        """Return why a pair is left out, or "".

        >>> [PairFilter().rejection_reason("Yes", target) for target in ("Yes", "Ja", " ")]
        ['with two equal sides', '', 'with an empty side']
        """
        sides = (source.strip(), target.strip())
        if not all(sides):
            return "with an empty side"
        if max(map(len, sides)) > self.max_chars:
            return f"with a side of over {self.max_chars:,} characters"
        shorter, longer = sorted(len(side) + self.smoothing for side in sides)
        if longer > self.max_length_ratio * shorter:
            return f"with one side over {self.max_length_ratio:g} times as long as the other"
        if sides[0] == sides[1]:
            return "with two equal sides"
        for side, language in zip(sides, self.languages, strict=True):
            if script_fraction(side, language) < self.script:
                return f"with a side that is not in the script of {language}"
        return ""
