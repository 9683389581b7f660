"""When a row has to stop, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE
from flowopt.core import reasons, rows
from flowopt.core._sentences import SHOWN, Sentences, standing
from flowopt.core.kernel import Carry, Report, until
from flowopt.core.method import Method
from flowopt.core.parts import Controller, System
from flowopt.core.reasons import REASONS, Reason
from flowopt.core.state import Evaluation, Status
from flowopt.functions._course import Best, Course

NOW_AND_THEN = 16


@dataclass(frozen=True)
class Stopping:
    """The tests that end a row."""

    gtol: float
    """Converged where ``|grad f| <= gtol``; of a system with a weight decay w, the gradient of f + w/2 |x|^2."""
    f_target: float | None
    """Converged where ``f <= f_target``."""
    t_end: float | None
    h_min: float

    def stopped(self, method: Method, carry: Carry, report: Report, attempt: int) -> Tensor | None:
        """Rows, ``(B,)`` bool, that one of the tests ends; None where all go on. NaN compares false, so it ends a row.

        Whether the time of a row stands still is looked at only now and then.
        """
        measured = carry.point.evaluation
        go: Tensor = carry.alive & (carry.h.abs() >= self.h_min)
        if self.f_target is not None:
            go = go & (measured.value > self.f_target)
        if self.t_end is not None:
            go = go & ~self._there(self.t_end, carry.t)
        if method.controller.rejects and not rows.surely(report.taken):
            go = go & ~self.same_again(carry, report)
        if attempt % NOW_AND_THEN == 0 and method.controller.follows_time:
            go = go & (carry.t + carry.h != carry.t)
        outcome = method.system.outcome(carry.point.state, measured)
        if outcome is not None:
            go = go & (outcome == 0)
        judged = method.system.objective(carry.point.state, measured)
        if rows.every(go & (judged.square > max(self.gtol**2, rows.TINY[judged.square.dtype]))):
            return None
        stopped = ~(go & (rows.slope(judged) > self.gtol))
        return stopped if bool(stopped.any()) else None

    def classify(
        self, method: Method, carry: Carry, report: Report, tried: Evaluation, course: Course, attempt: int
    ) -> Tensor:
        """Status codes ``(B,)``, MAX_STEPS where no test ends the row; a later line overrules an earlier one."""
        measured = carry.point.evaluation
        code = torch.full_like(carry.t, int(Status.MAX_STEPS), dtype=torch.int8)
        code[_ran_away(carry, course)] = int(Status.DIVERGED)
        if method.controller.follows_time:
            code[carry.t + carry.h == carry.t] = int(Status.STEP_TOO_SMALL)
        if method.controller.rejects:
            code[self.same_again(carry, report)] = int(Status.STEP_TOO_SMALL)
        code[~(carry.h.abs() >= self.h_min)] = int(Status.STEP_TOO_SMALL)
        code[~carry.alive] = int(Status.SOLVER_FAILED)
        if not bool(carry.alive.all()):
            # beyond all numbers after a point that was on its way there
            on_its_way = measured.square > torch.finfo(measured.square.dtype).max ** 0.25
            lost = ~carry.alive & ~rows.finite(tried)
            code[lost] = torch.where(on_its_way & (attempt > 0), Status.DIVERGED, Status.NONFINITE).to(torch.int8)[lost]
        outcome = method.system.outcome(carry.point.state, measured)
        if outcome is not None:
            code = torch.where(carry.alive & (outcome != 0), outcome.to(torch.int8), code)
        if self.t_end is not None:
            code[self._there(self.t_end, carry.t)] = int(Status.TIME_REACHED)
        known = rows.finite(measured)  # at the start it may not be
        judged = method.system.objective(carry.point.state, measured)
        code[known & (rows.slope(judged) <= self.gtol)] = int(Status.CONVERGED)
        if self.f_target is not None:
            code[known & (measured.value <= self.f_target)] = int(Status.CONVERGED)
        return code

    def _there(self, t_end: float, t: Tensor) -> Tensor:
        """Whether t_end is reached, to the last bit."""
        return t >= t_end * (1 - torch.finfo(t.dtype).eps)

    def same_again(self, carry: Carry, report: Report) -> Tensor:
        """Rows that were sent back and would only try the same step once more: all of it would be as it was."""
        h = carry.h if self.t_end is None else until(self.t_end, carry.t, carry.h)
        again: Tensor = ~report.taken & (h == report.h)
        return again


def _ran_away(carry: Carry, course: Course) -> Tensor:
    """Rows that are lost, though all their numbers are still finite, ``(B,)`` bool.

    Their slope has grown by 1/eps and they lie above their start, or they are further away than what can be squared
    twice.
    """
    measured, numbers = carry.point.evaluation, torch.finfo(carry.t.dtype)
    steeper = (measured.value > course.start_f) & (rows.slope(measured) * numbers.eps > course.start_slope)
    away: Tensor = steeper | (rows.max_norm({"q": carry.point.state["q"]}) > numbers.max**0.25)
    return away


class Ends(NamedTuple):
    """What is known of rows that stop together, all in rows."""

    code: Tensor
    """Status codes."""
    carry: Carry
    report: Report
    tried: Evaluation
    """The last measurement ..."""
    trial: Tensor
    """... and the position ``(B, D)`` it was made at."""
    best: Best
    course: Course
    again: Tensor
    """Bool: see `Stopping.same_again`."""
    hopped: Tensor
    """Bool: see `Course.hops`."""


class Explanations(Sentences):
    """For rows that stop together a sentence each: why, where, with which step and error, and the coordinate to blame.

    `differences`: gradients come by finite differences.
    """

    def __init__(
        self, ends: Ends, system: System, controller: Controller, attempt: int, h_min: float, differences: bool
    ) -> None:
        self._ends, self._controller = ends, controller
        self._attempt, self._h_min, self._differences = attempt, h_min, differences
        point = ends.carry.point
        judged = system.objective(point.state, point.evaluation)
        self._slope = rows.slope(point.evaluation)
        self._decayed = None if judged is point.evaluation else rows.slope(judged)

    def __len__(self) -> int:
        return len(self._ends.code)

    def sentence(self, index: int) -> str:
        carry, report = self._ends.carry, self._ends.report
        known = [f"t = {carry.t[index].item():.6g}"]
        if (h := report.h[index].item()) == h:
            known.append(f"last h = {h:.3g}")
        if report.error is not None:
            known.append(f"error = {report.error[index].item():.3g}")
        q, f = carry.point.state["q"][index], carry.point.evaluation.value[index].item()
        at = standing(q[: SHOWN + 1].tolist(), f, self._slope[index].item())
        what, cure = self._why(index)
        text = f"{what} after {self._attempt} steps ({', '.join(known)}) {at}{self._more(index)}"
        return f"{text}; {cure}" if cure else text

    def _why(self, index: int) -> Reason:
        status, carry = Status(int(self._ends.code[index])), self._ends.carry
        if status == Status.NONFINITE and self._attempt == 0:
            return reasons.UNDEFINED_START
        if status != Status.STEP_TOO_SMALL:
            return REASONS[status]
        h, t, rule = carry.h[index].item(), carry.t[index].item(), self._controller
        if h != h:
            return reasons.not_a_step(rule.name)
        if self._ends.again[index]:
            return reasons.same_again(rule.name, self._ends.report.h[index].item())
        if rule.follows_time and h != 0 and t + h == t:
            return reasons.time_stands(h, t)
        return rule.why_no_step(carry.point.evaluation.value[index].item(), index) or reasons.below(h, self._h_min)

    def _more(self, index: int) -> str:
        status, ends = Status(int(self._ends.code[index])), self._ends
        point, course = ends.carry.point, ends.course
        value, grad, q = point.evaluation.value[index].item(), point.evaluation.grad[index], point.state["q"][index]
        if status == Status.CONVERGED:
            start, best = course.start_f[index].item(), ends.best.f[index].item()
            slope, best_x = self._slope[index].item(), ends.best.x[index].numpy()
            decayed = (
                "" if self._decayed is None else f", |grad f + weight_decay x| = {self._decayed[index].item():.3g}"
            )
            return decayed + reasons.higher_than_before(value, q.numpy(), slope, start, best, best_x)
        if status in (Status.NONFINITE, Status.DIVERGED) and not ends.carry.alive[index]:
            f, tried, trial = ends.tried.value[index].item(), ends.tried.grad[index], ends.trial[index]
            bad = ~(torch.isfinite(tried) & torch.isfinite(trial))
            worst = int(bad.int().argmax()) if bool(bad.any()) else int(tried.abs().argmax())
            outside = self._differences and f - f == 0 and not bool(torch.isfinite(tried).all())
            text = (
                f"worst coordinate {worst}: x[{worst}] = {trial[worst].item():.3g}, gradient {tried[worst].item():.3g}"
            )
            if self._attempt > 0:
                text = f"that is the last good state. At the trial f = {f:.3g}, {text}"
            return f"; {text}{reasons.OUTSIDE if outside else ''}"
        worst = int(grad.abs().argmax())
        text = f"; worst coordinate {worst}: x[{worst}] = {q[worst].item():.6g}, gradient {grad[worst].item():.3g}"
        if status == Status.MAX_STEPS and ends.hopped[index]:
            rule = self._controller
            text += reasons.hopping("f_star" in rule.parameters, rule.name == StabilityLimitedLTE.name)
        return text
