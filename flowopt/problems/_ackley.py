"""Ackley's funnel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowopt.core.errors import check_choice, check_range
from flowopt.problems._dimensions import HUGE, check_dim, repeat
from flowopt.problems._library import library
from flowopt.problems._problem import Problem


@library
def ackley(dim: int = 2, coefficient: float = 0.2, regularised: bool = False) -> Problem:
    """Ackley's rippled funnel: -20 exp(-c sqrt(mean x_i^2)) - exp(mean cos 2 pi x_i) + 20 + e.

    coefficient   c: 0.2 in the literature; the notebook of ECDSep has 0.02, a much wider funnel.
    regularised   adds 1e-8 |x|^8, which holds far starts back: ECDSep, equation 29 (there D = 2).

    The tip at 0 has no gradient; 0 stands there, and autograd agrees. The standard start repeats ECDSep's (-4, 3).
    """
    check_dim("ackley", dim)
    check_range("ackley", "coefficient", coefficient, 0.0, HUGE, open_low=True)
    check_choice("ackley", "regularised", regularised, (False, True))

    def parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        square = (x * x).sum(-1)
        tiny = torch.finfo(x.dtype).tiny
        radius = (square / dim).clamp(min=tiny).sqrt()  # never 0: its derivative stays finite at the tip
        # expm1 of what is 0 at the minimiser: the textbook form loses all digits of f there
        funnel = torch.expm1((radius - tiny**0.5) * -coefficient)
        ripple = torch.expm1((x * math.pi).sin().square().mean(-1) * -2)
        return square, radius, funnel, ripple

    def total(square: Tensor, funnel: Tensor, ripple: Tensor) -> Tensor:
        f = torch.add(funnel * -20, ripple, alpha=-math.e)
        return torch.add(f, square.square().square(), alpha=1e-8) if regularised else f

    def value(x: Tensor) -> Tensor:
        square, _, funnel, ripple = parts(x)
        return total(square, funnel, ripple)

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        square, radius, funnel, ripple = parts(x)
        slope = (funnel + 1) / radius * (20 * coefficient / dim)
        if regularised:
            slope = torch.add(slope, square.square() * square, alpha=8e-8)
        waves = (x * (2 * math.pi)).sin() * ((ripple + 1) * (2 * math.pi * math.e / dim)).unsqueeze(-1)
        return total(square, funnel, ripple), torch.addcmul(waves, x, slope.unsqueeze(-1))

    return Problem(
        name="ackley",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=dim,
        start=repeat((-4.0, 3.0), dim),
        domain=((-5.0, 5.0),) * dim,
        minimisers=((0.0,) * dim,),
        minimum=0.0,
        source="Ackley 1987; regularised: ECDSep, equation 29",
    )
