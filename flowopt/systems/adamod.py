"""The flow of AdaMod."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flowopt import rows
from flowopt.errors import check_choice, check_range
from flowopt.state import Number, State
from flowopt.systems.adam import Adam
from flowopt.systems.adaptive import BETA_MAX, Law, corrected, towards, weight


@dataclass(frozen=True, kw_only=True)
class AdaMod(Adam):
    """AdaMod: Adam whose learning rates n = h / (sqrt(v^) + eps) do not exceed their own average s.

    q moves by -min(n, s) m^ in a step; s has the time constant step / (1 - beta3), starts at 0 and is not corrected.

    ``form="library"`` is the authors' code and pytorch_optimizer: n and s hold m's bias correction too, and eps is
    added to sqrt(v) before its correction: n = h sqrt(1 - beta2^k) / (1 - beta1^k) / (sqrt(v) + eps), -min(n, s) m.
    """

    beta3: Number = 0.9999
    form: Literal["paper", "library"] = "paper"

    name = "adamod"
    source = "Ding et al. 2019"
    vectors = ("m", "v", "s")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "beta3", self.beta3, 0.0, BETA_MAX)
        check_choice(self.name, "form", self.form, ("paper", "library"))

    def laws(self) -> dict[str, Law]:
        return super().laws() | {"s": lambda s, g, h: towards(self.rates(s, h), s["s"], self.beta3)}

    def rates(self, s: State, h: Tensor) -> Tensor:
        """n, the learning rates that Adam would take."""
        if self.form == "paper":
            return h / self.denominator(s)
        bias = weight(s, "v").sqrt() / weight(s, "m")
        return h * bias / (s["v"].sqrt() + rows.column(self.eps))

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        bounded = torch.minimum(self.rates(s, h), s["s"])
        return -bounded * (corrected(s, "m") if self.form == "paper" else s["m"])
