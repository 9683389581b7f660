"""How a vertical axis is scaled: to what its curves do, without the one that diverges hiding all the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Array = NDArray[Any]

DECADE = 10.0
"""An axis is logarithmic where its values are positive and span more than this factor."""
FALL = 1e3
"""An axis is symmetric-logarithmic where values go below zero by more than this many times the usual first one."""
BLOW_UP = 1e9
"""An axis is cut off at this many times the largest first value."""

BEHIND: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
"""What makes words legible that stand over curves."""


def fit(axes: Axes, curves: list[Array], blow_up: float = BLOW_UP) -> None:
    """Scale the vertical axis to the curves, each ``(n,)`` finite values with n > 0, and say where one is cut off."""
    values = np.concatenate(curves)
    low, high = float(values.min()), float(values.max())
    first = max(abs(float(curve[0])) for curve in curves)
    bound = blow_up * first
    beyond = [value for value in (low, high) if abs(value) > bound > 0]
    if beyond:
        words = "goes on to " + " and ".join(f"{value:.0e}" for value in beyond)
        axes.text(0.99, 0.97, words, transform=axes.transAxes, ha="right", va="top", fontsize=8, bbox=BEHIND)
        low, high = max(low, -bound), min(high, bound)
    # the limits come before the scale: matplotlib would first fit the scale to values that overflow
    if low > 0 and high > DECADE * low:
        room = (high / low) ** 0.06
        axes.set_ylim(low / room, high * room)
        axes.set_yscale("log")
    elif low < -FALL * first < 0:
        axes.set_ylim(3 * low, 3 * max(high, first))
        # straight between two ticks: those nearer to zero would stand on each other
        axes.set_yscale("symlog", linthresh=10.0 ** math.ceil(math.log10(first)))
    else:
        # values that are constant but for rounding are not worth a picture of the rounding
        constant = high - low <= 1e-9 * max(abs(low), abs(high))
        room = (0.5 * abs(high) or 1.0) if constant else 0.06 * (high - low)
        axes.set_ylim(low - room, high + room)
