"""What the experiments run and read off: whole runs, steps to a target, grids of starts and parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowopt.core.state import Status
from flowopt.functions import _minimize as solve
from flowopt.functions._trajectory import Trajectory


def minimize(*arguments: Any, **options: Any) -> Trajectory:
    """`flowopt.minimize`, but Ctrl-C raises KeyboardInterrupt: half a run must not be held against a whole one."""
    run = solve.minimize(*arguments, **options)
    if (run.status == Status.INTERRUPTED).any():
        raise KeyboardInterrupt
    return run


def steps_to_target(run: Trajectory) -> tuple[float, ...]:
    """Steps that each row took until it converged; infinite where it did not."""
    return numbers(np.where(run.converged, run.steps, np.inf))


def grid(*axes: Iterable[float]) -> tuple[NDArray[np.float64], ...]:
    """Every value of each axis with every one of the others: one array an axis, the last one running fastest."""
    values = np.meshgrid(*[np.array(list(axis), dtype=np.float64) for axis in axes], indexing="ij")
    return tuple(value.ravel() for value in values)


def numbers(values: NDArray[Any]) -> tuple[float, ...]:
    """An array ``(B,)`` as Python floats."""
    return tuple(map(float, values))


def ends(values: NDArray[Any]) -> tuple[float, float]:
    """The smallest and the largest of many numbers."""
    return float(values.min()), float(values.max())
