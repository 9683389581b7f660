"""Adam with eps where the papers of its successors add it, or where their authors' code does."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_choice
from flowopt.core.state import State
from flowopt.systems.adam import Adam
from flowopt.systems.adaptive_flow import weight


@dataclass(frozen=True, kw_only=True)
class TwoForms(Adam):
    """Base of flows whose paper adds eps to sqrt(v^), and whose authors' code to sqrt(v), before the bias correction.

    ``form="library"`` (the authors' code and pytorch_optimizer) so makes eps 1 / sqrt(1 - beta2^k) times as large, 32
    times at the first step, and z_hat is sqrt(v) then. (pytorch_optimizer's DiffGrad, 4.1.0, adds another 1e-15 to v,
    which tells where gradients are below 1e-6.)
    """

    form: Literal["paper", "library"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "form", self.form, ("paper", "library"))

    def denominator(self, s: State) -> Tensor:
        softened = self.z_hat(s) + rows.column(self.eps)
        return softened if self.form == "paper" else softened / weight(s, "v").sqrt()

    def z_hat(self, s: State) -> Tensor:
        return super().z_hat(s) if self.form == "paper" else s["v"].sqrt()
