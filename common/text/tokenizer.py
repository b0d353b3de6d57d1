"""Tokens of raw strings in graph, each with its place: case kept, cut much as the Penn Treebank and CoNLL-2003 are."""

from __future__ import annotations

import tensorflow as tf

_CUT = "\x1f"  # stands before every token; no text holds it once its control characters are blanks

# Every blank and control character; also those that are not seen: marks of direction, the byte order mark and the blank
# without width. The plain blank is left out, for to replace it by itself takes time.
_BLANK = (
    r"[\x00-\x1f\x7f-\x{a0}\x{1680}\x{2000}-\x{200b}\x{2028}-\x{202f}\x{205f}\x{3000}"
    r"\x{61c}\x{200e}\x{200f}\x{2066}-\x{2069}\x{feff}]"
)
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"  # scripts without blanks between words
# Letters, marks and digits of all other scripts: RE2 cannot take one class from another but so. It stands but twice
# in the pattern, and the lesser classes are rough, or else RE2 runs out of the memory that it allows itself.
_L = rf"[^\p{{Z}}\p{{C}}\p{{P}}\p{{S}}{_UNSPACED}\x{{FE0E}}\x{{FE0F}}]|_"
_LETTER = r"[a-zA-Z\x{c0}-\x{1fff}]"
_TAGGED = r"[\w\x{c0}-\x{60b}\x{620}-\x{669}\x{66e}-\x{6d3}\x{6d5}-\x{1fff}\x{3005}\x{3031}-\x{d7ff}\x{f900}-\x{faff}]"
_CAPITAL = r"[A-HJ-ZÀ-ÖØ-ÞΑ-ΩЀ-Я]"  # but for I: World War I.
_CHARACTER = rf"(?:[0-9]+(?:[.,:/][0-9]+)*|{_L})"  # a number is like a letter, that 1990s and v2.0 be whole
_IN = r"(?:&amp;|[-'’ʼ＇&·‐‑\x{ad}\x{200c}\x{200d}])"  # holds the halves of a word together
_CLITIC = r"['’ʼ＇](?:s|re|ve|ll|d|m)|n['’ʼ＇]t"
_PICTURE = r"[\p{So}\x{1F000}-\x{1FAFF}]"  # by number too, since RE2 knows fewer emoji than telephones do
_DOMAINS = "com|org|net|edu|gov|info|uk|de|fr|ru|jp|tv|io"
_TITLES = (
    "Mr|Mrs|Ms|Messrs|Dr|Prof|Rev|Hon|St|Ste|Mt|Ft|Gov|Sen|Rep|Pres|Gen|Col|Maj|Capt|Cmdr|Lt|Sgt|Cpl|Adm|"
    "Jr|Sr|Inc|Corp|Ltd|Co|Cos|Bros|Assn|Dept|Univ|No|Nos|Vol|Ave|Blvd|Rd|Ph\\.D|"
    "Jan|Feb|Aug|Sept|Sep|Oct|Nov|Dec|vs|etc|al|cf|approx|pp|p|v"
)

# In the order of preference; each is tried where the one before ended. Syntax is RE2's.
_TOKEN = "|".join(
    (
        r"(?i:https?://|ftp://|www\.)[!-~\x{c0}-\x{1fff}]*[/a-zA-Z0-9=#&%+$@*_\x{c0}-\x{1fff}-]",
        # The parts before @ and .com are counted, or else a.a.a and so on would be searched to its end at each of them.
        r"\w+(?:[.+-]\w+){0,5}@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+",
        rf"[a-zA-Z0-9]+(?:[.-][a-zA-Z0-9]+){{0,5}}\.(?:[a-z]{{2,}}/[\w/.?=&%-]*[a-zA-Z0-9/]|(?:{_DOMAINS})\b/?)",
        r"[0-9#*]\x{FE0F}?\x{20E3}",  # a key
        rf"(?i:{_CLITIC})(?: |$)",  # apart already
        f"#{_TAGGED}+",
        rf"(?:(?:{_LETTER}\.){{2,}}(?:[a-zA-Z]\b)?|[a-zA-Z]\.[a-zA-Z]\b|{_CAPITAL}\.|(?:{_TITLES})\.)"
        rf"(?:{_IN}{_LETTER}+)*",  # U.S., U.S.-based, e.g., p.m, J., Mr.
        rf"@?{_CHARACTER}(?:{_IN}?{_CHARACTER})*",
        rf"[{_UNSPACED}]\p{{M}}*",
        r"[:;=]['’^o-]?(?:[)(\[\]/\\|*]+|[DPpOo]\b)|-_+-",
        "<3|</3",
        r"&(?:amp|lt|gt|quot|nbsp|#[0-9]+);",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",  # a flag
        rf"{_PICTURE}[\x{{FE0F}}\x{{1F3FB}}-\x{{1F3FF}}\x{{E0020}}-\x{{E007F}}]*"
        rf"(?:\x{{200D}}{_PICTURE}[\x{{FE0F}}\x{{1F3FB}}-\x{{1F3FF}}]*)*",
        r"[!?]+|\.{2,}|[-=*~]{2,}|''|``",
        r"[^ ][\x{FE0E}\x{FE0F}]?",
    )
)
_TOKENS = f"(?:{_TOKEN}) *"
# Up to two clitics where a word ends, as in couldn't've.
_CLITICS = rf"(?i)([0-9a-z.\x{{80}}-\x{{10ffff}}])({_CLITIC})?({_CLITIC})({_CUT}| |$)"


def tokenize_with_offsets(texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Return the tokens of each text, where they start and where they end: string, int32, int32 [batch, (tokens)].

    Places are counted in Unicode characters of the text, from 0, the end not included. Bytes that are no UTF-8 count
    as the replacement characters that they become. Tokens do not overlap, and cover all but blanks, control characters
    and marks that are not seen.

    >>> tokens, starts, ends = tokenize_with_offsets(tf.constant(["Mr. O'Brien isn't in the U.S."]))
    >>> tokens.to_list()[0]
    [b'Mr.', b"O'Brien", b'is', b"n't", b'in', b'the', b'U.S.']
    >>> starts.to_list()[0]
    [0, 4, 12, 14, 18, 21, 25]
    >>> ends.to_list()[0]
    [3, 11, 14, 17, 20, 24, 29]
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
    texts = tf.strings.regex_replace(texts, _BLANK, " ")  # one for one, so that places hold
    texts = tf.strings.regex_replace(texts, _TOKENS, rf"{_CUT}\0")
    texts = tf.strings.regex_replace(texts, _CLITICS, rf"\1{_CUT}\2{_CUT}\3\4")
    pieces = tf.strings.split(texts, _CUT)  # tokens, each with the blanks after it; some are empty

    # On flat values: tf.ragged.boolean_mask takes ten times as long.
    tokens, rows = tf.strings.strip(pieces.values), pieces.value_rowids()
    lengths = tf.strings.length(pieces.values, unit="UTF8_CHAR")
    starts = tf.cumsum(lengths, exclusive=True)
    starts -= tf.gather(starts, tf.gather(pieces.row_starts(), rows))
    filled = tf.where(tokens != "")[:, 0]
    tokens, starts = tf.gather(tokens, filled), tf.gather(starts, filled)
    ends = starts + tf.strings.length(tokens, unit="UTF8_CHAR")
    ragged = tf.RaggedTensor.from_value_rowids(tokens, tf.gather(rows, filled), pieces.nrows(), validate=False)
    return ragged, ragged.with_values(starts), ragged.with_values(ends)
