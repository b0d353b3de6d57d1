"""Raw examples in a file that has no name, so that they can be read again without going to their source."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from common.types import Example

_LENGTH = struct.Struct("<I")  # of the JSON text before the bytes


def serialize_example(example: Example) -> bytes:
    """Return an example as bytes: its fields as JSON, and behind it the content of bytes and arrays.

    Raises:
      TypeError: a value is neither a string, number, list of these, bytes nor an array of numbers.

    >>> deserialize_example(serialize_example({"text": "fine", "image_bytes": b"PNG", "size": np.zeros(2, np.int8)}))
    {'text': 'fine', 'image_bytes': b'PNG', 'size': array([0, 0], dtype=int8)}
    """
    fields: dict[str, object] = {}
    contents: list[bytes] = []
    for name, value in example.items():
        if isinstance(value, bytes):
            fields[name] = {"bytes": len(value)}
            contents.append(value)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            fields[name] = {"bytes": value.nbytes, "dtype": value.dtype.str, "shape": value.shape}
            contents.append(value.tobytes())
        elif isinstance(value, dict):
            raise TypeError(f"The field {name} is a dict, which no field of an example is.")
        else:
            fields[name] = value
    header = json.dumps(fields).encode("ascii")
    return b"".join((_LENGTH.pack(len(header)), header, *contents))


def deserialize_example(data: bytes) -> Example:
    """Return the example that `serialize_example` made bytes of."""
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    example: Example = json.loads(data[_LENGTH.size : start])
    for name, value in example.items():
        if isinstance(value, dict):
            content = data[start : start + value["bytes"]]
            start += len(content)
            if "dtype" in value:
                example[name] = np.frombuffer(content, value["dtype"]).reshape(value["shape"]).copy()
            else:
                example[name] = content
    return example


class ExampleFile:
    """Examples in a file without a name, which is gone when this process is or when it is closed.

    Args:
      folder: on whose disk it is; None for that of temporary files.
    """

    def __init__(self, folder: Path | None = None):
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)
        self.ends = array("q", [0])

    def append(self, example: Example) -> None:
        """Write an example behind the others."""
        content = serialize_example(example)
        self.file.write(content)
        self.ends.append(self.ends[-1] + len(content))

    def read(self) -> Iterator[Example]:
        """Yield the examples, in the order in which they were written."""
        self.file.flush()
        for start, end in zip(self.ends, self.ends[1:], strict=False):
            yield deserialize_example(os.pread(self.file.fileno(), end - start, start))

    def close(self) -> None:
        """Remove the file."""
        self.file.close()
