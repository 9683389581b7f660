"""Gradient flow, the system behind gradient descent."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.parts import System
from flowopt.state import Evaluation, Measure, Rate, State


@dataclass(frozen=True)
class GradientFlow(System):
    """Gradient flow: q' = -grad f(q). Lyapunov function: f, with df/dt = -|grad f|^2."""

    name = "gradient_flow"
    source = "Cauchy 1847; ECCO-DNN eq 3 with Z = 1"
    provides = frozenset({"gradient_flow", "descent", "smooth_rate"})

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        return {"q": -evaluation.grad}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return evaluation.value
