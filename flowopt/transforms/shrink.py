"""The factor that the position is multiplied by in every step."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.parts import Transform
from flowopt.core.roles import Range
from flowopt.core.state import Number, Point, State


@dataclass(frozen=True)
class Shrink(Transform):
    """Multiply the position by `factor` in every step of whatever length: q <- factor q - h grad f(q) on gradient flow.

    ELRA calls it weight decay and takes 0.9997; 1 does nothing. Raises BadValue unless 0 < factor <= 1.
    """

    factor: Annotated[Number, Range(0.99, 0.99999, "complement")]

    name = "shrink"
    source = "ELRA section 4"

    def __post_init__(self) -> None:
        check_range(self.name, "factor", self.factor, 0.0, 1.0, open_low=True)

    def perturb(self, point: Point, trial: State, h: Tensor) -> State:
        return trial | {"q": trial["q"] + point.state["q"] * rows.column(self.factor - 1)}
