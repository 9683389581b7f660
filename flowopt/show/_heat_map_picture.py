"""Heat maps: a cell for every pair of two hyperparameters, with its number, and marks for what there is to see."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.roles import Epsilon, LearningRate, Range
from flowopt.methods import entry
from flowopt.show import style
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.training._heat_map_record import Axis, HeatMap, counted

Array = NDArray[Any]

EMPTY = "#dddddd"
"""Cells without a number."""
BEST, BOUNDS, RIDGE = style.PALETTE[1], style.PALETTE[3], style.PALETTE[2]
SPAN = 3.0
"""Ratio of the largest perplexity (or error) to the smallest above which their colours are logarithmic."""
WIDEST, CELL = 16.0, (0.78, 0.44)
"""Inches: of the figure at most, and of a cell."""
NUMBER = 0.25
"""How far from the middle of a cell its number reaches, in cells."""
LEGIBLE = 0.5
"""Inches that a cell must be wide for its number to be written into it."""


def heat_map(
    found: HeatMap, path: str | Path | None = None, *, bounds: tuple[float, float] | None = None, ridge: bool = False
) -> Figure:
    """The best of the metric over the epochs, mean over the seeds, one cell a pair of hyperparameters.

    Bright is good, whether more of the metric is better or less. Marked are networks that diverged (a cross; their
    share where it is not all of the cell's), and the best cell (outlined).

    bounds  lower and upper estimate of eps: lines around the cells that lie between them.
    ridge   a line along which lr / eps is the one that is best at the largest eps, where only this ratio counts.

    Writes to `path` if given, and returns the Figure. Raises BadValue for a map without a number in it, and as
    `check_marks` does.
    """
    cells = found.cells
    if np.isnan(cells).all():
        raise BadValue("heat_map: no network has finished an epoch, so there is nothing to draw")
    width = max(5.5, min(WIDEST, 2.6 + CELL[0] * len(found.x.values)))
    with style.figure(width, max(4.0, 2.0 + CELL[1] * len(found.y.values)), _title(found)) as drawn:
        axes = drawn.subplots()
        axes.grid(False)
        colours = colormaps["cividis"] if found.rising else colormaps["cividis_r"]
        norm = _norm(found)
        shown = np.ma.masked_where(np.isnan(cells), np.minimum(cells, np.finfo(cells.dtype).max))
        image = axes.imshow(shown, origin="lower", aspect="auto", cmap=colours.with_extremes(bad=EMPTY), norm=norm)
        _colour_bar(drawn, axes, found, image)
        _label(axes, found)
        if (width - 2.6) / len(found.x.values) >= LEGIBLE:
            _write_numbers(axes, found, colours, norm)
        marks = [_diverged(axes, found), _outline(axes, found)]
        if bounds is not None:
            marks.append(_draw_bounds(axes, found, bounds))
        if ridge:
            marks.append(_draw_ridge(axes, found))
        entries = [mark for mark in marks if mark is not None]
        if entries:
            drawn.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False)
    return style.write(drawn, path)


def check_marks(x: Axis, y: Axis, method: str, bounds: tuple[float, float] | None, ridge: bool) -> None:
    """See that marks go with the axes of a map of that method: bounds of its eps, a ridge of its lr / eps.

    Raises UnknownName where the axes are others, BadValue for a method that has no eps, for bounds that no eps lies
    between, for a ridge over values that are not above 0, and for one of a method whose rate at a large eps is not
    lr / eps.
    """
    if bounds is None and not ridge:
        return
    axes = {axis.name: axis for axis in (x, y)}
    wanted = [_the(kind, method) for kind in ((Epsilon, LearningRate) if ridge else (Epsilon,))]
    for name in wanted:
        if name not in axes:
            raise UnknownName(f"axis for {'the ridge' if ridge else 'the bounds'}", name, axes)
    if ridge and not _is_ratio(method):
        raise BadValue(f"a ridge is a line of equal lr / eps, and that is not the rate of {method} at a large eps")
    if ridge and min(min(axes[name].values) for name in wanted) <= 0:
        raise BadValue("a ridge is a line of equal lr / eps on logarithmic axes: all lr and eps must be above 0")
    if bounds is not None and not _inside(axes[wanted[0]], bounds).any():
        low, high = bounds
        raise BadValue(f"no eps on the axis lies between the bounds {low:g} and {high:g}")


def _the(kind: type[Range], method: str) -> str:
    """The name of the parameter of a method with that role. Raises BadValue where it has none."""
    for name in entry(method).roles(kind):
        return name
    raise BadValue(f"{method} has no {'eps' if kind is Epsilon else 'learning rate'} to draw this for")


def ink(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever stands out more from an RGBA colour: a contrast of 4.5 to 1 at least (WCAG 2.1)."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = float(np.dot(channels, (0.2126, 0.7152, 0.0722)))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def _title(found: HeatMap) -> str:
    about = found.about
    return f"{about['method']}: {about.get('model', 'a network')} on {about['data']}"


def _measure(found: HeatMap) -> str:
    seeds = f", mean of {len(found.seeds)} seeds" if len(found.seeds) > 1 else ""
    return f"test {found.metric}\nbest of {counted(len(found.curves), 'epoch')}{seeds}".replace("_", " ")


def _norm(found: HeatMap) -> Normalize:
    """Colours from the worst to the best; a metric of which less is better is as bad as it gets where it began."""
    low, high = float(np.nanmin(found.cells)), float(np.nanmax(found.cells))
    if not found.rising:
        high = max(low, min(high, float(found.untrained.mean())))
    logarithmic = not found.rising and low > 0 and high > SPAN * low
    return (LogNorm if logarithmic else Normalize)(low, high, clip=True)


def _colour_bar(drawn: Figure, axes: Axes, found: HeatMap, image: AxesImage) -> None:
    bar = drawn.colorbar(image, ax=axes, label=_measure(found))
    bar.outline.set_visible(False)
    if found.metric == "accuracy":
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    elif isinstance(image.norm, LogNorm):
        for set_formatter in (bar.ax.yaxis.set_major_formatter, bar.ax.yaxis.set_minor_formatter):
            set_formatter("{x:.4g}")


def _label(axes: Axes, found: HeatMap) -> None:
    axes.set_xticks(range(len(found.x.values)), _ticks(found.x.values))
    axes.set_yticks(range(len(found.y.values)), _ticks(found.y.values))
    axes.set(xlabel=found.x.name.replace("-", " - "), ylabel=found.y.name.replace("-", " - "))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _ticks(values: tuple[float, ...]) -> list[str]:
    """Powers of ten as such where all values are, else plain numbers."""
    powers = [round(math.log10(value)) if value > 0 else 0 for value in values]
    if all(value == float(f"1e{power}") for value, power in zip(values, powers, strict=True)):
        return [f"$10^{{{power}}}$" for power in powers]
    return [f"{value:.4g}" for value in values]


def _write_numbers(axes: Axes, found: HeatMap, colours: Colormap, norm: Normalize) -> None:
    for (row, column), cell in np.ndenumerate(found.cells):
        if not math.isnan(cell):
            text = found.shown(cell).removesuffix(" %")
            axes.text(column, row, text, ha="center", va="center", size=9, color=ink(colours(norm(cell))))


def _diverged(axes: Axes, found: HeatMap) -> Line2D | None:
    """Crosses where networks ended: in the middle where there is no number, else beside it."""
    if not found.diverged.any():
        return None
    for (row, column), count in np.ndenumerate(found.diverged):
        if not count:
            continue
        bare = math.isnan(found.cells[row, column])
        text = "×" if count == len(found.seeds) else f"×{count}/{len(found.seeds)}"
        at: dict[str, Any] = (
            {"ha": "center", "va": "center", "size": 13} if bare else {"ha": "right", "va": "bottom", "size": 7.5}
        )
        shift = (0.0, 0.0) if bare else (0.46, -0.46)
        colour = "black" if bare else ink(axes.images[0].to_rgba(np.array([found.cells[row, column]]))[0])
        axes.text(column + shift[0], row + shift[1], text, color=colour, **at)
    return Line2D([], [], ls="", marker="x", color="black", label="diverged (of how many seeds)")


def _outline(axes: Axes, found: HeatMap) -> Patch | None:
    if (best := found.best_cell) is None:
        return None
    row, column = best
    for width, colour in ((5.0, "white"), (2.5, BEST)):
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=colour, lw=width, zorder=4, clip_on=False)
        )
    return Patch(fill=False, ec=BEST, lw=2.5, label=f"best: {found.shown(found.cells[best])}")


def _inside(axis: Axis, bounds: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = (bound * slack for bound, slack in zip(bounds, (1 - 1e-9, 1 + 1e-9), strict=True))
    values = np.array(axis.values)
    return np.asarray((low <= values) & (values <= high))


def _draw_bounds(axes: Axes, found: HeatMap, bounds: tuple[float, float]) -> Line2D:
    check_marks(found.x, found.y, found.about["method"], bounds, ridge=False)
    upright = found.y.name == _the(Epsilon, found.about["method"])
    places = np.flatnonzero(_inside(found.y if upright else found.x, bounds))
    for edge in (places[0] - 0.5, places[-1] + 0.5):
        for width, colour in ((4.0, "white"), (2.0, BOUNDS)):
            line = axes.axhline if upright else axes.axvline
            line(edge, color=colour, lw=width, ls="--" if colour == BOUNDS else "-", zorder=3, clip_on=False)
    low, high = _ticks(bounds)
    return Line2D([], [], color=BOUNDS, lw=2, ls="--", label=f"estimated eps: {low} to {high}")


def _is_ratio(name: str) -> bool:
    """Whether lr / eps is all that counts of the method at a large eps."""
    system = entry(name).make({}).system
    return isinstance(system, AdaptiveFlow) and bool(system.plain_rate(1.0) == 1 / system.eps)


def _draw_ridge(axes: Axes, found: HeatMap) -> Line2D | None:
    method = found.about["method"]
    check_marks(found.x, found.y, method, None, ridge=True)
    eps, rate = _the(Epsilon, method), _the(LearningRate, method)
    upright = found.y.name == eps
    largest = np.arange(len((found.y if upright else found.x).values))[::-1] == 0
    if (best := found.best_where(largest[:, None] if upright else largest)) is None:
        return None
    x, y = np.log10(found.x.values), np.log10(found.y.values)
    shift = y[best[0]] - x[best[1]]
    fine = np.linspace(x[0], x[-1], 200 * len(x))
    fine = fine[(fine + shift >= y[0]) & (fine + shift <= y[-1])]
    along, up = (np.interp(at, axis, np.arange(len(axis))) for at, axis in ((fine, x), (fine + shift, y)))
    numbers = np.abs(along - along.round()) < NUMBER
    axes.plot(np.where(numbers, np.nan, along), up, color=RIDGE, lw=2.2, ls=":", zorder=2.5)
    at = {found.x.name: found.x.values[best[1]], found.y.name: found.y.values[best[0]]}
    return Line2D([], [], color=RIDGE, lw=2.2, ls=":", label=f"lr / eps = {at[rate] / at[eps]:.3g}")
