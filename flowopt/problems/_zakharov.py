"""Zakharov's shallow valley."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.problems._dimensions import check_dim
from flowopt.problems._library import library
from flowopt.problems._problem import Problem


@library
def zakharov(dim: int = 2) -> Problem:
    """Zakharov's valley: sum x_i^2 + w^2 + w^4 with w = sum i x_i / 2: flat, but for one steep direction.

    The standard start is (1, ..., 1), ECDSep's.
    """
    check_dim("zakharov", dim)
    numbers = torch.arange(1, dim + 1, dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        w2 = (numbers.to(x) * x).sum(-1).square() / 4
        return (x * x).sum(-1) + w2 + w2 * w2

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        i = numbers.to(x)
        w = (i * x).sum(-1) / 2
        w2 = w * w
        f = torch.addcmul((x * x).sum(-1) + w2, w2, w2)
        slope = torch.addcmul(w, w, w2, value=2)
        return f, torch.addcmul(x * 2, slope.unsqueeze(-1), i)

    return Problem(
        name="zakharov",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=dim,
        start=(1.0,) * dim,
        domain=((-5.0, 10.0),) * dim,
        minimisers=((0.0,) * dim,),
        minimum=0.0,
        source="Jamil and Yang 2013, function 173; ECDSep, equation 28",
    )
