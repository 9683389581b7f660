"""The columns of a record, listed here and nowhere else: the recorder, the files and the tables follow this list."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T")


@dataclass(eq=False)
class Columns(Generic[T]):
    """What a record shows: the point a row stood at after an attempted step, and the attempt itself."""

    x: T
    """Position, ``(T, B, D)``."""
    f: T
    """Objective, ``(T, B)``."""
    grad_norm: T
    """``|grad f|``, ``(T, B)``."""
    h: T
    """Step size of the attempt, ``(T, B)``, in the system's time; NaN at the start."""
    t: T
    """Time, ``(T, B)``: the sum of the accepted steps."""
    error: T
    """Maximum norm of the estimated local error of the attempt, ``(T, B)``; NaN where the scheme has no estimate."""
    energy: T
    """Energy or Lyapunov function on arrival, before any projection, ``(T, B)``; NaN where a method has none."""
    accepted: T
    """Whether the attempt was accepted, ``(T, B)`` bool."""
    cost: T
    """Evaluations paid so far, ``(T, B)``: a value (with or without gradient) or a Hessian-vector product is one."""

    def named(self) -> dict[str, T]:
        """The columns by their names."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(column.name for column in fields(Columns))
in_order = attrgetter(*COLUMNS)
"""The columns as a tuple, in the order of the list."""
KINDS = {"accepted": torch.bool, "cost": torch.int64}
"""Dtypes of the columns that are not numbers in the run's own."""
BLANKS = {"h": torch.nan, "error": torch.nan, "accepted": False}
"""Columns of the attempt, and what they show once a row has stopped; the others repeat its end."""
