"""The elements of a JSON array in a file, one at a time, so that a long one takes little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TextIO

from common.errors import DataError

BLOCK = 2**16  # characters that are read at a time, or as many as are waiting for the end of their element
BLANKS = "\ufeff \t\r\n"
BLANK = re.compile(f"[{BLANKS}]*")
CUT = 16  # an error so near to the end of what was read may be the cut's, as in "fals" or half an escape


def is_array(file: TextIO) -> bool:
    """Return whether a file that was just opened holds a JSON array, by its first character that is no blank."""
    while block := file.read(BLOCK):
        if block := block.lstrip(BLANKS):
            return block.startswith("[")
    return False


def iter_json_array(name: str, file: TextIO) -> Iterator[tuple[object, str]]:
    """Yield (element, how it is written) of each element of the array that a file holds.

    >>> import io
    >>> [value for value, _ in iter_json_array("a.json", io.StringIO('[{"a": 1}, 2]'))]
    [{'a': 1}, 2]

    Args:
      name: of the file, for messages.

    Raises:
      DataError: it is damaged; what stood before was given.
    """
    text = _ArrayText(name, file)
    text.next_character()
    text.position += 1  # the bracket
    mark = "]" if text.next_character() == "]" else ","
    text.position += mark == "]"
    while mark == ",":
        text.next_character()
        yield text.decode_element()
        mark = text.next_character()
        if mark not in ("]", ","):
            what = f"has {json.dumps(mark)} where a comma is wanted" if mark else "ends before its array does"
            raise text.damage_error(what)
        text.position += 1
    if text.next_character():
        raise text.damage_error("goes on after the end of its array")


class _ArrayText:
    """The text of a file that is read in blocks, and a position in it.

    Args:
      name: of the file, for messages.
    """

    def __init__(self, name: str, file: TextIO):
        self.name, self.file = name, file
        self.text, self.position = "", 0  # what was read and is not forgotten yet
        self.lines = 0  # before the text
        self.decoder = json.JSONDecoder()

    def read_more(self) -> bool:
        """Forget what stands before the position and read a block; return whether there was one."""
        block = self.file.read(max(BLOCK, len(self.text) - self.position))
        self.lines += self.text.count("\n", 0, self.position)
        self.text, self.position = self.text[self.position :] + block, 0
        return bool(block)

    def next_character(self) -> str:
        """Return the next character that is no blank, to which the position goes; or "" at the end."""
        while True:
            self.position = _skip_blanks(self.text, self.position)
            if self.position < len(self.text) or not self.read_more():
                return self.text[self.position : self.position + 1]

    def decode_element(self) -> tuple[object, str]:
        """Return the element at the position and how it is written; the position goes behind it.

        Raises:
          DataError: it is damaged.
        """
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                line = self.lines + error.lineno
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - CUT
                if not cut or not self.read_more():
                    raise self.damage_error(f"is no JSON ({error.msg})", line) from None
            except RecursionError:
                raise self.damage_error("holds lists in lists without end") from None
            except ValueError as error:  # a number of thousands of digits
                raise self.damage_error(f"holds a value that is none ({error})") from None
            else:
                if end < len(self.text) or not self.read_more():  # a number may go on
                    written, self.position = self.text[self.position : end], end
                    return value, written

    def damage_error(self, what: str, line: int = 0) -> DataError:
        """Return what is wrong, and where."""
        line = line or self.lines + 1 + self.text.count("\n", 0, self.position)
        return DataError(f"{self.name}:{line} {what}: mend the file, or write it again.")


def _skip_blanks(text: str, position: int) -> int:
    """The first position from this one on that holds no blank."""
    match = BLANK.match(text, position)
    return match.end() if match else position
