"""A file's bytes, decompressed, and how its text is encoded; what is wrong with either becomes one sentence."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SAMPLE = 2**20  # bytes from which the encoding and the layout are taken
COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROLS = {chr(code) for code in range(32)} - set("\t\n\v\f\r\x1b")
SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a zstd frame without data, with which pzstd begins
BROKEN = "\udc80"  # stands where bytes could not be decoded: a lone surrogate, which no valid text holds
ERRORS = "kerasserole-mark"

BinaryFile = io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return BROKEN, error.end


codecs.register_error(ERRORS, _mark_broken)


def expand_path(name: str) -> Path:
    """Return the path that a person named, ~ being their home folder where it can be."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user: a file may well be named "~draft.csv"
        return Path(name)


def suffix(path: Path) -> str:
    """Return the last suffix that names no compression, lower case.

    >>> suffix(Path("Reviews.2019.CSV.gz"))
    '.csv'
    """
    suffixes = [ending.lower() for ending in path.suffixes if ending.lower() not in COMPRESSIONS]
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_compressed(path: Path) -> Iterator[BinaryFile]:
    """Open a binary file, decompressed (gzip, xz, bzip2, zstd); what goes wrong until it is closed is a DataError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path} is a folder, where a file is wanted: name a file in it.")
        if not stat.S_ISREG(mode):  # a pipe gives its bytes once, and they are needed twice
            raise DataError(f"{path} is a pipe or device, which cannot be read twice: save it as a file first.")
        with open(path, "rb") as plain:
            magic = plain.read(6)
            plain.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=plain) as unzipped:
                    yield unzipped
            elif magic == b"\xfd7zXZ\x00":
                with lzma.LZMAFile(plain) as unpacked:
                    yield unpacked
            elif magic.startswith(b"BZh"):
                with bz2.BZ2File(plain) as unpacked_too:
                    yield unpacked_too
            elif magic.startswith(b"\x28\xb5\x2f\xfd") or SKIPPED.match(magic):
                with _open_zstd(path) as decompressed:
                    yield decompressed
            elif magic.startswith(b"PK\x03\x04"):
                sheet = path.suffix.lower() in (".xlsx", ".xlsm", ".ods")
                what = "a spreadsheet: save it as CSV" if sheet else "a zip archive: unpack it"
                raise DataError(f"{path} is {what}, and name that file.")
            else:
                yield plain
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise corrupt_file_error(path, error) from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path, or name another file.") from None
    except PermissionError:
        raise permission_error(path) from None
    except OSError as error:
        if error.errno is None:  # bzip2 and zstd say so of damage
            raise corrupt_file_error(path, error) from None
        raise DataError(f"{path} cannot be read ({error.strerror or error}): name another file.") from None


def corrupt_file_error(path: Path, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return DataError(f"{path} is damaged ({reason}): copy or download the file again.")


def missing_bom_error(encoding: str) -> ConfigError:
    remedy = f"say {encoding}-le or {encoding}-be"
    return ConfigError(f'--encoding is "{encoding}", but there is no byte order mark: {remedy}.')


def permission_error(path: Path) -> DataError:
    return DataError(f"{path} may not be read: change its permissions, or name another.")


@contextmanager
def _open_zstd(path: Path) -> Iterator[io.BufferedReader]:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow to be read ({error}): run make setup, or unpack it first.") from None

    class Unpacked(io.RawIOBase):
        """Arrow's stream as one that Python can buffer."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: WriteableBuffer) -> int:
            view = memoryview(buffer)
            data = stream.read(len(view))
            view[: len(data)] = data
            return len(data)

    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        file: io.BufferedReader = io.BufferedReader(Unpacked(), 2**16)
        with file:
            yield file


def detect_encoding(data: bytes, final: bool, requested: str | None) -> tuple[str, str]:
    """Return the encoding of a file that begins with `data`, and this beginning as text.

    As a byte order mark says, else as given, else UTF-8 if it is valid, else cp1252.

    Args:
      final: the data is the whole file; otherwise the last character may be cut.

    Raises:
      ConfigError: `requested` is no encoding, or wants a byte order mark that there is not.
    """
    marked = next((name for bom, name in BOMS if data.startswith(bom)), None)
    try:
        if requested is not None:
            io.TextIOWrapper(io.BytesIO(b"a"), requested, ERRORS).read()
    except (LookupError, ValueError):
        raise ConfigError(
            f'--encoding is "{requested}", which is none that Python knows: try utf-8 or cp1252.'
        ) from None
    if marked and (requested is None or codecs.lookup(requested).name.startswith("utf")):
        encoding = marked  # a mark is surer than a person who says utf-8 of utf-16
    elif requested is not None:
        encoding = requested
    else:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(data, final)
            encoding = "utf-8"
        except UnicodeDecodeError:
            encoding = "cp1252"
    try:
        return encoding, codecs.getincrementaldecoder(encoding)(ERRORS).decode(data, final)
    except UnicodeError:  # of UTF-16 and UTF-32 only; no other decoder stops with our way to handle errors
        raise missing_bom_error(encoding) from None


def read_head(path: Path, requested: str | None) -> tuple[str, str]:
    """Return the encoding, and the beginning of the file as text.

    Raises:
      DataError: the file is empty or no text.
    """
    with open_compressed(path) as file:
        data = file.read(SAMPLE)
    if not data:
        raise DataError(f"{path} is empty: name a file with a row for each example.")
    encoding, text = detect_encoding(data, len(data) < SAMPLE, requested)
    if is_binary(text, encoding):
        remedy = "save it as text in UTF-8, or say by --encoding NAME (such as utf-16-le) how it is written"
        raise DataError(f"{path} is binary data, not text: {remedy}.")
    return encoding, text


def is_binary(text: str, encoding: str) -> bool:
    """Whether NULs are in its nature, not strays in a row: compressed bytes are a tenth controls, text hardly any."""
    if "\0" not in text:
        return False
    odd = sum(count for char, count in Counter(text).items() if char in CONTROLS or char == BROKEN)
    limit = 0.02 if encoding == "cp1252" or BROKEN in text else 0.2
    return "\0" in text.partition("\n")[0] or odd > limit * len(text)


@contextmanager
def open_text(path: Path, encoding: str, newline: str) -> Iterator[io.TextIOWrapper]:
    """Open a file as text, after its byte order mark; bytes that cannot be decoded become BROKEN."""
    with open_compressed(path) as file:
        if file.peek(3)[:3] == codecs.BOM_UTF8:  # skipped here too, for someone may call a marked file latin-1
            file.read(3)
        with io.TextIOWrapper(file, encoding, ERRORS, newline=newline) as lines:
            yield lines


def text_damage(text: str, encoding: str) -> str:
    """Return what is wrong with a text that was read, or ""."""
    if BROKEN in text:
        return f"is not valid {encoding}"
    return "holds a NUL byte" if "\0" in text else ""
