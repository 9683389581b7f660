"""Curves of training: loss, metric, step size, error and energy, of every step and as means of every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from flowopt.core.errors import BadValue
from flowopt.show import style
from flowopt.show.limits import fit
from flowopt.training._history import History

Array = NDArray[Any]


class Panel(NamedTuple):
    """What one panel shows of a History."""

    label: str
    of_epoch: str
    """Name in the records of the epochs."""
    of_step: str
    """Name in the records of the steps; empty: they do not have it."""
    missing: str
    positive: bool = True
    """Whether values at or below 0 have no meaning, so that the axis can be logarithmic."""


def training_curves(runs: History | Mapping[str, History], path: str | Path | None = None) -> Figure:
    """Six panels against epochs, of one run or of several with a colour and a line style each.

    Thin lines are single steps, thick ones means over an epoch. Writes to `path` if given, and returns the Figure.
    Raises BadValue where no run has finished an epoch.
    """
    given = {"": runs} if isinstance(runs, History) else dict(runs)
    shown = {name: run for name, run in given.items() if run.epochs}
    if not shown:
        raise BadValue("training_curves: no run has finished an epoch, so there is nothing to draw")
    with style.figure(11, 9, _title(shown)) as drawn:
        grid = drawn.subplots(3, 2, sharex=True)
        for axes, panel in zip(grid.T.flat, _panels(next(iter(shown.values()))), strict=True):
            _fill(axes, panel, list(shown.values()))
        for axes in grid[-1]:
            axes.set_xlabel("epochs")
        drawn.align_ylabels()
        looks = [(name, style.look(number)) for number, name in enumerate(shown)]
        entries = [Line2D([], [], color=o.colour, ls=o.dash, marker=o.marker, ms=5, label=n) for n, o in looks if n]
        entries += [Line2D([], [], color=style.GREY, lw=width, label=what) for what, width in _WIDTHS.items()]
        drawn.legend(handles=entries, loc="outside lower center", ncols=min(6, len(entries)), frameon=False)
    return style.write(drawn, path)


_WIDTHS = {"mean of an epoch": 1.8, "single steps": 0.5}


def _title(runs: Mapping[str, History]) -> str:
    settings = next(iter(runs.values())).settings
    return f"{settings.get('model', 'a network')} on {settings.get('data', 'data')}"


def _panels(run: History) -> tuple[Panel, ...]:
    metric = run.metrics[0] if run.metrics else ""
    return (
        Panel("training loss", "train_loss", "loss", "the loss was never finite"),
        Panel("test loss", "test_loss", "", "the loss was never finite"),
        Panel(f"test {metric}".replace("_", " "), metric, "", "this task has no metric", positive=False),
        Panel("step size h", "h", "h", "no step size for this optimizer"),
        Panel("error estimate", "error", "error", "no error estimate for this optimizer"),
        Panel("energy", "energy", "energy", "no energy for this optimizer", positive=False),
    )


def _fill(axes: Axes, panel: Panel, runs: list[History]) -> None:
    drawn: list[Array] = []

    def draw(times: Array, values: Array, **how: Any) -> None:
        good = np.isfinite(values) & ((values > 0) | (not panel.positive))
        if good.any():
            axes.plot(times[good], values[good], **how)
            drawn.append(values[good])

    for number, run in enumerate(runs):
        look = style.look(number)
        if panel.of_step:
            steps = np.array([getattr(step, panel.of_step) for step in run.steps])
            draw(_times(run), steps, color=look.colour, lw=0.5, alpha=0.5)
        means = np.array([epoch.get(panel.of_epoch, np.nan) for epoch in run.epochs])
        dots = look.marker if len(means) <= 40 else None
        draw(np.arange(1, len(means) + 1), means, color=look.colour, lw=1.8, ls=look.dash, marker=dots, ms=3.5)
    axes.set_ylabel(panel.label)
    if drawn:
        fit(axes, drawn)
    else:
        style.note(axes, panel.missing)


def _times(run: History) -> Array:
    """When each step ended, in epochs; one that was interrupted is as long as the first."""
    ends = [0, *(epoch["steps"] for epoch in run.epochs)]
    ends.append(max(len(run.steps), ends[-1] + ends[1]))
    return np.interp(np.arange(1, len(run.steps) + 1), ends, np.arange(len(ends)))
