"""Rosenbrock's valley."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.problems.library import library
from flowopt.problems.problem import Problem


@library
def rosenbrock(dim: int = 2) -> Problem:
    """Rosenbrock's curved valley: sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2."""

    def value(x: Tensor) -> Tensor:
        a, b = x[..., :-1], x[..., 1:]
        return (100 * (b - a * a) ** 2 + (1 - a) ** 2).sum(-1)

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x[..., :-1], x[..., 1:]
        r = torch.addcmul(b, a, a, value=-1)
        s = 1 - a
        f = torch.addcmul(s * s, r, r, value=100)
        r = 200 * r
        grad = torch.empty_like(x)
        grad[..., 1:] = r
        grad[..., 0] = 0
        grad[..., :-1] -= torch.addcmul(2 * s, a, r, value=2)
        return (f.sum(-1) if dim > 2 else f.squeeze(-1)), grad

    return Problem(
        name="rosenbrock",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=dim,
        start=(-1.2, 1.0) * (dim // 2) + (-1.2,) * (dim % 2),
        domain=((-2.0, 2.0),) + ((-1.0, 3.0),) * (dim - 1),
        minimisers=((1.0,) * dim,),
        minimum=0.0,
        source="Rosenbrock 1960",
    )
