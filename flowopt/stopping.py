"""When a row has to stop, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt import rows
from flowopt.kernel import Carry, Method, Report
from flowopt.sentences import SHOWN, Sentences, standing
from flowopt.state import Evaluation, Status

REASONS = {
    Status.CONVERGED: "converged",
    Status.MAX_STEPS: "reached max_steps before it converged",
    Status.TIME_REACHED: "reached t_end",
    Status.STEP_TOO_SMALL: "the step size fell below h_min",
    Status.NONFINITE: "the objective or its gradient was not a finite number at the trial",
    Status.BELOW_F0: "F reached or fell below F0 (bbi: v0), where there is no energy; lower F0 (ecdsep can: tune_F0)",
    Status.DIVERGED: "diverged: the gradient grew beyond what can be squared",
    Status.SOLVER_FAILED: "the implicit equations of the step were not solved; try a smaller step",
}


@dataclass(frozen=True)
class Stopping:
    """The tests that end a row."""

    gtol: float
    """Converged where ``|grad f| <= gtol``."""
    f_target: float | None
    """Converged where ``f <= f_target``."""
    t_end: float | None
    h_min: float

    def go_on(self, method: Method, carry: Carry) -> Tensor:
        """Rows, ``(B,)`` bool, that none of the tests ends. NaN compares false, so it ends a row."""
        measured = carry.point.evaluation
        go = carry.alive & (measured.square > self.gtol**2) & (carry.h.abs() >= self.h_min)
        if self.f_target is not None:
            go = go & (measured.value > self.f_target)
        if self.t_end is not None:
            go = go & (carry.t < self.t_end)
        outcome = method.system.outcome(carry.point.state, measured)
        return go if outcome is None else go & (outcome == 0)

    def classify(self, method: Method, carry: Carry, tried: Evaluation) -> Tensor:
        """Status codes ``(B,)``, MAX_STEPS where no test ends the row; a later line overrules an earlier one."""
        measured = carry.point.evaluation
        code = torch.full_like(carry.t, int(Status.MAX_STEPS), dtype=torch.int8)
        code[~(carry.h.abs() >= self.h_min)] = int(Status.STEP_TOO_SMALL)
        code[~carry.alive] = int(Status.SOLVER_FAILED)
        if not bool(carry.alive.all()):
            # too large to square, or beyond all numbers after a point that was on its way there
            numbers = torch.isfinite(tried.value) & torch.isfinite(tried.grad).all(-1)
            on_its_way = measured.square > torch.finfo(measured.square.dtype).max ** 0.25
            lost = ~carry.alive & ~rows.finite(tried)
            code[lost] = torch.where(numbers | on_its_way, Status.DIVERGED, Status.NONFINITE).to(torch.int8)[lost]
        outcome = method.system.outcome(carry.point.state, measured)
        if outcome is not None:
            code = torch.where(carry.alive & (outcome != 0), outcome.to(torch.int8), code)
        if self.t_end is not None:
            code[carry.t >= self.t_end] = int(Status.TIME_REACHED)
        known = rows.finite(measured)  # at the start it may not be
        code[known & (measured.square <= self.gtol**2)] = int(Status.CONVERGED)
        if self.f_target is not None:
            code[known & (measured.value <= self.f_target)] = int(Status.CONVERGED)
        return code


class Explanations(Sentences):
    """For rows that stop together a sentence each: why, where, with which step and error, and the coordinate to blame.

    `tried` and `trial` are the last measurement and the position ``(B, D)`` it was made at.
    """

    def __init__(
        self, code: Tensor, carry: Carry, report: Report, tried: Evaluation, trial: Tensor, attempt: int
    ) -> None:
        self._code, self._t, self._point, self._attempt = code, carry.t, carry.point, attempt
        self._h, self._error = report.h, report.error
        self._tried, self._trial = tried, trial

    def __len__(self) -> int:
        return len(self._code)

    def sentence(self, index: int) -> str:
        status = Status(int(self._code[index]))
        q, measured = self._point.state["q"][index], self._point.evaluation
        tried, trial = self._tried.grad[index], self._trial[index]
        known = [f"t = {self._t[index].item():.6g}"]
        if (h := self._h[index].item()) == h:
            known.append(f"last h = {h:.3g}")
        if self._error is not None:
            known.append(f"error = {self._error[index].item():.3g}")
        slope = measured.square[index].sqrt().item()
        at = standing(q[: SHOWN + 1].tolist(), measured.value[index].item(), slope)
        text = f"{REASONS[status]} after {self._attempt} steps ({', '.join(known)}) {at}"
        if status in (Status.NONFINITE, Status.DIVERGED) and self._attempt > 0:
            bad = ~(torch.isfinite(tried) & torch.isfinite(trial))
            worst = int(bad.int().argmax()) if bool(bad.any()) else int(tried.abs().argmax())
            text += (
                f"; that is the last good state. At the trial f = {self._tried.value[index].item():.3g}, "
                f"worst coordinate {worst}: x[{worst}] = {trial[worst].item():.3g}, gradient {tried[worst].item():.3g}"
            )
        elif status != Status.CONVERGED:
            grad = measured.grad[index]
            worst = int(grad.abs().argmax())
            text += f"; worst coordinate {worst}: x[{worst}] = {q[worst].item():.6g}, gradient {grad[worst].item():.3g}"
        return text
