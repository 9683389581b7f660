"""A Trajectory in long format, one line a record and row: for dataframes, and for CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flowopt.core._files import replacing
from flowopt.core.state import Status
from flowopt.functions._columns import COLUMNS, Array


class Recorded(Protocol):
    """What a Trajectory has of this."""

    attempt: Array
    steps: Array
    status: Array
    x: Array

    @property
    def rows(self) -> int:
        """How many rows."""


AT_A_TIME = 100_000
"""Lines of a CSV file that are put together at once, about."""


def kept(attempt: Array, steps: Array) -> Array:
    """Records ``(T, B)`` bool that are a row's own: those up to its end, and not its repetitions after that.

    Where it ended between two records the later one holds its end.
    """
    own = attempt[:, None] <= steps
    count = own.sum(0)
    between = np.flatnonzero((count < len(attempt)) & (attempt[count - 1] < steps))
    own[count[between], between] = True
    return np.asarray(own)


def columns(run: Recorded, rows: Array) -> dict[str, Array]:
    """The columns of these rows, ``(lines,)`` each: row after row, from its start to its end."""
    row, record = np.nonzero(kept(run.attempt, run.steps[rows]).T)
    row = rows[row]
    words = {int(code): Status(int(code)).words for code in np.unique(run.status[rows])}
    found = {"attempt": np.minimum(run.attempt[record], run.steps[row]), "row": row}
    found |= {f"x{i}": run.x[record, row, i] for i in range(run.x.shape[2])}
    found |= {name: getattr(run, name)[record, row] for name in COLUMNS if name != "x"}
    return found | {"status": np.array([words[int(code)] for code in run.status[row]], dtype=object)}


def write_csv(run: Recorded, path: str | Path) -> Path:
    """Write all lines, atomically; NaN is an empty cell."""
    target = Path(path)
    with replacing(target) as file:
        for text in _texts(run):
            file.write(text.encode())
    return target


def _texts(run: Recorded) -> Iterator[str]:
    together = max(1, AT_A_TIME // len(run.attempt))
    for first in range(0, run.rows, together):
        found = columns(run, np.arange(first, min(first + together, run.rows)))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if first == 0:
            writer.writerow(found)
        # NaN is the only number that differs from itself
        writer.writerows([value if value == value else "" for value in line] for line in _lines(found))
        yield text.getvalue()


def _lines(found: dict[str, Array]) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.tolist() for column in found.values()), strict=True)
