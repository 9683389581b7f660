"""Basins of attraction: where runs from a grid of starts end up, and what that costs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flowopt.core.errors import BadValue
from flowopt.core.state import Status
from flowopt.functions._trajectory import Trajectory
from flowopt.problems import Problem
from flowopt.problems._own import as_problem
from flowopt.show import style

Array = NDArray[Any]

NEAR = 1e-2
"""A row has found a minimiser if it ends within this share of the domain's diagonal of it."""

QUIET: dict[Status, str] = {
    Status.RUNNING: "#eeeeee",
    Status.CONVERGED: "#F0E442",
    Status.MAX_STEPS: "#d9d9d9",
    Status.TIME_REACHED: "#c9d6df",
    Status.STEP_TOO_SMALL: "#b5a99a",
    Status.NONFINITE: "#000000",
    Status.BELOW_F0: "#8f7f99",
    Status.DIVERGED: "#555555",
    Status.SOLVER_FAILED: "#7a5c3a",
    Status.INTERRUPTED: "#ffffff",
}
"""Colours of endings at no known minimiser; the minimisers have the palette's."""


def basins(run: Trajectory, problem: Problem | str, path: str | Path | None = None) -> Figure:
    """Two maps over the starts of a square grid: which minimiser each found or how else it ended, and its evaluations.

    The starts must be an N x N grid in two coordinates, the second running fastest, as `flowopt explore --grid` makes
    it. Writes to `path` if given, and returns the Figure. Raises BadValue for other starts.
    """
    known = as_problem(problem)
    first, second = _grid(run)
    side = len(first)
    colours, labels, kinds = _endings(run, known)
    title = f"{run.about.get('method', 'run')} on {known.name}: {side} x {side} starts"
    with style.figure(12.5, 6.0, title) as drawn:
        ends, costs = drawn.subplots(1, 2, sharex=True, sharey=True)
        ends.pcolormesh(
            first, second, kinds.reshape(side, side).T, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5
        )
        counts = np.bincount(kinds, minlength=len(labels)).tolist()
        entries = [
            Patch(color=colour, label=f"{label} ({count})")
            for colour, label, count in zip(colours, labels, counts, strict=True)
            if count
        ]
        cost = run.cost[-1].reshape(side, side).T
        norm = LogNorm() if cost.min() > 0 and cost.max() > 10 * cost.min() else None
        map_ = costs.pcolormesh(first, second, cost, cmap=colormaps["cividis"], norm=norm)
        drawn.colorbar(map_, ax=costs, label="evaluations until it stopped")
        for axes, name in ((ends, "where it ends"), (costs, "what it costs")):
            _dress(axes, known, name)
        drawn.legend(handles=entries, loc="outside lower center", ncols=min(4, len(entries)), frameon=False)
    return style.write(drawn, path)


def _grid(run: Trajectory) -> tuple[Array, Array]:
    starts = run.x[0]
    side = round(run.rows**0.5)
    if starts.shape[-1] == 2 and side > 1 and side * side == run.rows:
        first, second = starts[::side, 0], starts[:side, 1]
        if np.array_equal(starts, np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)):
            return first, second
    raise BadValue("basins: the starts of the run are not an N x N grid in two coordinates")


def _endings(run: Trajectory, problem: Problem) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Colours and labels of the ways to end, and for each row the number of its own."""
    codes = [Status(code) for code in np.unique(run.status).tolist()]
    labels = [f"{code.words}, at no known minimiser" if problem.minimisers else code.words for code in codes]
    colours = [QUIET[code] for code in codes]
    kinds = np.searchsorted([int(code) for code in codes], run.status)
    if problem.minimisers:
        known = np.array(problem.minimisers)
        away = np.linalg.norm(run.final_x[:, None] - known, axis=-1)
        size = np.linalg.norm(np.ptp(np.array(problem.domain), axis=-1)) if problem.domain else 1.0
        found = away.min(-1) <= NEAR * size
        kinds = np.where(found, len(codes) + away.argmin(-1), kinds)
        labels += ["minimiser (" + ", ".join(f"{c:.4g}" for c in point) + ")" for point in known]
        colours += [style.PALETTE[i % len(style.PALETTE)] for i in range(len(known))]
    return colours, labels, kinds.astype(np.int64)


def _dress(axes: Axes, problem: Problem, title: str) -> None:
    for point in problem.minimisers:
        axes.plot(*point, marker="*", mfc="white", mec="black", ms=12, ls="")
    axes.set(title=title, xlabel="start x[0]", ylabel="start x[1]")
    axes.grid(False)
