"""How a row of a function run says why it stopped."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE
from flowopt.core import reasons, rows
from flowopt.core._sentences import SHOWN, Sentences, standing
from flowopt.core.endings import Attempt, Endings, Standing, too_large, why
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.parts import Controller, System
from flowopt.core.state import Status
from flowopt.functions._course import Best, Course


def classify(endings: Endings, method: Method, carry: Carry, last: Attempt, course: Course, attempts: int) -> Tensor:
    """Status codes ``(B,)`` of rows that stop; MAX_STEPS, or DIVERGED where they ran away, if no test ends them."""
    unended = torch.where(_ran_away(carry, course), Status.DIVERGED, Status.MAX_STEPS)
    code = endings.codes(method, carry, last, attempts)
    return torch.where(code == Status.RUNNING, unended, code)


def _ran_away(carry: Carry, course: Course) -> Tensor:
    """Rows that are lost, though all their numbers are still finite, ``(B,)`` bool.

    Their slope has grown by 1/eps and they lie above their start, or they are further away than what can be squared
    twice.
    """
    measured, numbers = carry.point.evaluation, torch.finfo(carry.t.dtype)
    steeper = (measured.value > course.start_f) & (rows.slope(measured) * numbers.eps > course.start_slope)
    q = carry.point.state["q"]
    away: Tensor = steeper | (rows.max_norm({"q": q}) > too_large(q))
    return away


class Ends(NamedTuple):
    """What is known of rows that stop together, all in rows."""

    code: Tensor
    """Status codes."""
    carry: Carry
    last: Attempt
    best: Best
    course: Course
    again: Tensor
    """Bool: see `Endings.same_again`."""
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
        carry, last = self._ends.carry, self._ends.last
        known = [f"t = {carry.t[index].item():.6g}"]
        if (h := last.h[index].item()) == h:
            known.append(f"last h = {h:.3g}")
        if last.error is not None:
            known.append(f"error = {last.error[index].item():.3g}")
        q, f = carry.point.state["q"][index], carry.point.evaluation.value[index].item()
        at = standing(q[: SHOWN + 1].tolist(), f, self._slope[index].item())
        what, cure = why(self._status(index), self._controller, self._standing(index), self._h_min, self._attempt)
        text = f"{what} after {self._attempt} steps ({', '.join(known)}) {at}{self._more(index)}"
        return f"{text}; {cure}" if cure else text

    def _status(self, index: int) -> Status:
        return Status(int(self._ends.code[index]))

    def _standing(self, index: int) -> Standing:
        carry, again = self._ends.carry, bool(self._ends.again[index])
        h = self._ends.last.h if again else carry.h  # towards t_end the next one is shortened to it
        value = carry.point.evaluation.value[index].item()
        return Standing(h[index].item(), value, index, again, carry.t[index].item())

    def _more(self, index: int) -> str:
        status, ends = self._status(index), self._ends
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
            tried, trial = ends.last.evaluation.grad[index], ends.last.state["q"][index]
            f = ends.last.evaluation.value[index].item()
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
