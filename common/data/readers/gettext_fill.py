"""The messages of a gettext catalogue as inputs, and the catalogue with translations filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.readers.columns import yield_if_valid
from common.data.readers.gettext import read_entries
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import text_damage
from common.types import Example, Field

if TYPE_CHECKING:  # imported where it is used, for most runs need none
    import polib

    from common.data.readers.gettext import Entries

WIDTH = 78  # of lines, as gettext's own tools write them
PLURALS = re.compile(r"nplurals\s*=\s*(\d+)")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class GettextMessages:
    """The messages of a catalogue that are not obsolete.

    Args:
      entries: polib's file.
    """

    path: Path
    encoding: str
    entries: Entries

    @property
    def description(self) -> str:
        return f"{self.path.name}: gettext, {self.encoding}; messages"

    def _list_current(self) -> list[tuple[str, polib.POEntry]]:
        """(location, entry) of each."""
        numbered = enumerate(self.entries, 1)
        locations = (
            (f"{self.path.name}:{getattr(entry, 'linenum', None) or number}", entry) for number, entry in numbered
        )
        return [(location, entry) for location, entry in locations if entry.msgid and not entry.obsolete]

    def rows(self, field: Field, row_errors: RowErrors) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of each message, translated or not, its plural after the singular.

        Args:
          row_errors: is told of those that cannot be used.
        """
        for location, entry in self._list_current():
            for text in _get_messages(entry):
                yield from yield_if_valid(
                    location, {field.name: text}, text_damage(text, self.encoding), (field,), row_errors
                )

    def fill_translations(self, translate: Callable[[list[str]], Sequence[str]]) -> tuple[str, int]:
        """Return the catalogue as a PO file in UTF-8, and how many of its entries were filled in and marked fuzzy.

        Those are the entries that are fuzzy already, or lack a translation or a plural form. The first of several
        forms is that of the singular, the others are that of the plural, as is a single one.

        Args:
          translate: gives a translation of each message, in order; it is called once.

        Raises:
          DataError: it is compiled, or not valid in its encoding.
        """
        import polib

        if not isinstance(self.entries, polib.POFile):
            raise DataError(f"{self.path} is compiled, so that nothing can be filled in: name its PO file.")
        if wrong := text_damage(str(self.entries), self.encoding):
            locations = (location for location, entry in self._list_current() if text_damage(str(entry), self.encoding))
            at = next(locations, str(self.path))
            raise DataError(f"{at} {wrong}: mend it, or say by --encoding NAME how the file is written.")
        count = self._count_plural_forms()
        lacking = [entry for _, entry in self._list_current() if _is_incomplete(entry, count)]
        texts = list(dict.fromkeys(text for entry in lacking for text in _get_messages(entry)))
        translations = dict(zip(texts, translate(texts), strict=True))
        changed = sum(
            _fill(entry, {text: _frame(text, translations[text]) for text in _get_messages(entry)}, count)
            for entry in lacking
        )
        return self._write(), changed

    def _count_plural_forms(self) -> int:
        """How many the head says that there are; else the most that an entry has."""
        named = PLURALS.search(self.entries.metadata.get("Plural-Forms", ""))
        most = max((len(entry.msgstr_plural) for entry in self.entries), default=0)
        return int(named[1]) if named else most or 2

    def _write(self) -> str:
        head = self.entries.metadata
        if "charset=utf-8" not in head.get("Content-Type", "").lower():
            head |= {"Content-Type": "text/plain; charset=UTF-8", "Content-Transfer-Encoding": "8bit"}
        # polib would break longer comments anew.
        comments = (line for entry in self.entries for line in f"{entry.comment}\n{entry.tcomment}".split("\n"))
        self.entries.wrapwidth = max(WIDTH, *(len(line) + 3 for line in comments), 0)
        text = str(self.entries)
        return (text if self.entries.header else text.removeprefix("#\n")).rstrip("\n")


def open_messages(path: Path, encoding: str | None) -> GettextMessages:
    """Open the messages of a PO or MO file.

    Args:
      encoding: as the user gave it; None takes it from the file's head.

    Raises:
      ConfigError: `encoding` is none.
      DataError: the file is missing or damaged.
    """
    file, known = read_entries(path, encoding)
    return GettextMessages(path, known, file)


def _get_messages(entry: polib.POEntry) -> list[str]:
    return [text for text in (entry.msgid, entry.msgid_plural) if text]


def _is_incomplete(entry: polib.POEntry, count: int) -> bool:
    """Whether something is to be filled in."""
    forms = [entry.msgstr_plural.get(number) for number in range(count)] if entry.msgid_plural else [entry.msgstr]
    return entry.fuzzy or not all(forms)


def _fill(entry: polib.POEntry, translations: dict[str, str], count: int) -> bool:
    """Fills in what an entry lacks; whether there was a translation to fill in."""
    if not all(translations.values()):
        return False
    if entry.msgid_plural:
        existing = {} if entry.fuzzy else entry.msgstr_plural
        singular = entry.msgid if count > 1 else entry.msgid_plural
        entry.msgstr_plural = {
            number: existing.get(number) or translations[entry.msgid_plural if number else singular]
            for number in range(count)
        }
    else:
        entry.msgstr = translations[entry.msgid]
    entry.previous_msgctxt = entry.previous_msgid = entry.previous_msgid_plural = None  # of a translation that is gone
    entry.fuzzy = True
    return True


def _frame(message: str, translation: str) -> str:
    """A translation that begins and ends with a line end where the message does, as msgfmt wants it; or "".

    >>> _frame("Yes\\n", " Ja")
    ' Ja\\n'
    """
    text = CONTROLS.sub("", translation).strip("\n")
    begin, end = ("\n" if message.startswith("\n") else "", "\n" if message.endswith("\n") else "")
    return f"{begin}{text}{end}" if text.strip() else ""
