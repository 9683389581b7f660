"""The kernel: measure, assess, commit, propose."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import IncompatibleParts
from flowopt.core.method import Method
from flowopt.core.state import Evaluation, Measure, Memory, Point, Rate, State, Step, Verdict


class Carry(NamedTuple):
    """Everything a run needs between two steps, in rows."""

    point: Point
    """The last accepted point."""
    trial: State
    """The pending trial, once it is proposed: measure the objective at ``trial["q"]``, and `assess`."""
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


class Assessment(NamedTuple):
    """What is known of a trial once it is measured, in rows; nothing has been decided yet."""

    arrived: Point
    """State, evaluation and vector field at the trial, before the transforms."""
    h: Tensor
    """The step that led there, ``(B,)``."""
    error: Tensor | None
    """Maximum norm of its estimated local error, ``(B,)``; None where there is no estimate."""
    verdict: Verdict
    """What the controller says of the step."""
    finite: Tensor
    """``(B,)`` bool: value and gradient are finite numbers, and the equations of the step were solved."""

    @property
    def acceptable(self) -> Tensor:
        """Rows, ``(B,)`` bool, that can go on from the trial, as far as the numbers and the controller go."""
        return self.finite if self.verdict.accept is None else self.finite & self.verdict.accept


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


def assess(method: Method, carry: Carry, evaluation: Evaluation, measure: Measure | None = None) -> Assessment:
    """See what the pending trial is worth, now that the objective was measured there; the carry stays as it is."""
    system, integrator = method.system, method.integrator
    state = integrator.complete(system, carry.trial, evaluation, carry.h)
    state = system.observe(state, evaluation, carry.h, measure)
    rate = system.rate(state, evaluation, measure) if integrator.uses_rate else None
    known = carry.point.rate is not None
    error = integrator.error(carry.partial, carry.point.rate, rate, carry.h) if known else None
    error_max = None if error is None else rows.max_norm(error)

    heard, finite = evaluation, rows.finite(evaluation)
    if carry.failed is not None:
        finite = finite & ~carry.failed
        if method.rejects:  # a trial that solves no equations is nothing to be judged by
            heard = evaluation._replace(value=torch.where(carry.failed, torch.nan, evaluation.value))
    arrived = Point(state, heard, rate)
    before = _as_lowered(method, carry.point) if method.looks_back else carry.point
    after = _as_lowered(method, arrived)
    step = Step(before, after, carry.h, error, error_max, integrator.error_order or integrator.order, carry.moved)
    verdict = method.controller.judge(step, carry.memory)
    if verdict.accept is not None and not method.rejects:
        raise IncompatibleParts(
            f"{method.controller.name} gives a verdict on the step, but its property `rejects` is False; return True "
            "there"
        )
    return Assessment(Point(state, evaluation, rate), carry.h, error_max, verdict, finite)


def commit(
    method: Method, carry: Carry, assessment: Assessment, take: Tensor | None = None, measure: Measure | None = None
) -> Carry:
    """Make the trial the point in the rows ``(B,)`` bool that `take` says, and leave no trace of it in the others.

    Without `take` every row goes on from its trial, and carry.point is not looked at.
    """
    state, evaluation, rate = assessment.arrived
    pick = rows.picker(take)
    state, settled = _settle(method, state, evaluation, carry.settled)
    if rate is not None and method.transforms:
        rate = method.system.rate(state, evaluation, measure)
    point = pick(Point(state, evaluation, rate), carry.point)
    return carry._replace(
        point=point,
        trial=point.state,
        partial=None,
        failed=None,
        h=assessment.verdict.h,
        moved=None,
        t=pick(carry.t + assessment.h, carry.t),
        memory=pick(assessment.verdict.memory, carry.memory),
        settled=pick(settled, carry.settled),
    )


def _as_lowered(method: Method, point: Point) -> Point:
    """The point as a step-size rule sees it: with the objective that the system lowers."""
    return point._replace(evaluation=method.system.objective(point.state, point.evaluation))


def _settle(
    method: Method, state: State, evaluation: Evaluation, memories: tuple[Memory, ...]
) -> tuple[State, tuple[Memory, ...]]:
    settled = []
    for transform, remembered in zip(method.transforms, memories, strict=True):
        state, memory = transform.settle(method.system, state, evaluation, remembered)
        settled.append(memory)
    return state, tuple(settled)
