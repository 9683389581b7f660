"""Collects what happens in a run and lays it out as a Trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.trajectory import Trajectory

Array = NDArray[Any]
COLUMNS = ("x", "f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost")

CHUNK, SMALL = 256, 1000
"""The records of a small batch are stacked every so often: Python's garbage collector would walk over a long list of
small tensors again and again. A large batch is stacked once, at the end, straight into its place."""
SAME_AS_F = "f"
"""Stands for an energy column that is the column of f (gradient flows)."""


class Messages(Sequence[str]):
    """Why each row stopped: sentences that are only put together when somebody reads them."""

    def __init__(self, chunks: list[Sequence[str]], chunk: Array, place: Array) -> None:
        self._chunks, self._chunk, self._place = chunks, chunk, place

    def __len__(self) -> int:
        return len(self._chunk)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._chunks[self._chunk[index]][int(self._place[index])]


class Recorder:
    """Keeps the records of the rows that are still running; rows leave it for good when they stop.

    Within a stretch in which no row stops the records are only appended; the arrays are laid out once, at the end.
    """

    def __init__(self, size: int, dim: int, every: int) -> None:
        self.size, self.dim, self.every = size, dim, every
        self.active = torch.arange(size)
        self._attempts: list[int] = []
        self._stretches: list[tuple[Tensor, int, int, list[Any]]] = []
        self._stretch: list[tuple[Any, ...]] = []
        self._final: dict[str, Array] = {}
        self.stopped_at = np.zeros(size, dtype=np.int64)
        self.status = np.zeros(size, dtype=np.int8)
        self._messages: list[Sequence[str]] = []
        self._chunk = np.zeros(size, dtype=np.int64)
        self._place = np.zeros(size, dtype=np.int64)

    def wants(self, attempt: int) -> bool:
        """Whether this attempt is to be recorded."""
        return self.every > 0 and attempt % self.every == 0

    def add(self, attempt: int, entry: tuple[Any, ...]) -> None:
        """Record the running rows; the entry follows COLUMNS (None: nothing known; a number: the same for all rows)."""
        self._attempts.append(attempt)
        self._stretch.append(entry)
        if len(self._stretch) >= CHUNK and self.size <= SMALL:
            self._close()

    def retire(
        self,
        rows: Tensor,
        attempt: int,
        code: Tensor,
        messages: Sequence[str],
        entry: tuple[Any, ...],
        final: dict[str, Tensor],
    ) -> None:
        """Some running rows, ``(A,)`` bool, stop for good after this attempt, with a status code and a message each.

        Their values in the entry and in `final`, which are those of all running rows, become their end.
        """
        gone = self.active[rows].numpy()
        self.status[gone] = code.numpy()
        self._chunk[gone], self._place[gone] = len(self._messages), np.arange(len(gone))
        self._messages.append(messages)
        self.stopped_at[gone] = attempt
        for name, value in (*zip(COLUMNS, entry, strict=True), *final.items()):
            if value is None:
                continue
            column = _array(value)
            if name not in self._final:
                self._final[name] = np.zeros((self.size, *column.shape[1:]), dtype=column.dtype)
            self._final[name][gone] = column[rows.numpy()] if column.ndim else column
        self._close()
        self.active = self.active[~rows]

    def trajectory(self, about: dict[str, Any]) -> Trajectory:
        """Lay the records out; every row must have been retired."""
        self._close()
        last = int(self.stopped_at.max(initial=0))
        attempts = list(self._attempts)
        if not attempts or attempts[-1] != last:  # the final points always stand in the last record
            attempts.append(last)
        columns: dict[str, Array] = {}
        for name in COLUMNS:
            same = name == "energy" and all(stretch[-1][COLUMNS.index(name)] is SAME_AS_F for stretch in self._stretches)
            columns[name] = columns["f"] if same else self._lay_out(name, len(attempts))
        after = np.array(attempts)[:, None] > self.stopped_at[None, :]
        if after.any():
            for name, blank in (("h", np.nan), ("error", np.nan), ("accepted", False)):
                columns[name][after] = blank
        kinds = ("gradient", "value", "hvp")
        return Trajectory(
            **columns,
            attempt=np.array(attempts, dtype=np.int64),
            status=self.status,
            message=Messages(self._messages, self._chunk, self._place),
            steps=self.stopped_at,
            evaluations={kind: self._final[kind] for kind in kinds},
            best_f=self._final["best_f"],
            average=self._final.get("average"),
            average_f=self._final.get("average_f"),
            about=about,
        )

    def _close(self) -> None:
        """End a stretch of records of the same rows, and keep it column by column."""
        if self._stretch:
            start = len(self._attempts) - len(self._stretch)
            columns: list[Any] = list(zip(*self._stretch, strict=True))
            f, energy = COLUMNS.index("f"), COLUMNS.index("energy")
            if all(a is b for a, b in zip(columns[f], columns[energy], strict=True)):
                columns[energy] = SAME_AS_F
            if self.size <= SMALL:
                columns = [c if c is SAME_AS_F else _stack(c, len(self.active)) for c in columns]
            self._stretches.append((self.active, start, len(self._stretch), columns))
            self._stretch = []

    def _lay_out(self, name: str, length: int) -> Array:
        """One column, (length, B) or (length, B, D): what was recorded while a row ran, its end afterwards."""
        column = COLUMNS.index(name)
        final = self._final.get(name)
        if final is None:  # nothing is known of it
            return np.full((length, self.size), np.nan)
        end = torch.from_numpy(final.T)
        # the position is kept coordinate by coordinate, as a narrow batch is, so that stacking it is one plain copy
        array = torch.empty((length, *end.shape), dtype=end.dtype)
        filled = 0
        for active, start, count, columns in self._stretches:
            filled = start + count
            part = array[start:filled]
            values = columns[column]
            if values is SAME_AS_F:
                values = columns[COLUMNS.index("f")]
            stacked = values if isinstance(values, Tensor) else _stack(values, len(active))
            stacked = stacked.mT if name == "x" else stacked
            if len(active) == self.size:
                part.copy_(stacked)
            else:
                part.copy_(end)
                part.index_copy_(-1, active, stacked.to(end.dtype))
        if filled < length:
            array[filled:] = end
        return np.asarray((array.mT if name == "x" else array).numpy())


def _array(value: Any) -> Array:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _stack(values: Sequence[Any], width: int) -> Tensor:
    if isinstance(values[-1], Tensor) and isinstance(values[0], Tensor):
        return torch.stack(tuple(values))
    rows = [torch.as_tensor(torch.nan if value is None else value) for value in values]
    return torch.stack([row.expand(width) for row in rows])
