"""One picture of many methods: how low, how far from the own flow, and along which path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from flowopt.plots import contours, style
from flowopt.plots.cast import Member
from flowopt.problems import Problem
from flowopt.state import Status
from flowopt.trajectory import Trajectory

Array = NDArray[Any]

POINTS = 161
"""Grid points per axis of a small picture."""
ACROSS = 6
"""Small pictures side by side."""


def comparison(
    runs: Mapping[str, Trajectory],
    deviations: Mapping[str, tuple[Array, Array]],
    problem: Problem,
    reference: str,
    path: str | Path | None = None,
) -> Figure:
    """Best f so far against evaluations, distance from the own flow against time, and for D = 2 each path.

    `deviations` holds times and distances ``(K,)`` by name; `reference` names the run that is the reference flow.
    Names with a colon, ``"library:name"``, are drawn in a panel of their own, beside the others. Writes to `path` if
    given, and returns the Figure.
    """
    looks = {name: style.look(number) for number, name in enumerate(name for name in runs if name != reference)}
    flat = bool(runs) and all(run.x.shape[-1] == 2 for run in runs.values())
    lines = math.ceil(len(looks) / ACROSS) if flat else 0
    upper = 5.6
    with style.figure(16.0, upper + 2.75 * lines, f"{problem.name}: {len(looks)} methods from one start") as drawn:
        parts = drawn.subfigures(1 + flat, 1, squeeze=False, height_ratios=(upper, 2.75 * lines)[: 1 + flat])[:, 0]
        if flat:
            _paths(parts[1], runs, looks, problem, reference)
        left, middle, right = parts[0].subplots(1, 3)
        middle.sharey(left)
        height = "best f so far" if problem.minimum is None else "best f - minimum so far"
        _race(left, {name: run for name, run in runs.items() if name in looks and ":" not in name}, looks, problem)
        left.set(title="methods of the papers and their relatives", ylabel=height)
        _race(middle, {name: run for name, run in runs.items() if ":" in name}, looks, problem)
        middle.set(title="torch.optim and SciPy")
        _distances(right, deviations, looks)
        right.set(title="distance from the reference solution of the own flow", ylabel="|x(t) - x_ref(t)|")
    return style.write(drawn, path)


def _race(axes: Axes, runs: Mapping[str, Trajectory], looks: Mapping[str, style.Look], problem: Problem) -> None:
    handles = []
    for name, run in runs.items():
        row = run.row(0)
        cost, best = row.cost[:, 0], np.fmin.accumulate(row.f[:, 0]) - (problem.minimum or 0.0)
        good = np.isfinite(best) & (cost > 0) & ((best > 0) | (problem.minimum is None))
        look = looks[name]
        axes.plot(cost[good], best[good], color=look.colour, ls=look.dash, lw=1.4)
        if good.any():
            last = np.flatnonzero(good)[-1]
            axes.plot(cost[last], best[last], color=look.colour, marker=look.marker, ms=5, ls="")
        handles.append(Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=4, label=name))
    axes.set(xlabel="evaluations", xscale="log")
    if problem.minimum is not None:
        axes.set_yscale("log")
    _legend(axes, handles)


def _distances(axes: Axes, deviations: Mapping[str, tuple[Array, Array]], looks: Mapping[str, style.Look]) -> None:
    handles = []
    for name, (t, distance) in deviations.items():
        look = looks[name]
        good = distance > 0
        if not good.any():
            continue
        axes.plot(t[good], distance[good], color=look.colour, ls=look.dash, lw=1.2)
        axes.plot(t[good][-1], distance[good][-1], color=look.colour, marker=look.marker, ms=5, ls="")
        handles.append(Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=4, label=name))
    if handles:
        axes.set(xscale="log", yscale="log", xlabel="time of the flow")
        _legend(axes, handles)
    else:
        style.note(axes, "no method has a reference solution here")


def _legend(axes: Axes, handles: list[Line2D]) -> None:
    if handles:
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8.5
        )


def _paths(
    part: SubFigure,
    runs: Mapping[str, Trajectory],
    looks: Mapping[str, style.Look],
    problem: Problem,
    reference: str,
) -> None:
    lines = math.ceil(len(looks) / ACROSS)
    grid = part.subplots(lines, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    members = [Member(runs[name].row(0), look, name, False) for name, look in looks.items()]
    tracks = contours.tracks(members)
    relief = contours.survey(problem, contours.window(problem, tracks, wide=False), POINTS)
    for axes, member, track in zip(grid, members, tracks, strict=False):
        contours.shade(axes, relief)
        if reference in runs:
            contours.trace_reference(axes, runs[reference])
        leaves = contours.trace(axes, track, relief.window)
        status = Status(int(member.run.status[0])).words
        axes.set_title(f"{member.label}: {status}" + (", leaves the window" if leaves else ""), fontsize=9)
    for axes in grid[len(looks) :]:
        axes.axis("off")
    if reference in runs:
        part.supxlabel(f"x[1] over x[0]; black dashes: {reference}; star: minimiser; circle: start", fontsize=10)
