"""Starting points as people type them, and grids of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowopt.core.errors import BadValue, check_range
from flowopt.problems import Problem

MOST_STARTS = 100_000
"""Starts that a grid may have."""


def parse_starts(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Starting points ``(B, D)`` from ``"-1.2,1"`` each; None if there are none. Raises BadValue for anything else."""
    points = []
    for text in texts:
        try:
            points.append([float(number) for number in text.replace(",", " ").split()])
        except ValueError:
            raise BadValue(f"a start is numbers with commas between them, like -1.2,1; not {text!r}") from None
        if not points[-1]:
            raise BadValue("a start is numbers with commas between them, like -1.2,1; not an empty text")
    if len({len(point) for point in points}) > 1:
        raise BadValue(f"all starts need the same number of coordinates, not {[len(point) for point in points]}")
    return np.array(points) if points else None


def grid(problem: Problem, side: int) -> NDArray[np.float64]:
    """An even grid of side^D starts ``(B, D)`` over the problem's domain, the last coordinate running fastest.

    Raises BadValue for a problem without a domain, a side below 2, or too many starts.
    """
    if problem.domain is None:
        raise BadValue(f"{problem.name} has no domain to lay a grid over; give starts with --x0")
    check_range("--grid", "N", side, 2)
    dim = len(problem.domain)
    if side**dim > MOST_STARTS:
        most = int((MOST_STARTS + 0.5) ** (1 / dim))
        raise BadValue(
            f"--grid {side} makes {side}^{dim} starts, more than {MOST_STARTS}; "
            + (f"N is at most {most} here" if most > 1 else f"{dim} coordinates are too many: give starts with --x0")
        )
    axes = np.meshgrid(*(np.linspace(low, high, side) for low, high in problem.domain), indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, dim)
