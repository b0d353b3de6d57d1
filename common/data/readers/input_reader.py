"""How the inputs of predictions are read, by what a recipe's first input is."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from common.data.file_formats import open_table_file
from common.data.readers.columns import text_error
from common.data.readers.image_bytes import InvalidImage, to_tf_decodable
from common.data.readers.image_sources import open_image_table
from common.data.readers.reader import Reader
from common.row_errors import RowErrors
from common.runtime.open_file import expand_path
from common.types import Example, Field

EXPLAINED = ".explained.png"  # ends the names of pictures that we write; a folder's are no inputs

OnError = Callable[[str, str], None]  # takes the location of a bad input, and what is wrong with it


class InputReader(Protocol):
    """Reads inputs of one kind. Each becomes an example with its location under "place".

    Args:
      field: the input.
      chunk_size: inputs that are predicted together when so many are waiting.
      is_text: the input is a text as such.
      is_image: it is the content of an image file.
    """

    chunk_size: ClassVar[int]
    is_image: ClassVar[bool]

    @property
    def field(self) -> Field: ...

    @property
    def is_text(self) -> bool: ...

    @property
    def reads_catalogs(self) -> bool:
        """Whether the messages of a gettext catalogue are such inputs."""

    def open_table(
        self, path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, row_errors: RowErrors
    ) -> Reader:
        """Open a file whose rows have columns."""

    def read_arguments(self, arguments: Iterable[str], on_error: OnError) -> Iterator[Example]:
        """Yield the inputs that stand on a command line."""

    def read_lines(self, lines: Iterable[Example], on_error: OnError) -> Iterator[Example]:
        """Yield the inputs that the lines of a file stand for.

        Args:
          lines: the text of each under the name of the field, and its location under "place".
        """


@dataclass(frozen=True)
class TextInputs:
    """Inputs that are written as texts, a line each; see `InputReader`."""

    field: Field
    chunk_size: ClassVar[int] = 512
    is_image: ClassVar[bool] = False

    @property
    def is_text(self) -> bool:
        return self.field.kind == "text"

    @property
    def reads_catalogs(self) -> bool:
        return self.is_text

    def open_table(
        self, path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, row_errors: RowErrors
    ) -> Reader:
        return open_table_file(path, tuple(fields), column, encoding, row_errors)

    def read_arguments(self, arguments: Iterable[str], on_error: OnError) -> Iterator[Example]:
        for number, text in enumerate(arguments, 1):
            if damage := text_error(text):
                on_error(f"input {number}", damage)
            else:
                yield {self.field.name: text, "place": f"input {number}"}

    def read_lines(self, lines: Iterable[Example], on_error: OnError) -> Iterator[Example]:
        yield from lines


@dataclass(frozen=True)
class ImageInputs:
    """Images by their names: files, all files in folders, or globs; see `InputReader`.

    Each example has the name under "file" too.
    """

    field: Field
    chunk_size: ClassVar[int] = 64  # each may hold megabytes
    is_image: ClassVar[bool] = True
    is_text: ClassVar[bool] = False
    reads_catalogs: ClassVar[bool] = False

    def open_table(
        self, path: Path, fields: Sequence[Field], column: Sequence[str], encoding: str | None, row_errors: RowErrors
    ) -> Reader:
        return open_image_table(path, tuple(fields), column, encoding, row_errors)

    def read_arguments(self, arguments: Iterable[str], on_error: OnError) -> Iterator[Example]:
        for name in filter(None, arguments):
            yield from self._read_files(name, on_error)

    def read_lines(self, lines: Iterable[Example], on_error: OnError) -> Iterator[Example]:
        return self.read_arguments((line[self.field.name].strip() for line in lines), on_error)

    def _read_files(self, name: str, on_error: OnError) -> Iterator[Example]:
        path = expand_path(name)
        if path.is_dir():
            paths = _select_user_files(path.rglob("*"))
        elif not path.exists() and any(mark in name for mark in "*?["):
            paths = _select_user_files(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        else:
            paths = [path]
        if not paths:
            on_error(name, "holds no file" if path.is_dir() else "matches no file")
        for file in paths:
            shown = str(file).encode("utf-8", "backslashreplace").decode()  # a name may be any bytes
            try:
                yield {self.field.name: to_tf_decodable(file.read_bytes()), "file": shown, "place": shown}
            except InvalidImage as error:
                on_error(shown, str(error))
            except OSError as error:
                on_error(shown, f"cannot be read ({error.strerror or error})")


def _select_user_files(paths: Iterable[Path]) -> list[Path]:
    """Those that are files of the user's, sorted."""
    files_only = (path for path in paths if path.is_file())
    return sorted(path for path in files_only if not path.name.startswith(".") and not path.name.endswith(EXPLAINED))


def get_input_reader(fields: Sequence[Field]) -> InputReader:
    """Return what reads the inputs of a recipe.

    Args:
      fields: its inputs; the first decides.

    >>> get_input_reader([Field("photo", "image")]).is_image, get_input_reader([Field("review", "text")]).is_image
    (True, False)
    """
    return ImageInputs(fields[0]) if fields[0].kind == "image" else TextInputs(fields[0])
