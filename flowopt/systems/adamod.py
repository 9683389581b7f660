"""The flow of AdaMod."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core.errors import check_range
from flowopt.core.roles import Average
from flowopt.core.state import Number, State
from flowopt.systems._two_forms import TwoForms
from flowopt.systems.adaptive_flow import Law, corrected, towards, weight


@dataclass(frozen=True, kw_only=True)
class AdaMod(TwoForms):
    """AdaMod: Adam whose learning rates n = h / (sqrt(v^) + eps) do not exceed their own average s.

    q moves by -min(n, s) m^ in a step; s has the time constant step / (1 - beta3), starts at 0 and is not corrected.

    ``form="library"`` is the authors' code and pytorch_optimizer: n and s hold m's bias correction too, and eps is
    added to sqrt(v) before its correction (see `TwoForms`): n = h sqrt(1 - beta2^k) / (1 - beta1^k) / (sqrt(v) + eps),
    and q moves by -min(n, s) m.
    """

    beta3: Annotated[Number, Average(0.9, 0.99999)] = 0.9999

    name = "adamod"
    source = "Ding et al. 2019"
    vectors = ("m", "v", "s")
    plain_remark = "less as long as the average that bounds it is"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "beta3", self.beta3, 0.0, 1.0, open_high=True)

    def laws(self) -> dict[str, Law]:
        return super().laws() | {"s": lambda s, g, h: towards(self.rates(s, h), s["s"], self.beta3)}

    def rates(self, s: State, h: Tensor) -> Tensor:
        """n, the learning rates that Adam would take."""
        n = h / self.denominator(s)
        return n if self.form == "paper" else n / weight(s, "m")

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        bounded = torch.minimum(self.rates(s, h), s["s"])
        return -bounded * (corrected(s, "m") if self.form == "paper" else s["m"])
