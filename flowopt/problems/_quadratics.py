"""Quadratic functions: bowls, the saddle, and the two planar classics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_range
from flowopt.core.roles import Seed
from flowopt.problems._dimensions import HUGE, check_dim, join, repeat, vector
from flowopt.problems._library import library
from flowopt.problems._problem import Problem
from flowopt.problems._wrappers import rotated


@library
def bowl(coefficients: Sequence[float] = (3.0, 24.0)) -> Problem:
    """An axis-parallel bowl: sum c_i x_i^2, one positive coefficient a coordinate.

    The start repeats ELRA's (-5.75, 1.75).
    """
    c = vector("bowl", "coefficients", coefficients, positive=True)
    return Problem(
        name="bowl",
        **_form(_diagonal(2 * c)),
        dim=len(c),
        start=repeat((-5.75, 1.75), len(c)),
        domain=((-6.0, 6.0),) * len(c),
        minimisers=((0.0,) * len(c),),
        minimum=0.0,
        source="ELRA, section 4.1.2",
    )


@library
def quadratic(
    dim: int | None = None,
    condition: float | None = None,
    spectrum: Sequence[float] | None = None,
    seed: Annotated[int | None, Seed()] = None,
) -> Problem:
    """A quadratic sum lambda_i x_i^2 / 2 of a given spectrum, or of a given condition number.

    dim, condition   D eigenvalues spaced evenly in their logarithms from 1 to `condition` (default: 2 and 100).
    spectrum         the positive eigenvalues themselves, instead of `dim` and `condition`.
    seed             turns the axes by a random rotation drawn with this seed; axis-parallel if None.

    The start is (1, ..., 1), turned likewise: our choice, with a share in every eigenvector.
    """
    if spectrum is not None:
        if dim is not None or condition is not None:
            raise BadValue("quadratic: give spectrum, or dim and condition, not both")
        eigenvalues = vector("quadratic", "spectrum", spectrum, positive=True)
    else:
        dim = 2 if dim is None else dim
        condition = 100.0 if condition is None else condition
        check_dim("quadratic", dim)
        check_range("quadratic", "condition", condition, 1.0, HUGE)
        if dim == 1 and condition != 1:
            raise BadValue(f"quadratic: one eigenvalue has condition number 1, not {condition!r}")
        eigenvalues = torch.from_numpy(np.geomspace(1.0, condition, dim))
    count = len(eigenvalues)
    problem = Problem(
        name="quadratic",
        **_form(_diagonal(eigenvalues)),
        dim=count,
        start=(1.0,) * count,
        domain=((-2.0, 2.0),) * count,
        minimisers=((0.0,) * count,),
        minimum=0.0,
        source="textbook",
    )
    return problem if seed is None else replace(rotated(problem, seed), name="quadratic")


@library
def saddle(angle: float = 0.0) -> Problem:
    """The saddle x^2 - y^2, turned counter-clockwise by `angle` radians. It has no minimum.

    The start is ELRA's (1, 1e-9) turned likewise, so every angle is the same problem seen from another side (in
    float64: float32 cannot hold the 1e-9 of a turned start).
    """
    check_range("saddle", "angle", angle, -HUGE, HUGE)
    c, s = 2 * math.cos(2 * angle), 2 * math.sin(2 * angle)

    def gradient(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return join(a * c + b * s, a * s - b * c)

    return Problem(
        name="saddle",
        **_form(gradient),
        dim=2,
        start=(math.cos(angle) - 1e-9 * math.sin(angle), math.sin(angle) + 1e-9 * math.cos(angle)),
        domain=((-2.0, 2.0),) * 2,
        source="ELRA, section 4.1.1",
    )


@library
def booth() -> Problem:
    """Booth's tilted bowl: (x + 2y - 7)^2 + (2x + y - 5)^2.

    The start is our choice.
    """

    def value(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return (a + 2 * b - 7).square() + (2 * a + b - 5).square()

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.unbind(-1)
        u, v = a + 2 * b - 7, 2 * a + b - 5
        return torch.addcmul(u * u, v, v), join(2 * u + 4 * v, 4 * u + 2 * v)

    return Problem(
        name="booth",
        value=value,
        value_and_gradient=value_and_gradient,
        dim=2,
        start=(-5.0, -5.0),
        domain=((-10.0, 10.0),) * 2,
        minimisers=((1.0, 3.0),),
        minimum=0.0,
        source="Jamil and Yang 2013",
    )


@library
def matyas() -> Problem:
    """Matyas's long plate: 0.26 (x^2 + y^2) - 0.48 x y, condition number 25.

    The start is our choice.
    """

    def gradient(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return join(0.52 * a - 0.48 * b, 0.52 * b - 0.48 * a)

    return Problem(
        name="matyas",
        **_form(gradient),
        dim=2,
        start=(8.0, -4.0),
        domain=((-10.0, 10.0),) * 2,
        minimisers=((0.0, 0.0),),
        minimum=0.0,
        source="Jamil and Yang 2013",
    )


def _diagonal(eigenvalues: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x * eigenvalues.to(x)


def _form(gradient: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Value and gradient of the quadratic form x . H x / 2 from the function x -> H x."""

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        grad = gradient(x)
        return (x * grad).sum(-1) / 2, grad

    return {"value": lambda x: value_and_gradient(x)[0], "value_and_gradient": value_and_gradient}
