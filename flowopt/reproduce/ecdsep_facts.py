"""ECDSep and BBI: the paper's test functions, and all of its experiments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from flowopt.core.state import Status
from flowopt.problems import problem
from flowopt.reproduce import ecdsep_geometry as geometry
from flowopt.reproduce import ecdsep_measure as density
from flowopt.reproduce.facts import Experiment, Fact, about, at_least, at_most, between, exactly, share
from flowopt.reproduce.runs import ends, minimize

NOTEBOOK = "the authors' notebook"
ZAKHAROV = {"exponent": 1.0115627615016867, "dt": 9594.610818688134, "nu": 0.08155467868356955}
ACKLEY = {"exponent": 1.0102203109384507, "dt": 0.6978430924580129, "nu": 0.5072722919129238}


def zakharov() -> Iterator[Fact]:
    """Zakharov, n = 10, from ones, 3500 steps, with the notebook's hyperparameters."""
    valley = problem("zakharov", dim=10)
    limits: dict[str, Any] = {"max_steps": 3500, "gtol": 0, "record_every": 0}
    run = minimize(valley, np.ones((20, 10)), "ecdsep", delta_energy=5.051214553994412, **ZAKHAROV, **limits)
    yield Fact(
        "best F (V stops at eps2 = 1e-40)",
        NOTEBOOK,
        at_most(3e-40),
        ends(run.best_f),
        setting="ECDSep, 20 seeds",
    )
    # no bounces: the notebook sets their thresholds beyond the run
    run = minimize(valley, method="bbi", dt=0.0026001081349641686, v0=1e-22, progress_interval=10_000, **limits)
    yield Fact(
        "last F",
        NOTEBOOK,
        about(5.7e-21, 1e-21),
        ends(run.final_f),
        setting="BBI, dt = 0.0026, v0 = 1e-22, no bounces",
    )
    run = minimize(valley, method="gdm", lr=3.727912236249505e-06, beta=0.9425714481791437, **limits)
    yield Fact("last F", NOTEBOOK, about(0.87, 0.01), ends(run.final_f), setting="momentum SGD")
    betas = (0.7268302532463466, 0.9054713087941392)
    run = minimize(
        valley, method=torch.optim.Adam, lr=1.2542526723690335, betas=betas, **(limits | {"record_every": 1})
    )
    yield Fact(
        "largest F in the last 500 steps",
        NOTEBOOK,
        at_least(1e-3),
        (float(run.f[-500:].max()),),
        setting="Adam",
        note="it never settles: F jumps between 1e-10 and 1e5 to the end, so that where it ends (a prototype: 8e-2) is "
        "chance",
    )


def ackley() -> Iterator[Fact]:
    """Ackley with the notebook's setting (coefficient 0.02, F0 = 1e-3), 2000 steps from (-4, 3), 200 seeds."""
    funnel = problem("ackley", dim=2, coefficient=0.02, regularised=True)
    start = np.tile((-4.0, 3.0), (200, 1))
    limits: dict[str, Any] = {"max_steps": 2000, "gtol": 0, "record_every": 0}
    run = minimize(funnel, start, "ecdsep", F0=1e-3, delta_energy=10.0, **ACKLEY, **limits)
    below = run.best_f < 1e-3
    found = share(below.tolist())
    yield Fact("best F below 1e-3", NOTEBOOK, between(75, 97), found, note="a prototype: 7 of 8 seeds")
    told = (run.status == Status.BELOW_F0) == below
    yield Fact("rows that stop, and say 'below F0', just when F < F0", NOTEBOOK, exactly(200), (float(told.sum()),))


def self_tuning() -> Iterator[Fact]:
    """Algorithm 2: F0 = 0.5 above the minimum of the bowl |Theta|^2 in three dimensions."""
    bowl = problem("bowl", coefficients=(1.0, 1.0, 1.0))
    start = np.tile((1.0, 1.0, 1.0), (4, 1))
    run = minimize(bowl, start, "ecdsep", tune_F0=True, F0=0.5, max_steps=3000, gtol=0, record_every=0)
    yield Fact(
        "best F in 3000 steps",
        "Algorithm 2",
        at_most(1e-10),
        ends(run.best_f),
        setting="from (1, 1, 1), 4 seeds",
        note="dt = 0.4 and exponent = 1; the authors' code leaves the shift of F0 out of the force and stays at 0.08",
    )


EXPERIMENTS = (
    Experiment(geometry.energy_order),
    Experiment(geometry.symplecticity),
    Experiment(geometry.reversibility),
    Experiment(geometry.rotation_angle),
    Experiment(geometry.speed),
    Experiment(density.measure),
    Experiment(density.measure_spoiled),
    Experiment(zakharov),
    Experiment(ackley),
    Experiment(self_tuning),
)
