"""Forward Euler with a line search inside the step."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_count, check_positive, check_range
from flowopt.core.parts import System
from flowopt.core.roles import Range
from flowopt.core.state import Measure, Move, Number, Point
from flowopt.integrators.euler import ForwardEuler


@dataclass(frozen=True)
class BacktrackingEuler(ForwardEuler):
    """Backtracking Euler: x + h x'(x) with h <- backtrack h until f_new <= f + c1 <grad f, q_new - q> (Armijo).

    The trials are measured before the step is made, so that on a network all of them see the batch of the gradient:
    the stochastic line search (SLS) of Vaswani et al. 2019. A trial costs an evaluation, and only of the rows that
    still search. A network whose loss changes from call to call, by dropout say, is judged by chance. (The controller
    `Armijo` searches too, but compares f before and after a step: on a network that is two batches, on a function it
    is cheaper, for it measures no point twice.)

    `tries` step sizes are tried. A row for which none of them is good enough makes the next smaller one,
    h backtrack^tries, and searches on from there: the gradient may be wrong, or f too coarse to tell, but on a network
    the next batch may know better. (The authors' code makes a step of 1e-6 there, whatever h is.)

    Raises BadValue unless 0 < c1 < 1, 0 < backtrack < 1 and tries >= 1.
    """

    c1: Annotated[Number, Range(1e-5, 0.5)] = 0.1
    backtrack: Annotated[Number, Range(0.1, 0.95, "linear")] = 0.9
    tries: Annotated[int, Range(2, 200)] = 100

    name = "backtracking_euler"
    source = "Vaswani et al. 2019, SGD + Armijo; Armijo 1966"
    requires = frozenset({"descent"})
    stages = 2

    def __post_init__(self) -> None:
        check_positive(self.name, c1=self.c1, backtrack=self.backtrack)
        check_range(self.name, "c1", self.c1, 0.0, 1 - 1e-12)
        check_range(self.name, "backtrack", self.backtrack, 0.0, 1 - 1e-12)
        check_count(self.name, "tries", self.tries, 1)

    @property
    def needs_value(self) -> bool:
        return True

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        assert point.rate is not None and measure is not None
        unit = self.displacement(system, point, point.state, torch.ones_like(h))
        assert unit is not None
        start = system.objective(point.state, point.evaluation)
        value, slope = start.value, self.c1 * rows.dot(start.grad, unit)
        todo = torch.ones_like(h, dtype=torch.bool)
        trial = rows.advance(point.state, point.rate, h)
        for _ in range(self.tries):
            found = system.objective(trial, measure(trial["q"], todo)).value
            todo = todo & ~(found <= value + h * slope)  # a NaN is not low
            if not bool(todo.any()):
                break
            h = torch.where(todo, self.backtrack * h, h)
            trial = rows.advance(point.state, point.rate, h)
        return Move(trial, h=h)
