"""The flow of AdaMomentum."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.core.roles import Denominator
from flowopt.core.state import State
from flowopt.systems.eadam import EAdam


@dataclass(frozen=True, kw_only=True)
class AdaMomentum(EAdam):
    """AdaMomentum: EAdam whose v averages m^2 in place of g^2, with m as it is after the step."""

    eps: Denominator = 1e-16

    name = "adamomentum"
    source = "Wang et al. 2021; epsilon from gradient histograms, Table 5"

    def squared(self, s: State, g: Tensor) -> Tensor:
        return s["m"] * s["m"]
