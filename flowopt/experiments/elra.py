"""ELRA: its tables of steps on two-dimensional functions, beside Adam and RMSprop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowopt.experiments.facts import NEVER, Experiment, Fact, Range, about, at_least, between, exactly
from flowopt.experiments.runs import minimize, steps_to_target
from flowopt.problems import Problem, problem

LIMIT = 20_000
"""Steps after which a run counts as one that never arrives."""
READINGS: dict[str, dict[str, Any]] = {
    "kappa 1, gamma_max 1e6": {"kappa": 1.0, "gamma_max": 1e6},
    "kappa 1, gamma_max 10": {"kappa": 1.0, "gamma_max": 10.0},
    "the paper's kappa, gamma_max 1e6": {"kappa": "auto", "gamma_max": 1e6},
    "kappa 1, gamma_max 30, alpha_0 1e-6": {"kappa": 1.0, "gamma_max": 30.0, "alpha0": 1e-6},
}
FAR = (-11.0, 121.0)
CHAOS = "chaotic: the start moved by 1e-10 gives a few hundred to a few thousand steps (a prototype took 1446)"
RETRACE = "the 1112 of a prototype is the median of the corrected formula, |G|^2; as printed, with |G|, it is larger"


@dataclass(frozen=True)
class Case:
    """A function, a start and a target, with the paper's steps and ours by reading."""

    words: str
    source: str
    of: Problem
    start: tuple[float, ...] | None
    target: float
    paper: Range
    expected: tuple[Range, ...]
    """One a reading."""
    note: str = ""


def _cases() -> tuple[Case, ...]:
    bowl, valley = problem("bowl", coefficients=(3.0, 24.0)), problem("rosenbrock")
    saddles = (problem("saddle"), problem("saddle", angle=math.pi / 4))
    start = (-5.75, 1.75)
    steps = [tuple(map(exactly, row)) for row in ((7, 8, 13, 9), (9, 10, 21, 12), (10, 13, 10, 10), (5, 9, 11, 9))]
    figure = Range(7, 9, "about 8")
    return (
        Case("bowl, f < 0.1", "table 1", bowl, start, 0.1, exactly(9), steps[0]),
        Case("bowl, f < 1e-6", "table 1", bowl, start, 1e-6, exactly(12), steps[1]),
        Case("Rosenbrock from (-3, -2), f < 1", "table 2", valley, (-3.0, -2.0), 1.0, exactly(10), steps[2]),
        Case(
            "Rosenbrock from (-11, 121), f < 1",
            "table 2",
            valley,
            FAR,
            1.0,
            exactly(300),
            (between(150, 6000), NEVER, NEVER, NEVER),
            CHAOS,
        ),
        Case("saddle, f < -1", "figure 3", saddles[0], None, -1.0, figure, steps[3]),
        Case("saddle turned by 45 degrees, f < -1", "figure 3", saddles[1], None, -1.0, figure, steps[3]),
    )


def tables(limit: int = LIMIT) -> Iterator[Fact]:
    """Steps to the target in four readings, retraces included, with the printed retrace formula."""
    for number, (reading, parameters) in enumerate(READINGS.items()):
        for case in _cases():
            steps = _steps(case.of, case.start, case.target, "elra", limit, retrace_formula="printed", **parameters)
            yield Fact(f"{reading}: {case.words}", case.source, case.expected[number], steps, case.paper, case.note)


def chaos(size: int = 200) -> Iterator[Fact]:
    """Rosenbrock from (-11, 121) to f < 1, the start moved by 1e-10: how the steps scatter."""
    moved = np.array(FAR) + 1e-10 * np.random.default_rng(0).standard_normal((size, 2))
    for formula, median in (("corrected", about(1112, 150)), ("printed", about(1860, 250))):
        steps = _steps(problem("rosenbrock"), moved, 1.0, "elra", retrace_formula=formula)
        claim = f"median steps, {formula} retrace formula"
        yield Fact(claim, "table 2", median, (float(np.median(steps)),), exactly(300), RETRACE)
        claim = f"most steps over fewest, {formula} retrace formula"
        yield Fact(claim, "table 2", at_least(3), (max(steps) / min(steps),))


def baselines(limit: int = LIMIT) -> Iterator[Fact]:
    """Adam (betas 0.8, 0.9) and RMSprop (alpha = 0.9) on the same functions, lr = 0.05: steps to the target."""
    adam: dict[str, Any] = {"method": torch.optim.Adam, "lr": 0.05, "betas": (0.8, 0.9)}
    rmsprop: dict[str, Any] = {"method": torch.optim.RMSprop, "lr": 0.05, "alpha": 0.9}
    far = Range(10_000, math.inf, "> 10000")
    ours = {"Adam": map(exactly, (126, 182, 178, math.inf)), "RMSprop": map(exactly, (128, math.inf, 191, math.inf))}
    theirs = {"Adam": map(exactly, (128, 184, 208)), "RMSprop": map(exactly, (142, math.inf, 176))}
    for name, optimizer in (("Adam", adam), ("RMSprop", rmsprop)):
        note = "the paper gives no alpha; torch's default 0.99 takes 99, 209 and 865 steps" if name == "RMSprop" else ""
        for case, expected, paper in zip(_cases(), ours[name], (*theirs[name], far), strict=False):
            steps = _steps(case.of, case.start, case.target, limit=limit, **optimizer)
            yield Fact(f"{name}: {case.words}, at most {limit}", case.source, expected, steps, paper, note)


def _steps(
    of: Problem, start: Any, target: float, method: Any, limit: int = LIMIT, **parameters: Any
) -> tuple[float, ...]:
    below = math.nextafter(target, -math.inf)
    run = minimize(of, start, method, max_steps=limit, gtol=0, f_target=below, record_every=0, **parameters)
    return steps_to_target(run)


EXPERIMENTS = (
    Experiment(tables, quick={"limit": 5_000}),
    Experiment(chaos, quick={"size": 60}),
    Experiment(baselines, quick={"limit": 2_000}),
)
