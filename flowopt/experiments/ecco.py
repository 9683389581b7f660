"""ECCO-DNN on Rosenbrock's valley: what its step-size rule does, and what ours does instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.controllers.lte import LTE
from flowopt.controllers.pi import PI
from flowopt.experiments.facts import Experiment, Fact, about, at_least, at_most, exactly, grid, steps_to_target
from flowopt.integrators.euler import ForwardEuler
from flowopt.kernel import Method
from flowopt.objective import Objective
from flowopt.papers import method
from flowopt.problems import problem
from flowopt.solve import minimize
from flowopt.state import Memory, Point
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.trajectory import Trajectory

STARTS = ((-1.2, 1.0), (0.0, 0.0), (2.0, 2.0), (-0.5, 0.5), (0.5, 2.0))
ETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
FIGURE = "figure 1"


def fixed_step() -> Iterator[Fact]:
    """Forward Euler with a fixed step, on both sides of the stability limit."""
    seeds = torch.zeros(1, dtype=torch.int64)
    minimiser = torch.ones(1, 2, dtype=torch.float64)
    curvature = torch.linalg.eigvalsh(Objective(problem("rosenbrock"), seeds).hessian(minimiser))
    limit = 2 / curvature.max().item()
    yield Fact("stability limit 2/lambda_max at the minimiser", FIGURE, about(1.9968e-3, 5e-8), (limit,))

    steps = torch.tensor([2e-3, 2e-3, 1e-3], dtype=torch.float64)
    run = minimize("rosenbrock", [(-1.2, 1), (2, 2), (-1.2, 1)], method="gd", lr=steps, max_steps=30_000, gtol=0)
    passed = [float(np.argmax(run.grad_norm[:, row] < 1e-4)) for row in (0, 2)]
    cycle = run.grad_norm[-1000:, 0]
    yield Fact("dt = 2e-3 from (-1.2, 1): step that first has |grad f| < 1e-4", FIGURE, about(10_233, 2), (passed[0],))
    yield Fact(
        "... and |grad f| over the last 1000 of 30 000 steps: a limit cycle",
        FIGURE,
        about(1.58, 0.02),
        (float(cycle.min()), float(cycle.max())),
        paper=at_least(1e-4),
        note="the paper's picture shows that dt = 2e-3 does not settle; it has no number",
    )
    yield Fact("dt = 2e-3 from (2, 2): rows of 1 that diverge", FIGURE, exactly(1), (float(_lost(run)[1]),))
    yield Fact("dt = 1e-3 from (-1.2, 1): steps to |grad f| < 1e-4", FIGURE, about(20_548, 2), (passed[1],))


def oscillation() -> Iterator[Fact]:
    """The published rule near the minimum: its oscillation scales with eta^2."""
    etas = np.array([3e-4, 1e-3, 3e-3])
    run = _ecco([(-1.2, 1)] * 3, etas, 40_000, scaling="identity")
    scaled = run.f[-10_000:] / etas**2
    of = "f/eta^2 over the last 10 000 of 40 000 steps, eta = 3e-4, 1e-3, 3e-3:"
    yield Fact(f"{of} median", "eqs 14, 15", about(27.4, 0.2), _numbers(np.median(scaled, axis=0)))
    yield Fact(f"{of} maximum", "eqs 14, 15", about(1807, 5), _numbers(scaled.max(axis=0)))
    yield Fact(
        "largest step there (the cap is 1, the stability limit 0.002)",
        "eq 14",
        exactly(1),
        _numbers(run.h[-10_000:].max(axis=0)),
        note="the truncation error goes to 0 with the gradient, so accuracy alone lets the step grow to its cap",
    )


def published(steps: int = 50_000) -> Iterator[Fact]:
    """ECCO as published, in every reading: five starts, eta from 1e-3 to 100."""
    readings: list[dict[str, Any]] = [{"scaling": "identity"}]
    readings += [
        {"difference": difference, "normalise": normalise}
        for difference in ("divide", "multiply")
        for normalise in (None, "max", "mean")
    ]
    for reading in readings:
        run = _ecco(*grid_of_runs(), steps, **reading)
        words = ", ".join(f"{key} {value}" for key, value in ({"scaling": "gradient_difference"} | reading).items())
        yield _settling(words, run, steps)
    x0, etas = grid_of_runs()
    rejecting = Method(GradientFlow(), ForwardEuler(), PI(rtol=0.0, atol=_rows(etas), h_max=1.0))
    yield _settling("identity, with accept and reject", minimize("rosenbrock", x0, rejecting, steps, gtol=0), steps)
    run = _ecco(*grid_of_runs(), steps, scaling="curvature")
    yield Fact("scaling curvature: rows of 30 that diverge", "eq 8", exactly(30), (float(_lost(run).sum()),))


def first_step() -> Iterator[Fact]:
    """The first step: by eq 15 with d_{-1} = 0, or 1."""
    etas = np.array(ETAS[:4])
    starts = [(-1.2, 1.0)] * len(etas)
    run = _ecco(starts, etas, 2000, scaling="identity")
    yield Fact("first step by eq 15, eta 1e-3 to 1: rows of 4 that diverge", "eq 15", exactly(0), (float(_lost(run).sum()),))
    bold = Method(GradientFlow(), ForwardEuler(), _StartAtOne(_rows(etas)))
    run = minimize("rosenbrock", starts, bold, max_steps=2000, gtol=0)
    yield Fact("first step 1, eta 1e-3 to 1: rows of 4 that diverge", "eq 14", exactly(4), (float(_lost(run).sum()),))


def curvature_cost() -> Iterator[Fact]:
    """What the exact curvature scaling costs."""
    counts = []
    for dim in (2, 50):
        run = minimize(problem("rosenbrock", dim=dim), method="ecco", scaling="curvature", eta=1e-3, max_steps=5, gtol=0)
        counts.append(run.evaluations["hvp"][0] / run.evaluations["gradient"][0])
    yield Fact(
        "Hessian-vector products per gradient, n = 2 and 50",
        "eq 8",
        exactly(1),
        tuple(map(float, counts)),
        note="so the scaling costs O(n), where the paper gives O(n^2)",
    )


def stable() -> Iterator[Fact]:
    """ecco_stable (ours) beside forward Euler at dt = 1e-3, both to |grad f| <= 1e-6."""
    euler = minimize("rosenbrock", STARTS, method=method("gd", lr=1e-3), max_steps=60_000, gtol=1e-6, record_every=0)
    x0, etas = grid_of_runs(ETAS[:5])
    run = minimize("rosenbrock", x0, method="ecco_stable", eta=_rows(etas), max_steps=60_000, gtol=1e-6, record_every=0)
    yield Fact("rows of 25 that converge, eta 1e-3 to 10", "ours", exactly(25), (float(run.converged.sum()),))
    taken = np.array(steps_to_target(run)).reshape(len(STARTS), -1)
    for start, ours, theirs in zip(STARTS, taken, steps_to_target(euler), strict=True):
        claim = f"steps from {start}, where fixed Euler takes {theirs:.0f}"
        yield Fact(claim, "ours", at_most(theirs / 50), _numbers(ours))


@dataclass(frozen=True)
class _StartAtOne(LTE):
    """ECCO's rule with 1 for the first step, as eq 14 can be read."""

    name = "lte_from_one"

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return torch.ones_like(point.evaluation.value), {}


def grid_of_runs(etas: tuple[float, ...] = ETAS) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Starting points ``(B, 2)`` and eta ``(B,)``: every start with every eta."""
    start, eta = grid(range(len(STARTS)), etas)
    return np.array(STARTS)[start.astype(int)], eta


def _ecco(x0: Any, etas: np.ndarray[Any, Any], steps: int, **reading: Any) -> Trajectory:
    return minimize("rosenbrock", x0, method="ecco", eta=_rows(etas), max_steps=steps, gtol=0, **reading)


def _settling(reading: str, run: Trajectory, steps: int) -> Fact:
    """To pass below a tolerance once is not to converge, so |grad f| has to stay small."""
    last = run.grad_norm[-steps // 5 :].max(axis=0)
    settled = ~_lost(run) & (last < 1e-6)
    return Fact(
        f"{reading}: rows of 30 with |grad f| < 1e-6 throughout the last fifth of the steps",
        FIGURE,
        exactly(0),
        (float(settled.sum()),),
        paper=at_least(1),
        note="the paper shows one run that converges with eta = 0.1; its start and its scaling are not given",
    )


def _lost(run: Trajectory) -> np.ndarray[Any, Any]:
    """Rows that end far above every start (f is at most 401 there), whatever stopped them: the step often vanishes."""
    return np.asarray(run.final_f > 1e6)


def _rows(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _numbers(values: np.ndarray[Any, Any]) -> tuple[float, ...]:
    return tuple(values.tolist())


EXPERIMENTS = (
    Experiment(fixed_step),
    Experiment(oscillation),
    Experiment(published, quick={"steps": 5_000}),
    Experiment(first_step),
    Experiment(curvature_cost),
    Experiment(stable),
)
