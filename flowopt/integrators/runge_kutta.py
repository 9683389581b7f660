"""Explicit Runge-Kutta schemes, each a Butcher table."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.parts import Integrator, System
from flowopt.core.state import Measure, Move, Point, Rate


def combine(weights: tuple[float, ...], rates: list[Rate]) -> Rate:
    """The weighted sum of rates, leaf by leaf; zero weights cost nothing."""
    used = [(weight, rate) for weight, rate in zip(weights, rates, strict=True) if weight]
    weight, first = used[0]
    total = {name: weight * slope for name, slope in first.items()}
    for weight, rate in used[1:]:
        total = {name: torch.add(total[name], slope, alpha=weight) for name, slope in rate.items()}
    return total


@dataclass(frozen=True)
class RungeKutta(Integrator):
    """Base of the explicit Runge-Kutta schemes: rows a_ij, weights b, and weights e of the embedded error.

    The stages that move() evaluates stand in `a`; a last entry of `e` beyond them belongs to the field at the trial,
    which is known when the trial has been measured (first same as last).
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]
    e: ClassVar[tuple[float, ...] | None] = None

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        assert point.rate is not None and measure is not None
        state, rates = point.state, [point.rate]
        for weights in self.a:
            inner = rows.advance(state, combine(weights, rates), h)
            rates.append(system.rate(inner, measure(inner["q"]), measure))
        trial = rows.advance(state, combine(self.b, rates), h)
        partial = None if self.e is None else combine(self.e[: len(rates)], rates)
        return Move(trial, partial)

    def error(self, partial: Rate | None, before: Rate | None, after: Rate | None, h: Tensor) -> Rate | None:
        if partial is None or self.e is None:
            return None
        if len(self.e) > len(self.b):
            assert after is not None
            partial = {name: torch.add(slope, after[name], alpha=self.e[-1]) for name, slope in partial.items()}
        step = rows.column(h)
        return {name: step * slope for name, slope in partial.items()}


@dataclass(frozen=True)
class Heun(RungeKutta):
    """Heun's scheme (explicit trapezium), order 2, with the embedded Euler error of order 1."""

    name = "heun"
    source = "Heun 1900"
    order = 2
    stages = 2
    error_order = 1
    a = ((1.0,),)
    b = (1 / 2, 1 / 2)
    e = (-1 / 2, 1 / 2)


@dataclass(frozen=True)
class RK4(RungeKutta):
    """The classical Runge-Kutta scheme, order 4, no error estimate."""

    name = "rk4"
    source = "Kutta 1901"
    order = 4
    stages = 4
    a = ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


@dataclass(frozen=True)
class DormandPrince(RungeKutta):
    """Dormand-Prince 5(4): order 5 with an embedded error of order 4, six gradients a step (the last one is reused)."""

    name = "dormand_prince"
    source = "Dormand, Prince 1980"
    order = 5
    stages = 6
    error_order = 4
    a = (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
    e = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
