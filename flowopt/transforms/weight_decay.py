"""Multiplicative weight decay."""

from dataclasses import dataclass

from flowopt.errors import check_range
from flowopt.parts import System, Transform, times
from flowopt.state import Evaluation, Memory, Number, State


@dataclass(frozen=True)
class WeightDecay(Transform):
    """Multiply the position by `factor` before every step (ELRA: 0.9997; 1 is no decay).

    The next step starts from the decayed position with the gradient measured before the decay, as
    x <- factor x - h grad f(x). Raises BadValue unless 0 < factor <= 1.
    """

    factor: Number

    name = "weight_decay"
    source = "ELRA section 4"

    def __post_init__(self) -> None:
        check_range(self.name, "factor", self.factor, 0.0, 1.0, open_low=True)

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        return state | {"q": times(self.factor, state["q"])}, memory
