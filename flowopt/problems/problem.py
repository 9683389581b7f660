"""What a problem is: an objective function, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.errors import BadValue


@dataclass(eq=False)
class Batching:
    """How a problem's functions take a batch of points."""

    how: str
    """In words."""
    row_by_row: bool = False
    """Whether a batch costs a call a row."""
    tried: dict[str, int] = field(default_factory=dict)
    """Calls of a user's functions that finding out took, by kind: every row counts them among its evaluations."""


TRUSTED = Batching("takes batches")
"""Of functions that are known to map ``(..., D)`` to ``(...)`` row by row, and to leave their argument alone."""


@dataclass(frozen=True)
class Problem:
    """An objective f: R^D -> R with its domain, minimisers and a standard start.

    `value` maps positions ``(..., D)`` to ``(...)`` in torch operations, row by row, or one point ``(D,)`` to a number.
    `value_and_gradient`, where given, returns both at once; without it autograd differentiates `value`.
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
    batching: Batching | None = field(default=None, repr=False)
    """None for a user's functions; a run finds it out at its first evaluation, see `flowopt.minimize`."""

    def __call__(self, x: Any) -> Any:
        """f at x ``(..., D)``; an array in gives an array out, a tensor a tensor."""
        if isinstance(x, Tensor):
            return self._understood(x).value(x)
        with torch.no_grad():
            points = torch.as_tensor(np.array(x, dtype=np.float64))
            return self._understood(points).value(points).numpy()

    def _understood(self, x: Tensor) -> Problem:
        from flowopt.problems.batching import understood  # which needs the class

        return understood(self, x.detach().reshape(-1, x.shape[-1])) if x.numel() else self

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
