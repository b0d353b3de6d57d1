"""Languages by their codes: the names that columns have for them, and the scripts in which they are written."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

# A table of our own: a library that knows all languages of ISO 639-3 takes columns named "src" and "tgt" for Sardinian
# and Tagbanwa, and none says how Unicode names the letters.
# By ISO 639-1 code: codes of three letters and the English name, then the scripts as Unicode names begin with them.
_LATIN = """af:afr:afrikaans sq:sqi:alb:albanian az:aze:azerbaijani eu:eus:baq:basque bs:bos:bosnian ca:cat:catalan
hr:hrv:croatian cs:ces:cze:czech da:dan:danish nl:nld:dut:dutch en:eng:english eo:epo:esperanto et:est:estonian
tl:tgl:tagalog fi:fin:finnish fr:fra:fre:french gl:glg:galician de:deu:ger:german hu:hun:hungarian is:isl:ice:icelandic
id:ind:indonesian ga:gle:irish it:ita:italian la:lat:latin lv:lav:latvian lt:lit:lithuanian lb:ltz:luxembourgish
ms:msa:may:malay mt:mlt:maltese nb:nob:bokmal nn:nno:nynorsk no:nor:norwegian pl:pol:polish pt:por:portuguese
ro:ron:rum:romanian sk:slk:slo:slovak sl:slv:slovenian so:som:somali es:spa:spanish sw:swa:swahili sv:swe:swedish
tr:tur:turkish vi:vie:vietnamese cy:cym:wel:welsh"""
_OTHERS = {
    "CYRILLIC": "be:bel:belarusian bg:bul:bulgarian kk:kaz:kazakh ky:kir:kyrgyz mk:mkd:mac:macedonian"
    " ru:rus:russian tg:tgk:tajik tt:tat:tatar uk:ukr:ukrainian",
    "CYRILLIC MONGOLIAN": "mn:mon:khk:mongolian",
    "CYRILLIC LATIN": "sr:srp:serbian uz:uzb:uzbek",
    "ARABIC": "ar:ara:arabic fa:fas:per:persian ps:pus:pashto ug:uig:uyghur ur:urd:urdu",
    "HEBREW": "he:heb:hebrew yi:yid:yiddish",
    "GREEK": "el:ell:gre:greek",
    "ARMENIAN": "hy:hye:arm:armenian",
    "GEORGIAN": "ka:kat:geo:georgian",
    "ETHIOPIC": "am:amh:amharic",
    "DEVANAGARI": "hi:hin:hindi mr:mar:marathi ne:nep:nepali sa:san:sanskrit",
    "BENGALI": "bn:ben:bengali",
    "GUJARATI": "gu:guj:gujarati",
    "GURMUKHI": "pa:pan:punjabi",
    "TAMIL": "ta:tam:tamil",
    "TELUGU": "te:tel:telugu",
    "KANNADA": "kn:kan:kannada",
    "MALAYALAM": "ml:mal:malayalam",
    "SINHALA": "si:sin:sinhala",
    "THAI": "th:tha:thai",
    "LAO": "lo:lao:lao",
    "KHMER": "km:khm:khmer",
    "MYANMAR": "my:mya:bur:burmese",
    "HANGUL CJK": "ko:kor:korean",
    "CJK HIRAGANA KATAKANA": "ja:jpn:japanese",
    "CJK BOPOMOFO": "zh:zho:chi:cmn:chinese",
}
_KNOWN = {
    entry.partition(":")[0]: (tuple(entry.split(":")), tuple(scripts.split()))
    for scripts, entries in {"LATIN": _LATIN, **_OTHERS}.items()
    for entry in entries.split()
}
_CODES = {name: code for code, (names, _) in _KNOWN.items() for name in names}
_REGION = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_](?:[a-z]{2}|\d{3}))?")


def language_code(name: str) -> str | None:
    """Return the code of a language by any of its names, region and script left off; None if it is not known.

    >>> [language_code(name) for name in ("de_AT", "DEU", "German", "zh-Hans-CN", "source")]
    ['de', 'de', 'de', 'zh', None]
    """
    folded = name.strip().casefold()
    match = _REGION.fullmatch(folded)
    return _CODES.get(match[1] if match else folded) or _CODES.get(folded)


def language_column_names(language: str) -> tuple[str, ...]:
    """Return what a column that holds a language may be called, lower case, the most exact first.

    >>> language_column_names("pt_BR")
    ('pt_br', 'pt-br', 'pt', 'por', 'portuguese')
    >>> language_column_names("gsw")
    ('gsw',)
    """
    folded = language.strip().casefold()
    known = _KNOWN[known_code][0] if (known_code := language_code(language)) else ()
    return tuple(dict.fromkeys((folded.replace("-", "_"), folded.replace("_", "-"), *known)))


def normalize_language_tag(name: str) -> str:
    """Return a language's tag as it is compared: lower case, its parts joined by "-"."""
    return name.strip().casefold().replace("_", "-")


def base_language(name: str) -> str:
    """Return a language without its region and script, by the code of two letters if it has one.

    >>> base_language("en-US"), base_language("eng"), base_language("gsw_CH")
    ('en', 'en', 'gsw')
    """
    return language_code(name) or normalize_language_tag(name).partition("-")[0]


@cache
def language_scripts(language: str | None) -> tuple[str, ...]:
    """Return the scripts in which a language is written, as `letter_script` names them; none if that is not known."""
    if not language or not (known_code := language_code(language)):
        return ()
    if named := {"latn": ("LATIN",), "cyrl": ("CYRILLIC",), "arab": ("ARABIC",)}.get(_find_script(language)):
        return named
    return _KNOWN[known_code][1]


def _find_script(language: str) -> str:
    """The script that a language's tag names, such as "latn" of "sr-Latn"."""
    match = _REGION.fullmatch(language.strip().casefold())
    return (match and match[2]) or ""


def dominant_script(texts: Iterable[str]) -> str:
    """Return the script of most letters, "" without any.

    >>> dominant_script(["Wien", "Вена, столица"])
    'CYRILLIC'
    """
    counts = Counter(name for text in texts for letter in text if (name := letter_script(letter)))
    return counts.most_common(1)[0][0] if counts else ""


@cache
def letter_script(letter: str) -> str:
    """Return the script of a letter, by the first word of its Unicode name; "" of what is no letter.

    >>> letter_script("ß"), letter_script("Ж"), letter_script("語"), letter_script("7")
    ('LATIN', 'CYRILLIC', 'CJK', '')
    """
    if not letter.isalpha():
        return ""
    return unicodedata.name(letter, "OTHER").partition(" ")[0].partition("-")[0]
