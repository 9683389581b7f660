"""Panels of what a run recorded: f, gradient norm, step size, error and energy, against evaluations and time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from flowopt.core.errors import BadValue
from flowopt.functions._trajectory import Trajectory
from flowopt.problems import Problem
from flowopt.problems._library import problems
from flowopt.problems._own import as_problem
from flowopt.show import contours, style
from flowopt.show._drawn_rows import DrawnRow, Runs, drawn_rows, ending, legend, named
from flowopt.show.limits import fit

Array = NDArray[Any]

SHOWN = 60
"""Rows that a panel draws at most."""


class Quantity(NamedTuple):
    """What one line of panels shows."""

    label: str
    values: Callable[[Trajectory], Array]
    """``(T,)`` of a single-row Trajectory."""
    missing: str
    """What to say where there is nothing to draw."""
    positive: bool = True
    """Whether values at or below 0 mean 'none left' and are left out, so that the axis can be logarithmic."""
    of_attempt: bool = False
    """Whether it belongs to the attempt, so that rejected attempts have it too."""


class Clock(NamedTuple):
    """What runs along a panel's horizontal axis."""

    label: str
    values: Callable[[Trajectory], Array]
    missing: str


CLOCKS = (
    Clock("evaluations", lambda run: run.cost[:, 0], "no evaluations after the start"),
    Clock("time of the flow", lambda run: run.t[:, 0], "no time for this method"),
)


def quantities(minimum: float | None) -> tuple[Quantity, ...]:
    """The five quantities; f is shown above the minimum where that is known."""
    if minimum is None:
        height = Quantity("f", lambda run: run.f[:, 0], "f was never finite", positive=False)
    else:
        height = Quantity("f - minimum", lambda run: run.f[:, 0] - minimum, "never above the minimum")
    return (
        height,
        Quantity("|grad f|", lambda run: run.grad_norm[:, 0], "no gradients for this method"),
        Quantity("step size h", lambda run: run.h[:, 0], "no step size for this method", of_attempt=True),
        Quantity("error estimate", lambda run: run.error[:, 0], "no error estimate for this scheme", of_attempt=True),
        Quantity("energy", lambda run: run.energy[:, 0], "no energy for this method", positive=False),
    )


def trajectory(run: Trajectory, problem: Problem | str | None = None, path: str | Path | None = None) -> Figure:
    """Panels of one run, and for D = 2, where the problem is given or has a name, its paths over contours of f.

    Up to six rows have a colour each; more are drawn thin, coloured by how they ended. Rejected attempts are crosses
    in the panels of step size and error. Writes to `path` if given, and returns the Figure.
    """
    return panels(run, problem, path)


def panels(runs: Runs, problem: Problem | str | None = None, path: str | Path | None = None) -> Figure:
    """The same panels for one run or several, which then have a colour and a line style each.

    `runs` is a Trajectory, a sequence of them, or a mapping from labels. Raises BadValue if there is none.
    """
    given = named(runs)
    if not given:
        raise BadValue("panels: there is no trajectory to draw")
    known = named_problem(given.values()) if problem is None else as_problem(problem)
    flat = known is not None and all(run.x.shape[-1] == 2 for run in given.values())
    members = drawn_rows(given, SHOWN)
    entries = legend(given, members)
    if any(member.run.rejected.any() for member in members):
        entries.append(Line2D([], [], color=style.REJECTED, marker="x", ls="", label="attempt not accepted"))
    with style.figure(15.5 if flat else 10.5, 10.5, _title(given, members)) as drawn:
        parts = drawn.subfigures(1, 1 + flat, squeeze=False, width_ratios=(1.6, 1)[: 1 + flat])[0]
        _fill(parts[0], members, None if known is None else known.minimum)
        if flat:
            assert known is not None
            entries += contours.draw(parts[1].subplots(), contours.tracks(members), known)
            parts[1].legend(handles=entries, loc="outside lower center", ncols=1 + (len(entries) > 5), frameon=False)
        else:
            drawn.legend(handles=entries, loc="outside lower center", ncols=min(4, len(entries)), frameon=False)
    return style.write(drawn, path)


def named_problem(runs: Iterable[Trajectory]) -> Problem | None:
    """The problem of the library that all these runs were on; None if it is another, or had other options."""
    found: Problem | None = None
    for run in runs:
        name = run.about.get("problem")
        if name not in problems() or (found is not None and found.name != name):
            return None
        found = as_problem(name, run.x[0])
        ends = run.x[[0, -1]]
        if found.dim not in (None, ends.shape[-1]) or not np.allclose(
            found(ends), run.f[[0, -1]], rtol=1e-3, equal_nan=True
        ):
            return None
    return found


def _title(runs: dict[str, Trajectory], members: list[DrawnRow]) -> str:
    name, run = next(iter(runs.items()))
    on = run.about.get("problem", "an objective")
    if len(runs) > 1:
        return f"{len(runs)} runs on {on}"
    rows = "" if len(members) == run.rows else f" ({len(members)} of {run.rows} rows shown)"
    end = run.message[0] if run.rows == 1 else ending(run)
    return f"{name} on {on}{rows}\n" + textwrap.fill(end, 110)


def _fill(part: SubFigure, members: list[DrawnRow], minimum: float | None) -> None:
    shown = quantities(minimum)
    several = len({member.run.about.get("method") for member in members}) > 1
    grid = part.subplots(len(shown), len(CLOCKS), sharex="col", squeeze=False)
    for column, clock in enumerate(CLOCKS):
        for line, quantity in enumerate(shown):
            _panel(grid[line, column], members, quantity, clock)
            grid[line, 0].set_ylabel(quantity.label)
        grid[-1, column].set_xlabel(clock.label)
        if several and any(axes.lines for axes in grid[:, column]):
            grid[0, column].set_xscale("log", nonpositive="mask")  # methods end after very different times
    part.align_ylabels()


def _panel(axes: Axes, members: list[DrawnRow], quantity: Quantity, clock: Clock) -> None:
    drawn = [_curve(axes, member, quantity, clock) for member in members]
    if not any(one.size for one in drawn):
        still = not any(_runs(clock.values(member.run)) for member in members)
        style.note(axes, clock.missing if still else quantity.missing)
        if still:
            axes.tick_params(bottom=False, labelbottom=False)
        return
    fit(axes, [one for one in drawn if one.size])


def _curve(axes: Axes, member: DrawnRow, quantity: Quantity, clock: Clock) -> Array:
    """Draw one member; the values that are drawn, none if the clock stands still."""
    run, look = member.run, member.look
    at, values, accepted = clock.values(run), quantity.values(run), run.accepted[:, 0]
    if not _runs(at):
        return np.empty(0)
    good = np.isfinite(values) & np.isfinite(at)
    if quantity.positive:
        good &= values > 0
    line = good & accepted
    width, alpha = (0.6, 0.6) if member.thin else (1.6, 1.0)
    dots = look.marker if line.sum() <= 25 and not member.thin else None
    axes.plot(at[line], values[line], color=look.colour, ls=look.dash, lw=width, alpha=alpha, marker=dots, ms=4)
    if line.any():
        last = np.flatnonzero(line)[-1]
        axes.plot(at[last], values[last], color=look.colour, marker=look.marker, ms=4, ls="")
    if not quantity.of_attempt:
        return values[line]
    lost = good & ~accepted
    axes.plot(at[lost], values[lost], color=style.REJECTED, marker="x", ms=5, ls="", mew=1.1, zorder=3)
    return values[good]


def _runs(at: Array) -> bool:
    return bool(np.any(np.diff(at) > 0))
