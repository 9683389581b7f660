"""The Born-Infeld system of BBI, the predecessor of ECDSep."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.parts import System, full
from flowopt.core.roles import LowerBound, Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State
from flowopt.systems.hamiltonian import along, ended


@dataclass(frozen=True)
class BornInfeld(System):
    """Born-Infeld dynamics: conserved energy E = sqrt(V (V + |p|^2)) with V = F - v0.

    q' = (V/E) p, p' = -1/2 (V/E + E/V) grad F, with E the energy of the start, V(q_0) + added_energy
    (De Luca and Silverstein 2022; the method that the ECDSep paper compares with). The speed limit |q'|^2 <= V
    slows the motion down near the minimum. At the start p points along -grad F with |p|^2 = E^2/V - V.

    A row ends when V <= 1e-40: 'converged' at a stationary point, 'below F0' where F reached or passed v0 on its way.
    Raises BadValue for added_energy < 0.
    """

    v0: Annotated[Number, LowerBound()] = 0.0
    added_energy: Annotated[Number, Range(1e-3, 1e3)] = 0.0

    name = "born_infeld"
    source = "De Luca, Silverstein 2022 (BBI)"
    provides = frozenset({"kick_drift", "hamiltonian", "momentum", "energy_shell", "smooth_rate"})

    def __post_init__(self) -> None:
        check_range(self.name, "v0", self.v0)
        check_range(self.name, "added_energy", self.added_energy, 0.0)

    @property
    def needs_value(self) -> bool:
        return True

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        v = self.potential(evaluation)
        more = full(q, self.added_energy)
        energy = v + more
        size = (
            (more * (2 + more / v)).clamp(min=0.0).sqrt()
        )  # E^2/V - V, which would leave 1e-8 of rounding at more = 0
        return {"q": q, "p": -along(evaluation.grad, evaluation.square) * size.unsqueeze(-1), "E": energy}

    def potential(self, evaluation: Evaluation) -> Tensor:
        """V = F - v0, ``(B,)``."""
        return evaluation.value - self.v0

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        slowness = (self.potential(evaluation) / state["E"]).unsqueeze(-1)
        return {"q": slowness * state["p"], "p": -0.5 * (slowness + 1 / slowness) * evaluation.grad}

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return rows.advance(state, {"p": self.rate(state, evaluation, None)["p"]}, h)

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return rows.advance(state, {"q": self.rate(state, evaluation, None)["q"]}, h)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        v = self.potential(evaluation)
        return (v * (v + rows.dot(state["p"], state["p"]))).sqrt()

    def shell(self, state: State, evaluation: Evaluation) -> Tensor:
        """The |p|^2 that the conserved energy asks for at q: E^2/V - V, ``(B,)``."""
        v = self.potential(evaluation)
        return state["E"] ** 2 / v - v

    def outcome(self, state: State, evaluation: Evaluation) -> Tensor | None:
        v = self.potential(evaluation)
        return ended(v, v, evaluation.square)
