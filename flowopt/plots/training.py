"""Curves of training: loss, metric, step size, error and energy, of every step and as means of every epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from flowopt.errors import BadValue
from flowopt.plots import style
from flowopt.plots.limits import fit
from flowopt.training.history import History

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
    drawn = []
    for number, run in enumerate(runs):
        look = style.look(number)
        curves = [(_times(run), _column(run.steps, panel.of_step), {"lw": 0.5, "alpha": 0.5})] if panel.of_step else []
        means = np.array([epoch.get(panel.of_epoch, np.nan) for epoch in run.epochs])
        dots = look.marker if len(means) <= 40 else None
        curves.append((np.arange(1, len(means) + 1), means, {"lw": 1.8, "ls": look.dash, "marker": dots, "ms": 3.5}))
        for times, values, how in curves:
            good = np.isfinite(values) & ((values > 0) | (not panel.positive))
            if good.any():
                axes.plot(times[good], values[good], color=look.colour, **how)
                drawn.append(values[good])
    axes.set_ylabel(panel.label)
    if drawn:
        fit(axes, drawn)
    else:
        style.note(axes, panel.missing)


def _column(steps: list[Any], name: str) -> Array:
    return np.array([getattr(step, name) for step in steps], dtype=float)


def _times(run: History) -> Array:
    """When each step ended, in epochs; the steps of an epoch that was interrupted are spaced as in the longest."""
    counts = Counter(step.epoch for step in run.steps)
    places: Counter[int] = Counter()
    times = []
    for step in run.steps:
        places[step.epoch] += 1
        whole = counts[step.epoch] if step.epoch <= len(run.epochs) else max(counts.values())
        times.append(step.epoch - 1 + places[step.epoch] / whole)
    return np.array(times)
