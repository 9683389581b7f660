"""Proportional-integral control of an error estimate, with accept and reject."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_limit, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class PI(Controller):
    """PI control: accept if e = rms(error / (atol + rtol max|x|)) <= 1; h <- h safety e^(-0.7/k) e_prev^(0.4/k).

    k is the order of the error estimate plus 1, e_prev the error of the last accepted step (Gustafsson 1991; Hairer,
    Norsett, Wanner I, II.4). The factor stays in [factor_min, factor_max]; after a
    rejection h <- h safety e^(-1/k), and after a trial that is not finite h <- factor_min h. The first step, unless
    `h0` gives it, moves 1 % of the state's scale: h0 = 0.01 rms(x / scale) / rms(x' / scale).

    Raises BadValue for tolerances or factors out of range.
    """

    rtol: Annotated[Number, StepSize(1e-10, 1.0)] = 1e-6
    atol: Annotated[Number, Range(1e-12, 0.1)] = 1e-9
    h0: Annotated[Number | None, Range(1e-8, 1.0)] = None
    h_max: Annotated[Number, Range(1e-4, 1e3)] = float("inf")
    safety: Annotated[Number, Range(0.1, 1.0, "linear")] = 0.9
    factor_min: Annotated[Number, Range(0.05, 0.9, "linear")] = 0.2
    factor_max: Annotated[Number, Range(1.1, 20.0)] = 5.0

    name = "pi"
    source = "Gustafsson 1991"
    requires = frozenset({"error"})

    def __post_init__(self) -> None:
        check_range(self.name, "rtol", self.rtol, 0.0)
        check_positive(self.name, atol=self.atol, safety=self.safety, factor_min=self.factor_min)
        check_limit(self.name, h_max=self.h_max)
        check_range(self.name, "safety", self.safety, 0.0, 1.0)
        check_range(self.name, "factor_min", self.factor_min, 0.0, 1.0)
        check_range(self.name, "factor_max", self.factor_max, 1.0)
        if self.h0 is not None:
            check_positive(self.name, h0=self.h0)

    @property
    def rejects(self) -> bool:
        return True

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        memory = {"previous": torch.ones_like(point.evaluation.value)}
        if self.h0 is not None:
            return full(point.evaluation.value, self.h0).clamp(max=self.h_max), memory
        assert point.rate is not None
        leaves = {name: point.state[name] for name in point.rate}
        size, speed = self._scaled(leaves, leaves, leaves), self._scaled(point.rate, leaves, leaves)
        h = torch.where((size > 1e-5) & (speed > 1e-5), 0.01 * size / speed, 1e-6)
        return h.clamp(max=self.h_max), memory

    def judge(self, step: Step, memory: Memory) -> Verdict:
        assert step.error is not None
        e = self._scaled(step.error, step.before.state, step.after.state)
        e = torch.where(torch.isnan(e) | ~rows.finite(step.after.evaluation), torch.inf, e).clamp(min=1e-10)
        good = e <= 1
        k = step.order + 1
        steady = rows.power(e, -0.7 / k) * rows.power(memory["previous"], 0.4 / k)
        retry = rows.power(e, -1 / k).clamp(max=1.0)
        factor = (self.safety * torch.where(good, steady, retry)).clamp(min=self.factor_min).clamp(max=self.factor_max)
        return Verdict((step.h * factor).clamp(max=self.h_max), {"previous": e}, good)

    def _scaled(self, leaves: dict[str, Tensor], before: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
        """Root mean square over all coordinates, ``(B,)``, in units of the tolerance."""
        rtol, atol = rows.column(self.rtol), rows.column(self.atol)
        squares: list[Tensor] = []
        for name, leaf in leaves.items():
            scaled = leaf / (atol + rtol * torch.maximum(before[name].abs(), after[name].abs()))
            squares.append(rows.dot(scaled, scaled))
        count = sum(leaf.shape[-1] for leaf in leaves.values())
        return (torch.stack(squares).sum(0) / count).sqrt()
