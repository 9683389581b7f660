"""The flow of AMSGrad."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt.core.state import State
from flowopt.systems.adam import Adam
from flowopt.systems.adaptive_flow import Law, weight


@dataclass(frozen=True, kw_only=True)
class AMSGrad(Adam):
    """AMSGrad: Adam whose v never falls: q' = -m^ / (sqrt(v_max^) + eps), v_max the largest v so far.

    The bias is corrected as torch does it (Reddi et al. leave it): v_max by the weight of v. In the field v_max
    follows the largest v with the time constant `step`. By symplectic Euler with h = step it is
    torch.optim.Adam(amsgrad=True).
    """

    name = "amsgrad"
    source = "Reddi, Kale, Kumar 2018"
    vectors = ("m", "v", "v_max")

    def laws(self) -> dict[str, Law]:
        return super().laws() | {"v_max": lambda s, g, h: (s["v"] - s["v_max"]).clamp(min=0.0)}

    def z_hat(self, s: State) -> Tensor:
        largest = torch.maximum(s["v_max"], s["v"])  # in the field v may be ahead
        return (largest / weight(s, "v")).sqrt()
