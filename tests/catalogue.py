"""What the contract tests run over: every part and every named method, found and built, not listed by hand."""

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowopt.core import kernel
from flowopt.core._registry import discover
from flowopt.core.endings import Attempt, alive
from flowopt.core.errors import IncompatibleParts
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.core.rows import evaluation
from flowopt.core.state import Evaluation
from flowopt.functions._objective import Objective
from flowopt.methods import METHODS
from flowopt.problems import Problem, problem
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.eadam import EAdam
from flowopt.systems.madgrad import MADGRAD

KINDS: tuple[type[Part], ...] = (System, Integrator, Controller, Transform)
PARTS: list[type[Part]] = [part for kind in KINDS for part in discover(kind).values()]
SYSTEMS: list[type[System]] = list(discover(System).values())
INTEGRATORS: list[type[Integrator]] = list(discover(Integrator).values())
CONTROLLERS: list[type[Controller]] = list(discover(Controller).values())
ADAPTIVE: dict[str, type[AdaptiveFlow]] = {part.name: part for part in SYSTEMS if issubclass(part, AdaptiveFlow)}

NAMES = sorted(METHODS)


def build(part: type[Part], **given: Any) -> Any:
    """An instance; parameters without a default are step sizes or tolerances, for which 1e-3 will do."""
    required = {
        field.name: 1e-3
        for field in dataclasses.fields(part)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return part(**required | given)


def accepts_numbers(part: type[Part], name: str) -> bool:
    """Whether a parameter is a number (and not a choice of words or a switch)."""
    hint = typing.get_type_hints(part)[name]
    kinds = set(typing.get_args(hint)) | {hint}
    return bool(kinds & {int, float})


def fits(*parts: Any) -> bool:
    """Whether a Method can be built of these parts."""
    try:
        Method(*parts)
    except IncompatibleParts:
        return False
    return True


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


def walk(
    method: Method,
    given: Problem | str,
    x: Any,
    steps: int,
    seeds: list[int] | None = None,
    t_end: float | None = None,
) -> Iterator[tuple[Carry, Attempt | None]]:
    """The carry after each step of the bare kernel, the start included, with what came of that step."""
    given = problem(given) if isinstance(given, str) else given
    q = torch.as_tensor(x)
    rows = torch.arange(len(q)) if seeds is None else torch.tensor(seeds)
    objective = Objective(given, rows)
    with torch.no_grad():  # closed before every yield: a generator that waits inside would leave it on for everybody
        carry = kernel.propose(method, kernel.start(method, q, objective(q), rows, objective), objective, t_end)
    yield carry, None
    for _ in range(steps):
        with torch.no_grad():
            carry, attempt = stepped(method, carry, objective(carry.trial["q"]), objective, t_end)
        yield carry, attempt


def stepped(
    method: Method, carry: Carry, evaluation: Evaluation, measure: Any = None, t_end: float | None = None
) -> tuple[Carry, Attempt]:
    """One step of the bare kernel: what is acceptable is taken."""
    assessment = kernel.assess(method, carry, evaluation, measure)
    take = carry.alive & assessment.acceptable
    carry = kernel.commit(method, carry, assessment, take, measure)
    carry = carry._replace(alive=alive(method, carry, take))
    return kernel.propose(method, carry, measure, t_end), Attempt.of(assessment, take)


def leaves(record: Any, path: str = "") -> dict[str, Tensor]:
    """Every tensor of a record, by where it stands."""
    if isinstance(record, Tensor):
        return {path: record}
    found: dict[str, Tensor] = {}
    if isinstance(record, dict):
        for name, item in record.items():
            found |= leaves(item, f"{path}.{name}")
    elif isinstance(record, tuple):
        names = getattr(record, "_fields", range(len(record)))
        for name, item in zip(names, record, strict=True):
            found |= leaves(item, f"{path}.{name}")
    return found


def same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, NaN included."""
    return (
        a.dtype == b.dtype
        and torch.equal(a.nan_to_num(nan=12345.678), b.nan_to_num(nan=12345.678))
        and (torch.equal(a.isnan(), b.isnan()))
    )
