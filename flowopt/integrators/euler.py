"""Forward Euler."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.parts import Integrator, System
from flowopt.core.state import Measure, Move, Point, Rate, State


@dataclass(frozen=True)
class ForwardEuler(Integrator):
    """Forward Euler: x + h x'(x). Order 1; its local error h/2 (x'_{k+1} - x'_k) needs no extra evaluation."""

    name = "forward_euler"
    source = "Euler 1768; error as in ECCO-DNN section 3.2.1"
    provides = frozenset({"single_stage"})
    order = 1
    stages = 1
    error_order = 1

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        assert point.rate is not None
        return Move(rows.advance(point.state, point.rate, h))

    def displacement(self, system: System, before: Point, trial: State, h: Tensor) -> Tensor | None:
        assert before.rate is not None
        still = {"q": torch.zeros_like(trial["q"])}
        return rows.advance(still, {"q": before.rate["q"]}, h)["q"]

    def error(self, partial: Rate | None, before: Rate | None, after: Rate | None, h: Tensor) -> Rate | None:
        assert before is not None and after is not None
        return rows.trapezium_defect(before, after, h)
