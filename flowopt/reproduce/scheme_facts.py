"""The schemes themselves: order of convergence, agreement with other people's solvers, energy over long times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flowopt.controllers.fixed import Fixed
from flowopt.controllers.pi import PI
from flowopt.core._registry import discover
from flowopt.core.method import Method
from flowopt.core.parts import Integrator, System
from flowopt.functions._reference import reference
from flowopt.functions._trajectory import Trajectory
from flowopt.integrators.runge_kutta import DormandPrince
from flowopt.reproduce.facts import Experiment, Fact, about, at_least, at_most
from flowopt.reproduce.runs import minimize
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall

PROBLEM, START = "himmelblau", (1.0, 1.0)
"""Smooth, and away from its minimisers for the whole of the interval."""
FIELDS: dict[str, tuple[System, float]] = {
    "symplectic_euler": (SeparableHamiltonian(exponent=1.0, delta_energy=1.0), 0.5),
    "stoermer_verlet": (SeparableHamiltonian(exponent=1.0, delta_energy=1.0), 0.5),
    "lookahead": (HeavyBall(mass=1.0, friction=1.0), 0.1),
    "dormand_prince": (HeavyBall(mass=1.0, friction=1.0), 1.0),
}
"""What a scheme is tried on, and until when; gradient flow until t = 0.02 for all that take it."""
PARTS = {1: 512, 2: 128, 4: 16, 5: 16}
"""Steps of the coarser of two runs, by order: fine enough for the leading error, coarse enough for rounding."""


def orders() -> Iterator[Fact]:
    """Order of convergence of every integrator: the slope of its error between two steps that differ by 2."""
    for name, scheme in discover(Integrator).items():
        integrator = scheme()
        system, t_end = FIELDS.get(name, (GradientFlow(), 0.02))
        count = PARTS[integrator.order]
        exact = reference(PROBLEM, START, t_end, system, "scipy:DOP853", rtol=1e-13, atol=1e-14).final_x
        errors = [
            np.abs(_fixed(system, integrator, t_end, parts).final_x - exact).max() for parts in (count, 2 * count)
        ]
        slope, setting = (float(np.log2(errors[0] / errors[1])),), f"{name} on {system.name}"
        yield Fact("slope of the error", integrator.source, about(integrator.order, 0.15), slope, setting=setting)


def agreement() -> Iterator[Fact]:
    """The same vector field by flowopt, SciPy and torchdiffeq at tight tolerances."""
    for system, t_end in ((GradientFlow(), 1.0), (HeavyBall(), 2.0), (SeparableHamiltonian(delta_energy=1.0), 1.0)):
        tight = Method(system, DormandPrince(), PI(rtol=1e-12, atol=1e-13))
        ours = minimize(PROBLEM, START, tight, max_steps=100_000, t_end=t_end, gtol=0.0).final_x
        for solver in ("scipy:DOP853", "scipy:RK45", "scipy:LSODA", "torchdiffeq:dopri5", "torchdiffeq:dopri8"):
            other = reference(PROBLEM, START, t_end, system, solver, rtol=1e-12, atol=1e-13).final_x
            difference, setting = (float(np.abs(ours - other).max()),), f"{system.name} until t = {t_end:g}, {solver}"
            yield Fact("largest difference from another solver", "", at_most(1e-8), difference, setting=setting)


def energy(steps: int = 5_000) -> Iterator[Fact]:
    """Relative energy error over a long run at a fixed step: bounded for symplectic schemes, drifting for others."""
    system = SeparableHamiltonian(exponent=1.0, F0=-1.0, delta_energy=1.0)
    for name in ("symplectic_euler", "stoermer_verlet", "forward_euler"):
        integrator = discover(Integrator)[name]()
        run = minimize("bowl", (1.0, 0.6), Method(system, integrator, Fixed(0.02)), max_steps=steps, gtol=0.0)
        error = np.abs(run.energy[:, 0] / run.energy[0, 0] - 1)
        first, last = error[: len(error) // 10].max(), error[-len(error) // 10 :].max()
        bounded = integrator.symplectic
        yield Fact(
            f"energy error in the last tenth of {steps} steps over that in the first",
            integrator.source,
            about(1.0, 0.2) if bounded else at_least(2.0),
            (float(last / first),),
            setting=name,
            note=f"largest error of the run {error.max():.2e}",
        )


def _fixed(system: System, integrator: Integrator, t_end: float, parts: int) -> Trajectory:
    return minimize(PROBLEM, START, Method(system, integrator, Fixed(t_end / parts)), max_steps=parts, gtol=0.0)


EXPERIMENTS = (Experiment(orders), Experiment(agreement), Experiment(energy))
