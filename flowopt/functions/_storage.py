"""Where the columns of a record lie while they grow: in memory, or in a folder of NumPy files."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowopt.core.errors import BadValue
from flowopt.core.memory import LONG, available, check_fits, readable

Array = NDArray[Any]

REST = "trajectory.npz"
"""What a folder holds beside its columns; it is written last, so a folder without it is not a whole record."""

BLOCK = 256
"""Records that a file has room for at first; it doubles when they are full."""

HEADER = 128
"""Bytes before the numbers of a NumPy file, as NumPy writes it for a shape like ours."""


class Whole(Protocol):
    """A Trajectory that is whole."""

    def save_rest(self, folder: Path) -> None:
        """Write what does not lie in files of its own."""


class Storage(Protocol):
    """Makes columns and makes them longer."""

    first: int
    """Records that a new column has room for."""

    def column(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A new column ``(first, *shape)``; its memory is touched only where something is written."""

    def longer(self, name: str, column: Array, length: int) -> Array:
        """The column with room for more records. Raises MemoryError, and leaves it as it is, where there is none."""

    def cut(self, column: Array, length: int) -> Array:
        """The first records of a column, which does not grow any more."""

    def sealed(self, columns: dict[str, Array]) -> dict[str, Array]:
        """The columns of a Trajectory, its positions ``(T, B, D)``, from those that were written, ``(T, D, B)``."""

    def complete(self, run: Whole) -> None:
        """The Trajectory that the columns belong to is whole."""

    def remove(self) -> None:
        """Leave nothing of a record that did not become whole."""


class InMemory:
    """Columns as arrays. The worst case is asked for at once: it is not used before it is written, or copied later."""

    def __init__(self, records: int) -> None:
        self.first = min(records, LONG)

    def column(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return np.empty((self.first, *shape), dtype)

    def longer(self, name: str, column: Array, length: int) -> Array:
        longer = np.empty((length, *column.shape[1:]), column.dtype)
        longer[: len(column)] = column
        return longer

    def cut(self, column: Array, length: int) -> Array:
        mostly_unused = 2 * length < len(column)  # what a copy gives back
        return column[:length].copy() if mostly_unused else column[:length]

    def sealed(self, columns: dict[str, Array]) -> dict[str, Array]:
        return columns | {"x": columns["x"].swapaxes(1, 2)}

    def complete(self, run: Whole) -> None:
        pass

    def remove(self) -> None:
        pass


class OnDisk:
    """Columns as the files ``x.npy``, ``f.npy``, ... of a new folder. Until it is sealed each says that it is empty."""

    def __init__(self, folder: str | Path, records: int) -> None:
        self.folder, self.first = Path(folder), min(records, BLOCK)
        self._made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise BadValue(f"record_to: {self.folder} is not empty; give the name of a new folder")
        except OSError as error:
            raise BadValue(f"record_to: cannot make the folder {self.folder}: {error.strerror}") from error

    def column(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        with self._file(name).open("wb") as file:
            _write_header(file, (0, *shape), dtype)
        return self._mapped(name, (self.first, *shape), dtype)

    def longer(self, name: str, column: Array, length: int) -> Array:
        return self._mapped(name, (length, *column.shape[1:]), column.dtype)

    def cut(self, column: Array, length: int) -> Array:
        return column[:length]

    def sealed(self, columns: dict[str, Array]) -> dict[str, Array]:
        """Cut the files to the records that there are and say so in them; the columns as they lie on disk."""
        for name, column in columns.items():
            with self._file(name).open("r+b") as file:
                file.truncate(HEADER + column.nbytes)
                _write_header(file, column.shape, column.dtype)
                os.fsync(file.fileno())
        return opened(self.folder, tuple(columns))

    def complete(self, run: Whole) -> None:
        run.save_rest(self.folder)

    def remove(self) -> None:
        for file in self.folder.glob("*.npy"):
            file.unlink()
        if self._made:
            self.folder.rmdir()

    def _mapped(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        path, size = self._file(name), HEADER + math.prod(shape) * dtype.itemsize
        try:
            # a file with holes would end the process when the disk is full, so its blocks are taken now
            with path.open("r+b") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(path, dtype, "r+", HEADER, shape)
        except OSError as error:
            raise MemoryError(f"{path} cannot grow to {readable(size)}: {error.strerror}") from error

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def opened(folder: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """The columns of a Trajectory in a folder; they stay on disk. Positions lie there as ``(T, D, B)``."""
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    return columns | {"x": columns["x"].swapaxes(1, 2)}


def storage(rows: int, record: int, records: int, folder: str | Path | None, cure: Callable[[int], str]) -> Storage:
    """A place for at most so many records, each of `record` bytes for all rows.

    Raises BadValue where the worst case does not fit; `cure` says what to do where only so many records would.
    """
    if folder is not None and not isinstance(folder, (str, Path)):
        raise BadValue(f"record_to = {folder!r} must be the name of a new folder")
    check_fits(
        f"the record of this run ({rows} row(s), {records} records)",
        float(min(records, LONG) * record),
        lambda room: cure(int(room / record)),
        available if folder is None else lambda: _free_on_disk(Path(folder)),
        "of memory" if folder is None else "on that disk",
    )
    return InMemory(records) if folder is None else OnDisk(folder, records)


def _free_on_disk(folder: Path) -> float:
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return float(shutil.disk_usage(there).free)


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    file.seek(0)
    about = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    np.lib.format.write_array_header_1_0(file, about)
    assert file.tell() == HEADER
