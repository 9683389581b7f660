"""The flow of AdaGrad."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.roles import Denominator, Range
from flowopt.core.state import Number, State
from flowopt.systems.adaptive_flow import AdaptiveFlow, Law


@dataclass(frozen=True, kw_only=True)
class AdaGrad(AdaptiveFlow):
    """AdaGrad: q' = -g / (sqrt(v) + eps), step v' = g^2: v is the sum of all squared gradients. Lyapunov function: f.

    By symplectic Euler with h = step it is torch.optim.Adagrad. Raises BadValue for numbers out of range.
    """

    eps: Denominator = 1e-10
    step: Annotated[Number, Range(1e-5, 10.0)] = 1e-2

    name = "adagrad"
    source = "Duchi, Hazan, Singer 2011"

    def laws(self) -> dict[str, Law]:
        return {"v": lambda s, g, h: g * g}

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        return -h * g / (self.z_hat(s) + rows.column(self.eps))

    def z_hat(self, s: State) -> Tensor:
        return s["v"].sqrt()
