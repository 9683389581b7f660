"""Parts built and stepped by the bare kernel, without a driver: what contract tests are written with."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowopt.core import kernel
from flowopt.core.endings import Attempt, alive
from flowopt.core.errors import IncompatibleParts
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.parts import Part
from flowopt.core.roles import Range, roles
from flowopt.core.state import Evaluation
from flowopt.functions._objective import Objective
from flowopt.problems import Problem, problem

P = TypeVar("P", bound=Part)
Change = Callable[[int, Evaluation], Evaluation]
"""From the number of a measurement, 0 at the start, and what was measured to what the method is told."""


def build(part: type[P], **given: Any) -> P:
    """An instance; a parameter without a default is 1e-3, or in the middle of a declared range that is elsewhere."""
    declared = roles(part, Range)
    required = {
        field.name: _in_range(1e-3, declared.get(field.name))
        for field in dataclasses.fields(part)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return part(**required | given)


def _in_range(number: float, declared: Range | None) -> float:
    return number if declared is None or declared.low <= number <= declared.high else declared.at(0.5)


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


def walk(
    method: Method,
    given: Problem | str,
    x: Any,
    steps: int,
    seeds: list[int] | None = None,
    t_end: float | None = None,
    told: Change = lambda number, measured: measured,
) -> Iterator[tuple[Carry, Attempt | None]]:
    """The carry after each step of the bare kernel, the start included, with what came of that step."""
    given = problem(given) if isinstance(given, str) else given
    q = torch.as_tensor(x)
    rows = torch.arange(len(q)) if seeds is None else torch.tensor(seeds)
    objective = Objective(given, rows)
    with torch.no_grad():  # closed before every yield: a generator that waits inside would leave it on for everybody
        started = kernel.start(method, q, told(0, objective(q)), rows, objective)
        carry = kernel.propose(method, started, objective, t_end)
    yield carry, None
    for number in range(1, steps + 1):
        with torch.no_grad():
            measured = told(number, objective(carry.trial["q"]))
            carry, attempt = stepped(method, carry, measured, objective, t_end)
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
