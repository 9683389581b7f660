"""The paths of a comparison, a small panel each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flowopt.core._sentences import settings
from flowopt.core.errors import BadValue
from flowopt.show import contours, style
from flowopt.show._drawn_rows import DrawnRow

if TYPE_CHECKING:
    from flowopt.functions.comparison.result import Comparison

MOST = 12
ACROSS = 4
"""Panels side by side."""
POINTS = 161
"""Grid points per axis of a panel."""
SCALE = 0.65
"""Of lines and markers, against those of a whole page."""
DPI = 200


def comparison_paths(found: Comparison, path: str | Path | None = None) -> Figure:
    """The path of each method, tuned where it was, over contours of f, at most twelve, and the reference flow below.

    Writes to `path` if given, and returns the Figure. Raises BadValue unless D = 2.
    """
    if not found.flat:
        raise BadValue("a picture of paths needs runs in 2 coordinates")
    flow, ran = found.flow, found.ran
    shown = [(one, trial) for one in ran[:MOST] if (trial := one.tuned or one.default) is not None]
    lines = max(1, math.ceil(len(shown) / ACROSS))
    marks = ["circle: start", *["star: minimiser"] * bool(found.problem.minimisers)]
    marks += ["dashes: reference flow"] * (flow is not None)
    title = f"paths on {found.problem.name}{', with the best step sizes' * bool(found.tune)} ({', '.join(marks)})"
    if len(ran) > MOST:
        title += f"; the first {MOST} of {len(ran)}; choose with --method"
    with style.figure(style.PAGE, 1.95 * lines + 0.5, title, style.PRINTED) as drawn:
        grid = drawn.subplots(lines, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
        members = [
            DrawnRow(trial.run, style.look(i)._replace(dash="-"), one.name, False)
            for i, (one, trial) in enumerate(shown)
        ]
        tracks = contours.tracks(members)
        relief = contours.survey(found.problem, contours.window(found.problem, tracks), POINTS)
        for axes, track, (one, trial) in zip(grid, tracks, shown, strict=False):
            contours.shade(axes, relief)
            if flow is not None:
                contours.trace_reference(axes, flow)
            leaves = contours.trace(axes, track, relief.window, SCALE)
            ending = trial.words + (", leaves the window" if leaves else "")
            axes.set_title(f"{one.name}  {settings(one.shown(trial))}\n{ending}", fontsize=6.5)
        for axes in grid[len(shown) :]:
            axes.axis("off")
    return style.write(drawn, path, DPI)
