"""Nesterov's flow: the heavy ball whose friction fades as 1/t."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_positive
from flowopt.core.parts import System
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State


@dataclass(frozen=True)
class NesterovFlow(System):
    """Nesterov's flow: q'' + (r/t) q' + grad f(q) = 0, r = 3. Lyapunov function reported: f + 1/2 |q'|^2.

    The limit of Nesterov's accelerated gradient with h = sqrt(learning rate) (Su, Boyd, Candes 2016, eq 3). The time
    is a leaf of its own, ``"clock"`` (B, 1), so that the field stays autonomous. At t = 0, where q' = 0, the friction
    term has the limit q''(0) = -grad f / (1 + r).

    Raises BadValue for r <= 0.
    """

    r: Annotated[Number, Range(1.0, 30.0)] = 3.0

    name = "nesterov_flow"
    source = "Su, Boyd, Candes 2016, eq 3"
    provides = frozenset({"kick_drift", "friction", "momentum"})

    def __post_init__(self) -> None:
        check_positive(self.name, r=self.r)

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q, "p": torch.zeros_like(q), "clock": torch.zeros_like(evaluation.value).unsqueeze(-1)}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        t, p, g, r = state["clock"], state["p"], evaluation.grad, rows.column(self.r)
        later = -(r / t) * p - g
        return {"q": p, "p": torch.where(t > 0, later, -g / (1 + r)), "clock": torch.ones_like(t)}

    def decay(self, state: State, h: Tensor) -> Tensor:
        """The factor left of the momentum after a time h, ``(B,)``: t / (t + r h), Nesterov's k / (k + 3) for r = 3."""
        t = state["clock"].squeeze(-1)
        return t / (t + self.r * h)

    def gain(self, h: Tensor) -> Tensor:
        """The momentum that a unit force gives in a time h, ``(B,)``."""
        return h

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        slowed = {**state, "p": state["p"] * rows.column(self.decay(state, h))}
        return rows.advance(slowed, {"p": -evaluation.grad}, h)

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return rows.advance(state, {"q": state["p"], "clock": torch.ones_like(state["clock"])}, h)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return evaluation.value + 0.5 * rows.dot(state["p"], state["p"])
