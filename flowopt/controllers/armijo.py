"""Backtracking line search."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class Armijo(Controller):
    """Armijo backtracking: accept if f_new <= f + c1 <g, q_new - q>, else h <- backtrack h; then h <- grow h.

    The line search is flattened into the run: every trial is one attempted step. Armijo 1966, eq 1. A trial that is
    not finite is rejected. In a network the trial is judged on the next batch, whose loss differs for other reasons
    too, and h can fall for ever: with batches take the method `sls`, which searches on one batch.

    Raises BadValue unless h0 > 0, 0 < c1 < 1, 0 < backtrack < 1 <= grow.
    """

    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0
    c1: Annotated[Number, Range(1e-5, 0.5)] = 1e-4
    backtrack: Annotated[Number, Range(0.1, 0.95, "linear")] = 0.5
    grow: Annotated[Number, Range(1.0, 100.0)] = 2.0

    name = "armijo"
    source = "Armijo 1966"
    requires = frozenset({"descent"})

    def __post_init__(self) -> None:
        check_positive(self.name, h0=self.h0, c1=self.c1, backtrack=self.backtrack)
        check_range(self.name, "c1", self.c1, 0.0, 1 - 1e-12)
        check_range(self.name, "backtrack", self.backtrack, 0.0, 1 - 1e-12)
        check_range(self.name, "grow", self.grow, 1.0)

    @property
    def needs_value(self) -> bool:
        return True

    @property
    def rejects(self) -> bool:
        return True

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, self.h0), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        before, after = step.before, step.after
        predicted = rows.dot(before.evaluation.grad, step.moved)
        low = after.evaluation.value <= before.evaluation.value + self.c1 * predicted
        good = low & rows.finite(after.evaluation)
        return Verdict(torch.where(good, self.grow * step.h, self.backtrack * step.h), memory, good)
