"""ECCO-DNN on Rosenbrock's valley: what its step-size rule does, and what ours does instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.controllers.lte import LTE
from flowopt.controllers.pi import PI
from flowopt.core.method import Method
from flowopt.core.state import Memory, Point
from flowopt.functions._objective import Objective
from flowopt.functions._trajectory import Trajectory
from flowopt.integrators.euler import ForwardEuler
from flowopt.problems import problem
from flowopt.reproduce.facts import Experiment, Fact, Range, about, at_least, exactly
from flowopt.reproduce.runs import ends, grid, minimize, numbers, steps_to_target
from flowopt.systems.gradient_flow import GradientFlow

Array = NDArray[np.float64]

STARTS = ((-1.2, 1.0), (0.0, 0.0), (2.0, 2.0), (-0.5, 0.5), (0.5, 2.0))
ETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
FIGURE = "figure 1"


def fixed_step() -> Iterator[Fact]:
    """Forward Euler with a fixed step, on both sides of the stability limit."""
    minimiser = torch.ones(1, 2, dtype=torch.float64)
    hessian = Objective(problem("rosenbrock"), torch.zeros(1, dtype=torch.int64)).hessian(minimiser)
    limit = 2 / torch.linalg.eigvalsh(hessian).max().item()
    yield Fact("stability limit 2/lambda_max at the minimiser", FIGURE, about(1.9968e-3, 5e-8), (limit,))

    dt = _rows([2e-3, 2e-3, 1e-3])
    run = minimize("rosenbrock", [(-1.2, 1), (2, 2), (-1.2, 1)], method="gd", lr=dt, max_steps=30_000, gtol=0)
    passed = (run.grad_norm < 1e-4).argmax(axis=0)
    claim = "steps to |grad f| < 1e-4, from (-1.2, 1)"
    yield Fact(claim, FIGURE, about(10_233, 2), (float(passed[0]),), setting="dt = 2e-3")
    yield Fact(
        "... and |grad f| over the last 1000 of 30 000 steps: a limit cycle",
        FIGURE,
        about(1.58, 0.02),
        ends(run.grad_norm[-1000:, 0]),
        "'fails to converge' with a time step of 2e-3 (Rosenbrock; the start is not given)",
        Range(1e-4, float("inf"), "> 1e-4"),
        "dt = 2e-3",
    )
    highest = float(np.nanmax(run.grad_norm[:, 1]))
    yield Fact("largest |grad f|, from (2, 2)", FIGURE, at_least(1e30), (highest,), setting="dt = 2e-3")
    yield Fact(claim, FIGURE, about(20_548, 2), (float(passed[2]),), setting="dt = 1e-3")


def oscillation() -> Iterator[Fact]:
    """Identity scaling near the minimum: the oscillation scales with eta^2 (last half of the steps)."""
    etas = np.array([3e-4, 1e-3, 3e-3])
    run = _ecco([(-1.2, 1)] * 3, etas, 20_000, scaling="identity")
    scaled = run.f[-10_000:] / etas**2
    where, setting = "eqs 14, 15", "eta = 3e-4, 1e-3, 3e-3"
    # averages over a chaotic orbit: another orbit of 10 000 steps gives them within a percent
    medians = numbers(np.median(scaled, axis=0))
    yield Fact("median f/eta^2", where, about(27.4, 1.5), medians, setting=setting)
    yield Fact("largest f/eta^2", where, about(1807, 50), numbers(scaled.max(axis=0)), setting=setting)
    yield Fact(
        "largest step, where 0.002 is stable",
        where,
        exactly(1),
        numbers(run.h[-10_000:].max(axis=0)),
        setting=setting,
        note="the truncation error goes to 0 with the gradient, so accuracy alone lets the step grow to its cap",
    )


def published(steps: int = 3_000) -> Iterator[Fact]:
    """The published rule, five starts x eta 1e-3 to 100: to settle is |grad f| < 1e-6 in the whole last fifth."""
    x0, etas = _starts_and(ETAS)
    readings: dict[str, dict[str, Any]] = {"identity scaling": {"scaling": "identity"}}
    for difference in ("divide", "multiply"):
        for normalise in (None, "max", "mean"):
            words = f"gradient difference, {difference}" + (f", normalised by {normalise}" if normalise else "")
            readings[words] = {"difference": difference, "normalise": normalise}
    for words, reading in readings.items():
        yield _settling(words, _ecco(x0, etas, steps, **reading))
    rejecting = Method(GradientFlow(), ForwardEuler(), PI(rtol=0.0, atol=_rows(etas), h_max=1.0))
    yield _settling("identity scaling, with accept and reject", minimize("rosenbrock", x0, rejecting, steps, gtol=0))
    run = _ecco(x0, etas, steps, scaling="curvature")
    yield Fact("rows of 30 that diverge", "eq 8", exactly(30), (_diverging(run),), setting="curvature scaling")


def first_step() -> Iterator[Fact]:
    """The first step, from (-1.2, 1) with eta 1e-3 to 1."""
    etas = np.array(ETAS[:4])
    starts = [(-1.2, 1.0)] * len(etas)
    run = _ecco(starts, etas, 2000, scaling="identity")
    claim = "rows of 4 that diverge"
    yield Fact(claim, "eq 15", exactly(0), (_diverging(run),), setting="2 eta/|d_0|, as with d_{-1} = 0")
    bold = Method(GradientFlow(), ForwardEuler(), _StartAtOne(_rows(etas)))
    run = minimize("rosenbrock", starts, bold, max_steps=2000, gtol=0)
    yield Fact(claim, "eq 14", exactly(4), (_diverging(run),), setting="1")


def curvature_cost() -> Iterator[Fact]:
    """What the exact curvature scaling costs."""
    counts = []
    for dim in (2, 50):
        run = minimize(
            problem("rosenbrock", dim=dim), method="ecco", scaling="curvature", eta=1e-3, max_steps=5, gtol=0
        )
        counts.append(float(run.evaluations["hvp"][0] / run.evaluations["gradient"][0]))
    note = "one product costs O(n), so the scaling does; O(n^2) would be n products"
    claim, setting = "Hessian-vector products a gradient", "n = 2 and 50"
    yield Fact(claim, "eq 8", exactly(1), tuple(counts), "O(n^2), given the Hessian", None, setting, note)


def stable() -> Iterator[Fact]:
    """ecco_stable (ours), eta 1e-3 to 10, beside forward Euler with dt = 1e-3, both to |grad f| <= 1e-6."""
    limits: dict[str, Any] = {"max_steps": 60_000, "gtol": 1e-6, "record_every": 0}
    euler = minimize("rosenbrock", STARTS, "gd", lr=1e-3, **limits)
    x0, etas = _starts_and(ETAS[:5])
    run = minimize("rosenbrock", x0, "ecco_stable", eta=_rows(etas), **limits)
    converged = (float(run.converged.sum()),)
    yield Fact("rows of 25 that converge", "ours", exactly(25), converged, setting="ecco_stable")
    taken = np.reshape(steps_to_target(run), (len(STARTS), -1))
    for start, ours, theirs in zip(STARTS, taken, steps_to_target(euler), strict=True):
        limit = Range(0, theirs / 50, f"< 1/50 of {theirs:.0f}")
        claim = f"steps from {start}, where fixed Euler takes {theirs:.0f}"
        yield Fact(claim, "ours", limit, numbers(ours), setting="ecco_stable")


@dataclass(frozen=True)
class _StartAtOne(LTE):
    """ECCO's rule with 1 for the first step, as eq 14 can be read."""

    name = "lte_from_one"

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return torch.ones_like(point.evaluation.value), {}


def _starts_and(etas: Sequence[float]) -> tuple[Array, Array]:
    """Starting points ``(B, 2)`` and eta ``(B,)``: every start with every eta."""
    number, eta = grid(range(len(STARTS)), etas)
    return np.array(STARTS)[number.astype(int)], eta


def _ecco(x0: Any, etas: Array, steps: int, **reading: Any) -> Trajectory:
    return minimize("rosenbrock", x0, "ecco", eta=_rows(etas), max_steps=steps, gtol=0, **reading)


def _settling(reading: str, run: Trajectory) -> Fact:
    """Rows of 30. To pass once below a tolerance is not to converge: a row may do so by accident and go on."""
    last = run.grad_norm[-len(run.grad_norm) // 5 :].max(axis=0)
    return Fact(
        "rows of 30 that settle",
        FIGURE,
        exactly(0),
        (float((last < 1e-6).sum()),),
        "'to the critical point' with eta = 0.1 (Rosenbrock, one run)",
        Range(1, 30, ">= 1"),
        reading,
        note="the start and the scaling of the paper's run are not given",
    )


def _diverging(run: Trajectory) -> float:
    """Rows that end far above every start, where f is at most 401; what stops them is often a step that vanishes."""
    return float((run.final_f > 1e5).sum())


def _rows(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


EXPERIMENTS = (
    Experiment(fixed_step),
    Experiment(oscillation),
    Experiment(published),
    Experiment(first_step),
    Experiment(curvature_cost),
    Experiment(stable),
)
