"""The schemes: order, cost, error estimates, symplecticity, energy over long times, reversibility, stability."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import INTEGRATORS, SYSTEMS, Measured, build, fits, walk
from scipy.integrate import RK45, solve_ivp
from torch import Tensor

from flowopt import Method, Problem, Status, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.pi import PI
from flowopt.integrators import implicit
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.krylov import gmres
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import RK4, DormandPrince, Heun
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.parts import Integrator, System
from flowopt.rows import max_norm
from flowopt.state import State
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow
from flowopt.transforms.energy_projection import EnergyProjection


def valley(q: Tensor) -> tuple[Tensor, Tensor]:
    """A convex valley with ripples, and its gradient.

    f = 3 + x^2 + x y + 3/2 y^2 + (sin 10 x + sin(10 y + 1))/100. Without the ripples Dormand-Prince's leading error
    would be so small on flows that contract, that its order hides below rounding.
    """
    x, y = q.unbind(-1)
    u, v = 10 * x, 10 * y + 1
    f = 3 + x * x + x * y + 1.5 * y * y + (u.sin() + v.sin()) / 100
    return f, torch.stack((2 * x + y + u.cos() / 10, x + 3 * y + v.cos() / 10), -1)


def valley_hessian(q: Tensor) -> Tensor:
    x, y = q.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack((2 - (10 * x).sin(), one, one, 3 - (10 * y + 1).sin()), -1).reshape(-1, 2, 2)


VALLEY = Measured(valley, valley_hessian)
START = {
    "q": torch.tensor([[0.6, 0.3], [0.7, 0.4], [0.5, 0.5], [0.4, 0.6], [0.9, 0.2]], dtype=torch.float64),
    "p": torch.tensor([[0.4, -0.7], [0.1, 0.6], [-0.3, 0.2], [0.5, 0.5], [-0.6, -0.4]], dtype=torch.float64),
    "clock": torch.ones(5, 1, dtype=torch.float64),  # later than the singular friction of Nesterov's flow at t = 0
}
"""Five rows, so that an order is not judged where two error terms happen to cancel."""

EXAMPLES: list[System] = [
    *(build(system).continuous() for system in SYSTEMS),
    ScaledGradientFlow("identity"),
    ScaledGradientFlow("curvature"),
    ScaledGradientFlow("curvature", normalise="max"),
    ScaledGradientFlow("limit", normalise="mean"),
    SeparableHamiltonian(eta=1.7, F0=-0.3, s=0, weight_decay=0.2),
    HeavyBall(mass=0.7, friction=0.4),
    BornInfeld(v0=-0.5, delta_energy=0.8),
    NewtonFlow(damping=0.5),
]
PAIRS = [
    pytest.param(system, build(integrator), id=f"{integrator.name}-{system}")
    for system in EXAMPLES
    for integrator in INTEGRATORS
    if fits(system, build(integrator), Fixed(0.1))
]


def begin_at(system: System) -> State:
    """The system's own start, with moving leaves from START."""
    q = START["q"]
    state = system.start(q, VALLEY(q), VALLEY)
    return {name: START.get(name, leaf) for name, leaf in state.items()}


def step(system: System, integrator: Integrator, state: State, h: float | Tensor, measure: Any = None) -> State:
    """One step, measured before and after."""
    h = torch.as_tensor(h, dtype=state["q"].dtype).expand(len(state["q"]))
    measure = measure or VALLEY
    before = measure(state["q"])
    rate = system.rate(state, before, measure) if integrator.uses_rate else None
    trial = integrator.move(system, state, before, rate, h, measure).trial
    after = measure(trial["q"])
    return system.observe(integrator.complete(system, trial, after, h), after, h, measure)


def flat(system: System, state: State) -> np.ndarray:
    moving = system.rate(state, VALLEY(state["q"]), VALLEY)
    return np.concatenate([state[name].numpy().ravel() for name in moving])


def exact(system: System, state: State, t: float) -> np.ndarray:
    """The flow itself, by SciPy to nearly all digits."""
    moving = system.rate(state, VALLEY(state["q"]), VALLEY)
    ends = np.cumsum([0, *(leaf.numel() for leaf in moving.values())])

    def unflat(y: np.ndarray) -> State:
        spans = zip(moving, ends[:-1], ends[1:], strict=True)
        return state | {name: torch.from_numpy(y[a:b].copy()).reshape(moving[name].shape) for name, a, b in spans}

    def field(_: float, y: np.ndarray) -> np.ndarray:
        here = unflat(y)
        rate = system.rate(here, VALLEY(here["q"]), VALLEY)
        return np.concatenate([leaf.numpy().ravel() for leaf in rate.values()])

    solution = solve_ivp(field, (0, t), flat(system, state), method="DOP853", rtol=3e-14, atol=1e-15)
    assert solution.success
    return solution.y[:, -1]


def slopes(errors: list[float] | Tensor) -> np.ndarray:
    """Powers of h at which errors of steps h, h/2, h/4, ... shrink."""
    return -np.diff(np.log2(np.asarray(errors)))


@cache
def reference(system: System) -> tuple[State, float, np.ndarray]:
    """A start, half the time in which the field changes by as much as itself, and the exact state then."""
    state = begin_at(system)
    t = 0.5 * timescale(system, state)
    return state, t, exact(system, state, t)


@pytest.mark.parametrize(("system", "integrator"), PAIRS)
def test_order_of_convergence(system: System, integrator: Integrator) -> None:
    state, t, end = reference(system)
    errors: list[float] = []
    count = {1: 64, 2: 16}.get(integrator.order, 2)
    # the smallest steps that still err by much more than rounding are the asymptotic range
    while len(errors) < 2 or (errors[-1] > 5e-14 and count <= 128):
        now = state
        for _ in range(count):
            now = step(system, integrator, now, t / count)
        errors.append(float(np.linalg.norm(flat(system, now) - end)))
        count *= 2
    assert errors[-1] > 2e-15, "down at rounding, where no slope can be seen"
    assert slopes(errors)[-1] == pytest.approx(integrator.order, abs=0.15), errors


def timescale(system: System, state: State) -> float:
    """The time in which the field changes by as much as itself, in the fastest row."""
    instant = 1e-6
    rate = system.rate(state, VALLEY(state["q"]), VALLEY)
    later = step(system, ForwardEuler(), state, instant)
    rate_later = system.rate(later, VALLEY(later["q"]), VALLEY)
    change = max_norm({name: rate_later[name] - rate[name] for name in rate})
    return float((instant * max_norm(rate) / change).min())
