"""Polyak's step size for batches."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.controllers.polyak import Polyak
from flowopt.core.errors import check_positive, check_range
from flowopt.core.parts import full
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Evaluation, Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class StochasticPolyak(Polyak):
    """SPS: Polyak's step h = scale (f - f_star) / |grad f|^2 of each batch, at most growth times the step before.

    SPS_max of Loizou et al. 2021 with the smoothing of their experiments. scale is their 1/c, h_max their gamma_b, and
    growth their 2^(b/n), b/n being the share of the data that a batch holds: h can double in an epoch, and falls at
    once. h0 stands for the step before the first one (1 in the authors' code). growth = inf is SPS_max without
    smoothing. f_star is the minimum of f on a batch, or a lower bound: 0 for the usual losses.

    A batch with f <= f_star moves nothing; the next step is measured by the last one that did move (ours: in the
    authors' code h is 0 for ever after). Raises BadValue for scale, h_max or h0 <= 0, or growth < 1.
    """

    scale: Annotated[Number, Range(0.5, 10.0)] = 1.0
    growth: Annotated[Number, Range(1.0, 10.0)] = 2.0
    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0

    name = "stochastic_polyak"
    source = "Loizou et al. 2021, SPS_max with smoothing"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "growth", self.growth, 1.0, infinite=True)
        check_positive(self.name, h0=self.h0)

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return self._smoothed(point.evaluation, full(point.evaluation.value, self.h0))

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(*self._smoothed(step.after.evaluation, memory["last"]))

    def _smoothed(self, measured: Evaluation, last: Tensor) -> tuple[Tensor, Memory]:
        h = torch.minimum(self._step(measured), self.growth * last)
        return h, {"last": torch.where(h > 0, h, last)}
