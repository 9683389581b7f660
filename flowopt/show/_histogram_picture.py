"""Histograms of z_hat (or |g|), a panel for each parameter tensor, with eps and the bounds of the search for it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flowopt.core._numbers import percent, short
from flowopt.diagnostics._bounds import EpsilonBounds, adaptive_share
from flowopt.diagnostics._histogram import OCTAVE, Histogram, edges
from flowopt.diagnostics._histogram_record import HistogramRecord
from flowopt.show import style

PANELS = 12
"""Tensors that are shown at most."""
COLUMNS = 3
JOINED = OCTAVE
"""Bins that are drawn as one: an octave, so that all are as wide on the axis."""

NOW, FIRST, EPS, BOUNDS = style.PALETTE[5], style.PALETTE[1], "black", "#e8e8e8"


def histograms(record: HistogramRecord, path: str | Path | None = None, eps: float | None = None) -> Figure:
    """Which share of each tensor's z_hat lies where, now and at the first step, over a logarithmic axis.

    Grey is the range that Algorithm 2 gives eps; the dashed line is `eps` (None: the optimizer's own; a record of |g|
    has none). Of more than 12 tensors the largest are shown, and the others named. Writes to `path` if given, and
    returns the Figure. Raises BadValue where there are no positive numbers.
    """
    if eps is None and record.rules:
        eps = record.eps or None
    now, bounds = record.latest.histograms, record.epsilon_bounds()
    first = record.snapshots[0]
    before = first.histograms if first.step < record.latest.step else {}
    shown, left_out = chosen(now)
    rows = -(-len(shown) // COLUMNS)
    with style.figure(11, 1.8 + 2.1 * rows, _title(record, bounds, left_out)) as drawn:
        grid = drawn.subplots(rows, COLUMNS, sharex=True, squeeze=False)
        for axes, name in zip(grid.flat, shown, strict=False):
            _panel(axes, name, now[name], before.get(name), eps)
            axes.axvspan(bounds.lower, bounds.upper, color=BOUNDS, zorder=0)
        _scale(grid[0, 0], [each[name] for each in (now, before) for name in shown if name in each], bounds, eps)
        for place, axes in enumerate(grid.flat):
            if place >= len(shown):
                axes.remove()
            elif place + COLUMNS >= len(shown):  # nothing below it
                axes.set_xlabel(record.what)
                axes.tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("share, %")
        drawn.legend(handles=_legend(record, eps, bool(before)), loc="outside lower center", ncols=4, frameon=False)
    return style.write(drawn, path)


def chosen(found: Mapping[str, Histogram]) -> tuple[list[str], list[str]]:
    """The names of the largest tensors, and those of the others; both in the order of the model."""
    largest = set(sorted(found, key=lambda name: found[name].size, reverse=True)[:PANELS])
    return [name for name in found if name in largest], [name for name in found if name not in largest]


def not_shown(names: list[str], most: int = 3) -> str:
    """Which tensors a picture leaves out, in words."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"not shown, since smaller: {', '.join(names[:most])}{more}"


def _title(record: HistogramRecord, bounds: EpsilonBounds, left_out: list[str]) -> str:
    name = f" of {record.rules[0].system.name}" if record.rules else ""
    parts = [f"{record.what}{name} after {record.latest.step} steps: {bounds}"]
    if left_out:
        parts.append(textwrap.fill(not_shown(left_out), 120))
    return "\n".join(parts)


def _panel(axes: Axes, name: str, now: Histogram, before: Histogram | None, eps: float | None) -> None:
    words = ["1 number" if now.size == 1 else f"{now.size} numbers"]
    if eps is not None:
        words.append(f"{percent(adaptive_share({name: now}, eps).overall.of_all)} above eps")
        axes.axvline(eps, color=EPS, ls=(0, (4, 2)), lw=1.4)
    odd = {"zeros": now.zeros, "NaN, inf": now.nonfinite, "unresolved": now.unresolved}
    words += [f"{percent(count / now.size)} {what}" for what, count in odd.items() if count]
    axes.set_title(f"{name}\n{', '.join(words)}", fontsize=9, loc="left")
    if not now.positive:
        style.note(axes, "no positive number")
        return
    axes.stairs(*_joined(now), fill=True, color=NOW)
    if before is not None and before.positive:
        axes.stairs(*_joined(before), color=FIRST, lw=1.2)
    axes.set_ylim(bottom=0)


def _joined(histogram: Histogram) -> tuple[NDArray[Any], NDArray[Any]]:
    """Percentages of all numbers in octaves, and where these begin and end."""
    low = histogram.first // JOINED
    padded = np.concatenate([np.zeros(histogram.first - low * JOINED), histogram.counts])
    padded = np.concatenate([padded, np.zeros(-len(padded) % JOINED)])
    counts = padded.reshape(-1, JOINED).sum(1)
    borders = edges(np.arange(low, low + len(counts) + 1) * JOINED)
    return 100 * counts / histogram.size, borders


def _scale(axes: Axes, found: list[Histogram], bounds: EpsilonBounds, eps: float | None) -> None:
    """A logarithmic axis over all but the last thousandth of the numbers on either side, the bounds and eps."""
    marks = [bounds.lower, bounds.upper, *([] if eps is None else [eps])]
    marks += [one.percentile(q) for one in found if one.positive for q in (0.1, 99.9)]
    axes.set_xscale("log")
    axes.set_xlim(min(marks) / 3, max(marks) * 3)


def _legend(record: HistogramRecord, eps: float | None, several: bool) -> list[Any]:
    handles: list[Any] = [Patch(color=NOW, label=f"step {record.latest.step}")]
    if several:
        handles.append(Line2D([], [], color=FIRST, lw=1.2, label=f"step {record.snapshots[0].step}"))
    if eps is not None:
        handles.append(Line2D([], [], color=EPS, ls=(0, (4, 2)), lw=1.4, label=f"eps = {short(eps)}"))
    return [*handles, Patch(color=BOUNDS, label="where to look for eps")]
