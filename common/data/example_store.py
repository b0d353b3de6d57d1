"""Encoded examples as columns of arrays, in memory or memory-mapped on disk; rows are gathered and padded by index."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from common.types import JsonObject

MEMORY_BYTES = 1 << 29  # beyond this, columns go to disk; putting them together takes as much again
RELEASE_READS = 256  # so many batches of a mapped store may stay in resident memory


@dataclass(frozen=True)
class Column:
    """One feature of all examples.

    Args:
      values: dense [examples, ...], or all steps of all examples one after the other, [steps, ...].
      row_splits: None if dense, else [examples + 1], where each example's steps begin.
    """

    values: np.ndarray
    row_splits: np.ndarray | None = None

    def gather(self, indices: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return the examples at `indices`, ragged ones padded with 0 to `length` or to the longest.

        >>> column = Column(np.array([7, 8, 9]), np.array([0, 2, 3]))
        >>> column.gather(np.array([1, 0])).tolist()
        [[9, 0], [7, 8]]
        """
        if self.row_splits is None:
            return self.values[indices]
        starts = self.row_splits[indices]
        lengths = self.row_splits[indices + 1] - starts
        steps = np.arange(int(lengths.max(initial=0)) if length is None else length)
        present = steps < lengths[:, None]
        padded = np.zeros((len(indices), len(steps), *self.values.shape[1:]), self.values.dtype)
        padded[present] = self.values[(starts[:, None] + steps)[present]]
        return padded

    def lengths(self) -> np.ndarray:
        """Return the steps of each example, [examples]."""
        if self.row_splits is None:
            raise ValueError("a dense column has no lengths")
        return np.diff(self.row_splits)


class ExampleStore:
    """Encoded examples: named columns of equal length.

    Args:
      columns: by name.
      count: the number of examples.
    """

    def __init__(self, columns: Mapping[str, Column], count: int):
        self.columns, self.count = dict(columns), count
        self.mapped = [m for c in columns.values() if (m := getattr(c.values, "_mmap", None)) is not None]
        self.reads = 0

    def __len__(self) -> int:
        return self.count

    def gather(self, indices: np.ndarray, lengths: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """Return a padded batch by column name."""
        lengths = lengths or {}
        self.reads += 1
        if self.reads % RELEASE_READS == 0:
            for mapped in self.mapped:
                mapped.madvise(mmap.MADV_DONTNEED)  # what was read is not held; the system may keep it as file cache
        return {name: column.gather(indices, lengths.get(name)) for name, column in self.columns.items()}


class StoreWriter:
    """Gathers encoded batches into a Store; they go to files when `memory_bytes` are exceeded.

    Args:
      folder: for the files of this store alone, made when the first one is written; None keeps all in memory.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int | None = None):
        self.folder = folder
        self.memory_bytes = MEMORY_BYTES if memory_bytes is None else memory_bytes
        self.chunks: dict[str, list[np.ndarray]] = {}
        self.lengths: dict[str, list[np.ndarray]] = {}
        self.files: dict[str, IO[bytes]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, np.dtype] = {}
        self.count, self.bytes = 0, 0

    def append(self, dense: Mapping[str, np.ndarray], ragged: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Add a batch.

        Args:
          dense: arrays [batch, ...] by name.
          ragged: (values [steps, ...], lengths [batch]) by name.
        """
        for name, (values, lengths) in ragged.items():
            self.lengths.setdefault(name, []).append(lengths.astype(np.int64))
            self._add(name, values)
            self.count += len(lengths) if not dense and name == next(iter(ragged)) else 0
        for name, values in dense.items():
            self._add(name, values)
            self.count += len(values) if name == next(iter(dense)) else 0
        if self.folder is not None and not self.files and self.bytes > self.memory_bytes:
            self._spill(self.folder)

    def _add(self, name: str, values: np.ndarray) -> None:
        self.shapes.setdefault(name, values.shape[1:])
        self.types.setdefault(name, values.dtype)
        self.bytes += values.nbytes
        if self.files:
            _write(self.files[name], values)
        else:
            self.chunks.setdefault(name, []).append(values)

    def _spill(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (name, chunks) in enumerate(self.chunks.items()):
            self.files[name] = open(folder / f"{number}.bin", "wb")
            for values in chunks:
                _write(self.files[name], values)
        self.chunks.clear()

    def close(self) -> ExampleStore:
        """Return the store of all that was added."""
        columns = {}
        for file in self.files.values():
            file.close()
        for name, shape in self.shapes.items():
            if self.files:
                values = _mapped(Path(self.files[name].name), self.types[name], shape)
            else:
                values = np.concatenate(self.chunks[name])
            starts = None
            if name in self.lengths:
                starts = np.concatenate([[0], np.cumsum(np.concatenate(self.lengths[name]))])
            columns[name] = Column(values, starts)
        return ExampleStore(columns, self.count)

    def save(self, store: ExampleStore) -> JsonObject:
        """Complete the files of the closed store, so that `load_store` can open it, and return what they hold."""
        if self.folder is None:
            raise ValueError("a store without a folder cannot be kept")
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = {}
        for number, (name, column) in enumerate(store.columns.items()):
            path = self.folder / f"{number}.bin"
            if name not in self.files:
                with open(path, "wb") as file:
                    _write(file, column.values)
            if column.row_splits is not None:
                np.save(self.folder / f"{number}.starts.npy", column.row_splits)
            columns[name] = {
                "type": self.types[name].str,
                "shape": list(self.shapes[name]),
                "bytes": path.stat().st_size,
                "ragged": column.row_splits is not None,
            }
        return {"count": store.count, "columns": columns}

    def discard(self) -> None:
        """Remove what was written to disk."""
        for file in self.files.values():
            file.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def load_store(folder: Path, about: JsonObject) -> ExampleStore:
    """Return a store that a StoreWriter kept, in memory if it is small enough, else memory-mapped.

    Args:
      about: what `keep` returned.

    Raises:
      OSError, ValueError, KeyError: files are missing or are not those that were kept.
    """
    is_small = sum(column["bytes"] for column in about["columns"].values()) <= MEMORY_BYTES
    columns = {}
    for number, (name, column) in enumerate(about["columns"].items()):
        path, shape, kind = folder / f"{number}.bin", tuple(column["shape"]), np.dtype(column["type"])
        if path.stat().st_size != column["bytes"]:
            raise ValueError(f"{path} has another size than it was written with")
        values = np.fromfile(path, kind).reshape(-1, *shape) if is_small else _mapped(path, kind, shape)
        starts = np.load(folder / f"{number}.starts.npy", allow_pickle=False) if column["ragged"] else None
        columns[name] = Column(values, starts)
    return ExampleStore(columns, about["count"])


def _write(file: IO[bytes], values: np.ndarray) -> None:
    # Not ndarray.tofile, whose error does not tell that the disk is full.
    file.write(np.ascontiguousarray(values).data.cast("B") if values.size else b"")


def _mapped(path: Path, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    # A file without a byte (a column of empty rows) cannot be mapped.
    flat: np.ndarray = np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
    return flat.reshape(-1, *shape)
