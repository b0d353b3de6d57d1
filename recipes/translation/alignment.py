"""Which word of a translation stands for which word of its source, by what the model looked at."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from common.text.languages import letter_script
from common.types import JsonObject

WITHOUT_BLANKS = {"CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR"}


def group_pieces_into_words(pieces: Sequence[bytes]) -> tuple[list[str], list[int]]:
    """Return the words of the text that pieces make, and the word of each piece, -1 for one of blanks only.

    Words are what blanks separate. In scripts that are written without blanks a word is a piece, as far as pieces
    hold whole characters.

    >>> group_pieces_into_words([b"Ein", b" Ha", b"us", b".", b" "])
    (['Ein', 'Haus.'], [0, 1, 1, 1, -1])
    """
    ends = np.cumsum([len(piece) for piece in pieces], dtype=int).tolist()
    begins = [0, *ends[:-1]] if ends else []
    cuts, words, owners = set(begins), list[str](), list[int]()
    before = " "
    for letter in b"".join(pieces).decode("utf-8", "surrogateescape"):
        if not letter.isspace():
            unseparated = letter_script(letter) in WITHOUT_BLANKS or letter_script(before) in WITHOUT_BLANKS
            mark = unicodedata.category(letter).startswith("M")
            if before.isspace() or (unseparated and len(owners) in cuts and not mark):
                words.append("")
            words[-1] += letter
        owner = -1 if letter.isspace() else len(words) - 1
        owners += [owner] * len(letter.encode("utf-8", "surrogateescape"))
        before = letter
    shown = [word.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for word in words]
    word_of_piece = [max(owners[begin:end], default=-1) for begin, end in zip(begins, ends, strict=True)]
    return shown, word_of_piece


def align_words(source: Sequence[bytes], target: Sequence[bytes], attention: np.ndarray) -> JsonObject:
    """Return the words of both sides, and pairs [source word, target word] by their numbers from 0, sorted.

    Each word of the target goes with the word of the source that its pieces together looked at the most.

    Args:
      source, target: pieces.
      attention: [target pieces, source pieces].

    >>> align_words([b"a", b" cat"], [b"ein", b" Tier"], np.array([[0.9, 0.1], [0.4, 0.6]]))
    {'source': ['a', 'cat'], 'target': ['ein', 'Tier'], 'pairs': [[0, 0], [1, 1]]}
    """
    source_words, source_of = group_pieces_into_words(source)
    target_words, target_of = group_pieces_into_words(target)
    sums = np.zeros([len(target_words) + 1, len(source_words) + 1])  # the last ones of what belongs to no word
    np.add.at(sums, (np.array(target_of, int)[:, None], np.array(source_of, int)[None]), attention)
    best = sums[:-1, :-1].argmax(axis=1).tolist() if source_words else []
    pairs = sorted([place, number] for number, place in enumerate(best))
    return {"source": source_words, "target": target_words, "pairs": pairs}
