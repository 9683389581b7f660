"""What problems share: checks of D and of vectors, starts of a pattern, gradients from coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_range

HUGE = torch.finfo(torch.float64).max
"""Upper end of a range that leaves out infinity."""


def check_dim(owner: str, dim: int, least: int = 1) -> None:
    """Raise BadValue unless dim is a whole number of at least `least`."""
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < least:
        raise BadValue(f"{owner}: dim = {dim!r} must be a whole number >= {least}")


def vector(owner: str, name: str, numbers: Any, *, positive: bool = False) -> Tensor:
    """Numbers ``(D,)`` as a float64 tensor. Raises BadValue unless all are finite (and above 0 if `positive`)."""
    try:
        result = torch.tensor(np.array(numbers, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise BadValue(f"{owner}: {name} must be numbers of shape (D,), not {numbers!r}") from error
    if result.ndim != 1 or len(result) == 0:
        raise BadValue(f"{owner}: {name} must have shape (D,) with at least one number, not {tuple(result.shape)}")
    for i, number in enumerate(result.tolist()):
        check_range(owner, f"{name}[{i}]", number, 0.0 if positive else -HUGE, HUGE, open_low=positive)
    return result


def repeat(pattern: Sequence[float], dim: int) -> tuple[float, ...]:
    """D numbers that go round and round through a pattern: ``repeat((-1.2, 1.0), 3)`` is ``(-1.2, 1.0, -1.2)``."""
    return tuple(islice(cycle(pattern), dim))


def join(*coordinates: Tensor) -> Tensor:
    """Vectors ``(..., D)`` from their coordinates ``(...)``, stored coordinate by coordinate as narrow batches are."""
    stacked = torch.stack(coordinates)
    return stacked.mT if stacked.ndim == 2 else stacked.movedim(0, -1)
