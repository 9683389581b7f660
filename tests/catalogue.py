"""What the contract tests run over: every part and every named method, found and built, not listed by hand."""

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowopt.core._registry import discover
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.core.rows import evaluation
from flowopt.core.state import Evaluation
from flowopt.methods import METHODS
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.eadam import EAdam
from flowopt.systems.madgrad import MADGRAD
from flowopt.testing._walking import (  # noqa: F401 (tests ask here for them)
    accepts_numbers,
    build,
    fits,
    leaves,
    same,
    stepped,
    walk,
)

KINDS: tuple[type[Part], ...] = (System, Integrator, Controller, Transform)
PARTS: list[type[Part]] = [part for kind in KINDS for part in discover(kind).values()]
SYSTEMS: list[type[System]] = list(discover(System).values())
INTEGRATORS: list[type[Integrator]] = list(discover(Integrator).values())
CONTROLLERS: list[type[Controller]] = list(discover(Controller).values())
ADAPTIVE: dict[str, type[AdaptiveFlow]] = {part.name: part for part in SYSTEMS if issubclass(part, AdaptiveFlow)}

NAMES = sorted(METHODS)


def in_steps(system: AdaptiveFlow, h: float) -> tuple[AdaptiveFlow, dict[str, float]]:
    """The published optimizer whose steps follow the field of a system by a time h each, and its units.

    Averages keep their time constants. What a published step adds to a memory knows no time, so where that is not an
    average of something without a time, the memory grows with the number n of these steps that make one of the
    system's own: the units are what a memory of the field is to be multiplied by to be one of the optimizer.
    """
    n = system.step / h
    changes = {
        name: 1 - (1 - getattr(system, name)) / n for name in ("beta1", "beta2", "beta3") if hasattr(system, name)
    }
    units: dict[str, float] = {}
    rate = h
    if isinstance(system, AdaGrad):  # a sum of squares
        rate, units = system.step / n**0.5, {"v": n}
        changes["eps"] = system.eps * n**0.5
    elif isinstance(system, MADGRAD):  # it counts steps, and weighs by them
        rate, units = system.step / n**1.5, {"k": n, "m": 1 / n}
    elif isinstance(system, EAdam):  # eps is added in every step
        changes["eps"] = system.eps / n
    elif isinstance(system, AdaMod):  # an average of steps
        units = {"s": 1 / n}
    return dataclasses.replace(system, step=rate, **changes), units


class Measured:
    """A Measure that counts nothing and is written in differentiable operations, for autograd and torch.compile."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, Tensor]], hessian: Any = None) -> None:
        self.function, self._hessian = function, hessian

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        return evaluation(*self.function(q))

    def of_row(self, index: int, q: Tensor) -> Evaluation:
        return self(q)

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        return (self._hessian(q) @ vector.unsqueeze(-1)).squeeze(-1)

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._hessian(q)
