"""The flow of RMSprop."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.roles import Range, SquareAverage
from flowopt.core.state import Number, State
from flowopt.systems.adaptive_flow import AdaptiveFlow, Law, towards


@dataclass(frozen=True, kw_only=True)
class RMSprop(AdaptiveFlow):
    """RMSprop: q' = -g / (sqrt(v) + eps), v an average of g^2 that starts at 0, uncorrected. Lyapunov function: f.

    The average has the time constant step / (1 - beta2). By symplectic Euler with h = step it is
    torch.optim.RMSprop(alpha=beta2). Raises BadValue for numbers out of range.
    """

    beta2: SquareAverage = 0.99
    step: Annotated[Number, Range(1e-5, 10.0)] = 1e-2

    name = "rmsprop"
    source = "Tieleman, Hinton 2012, lecture 6.5"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "beta2", self.beta2, 0.0, 1.0, open_high=True)

    def laws(self) -> dict[str, Law]:
        return {"v": lambda s, g, h: towards(g * g, s["v"], self.beta2)}

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        return -h * g / (self.z_hat(s) + rows.column(self.eps))

    def z_hat(self, s: State) -> Tensor:
        return s["v"].sqrt()
