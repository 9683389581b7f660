"""Paths over contours of f, for two coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from flowopt.core.errors import BadValue
from flowopt.core.state import Status
from flowopt.functions._trajectory import Trajectory
from flowopt.problems import Problem
from flowopt.problems._own import as_problem
from flowopt.show import style
from flowopt.show._drawn_rows import DrawnRow, Runs, drawn_rows, legend, named

Array = NDArray[Any]

POINTS = 401
"""Grid points per axis on which f is computed."""
POINTS_ONE_BY_ONE = 101
"""The same for a function that is called point by point."""
LEVELS = 15
DECADES = 7.0
"""Contours reach at most this many decades below the highest value in the window."""
DOTTED = 60
"""A path with up to this many points shows each of them."""
ROOM = 0.3
"""Room around the paths, as a share of the longer side of what they fill."""
USUAL = 0.75
"""The reach of a path without a domain: how far this share of its points is from its start, or where f is lowest."""
FAR = 4.0
EXITS = 5
"""Places where a path leaves the window that are marked at most."""
LONG = 4.0
"""A path longer than this many diagonals of the window is drawn finer."""
SHOWN = 300
"""Paths that are drawn at most."""
GONE = (int(Status.DIVERGED), int(Status.NONFINITE))

START: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": "black", "ms": 7, "ls": ""}
REFERENCE: dict[str, Any] = {"ls": (0, (4, 3)), "lw": 1.0}
STAR: dict[str, Any] = {"marker": "*", "mfc": "black", "mec": "white", "ms": 13, "ls": ""}

EXIT: dict[str, Any] = {"marker": "X", "ms": 6, "mec": "black", "mew": 0.6, "ls": ""}

Window = tuple[tuple[float, float], tuple[float, float]]


class Track(NamedTuple):
    """One path, as it is drawn."""

    x: Array
    """Positions ``(T, 2)``, finite."""
    look: style.Look
    thin: bool
    gone: bool
    """Whether the row diverged."""
    best: Array
    """Where f was lowest, ``(2,)``."""


def paths(
    runs: Runs, problem: Problem | str, path: str | Path | None = None, reference: Trajectory | None = None
) -> Figure:
    """The paths of one or several runs over contours of f, for D = 2.

    Starts are white circles, known minimisers black stars, a reference flow a black dashed line. Where the minimum is
    known the contours are logarithmic in f - minimum; otherwise each lies around an equal share of the window.
    Writes to `path` if given, and returns the Figure.
    Raises BadValue unless D = 2: a cut through more coordinates would not show the f that the path saw.
    """
    given = named(runs)
    known = as_problem(problem)
    sizes = {run.x.shape[-1] for run in given.values()}
    if sizes != {2}:
        raise BadValue(f"a contour picture needs runs in 2 coordinates; these have {sorted(sizes) or 'no run at all'}")
    members = drawn_rows(given, SHOWN)
    total = sum(run.rows for run in given.values())
    title = known.name if len(given) > 1 else f"{next(iter(given))} on {known.name}"
    if total > len(members):
        title += f" ({len(members)} of {total} paths shown)"
    with style.figure(10.5, 7.2, title) as drawn:
        axes = drawn.add_subplot()
        entries = legend(given, members) + draw(axes, tracks(members), known, reference)
        drawn.legend(handles=entries, loc="outside right upper", frameon=False)
    return style.write(drawn, path)


def tracks(members: Sequence[DrawnRow]) -> list[Track]:
    """The paths of the members, without points that are not finite."""
    found = []
    for member in members:
        x, f = member.run.x[:, 0], member.run.f[:, 0]
        gone = int(member.run.status[0]) in GONE
        best = x[np.nanargmin(f)] if np.isfinite(f).any() else x[0]
        found.append(Track(x[np.isfinite(x).all(-1)], member.look, member.thin, gone, best))
    return found


def draw(axes: Axes, drawn: Sequence[Track], problem: Problem, reference: Trajectory | None = None) -> list[Line2D]:
    """Contours of the problem and the paths over them; returns legend entries for what is neither row nor run."""
    relief = survey(problem, window(problem, drawn), POINTS)
    _scale(axes, shade(axes, relief), relief)
    entries = [_mark("start", **START)]
    if reference is not None:
        trace_reference(axes, reference)
        entries.append(_mark("reference flow", color="black", **REFERENCE))
    out = sum(trace(axes, track, relief.window) for track in drawn)
    if problem.minimisers:
        entries.append(_mark("minimiser", **STAR))
    if out:
        text = (
            "the path leaves the window"
            if len(drawn) == 1
            else f"{out} of {len(drawn)} paths {'leaves' if out == 1 else 'leave'} the window"
        )
        entries.append(_mark(text, color=style.GREY, **EXIT))
    axes.set(xlabel="x[0]", ylabel="x[1]")
    return entries


class Relief(NamedTuple):
    """The problem as a picture shows it."""

    window: Window
    mesh: tuple[Array, Array]
    f: Array
    """f, or f - minimum where that is known, masked where it is not finite."""
    levels: Array
    label: str
    minimisers: tuple[tuple[float, ...], ...]


def survey(problem: Problem, shown: Window, points: int) -> Relief:
    """Compute f on a grid of `points` x `points`, fewer for a function that is called point by point."""
    corners = torch.tensor([[x, y] for x in shown[0] for y in shown[1]], dtype=torch.float64)
    problem = problem.understood(corners)
    problem.value(corners)
    if problem.batching is not None and problem.batching.row_by_row:
        points = min(points, POINTS_ONE_BY_ONE)
    x, y = np.meshgrid(*(np.linspace(*side, points) for side in shown))
    f = np.asarray(problem(np.stack((x, y), axis=-1).reshape(-1, 2))).reshape(x.shape)
    f = np.ma.masked_invalid(f if problem.minimum is None else f - problem.minimum)
    levels, label = _levels(f.compressed(), problem.minimum is not None)
    return Relief(shown, (x, y), f, levels, label, problem.minimisers)


def shade(axes: Axes, relief: Relief) -> ContourSet | None:
    """Draw the contours, white at the bottom, and the minimisers; None where f is constant or nowhere finite."""
    axes.set(xlim=relief.window[0], ylim=relief.window[1])
    axes.grid(False)
    for point in relief.minimisers:
        axes.plot(*point, **STAR, zorder=6)
    if len(relief.levels) < 2:
        return None
    greys = ListedColormap(colormaps["Greys"](np.linspace(0.0, 0.55, len(relief.levels) + 1)))
    norm = BoundaryNorm(relief.levels, greys.N, extend="both")
    axes.contour(*relief.mesh, relief.f, levels=relief.levels, colors="#8a8a8a", linewidths=0.4)
    return axes.contourf(*relief.mesh, relief.f, levels=relief.levels, cmap=greys, norm=norm, extend="both", zorder=0)


def trace(axes: Axes, track: Track, shown: Window, scale: float = 1.0) -> bool:
    """Draw a path, lines and markers `scale` times as large; whether it leaves the window."""
    x, look = track.x, track.look
    if not len(x):
        return False
    if track.thin:
        axes.plot(x[:, 0], x[:, 1], color=look.colour, lw=0.6 * scale, alpha=0.55)
    else:
        length = np.linalg.norm(np.diff(x, axis=0), axis=-1).sum()
        wide = scale * (1.8 if length <= LONG * np.linalg.norm(np.ptp(shown, axis=1)) else 0.9)
        halo = [patheffects.withStroke(linewidth=2 * wide, foreground="white", alpha=0.8)]
        axes.plot(x[:, 0], x[:, 1], color=look.colour, ls=look.dash, lw=wide, path_effects=halo)
        if len(x) <= DOTTED:
            axes.plot(x[:, 0], x[:, 1], color=look.colour, marker=look.marker, ms=3 * scale, ls="")
    size = scale * (4 if track.thin else 8)
    axes.plot(*x[-1], color=look.colour, marker=look.marker, ms=size, mec="white", mew=0.7, ls="", zorder=5)
    axes.plot(*x[0], **(START | {"ms": scale * (3 if track.thin else 7)}), zorder=5)
    exits = leaving(x, shown)
    for place in exits[:EXITS]:
        axes.plot(*place, color=look.colour, clip_on=False, zorder=7, **(EXIT | {"ms": 6 * scale}))
    return bool(len(exits))


def leaving(x: Array, shown: Window) -> Array:
    """Where a path ``(T, 2)`` crosses the edge of a window from inside to outside, ``(n, 2)``."""
    low, high = np.transpose(shown)
    inside = ((low <= x) & (x <= high)).all(-1)
    at = np.flatnonzero(inside[:-1] & ~inside[1:])
    here, move = x[at], x[at + 1] - x[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(move > 0, (high - here) / move, np.where(move < 0, (low - here) / move, np.inf))
    return np.asarray(np.clip(here + shares.min(-1, keepdims=True) * move, low, high))


def trace_reference(axes: Axes, flow: Trajectory) -> None:
    """Draw the reference flow."""
    x = flow.x[:, 0]
    axes.plot(x[:, 0], x[:, 1], color="black", **REFERENCE, zorder=4)


def window(problem: Problem, drawn: Sequence[Track]) -> Window:
    """What a picture shows: the paths up to half a domain beyond it, the minimisers near their ends, and some room.

    Paths of rows that diverged count with their start only. Without a domain, a path counts as far as `FAR` times the
    reach of the usual one, so that one that runs away does not make the others invisible.
    """
    starts = np.concatenate([track.x[:1] for track in drawn])
    points = [starts, *_counted(problem, [track for track in drawn if not track.gone])]
    if problem.minimisers:
        known = np.array(problem.minimisers)
        ends = np.concatenate([track.x[-1:] for track in drawn])
        points.append(known[np.linalg.norm(ends[:, None] - known, axis=-1).argmin(-1)])
    reached = np.concatenate(points)
    if problem.domain is not None:
        first, last = np.transpose(problem.domain)
        beyond = 0.5 * (last - first)
        reached = np.concatenate([np.clip(reached, first - beyond, last + beyond), starts])
    low, high = reached.min(0), reached.max(0)
    room = ROOM * ((high - low).max() or 1.0)
    if problem.domain is not None:  # room inside the domain, a rim outside
        rim = 0.02 * (high - low).max()
        low = np.minimum(np.maximum(low - room, first - rim), low - rim)
        high = np.maximum(np.minimum(high + room, last + rim), high + rim)
    else:
        low, high = low - room, high + room
    (left, below), (right, above) = low.tolist(), high.tolist()
    return (left, right), (below, above)


def _counted(problem: Problem, drawn: Sequence[Track]) -> list[Array]:
    """The points ``(n, 2)`` of each path that a window is made for."""
    if problem.domain is not None or not drawn:
        return [track.x for track in drawn]
    away = [np.abs(track.x - track.x[0]).max(-1) for track in drawn]
    reaches = [
        max(np.quantile(far, USUAL), np.abs(track.best - track.x[0]).max())
        for track, far in zip(drawn, away, strict=True)
    ]
    most = FAR * np.quantile(reaches, 0.5, method="lower")
    return [track.x[far <= max(most, 0.0)] for track, far in zip(drawn, away, strict=True)]


def _mark(label: str, **how: Any) -> Line2D:
    return Line2D([], [], label=label, **how)


def _scale(axes: Axes, filled: ContourSet | None, relief: Relief) -> None:
    if filled is None:
        return
    figure = axes.get_figure()
    assert figure is not None
    ticks = relief.levels[::2]
    bar = figure.colorbar(filled, ax=axes, location="bottom", shrink=0.9, aspect=35, ticks=ticks)
    bar.set_label(relief.label)
    bar.ax.set_xticklabels([f"{float(f'{level:.2g}'):g}" for level in ticks])
    bar.ax.minorticks_off()


def _levels(values: Array, from_minimum: bool) -> tuple[Array, str]:
    """Levels of the contours, and what they show. The lowest leave out the thousandth around the minimum."""
    if from_minimum and (values > 0).any():
        values = values[values > 0]
        low = max(np.quantile(values, 0.001), values.max() * 10.0**-DECADES)
        return np.unique(np.geomspace(low, values.max(), LEVELS)), "f - minimum (logarithmic)"
    shares = np.quantile(values, np.linspace(0, 1, LEVELS)) if len(values) else values
    return np.unique(shares), "f (each level encloses an equal share of the window)"
