"""Message catalogues of gettext, PO and MO files: each message and its translation."""

from __future__ import annotations

import codecs
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from common.data.readers.columns import yield_if_valid
from common.data.readers.reader import Reader
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import BOMS, detect_encoding, open_compressed, suffix, text_damage
from common.types import Example, Field

if TYPE_CHECKING:  # imported where it is used, for most runs need none
    import polib

    Entries: TypeAlias = polib.POFile | polib.MOFile

MO = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}  # first bytes, and the order of bytes in numbers
PO_SUFFIXES = (".po", ".pot")
PO = re.compile(r'\ufeff?(?:[ \t]*(?:#.*)?\r?\n)*[ \t]*(?:msgid|msgctxt)[ \t]+"')  # the beginning of a file
QUOTE = re.compile(r'(?:#~\s*)?(?:msg(?:id|ctxt|str|id_plural)(?:\[\d+\])?\s*)?"')  # the beginning of a line with one
CHARSET = re.compile(rb"Content-Type:[^\n]*?charset=([\w.:-]+)")


@dataclass(frozen=True)
class GettextReader(Reader):
    """The translated messages of a file.

    Args:
      pairs: location, message and translation.
      filtered: how many entries are untranslated, fuzzy or obsolete.
      language: as the file's head names it, or "".
      row_errors: is told of every pair that cannot be used.
    """

    path: Path
    encoding: str
    language: str
    pairs: tuple[tuple[str, str, str], ...] = field(repr=False)
    filtered: Counter[str]
    fields: tuple[Field, ...] = field(repr=False)
    row_errors: RowErrors = field(repr=False, compare=False)

    @property
    def description(self) -> str:
        source, target = self.fields
        language = f' in "{self.language}"' if self.language else ""
        taken = f"{source.name} = messages, {target.name} = translations{language}"
        left = ", ".join(f"{count:,} {why}" for why, count in self.filtered.most_common())
        return f"{self.path.name}: gettext, {self.encoding}; {taken}{f'; left out: {left}' if left else ''}"

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every sound pair, such as ("de.po:12", {"source": "No", "target": "Nein"}).

        Raises:
          DataError: a pair is broken and `row_errors` is strict.
        """
        source, target = self.fields
        for location, message, translation in self.pairs:
            cells: dict[str, str | None] = {source.name: message, target.name: translation}
            wrong = text_damage(message + translation, self.encoding)
            yield from yield_if_valid(location, cells, wrong, self.fields, self.row_errors)


def is_gettext(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` is a PO or MO file, by its suffix or its content."""
    if head[:4] in MO or suffix(path) in (".mo", *PO_SUFFIXES):
        return True
    return not head.startswith(b"\0") and PO.match(detect_encoding(head, False, None)[1]) is not None


def open_gettext(path: Path, fields: tuple[Field, ...], encoding: str | None, row_errors: RowErrors) -> GettextReader:
    """Open a PO or MO file. Each plural form makes a pair; the header, contexts and comments do not count.

    The first form belongs to the message in the singular and all others to that in the plural; where a language has one
    form only, it belongs to both.

    Args:
      fields: two, of the message and of its translation.
      encoding: as the user gave it; None takes it from the file's head.

    Raises:
      ConfigError: `encoding` is none.
      DataError: the file is missing, damaged, or holds no translation.
    """
    file, encoding = read_entries(path, encoding)
    pairs: list[tuple[str, str, str]] = []
    left_out: Counter[str] = Counter()
    for number, entry in enumerate(file, 1):
        if not entry.msgid:
            continue  # a header that polib did not take for one
        why = "obsolete" if entry.obsolete else "fuzzy" if "fuzzy" in entry.flags else ""
        translated = [(a, b) for a, b in _list_forms(entry) if b]
        if why or not translated:
            left_out[why or "untranslated"] += 1
            continue
        location = f"{path.name}:{getattr(entry, 'linenum', None) or number}"
        pairs += [(location, message, translation) for message, translation in translated]
    if not pairs:
        reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.most_common()) or "nothing at all"
        raise DataError(f"{path} holds no translated message ({reasons}): name a catalogue with translations.")
    language = " ".join(str(file.metadata.get("Language", "")).split())
    return GettextReader(path, encoding, language, tuple(pairs), left_out, fields, row_errors)


def read_entries(path: Path, encoding: str | None) -> tuple[Entries, str]:
    """Return polib's file, and its encoding."""
    with open_compressed(path) as file:
        data = file.read()
    if not data:
        raise DataError(f"{path} is empty: name another file.")
    if data[:4] in MO:
        return _read_mo(path, data, encoding)
    if suffix(path) == ".mo":
        raise DataError(f"{path} is no MO file, for it begins with other bytes: copy it again, or name its PO file.")
    return _read_po(path, data, encoding)


def _list_forms(entry: polib.POEntry) -> Iterator[tuple[str, str]]:
    """(message, translation) of each form of an entry."""
    if not entry.msgid_plural:
        yield entry.msgid, entry.msgstr
        return
    forms = [text for _, text in sorted(entry.msgstr_plural.items())]
    for text in forms[:1]:
        yield entry.msgid, text
    for text in forms[1:] or forms:
        yield entry.msgid_plural, text


class _Lines(str):
    """A text whose lines end at LF only, for polib, which would cut messages at U+2028 and its like."""

    __slots__ = ()

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self.split("\n")


def _read_po(path: Path, data: bytes, requested: str | None) -> tuple[Entries, str]:
    import polib

    if requested is None and not any(data.startswith(mark) for mark, _ in BOMS):
        requested = _find_charset(data)
    encoding, text = detect_encoding(data, True, requested)
    text = text.lstrip("\ufeff").replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if (quote := QUOTE.match(line)) and not re.search(r'(?<!\\)(?:\\\\)*"$', line[quote.end() :]):
            raise DataError(
                f"{path.name}:{number} opens a quote that is never closed: mend the file, or copy it again."
            )
    try:
        return polib.pofile(_Lines(text), encoding=encoding), encoding
    except (OSError, ValueError) as error:  # by which polib says what is no PO
        at = re.search(r"line (\d+)", str(error))
        location = f"{path.name}:{at[1]}" if at else str(path)
        what = "holds a quote without a backslash" if "quote" in str(error) else "is not as a PO file is written"
        raise DataError(f"{location} {what}: mend the file, or name another.") from None


def _read_mo(path: Path, data: bytes, requested: str | None) -> tuple[Entries, str]:
    import polib

    encoding = requested or _find_charset(data) or "utf-8"
    detect_encoding(b"", True, encoding)  # refuses what is none
    try:
        if not _is_whole(data):
            raise EOFError("it ends before its last message")
        return polib.mofile(data, encoding=encoding), encoding
    except UnicodeDecodeError:
        raise DataError(f"{path} is not valid {encoding}: say by --encoding NAME how it is written.") from None
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path} is damaged ({error}): copy or compile it again.") from None


def _find_charset(data: bytes) -> str | None:
    """The encoding that a catalogue's head names, if Python knows it; that of a template is just the word CHARSET."""
    match = CHARSET.search(data)
    try:
        return codecs.lookup(match[1].decode("ascii")).name if match else None
    except LookupError:
        return None


def _is_whole(data: bytes) -> bool:
    """Whether every text of an MO file is within it; polib cuts those that are not."""
    order = MO[data[:4]]
    count, *tables = struct.unpack_from(f"{order}3I", data, 8)
    if any(start + 8 * count > len(data) for start in tables):
        return False
    places = (struct.unpack_from(f"{order}{2 * count}I", data, start) for start in tables)
    return all(size + at <= len(data) for table in places for size, at in zip(table[::2], table[1::2], strict=True))
