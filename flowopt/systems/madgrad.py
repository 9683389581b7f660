"""The flow of MADGRAD."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_choice, check_range
from flowopt.core.roles import Denominator, GradientAverage, Range
from flowopt.core.state import Evaluation, Measure, Number, State
from flowopt.systems.adaptive_flow import AdaptiveFlow, Law, towards


@dataclass(frozen=True, kw_only=True)
class MADGRAD(AdaptiveFlow):
    """MADGRAD: gradients weighted by l_k = h sqrt(k) are summed, and divided by the cube root of the sum of squares.

    v <- v + l g^2, s <- s + l g, q <- beta1 q + (1 - beta1) (q_0 - s / (cbrt(v) + eps)): dual averaging with
    momentum, as published (the authors' code, and pytorch_optimizer, take h + eps for h). The epsilon paper's Table 5
    has no dual averaging: with ``dual_averaging=False`` q <- q - m / (cbrt(v) + eps), m the average of l g. (It
    does not say what its m averages; l g gives m and v the same weights.) Reported as energy: f.

    Raises BadValue for numbers out of range.
    """

    eps: Denominator = 1e-6
    step: Annotated[Number, Range(1e-5, 10.0)] = 1e-2
    beta1: GradientAverage = 0.9
    dual_averaging: bool = True

    name = "madgrad"
    source = "Defazio, Jelassi 2022, Algorithm 1"
    counters = ("k",)
    plain_remark = "of gradients times the square root of the step's number"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "beta1", self.beta1, 0.0, 1.0, open_high=True)
        check_choice(self.name, "dual_averaging", self.dual_averaging, (True, False))

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        own = {"q_0": q, "s": torch.zeros_like(q)} if self.dual_averaging else {"m": torch.zeros_like(q)}
        return super().start(q, evaluation, measure) | own

    def laws(self) -> dict[str, Law]:
        shared: dict[str, Law] = {
            "k": lambda s, g, h: torch.ones_like(s["k"]),
            "v": lambda s, g, h: _weighted(s, g, h) * g,
        }
        if self.dual_averaging:
            return shared | {"s": _weighted}
        return shared | {"m": lambda s, g, h: towards(_weighted(s, g, h), s["m"], self.beta1)}

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        root = self.z_hat(s) + rows.column(self.eps)
        if self.dual_averaging:
            return towards(s["q_0"] - s["s"] / root, s["q"], self.beta1)
        return -s["m"] / root

    def z_hat(self, s: State) -> Tensor:
        return torch.exp(torch.log(s["v"]) / 3)  # a power would round by the place in the batch


def _weighted(s: State, g: Tensor, h: Tensor) -> Tensor:
    """The gradient with its weight in step k, h sqrt(k)."""
    return h * s["k"].sqrt() * g
