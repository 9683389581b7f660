"""Which pre-activations a move carries across zero, how far it could go, and the readings of 'the delta of a layer'."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDING = 4.0
"""A pre-activation within so many rounding errors of zero has no sign."""


def crossings(a: Tensor, da: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """delta_i = -a_i/da_i where a_i and a_i + da_i have opposite signs, else 1; and where. Flat. NaN does not cross.

    magnitude: sum of the absolute values of the terms of a. A unit that a limited step has put on zero is there only
    to within rounding; limited once more, its layer would take steps too short to change a parameter, for ever.
    """
    off_zero = a.abs() > _ROUNDING * torch.finfo(a.dtype).eps * magnitude
    crossing = (off_zero & (a.sign() * (a + da).sign() < 0)).flatten()
    return torch.where(crossing, (-a / da).flatten(), 1.0).clamp(min=torch.finfo(a.dtype).tiny), crossing


def smallest(deltas: Tensor, crossing: Tensor) -> Tensor:
    """``min(1, min_i delta_i)``."""
    return deltas.amin()


def median(deltas: Tensor, crossing: Tensor) -> Tensor:
    """Median over the crossings (of an even number, the mean of the middle two); 1 if there are none."""
    ordered, count = torch.where(crossing, deltas, torch.inf).sort().values, crossing.sum()
    middle = torch.stack(((count - 1) // 2, count // 2)).clamp(0, len(deltas) - 1)
    return torch.where(count > 0, ordered.gather(0, middle).mean(), 1.0)


def largest(deltas: Tensor, crossing: Tensor) -> Tensor:
    """``max_i delta_i`` over the crossings; 1 if there are none."""
    return torch.where(crossing.any(), torch.where(crossing, deltas, 0.0).amax(), 1.0)


READINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "batch_mean": smallest,  # of a and da averaged over the batch
    "every_sample": smallest,
    "median": median,
    "max": largest,
}
"""The delta of a layer from those of its units."""
