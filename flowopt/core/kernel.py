"""The kernel: measure, judge, move.

`tell` is one step of every method, on test functions and on networks alike. It is handed the measurement at the
pending trial, judges it, commits it or rolls back (`judge`), and proposes the next trial (`propose`). These are pure
functions of tensors: what they branch on is known before the run (which parts the method has), never what the tensors
hold. A driver that tests whether a row shall go on does so between the two, so that no trial is prepared in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import IncompatibleParts
from flowopt.core.method import Method
from flowopt.core.state import Evaluation, Measure, Memory, Point, Rate, State, Step


class Carry(NamedTuple):
    """Everything a run needs between two steps, in rows."""

    point: Point
    """The last accepted point."""
    trial: State
    """The pending trial, once it is proposed: measure the objective at ``trial["q"]`` and `tell`."""
    partial: Rate | None
    """What is known of the trial's error before it is measured."""
    failed: Tensor | None
    h: Tensor
    """The step that leads to the trial, or, before it is proposed, the step that the controller wants, ``(B,)``."""
    moved: Callable[[], Tensor] | None
    """Gives the displacement ``(B, D)`` that leads to the trial, if the driver knows it better than by subtraction."""
    t: Tensor
    """Time of the last accepted point, ``(B,)``."""
    alive: Tensor
    """``(B,)`` bool; a row that is not alive stays as it is for ever."""
    memory: Memory
    settled: tuple[Memory, ...]
    """Memories of the transforms."""


class Report(NamedTuple):
    """How a trial was judged, for the record."""

    taken: Tensor
    """``(B,)`` bool: the trial became the point."""
    h: Tensor
    error: Tensor | None
    """Maximum norm of the estimated local error, ``(B,)``."""
    energy: Tensor
    """Energy on arrival, before the transforms, ``(B,)``; meaningful where taken."""


def start(
    method: Method,
    q: Tensor,
    evaluation: Evaluation,
    seeds: Tensor,
    measure: Measure | None = None,
    bare: Tensor | None = None,
) -> Carry:
    """Start a run at q ``(B, D)``, where the objective was measured; seeds ``(B,)`` int64 belong to the rows.

    `bare` is the gradient without the weight decay, where the driver has added one to the objective.
    """
    state = method.system.start(q, evaluation, measure)
    state = state if bare is None else method.system.aimed(state, bare)
    settled = tuple(transform.start(state, evaluation, seeds) for transform in method.transforms)
    state, settled = _settle(method, state, evaluation, settled)
    rate = method.system.rate(state, evaluation, measure) if method.integrator.uses_rate else None
    point = Point(state, evaluation, rate)
    h, memory = method.controller.start(_as_lowered(method, point))
    t = torch.zeros_like(evaluation.value)
    alive = rows.finite(evaluation)
    return Carry(point, state, None, None, h, None, t, alive, memory, settled)


def propose(method: Method, carry: Carry, measure: Measure | None = None, t_end: float | None = None) -> Carry:
    """Move from the point: the next trial. With `t_end` the step is shortened so as not to pass that time."""
    h = carry.h if t_end is None else until(t_end, carry.t, carry.h)
    move = method.integrator.move(method.system, carry.point, h, measure)
    trial, h = move.trial, h if move.h is None else move.h
    for transform in method.transforms:
        trial = transform.perturb(carry.point, trial, h)
    return carry._replace(trial=trial, partial=move.error, failed=move.failed, h=h)


def until(t_end: float, t: Tensor, h: Tensor) -> Tensor:
    """The step h from time t, ending at t_end at the latest; what only rounding would leave over belongs to it.

    Ten steps of 0.1 end 1.1e-16 before 1: without that there would be an eleventh.
    """
    left = t_end - t
    return torch.where(h < (1 - torch.finfo(t.dtype).eps ** 0.5) * left, h, left)


def judge(
    method: Method, carry: Carry, evaluation: Evaluation, measure: Measure | None = None, hold: bool = False
) -> tuple[Carry, Report]:
    """Judge the pending trial by its evaluation: commit it or roll back, and choose the next step size.

    A row whose evaluation is not finite ends, unless the controller can send it back. With `hold` no row ends, and
    nothing goes back to where it was without the controller: the driver keeps, of rows that are not `taken`, the carry
    it has, and measures the same trial again. A network does so, whose next batch may be a better one; it then needs
    no carry.point, if the method does not look back.
    """
    system, integrator, controller = method.system, method.integrator, method.controller
    h = carry.h

    # what is now known of the trial
    state = integrator.complete(system, carry.trial, evaluation, h)
    state = system.observe(state, evaluation, h, measure)
    rate = system.rate(state, evaluation, measure) if integrator.uses_rate else None
    known = carry.point.rate is not None
    error = integrator.error(carry.partial, carry.point.rate, rate, h) if known else None
    error_max = None if error is None else rows.max_norm(error)
    heard = evaluation
    if controller.rejects and carry.failed is not None:  # a trial that solves no equations is nothing to be judged by
        heard = evaluation._replace(value=torch.where(carry.failed, torch.nan, evaluation.value))
    arrived = Point(state, heard, rate)

    # accept or reject
    before = _as_lowered(method, carry.point) if method.looks_back else carry.point
    after = _as_lowered(method, arrived)
    step = Step(before, after, h, error, error_max, integrator.error_order or integrator.order, carry.moved)
    verdict = controller.judge(step, carry.memory)
    ok = rows.finite(evaluation)
    if carry.failed is not None:
        ok = ok & ~carry.failed
    take = carry.alive & ok
    if verdict.accept is not None:
        if not controller.rejects:
            raise IncompatibleParts(
                f"{controller.name} gives a verdict on the step, but its property `rejects` is False; return True there"
            )
        take = take & verdict.accept
    alive = carry.alive if controller.rejects or hold else take
    energy = (system.energy_at_hand if hold else system.energy)(state, evaluation)

    # commit, or roll back bit for bit
    pick = _new if hold and not controller.rejects else rows.picker(take)
    state, settled = _settle(method, state, evaluation, carry.settled)
    if rate is not None and method.transforms:
        rate = system.rate(state, evaluation, measure)
    point = pick(Point(state, evaluation, rate), carry.point)
    memory = pick(verdict.memory, carry.memory)
    t = pick(carry.t + h, carry.t)
    settled = pick(settled, carry.settled)

    carry = Carry(point, point.state, None, None, verdict.h, None, t, alive, memory, settled)
    return carry, Report(take, h, error_max, energy)


def _as_lowered(method: Method, point: Point) -> Point:
    """The point as a step-size rule sees it: with the objective that the system lowers."""
    return point._replace(evaluation=method.system.objective(point.state, point.evaluation))


def _new(new: Any, old: Any) -> Any:
    """The choice of a step that does not go back to where it was."""
    return new


def tell(
    method: Method, carry: Carry, evaluation: Evaluation, measure: Measure | None = None, t_end: float | None = None
) -> tuple[Carry, Report]:
    """Judge the pending trial by its evaluation, and propose the next one: one whole step."""
    carry, report = judge(method, carry, evaluation, measure)
    return propose(method, carry, measure, t_end), report


def _settle(
    method: Method, state: State, evaluation: Evaluation, memories: tuple[Memory, ...]
) -> tuple[State, tuple[Memory, ...]]:
    settled = []
    for transform, remembered in zip(method.transforms, memories, strict=True):
        state, memory = transform.settle(method.system, state, evaluation, remembered)
        settled.append(memory)
    return state, tuple(settled)
