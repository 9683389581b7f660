"""ECDSep's geometry: energy, phase-space volume, reversibility, the rotation, the speed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.parts import Integrator
from flowopt.core.state import Evaluation, Point, State
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.problems import Problem, problem
from flowopt.reproduce.facts import Fact, about, at_least, at_most
from flowopt.reproduce.runs import ends, minimize
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.momentum_rotation import MomentumRotation

SCHEMES: dict[str, Integrator] = {"symplectic Euler": SymplecticEuler(), "Strang": StoermerVerlet()}
SHIFT = -1.0
"""F0, below the minimum 0 of every function here, so that V never vanishes."""


ORDER = "energy error of the order of dt^2"


def energy_order() -> Iterator[Fact]:
    """Order in dt of the largest relative energy error until t = 2, on the bowl x^2 + 2 y^2, s = 0 and 1."""
    dt = 0.02 / 2.0 ** torch.arange(4, dtype=torch.float64)
    start = np.tile((1.0, 0.5), (len(dt), 1))
    bowl = problem("bowl", coefficients=(1.0, 2.0))
    common: dict[str, Any] = {"nu": 0.0, "exponent": 2.0, "F0": SHIFT, "delta_energy": 1.0, "conserve_energy": False}
    for name, order, printed, paper in (("ecdsep", 1.0, ORDER, about(2, 0.1)), ("ecdsep_strang", 2.0, "", None)):
        slopes: list[float] = []
        for s in (0, 1):
            run = minimize(bowl, start, name, dt=dt, s=s, t_end=2.0, max_steps=10_000, gtol=0, **common)
            error = np.nanmax(np.abs(run.energy / run.energy[0] - 1), axis=0)
            slopes += np.log2(error[:-1] / error[1:]).tolist()
        yield Fact("order", "section 3.3", about(order, 0.05), tuple(slopes), printed, paper, name)


def symplecticity() -> Iterator[Fact]:
    """The Jacobian J of one step, by autograd through kick and drift, at 40 random points."""
    for label, scheme in SCHEMES.items():
        volume, form, projected = np.max([_departures(scheme, *point) for point in _points()], axis=0)
        where, rounding = "section 3.2", at_most(1e-12)
        yield Fact("largest |det J - 1|", where, rounding, (float(volume),), setting=f"{label}, bare")
        yield Fact("largest |J^T Omega J - Omega|", where, rounding, (float(form),), setting=f"{label}, bare")
        yield Fact(
            "largest |det J|",
            where,
            rounding,
            (float(projected),),
            setting=f"{label}, with energy projection",
            note="a projection onto the energy shell keeps no volume, so the theory of section 2 is for the bare step",
        )


def reversibility() -> Iterator[Fact]:
    """100 steps, p -> -p, 100 steps: how far from the start, from 50 random points."""
    system, bowl = SeparableHamiltonian(exponent=2.0, F0=SHIFT), problem("bowl", coefficients=(1.0, 2.0))
    generator = torch.Generator().manual_seed(0)
    q0, p0 = torch.randn(2, 50, 2, dtype=torch.float64, generator=generator)
    for label, scheme in SCHEMES.items():
        q, p = q0, p0
        for _ in range(2):
            for _ in range(100):
                q, p = _step(system, scheme, bowl, q, p, 0.05)
            p = -p
        missed = torch.cat((q - q0, p - p0)).abs().max().item()
        expected = at_most(1e-11) if scheme.order == 2 else at_least(0.01)
        yield Fact("distance from the start, there and back", "section 3.3", expected, (missed,), setting=label)


def rotation_angle() -> Iterator[Fact]:
    """The angle by which a rotation turns the momentum, in the mean over 2000 rows, minus arctan(nu sqrt(n))."""
    many = [_mean_angle(dim, nu) - math.atan(nu * math.sqrt(dim)) for dim in (100, 1000) for nu in (0.01, 0.1, 1.0)]
    claim, printed = "difference in the mean angle", "arctan(nu sqrt(n)) (any network)"
    within, setting = about(0, 0.005), "n = 100 and 1000, nu = 0.01, 0.1 and 1"
    yield Fact(claim, "section A.1", within, tuple(many), printed, within, setting)
    yield Fact(
        claim,
        "section A.1",
        about(-0.06, 0.01),
        (_mean_angle(2, 0.1) - math.atan(0.1 * math.sqrt(2)),),
        setting="n = 2, nu = 0.1",
        note="the formula is for many dimensions: n - 1 of them turn p, and |z| is close to sqrt(n) only there",
    )


def speed() -> Iterator[Fact]:
    """The speed law, in the time of eq 2, whose flow is the energy times ours (eq 9 is its logarithm)."""
    bowl, system = problem("bowl", coefficients=(1.0, 2.0)), SeparableHamiltonian(exponent=2.0, F0=SHIFT, s=0)
    q, p = torch.randn(2, 100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    here, state = _measure(bowl, q), {"q": q, "p": p}
    energy = system.energy(state, here)
    velocity = system.rate(state, here, None)["q"] * energy.unsqueeze(-1)
    ratio = rows.dot(velocity, velocity) / (energy * system.potential(state, here))
    claim, printed, setting = "|Theta'|^2 / (E V)", "|Theta'|^2 = E V", "100 random points"
    yield Fact(claim, "eq 5", about(4, 1e-9), ends(ratio.numpy()), printed, about(1, 1e-9), setting)


def _mean_angle(dim: int, nu: float) -> float:
    p = torch.randn(2000, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    system, turn, here = SeparableHamiltonian(), MomentumRotation(nu), rows.evaluation(p[:, 0], p)
    state: State = {"q": p, "p": p}
    state, memory = turn.settle(system, state, here, turn.start(state, here, torch.arange(len(p))))
    turned = turn.settle(system, state, here, memory)[0]["p"]  # the first call is for the start, which is not a step
    cosine = rows.dot(turned, state["p"]) / (rows.norm(turned) * rows.norm(state["p"]))
    return cosine.clamp(-1, 1).acos().mean().item()


def _measure(of: Problem, q: Tensor) -> Evaluation:
    assert of.value_and_gradient is not None
    return rows.evaluation(*of.value_and_gradient(q))


def _step(
    system: SeparableHamiltonian,
    scheme: Integrator,
    of: Problem,
    q: Tensor,
    p: Tensor,
    dt: float,
    shell: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of the scheme from (q, p), after a projection to the energy `shell` if there is one."""
    here, h = _measure(of, q), q.new_full((len(q),), dt)
    state = {"q": q, "p": p}
    if shell is not None:
        state = EnergyProjection().settle(system, state | {"E": shell}, here, {})[0]
    trial = scheme.move(system, Point(state, here, None), h, None).trial
    moved = scheme.complete(system, trial, _measure(of, trial["q"]), h)
    return moved["q"], moved["p"]


def _points() -> Iterator[tuple[SeparableHamiltonian, Problem, Tensor]]:
    """40 points z = (q, p) with |p| = 1 on Zakharov's valley, n = 2 and 3, s = 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for dim in (2, 3):
        for system in (
            SeparableHamiltonian(exponent=2.0, F0=SHIFT, s=0),
            SeparableHamiltonian(exponent=2.0, F0=SHIFT, s=1),
        ):
            for _ in range(10):
                q, p = torch.randn(2, 1, dim, dtype=torch.float64, generator=generator)
                yield system, problem("zakharov", dim=dim), torch.cat((q, p / p.norm())).flatten()


def _departures(scheme: Integrator, system: SeparableHamiltonian, of: Problem, z: Tensor) -> tuple[float, float, float]:
    """|det J - 1| and the largest entry of |J^T Omega J - Omega| of a bare step, and |det J| of a projected one."""
    q, p = z.reshape(2, 1, -1)
    dim = q.shape[-1]
    omega = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(dim)).to(z)

    def move(z: Tensor, shell: Tensor | None) -> Tensor:
        q, p = z.reshape(2, 1, -1)
        return torch.cat(_step(system, scheme, of, q, p, 0.1, shell)).flatten()

    bare, projected = (
        torch.func.jacrev(partial(move, shell=shell))(z)
        for shell in (None, 1.1 * system.energy({"q": q, "p": p}, _measure(of, q)))
    )
    volume = abs(torch.linalg.det(bare).item() - 1)
    return volume, (bare.T @ omega @ bare - omega).abs().max().item(), abs(torch.linalg.det(projected).item())
