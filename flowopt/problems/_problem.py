"""What a problem is: an objective function, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue
from flowopt.problems._batching import Batching, Learner


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
            return self._at(x)
        with torch.no_grad():
            return self._at(torch.as_tensor(np.array(x, dtype=np.float64))).numpy()

    def understood(self, starts: Tensor) -> Problem:
        """The problem with functions of batches that are safe to call: how is found out when they are first called.

        The points to try lie near the starts ``(B, D)``. A problem of which it is known comes back as it is. The first
        call raises BadValue for a function that returns something else than real numbers, and what the function raises.
        """
        if self.batching is not None:
            return self
        batching = Batching("not called")
        values = Learner(self.name, self.value, starts, batching, outputs=1)
        both = values.value_and_gradient
        if self.value_and_gradient is not None:
            both = Learner(self.name, self.value_and_gradient, starts, batching, outputs=2).value_and_gradient
        return replace(self, value=values.value, value_and_gradient=both, batching=batching)

    def _at(self, x: Tensor) -> Tensor:
        known = self.understood(x.detach().reshape(-1, x.shape[-1])) if x.numel() else self
        return known.value(x)

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
