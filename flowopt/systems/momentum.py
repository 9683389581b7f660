"""Momentum as optimizers write it, with a memory counted in steps rather than in time."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.parts import System, times
from flowopt.core.roles import MomentumFactor
from flowopt.core.state import Evaluation, Measure, Number, Rate, State


@dataclass(frozen=True)
class Momentum(System):
    """Momentum whose memory is a number of steps: p <- beta p - grad f, q <- q + h p. Lyapunov function: f.

    At a fixed step this is HeavyBall(mass=h, friction=1-beta). It differs where the step changes: the kick does not
    feel h, as in torch.optim.SGD(momentum=beta) under a scheduler, or under TLR. As h -> 0 the memory lasts no time at
    all, p follows -grad f / (1 - beta), and the field is q' = -grad f / (1 - beta).

    Raises BadValue for beta outside [0, 1).
    """

    beta: Annotated[Number, MomentumFactor(0.0, 0.999)] = 0.9

    name = "momentum"
    source = "ECDSep eq 13 (GDM)"
    provides = frozenset({"kick_drift", "friction", "momentum", "smooth_rate"})

    def __post_init__(self) -> None:
        check_range(self.name, "beta", self.beta, 0.0, 1 - 1e-12)

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q, "p": torch.zeros_like(q)}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        return {"q": -evaluation.grad / rows.column(1 - self.beta)}

    def decay(self, state: State, h: Tensor) -> Tensor:
        """The factor left of the momentum after a step, ``(B,)``: beta."""
        return torch.zeros_like(h) + self.beta

    def gain(self, h: Tensor) -> Tensor:
        """The momentum that a unit force gives in a step, ``(B,)``: 1."""
        return torch.ones_like(h)

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return state | {"p": times(self.beta, state["p"]) - evaluation.grad}

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return rows.advance(state, {"q": state["p"]}, h)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return evaluation.value
