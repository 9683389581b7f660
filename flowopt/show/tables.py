"""Tables for people: what a list, a run or a comparison shows on a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np
import torch
from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flowopt.core._numbers import number
from flowopt.core.state import Status
from flowopt.functions._trajectory import Trajectory
from flowopt.problems._problem import Problem
from flowopt.show._listing import Listed

WIDE = 150
"""Columns where there is no terminal to ask."""
ROWS = 12
"""Rows of a run that a table shows one by one; of more it shows how they ended."""


def show(content: RenderableType, file: IO[str] | None = None) -> None:
    """Print to that file (standard output by default).

    A table of numbers is never cut to the terminal's width: it is wider then, and the terminal folds its lines.
    """
    file = file or sys.stdout
    asked = file.isatty() or "COLUMNS" in os.environ
    console = Console(file=file, width=None if asked else WIDE, highlight=False)
    for part in content.renderables if isinstance(content, Group) else [content]:
        if isinstance(part, Table) and all(column.no_wrap for column in part.columns):
            console.width = max(
                console.width, Measurement.get(console, console.options.update(width=1000), part).maximum
            )
    console.print(content)


def render(content: RenderableType) -> str:
    """What `show` prints, as plain text."""
    text = io.StringIO()
    show(content, text)
    return text.getvalue()


def listing_table(kind: str, lines: Iterable[Listed]) -> Table:
    """Names, one line of explanation, sources."""
    table = table_of(kind)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what it is")
    table.add_column("source")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def runs_table(runs: Mapping[str, Trajectory], problem: Problem) -> RenderableType:
    """How each row of each run ended; of a run with many rows, how many ended in which way."""
    few = all(run.rows <= ROWS for run in runs.values())
    height = "f" if problem.minimum is None else "f - min"
    table = table_of(problem.name)
    table.add_column("method", no_wrap=True, style="bold")
    numbers(table, "row" if few else "rows")
    numbers(table, *(head if few else f"median\n{head}" for head in (height, "|grad f|", "distance", "steps", "evals")))
    table.add_column("status", no_wrap=True)
    for name, run in runs.items():
        away = problem.distance(torch.as_tensor(run.final_x)).numpy()
        columns = (run.final_f - (problem.minimum or 0.0), run.grad_norm[-1], away, run.steps, run.cost[-1])
        groups = [np.array([row]) for row in range(run.rows)] if few else _by_status(run)
        for group in groups:
            words = Status(int(run.status[group[0]])).words
            figures = [number(float(np.median(column[group]))) for column in columns]
            table.add_row(Text(name), str(group[0] if few else len(group)), *figures, words)
    endings = [
        Text(f"{name}{f' row {row}' if run.rows > 1 else ''}: {run.message[row]}")
        for name, run in runs.items()
        if run.rows <= 3
        for row in range(run.rows)
    ]
    return Group(table, *endings)


def table_of(title: str) -> Table:
    """An empty table in the style of the house."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def numbers(table: Table, *heads: str) -> None:
    """Add columns of numbers."""
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)


def _by_status(run: Trajectory) -> list[np.ndarray[Any, Any]]:
    return [np.flatnonzero(run.status == code) for code in np.unique(run.status)]
