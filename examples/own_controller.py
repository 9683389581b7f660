"""A step-size rule of your own: one small class, which then runs with every system and integrator that fits."""

from dataclasses import dataclass

from torch import Tensor

import flowopt
from flowopt.controllers import Fixed
from flowopt.core import Controller, Memory, Point, Step, Verdict, full
from flowopt.integrators import ForwardEuler, Heun
from flowopt.systems import GradientFlow


@dataclass(frozen=True)
class BoldDriver(Controller):
    """h <- 1.05 h while f falls, h/2 and back where it rises (Battiti 1989)."""

    h0: float

    name = "bold_driver"
    source = "Battiti 1989"

    @property
    def rejects(self) -> bool:
        """It sends a row back."""
        return True

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        """First step and memory."""
        return full(point.evaluation.value, self.h0), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        """Compare f after the step with f before it."""
        fell = step.after.evaluation.value <= step.before.evaluation.value
        return Verdict(step.h * (0.5 + 0.55 * fell), memory, accept=fell)


for integrator in (ForwardEuler(), Heun()):
    bold = flowopt.minimize(
        "rosenbrock", method=flowopt.Method(GradientFlow(), integrator, BoldDriver(1e-3)), max_steps=5000
    )
    fixed = flowopt.minimize(
        "rosenbrock", method=flowopt.Method(GradientFlow(), integrator, Fixed(1e-3)), max_steps=5000
    )
    print(
        f"{integrator.name}: f = {bold.final_f[0]:.2e} after {bold.evaluations['gradient'][0]} gradients "
        f"({bold.rejected[0]} steps sent back); at the fixed step {fixed.final_f[0]:.2e} after "
        f"{fixed.evaluations['gradient'][0]}"
    )
