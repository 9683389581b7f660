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
from flowopt.plots.limits import fit
from flowopt.problems import Problem
from flowopt.state import Status
from flowopt.trajectory import Trajectory

Array = NDArray[Any]
Curve = tuple[Array, Array]
"""What runs along the horizontal axis, and the values, ``(n,)`` each."""

BLOW_UP = 1e4
"""The panel of distances is cut off at this many times the largest first one."""
POINTS = 161
"""Grid points per axis of a small picture."""
ACROSS = 7
"""Small pictures side by side."""


def comparison(
    runs: Mapping[str, Trajectory],
    deviations: Mapping[str, Curve],
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
        curves = {name: _best(runs[name], problem.minimum) for name in looks}
        kinds: tuple[dict[str, Curve], dict[str, Curve]] = ({}, {})
        for name, curve in curves.items():
            kinds[":" in name][name] = curve
        _lines(left, kinds[0], looks, "evaluations")
        _lines(middle, kinds[1], looks, "evaluations")
        if any(len(best) for _, best in curves.values()):
            fit(left, [best for _, best in curves.values() if len(best)])
        left.set(title="methods of the papers and their relatives", ylabel=height)
        middle.set(title="torch.optim and SciPy")
        away = {name: (t[distance > 0], distance[distance > 0]) for name, (t, distance) in deviations.items()}
        away = {name: curve for name, curve in away.items() if len(curve[0])}
        _lines(right, away, looks, "time of the flow")
        if away:
            fit(right, [distance for _, distance in away.values()], BLOW_UP)
        else:
            style.note(right, "no method has a reference solution here")
        right.set(title="distance from the reference solution of the own flow", ylabel="|x(t) - x_ref(t)|")
    return style.write(drawn, path)


def _best(run: Trajectory, minimum: float | None) -> Curve:
    """Evaluations, and the lowest f up to then, above the minimum where that is known."""
    row = run.row(0)
    cost, best = row.cost[:, 0], np.fmin.accumulate(row.f[:, 0])
    height = best - (minimum or 0.0)
    good = np.isfinite(height) & (cost > 0) & ((height > 0) | (minimum is None))
    return cost[good], height[good]


def _lines(axes: Axes, curves: Mapping[str, Curve], looks: Mapping[str, style.Look], along: str) -> None:
    handles = []
    for name, (at, values) in curves.items():
        look = looks[name]
        axes.plot(at, values, color=look.colour, ls=look.dash, lw=1.4)
        axes.plot(at[-1:], values[-1:], color=look.colour, marker=look.marker, ms=5, ls="")
        handles.append(Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=4, label=name))
    if handles:
        axes.set(xlabel=along, xscale="log")
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
    members = [Member(runs[name].row(0), look._replace(dash="-"), name, False) for name, look in looks.items()]
    tracks = contours.tracks(members)
    stage = (
        contours.tracks([Member(runs[reference].row(0), members[0].look, reference, False)])
        if reference in runs
        else tracks
    )
    relief = contours.survey(problem, contours.window(problem, stage), POINTS)
    for axes, member, track in zip(grid, members, tracks, strict=False):
        contours.shade(axes, relief)
        if reference in runs:
            contours.trace_reference(axes, runs[reference])
        leaves = contours.trace(axes, track, relief.window)
        status = Status(int(member.run.status[0])).words
        axes.set_title(f"{member.label}\n{status}" + (", leaves the window" if leaves else ""), fontsize=9)
    for axes in grid[len(looks) :]:
        axes.axis("off")
    dashes = f"black dashes: {reference}; " if reference in runs else ""
    part.suptitle(f"paths, x[1] over x[0] ({dashes}circle: start; star: minimiser)", fontsize=11)
