"""Gradient flow, the system behind gradient descent."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.core.errors import check_range
from flowopt.core.parts import System
from flowopt.core.roles import L2
from flowopt.core.state import Evaluation, Measure, Rate, State
from flowopt.systems import l2


@dataclass(frozen=True)
class GradientFlow(System):
    """Gradient flow: q' = -grad f(q). Lyapunov function: f, with df/dt = -|grad f|^2.

    A weight decay w is L2: f becomes f + w/2 |q|^2, for the step-size rule too. Raises BadValue for weight_decay < 0.
    """

    weight_decay: L2 = 0.0

    name = "gradient_flow"
    source = "Cauchy 1847; ECCO-DNN eq 3 with Z = 1"
    provides = frozenset({"gradient_flow", "descent", "smooth_rate"})

    def __post_init__(self) -> None:
        check_range(self.name, "weight_decay", self.weight_decay, 0.0)

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        return {"q": -l2.gradient(self.weight_decay, state, evaluation)}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return l2.value(self.weight_decay, state, evaluation)

    def objective(self, state: State, evaluation: Evaluation) -> Evaluation:
        return l2.objective(self.weight_decay, state, evaluation)
