"""ELRA's step size: the one that makes the next gradient orthogonal to this one."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import BadValue, check_choice, check_count, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import EpochLength, Range, StepSize
from flowopt.core.state import Memory, Number, Point, Step, Verdict

H_MIN, H_MAX = 1e-8, 1e6
SIGMAS = 5
BLIND = 0.1
"""What is left of a step whose trial has no numbers from which a better one could be had."""


@dataclass(frozen=True)
class OrthogonalGradient(Controller):
    """Orthogonal successive gradients: h <- h min(gamma_max, kappa |G_-|^2 / (|G_-|^2 - <G, G_->)), in [1e-8, 1e6].

    ELRA (anonymous 2024), with G_- the gradient before the step and G after it. Where the denominator is not positive
    the ratio is gamma_max; the paper's own bound, 0 < ratio, is undefined there, and clipping to 0 would never leave a
    saddle. kappa = "auto" is the paper's 1 + 0.15 / (1 + h^2) for networks; 1 is its choice for deterministic problems.

    Retrace (the paper's soft restart): a trial that is not finite or whose f is too high is rejected, and from the old
    point h <- h/2 * h |G|^2 / (f_new - f_old + h |G|^2), the minimum of a parabola. A trial that is not finite does not
    define one, and h <- h/10 (ours: read with f_new = infinity the formula gives 0, and one NaN would cost a network
    some 17 steps). "Too high" is above f(x_0) + 0.1 |f(x_0)| (``"initial"``), or, once an epoch of `epoch_length`
    accepted steps is over, above mean + 5 sigma of f over the last one
    (``"epoch"``). A trial that does not raise f is never sent back (ours: else a bound below the present f would hold
    a row for ever). The paper prints |G| where its own parabola gives |G|^2: ``retrace_formula="printed"``.

    `crop` keeps the move h |G| <= crop, `warmup` keeps it >= warmup (2 and 0.1 in the paper, both optional).
    Raises BadValue for numbers out of range and for ``retrace="epoch"`` without an epoch_length.
    """

    alpha0: Annotated[Number, StepSize(1e-8, 1.0)] = 1e-3
    kappa: Annotated[Number | Literal["auto"], Range(0.25, 4.0)] = 1.0
    gamma_max: Annotated[Number, Range(2.0, 1e6)] = 1e6
    retrace: Literal["initial", "epoch"] | None = "initial"
    retrace_formula: Literal["corrected", "printed"] = "corrected"
    crop: Annotated[Number | None, Range(1e-3, 100.0)] = None
    warmup: Annotated[Number | None, Range(1e-6, 0.1)] = None
    epoch_length: Annotated[int | None, EpochLength()] = None

    name = "orthogonal_gradient"
    source = "ELRA sections 3.1, 3.2"
    requires = frozenset({"gradient_flow", "single_stage"})

    def __post_init__(self) -> None:
        check_positive(self.name, alpha0=self.alpha0)
        check_range(self.name, "gamma_max", self.gamma_max, 1.0, infinite=True)
        check_choice(self.name, "retrace", self.retrace, ("initial", "epoch", None))
        check_choice(self.name, "retrace_formula", self.retrace_formula, ("corrected", "printed"))
        if isinstance(self.kappa, str):
            check_choice(self.name, "kappa", self.kappa, ("auto",))
        else:
            check_positive(self.name, kappa=self.kappa)
        for name in ("crop", "warmup"):
            if getattr(self, name) is not None:
                check_positive(self.name, **{name: getattr(self, name)})
        if self.epoch_length is not None:
            check_count(self.name, "epoch_length", self.epoch_length, 1)
        if (self.retrace == "epoch") != (self.epoch_length is not None):
            raise BadValue(f"{self.name}: retrace='epoch' and epoch_length go together; give both or neither")

    @property
    def needs_value(self) -> bool:
        return self.rejects

    @property
    def rejects(self) -> bool:
        return self.retrace is not None

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        f = point.evaluation.value
        memory = {"bound": f + 0.1 * f.abs()} if self.retrace else {}
        if self.epoch_length is not None:
            memory |= {name: torch.zeros_like(f) for name in ("count", "mean", "squares")}
        return self._moderate(full(f, self.alpha0), point.evaluation.square), memory

    def judge(self, step: Step, memory: Memory) -> Verdict:
        before, after, h = step.before.evaluation, step.after.evaluation, step.h
        fall = before.square - rows.dot(after.grad, before.grad)
        ratio = torch.where(fall > 0, before.square / fall, self.gamma_max)
        kappa = 1 + 0.15 / (1 + h * h) if isinstance(self.kappa, str) else self.kappa
        grown = self._moderate(h * (ratio * kappa).clamp(max=self.gamma_max), after.square)
        if not self.retrace:
            return Verdict(grown, memory)

        low = (after.value <= memory["bound"]) | (after.value <= before.value)  # a NaN compares false
        good = low & rows.finite(after)
        slope = h * (before.square if self.retrace_formula == "corrected" else before.square.sqrt())
        memory = self._remember(after.value, memory)
        if rows.surely(good):
            return Verdict(grown, memory, good)

        parabola = 0.5 * h * slope / (after.value - before.value + slope)
        known = rows.finite(after) & torch.isfinite(parabola)
        shrunk = torch.where(known, parabola, BLIND * h).clamp(H_MIN, H_MAX)
        return Verdict(torch.where(good, grown, shrunk), memory, good)

    def _moderate(self, h: Tensor, square: Tensor) -> Tensor:
        """Apply warm-up, crop and the fixed limits; the crop has the last word."""
        if self.warmup is not None:
            h = torch.maximum(h, self.warmup / square.sqrt())
        if self.crop is not None:
            h = torch.minimum(h, self.crop / square.sqrt())
        return h.clamp(H_MIN, H_MAX)

    def _remember(self, value: Tensor, memory: Memory) -> Memory:
        if self.epoch_length is None:
            return memory
        # Welford 1962: in float32 the mean of the squares less the squared mean would leave nothing of a small sigma
        count = memory["count"] + 1
        deviation = value - memory["mean"]
        mean = memory["mean"] + deviation / count
        squares = memory["squares"] + deviation * (value - mean)
        over = count >= self.epoch_length
        return {
            "bound": torch.where(over, mean + SIGMAS * (squares / count).sqrt(), memory["bound"]),
            "count": torch.where(over, 0.0, count),
            "mean": torch.where(over, 0.0, mean),
            "squares": torch.where(over, 0.0, squares),
        }
