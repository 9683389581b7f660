"""Many local minima from cosines: Rastrigin, Griewank, Levy, Michalewicz, Easom."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowopt.problems._dimensions import check_dim, repeat
from flowopt.problems._library import library
from flowopt.problems._problem import Problem


@library
def rastrigin(dim: int = 2) -> Problem:
    """Rastrigin's egg box: sum of x_i^2 + 10 (1 - cos 2 pi x_i).

    The start, some waves away, is our choice.
    """
    check_dim("rastrigin", dim)

    def value(x: Tensor) -> Tensor:
        return (x * x + 20 * (x * math.pi).sin().square()).sum(-1)

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        return value(x), torch.add(x * 2, (x * (2 * math.pi)).sin(), alpha=20 * math.pi)

    return Problem(
        name="rastrigin",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=dim,
        start=repeat((-3.3, 2.2), dim),
        domain=((-5.12, 5.12),) * dim,
        minimisers=((0.0,) * dim,),
        minimum=0.0,
        source="Rastrigin 1974; any dimension: Muehlenbein, Schomisch and Born 1991",
    )


@library
def griewank(dim: int = 2) -> Problem:
    """Griewank's waves on a very flat bowl: sum x_i^2 / 4000 - prod cos(x_i / sqrt i) + 1.

    The domain is our choice: in the literature's (-600, 600) the waves are too fine to be seen. So is the start.
    """
    check_dim("griewank", dim)
    roots = torch.arange(1, dim + 1, dtype=torch.float64).sqrt()

    def value(x: Tensor) -> Tensor:
        return (x * x).sum(-1) / 4000 + (1 - (x / roots.to(x)).cos().prod(-1))

    return Problem(
        name="griewank",
        value=value,
        dim=dim,
        start=repeat((-7.0, 5.0), dim),
        domain=((-10.0, 10.0),) * dim,
        minimisers=((0.0,) * dim,),
        minimum=0.0,
        source="Griewank 1981",
    )


@library
def levy(dim: int = 2) -> Problem:
    """Levy's function: a bowl in u = (x - 1) / 4, corrugated by squared sines.

    sin^2(pi u_1) + sum over i < D of u_i^2 (1 + 10 sin^2(pi u_i + 1)) + u_D^2 (1 + sin^2(2 pi u_D)): the same
    function as the literature's, which is written in w = 1 + u, but exact at the minimiser. The start is our choice.
    """
    check_dim("levy", dim)

    def value(x: Tensor) -> Tensor:
        u = (x - 1) / 4
        first, inner, last = u[..., 0], u[..., :-1], u[..., -1]
        middle = (inner.square() * (1 + 10 * (inner * math.pi + 1).sin().square())).sum(-1)
        end = last.square() * (1 + (last * (2 * math.pi)).sin().square())
        return (first * math.pi).sin().square() + middle + end

    return Problem(
        name="levy",
        value=value,
        dim=dim,
        start=repeat((-7.0, 5.0), dim),
        domain=((-10.0, 10.0),) * dim,
        minimisers=((1.0,) * dim,),
        minimum=0.0,
        source="Levy and Montalvo 1985, in the form of Laguna and Marti 2005",
    )


@library
def michalewicz(dim: int = 2) -> Problem:
    """Michalewicz's steep ridges: -sum sin(x_i) sin^20(i x_i^2 / pi).

    The minimum is that of the domain (0, pi)^D, known here up to D = 10: the coordinates are independent. The start, on
    a slope, is our choice (much of the domain is flat).
    """
    check_dim("michalewicz", dim)
    numbers = torch.arange(1, dim + 1, dtype=torch.float64)
    known = dim <= len(_RIDGES)

    def value(x: Tensor) -> Tensor:
        s = (numbers.to(x) * x * x / math.pi).sin()
        s4 = s.square().square()
        s10 = (s4 * s).square()  # pow(20) rounds otherwise in vector registers than in the rest of a batch
        return -(x.sin() * s10.square()).sum(-1)

    return Problem(
        name="michalewicz",
        value=value,
        dim=dim,
        start=repeat((2.0, 1.7), dim),
        domain=((0.0, math.pi),) * dim,
        minimisers=(tuple(x for x, _ in _RIDGES[:dim]),) if known else (),
        minimum=math.fsum(f for _, f in _RIDGES[:dim]) if known else None,
        source="Michalewicz 1992",
    )


_RIDGES = (
    (2.202905520172609346, -0.8013034100985525327),
    (1.570796326794896619, -1.0),
    (1.284991570552924360, -0.9590912698960059482),
    (1.923058469866362843, -0.9384624184720834101),
    (1.720469772565841280, -0.9888010806215043611),
    (1.570796326794896619, -1.0),
    (1.454413971362379028, -0.9932271353558816045),
    (1.756086520945026373, -0.9828720362722105987),
    (1.655717416821029104, -0.9963943649251029582),
    (1.570796326794896619, -1.0),
)
"""Michalewicz coordinate by coordinate: the minimiser in (0, pi) and the minimum, computed with 50 digits."""


@library
def easom() -> Problem:
    """Easom's needle: -cos x cos y exp(-(x - pi)^2 - (y - pi)^2), flat but for one dip.

    The domain is our choice (the literature also has (-100, 100), where the dip is a dot). So is the start, on the
    rim of the dip.
    """

    def value(x: Tensor) -> Tensor:
        a, b = x.cos().unbind(-1)
        return -(a * b) * (-(x - math.pi).square().sum(-1)).exp()

    return Problem(
        name="easom",
        value=value,
        dim=2,
        start=(2.0, 2.0),
        domain=((-10.0, 10.0),) * 2,
        minimisers=((math.pi, math.pi),),
        minimum=-1.0,
        source="Easom 1990",
    )
