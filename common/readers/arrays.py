"""The elements of a JSON array in a file, one at a time, so that a long one takes little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from common.errors import DataError

BLOCK = 2**16  # characters that are read at a time, or as many as are waiting for the end of their element
BLANKS = "\ufeff \t\r\n"
BLANK = re.compile(f"[{BLANKS}]*")
CUT = 16  # an error so near to the end of what was read may be the cut's, as in "fals" or half an escape


def is_array(file: TextIO) -> bool:
    """Whether a file that was just opened holds a JSON array, by its first character that is no blank."""
    while block := file.read(BLOCK):
        if block := block.lstrip(BLANKS):
            return block.startswith("[")
    return False


def elements(name: str, file: TextIO) -> Iterator[tuple[Any, str]]:
    """(element, how it is written) of each element of the array that a file holds.

    >>> import io
    >>> [value for value, _ in elements("a.json", io.StringIO('[{"a": 1}, 2]'))]
    [{'a': 1}, 2]

    Args:
      name: of the file, for messages.

    Raises:
      DataError: it is damaged; what stood before was given.
    """
    text, at, lines = "", 0, 0  # what was read, the place in it, and the lines before it

    def more() -> bool:
        nonlocal text, at, lines
        block = file.read(max(BLOCK, len(text) - at))
        lines += text.count("\n", 0, at)
        text, at = text[at:] + block, 0
        return bool(block)

    def following() -> str:
        """The next character that is no blank, or "" at the end."""
        nonlocal at
        while True:
            at += len(BLANK.match(text, at)[0])  # type: ignore[index]  # it matches nothing, too
            if at < len(text) or not more():
                return text[at : at + 1]

    def damaged(what: str, line: int = 0) -> DataError:
        line = line or lines + 1 + text.count("\n", 0, at)
        return DataError(f"{name}:{line} {what}: mend the file, or write it again.")

    def decoded() -> tuple[Any, str]:
        nonlocal at
        while True:
            try:
                value, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                line = lines + error.lineno
                cut = error.msg.startswith("Unterminated string") or error.pos > len(text) - CUT
                if not cut or not more():
                    raise damaged(f"is no JSON ({error.msg})", line) from None
            except RecursionError:
                raise damaged("holds lists in lists without end") from None
            except ValueError as error:  # a number of thousands of digits
                raise damaged(f"holds a value that is none ({error})") from None
            else:
                if end < len(text) or not more():  # a number may go on
                    written, at = text[at:end], end
                    return value, written

    decoder = json.JSONDecoder()
    following()
    at += 1  # the bracket
    mark = "]" if following() == "]" else ","
    at += mark == "]"
    while mark == ",":
        following()
        yield decoded()
        mark = following()
        if mark not in ("]", ","):
            what = f"has {json.dumps(mark)} where a comma is wanted" if mark else "ends before its array does"
            raise damaged(what)
        at += 1
    if following():
        raise damaged("goes on after the end of its array")
