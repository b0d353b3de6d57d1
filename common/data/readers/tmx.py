"""TMX files, translation memories in XML (Translation Memory eXchange 1.1 to 1.4), read in a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import islice
from pathlib import Path
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from common.data.readers.columns import is_other_language, validate_field_names, yield_if_valid
from common.data.readers.reader import Reader
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_compressed, suffix
from common.text.languages import base_language, normalize_language_tag
from common.types import Example, Field

BLOCK = 2**16  # bytes at a time
UNITS = 1_000  # from which the languages are taken

Unit = tuple[int, list[tuple[str, str]]]  # line where it starts, (language, text) of its translations


@dataclass(frozen=True)
class TmxReader(Reader):
    """A file whose languages are known.

    Args:
      languages: by field.
      row_errors: is told of every unit that cannot be used.
    """

    path: Path
    languages: dict[str, str]
    fields: tuple[Field, ...] = dataclass_field(repr=False)
    row_errors: RowErrors = dataclass_field(repr=False, compare=False)

    @property
    def description(self) -> str:
        return f"{self.path.name}: TMX; " + ", ".join(
            f'{name} = "{language}"' for name, language in self.languages.items()
        )

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Yield (location, example) of every unit that can be used; units that lack one of the languages are left out.

        Raises:
          DataError: the file is damaged, or a unit is broken and `row_errors` is strict.
        """
        for line, texts in _read_units(self.path, {}):
            cells = {name: _find_text(texts, language) for name, language in self.languages.items()}
            if lacking := next((name for name, cell in cells.items() if cell is None), None):
                self.row_errors.count_filtered(f'with no text in "{self.languages[lacking]}"')
                continue
            yield from yield_if_valid(f"{self.path.name}:{line}", cells, "", self.fields, self.row_errors)


def is_tmx(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` is TMX, by its suffix or its content, which may be UTF-16."""
    plain = head.replace(b"\0", b"")
    return suffix(path) == ".tmx" or (plain.lstrip(b"\xef\xbb\xbf\xff\xfe \r\n").startswith(b"<") and b"<tmx" in plain)


def open_tmx(path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], row_errors: RowErrors) -> TmxReader:
    """Open a TMX file.

    Which of its languages is which field is told by `columns`, else by the fields' names, else by what is left and by
    the file's own `srclang`. A language is meant by its tag or by the first part of it: "en" means "en-US" too.

    Raises:
      ConfigError: `columns` name a language that there is not.
      DataError: the file is missing, damaged, declares entities, or it cannot be told which language is which field.
    """
    validate_field_names(columns, fields)
    own, spellings = _survey_languages(path)
    holds = f"{path.name} holds {_list_languages(spellings)}"
    if len(spellings) < len(fields):
        raise DataError(f"{holds}, but there must be {len(fields)} languages: name another file.")
    taken: dict[str, str] = {}
    for field in fields:
        if (chosen := columns.get(field.name)) is not None:
            if base_language(chosen) not in spellings:
                raise ConfigError(f"--column {field.name}={chosen}: {holds}. Name one of these.")
            taken[field.name] = chosen
        elif named := next((name for name in field.aliases if base_language(name) in spellings), None):
            taken[field.name] = named
    taken |= _match_remaining([field for field in fields if field.name not in taken], taken, spellings, own)
    same = len({base_language(language) for language in taken.values()}) < len(taken)
    if len(taken) < len(fields) or same:
        flags = " and ".join(f"--column {field.name}=LANGUAGE" for field in fields)
        raise DataError(f"{holds}: say by {flags} which are meant.")
    return TmxReader(path, {field.name: taken[field.name] for field in fields}, fields, row_errors)


def _survey_languages(path: Path) -> tuple[str, dict[str, str]]:
    """The file's own source language, and by language without its region how it is first written in the file."""
    head: dict[str, str] = {}
    spellings: dict[str, str] = {}
    for _, texts in islice(_read_units(path, head), UNITS):
        for language, _ in texts:
            if language:
                spellings.setdefault(base_language(language), language)
    return base_language(head.get("srclang", "")), spellings


def _match_remaining(
    fields: Sequence[Field], taken: Mapping[str, str], spellings: Mapping[str, str], own: str
) -> dict[str, str]:
    """The language of each field that no name tells, if what is left tells it.

    Args:
      own: the file's own source language.
    """
    used = {base_language(language) for language in taken.values()}
    left = [spelling for base, spelling in spellings.items() if base not in used]
    if len(fields) == len(left) == 2 and own in spellings:  # neither is known, so the file's own direction
        left.sort(key=lambda language: base_language(language) != own)
    elif len(fields) != 1 or len(left) != 1:
        left = []
    pairs = zip(fields, left, strict=False)
    return {
        field.name: normalize_language_tag(language)
        for field, language in pairs
        if not is_other_language(language, field)
    }


def _list_languages(spellings: Mapping[str, str]) -> str:
    named = [f'"{language}"' for language in spellings.values()]
    shown = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
    return f"the language{'s' if len(named) > 1 else ''} {shown}" if named else "no translation with a language"


def _find_text(texts: list[tuple[str, str]], wanted: str) -> str | None:
    """The text of a unit in a language: of its exact tag, else the first one of its first part."""
    exact = (text for language, text in texts if normalize_language_tag(language) == normalize_language_tag(wanted))
    like = (text for language, text in texts if language and base_language(language) == base_language(wanted))
    return next(exact, None) or next(like, None)


class _Handler(ContentHandler):
    """Gathers units. All text in a segment counts, that of its inline markup too, for this is what the user saw."""

    def __init__(self, head: dict[str, str], line_number: Callable[[], int]):
        super().__init__()
        self.line_number = line_number
        self.units: list[Unit] = []
        self.head, self.root = head, ""
        self.line, self.language = 0, ""
        self.texts: list[tuple[str, str]] = []
        self.segment: list[str] | None = None

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.root = self.root or name
        if name == "header":
            self.head |= dict(attrs.items())
        elif name == "tu":
            self.line, self.texts = self.line_number(), []
        elif name == "tuv":
            self.language = attrs.get("xml:lang") or attrs.get("lang") or ""
        elif name == "seg":
            self.segment = []

    def characters(self, content: str) -> None:
        if self.segment is not None:
            self.segment.append(content)

    def endElement(self, name: str) -> None:
        if name == "seg" and self.segment is not None:
            self.texts.append((self.language, "".join(self.segment)))
            self.segment = None
        elif name == "tu":
            self.units.append((self.line, self.texts))


def _read_units(path: Path, head: dict[str, str]) -> Iterator[Unit]:
    """The units of a file, one at a time.

    Args:
      head: is given the attributes of the file's header.

    Raises:
      DataError: the file is no XML, no TMX, or declares entities, by which a small file may swell to fill the memory.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.sax import make_parser

    parser = make_parser()
    handler = _Handler(head, parser.getLineNumber)
    # A TMX file may name its DTD. It is never fetched, as the parser resolves nothing from outside; if it were told to
    # forbid this, it would refuse the file.
    parser.forbid_dtd, parser.forbid_entities, parser.forbid_external = False, True, False
    parser.setContentHandler(handler)
    try:
        with open_compressed(path) as file:
            while block := file.read(BLOCK):
                parser.feed(block)
                if handler.root and handler.root != "tmx":
                    raise DataError(f"{path} is no TMX, for its root is <{handler.root}>: name another file.")
                yield from handler.units
                handler.units.clear()
            if not handler.root:
                raise DataError(f"{path} is empty: name another file.")
            parser.close()
    except DefusedXmlException:
        raise DataError(f"{path} declares entities, which could fill the memory: take its DOCTYPE out.") from None
    except SAXParseException as error:
        what = f"{path.name}:{error.getLineNumber()} is not well-formed XML ({error.getMessage()})"
        raise DataError(f"{what}: mend the file, or copy it again.") from None
    except (SAXException, LookupError, ValueError) as error:  # such as an encoding that there is not
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as XML ({error}): mend the file, or name another.") from None
