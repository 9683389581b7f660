"""Local truncation error control as ECCO-DNN has it."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_limit, check_positive
from flowopt.core.parts import Controller
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class LTE(Controller):
    """Local truncation error control: h <- min(eta h / |error|_inf, h_max). It never rejects.

    ECCO-DNN eq 14, with error = h/2 |d_{k-1} - d_k| of forward Euler, so that h = 2 eta / |d_{k-1} - d_k|_inf (eq 15);
    h_max where the error is 0. eta is in units of the position, whose error alone counts; h_max is a time (1 in the
    paper), and on a system with a memory should stay below twice its shortest time constant, where Euler's memory is
    stable. The first step is eq 15 with d_{-1} = 0: h_0 = min(2 eta / |d_0|_inf, h_max); starting with 1 diverges on
    Rosenbrock.

    Raises BadValue for eta <= 0 or h_max <= 0.
    """

    eta: Annotated[Number, StepSize(1e-5, 100.0)]
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 1.0

    name = "lte"
    source = "ECCO-DNN eqs 14, 15"
    requires = frozenset({"error"})

    def __post_init__(self) -> None:
        check_positive(self.name, eta=self.eta)
        check_limit(self.name, h_max=self.h_max)

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        assert point.rate is not None
        return (2 * self.eta / rows.max_norm({"q": point.rate["q"]})).clamp(max=self.h_max), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        error = step.position_error
        assert error is not None
        return Verdict((step.h * self.eta / error).clamp(max=self.h_max), memory)
