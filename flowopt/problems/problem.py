"""What a problem is: an objective function, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.errors import BadValue


@dataclass(frozen=True)
class Problem:
    """An objective f: R^D -> R with its domain, minimisers and a standard start.

    `value` maps positions ``(..., D)`` to ``(...)`` in torch operations, row by row. `value_and_gradient`, where given,
    returns both at once; without it autograd differentiates `value`.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    dim: int | None
    """D; None for a function that takes any."""
    start: tuple[float, ...] | None = None
    """The standard starting point."""
    domain: tuple[tuple[float, float], ...] | None = None
    """(low, high) per coordinate: where to look, and what a picture shows. It is not a constraint."""
    minimisers: tuple[tuple[float, ...], ...] = ()
    """The known global minimisers, as points."""
    minimum: float | None = None
    """The known global minimum of f."""
    source: str = ""
    value_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    differentiable_twice: bool = True
    """Whether autograd can differentiate `value` twice (a NumPy function: no)."""
    calls_per_difference: int = 0
    """Values that a finite-difference gradient takes per coordinate, beside the one at the point itself."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on each coordinate of the gradient."""

    def __call__(self, x: Any) -> Any:
        """f at x ``(..., D)``; an array in gives an array out, a tensor a tensor."""
        if isinstance(x, Tensor):
            return self.value(x)
        with torch.no_grad():
            return self.value(torch.as_tensor(np.asarray(x, dtype=np.float64))).numpy()

    def distance(self, x: Tensor) -> Tensor:
        """Euclidean distance ``(...)`` of x ``(..., D)`` to the nearest known minimiser; NaN if none is known."""
        if not self.minimisers:
            return torch.full(x.shape[:-1], torch.nan, dtype=x.dtype)
        known = torch.tensor(self.minimisers, dtype=x.dtype)
        return (x.unsqueeze(-2) - known).square().sum(-1).sqrt().amin(-1)

    def check_dim(self, dim: int) -> None:
        """Raise BadValue if the problem does not take vectors of that length."""
        if self.dim is not None and dim != self.dim:
            raise BadValue(f"{self.name} takes points of {self.dim} coordinates, not {dim}")
