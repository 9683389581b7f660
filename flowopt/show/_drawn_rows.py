"""Which rows of which runs a picture shows, each with its colour, dashes and marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D

from flowopt.core.state import Status
from flowopt.functions._trajectory import Trajectory
from flowopt.show import style

FEW = 6
"""Up to this many rows of a single run are told apart; more are coloured by how they ended."""

Runs = Trajectory | Mapping[str, Trajectory] | Sequence[Trajectory]


class DrawnRow(NamedTuple):
    """One row of one run."""

    run: Trajectory
    """A Trajectory of this row alone."""
    look: style.Look
    label: str
    """Empty for a row that the legend has an entry for already."""
    thin: bool


def named(runs: Runs) -> dict[str, Trajectory]:
    """Runs by label; those without one are named after their method, numbered where that name is taken."""
    if isinstance(runs, Mapping):
        return dict(runs)
    found: dict[str, Trajectory] = {}
    for run in [runs] if isinstance(runs, Trajectory) else runs:
        base = label = str(run.about.get("method", "run"))
        number = 2
        while label in found:
            label, number = f"{base} ({number})", number + 1
        found[label] = run
    return found


def drawn_rows(runs: Mapping[str, Trajectory], limit: int) -> list[DrawnRow]:
    """The rows that a picture shows, at most about `limit`, drawn at random but always the same ones.

    One run: a look for each of up to six rows, else colours by how the rows ended. Several: a look for each run.
    """
    share = max(1, limit // max(1, len(runs)))
    members = []
    for number, (name, run) in enumerate(runs.items()):
        for place, row in enumerate(_some(run.rows, share)):
            look, label = style.look(number), "" if place else f"{name}: {ending(run)}" if len(runs) > 1 else name
            if len(runs) == 1 and 1 < run.rows <= FEW:
                look, label = style.look(row), f"row {row}: {Status(int(run.status[row])).words}"
            elif len(runs) == 1 and run.rows > FEW:
                colour, marker = style.STATUS_LOOK[Status(int(run.status[row]))]
                look, label = style.Look(colour, "-", marker), ""
            members.append(DrawnRow(run.row(row), look, label, run.rows > FEW))
    return members


def ending(run: Trajectory) -> str:
    """How the rows of a run ended, in few words."""
    codes, counts = np.unique(run.status, return_counts=True)
    words = [Status(code).words for code in codes.tolist()]
    if run.rows == 1:
        return words[0]
    return ", ".join(f"{count} {word}" for count, word in zip(counts.tolist(), words, strict=True))


def legend(runs: Mapping[str, Trajectory], members: Sequence[DrawnRow]) -> list[Line2D]:
    """Legend entries of the members, or of the endings where those give the colours."""
    if any(member.label for member in members):
        return [_entry(member.look, member.label) for member in members if member.label]
    (run,) = runs.values()
    entries: list[Line2D] = []
    for code, count in zip(*(array.tolist() for array in np.unique(run.status, return_counts=True)), strict=True):
        colour, marker = style.STATUS_LOOK[Status(code)]
        entries.append(_entry(style.Look(colour, "-", marker), f"{Status(code).words} ({count} rows)"))
    return entries


def _some(count: int, limit: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    return sorted(np.random.default_rng(0).choice(count, limit, replace=False).tolist())


def _entry(look: style.Look, label: str) -> Line2D:
    return Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=5, label=label)
