"""The words for why a run stopped or got nowhere, the same for functions and networks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from flowopt.core.state import Status


class Reason(NamedTuple):
    """Why, and what to do about it."""

    what: str
    cure: str = ""


REASONS = {
    Status.CONVERGED: Reason("converged"),
    Status.MAX_STEPS: Reason("reached max_steps before it converged"),
    Status.TIME_REACHED: Reason("reached t_end"),
    Status.NONFINITE: Reason("the objective or its gradient was not a finite number at the trial"),
    Status.BELOW_F0: Reason(
        "F reached or fell below F0 (bbi: v0), where there is no energy", "lower F0 (ecdsep can: tune_F0)"
    ),
    Status.DIVERGED: Reason("diverged: f, its gradient or the position grew beyond all bounds", "try a smaller step"),
    Status.SOLVER_FAILED: Reason("the implicit equations of the step were not solved", "try a smaller step"),
}
"""What a status means where there is nothing more to say; of a step size there always is."""

OUTSIDE = (
    "; f is finite there, but its finite difference is not: a step of the difference left the domain of f. Give the "
    "gradient (jac), or stay away from the edge"
)
HOPPING = (
    "; it hops: in the last quarter of the steps the lowest f fell by less than a hundredth of what the slopes along "
    "them promised, so the step is too long for the curvature here"
)
UNDEFINED_START = Reason("the objective or its gradient is not a finite number at the start", "start elsewhere")


def hopping(has_f_star: bool, has_limit: bool) -> str:
    """Of a run that hops, and what to do where the step follows from f_star, or keeps to the stability limit already.

    A limit that is estimated from two gradients says nothing of a kink.
    """
    if has_f_star:
        return f"{HOPPING}. Give a higher f_star if it lies below the minimum, or take ecco_stable, which needs none"
    if has_limit:
        return f"{HOPPING}, or f has a kink here. Bound the step (h_max), or let it fall from step to step (step_decay)"
    return f"{HOPPING}. Take a smaller step, or ecco_stable, which stays inside the stability limit"


def below(h: float, h_min: float) -> Reason:
    """Of a step size that is smaller than the run allows."""
    return Reason(f"the step size h = {h:.3g} fell below h_min = {h_min:.3g}")


def same_again(rule: str, h: float) -> Reason:
    """Of a rejection that would lead to the same trial again."""
    what = f"the step size cannot fall further: {rule} rejects the step h = {h:.3g} and would try the same one again"
    return Reason(what, "scale f down, or take a method whose step has no such limit (armijo)")


def time_stands(h: float, t: float) -> Reason:
    """Of a flow that is followed in time, at a step that the time no longer feels."""
    return Reason(f"the step size is so small that time no longer advances (t + h = t with t = {t:.6g}, h = {h:.3g})")


def not_a_step(rule: str) -> Reason:
    """Of a step size NaN."""
    return Reason(f"the step size is not a number: the formula of {rule} gave NaN")


def not_above(f: float, f_star: float) -> Reason:
    """Of Polyak's step where it is 0."""
    what = f"the step size is 0, because f = {f:.6g} is not above f_star = {f_star:.6g}"
    return Reason(what, "f_star must be the minimum of f or a lower bound: give a lower f_star")


def is_above(f: Any, other: Any) -> Any:
    """Whether f lies above another value of it by more than rounding: arrays or numbers."""
    size = np.maximum(np.abs(f), np.abs(other))
    return f > other + np.sqrt(np.finfo(np.asarray(f).dtype).eps) * size


def in_another_basin(f: Any, x: Any, slope: Any, best_f: Any, best_x: Any) -> Any:
    """Whether a point with a small slope is not the end of the descent that passed best_x ``(..., D)``: arrays.

    Where f is convex between the two, ``f - best_f <= |grad f(x)| |x - best_x|``.
    """
    away = np.sqrt(((x - best_x) ** 2).sum(-1))
    return is_above(f, best_f) & (f - best_f > 2 * slope * away)


def not_a_minimum(f: Any, x: Any, slope: Any, start_f: Any, best_f: Any, best_x: Any) -> Any:
    """Whether a point of a small slope lies above the start, or in another basin than the best: arrays or numbers."""
    return is_above(f, start_f) | in_another_basin(f, x, slope, best_f, best_x)


def higher_than_before(f: float, x: Any, slope: float, start_f: float, best_f: float, best_x: Any) -> str:
    """What must be added where a run has 'converged' above its start, or far above the best it has seen."""
    where = ", ".join(f"{number:.6g}" for number in best_x[:6]) + (", ..." if len(best_x) > 6 else "")
    if is_above(np.asarray(f), start_f):
        seen = f", and best = {best_f:.6g} at x = ({where})" if best_f < start_f else ""
        return f"; that is above the start (f = {start_f:.6g}{seen}), so it is not the minimum"
    if in_another_basin(np.asarray(f), x, slope, best_f, best_x):
        return f"; that is above the best (f = {best_f:.6g} at x = ({where})), so it is not the minimum"
    return ""
