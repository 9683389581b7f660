"""One picture of a comparison: how low, before and after tuning; how it depends on the step size; how near the flow."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flowopt.core._sentences import settings
from flowopt.core.errors import BadValue
from flowopt.show import end_labels, style
from flowopt.show.end_labels import Curve
from flowopt.show.limits import fit

if TYPE_CHECKING:
    from flowopt.functions.comparison.result import Comparison, Entrant
    from flowopt.functions.comparison.trial import Trial

Array = NDArray[Any]

MOST = 8
"""Lines in one axes."""
DEPTH = 1e-12
"""The axis of heights ends at this share of the start's: what is below has arrived."""
BLOW_UP = 1e4
"""The axis of distances is cut off at this many times the largest first one."""
ROW = 2.45
"""Height of a row of panels, in inches; height and width of the axes in it:"""
AXES = 1.75
WIDTH = 1.65
COLOURS = (*style.PALETTE, "#000000", "#882255")
"""Eight that colour-blind readers tell apart: Okabe and Ito's, and a dark red of Tol's."""
DPI = 200


class Line(NamedTuple):
    """One line of the picture: an entrant, and the others that move exactly as it does."""

    one: Entrant
    name: str
    look: style.Look


def comparison(found: Comparison, path: str | Path | None = None) -> Figure:
    """Best f so far against evaluations, before and after tuning; results over the step size; distance from the flow.

    At most eight lines: those that came lowest; the others are named below. Contestants that moved alike (a method and
    its twin) share a line. Writes to `path` if given, and returns the Figure. Raises BadValue where nothing ran.
    """
    lines, left_out = _lines(found)
    if not lines:
        raise BadValue("there is nothing to draw: no method ran")
    rows = 2 if found.tune else 1
    height = ROW * rows + (0.5 if left_out else 0.3)
    title = f"{found.problem.name} from one start, {found.max_evaluations} evaluations each"
    with style.figure(style.PAGE, height, title, style.PRINTED) as drawn:
        drawn.set_layout_engine("none")  # the room for the labels is known beforehand
        grid = [[_axes(drawn, row, column, height) for column in range(2)] for row in range(rows)]
        bottom = _bottom(found, lines)
        before = [_best(found, line, line.one.default, bottom) for line in lines]
        _race(found, grid[0][0], before, bottom, "before tuning" if found.tune else "")
        if found.tune:
            after = [_best(found, line, line.one.tuned or line.one.default, bottom, tuned=True) for line in lines]
            _race(found, grid[0][1], after, bottom, f"tuned (the best of {found.tune} step sizes)")
            _sensitivity(found, grid[1][0], lines, bottom)
        _distances(grid[-1][1], lines)
        if left_out:
            words = f"Not drawn, because they did not come as low: {', '.join(left_out)}."
            drawn.text(0.01, 0.01, textwrap.fill(words, 130), fontsize=end_labels.SIZE, va="bottom")
    return style.write(drawn, path, DPI)


def _axes(drawn: Figure, row: int, column: int, height: float) -> Axes:
    """One of two axes side by side, with room for labels at its right."""
    left, above = 0.58 + column * style.PAGE / 2, 0.5 + row * ROW
    place = (left / style.PAGE, 1 - (above + AXES) / height, WIDTH / style.PAGE, AXES / height)
    return drawn.add_axes(place)


def _look(number: int) -> style.Look:
    """Of at most eight lines, no two of one colour."""
    return style.look(number)._replace(colour=COLOURS[number])


def _lines(found: Comparison) -> tuple[list[Line], list[str]]:
    """Who is drawn, and the names of those that are not."""
    groups: list[list[Entrant]] = []
    for one in found.ran:
        alike = next((group for group in groups if _moves_alike(group[0], one)), None)
        groups.append([one]) if alike is None else alike.append(one)
    lowest = sorted(groups, key=lambda group: _lowest(group[0]))[:MOST]
    drawn = [group for group in groups if group in lowest]
    left_out = [one.name for group in groups if group not in lowest for one in group]
    names = [" = ".join(one.name for one in group) for group in drawn]
    return [Line(g[0], name, _look(i)) for i, (g, name) in enumerate(zip(drawn, names, strict=True))], left_out


def _lowest(one: Entrant) -> float:
    return min(trial.best_f for trial in (one.default, one.tuned) if trial is not None)


def _moves_alike(one: Entrant, other: Entrant) -> bool:
    """Whether the best values agree to rounding, evaluation by evaluation, before and after tuning."""
    for a, b in ((one.default, other.default), (one.tuned, other.tuned)):
        if (a is None) != (b is None):
            return False
        if (
            a is not None
            and b is not None
            and not (
                a.run.f.shape == b.run.f.shape and np.allclose(a.run.f, b.run.f, rtol=1e-6, atol=0, equal_nan=True)
            )
        ):
            return False
    return True


def _bottom(found: Comparison, lines: list[Line]) -> float:
    """The lowest height that is drawn."""
    start = found.f0 - found.low
    lowest = min([found.f0, *(_lowest(line.one) for line in lines)]) - found.low
    return float(max(lowest / 3, DEPTH * start)) if start > 0 else 0.0


def _best(found: Comparison, line: Line, trial: Trial | None, bottom: float, tuned: bool = False) -> Curve:
    """Evaluations, and the lowest f up to then, above the minimum where that is known."""
    assert trial is not None
    keep = trial.counted & (trial.run.cost[:, 0] > 0)
    cost, best = trial.run.cost[keep, 0], np.fmin.accumulate(trial.run.f[keep, 0])
    if found.problem.minimum is not None:
        best = np.maximum(best - found.problem.minimum, bottom)
    good = np.isfinite(best)
    shown = line.one.shown(trial)
    if tuned and line.one.tuning is not None:
        shown = {line.one.tuning.parameter: trial.parameters[line.one.tuning.parameter]}
    gone = np.isinf(trial.best_f)
    label = end_labels.label(line.name, settings(shown) + (" (diverged)" if gone else ""))
    return Curve(label, line.look, cost[good], best[good], held=not gone)


def _race(found: Comparison, axes: Axes, curves: list[Curve], bottom: float, title: str) -> None:
    what = "f" if found.problem.minimum is None else "f - min"
    axes.set(title=title, xlabel="evaluations", ylabel=f"lowest {what} so far", xscale="log")
    axes.set_xlim(1, found.max_evaluations)
    _scale(found, axes, [curve.y for curve in curves], bottom)
    end_labels.draw(axes, curves, AXES)


def _scale(found: Comparison, axes: Axes, values: list[Array], bottom: float) -> None:
    """Heights above a known minimum on a logarithmic axis from the start's down; else f as it comes."""
    start = found.f0 - found.low
    if found.problem.minimum is not None and start > 0:
        axes.set_ylim(bottom / 1.5, 3 * start)
        axes.set_yscale("log")
    else:
        fit(axes, [one for one in values if len(one)])


def _sensitivity(found: Comparison, axes: Axes, lines: list[Line], bottom: float) -> None:
    axes.set(title="result over step size", xlabel="step size (ring: before tuning; line ends: diverges)")
    axes.set_ylabel("lowest f" if found.problem.minimum is None else "lowest f - min")
    known = found.problem.minimum
    above = [line for line in lines if line.one.tuning is not None]
    if not above:
        return style.note(axes, "none of these has a step size to tune")
    curves, rings = [], []
    for line in above:
        tuning, default = line.one.tuning, line.one.default
        assert tuning is not None and default is not None

        def height(f: Any) -> Array:
            finite = np.where(np.isfinite(f), f, np.nan)
            return np.asarray(finite if known is None else np.maximum(finite - known, bottom))

        heights = height(tuning.best_f)
        if not np.isfinite(heights).any():
            continue
        known_to = int(np.flatnonzero(np.isfinite(heights))[-1]) + 1  # beyond it diverges, and the line ends
        name = end_labels.label(line.name, tuning.parameter)
        curves.append(Curve(name, line.look, tuning.values[:known_to], heights[:known_to]))
        rings.append((float(default.parameters[tuning.parameter]), float(height(default.best_f)), line.look.colour))
    if not curves:
        return style.note(axes, "all of them diverged")
    ends = np.concatenate([curve.x[[0, -1]] for curve in curves] + [np.array([x]) for x, _, _ in rings])
    axes.set_xscale("log")
    axes.set_xlim(ends.min() / 1.3, ends.max() * 1.3)
    _scale(found, axes, [curve.y[np.isfinite(curve.y)] for curve in curves], bottom)
    end_labels.draw(axes, curves, AXES)
    for x, y, colour in rings:
        axes.plot(x, y, marker="o", mfc="white", mec=colour, ms=5, mew=1.2, ls="", zorder=4)


def _distances(axes: Axes, lines: list[Line]) -> None:
    axes.set(title="distance from its own flow", ylabel="|x(t) - x_ref(t)|")
    curves = []
    for line in lines:
        if line.one.deviation is not None:
            t, distance = line.one.deviation.t, line.one.deviation.distance
            good = distance > 0
            if good.any():
                curves.append(Curve(end_labels.label(line.name), line.look, t[good], distance[good]))
    if not curves:
        return style.note(axes, "no method has a reference solution here")
    axes.set(xlabel="time of the flow", xscale="log")
    axes.set_xlim(min(c.x[0] for c in curves) / 1.2, max(c.x[-1] for c in curves) * 1.2)
    fit(axes, [curve.y for curve in curves], BLOW_UP)
    end_labels.draw(axes, curves, AXES)
