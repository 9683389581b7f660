"""Tables for people: what a list, a run or a comparison shows on a terminal."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np
import torch
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowopt.listing import Listed
from flowopt.problems.problem import Problem
from flowopt.state import Status
from flowopt.trajectory import Trajectory

WIDE = 150
"""Columns where there is no terminal to ask."""
ROWS = 12
"""Rows of a run that a table shows one by one; of more it shows how they ended."""


def console(file: IO[str] | None = None) -> Console:
    """A console on that file (standard output by default), wide enough for a table where it is not a terminal."""
    file = file or sys.stdout
    width = None if file.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(file=file, width=width, highlight=False)


def render(content: RenderableType) -> str:
    """What a terminal would show, as plain text."""
    text = io.StringIO()
    Console(file=text, width=WIDE, highlight=False).print(content)
    return text.getvalue()


def number(value: float | None) -> str:
    """A number in few digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.5g}"


def listing_table(kind: str, lines: Iterable[Listed]) -> Table:
    """Names, one line of explanation, sources."""
    table = Table(title=kind, title_justify="left")
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what it is")
    table.add_column("source")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def runs_table(runs: Mapping[str, Trajectory], problem: Problem) -> RenderableType:
    """How each row of each run ended; of a run with many rows, how many ended in which way."""
    few = all(run.rows <= ROWS for run in runs.values())
    height = "f" if problem.minimum is None else "f - minimum"
    heads = ("row", "") if few else ("rows", "median ")
    table = Table(title=f"{problem.name}", title_justify="left")
    table.add_column("method", no_wrap=True, style="bold")
    for head in (heads[0], heads[1] + height, heads[1] + "|grad f|", heads[1] + "distance", heads[1] + "steps"):
        table.add_column(head, justify="right")
    table.add_column("evaluations" if few else "median evaluations", justify="right")
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


def comparison_table(rows: Iterable[Mapping[str, Any]], problem: Problem, max_steps: int) -> RenderableType:
    """One line a contestant; notes below."""
    low = problem.minimum
    height = "f" if low is None else "f - minimum"
    table = Table(title=f"{problem.name}, at most {max_steps} steps", title_justify="left")
    table.add_column("method", no_wrap=True, style="bold")
    for head in (f"final {height}", f"best {height}", "distance to minimiser", "gradients", "evaluations", "steps"):
        table.add_column(head, justify="right")
    table.add_column("status", no_wrap=True)
    table.add_column("from its own flow: max", justify="right")
    table.add_column("median", justify="right")
    notes: dict[str, list[str]] = {}
    for row in rows:
        mark = ""
        if row["note"]:
            notes.setdefault(row["note"], []).append(row["name"])
            mark = f" [{list(notes).index(row['note']) + 1}]"
        if "status" not in row:
            table.add_row(Text(row["name"] + mark), *["-"] * 6, "not run", "-", "-")
            continue
        deviation = row.get("deviation", {})
        table.add_row(
            Text(row["name"] + mark),
            *(number(row[key] - (low or 0.0)) for key in ("final_f", "best_f")),
            number(row["distance"]),
            *(str(count) for count in (row["evaluations"]["gradient"], row["cost"], row["steps"])),
            row["status"],
            *(number(deviation.get(key)) for key in ("max", "median")),
        )
    lines = [f"[{i}] {', '.join(names)}: {note}" for i, (note, names) in enumerate(notes.items(), start=1)]
    return Group(table, *map(Text, lines))


def _by_status(run: Trajectory) -> list[np.ndarray[Any, Any]]:
    return [np.flatnonzero(run.status == code) for code in np.unique(run.status)]
