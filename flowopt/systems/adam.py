"""The flow of Adam."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.roles import GradientAverage, SquareAverage
from flowopt.core.state import Evaluation, State
from flowopt.systems.adaptive_flow import AdaptiveFlow, Law, corrected, towards


@dataclass(frozen=True, kw_only=True)
class Adam(AdaptiveFlow):
    """Adam: q' = -m^ / (sqrt(v^) + eps), with m an average of g and v one of g^2, both corrected for their start.

    The averages have the time constants t1 = step / (1 - beta1) and t2 = step / (1 - beta2). The flow lowers
    f + t1/2 <m, -q'>, if t1 <= 4 t2. At t = 0 the corrected averages are 0 over 0: from there no scheme has more than
    order 3. By symplectic Euler with h = step it is torch.optim.Adam.

    Raises BadValue for numbers out of range.
    """

    beta1: GradientAverage = 0.9
    beta2: SquareAverage = 0.999

    name = "adam"
    source = "Kingma, Ba 2015; as a flow: da Silva, Gazeau 2020; Barakat, Bianchi 2021"
    cheap_energy = False  # its kinetic part would take as long as half a step
    vectors: ClassVar[tuple[str, ...]] = ("m", "v")
    counters = ("m_weight", "v_weight")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "beta1", self.beta1, 0.0, 1.0, open_high=True)
        check_range(self.name, "beta2", self.beta2, 0.0, 1.0, open_high=True)

    def laws(self) -> dict[str, Law]:
        return {
            "m": lambda s, g, h: towards(g, s["m"], self.beta1),
            "m_weight": lambda s, g, h: towards(1.0, s["m_weight"], self.beta1),
            "v": lambda s, g, h: towards(self.squared(s, g), s["v"], self.beta2),
            "v_weight": lambda s, g, h: towards(1.0, s["v_weight"], self.beta2),
        }

    def squared(self, s: State, g: Tensor) -> Tensor:
        """What v averages."""
        return g * g

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        return -h * corrected(s, "m") / self.denominator(s)

    def denominator(self, s: State) -> Tensor:
        """What the momentum is divided by."""
        return self.z_hat(s) + rows.column(self.eps)

    def z_hat(self, s: State) -> Tensor:
        return corrected(s, "v").sqrt()

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        """f + t1/2 <m, -q'>."""
        potential = super().energy(state, evaluation)
        h = rows.steps(torch.ones_like(potential) * self.step, state["q"])
        kinetic = -rows.dot(state["m"], self.displacement(state, self.gradient(state, evaluation), h))
        return potential + 0.5 * kinetic / (1 - self.beta1)
