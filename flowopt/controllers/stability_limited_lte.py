"""Local truncation error control that also stays inside the stability limit (ours)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_limit, check_positive, check_range
from flowopt.core.parts import Controller
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class StabilityLimitedLTE(Controller):
    """LTE control inside the stability limit: h <- min(eta h / |error|_inf, safety 2/L, h_max). Ours, not the paper's.

    Why: near a minimum the local truncation error goes to 0 with the gradient, so that ECCO's rule (`LTE`) lets h grow
    to h_max. But forward Euler on x' = -lambda x multiplies x by 1 - h lambda, which is stable only for h < 2/lambda:
    on Rosenbrock, lambda = 1002 at the minimum, the published rule oscillates for ever. Accuracy says nothing about
    stability, so the bound must be a second one.

    The curvature comes from the two fields d that the error estimate already compares, without another evaluation:
    L = |d_k - d_{k-1}| / |q_k - q_{k-1}|, the secant estimate of the largest |lambda| along the last move, as in the
    adaptive gradient descent of Malitsky and Mishchenko (2020), whose h <= 1/(2L) with a bound on the growth of h is
    proved to converge on convex functions. Here h <= safety 2/L with safety = 1/2: half the stability limit, where
    the factor 1 - h lambda is 0. That is the geometric mean of the two Barzilai-Borwein steps; like them it is not
    monotone, and without a proof beyond quadratics; on Rosenbrock it needs about twenty times fewer steps than 1/(2L)
    (``safety=0.25``), measured from a hundred random starts.

    On batches that change from step to step the difference of two gradients is mostly noise, and L grows as h falls:
    networks train slowly, or not at all (benchmarks/digits.py). It is a rule for deterministic functions and full
    batches.

    Where nothing changed, L is 0/0 or 0 and the bound is void. Raises BadValue for eta <= 0, h_max <= 0 or safety
    outside (0, 1].
    """

    eta: Annotated[Number, StepSize(1e-5, 100.0)]
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 1.0
    safety: Annotated[Number, Range(0.1, 1.0, "linear")] = 0.5

    name = "stability_limited_lte"
    source = "ours; after ECCO-DNN eq 14 and Malitsky, Mishchenko 2020"
    requires = frozenset({"error", "single_stage", "descent"})

    def __post_init__(self) -> None:
        check_positive(self.name, eta=self.eta)
        check_limit(self.name, h_max=self.h_max)
        check_range(self.name, "safety", self.safety, 0.0, 1.0, open_low=True)

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        assert point.rate is not None
        return (2 * self.eta / rows.max_norm(point.rate)).clamp(max=self.h_max), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        assert step.error is not None and step.error_max is not None and step.before.rate is not None
        accurate = step.h * self.eta / step.error_max
        # error = h/2 (d_k - d_{k-1}) and q_k - q_{k-1} = h d_{k-1}, so 2/L = h^2 |d_{k-1}| / |error|
        speed = rows.norm(step.before.rate["q"])
        stable = self.safety * step.h**2 * speed / rows.norm(step.error["q"])
        stable = torch.where(speed > 0, stable, torch.inf)  # what did not move met no curvature
        h = torch.fmin(accurate, stable)  # fmin passes over the NaN of 0/0
        return Verdict(torch.where(torch.isnan(h), step.h, h).clamp(max=self.h_max), memory)
