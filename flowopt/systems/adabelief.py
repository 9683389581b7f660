"""The flow of AdaBelief."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.core import rows
from flowopt.core.roles import Denominator
from flowopt.core.state import Number, State
from flowopt.systems.eadam import EAdam


@dataclass(frozen=True, kw_only=True)
class AdaBelief(EAdam):
    """AdaBelief: v averages (g - m)^2, and eps is added both to v in every step and to the root.

    q' = -m^ / (sqrt(v^ + eps / (1 - beta2)) + eps), with m in v as it is after the step.
    """

    eps: Denominator = 1e-16

    name = "adabelief"
    source = "Zhuang et al. 2020"
    plain_formula = "alpha / (sqrt(eps / (1 - beta2)) + eps)"

    def squared(self, s: State, g: Tensor) -> Tensor:
        surprise = g - s["m"]
        return surprise * surprise

    def denominator(self, s: State) -> Tensor:
        return self.root(s) + rows.column(self.eps)

    def plain_rate(self, lr: Number) -> Number:
        return lr / ((self.eps / (1 - self.beta2)) ** 0.5 + self.eps)
