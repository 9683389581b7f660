"""Rosenbrock's valley."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.problems._dimensions import check_dim, join, repeat
from flowopt.problems._library import library
from flowopt.problems._problem import Problem


@library
def rosenbrock(dim: int = 2) -> Problem:
    """Rosenbrock's curved valley: sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2.

    The start repeats the classic (-1.2, 1). From D = 4 on there is a second, local minimum near (-1, 1, ..., 1).
    """
    check_dim("rosenbrock", dim, 2)

    def value(x: Tensor) -> Tensor:
        a, b = x[..., :-1], x[..., 1:]
        return (100 * (b - a * a) ** 2 + (1 - a) ** 2).sum(-1)

    return Problem(
        name="rosenbrock",
        value=value,
        value_and_gradient=_planar if dim == 2 else _chained,
        dim=dim,
        start=repeat((-1.2, 1.0), dim),
        domain=((-2.0, 2.0),) + ((-1.0, 3.0),) * (dim - 1),
        minimisers=((1.0,) * dim,),
        minimum=0.0,
        source="Rosenbrock 1960; any dimension: De Jong 1975",
    )


def _planar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two coordinates on their own: the chain's bookkeeping of neighbours would cost as much as the arithmetic."""
    a, b = x.unbind(-1)
    r = torch.addcmul(b, a, a, value=-1)
    s = a - 1  # a number minus a tensor costs torch twice as much as the other way round
    f = torch.addcmul(s * s, r, r, value=100)
    r = r * 200
    return f, join(torch.addcmul(s, a, r, value=-1) * 2, r)


def _chained(x: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x[..., :-1], x[..., 1:]
    r = torch.addcmul(b, a, a, value=-1)
    s = a - 1
    f = torch.addcmul(s * s, r, r, value=100)
    r = r * 200
    grad = torch.zeros_like(x)
    grad[..., 1:] = r
    grad[..., :-1] += torch.addcmul(s, a, r, value=-1) * 2
    return f.sum(-1), grad
