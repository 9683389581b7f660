"""The Barzilai-Borwein steps."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_choice, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class BarzilaiBorwein(Controller):
    """Barzilai-Borwein: h = <s, s>/<s, y> (variant 1) or <s, y>/<y, y> (variant 2), s the last move, y that of grad f.

    Barzilai and Borwein 1988, eqs 5 and 6. Variant 1 is ELRA with kappa = 1 and TLR with gamma = K = 1. Where the
    curvature <s, y> is not positive the formulas mean nothing and h <- grow h. h stays in [h_min, h_max].

    Raises BadValue unless h0 > 0, grow >= 1 and 0 < h_min <= h_max.
    """

    variant: Literal[1, 2] = 1
    h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3
    grow: Annotated[Number, Range(1.0, 100.0)] = 10.0
    h_min: Annotated[float, Range(1e-6, 1.0)] = 1e-30
    h_max: Annotated[float, Range(1e-4, 1e3)] = 1e30

    name = "barzilai_borwein"
    source = "Barzilai, Borwein 1988, eqs 5, 6"
    requires = frozenset({"gradient_flow", "single_stage"})

    def __post_init__(self) -> None:
        check_choice(self.name, "variant", self.variant, (1, 2))
        check_positive(self.name, h0=self.h0, h_min=self.h_min)
        check_range(self.name, "grow", self.grow, 1.0)
        check_range(self.name, "h_max", self.h_max, self.h_min)

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, self.h0), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        s = step.moved
        y = step.after.evaluation.grad - step.before.evaluation.grad
        curvature = rows.dot(s, y)
        h = rows.dot(s, s) / curvature if self.variant == 1 else curvature / rows.dot(y, y)
        h = torch.where(curvature > 0, h, self.grow * step.h)
        return Verdict(h.clamp(self.h_min, self.h_max), memory)
