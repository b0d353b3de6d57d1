"""CoNLL files: a token and its tag on each line, in columns, a blank line after each sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from itertools import chain
from pathlib import Path

from common.data.readers.columns import quote_list
from common.data.readers.raw_sentence import RawSentence
from common.data.readers.tagged import TaggedReader, open_tagged, tag_field_names
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.runtime.open_file import open_text, read_head, suffix, text_damage
from common.text.tag_schemes import NONE, PREFIXED
from common.types import Field

REMARK = re.compile(r"#(?:[ \t]|$)")  # may begin a comment; a tweet's #hashtag does not, and a token # may stand alone
RANGE = re.compile(r"\d+[-.]\d+")  # CoNLL-U: words that are written as one, and words that are not written
FEATURE = re.compile(r"(?:^|\|)\w+=")  # CoNLL-U: SpaceAfter=No
DOCUMENT = "-DOCSTART-"
LONG, LONGEST = 20_000, 50_000  # tokens without a blank line, that are taken as a sentence at an O, and anywhere


@dataclass(frozen=True)
class ConllLayout:
    """How the lines of a file are to be read.

    Args:
      tabs: its columns are parted by tabs, not blanks.
      width: number of columns.
      numbered: the first column counts the tokens of a sentence.
      tokens, tags: their columns, from 0.
      ragged: lines may have more columns, for the user said which one holds the tags.
    """

    path: Path = dataclass_field(repr=False)
    encoding: str
    tabs: bool
    width: int
    numbered: bool
    tokens: int
    tags: int
    ragged: bool
    header: bool

    @cached_property
    def needed(self) -> int:
        """How many columns a token must have."""
        return max(self.tokens, self.tags) + 1

    @property
    def description(self) -> str:
        columns = f"token = column {self.tokens + 1}, tag = column {self.tags + 1}"
        return f"{self.path.name}: CoNLL, {'tab' if self.tabs else 'blank'}-separated, {self.encoding}; {columns}"

    def is_comment(self, line: str, cells: Sequence[str], first: bool) -> bool:
        """Return whether a line is a comment: it begins like one and has not the columns of a token.

        Args:
          first: no token of the sentence precedes.
        """
        if not line.startswith("#") or not REMARK.match(line):
            return False
        if len(cells) < self.needed or (len(cells) != self.width and not self.ragged):
            return True
        # By chance as wide as the lines of tokens, such as "# id 17 domain=en".
        tag = cells[self.tags]
        return first and self.width > 2 and not self.tabs and tag not in NONE and not PREFIXED.fullmatch(tag)

    def line_error(self, line: str, cells: Sequence[str]) -> str:
        """Return why a line is no token with a tag, or ""."""
        if what := text_damage(line, self.encoding):
            return what
        count = len(cells)
        if count < self.needed or (count > self.width and not self.ragged):
            wanted = f"{self.needed} are wanted" if self.ragged else f"the others have {self.width}"
            return f"has {count} {'column' if count == 1 else 'columns'} where {wanted}"
        return "has an empty token" if not cells[self.tokens] else "has an empty tag" if not cells[self.tags] else ""

    def sentences(self) -> Iterator[RawSentence]:
        """Yield every sentence; one with a line that cannot be used says so, and is to be skipped whole."""
        tokens: list[str] = []
        tags: list[str] = []
        lines: list[int] = []
        wrong: tuple[str, str] | None = None
        name, header = self.path.name, self.header
        with open_text(self.path, self.encoding, "\n") as file:
            for number, line in enumerate(chain(file, [""]), 1):  # the end of the file ends a sentence
                row = line.lstrip("\ufeff").rstrip(" \t\r\n") if number == 1 else line.rstrip(" \t\r\n")
                apart = not row or row.isspace() or row.startswith(DOCUMENT)
                if apart or len(tokens) >= LONGEST or (len(tokens) >= LONG and tags[-1] in NONE):
                    if wrong:
                        yield RawSentence(*wrong)
                    elif tokens:
                        yield RawSentence(f"{name}:{lines[0]}", "", tokens, tags, lines)
                    tokens, tags, lines, wrong = [], [], [], None
                if apart:
                    continue
                cells = split(row, self.tabs)
                if self.is_comment(row, cells, not tokens) or (self.numbered and RANGE.fullmatch(cells[0])):
                    continue
                if header:
                    header = False
                    continue
                if what := self.line_error(row, cells):
                    wrong = wrong or (f"{name}:{number}", what)
                    continue
                tokens.append(cells[self.tokens])
                tags.append(cells[self.tags])
                lines.append(number)


def split(line: str, tabs: bool) -> list[str]:
    r"""Return the columns of a line.

    >>> split("New York\tNNP\tB-LOC", True), split("York  NNP\tI-LOC", False)
    (['New York', 'NNP', 'B-LOC'], ['York', 'NNP', 'I-LOC'])
    """
    if tabs:
        return [cell.strip() for cell in line.split("\t")]
    return [cell for cell in line.replace("\t", " ").split(" ") if cell]


def open_conll(
    path: Path,
    fields: Sequence[Field],
    columns: Mapping[str, str],
    encoding: str | None,
    names: Mapping[str, str],
    row_errors: RowErrors,
) -> TaggedReader:
    """Open a CoNLL file, its layout and scheme found from what it holds.

    Args:
      columns: by field a column's number from 1, where the user gave one; else the first one and the last.
      names: of types, as for `tagged`.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is missing, damaged, empty or no such file.
    """
    layout = _detect_layout(path, fields, columns, encoding)
    read = layout.sentences
    if all(sentence.error for sentence in read()):
        first = next(read(), None)
        reason = f"{first.location} {first.error}" if first else "it has no line of a token and a tag"
        raise DataError(f"{path} holds no sentence that can be used ({reason}): mend it, or name another.")
    return open_tagged(path.name, layout.description, read, names, row_errors)


def _detect_layout(
    path: Path, fields: Sequence[Field], columns: Mapping[str, str], encoding: str | None
) -> ConllLayout:
    encoding, text = read_head(path, encoding)
    rows = [line.rstrip(" \t\r") for line in text.removeprefix("\ufeff").split("\n")]
    if len(rows) > 100:  # the last line may be cut
        rows.pop()
    rows = [row for row in rows if not row.startswith(DOCUMENT)]
    lines = [row for row in rows if row.strip() and not REMARK.match(row)] or [row for row in rows if row.strip()]
    if not lines:
        raise DataError(f"{path} holds no token: write a token and its tag on each line, parted by a tab.")
    tabs = 2 * sum("\t" in line for line in lines) > len(lines)
    cells = [split(line, tabs) for line in lines]
    widths = Counter(map(len, cells))
    width = max(widths, key=lambda candidate: (widths[candidate], candidate))
    header = _find_header(cells[0], fields)
    names = cells[0] if header else ()
    chosen = {name: _find_chosen(path, name, column, max(widths), names) for name, column in columns.items()}
    if len(set(chosen.values())) < len(chosen):
        raise ConfigError(f"--column names one column of {path.name} twice: give the tokens and the tags their own.")
    _check_table(path, cells, widths, width, tabs, set(chosen) == set(tag_field_names(fields)))
    numbered = width > 2 and _is_numbered(rows, tabs)
    name_of_tokens, name_of_tags = tag_field_names(fields)
    positions = header | chosen
    if name_of_tags not in positions and numbered and tabs and width == 10:
        remedy = "say which column holds the tags by --column tags=10, or by another number"
        raise DataError(f"{path} is CoNLL-U, which has no column for tags of entities: {remedy}.")
    tags = positions.get(name_of_tags, width - 1)
    tokens = positions.get(name_of_tokens, 1 if numbered and tags != 1 else 0)
    if tokens == tags:
        raise ConfigError(f"Column {tags + 1} of {path.name} cannot hold both tokens and tags: give both by --column.")
    if numbered and width == 10:
        _check_features(path, cells, tags)
    return ConllLayout(path, encoding, tabs, width, numbered, tokens, tags, name_of_tags in chosen, bool(header))


def _check_features(path: Path, cells: Sequence[Sequence[str]], tags: int) -> None:
    """Refuses a column of tags of CoNLL-U that holds features beside them."""
    if feature := next((row[tags] for row in cells if len(row) > tags and FEATURE.search(row[tags])), ""):
        held = f'Column {tags + 1} of {path} holds features such as "{feature[:60]}", not tags alone'
        raise DataError(f"{held}: write the tags into a column of their own.")


def _find_header(first: Sequence[str], fields: Sequence[Field]) -> dict[str, int]:
    """The column of each field where the first line names all of them, else none."""
    folded = [cell.casefold() for cell in first]
    positions = {}
    for field in fields:
        at = next((folded.index(name) for name in (field.name, *field.aliases) if name in folded), None)
        if at is None:
            return {}
        positions[field.name] = at
    return positions


def _find_chosen(path: Path, name: str, column: str, width: int, header: Sequence[str]) -> int:
    """The column that the user named or numbered, from 0."""
    column = column.strip()
    if column in header:
        return header.index(column)
    if column.isdecimal() and len(column) < 6 and 1 <= int(column) <= width:
        return int(column) - 1
    has = f"columns {quote_list(header)}" if header else f"{width} columns, without names"
    raise ConfigError(f"--column {name}={column}: {path.name} has {has}: give a number from 1 to {width}.")


def _check_table(
    path: Path, cells: Sequence[Sequence[str]], widths: Counter[int], width: int, tabs: bool, both_named: bool
) -> None:
    """Refuses what is no CoNLL, such as a CSV file or prose.

    Args:
      both_named: the user named both columns.
    """
    wanted = "write a token and its tag on each line, parted by a tab, and a blank line after each sentence"
    ends = [row[-1] for row in cells]
    commas = sum("," in end.strip(",") or ";" in end.strip(";") for end in ends)
    if not tabs and (suffix(path) == ".csv" or 2 * commas > len(ends)):
        raise DataError(f"{path} looks like a table of commas (CSV), where tagged tokens are wanted: {wanted}.")
    if width < 2 and not both_named:
        raise DataError(f"{path} has one column, such as {cells[0][0][:40]!r}, but no tags: {wanted}.")
    if 2 * widths[width] < len(cells) and not both_named:
        few = f"only {widths[width]:,} of its first {len(cells):,} lines have {width} columns"
        raise DataError(f"{path} is no file of tagged tokens, for {few}: {wanted}.")


def _is_numbered(rows: Sequence[str], tabs: bool) -> bool:
    """Whether the first column counts 1, 2, 3 in each sentence."""
    expected, hits, count = 1, 0, 0
    for row in rows:
        first = split(row, tabs)[:1]
        if not row or row.isspace():
            expected = 1
        elif not REMARK.match(row) and not RANGE.fullmatch(first[0]):
            hits, count, expected = hits + (first[0] == str(expected)), count + 1, expected + 1
    return 10 * hits > 9 * count
