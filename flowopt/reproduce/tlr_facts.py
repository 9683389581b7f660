"""TLR on quadratics and on Rosenbrock's valley, and the identity that ties it to ELRA and Barzilai-Borwein."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowopt.functions._trajectory import Trajectory
from flowopt.problems import problem
from flowopt.reproduce.facts import NEVER, Experiment, Fact, at_least, at_most, between, exactly
from flowopt.reproduce.runs import ends, grid, minimize, numbers, steps_to_target
from flowopt.testing import Distribution

Array = NDArray[Any]

RATES = 10.0 ** np.arange(-9, 1)
"""Initial rates from 1e-9 to 1."""
RULE = "eq 8"
CODE = "the authors' code"


def any_initial_rate() -> Iterator[Fact]:
    """The quadratic with spectrum (1, 10, 100), from (1, 1, 1) to |grad f| <= 1e-8."""
    yield Fact(
        "steps",
        RULE,
        between(50, 250),
        steps_to_target(_quadratic(RATES, K=1)),
        setting="in-step, K = 1, initial rates 1e-9 to 1",
        note="the start is ours: from other starts the fewest steps are 60 to 75, the most 170 to 220",
    )


def lagged() -> Iterator[Fact]:
    """The authors' schedule on that quadratic, K = 1, from 1e-9."""
    readings: dict[str, dict[str, Any]] = {
        "unbounded factor": {"guard": False, "max_factor": math.inf},
        "factor <= 100": {},
    }
    for words, changed in readings.items():
        source = CODE if changed else RULE
        run = _quadratic(RATES[:1], K=1, schedule="lagged", dtype=torch.float32, max_steps=5_000, **changed)
        yield Fact("steps in float32", source, NEVER, steps_to_target(run), setting=words)
        run = _quadratic(RATES[:1], K=1, schedule="lagged", record_every=1, **changed)
        yield Fact(
            "largest |grad f| on the way in float64",
            source,
            at_least(1e20),
            (float(run.grad_norm.max()),),
            setting=words,
            note="|grad f|^2 is beyond float32 there, so that the run ends; in float64 it comes back and converges",
        )


def guard() -> Iterator[Fact]:
    """Keeping the rate on a negative denominator, on that quadratic: rows of 10 initial rates that converge."""
    expectations = {(2, True): exactly(0), (2, False): exactly(10), (10, True): at_most(9)}
    for (period, guarded), expected in expectations.items():
        run = _quadratic(RATES, K=period, guard=guarded)
        setting = f"K = {period}, {'guarded' if guarded else 'unguarded'}"
        source = RULE if guarded else CODE
        yield Fact("rows of 10 that converge", source, expected, (float(run.converged.sum()),), setting=setting)


def negative_rates() -> Iterator[Fact]:
    """Unguarded, K = 1, on that quadratic from 12 random starts: steps of 200 with a negative rate."""
    starts = np.random.default_rng(0).standard_normal((12, 3))
    note = "a prototype counted {} from one start; the count depends on the start, the initial rate and the momentum"
    for name, base, count in (("tlr_gdm", "momentum", 62), ("tlr_adam", "Adam", 40)):
        run = _quadratic(np.full(12, 1e-3), name, starts, K=1, guard=False, gtol=0.0, max_steps=200, record_every=1)
        found = Distribution(numbers((run.h[1:] < 0).sum(0)))
        setting = f"over {base}, from 1e-3"
        yield Fact("steps of 200", CODE, at_least(1), found, setting=setting, note=note.format(count))
    guarded = _quadratic(np.full(12, 1e-3), "tlr_gdm", starts, K=1, gtol=0.0, max_steps=200, record_every=1)
    yield Fact("steps of 200", RULE, exactly(0), ends((guarded.h[1:] < 0).sum(0)), setting="over momentum, guarded")


def rosenbrock() -> Iterator[Fact]:
    """Rosenbrock's valley, in-step, K = 1, 20 000 steps, three starts x initial rates 1e-9 to 1."""
    starts = np.array(((-1.2, 1.0), (0.0, 0.0), (2.0, 2.0)))
    number, rates = grid(range(len(starts)), RATES)
    limits: dict[str, Any] = {"max_steps": 20_000, "gtol": 1e-6, "record_every": 0}
    run = minimize("rosenbrock", starts[number.astype(int)], "tlr", lr=torch.as_tensor(rates), K=1, **limits)
    yield Fact("rows of 30 that converge", RULE, exactly(0), (float(run.converged.sum()),))


def identity() -> Iterator[Fact]:
    """ELRA (kappa = 1), TLR (gamma = K = 1) and Barzilai-Borwein 1 give one step: largest relative difference."""
    starts = np.random.default_rng(0).standard_normal((1000, 3))
    limits: dict[str, Any] = {"max_steps": 2, "gtol": 0}
    bowl = problem("quadratic", spectrum=(1.0, 10.0, 100.0))
    steps = {
        "ELRA": minimize(bowl, starts, "elra", alpha0=1e-3, retrace=None, **limits).h[2],
        "TLR": minimize(bowl, starts, "tlr", lr=1e-3, gamma=1.0, K=1, max_factor=math.inf, **limits).h[2],
    }
    bb = minimize(bowl, starts, "bb", variant=1, h0=1e-3, **limits).h[2]
    for name, h in steps.items():
        found = (float(np.abs(h / bb - 1).max()),)
        yield Fact("difference from Barzilai-Borwein 1", RULE, at_most(1e-11), found, setting=name)


def _quadratic(rates: Array, name: str = "tlr", starts: Array | None = None, **options: Any) -> Trajectory:
    limits = {"gtol": 1e-8, "max_steps": 20_000, "record_every": 0}
    starts = np.ones((len(rates), 3)) if starts is None else starts
    bowl = problem("quadratic", spectrum=(1.0, 10.0, 100.0))
    return minimize(bowl, starts, name, lr=torch.as_tensor(rates), **(limits | options))


EXPERIMENTS = tuple(map(Experiment, (any_initial_rate, lagged, guard, negative_rates, rosenbrock, identity)))
