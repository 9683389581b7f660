"""The flow of EAdam."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.core import rows
from flowopt.core.state import Number, State
from flowopt.systems.adam import Adam
from flowopt.systems.adaptive_flow import corrected


@dataclass(frozen=True, kw_only=True)
class EAdam(Adam):
    """EAdam: Adam with eps added to v in every step, and to nothing else: q' = -m^ / sqrt(v^ + eps / (1 - beta2)).

    v <- beta2 v + (1 - beta2) g^2 + eps sums up to that, so v itself stays without eps here.
    """

    name = "eadam"
    source = "Yuan, Gao 2020; epsilon from gradient histograms, Table 5"
    plain_formula = "alpha / sqrt(eps / (1 - beta2))"

    def denominator(self, s: State) -> Tensor:
        return self.root(s)

    def root(self, s: State) -> Tensor:
        """Root of the average with eps in it."""
        return (corrected(s, "v") + rows.column(self.eps / (1 - self.beta2))).sqrt()

    def z_hat(self, s: State) -> Tensor:
        return corrected(s, "v") * rows.column(1 - self.beta2)

    def plain_rate(self, lr: Number) -> Number:
        return lr / (self.eps / (1 - self.beta2)) ** 0.5
