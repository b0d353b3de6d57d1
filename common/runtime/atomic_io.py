"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import base64
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from common.errors import RunError

if TYPE_CHECKING:
    from common.types import JsonObject


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file to write that takes the place of `path` when the block ends well, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


BYTES = "base64"  # the only key of an object that stands for bytes
NUMBERS = "int32"  # the only key of one that stands for an array


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one piece; bytes become {"base64": ...}, arrays of int32 {"int32": ..., "shape": ...}."""

    def as_object(value: Any) -> JsonObject:
        if isinstance(value, np.ndarray) and value.dtype == np.int32:
            return {NUMBERS: value.ravel().tolist(), "shape": list(value.shape)}
        return {BYTES: base64.b64encode(value).decode("ascii")}  # a TypeError for what are no bytes

    text = json.dumps(value, indent=1, ensure_ascii=False, default=as_object)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file name that is no UTF-8
        text = json.dumps(value, indent=1, default=as_object)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file in one piece; nothing in it is pickled."""
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **dict(arrays))


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays in an .npz file by name; nothing in it is unpickled.

    Raises:
      FileNotFoundError: there is no such file.
      RunError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is damaged ({error}). Delete it to train from the start, or restore it.") from None


def read_json(path: Path) -> JsonObject:
    """Read the object in a JSON file that `write_json` wrote.

    Raises:
      RunError: the file is missing, damaged or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_hook=_restore)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path} is missing: {path.parent} is no run or a damaged one. Name another run.") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Restore it, or train anew in another folder.") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (a JSON object was expected). Restore it, or train anew in another folder.")
    return value


def _restore(value: JsonObject) -> object:
    if list(value) == [BYTES] and isinstance(value[BYTES], str):
        return base64.b64decode(value[BYTES])
    if list(value) == [NUMBERS, "shape"]:
        return np.array(value[NUMBERS], np.int32).reshape(value["shape"])
    return value
