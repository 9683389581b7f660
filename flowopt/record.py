"""Collects what happens in a run and lays it out as a Trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.trajectory import Trajectory

Array = NDArray[Any]
COLUMNS = ("x", "f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost")


class Recorder:
    """Keeps the records of the rows that are still running; rows leave it for good when they stop.

    Within a stretch in which no row stops the records are only appended; the arrays are laid out once, at the end.
    """

    def __init__(self, size: int, dim: int, every: int) -> None:
        self.size, self.dim, self.every = size, dim, every
        self.active = torch.arange(size)
        self._attempts: list[int] = []
        self._stretches: list[tuple[Array, int, list[tuple[Any, ...]]]] = []
        self._stretch: list[tuple[Any, ...]] = []
        self._final: dict[str, Array] = {}
        self.stopped_at = np.zeros(size, dtype=np.int64)
        self.status = np.zeros(size, dtype=np.int8)
        self.message = [""] * size

    def wants(self, attempt: int) -> bool:
        """Whether this attempt is to be recorded."""
        return self.every > 0 and attempt % self.every == 0

    def add(self, attempt: int, entry: tuple[Any, ...]) -> None:
        """Record the running rows; the entry follows COLUMNS (None: nothing known; a number: the same for all rows)."""
        self._attempts.append(attempt)
        self._stretch.append(entry)

    def retire(
        self,
        rows: Tensor,
        attempt: int,
        code: Tensor,
        messages: list[str],
        entry: tuple[Any, ...],
        counts: dict[str, Tensor],
    ) -> None:
        """Some running rows, ``(A,)`` bool, stop for good after this attempt, with a status code and a message each.

        Their values in the entry and the counts, which are those of all running rows, become their end.
        """
        gone = self.active[rows].numpy()
        self.status[gone] = code.numpy()
        for number, message in zip(gone.tolist(), messages, strict=True):
            self.message[number] = message
        self.stopped_at[gone] = attempt
        for name, value in (*zip(COLUMNS, entry, strict=True), *counts.items()):
            if value is None:
                continue
            column = _array(value)
            if name not in self._final:
                shape = (self.size, self.dim) if name == "x" else (self.size,)
                self._final[name] = np.zeros(shape, dtype=column.dtype)
            self._final[name][gone] = column[rows.numpy()] if column.ndim else column
        self._close()
        self.active = self.active[~rows]

    def trajectory(self, about: dict[str, Any]) -> Trajectory:
        """Lay the records out; every row must have been retired."""
        last = int(self.stopped_at.max(initial=0))
        attempts = np.array(self._attempts, dtype=np.int64)
        columns: dict[str, Any] = {name: self._lay_out(name) for name in COLUMNS}
        if attempts.size == 0 or attempts[-1] != last:  # the final points always stand in the last record
            attempts = np.append(attempts, last)
            columns = {
                name: np.concatenate([array, np.zeros((1, *array.shape[1:]), array.dtype)])
                for name, array in columns.items()
            }
            ended_here = attempts[:, None] >= self.stopped_at[None, :]
        else:
            ended_here = attempts[:, None] > self.stopped_at[None, :]
        after = attempts[:, None] > self.stopped_at[None, :]
        for name, array in columns.items():
            if name in self._final:
                mask = ended_here[..., None] if name == "x" else ended_here
                np.copyto(array, self._final[name][None], where=mask)
            if name in ("h", "error"):
                array[after] = np.nan
            elif name == "accepted":
                array[after] = False
        kinds = ("gradient", "value", "hvp")
        return Trajectory(
            **columns,
            attempt=attempts,
            status=self.status,
            message=self.message,
            steps=self.stopped_at,
            evaluations={kind: self._final[kind] for kind in kinds},
            best_f=self._final["best_f"],
            about=about,
        )

    def _close(self) -> None:
        if self._stretch:
            start = len(self._attempts) - len(self._stretch)
            self._stretches.append((self.active.numpy(), start, self._stretch))
            self._stretch = []

    def _lay_out(self, name: str) -> Array:
        column = COLUMNS.index(name)
        shape = (len(self._attempts), self.size) + ((self.dim,) if name == "x" else ())
        kind = np.bool_ if name == "accepted" else np.int64 if name == "cost" else None
        array: Array | None = None
        for active, start, entries in self._stretches:
            values = _stack([entry[column] for entry in entries], len(active))
            if values is None:
                continue
            if array is None:
                blank = np.nan if kind is None else 0
                array = np.full(shape, blank, dtype=kind or values.dtype)
            whole = len(active) == self.size
            array[start : start + len(entries), slice(None) if whole else active] = values
        if array is None:
            array = np.full(shape, np.nan, dtype=kind or np.float64)
        return array


def _array(value: Any) -> Array:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _stack(values: list[Any], width: int) -> Array | None:
    if all(value is None for value in values):
        return None
    if all(isinstance(value, Tensor) for value in values):
        return np.asarray(torch.stack(values).numpy())
    filled = [np.nan if value is None else _array(value) for value in values]
    return np.stack([np.broadcast_to(value, (width,)) for value in filled])
