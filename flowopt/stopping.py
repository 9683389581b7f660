"""When a row has to stop, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt import rows
from flowopt.kernel import Carry, Method, Report
from flowopt.state import Evaluation, Status

SHOWN = 6
"""Coordinates of a position that a message prints."""

REASONS = {
    Status.CONVERGED: "converged",
    Status.MAX_STEPS: "reached max_steps before it converged",
    Status.TIME_REACHED: "reached t_end",
    Status.STEP_TOO_SMALL: "the step size fell below h_min",
    Status.NONFINITE: "the objective or its gradient was not a finite number at the trial",
    Status.BELOW_F0: "F fell below F0, where the energy is not defined; lower F0, or tune it (tune_F0, odd eta)",
    Status.DIVERGED: "diverged",
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
    huge: float
    """Diverged where ``|grad f|^2`` is above this."""

    def go_on(self, method: Method, carry: Carry) -> Tensor:
        """Rows, ``(B,)`` bool, that none of the tests ends. NaN compares false, so it ends a row."""
        measured = carry.point.evaluation
        go = carry.alive & (measured.square > self.gtol**2) & (measured.square < self.huge) & (carry.h.abs() >= self.h_min)
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
        code[~(measured.square < self.huge)] = int(Status.DIVERGED)
        code[~carry.alive] = int(Status.SOLVER_FAILED)
        code[~carry.alive & ~rows.finite(tried)] = int(Status.NONFINITE)
        outcome = method.system.outcome(carry.point.state, measured)
        if outcome is not None:
            code = torch.where(carry.alive & (outcome != 0), outcome.to(torch.int8), code)
        if self.t_end is not None:
            code[carry.t >= self.t_end] = int(Status.TIME_REACHED)
        code[measured.square <= self.gtol**2] = int(Status.CONVERGED)
        if self.f_target is not None:
            code[measured.value <= self.f_target] = int(Status.CONVERGED)
        return code


def explain(code: Tensor, carry: Carry, report: Report, tried: Evaluation, trial: Tensor, attempt: int) -> list[str]:
    """For each row a message: why it stopped, where, with which step and error, and the coordinate to blame.

    `tried` and `trial` are the last measurement and the position ``(B, D)`` it was made at.
    """
    point = carry.point
    q, value, slope = point.state["q"], point.evaluation.value.tolist(), point.evaluation.square.sqrt().tolist()
    error = [None] * len(value) if report.error is None else report.error.tolist()
    bad = ~(torch.isfinite(tried.grad) & torch.isfinite(trial))
    guilty = torch.where(bad.any(-1), bad.int().argmax(-1), point.evaluation.grad.abs().argmax(-1)).tolist()
    messages = []
    for i, status in enumerate(code.tolist()):
        t, h = carry.t[i].item(), report.h[i].item()
        position = ", ".join(f"{number:.6g}" for number in q[i, :SHOWN].tolist()) + (", ..." if q.shape[1] > SHOWN else "")
        known = [f"t = {t:.6g}"]
        if h == h:
            known.append(f"last h = {h:.3g}")
        if error[i] is not None:
            known.append(f"error = {error[i]:.3g}")
        text = (
            f"{REASONS[Status(status)]} after {attempt} steps ({', '.join(known)}) "
            f"at x = ({position}), f = {value[i]:.6g}, |grad f| = {slope[i]:.3g}"
        )
        j = guilty[i]
        if status == Status.NONFINITE:
            text += (
                f"; there f = {tried.value[i].item():.3g}, and coordinate {j} is the first to blame: "
                f"x[{j}] = {trial[i, j].item():.3g}, gradient {tried.grad[i, j].item():.3g}; x above is the last good state"
            )
        elif status != Status.CONVERGED:
            text += f"; worst coordinate {j}: x[{j}] = {q[i, j].item():.6g}, gradient {point.evaluation.grad[i, j].item():.3g}"
        messages.append(text)
    return messages
