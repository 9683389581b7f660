"""Hypergradient descent on the step size."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_choice, check_positive
from flowopt.core.parts import Controller, full
from flowopt.core.roles import LearningRate, Range
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class Hypergradient(Controller):
    """Hypergradient: h <- h + hyper_lr <g_k, u> (additive) or h <- h (1 + hyper_lr cos(g_k, u)) (multiplicative).

    u = (q_{k-1} - q_k)/h is the direction of the step, in gradient descent g_{k-1} (Baydin et al. 2018). It acts on
    every step; TLR section 3 compares with both forms on the mean directions of K steps. hyper_lr, their beta, has
    units time^2 / f in the additive form and none in the other.
    As published nothing keeps the additive h positive: a row whose |h| falls below h_min stops.

    Raises BadValue for lr <= 0 or hyper_lr <= 0.
    """

    lr: Annotated[Number, LearningRate(1e-6, 10.0)]
    hyper_lr: Annotated[Number, Range(1e-9, 0.1)] = 1e-3
    rule: Literal["additive", "multiplicative"] = "multiplicative"

    name = "hypergradient"
    source = "Baydin et al. 2018; TLR section 3"

    def __post_init__(self) -> None:
        check_positive(self.name, lr=self.lr, hyper_lr=self.hyper_lr)
        check_choice(self.name, "rule", self.rule, ("additive", "multiplicative"))

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, self.lr), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        h, g = step.h, step.after.evaluation
        u = -step.moved / rows.column(h)
        along = rows.dot(g.grad, u)
        if self.rule == "additive":
            return Verdict(h + self.hyper_lr * along, memory)
        size = g.square.sqrt() * rows.norm(u)
        return Verdict(h * (1 + self.hyper_lr * torch.where(size > 0, along / size, 0.0)), memory)
