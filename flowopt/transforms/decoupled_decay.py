"""Decoupled weight decay."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.parts import Transform, times
from flowopt.core.roles import WeightDecay
from flowopt.core.state import Number, Point, State


@dataclass(frozen=True)
class DecoupledDecay(Transform):
    """Decoupled weight decay: the position shrinks by h `rate` in every step, beside the motion: q' = ... - rate q.

    With Adam's flow it is AdamW. rate is in units of 1 / time. Raises BadValue for rate < 0.
    """

    rate: Annotated[Number, WeightDecay(1e-4, 1.0, decoupled=True)]

    name = "decoupled_decay"
    source = "Loshchilov, Hutter 2019"

    def __post_init__(self) -> None:
        check_range(self.name, "rate", self.rate, 0.0)

    def perturb(self, point: Point, trial: State, h: Tensor) -> State:
        return decayed(point, trial, h, self.rate)


def decayed(point: Point, trial: State, h: Tensor, rate: Number) -> State:
    """The trial after a decay of the position that the step h ``(B,)`` started from."""
    q = point.state["q"]
    return trial | {"q": trial["q"] - times(rate, q) * rows.steps(h, q)}
