"""ELRA: its tables of steps on two-dimensional functions, beside Adam and RMSprop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowopt.experiments.facts import NEVER, Experiment, Fact, Range, about, at_least, between, exactly, steps_to_target
from flowopt.problems import Problem, problem
from flowopt.solve import minimize

LIMIT = 20_000
"""Steps after which a run counts as one that never arrives."""
READINGS: dict[str, dict[str, Any]] = {
    "kappa 1, gamma_max 1e6": {"kappa": 1.0, "gamma_max": 1e6},
    "kappa 1, gamma_max 10": {"kappa": 1.0, "gamma_max": 10.0},
    "the paper's kappa, gamma_max 1e6": {"kappa": "auto", "gamma_max": 1e6},
    "kappa 1, gamma_max 30, alpha_0 1e-6": {"kappa": 1.0, "gamma_max": 30.0, "alpha0": 1e-6},
}
FAR = (-11.0, 121.0)
CHAOS = (
    "chaotic: the start moved by 1e-10 gives a few hundred to a few thousand steps, so a single count means nothing, "
    "here or in the paper"
)


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
    figure = about(8, 1)
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


def tables() -> Iterator[Fact]:
    """Steps to the target in four readings, retraces included, with the printed retrace formula."""
    cases = _cases()
    for number, (reading, parameters) in enumerate(READINGS.items()):
        for case in cases:
            steps = _steps(case.of, case.start, case.target, "elra", retrace_formula="printed", **parameters)
            claim = f"{case.words}: steps ({reading})"
            yield Fact(claim, case.source, case.expected[number], steps, case.paper, case.note if number == 0 else "")


def chaos(size: int = 200) -> Iterator[Fact]:
    """Rosenbrock from (-11, 121), the start moved by 1e-10: how the steps scatter."""
    moved = np.array(FAR) + 1e-10 * np.random.default_rng(0).standard_normal((size, 2))
    for formula, median in (("corrected", about(1112, 150)), ("printed", about(1860, 250))):
        steps = _steps(problem("rosenbrock"), moved, 1.0, "elra", retrace_formula=formula)
        note = "" if formula == "corrected" else (
            "the 1112 of the prototype is the median with the corrected retrace formula (|G|^2); the printed one (|G|) "
            "needs more"
        )
        yield Fact(f"median steps, {formula} retrace formula", "table 2", median, (float(np.median(steps)),), exactly(300), note)
        claim = f"most steps over fewest, {formula} retrace formula"
        yield Fact(claim, "table 2", at_least(3), (max(steps) / min(steps),), note=CHAOS)


def baselines(limit: int = LIMIT) -> Iterator[Fact]:
    """Adam (betas 0.8, 0.9) and RMSprop on the same functions, both with lr = 0.05."""
    adam = {"method": torch.optim.Adam, "lr": 0.05, "betas": (0.8, 0.9)}
    rmsprop = {"method": torch.optim.RMSprop, "lr": 0.05, "alpha": 0.9}
    above = Range(10_000, math.inf, "> 10 000")
    table: dict[str, tuple[dict[str, Any], tuple[Range, ...], tuple[Range, ...]]] = {
        "Adam": (adam, (exactly(126), exactly(182), exactly(178), NEVER), (exactly(128), exactly(184), exactly(208), above)),
        "RMSprop": (rmsprop, (exactly(128), NEVER, exactly(191), NEVER), (exactly(142), NEVER, exactly(176), above)),
    }
    for name, (optimizer, expected, paper) in table.items():
        for case, ours, theirs in zip(_cases(), expected, paper, strict=False):
            steps = _steps(case.of, case.start, case.target, limit=limit, **optimizer)
            note = "the paper does not give alpha; torch's default 0.99 gives 99 and 865 steps" if name == "RMSprop" else ""
            yield Fact(f"{case.words}: steps of {name}, of {limit}", case.source, ours, steps, theirs, note)


def _steps(
    of: Problem, start: Any, target: float, method: Any, limit: int = LIMIT, **parameters: Any
) -> tuple[float, ...]:
    below = math.nextafter(target, -math.inf)
    run = minimize(of, start, method, max_steps=limit, gtol=0, f_target=below, record_every=0, **parameters)
    return steps_to_target(run)


EXPERIMENTS = (
    Experiment(tables),
    Experiment(chaos, quick={"size": 60}),
    Experiment(baselines, quick={"limit": 2_000}),
)
