"""Why a row stopped: the codes, and the sentences with their cures, decided here for functions, networks and ensembles.

A driver says which tests it asks for (`Endings`): a network, whose next batch is another function, asks neither for a
small gradient nor whether a step would be tried once more; a function asks for all of it. What ends a row by itself is
the same for all: numbers that are not finite, equations that were not solved, a system at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from flowopt.core import reasons, rows
from flowopt.core._blocks import Blocks
from flowopt.core.kernel import Assessment, Carry, until
from flowopt.core.method import Method
from flowopt.core.parts import Controller
from flowopt.core.reasons import REASONS, Reason
from flowopt.core.state import Evaluation, Point, State, Status

NOW_AND_THEN = 16
"""Steps between two looks at whether time still advances."""


class Attempt(NamedTuple):
    """What came of the last attempt, in rows."""

    taken: Tensor
    """``(B,)`` bool: the trial became the point."""
    h: Tensor
    """The step that led to the trial; NaN before the first."""
    error: Tensor | None
    """Maximum norm of its estimated local error, ``(B,)``."""
    state: State
    """The state at the trial, before the transforms."""
    evaluation: Evaluation
    """What was measured there."""

    @classmethod
    def of(cls, assessment: Assessment, taken: Tensor) -> Self:
        """Of a trial that was taken in these rows."""
        state, evaluation, _ = assessment.arrived
        return cls(taken, assessment.h, assessment.error, state, evaluation)

    @classmethod
    def start(cls, carry: Carry) -> Self:
        """Before the first step: the start is a trial that no step led to."""
        state, evaluation, _ = carry.point
        return cls(carry.alive, torch.full_like(carry.t, torch.nan), None, state, evaluation)


@dataclass(frozen=True)
class Endings:
    """The tests that end a row. What a driver leaves out it does not ask for."""

    gtol: float | None = None
    """Converged where ``|grad f| <= gtol``; of a system with a weight decay w, the gradient of f + w/2 |x|^2."""
    f_target: float | None = None
    """Converged where ``f <= f_target``."""
    t_end: float | None = None
    h_min: float = 0.0
    """A step below it is too small; so is one that is not a number."""
    same_objective: bool = False
    """Every step measures the same function, so that one that leads nowhere would be made for ever: a row that is sent
    back to the step it came from, a flow whose time no longer advances."""

    def stopped(self, method: Method, carry: Carry, last: Attempt, attempts: int) -> Tensor | None:
        """Rows, ``(B,)`` bool, that one of the tests ends; None where all go on. NaN compares false, so it ends a row.

        Asked after every step, so it gives no reason; whether the time of a row stands still is looked at only now and
        then.
        """
        measured = carry.point.evaluation
        go: Tensor = carry.alive & (carry.h.abs() >= self.h_min)
        if self.f_target is not None:
            go = go & (measured.value > self.f_target)
        if self.t_end is not None:
            go = go & ~self._there(self.t_end, carry.t)
        if self.same_objective:
            if method.rejects and not rows.surely(last.taken):
                go = go & ~self.same_again(carry, last)
            if attempts % NOW_AND_THEN == 0 and method.controller.follows_time:
                go = go & (carry.t + carry.h != carry.t)
        outcome = method.system.outcome(carry.point.state, measured)
        if outcome is not None:
            go = go & (outcome == 0)
        if self.gtol is not None:
            judged = method.system.objective(carry.point.state, measured)
            if rows.every(go & (judged.square > max(self.gtol**2, rows.TINY[judged.square.dtype]))):
                return None
            go = go & (rows.slope(judged) > self.gtol)
        stopped = ~go
        return stopped if bool(stopped.any()) else None

    def codes(self, method: Method, carry: Carry, last: Attempt, attempts: int) -> Tensor:
        """Status codes ``(B,)``, RUNNING where no test ends the row; a later line overrules an earlier one."""
        code = torch.zeros_like(carry.t, dtype=torch.int64)
        if self.same_objective:
            stands = self.same_again(carry, last) & method.rejects
            if method.controller.follows_time:
                stands = stands | (carry.t + carry.h == carry.t)
            code = code.masked_fill(stands, Status.STEP_TOO_SMALL)
        code = code.masked_fill(~(carry.h.abs() >= self.h_min), Status.STEP_TOO_SMALL)
        if not rows.surely(carry.alive):
            code = torch.where(carry.alive, code, _lost(carry, last, attempts))
        ended = of_system(method, carry.point)
        if ended is not None:
            code = torch.where(carry.alive & (ended != 0), ended, code)
        if self.t_end is not None:
            code = code.masked_fill(self._there(self.t_end, carry.t), Status.TIME_REACHED)
        if self.gtol is None and self.f_target is None:
            return code
        measured = carry.point.evaluation
        known = rows.finite(measured)  # at the start it may not be
        if self.gtol is not None:
            judged = method.system.objective(carry.point.state, measured)
            code = code.masked_fill(known & (rows.slope(judged) <= self.gtol), Status.CONVERGED)
        if self.f_target is not None:
            code = code.masked_fill(known & (measured.value <= self.f_target), Status.CONVERGED)
        return code

    def reached(self, f: float, slope: float) -> bool:
        """Whether one row has converged, as far as its f and ``|grad f|`` go."""
        small = self.gtol is not None and slope <= self.gtol
        return small or (self.f_target is not None and f <= self.f_target)

    def same_again(self, carry: Carry, last: Attempt) -> Tensor:
        """Rows that were sent back and would only try the same step once more: all of it would be as it was."""
        h = carry.h if self.t_end is None else until(self.t_end, carry.t, carry.h)
        again: Tensor = ~last.taken & (h == last.h)
        return again

    def _there(self, t_end: float, t: Tensor) -> Tensor:
        """Whether t_end is reached, to the last bit."""
        return t >= t_end * (1 - torch.finfo(t.dtype).eps)


def alive(method: Method, carry: Carry, take: Tensor) -> Tensor:
    """Rows ``(B,)`` bool that go on: one that cannot be taken ends, unless its method can send it back."""
    return carry.alive if method.rejects else take


def of_system(method: Method, point: Point) -> Tensor | None:
    """Status codes ``(B,)`` of systems that came to their end at finite numbers, else 0; None: it never ends a row."""
    outcome = method.system.outcome(point.state, point.evaluation)
    return None if outcome is None else torch.where(rows.finite(point.evaluation), outcome.to(torch.int64), 0)


def too_large(leaf: Tensor) -> float:
    """Numbers above it are on their way beyond all numbers of the leaf's dtype: they cannot be squared twice.

    >>> f"{too_large(torch.zeros(1, dtype=torch.float64)):.0e}, {too_large(torch.zeros(1)):.0e}"
    '1e+77, 4e+09'
    """
    dtype = leaf.parts[0].dtype if isinstance(leaf, Blocks) else leaf.dtype
    large: float = torch.finfo(dtype).max ** 0.25
    return large


def _lost(carry: Carry, last: Attempt, attempts: int) -> Tensor:
    """Why rows ``(B,)`` ended that had to be taken and could not be."""
    trial = last.state["q"]
    large = too_large(trial)
    # too large to square, or beyond all numbers on its way there; else the numbers are no fault of the steps
    on_its_way = (carry.point.evaluation.square > large) | ~(rows.max_norm({"q": trial}) <= large)
    value, grad, _ = last.evaluation
    # of a start that is not a number no step is to blame; a gradient that cannot be squared is a number all the same
    grown = on_its_way & ((attempts > 0) | (torch.isfinite(value) & (rows.max_norm({"q": grad}) < torch.inf)))
    broken = torch.where(grown, Status.DIVERGED, Status.NONFINITE)
    return torch.where(rows.finite(last.evaluation), Status.SOLVER_FAILED, broken)


class Standing(NamedTuple):
    """Where a row stands, as numbers: what a sentence about its step can name."""

    h: float
    """The step that it would make next."""
    f: float
    row: int = 0
    again: bool = False
    """It was sent back from the same step."""
    t: float | None = None
    """Its time, where the driver follows it."""


def why(status: Status, rule: Controller, standing: Standing, h_min: float, attempts: int) -> Reason:
    """Why a row stopped, and the cure."""
    if status == Status.NONFINITE and attempts == 0:
        return reasons.UNDEFINED_START
    if status != Status.STEP_TOO_SMALL:
        return REASONS[status]
    return standstill(rule, standing) or reasons.below(standing.h, h_min)


def standstill(rule: Controller, standing: Standing) -> Reason | None:
    """Why a row stays where it is, as far as the step-size rule goes, and the cure; None: it is not known to."""
    h, t = standing.h, standing.t
    if h != h:
        return reasons.not_a_step(rule.name)
    if standing.again:
        return reasons.same_again(rule.name, h)
    if t is not None and rule.follows_time and h != 0 and t + h == t:
        return reasons.time_stands(h, t)
    return rule.why_no_step(standing.f, standing.row)
