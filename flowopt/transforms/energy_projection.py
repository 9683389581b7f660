"""Projection of the momentum back to the shell of the conserved energy."""

from dataclasses import dataclass

import torch

from flowopt.core import rows
from flowopt.core.parts import System, Transform
from flowopt.core.state import Evaluation, Memory, State

TOLERANCE = 1e-10
"""The paper's eps1."""


@dataclass(frozen=True)
class EnergyProjection(Transform):
    """Rescale the momentum so that the energy is that of the start: p <- p sqrt(target / |p|^2).

    ECDSep Algorithm 1: before the kick (section 3.3 says after), where | |p|^2 - target | > 1e-10, target > 0 and
    |p|^2 > 0. The target is the system's: E/V - s for ECDSep, E^2/V - V for BBI.
    """

    name = "energy_projection"
    source = "ECDSep section 3.3, Algorithm 1"
    requires = frozenset({"energy_shell"})

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        p = state["p"]
        square, target = rows.dot(p, p), system.shell(state, evaluation)
        off = ((square - target).abs() > TOLERANCE) & (target > 0) & (square > 0)
        scale = torch.where(off, target / square, 1.0).sqrt()
        return state | {"p": p * scale.unsqueeze(-1)}, memory
