"""Pretrained word vectors: those of wanted words out of a file of word2vec, fastText or GloVe, however large it is."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Collection, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import DataError
from common.runtime.open_file import SAMPLE, BinaryFile, open_compressed

BLOCK = 2**20  # bytes read at once
WIDEST = 10_000  # numbers a word; a first line that says more is no header
LONGEST = 2**16  # bytes of a word; a binary file without a blank for longer is damaged

_FASTTEXT = b"\xba\x16\x4f\x2f"  # how a model of fastText begins
_HEADER = re.compile(rb"[ \t]*([0-9]{1,18})[ \t]+([0-9]{1,18})[ \t]*\r?\n")
_NUMERALS = re.compile(rb"[-+.0-9eE \t\r\n]*")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_AGAIN = "download the file again"

Found = dict[bytes, np.ndarray]  # vectors of words, in the order of the file


class WordVectors(NamedTuple):
    """What was found in a file.

    matrix: float32 [found, dim].
    words: those of the rows of the matrix, in the order of the file.
    rows: how many the file has.
    dim: numbers a word.
    """

    matrix: np.ndarray
    words: list[str]
    rows: int
    dim: int


class VectorFileLayout(NamedTuple):
    """How a file is written.

    dim: numbers a word.
    total: rows, as the first line says; None if there is no such line.
    start: bytes before the first row.
    separator: what stands after a word.
    binary: numbers are float32, little endian.
    """

    dim: int
    total: int | None
    start: int
    separator: bytes
    binary: bool


def load_word_vectors(path: Path, wanted: Collection[str], first: int = 0) -> WordVectors:
    r"""Return the vectors of wanted words and of the first rows, which are frequent words; memory grows with both.

    The format is told by content: text of word2vec and fastText (.vec), text of GloVe, binary of word2vec; any of them
    compressed. A word must be equal to be found: to fall back on another, such as its lower case, want that one too.
    Of a word that comes twice the first vector is taken. The numbers of unwanted rows are not looked at.

    Raises:
      DataError: the file is not one of word vectors, or damaged. That no word is found is no error.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tiny.vec"
    >>> _ = path.write_text("3 2\nthe 0.5 1\ncat -1 0.25\nsat 0 0\n")
    >>> load_word_vectors(path, ["sat", "the", "mat"]).words
    ['the', 'sat']
    """
    with open_compressed(path) as file:
        layout = _detect_layout(path, file.read(SAMPLE))
    spelt = {word.encode("utf-8", "surrogatepass"): word for word in wanted if word}  # bytes: not all files are UTF-8
    with open_compressed(path) as file:
        file.read(layout.start)
        vectors, rows = (_read_binary if layout.binary else _read_text)(path, file, layout, spelt.keys(), first)
    matrix = np.stack(list(vectors.values())) if vectors else np.zeros((0, layout.dim), np.float32)
    words = [spelt.get(word) or word.decode("utf-8", "replace") for word in vectors]
    return WordVectors(matrix, words, rows, layout.dim)


def _detect_layout(path: Path, head: bytes) -> VectorFileLayout:
    """How a file is written that begins with `head`."""
    if not head:
        raise DataError(f"{path} is empty: name a file of word vectors.")
    if head.startswith(_FASTTEXT):
        raise DataError(f"{path} is a model of fastText: name its vectors, the file that ends in .vec.")
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    header = _HEADER.match(head, mark)
    if header and 0 < int(header[2]) <= WIDEST:
        dim, total, start = int(header[2]), int(header[1]), header.end()
    else:
        cells = head[mark:].partition(b"\n")[0].split()
        dim, total, start = _count_trailing_numbers(cells[1:]), None, mark
    rows = head[start:]
    separator = b"\t" if b"\t" in rows.partition(b" ")[0].partition(b"\n")[0] else b" "
    if total is not None and not rows.strip():
        raise DataError(f"{path} has a first line but no rows: {_AGAIN}.")
    binary = not _is_text(rows, separator, dim)
    if total is None and (binary or dim < 2):  # any text may have one number after its first word
        what = 'neither "count dimension" nor a word and its numbers'
        raise DataError(f"{path} holds no word vectors (its first line is {what}): name a .vec, .txt or .bin file.")
    return VectorFileLayout(dim, total, start, separator, binary)


def _is_text(rows: bytes, separator: bytes, dim: int) -> bool:
    """Whether numbers are written in digits."""
    first = rows.find(separator) + 1
    if first and _NUMERALS.fullmatch(rows[first : first + 2 * dim - 1]):  # a text has as many bytes of numbers at least
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rows)
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.search(rows)


def _count_trailing_numbers(cells: Sequence[bytes]) -> int:
    """How many cells at the end are numbers.

    >>> _count_trailing_numbers([b".", b"1", b".", b"0.5", b"-1e-3"])
    2
    """
    count = 0
    while count < len(cells) and _is_number(cells[-1 - count]):
        count += 1
    return count


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_text(
    path: Path, file: BinaryFile, layout: VectorFileLayout, wanted: Set[bytes], first_rows: int
) -> tuple[Found, int]:
    """Vectors of wanted words and of the first rows, and the number of rows."""
    vectors: Found = {}
    first_cells = {word.partition(b" ")[0] for word in wanted} - {b""}  # words of GloVe may hold blanks
    separator, rows = layout.separator, 0
    number, line = 0, b""
    for number, line in enumerate(io.BufferedReader(file, BLOCK), 1 if layout.total is None else 2):
        first = line[: line.find(separator)]  # all that is done to most of some million rows, so it must be quick
        if first not in first_cells and (rows >= first_rows or not first.strip()):
            rows += bool(first) or not line.isspace()
            continue
        rows += 1
        cells = line.split()
        have = len(cells) - 1
        word = b" ".join(cells[: -layout.dim])
        is_wanted = word in wanted or rows <= first_rows
        too_many = have > layout.dim and word not in wanted and _count_trailing_numbers(cells[1:]) == have
        if have < layout.dim or too_many:
            raise _width_error(path, number, have, layout)
        if is_wanted and word not in vectors:
            vectors[word] = _parse_vector(path, number, cells[-layout.dim :])
    have = len(line[line.find(separator) + 1 :].split())
    if have < layout.dim and not line.isspace() and line:  # the last row, lest the file be cut
        raise _width_error(path, number, have, layout)
    return vectors, rows


def _parse_vector(path: Path, number: int, cells: Sequence[bytes]) -> np.ndarray:
    """The numbers of a row, float32 [dim]."""
    try:
        with np.errstate(over="ignore"):
            vector = np.array([float(cell) for cell in cells]).astype(np.float32)
    except ValueError:
        cell = next(cell for cell in cells if not _is_number(cell)).decode("utf-8", "replace")
        raise DataError(f'{path}:{number} has "{cell:.40}" where a number should be: {_AGAIN}.') from None
    if not np.isfinite(vector).all():
        cell = cells[int(np.isfinite(vector).argmin())].decode("utf-8", "replace")
        raise DataError(f"{path}:{number} has {cell:.40}, which is not finite: take the row out, or name another file.")
    return vector


def _width_error(path: Path, number: int, have: int, layout: VectorFileLayout) -> DataError:
    whole = "the first row has" if layout.total is None else "the first line says"
    return DataError(f"{path}:{number} has {have} numbers where {whole} {layout.dim}: {_AGAIN}, or take the row out.")


def _read_binary(
    path: Path, file: BinaryFile, layout: VectorFileLayout, wanted: Set[bytes], first_rows: int
) -> tuple[Found, int]:
    """Vectors of wanted words and of the first rows, and the number of rows."""
    assert layout.total is not None
    vectors: Found = {}
    data, position, rows = b"", 0, 0
    while rows < layout.total:
        blank = data.find(b" ", position)
        end = blank + 1 + 4 * layout.dim
        if blank < 0 or end > len(data):
            more = file.read(BLOCK) if blank >= 0 or len(data) - position < LONGEST else b""
            if not more:
                raise DataError(f"{path} is cut or damaged in row {rows + 1:,} of {layout.total:,}: {_AGAIN}.")
            data, position = data[position:] + more, 0
            continue
        word = data[position:blank].lstrip(b"\r\n")  # which stand after the numbers in some files
        if (word in wanted or rows < first_rows) and word not in vectors:
            vector = np.frombuffer(data, "<f4", layout.dim, blank + 1).astype(np.float32)
            if not np.isfinite(vector).all():
                name = word.decode("utf-8", "replace")
                raise DataError(f'{path} has a number of "{name}" (row {rows + 1:,}) that is not finite: {_AGAIN}.')
            vectors[word] = vector
        position, rows = end, rows + 1
    if (data[position:] + file.read(BLOCK)).strip(b"\r\n"):
        raise DataError(f"{path} goes on after the {rows:,} rows that its first line says: {_AGAIN}.")
    return vectors, rows
