"""Names of labels that data holds as numbers or codes, from a file of the user's."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from common.runtime.open_file import open_text, read_head, text_damage


def read_label_names(path: Path, encoding: str | None = None) -> dict[str, str]:
    """Return the name of each label, from lines of a code and a name, cut at a tab or a comma; or of names from 0 on.

    Raises:
      DataError: the file is missing, damaged, empty, or has a code twice.
    """
    encoding, _ = read_head(path, encoding)
    with open_text(path, encoding, "\n") as file:
        lines = [(number, line.strip("\ufeff\r\n ")) for number, line in enumerate(file, 1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    tabs = any("\t" in line for _, line in lines)  # a single line without one is a slip, not another layout
    cut = "\t" if tabs else "," if all("," in line for _, line in lines) else None
    names: dict[str, str] = {}
    for at, (number, line) in enumerate(lines):
        code, name = (part.strip() for part in line.partition(cut)[::2]) if cut else (str(at), line)
        wrong = text_damage(line, encoding) or ("" if code and name else "lacks a code or a name")
        if wrong or names.setdefault(code, name) != name:
            wrong = wrong or f'names "{code}" a second time'
            raise DataError(f"{path.name}:{number} {wrong}: write a code, a tab and a name on each line.")
    if not names:
        raise DataError(f"{path} names no label: write a code, a tab and a name on each line.")
    return names
