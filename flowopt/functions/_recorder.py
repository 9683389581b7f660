"""Collects what happens in a run and lays it out as a Trajectory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from flowopt.core._sentences import Sentences
from flowopt.core.errors import BadValue
from flowopt.functions._columns import BLANKS, COLUMNS, KINDS, Array, Columns, in_order
from flowopt.functions._storage import Storage, storage
from flowopt.functions._trajectory import Trajectory

STAGE, SMALL = 256, 1000
"""The records of a batch of up to SMALL rows are written STAGE at a time: a copy for each would cost as much as the
step itself, and a long list of small tensors is work for Python's garbage collector, which walks over it."""

BALLAST = 16
"""Vectors of all rows whose memory is held back for the end of a run that runs out of it."""


class Messages(Sentences):
    """Why each row stopped, row by row, out of the chunks in which the rows stopped."""

    def __init__(self, chunks: list[Sequence[str]], chunk: Array, place: Array) -> None:
        self._chunks, self._chunk, self._place = chunks, chunk, place

    def __len__(self) -> int:
        return len(self._chunk)

    def sentence(self, index: int) -> str:
        return self._chunks[int(self._chunk[index])][int(self._place[index])]


class Recorder:
    """Keeps the records of the rows that are still running; rows leave it for good when they stop.

    Each column is one growing array in its final place, ``(capacity, B)`` or, for the position, ``(capacity, D, B)``,
    coordinate by coordinate, as a narrow batch is stored, so that writing a record is a plain copy.

    `longest` is the most attempts that there will be; with `to` the columns lie in that new folder. Used in a `with`
    block, it leaves nothing on disk if the block raises. Raises BadValue where the records would not fit.
    """

    def __init__(
        self,
        size: int,
        dim: int,
        every: int,
        dtype: torch.dtype = torch.float64,
        *,
        longest: int,
        to: str | Path | None = None,
    ) -> None:
        self.size, self.every = size, every
        self.active = torch.arange(size)
        self.stopped_at = np.zeros(size, dtype=np.int64)
        self.status = np.zeros(size, dtype=np.int8)
        shapes = {name: ((dim, size) if name == "x" else (size,), KINDS.get(name, dtype)) for name in COLUMNS}
        record = sum(math.prod(shape) * kind.itemsize for shape, kind in shapes.values())
        self._most = 2 + (longest // every if every else 0)
        self._storage = storage(size, record, self._most, to, lambda fits: self._cure(fits, longest, to))
        try:
            self._columns = {
                name: _Column(self._storage, name, shape, _numpy(kind)) for name, (shape, kind) in shapes.items()
            }
        except MemoryError as error:
            self._storage.remove()
            cure = self._cure(2, longest, to)
            raise BadValue(f"there is no room for the record of this run: {error}; {cure}") from error
        self._room = self._storage.first
        self._ballast: Array | None = np.empty(BALLAST * size * dim)
        self._attempts: list[int] = []
        self._staged: list[Columns[Any]] = []
        self._retired: list[tuple[Array, int, dict[str, Array]]] = []
        self._final: dict[str, Array] = {}
        self._messages: list[Sequence[str]] = []
        self._chunk = np.zeros(size, dtype=np.int64)
        self._place = np.zeros(size, dtype=np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._storage.remove()

    def wants(self, attempt: int) -> bool:
        """Whether this attempt is to be recorded."""
        return attempt == 0 or (self.every > 0 and attempt % self.every == 0)

    def add(self, attempt: int, entry: Columns[Any]) -> None:
        """Record the running rows, of which an entry has numbers ``(A,)``, one for all, or None: nothing is known.

        Raises MemoryError, and records nothing, where there is no room for more.
        """
        self._make_room(len(self._attempts) + 2)  # one more for the end
        self._attempts.append(attempt)
        self._staged.append(entry)
        if self.size > SMALL or len(self._staged) == STAGE:
            self._write()

    def retire(
        self,
        rows: Tensor,
        attempt: int,
        code: Tensor,
        messages: Sequence[str],
        entry: Columns[Any],
        final: dict[str, Tensor],
    ) -> None:
        """Some running rows, ``(A,)`` bool, stop for good after this attempt, with a status code and a message each.

        Their values in the entry and in `final`, which are those of all running rows, become their end.
        """
        self._write()
        gone = self.active[rows].numpy()
        self.status[gone] = code.numpy()
        self.stopped_at[gone] = attempt
        self._chunk[gone], self._place[gone] = len(self._messages), np.arange(len(gone))
        self._messages.append(messages)
        end = {
            name: value.numpy()[rows.numpy()] if isinstance(value, Tensor) else np.asarray(value)
            for name, value in entry.named().items()
            if value is not None
        }
        self._retired.append((gone, len(self._attempts), end))
        for name, value in final.items():
            if name not in self._final:
                self._final[name] = np.zeros((self.size, *value.shape[1:]), dtype=value.numpy().dtype)
            self._final[name][gone] = value.numpy()[rows.numpy()]
        self.active = self.active[~rows]

    def out_of_memory(self) -> None:
        """Let go of memory that was held back, so that what was done can be handed over."""
        self._ballast = None

    def trajectory(self, about: dict[str, Any]) -> Trajectory:
        """Lay the records out; every row must have been retired."""
        last = int(self.stopped_at.max(initial=0))
        if self._attempts[-1] != last:  # the final points always stand in the last record
            self._attempts.append(last)
        attempts = np.array(self._attempts, dtype=np.int64)
        columns = {name: column.cut(len(attempts)) for name, column in self._columns.items()}
        for gone, after, end in self._retired:
            # a row that stopped between two records, or before the last one, shows its end from then on
            ends_here = attempts[after:] == self.stopped_at[gone[0]]
            for name, array in columns.items():
                tail = array[after:]
                if name in BLANKS:
                    tail[..., gone] = BLANKS[name]
                    if ends_here.any() and name in end:
                        tail[np.ix_(ends_here, gone)] = end[name]
                elif name in end:
                    tail[..., gone] = end[name].T
        laid_out: dict[str, Any] = self._storage.sealed(columns)
        run = Trajectory(
            **laid_out,
            attempt=attempts,
            status=self.status,
            message=Messages(self._messages, self._chunk, self._place),
            steps=self.stopped_at,
            evaluations={kind: self._final[kind] for kind in ("gradient", "value", "hvp")},
            best_f=self._final["best_f"],
            best_x=self._final["best_x"],
            average=self._final.get("average"),
            average_f=self._final.get("average_f"),
            about=about,
        )
        self._storage.complete(run)
        return run

    def _cure(self, fitting: int, longest: int, to: str | Path | None) -> str:
        """What to do where only so many records fit."""
        if fitting < 2:
            return "not even the ends of these rows would fit: run fewer rows at a time"
        every = math.ceil(longest / (fitting - 2)) if fitting > 2 else longest
        thinner = f"keep fewer records (record_every={every}) or " if self.every < every < longest else ""
        on_disk = ", write it to disk as it grows (record_to='a new folder')" if to is None else ""
        return f"{thinner}keep only the ends (record_every=0){on_disk}, or make fewer steps"

    def _make_room(self, records: int) -> None:
        """For so many records. Columns that have grown already stay so if there is no memory for the next."""
        if records > self._room:
            room = max(records, min(2 * self._room, self._most))
            for column in self._columns.values():
                column.reserve(room)
            self._room = room

    def _write(self) -> None:
        if not self._staged:
            return
        start = len(self._attempts) - len(self._staged)
        for column, values in zip(self._columns.values(), zip(*map(in_order, self._staged), strict=True), strict=True):
            if len(values) > 1 and isinstance(values[0], Tensor):
                column.write_many(start, values, self.active)
            elif len(values) > 1 and isinstance(values[-1], int):
                column.write_numbers(start, values)
            else:
                for i, value in enumerate(values):
                    column.write(start + i, value, self.active)
        self._staged = []


class _Column:
    """A growing array of records."""

    def __init__(self, place: Storage, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._storage, self._name = place, name
        self.array = place.column(name, shape, dtype)
        self._tensor = torch.from_numpy(self.array)

    def write(self, index: int, value: Any, active: Tensor) -> None:
        """One record of the active rows."""
        place = self._tensor[index]
        if not isinstance(value, Tensor):
            place.fill_(torch.nan if value is None else value)
        elif len(active) == place.shape[-1]:
            place.copy_(value.mT if value.ndim == 2 else value)
        else:
            place.index_copy_(-1, active, value.mT if value.ndim == 2 else value)

    def write_many(self, start: int, values: tuple[Tensor, ...], active: Tensor) -> None:
        """Records from `start` on, all of tensors."""
        place = self._tensor[start : start + len(values)]
        stacked = torch.stack(values)
        place.index_copy_(-1, active, stacked.mT if stacked.ndim == 3 else stacked)

    def write_numbers(self, start: int, values: tuple[int, ...]) -> None:
        """Records from `start` on, each the same for all rows; rows that have left get their end in the end."""
        self._tensor[start : start + len(values)] = torch.tensor(values, dtype=self._tensor.dtype).unsqueeze(-1)

    def cut(self, length: int) -> Array:
        """The first records; nothing is written to it from then on but into these."""
        self.array = self._storage.cut(self.array, length)
        return self.array

    def reserve(self, length: int) -> None:
        """Make room for so many records."""
        if length > len(self.array):
            self.array = self._storage.longer(self._name, self.array, length)
            self._tensor = torch.from_numpy(self.array)


def _numpy(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype
