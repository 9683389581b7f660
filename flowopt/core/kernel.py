"""The kernel: measure, assess, commit, propose.

One step of every method, on functions, networks and ensembles alike. The loop is *evaluation first*: whoever drives it
measures the objective at the pending trial and hands the measurement in. `assess` sees what the trial is worth,
`commit` makes it the point in the rows that the driver takes, and `propose` moves on to the next one. These are pure
functions of tensors: what they branch on is known before the run (which parts the method has), never what the tensors
hold.

Armijo's rule on f = x^2/2 from x = 1, with the first step h = 4 and then half of it. The step -h x leads to -3, where f
is 4.5 instead of at most 1/2 - 1e-4 h; with h = 2 to -1, where f is 1/2 still; and with h = 1 to the minimum. Every
rejected step starts again from 1:

>>> import flowopt
>>> method = flowopt.method("armijo", h0=4.0)
>>> bowl = lambda q: rows.evaluation(0.5 * q.square().sum(-1), q)
>>> q = torch.tensor([[1.0]])
>>> carry = propose(method, start(method, q, bowl(q), seeds=torch.tensor([0])))
>>> for _ in range(3):
...     seen = assess(method, carry, bowl(carry.trial["q"]))
...     print(carry.h.item(), carry.trial["q"].item(), seen.acceptable.item())
...     carry = propose(method, commit(method, carry, seen, take=seen.acceptable))
4.0 -3.0 False
2.0 -1.0 False
1.0 0.0 True
>>> carry.point.state["q"].item(), carry.t.item()
(0.0, 1.0)
"""

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
    # Why a step of its own and not the end of `commit`: a driver that ends rows does so between the two, and no trial
    # is prepared in vain. A scheme of several stages pays for it with gradients.
    h = carry.h if t_end is None else until(t_end, carry.t, carry.h)
    move = method.integrator.move(method.system, carry.point, h, measure)
    trial, h = move.trial, h if move.h is None else move.h
    # Why h comes from the move: a line search shortens the step itself, and time, decay and the next judgement must see
    # the step that was made.
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
    # Why evaluation first: torch.optim finds the gradient ready at step(), so a network needs no second pass; and the
    # field at the trial is at hand, so an estimate h/2 (after - before) costs nothing.
    system, integrator = method.system, method.integrator
    # Why before all else: half a kick may be missing (Stoermer-Verlet), and a memory of gradients (ECCO's z) is part of
    # the field at the trial, which the error estimate compares with the one before.
    state = integrator.complete(system, carry.trial, evaluation, carry.h)
    state = system.observe(state, evaluation, carry.h, measure)
    rate = system.rate(state, evaluation, measure) if integrator.uses_rate else None
    known = carry.point.rate is not None
    error = integrator.error(carry.partial, carry.point.rate, rate, carry.h) if known else None
    error_max = None if error is None else rows.max_norm(error)

    heard, finite = evaluation, rows.finite(evaluation)
    if carry.failed is not None:
        finite = finite & ~carry.failed
        # Why NaN for the controller: a trial that solves no equations may have a low f by chance, and only a number
        # that compares false with everything is nothing to be judged by. The record keeps what was measured.
        if method.rejects:
            heard = evaluation._replace(value=torch.where(carry.failed, torch.nan, evaluation.value))
    arrived = Point(state, heard, rate)
    # Why the lowered objective: with a weight decay w the motion lowers f + w/2 |q|^2, and a rule that judged it by f
    # would send good steps back. Why not always: a network whose rule does not look back has no point before.
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
    # Why the driver says which rows: a function ends a row whose numbers are not finite, a network waits for the next
    # batch, which may be a better one, and an ensemble keeps the row in place for the rounding of the others.
    # Why a choice by row and no `if`: rows never see each other, and asking what a tensor holds waits for the device.
    state, evaluation, rate = assessment.arrived
    pick = rows.picker(take)
    # Why only now: the controller must see where the scheme arrived. A projection put before it would hide the energy
    # error, and a rotation would turn the momentum of steps that are never taken.
    state, settled = _settle(method, state, evaluation, carry.settled)
    if rate is not None and method.transforms:
        rate = method.system.rate(state, evaluation, measure)  # that of the state as the transforms left it
    point = pick(Point(state, evaluation, rate), carry.point)
    # Why everything but h goes back: after a rejected step a run must be as if it had not been, bit for bit, and half
    # of a memory would be a wrong one (PI control's last error). Only h has to differ, or it would be made again.
    return Carry(
        point=point,
        trial=point.state,
        partial=None,
        failed=None,
        h=assessment.verdict.h,
        moved=None,
        t=pick(carry.t + assessment.h, carry.t),
        alive=carry.alive,
        memory=pick(assessment.verdict.memory, carry.memory),
        settled=pick(settled, carry.settled),
    )


def _as_lowered(method: Method, point: Point) -> Point:
    """The point as a step-size rule sees it: with the objective that the system lowers."""
    lowered = method.system.objective(point.state, point.evaluation)
    return point if lowered is point.evaluation else point._replace(evaluation=lowered)


def _settle(
    method: Method, state: State, evaluation: Evaluation, memories: tuple[Memory, ...]
) -> tuple[State, tuple[Memory, ...]]:
    settled = []
    for transform, remembered in zip(method.transforms, memories, strict=True):
        state, memory = transform.settle(method.system, state, evaluation, remembered)
        settled.append(memory)
    return state, tuple(settled)
