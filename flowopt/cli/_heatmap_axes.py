"""Axes of a heat map as people type them."""

from __future__ import annotations

import math
from typing import Any

from flowopt.cli._networks import check_optimizer
from flowopt.core.errors import BadValue
from flowopt.training._heat_map import Axis, check_once

FORM = "an axis is NAME=FIRST:LAST:COUNT (evenly spaced powers), as lr=1e-5:1:6, or NAME=VALUE,VALUE,..., not "
MOST = 200
"""Values that an axis may have."""


def parse_axes(x: str, y: str, method: str, fixed: dict[str, Any]) -> tuple[Axis, Axis]:
    """The two axes, and a look whether the method, with its parameters `fixed`, can have each of their values.

    Raises BadValue and UnknownName for a text of another form, and for what the method does not take.
    """
    axes = across, up = parse_axis(x, method), parse_axis(y, method)
    check_once(*axes, fixed)
    for axis, other in ((across, up), (up, across)):
        for value in axis.settings:
            check_optimizer(method, fixed | {other.parameter: other.settings[0], axis.parameter: value})
    return axes


def parse_axis(text: str, method: str) -> Axis:
    """Take ``lr=1e-5:1:6`` or ``lr=1e-3,1e-2`` apart.

    >>> parse_axis("eps=1e-4:1e-2:3", "adam").values
    (0.0001, 0.001, 0.01)

    Raises BadValue and UnknownName for a text of another form, and for a parameter that the method does not have.
    """
    name, _, numbers = text.partition("=")
    try:
        values = _spaced(numbers) if ":" in numbers else tuple(float(number) for number in numbers.split(","))
    except ValueError as error:
        raise BadValue(f"{FORM}{text!r}{f': {error}' if isinstance(error, BadValue) else ''}") from error
    return Axis.checked(name.strip(), values, method)


def parse_bounds(text: str | None) -> tuple[float, float] | None:
    """Take ``1e-6,1e-1`` apart. Raises BadValue for anything but two numbers, 0 < lower < upper."""
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise BadValue(f"--bounds are LOWER,UPPER, as 1e-6,1e-1, not {text!r}") from None
    if not 0 < low < high < math.inf:
        raise BadValue(f"--bounds are 0 < LOWER < UPPER, not {text!r}")
    return low, high


def _spaced(text: str) -> tuple[float, ...]:
    first, last, count = text.split(":")
    ends, number = (float(first), float(last)), int(count)
    if not all(0 < end < math.inf for end in ends) or ends[0] == ends[1]:
        raise BadValue("FIRST and LAST must be different numbers above 0")
    if not 2 <= number <= MOST:
        raise BadValue(f"COUNT must be from 2 to {MOST}")
    low, high = map(math.log10, ends)
    # in 12 digits, so that a power of ten is the number that one would write
    return tuple(float(f"{10 ** (low + (high - low) * k / (number - 1)):.12g}") for k in range(number))
