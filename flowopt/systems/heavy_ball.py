"""The heavy ball, the system behind gradient descent with momentum."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_positive, check_range
from flowopt.core.parts import System, times
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State


@dataclass(frozen=True)
class HeavyBall(System):
    """Heavy ball with friction: mass q'' + friction q' + grad f(q) = 0. Lyapunov function: f + mass/2 |q'|^2.

    As a first-order system q' = p, mass p' = -friction p - grad f (Polyak 1964). One symplectic Euler step of size
    h = mass = alpha with friction = 1 - beta is gradient descent with momentum as ECDSep's eq 13 writes it,
    p <- beta p - grad f, q <- q + alpha p: that is torch.optim.SGD(lr=alpha, momentum=beta), bit for bit.

    Raises BadValue for mass <= 0 or friction < 0.
    """

    mass: Annotated[Number, Range(0.1, 10.0)] = 1.0
    friction: Annotated[Number, Range(0.01, 100.0)] = 1.0

    name = "heavy_ball"
    source = "Polyak 1964; ECDSep eq 13 (GDM)"
    provides = frozenset({"kick_drift", "friction", "momentum", "smooth_rate"})

    def __post_init__(self) -> None:
        check_positive(self.name, mass=self.mass)
        check_range(self.name, "friction", self.friction, 0.0)

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q, "p": torch.zeros_like(q)}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        force = -times(self.friction, state["p"]) - evaluation.grad
        return {"q": state["p"], "p": force / rows.column(self.mass)}

    def decay(self, state: State, h: Tensor) -> Tensor:
        """The factor left of the momentum after a time h, ``(B,)``: 1 - friction h / mass."""
        return 1 - self.friction * (h / self.mass)

    def gain(self, h: Tensor) -> Tensor:
        """The momentum that a unit force gives in a time h, ``(B,)``: h / mass."""
        return h / self.mass

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        slowed = {**state, "p": state["p"] * rows.column(self.decay(state, h))}
        return rows.advance(slowed, {"p": -evaluation.grad}, self.gain(h))

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return rows.advance(state, {"q": state["p"]}, h)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return evaluation.value + 0.5 * self.mass * rows.dot(state["p"], state["p"])
