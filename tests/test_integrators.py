"""The schemes: order, cost, error estimates, symplecticity, energy over long times, reversibility, stability."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import INTEGRATORS, SYSTEMS, Measured, build, fits
from scipy.integrate import solve_ivp
from torch import Tensor

from flowopt.controllers.fixed import Fixed
from flowopt.integrators.euler import ForwardEuler
from flowopt.parts import Integrator, System
from flowopt.rows import max_norm
from flowopt.state import Rate, State
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow


def valley(quartic: float, ripples: float) -> Measured:
    """3 + x^2 + x y + 3/2 y^2 + quartic x^4/4 + ripples (sin 10 x + sin(10 y + 1))/100, convex for ripples <= 1."""

    def function(q: Tensor) -> tuple[Tensor, Tensor]:
        x, y = q.unbind(-1)
        u, v = 10 * x, 10 * y + 1
        f = 3 + x * x + x * y + 1.5 * y * y + quartic * x**4 / 4 + ripples * (u.sin() + v.sin()) / 100
        dx = 2 * x + y + quartic * x**3 + ripples * u.cos() / 10
        return f, torch.stack((dx, x + 3 * y + ripples * v.cos() / 10), -1)

    def hessian(q: Tensor) -> Tensor:
        x, y = q.unbind(-1)
        one = torch.ones_like(x)
        xx = 2 + 3 * quartic * x * x - ripples * (10 * x).sin()
        return torch.stack((xx, one, one, 3 - ripples * (10 * y + 1).sin()), -1).reshape(-1, 2, 2)

    return Measured(function, hessian)


SMOOTH, RIPPLED = valley(quartic=1.0, ripples=0.0), valley(quartic=0.0, ripples=1.0)


def objective_for(system: System) -> Measured:
    """Where a flow contracts, Dormand-Prince's leading error on a smooth function is so small that its order shows only
    below rounding; so there are ripples, but for Newton's flow, whose linear solve rounds more.
    """
    return SMOOTH if isinstance(system, NewtonFlow) else RIPPLED


START = {
    "q": torch.tensor([[0.6, 0.3], [0.7, 0.4], [0.5, 0.5], [0.4, 0.6], [0.9, 0.2]], dtype=torch.float64),
    "p": torch.tensor([[0.4, -0.7], [0.1, 0.6], [-0.3, 0.2], [0.5, 0.5], [-0.6, -0.4]], dtype=torch.float64),
    "clock": torch.ones(5, 1, dtype=torch.float64),  # later than the singular friction of Nesterov's flow at t = 0
}
"""Five rows, so that an order is not judged where two error terms happen to cancel."""

# normalise="max" is left out: its field has a kink where another coordinate becomes the largest
EXAMPLES: list[System] = [
    *(build(system).continuous() for system in SYSTEMS),
    ScaledGradientFlow("identity"),
    ScaledGradientFlow("curvature"),
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
    measure = objective_for(system)
    state = system.start(q, measure(q), measure)
    return {name: START.get(name, leaf) for name, leaf in state.items()}


def step(system: System, integrator: Integrator, state: State, h: float | Tensor, measure: Any = None) -> State:
    """One step, measured before and after."""
    measure = measure or objective_for(system)
    h = torch.as_tensor(h, dtype=state["q"].dtype).expand(len(state["q"]))
    before = measure(state["q"])
    field = system.rate(state, before, measure) if integrator.uses_rate else None
    trial = integrator.move(system, state, before, field, h, measure).trial
    after = measure(trial["q"])
    return system.observe(integrator.complete(system, trial, after, h), after, h, measure)


def rate(system: System, state: State) -> Rate:
    measure = objective_for(system)
    return system.rate(state, measure(state["q"]), measure)


def flat(system: System, state: State) -> np.ndarray:
    return np.concatenate([state[name].numpy().ravel() for name in rate(system, state)])


def exact(system: System, state: State, t: float) -> np.ndarray:
    """The flow itself, by SciPy to nearly all digits."""
    moving = rate(system, state)
    ends = np.cumsum([0, *(leaf.numel() for leaf in moving.values())])

    def unflat(y: np.ndarray) -> State:
        spans = zip(moving, ends[:-1], ends[1:], strict=True)
        return state | {name: torch.from_numpy(y[a:b].copy()).reshape(moving[name].shape) for name, a, b in spans}

    def field(_: float, y: np.ndarray) -> np.ndarray:
        return np.concatenate([leaf.numpy().ravel() for leaf in rate(system, unflat(y)).values()])

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
    count = {1: 32, 2: 16}.get(integrator.order, 2)
    # the smallest steps that still err by much more than rounding are the asymptotic range
    while len(errors) < 2 or (errors[-1] / 2**integrator.order > 5e-15 and count <= 64):
        now = state
        for _ in range(count):
            now = step(system, integrator, now, t / count)
        errors.append(float(np.linalg.norm(flat(system, now) - end)))
        count *= 2
    assert slopes(errors)[-1] == pytest.approx(integrator.order, abs=0.15), errors


def timescale(system: System, state: State) -> float:
    """The time in which the field changes by as much as itself, in the fastest row."""
    instant = 1e-6
    now = rate(system, state)
    then = rate(system, step(system, ForwardEuler(), state, instant))
    return float((instant * max_norm(now) / max_norm({name: then[name] - now[name] for name in now})).min())
