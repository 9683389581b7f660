"""Curves with their names at their ends, where no legend has to be looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from flowopt.show.style import Look

Array = NDArray[Any]

SIZE = 6.0
"""Of the labels, in points."""
LINE = 1.25
"""Distance of two labels, in their size."""


LETTERS = 29
"""A label is as long at most; of a longer name the end is left out."""


class Curve(NamedTuple):
    """One curve and what stands at its end."""

    label: str
    look: Look
    x: Array
    y: Array
    """``(n,)``, finite and, on a logarithmic axis, positive."""
    held: bool = False
    """Whether its last value holds on to the right edge, which a thin line then shows."""


def draw(axes: Axes, curves: Sequence[Curve], height: float) -> None:
    """Draw the curves, and their labels to the right of the axes, spread so that none covers another.

    The limits and scales of the axes must be set before; `height` is theirs in inches.
    """
    right = axes.get_xlim()[1]
    ends = []
    for curve in curves:
        look = curve.look
        axes.plot(curve.x, curve.y, color=look.colour, ls=look.dash)
        axes.plot(curve.x[-1:], curve.y[-1:], color=look.colour, marker=look.marker, ms=3.5, ls="")
        if curve.held and curve.x[-1] < right:
            axes.plot([curve.x[-1], right], [curve.y[-1]] * 2, color=look.colour, lw=0.5, alpha=0.7)
        ends.append(_fraction(axes, curve.x[-1] if not curve.held else right, curve.y[-1]))
    places = spread([y for _, y in ends], LINE * SIZE / 72 / height)
    beside = blended_transform_factory(axes.transAxes, axes.transAxes)
    for curve, (x, y), place in zip(curves, ends, places, strict=True):
        colour = curve.look.colour
        axes.plot([min(x, 1.0), 1.03], [y, place], transform=beside, color=colour, lw=0.5, clip_on=False)
        axes.text(1.04, place, curve.label, transform=beside, color=colour, size=SIZE, va="center", clip_on=False)


def label(name: str, parameters: str = "") -> str:
    """A name and its parameters, in as many letters as there is room for."""
    room = LETTERS - len(parameters) - 2 * bool(parameters)
    short = name if len(name) <= room else name[: max(room - 1, 1)] + "…"
    return f"{short}  {parameters}".strip()


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights moved as little as it takes to be `gap` apart and between 0 and 1 (or centred, if too many).

    >>> spread([0.5, 0.5, 0.9], 0.25)
    [0.375, 0.625, 0.9]
    """
    order = np.argsort(heights, kind="stable")
    groups: list[list[float]] = []  # of labels that touch: lowest place, number
    for wanted in np.clip(np.array(heights, dtype=float)[order], 0.0, 1.0):
        groups.append([float(wanted), 1, float(wanted)])  # lowest place, number, sum of what its labels want
        while len(groups) > 1 and groups[-1][0] < groups[-2][0] + groups[-2][1] * gap:
            _, number, total = groups.pop()
            _, before, sum_before = groups.pop()
            groups.append(_group(int(number + before), total + sum_before, gap))
    places = [low + k * gap for low, number, _ in groups for k in range(int(number))]
    back = np.empty(len(places))
    back[order] = places
    return [round(float(place), 12) for place in back]


def _group(number: int, total: float, gap: float) -> list[float]:
    """So many labels around the mean of what they want, inside the axes if they fit."""
    length = (number - 1) * gap
    low = total / number - length / 2
    return [min(max(low, 0.0), max(1.0 - length, 0.0)) if length <= 1 else 0.5 - length / 2, number, total]


def _fraction(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A point in fractions of the axes, at the nearest edge if it is outside."""
    at = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    return float(np.clip(at[0], 0, 1)), float(np.clip(at[1], 0, 1))
