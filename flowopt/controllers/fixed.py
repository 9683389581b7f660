"""No control: the same step for ever."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core.errors import check_positive
from flowopt.core.parts import Controller, full
from flowopt.core.roles import StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class Fixed(Controller):
    """Fixed step size h, in units of the system's time. Raises BadValue for h <= 0."""

    h: Annotated[Number, StepSize(1e-6, 10.0)]

    name = "fixed"
    source = ""
    adaptive = False

    def __post_init__(self) -> None:
        check_positive(self.name, h=self.h)

    @property
    def looks_back(self) -> bool:
        return False

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, self.h), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(step.h, memory)
