"""Symplectic schemes: symplectic Euler and Stoermer-Verlet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt.core.parts import Integrator, System
from flowopt.core.state import Evaluation, Measure, Move, Point, State


def drifted(system: System, before: Point, trial: State, h: Tensor) -> Tensor:
    """The drift ``(B, D)`` that a momentum makes, from its trial: the position itself has no part in it."""
    return system.drift(trial | {"q": torch.zeros_like(trial["q"])}, before.evaluation, h)["q"]


@dataclass(frozen=True)
class SymplecticEuler(Integrator):
    """Symplectic Euler: kick the momentum, then drift the position with the new momentum. Order 1.

    Phase-space volume and J^T Omega J = Omega hold exactly on a separable Hamiltonian, and the energy error stays
    bounded, first order in h.
    """

    name = "symplectic_euler"
    source = "de Vogelaere 1956; ECDSep Algorithm 1"
    requires = frozenset({"kick_drift"})
    order = 1
    stages = 1
    symplectic = True
    uses_rate = False

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        kicked = system.kick(point.state, point.evaluation, h)
        return Move(system.drift(kicked, point.evaluation, h))

    def displacement(self, system: System, before: Point, trial: State, h: Tensor) -> Tensor | None:
        return drifted(system, before, trial, h)


@dataclass(frozen=True)
class StoermerVerlet(Integrator):
    """Stoermer-Verlet (Strang splitting): half kick, drift, half kick. Order 2, reversible, one gradient a step.

    The gradient of the closing half kick is the one that opens the next step.
    """

    name = "stoermer_verlet"
    source = "Strang 1968; named as future work in ECDSep"
    requires = frozenset({"kick_drift", "separable"})
    order = 2
    stages = 1
    symplectic = True
    uses_rate = False

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        kicked = system.kick(point.state, point.evaluation, 0.5 * h)
        return Move(system.drift(kicked, point.evaluation, h))

    def displacement(self, system: System, before: Point, trial: State, h: Tensor) -> Tensor | None:
        return drifted(system, before, trial, h)

    def complete(self, system: System, trial: State, evaluation: Evaluation, h: Tensor) -> State:
        return system.kick(trial, evaluation, 0.5 * h)
