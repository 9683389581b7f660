"""Polynomials of the fourth degree and above, planar or in any dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.problems._dimensions import check_dim, join, repeat
from flowopt.problems._library import library
from flowopt.problems._problem import Problem


@library
def beale() -> Problem:
    """Beale's flat corner: sum over i = 1, 2, 3 of (c_i - x (1 - y^i))^2 with c = 1.5, 2.25, 2.625."""

    def value(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        b2 = b * b
        return (1.5 - a * (1 - b)).square() + (2.25 - a * (1 - b2)).square() + (2.625 - a * (1 - b2 * b)).square()

    return Problem(
        name="beale",
        value=value,
        dim=2,
        start=(1.0, 1.0),
        domain=((-4.5, 4.5),) * 2,
        minimisers=((3.0, 0.5),),
        minimum=0.0,
        source="Beale 1958; start: More, Garbow and Hillstrom 1981, function 5",
    )


@library
def himmelblau() -> Problem:
    """Himmelblau's four equal minima: (x^2 + y - 11)^2 + (x + y^2 - 7)^2.

    The start is our choice.
    """

    def value(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return (a * a + b - 11).square() + (a + b * b - 7).square()

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.unbind(-1)
        u, v = a * a + b - 11, a + b * b - 7
        return torch.addcmul(u * u, v, v), join(4 * a * u + 2 * v, 2 * u + 4 * b * v)

    return Problem(
        name="himmelblau",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=2,
        start=(0.0, 0.0),
        domain=((-5.0, 5.0),) * 2,
        minimisers=(
            (3.0, 2.0),
            (-2.805118086952744853, 3.131312518250572966),
            (-3.779310253377746892, -3.283185991286169412),
            (3.584428340330491745, -1.848126526964403554),
        ),
        minimum=0.0,
        source="Himmelblau 1972",
    )


@library
def styblinski_tang(dim: int = 2) -> Problem:
    """Styblinski and Tang's 2^D wells: sum of (x_i^4 - 16 x_i^2 + 5 x_i) / 2.

    The start is our choice: 0, beside the top between the wells.
    """
    check_dim("styblinski_tang", dim)

    def value(x: Tensor) -> Tensor:
        return (x * ((x * x - 16) * x + 5)).sum(-1) / 2

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        return value(x), (x * x * 2 - 16) * x + 2.5

    return Problem(
        name="styblinski_tang",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=dim,
        start=(0.0,) * dim,
        domain=((-5.0, 5.0),) * dim,
        minimisers=((-2.903534027771177095,) * dim,),
        minimum=-39.16616570377141546 * dim,
        source="Styblinski and Tang 1990",
    )


@library
def dixon_price(dim: int = 2) -> Problem:
    """Dixon and Price's valley: (x_1 - 1)^2 + sum over i > 1 of i (2 x_i^2 - x_{i-1})^2.

    A minimiser's last coordinate is free in its sign; the others are square roots. The start is our choice.
    """
    check_dim("dixon_price", dim)
    numbers = torch.arange(2, dim + 1, dtype=torch.float64)
    roots = tuple(2.0 ** (2.0 ** (1 - i) - 1) for i in range(1, dim + 1))

    def value(x: Tensor) -> Tensor:
        steps = 2 * x[..., 1:].square() - x[..., :-1]
        return (x[..., 0] - 1).square() + (numbers.to(x) * steps.square()).sum(-1)

    return Problem(
        name="dixon_price",
        value=value,
        dim=dim,
        start=repeat((-5.0, 5.0), dim),
        domain=((-10.0, 10.0),) * dim,
        minimisers=(roots,) if dim == 1 else (roots, (*roots[:-1], -roots[-1])),
        minimum=0.0,
        source="Dixon and Price 1989",
    )


@library
def three_hump_camel() -> Problem:
    """The three-hump camel: 2 x^2 - 1.05 x^4 + x^6 / 6 + x y + y^2.

    The start, beside a local minimum, is our choice.
    """

    def value(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        a2 = a * a
        return ((a2 / 6 - 1.05) * a2 + 2) * a2 + (a + b) * b

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.unbind(-1)
        a2 = a * a
        return value(x), join(((a2 - 4.2) * a2 + 4) * a + b, a + 2 * b)

    return Problem(
        name="three_hump_camel",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=2,
        start=(2.0, -2.0),
        domain=((-5.0, 5.0),) * 2,
        minimisers=((0.0, 0.0),),
        minimum=0.0,
        source="Jamil and Yang 2013",
    )


@library
def goldstein_price() -> Problem:
    """Goldstein and Price's product of two polynomials, up to six orders of magnitude high.

    The start is our choice.
    """

    def value(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        first = 19 - 14 * a + 3 * a * a - 14 * b + 6 * a * b + 3 * b * b
        second = 18 - 32 * a + 12 * a * a + 48 * b - 36 * a * b + 27 * b * b
        return (1 + (a + b + 1).square() * first) * (30 + (2 * a - 3 * b).square() * second)

    return Problem(
        name="goldstein_price",
        value=value,
        dim=2,
        start=(1.0, 1.0),
        domain=((-2.0, 2.0),) * 2,
        minimisers=((0.0, -1.0),),
        minimum=3.0,
        source="Goldstein and Price 1971",
    )
