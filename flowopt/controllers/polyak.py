"""Polyak's step size."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core.errors import check_limit, check_positive, check_range
from flowopt.core.parts import Controller
from flowopt.core.reasons import Reason, not_above
from flowopt.core.roles import LowerBound, Range, StepSize
from flowopt.core.state import Evaluation, Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class Polyak(Controller):
    """Polyak's step: h = min(scale (f - f_star) / |grad f|^2, h_max), with f_star the minimum of f, or a lower bound.

    Polyak 1969. With the true minimum scale = 1 never increases the distance to a minimiser of a convex f. With only a
    lower bound the step is too long near the minimum: take scale = 1/2 (Hazan and Kakade 2019) and a finite h_max.
    Where f is not above f_star the step is zero: the row stops as 'step too small', and its message names f_star.

    Raises BadValue for scale <= 0 or h_max <= 0.
    """

    f_star: Annotated[Number, LowerBound()] = 0.0
    scale: Annotated[Number, StepSize(1e-2, 10.0)] = 1.0
    h_max: Annotated[Number, Range(1e-4, 1e3)] = float("inf")

    name = "polyak"
    source = "Polyak 1969"
    requires = frozenset({"gradient_flow", "single_stage"})

    def __post_init__(self) -> None:
        check_range(self.name, "f_star", self.f_star)
        check_positive(self.name, scale=self.scale)
        check_limit(self.name, h_max=self.h_max)

    @property
    def needs_value(self) -> bool:
        return True

    @property
    def looks_back(self) -> bool:
        return False

    def why_no_step(self, value: float, row: int) -> Reason | None:
        f_star = float(self.f_star[row] if isinstance(self.f_star, Tensor) else self.f_star)
        return not_above(value, f_star) if value <= f_star else None

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return self._step(point.evaluation), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(self._step(step.after.evaluation), memory)

    def _step(self, measured: Evaluation) -> Tensor:
        gap, square = (measured.value - self.f_star).clamp(min=0.0), measured.square
        # a batch without a slope moves nothing, far from f_star too: an infinite step times 0 would be NaN
        return torch.where(square > 0, self.scale * gap / square, 0.0).clamp(max=self.h_max)
