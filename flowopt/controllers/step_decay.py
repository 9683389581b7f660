"""A step size that falls at fixed intervals."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core.errors import check_count, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import LearningRate, Range
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class StepDecay(Controller):
    """Step decay: h = lr factor^(k // every) after k accepted steps, which is torch.optim.lr_scheduler.StepLR.

    lr is in units of the system's time, `every` in steps. h is multiplied every time, as StepLR does, so that the two
    agree to the last bit. The steps of a decaying h add up to lr every / (1 - factor) at most: what a flow does not
    reach in that time it never reaches.

    Raises BadValue unless lr > 0, 0 < factor <= 1 and every >= 1.
    """

    lr: Annotated[Number, LearningRate(1e-6, 10.0)]
    factor: Annotated[Number, Range(0.01, 0.9)] = 0.1
    every: Annotated[int, Range(10, 100_000)] = 1000

    name = "step_decay"
    source = "Ge et al. 2019; compared with in TLR section 3"

    def __post_init__(self) -> None:
        check_positive(self.name, lr=self.lr)
        check_range(self.name, "factor", self.factor, 0.0, 1.0, open_low=True)
        check_count(self.name, "every", self.every, 1)

    @property
    def looks_back(self) -> bool:
        return False

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        h = full(point.evaluation.value, self.lr)
        return h, {"count": torch.zeros_like(h)}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        count = memory["count"] + 1
        over = count == self.every
        return Verdict(torch.where(over, step.h * self.factor, step.h), {"count": torch.where(over, 0.0, count)})
