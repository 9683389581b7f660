"""A step size that grows by itself, for schemes that shorten it."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core.errors import check_limit, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class Growing(Controller):
    """Growing step: h <- min(growth h, h_max), from h0 on: where a line search (BacktrackingEuler) starts.

    The three ways in which Vaswani et al. 2019 reset their search: from the last step (growth = 1), from h_max
    (growth = inf), or from the last step times gamma^(b/n), b/n being the share of the data that a batch holds (their
    choice, gamma = 2: h can double in an epoch). h, h0 and h_max are in units of the system's time. Over a scheme that
    makes every step as it is asked to, this is an exponential warm-up.

    Raises BadValue unless h0 > 0, growth >= 1 and h_max > 0.
    """

    h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1.0
    growth: Annotated[Number, Range(1.0, 10.0)] = 2.0
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 10.0

    name = "growing"
    source = "Vaswani et al. 2019, the resetting of SGD + Armijo"

    def __post_init__(self) -> None:
        check_positive(self.name, h0=self.h0)
        check_range(self.name, "growth", self.growth, 1.0, infinite=True)
        check_limit(self.name, h_max=self.h_max)

    @property
    def looks_back(self) -> bool:
        return False

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, self.h0).clamp(max=self.h_max), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict((self.growth * step.h).clamp(max=self.h_max), memory)
