"""What the adaptive optimizers have in common: memories of gradients, and a position that follows their quotient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_positive, check_range
from flowopt.core.parts import System, full
from flowopt.core.roles import L2, Denominator, Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State
from flowopt.systems import l2

Law = Callable[[State, Tensor, Tensor], Tensor]
"""``law(state, g, h)``: what a step of length h ``(B, 1)`` adds to a memory, with the gradient g ``(B, D)``."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(System):
    """Base of the adaptive flows: memories of past gradients, and a position that moves by what they say.

    A subclass writes its optimizer down once, as the increments of a step: `laws` of the memories, in their order, and
    the `displacement` of the position. That is two things:

    - One step of symplectic Euler applies the laws one after the other and then moves the position: the update as
      published, whose memory counts steps. A scheduler, TLR or any controller that changes the step h changes how far
      the position moves, not how long the memories last.
    - The vector field has the laws all at once, divided by `step`, the time that a published step stands for. An
      average with factor beta then has the time constant ``step / (1 - beta)``. Symplectic Euler with h = step follows
      this field to first order in h, if beta = 1 - h / (time constant). (Where a memory is a sum, the field depends on
      `step` in another way: in the time of one published step, n steps of AdaGrad with step / sqrt(n) follow it, or of
      MADGRAD with step / n^(3/2).) With its roots the field has no derivative where a memory is 0, as all are at the
      start; so implicit schemes are refused.

    eps has the units that `z_hat` has, step is a time; weight_decay w adds w q to the gradient.
    (Without eps a coordinate that has no gradient is 0/0: the named methods ask for one above 0.)
    Raises BadValue for eps < 0, weight_decay < 0 or step <= 0.
    """

    eps: Denominator = 1e-8
    weight_decay: L2 = 0.0
    step: Annotated[Number, Range(1e-5, 10.0)] = 1e-3

    provides = frozenset({"kick_drift"})
    vectors: ClassVar[tuple[str, ...]] = ("v",)
    """Memories ``(B, D)``."""
    counters: ClassVar[tuple[str, ...]] = ()
    """Memories of one number a row (and block), ``(B, 1)``."""
    plain_formula: ClassVar[str] = "alpha / eps"
    """`plain_rate`, as people write it."""
    plain_remark: ClassVar[str] = ""
    """What there is to add to that rate."""

    def __post_init__(self) -> None:
        check_range(self.name, "eps", self.eps, 0.0)
        check_range(self.name, "weight_decay", self.weight_decay, 0.0)
        check_positive(self.name, step=self.step)

    def laws(self) -> dict[str, Law]:
        """Of every memory, what a step adds to it; a law sees the memories before it as they are after the step."""
        raise NotImplementedError

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        """How far the position moves in a step of length h ``(B, 1)``, once the memories are up to date."""
        raise NotImplementedError

    def z_hat(self, s: State) -> Tensor:
        """What eps competes with, ``(B, D)``: far above eps a coordinate moves adaptively, far below with momentum."""
        raise NotImplementedError

    def plain_rate(self, lr: Number) -> Number:
        """Learning rate of the plain (momentum) gradient descent that a large eps makes of the optimizer."""
        return lr / self.eps

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        still = {name: torch.zeros_like(q) for name in self.vectors}
        return {"q": q} | still | {name: rows.counter(q) for name in self.counters}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        g, step = self.gradient(state, evaluation), full(evaluation.value, self.step).unsqueeze(-1)
        increments = {name: law(state, g, step) for name, law in self.laws().items()}
        moved = self.displacement(state | _begun(state, increments), g, step)
        return {name: increment / step for name, increment in (increments | {"q": moved}).items()}

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        g, step, new = self.gradient(state, evaluation), rows.steps(h, state["q"]), dict(state)
        for name, law in self.laws().items():
            new[name] = new[name] + law(new, g, step)
        return new

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        g = self.gradient(state, evaluation)
        return state | {"q": state["q"] + self.displacement(state, g, rows.steps(h, state["q"]))}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        """f, with the weight decay that it is lowered with."""
        return l2.value(self.weight_decay, state, evaluation)

    def objective(self, state: State, evaluation: Evaluation) -> Evaluation:
        return l2.objective(self.weight_decay, state, evaluation)

    def gradient(self, state: State, evaluation: Evaluation) -> Tensor:
        """g: the gradient with the weight decay."""
        return l2.gradient(self.weight_decay, state, evaluation)

    @property
    def decays(self) -> bool:
        """Whether there is a weight decay."""
        return l2.acts(self.weight_decay)


def towards(target: Tensor | float, leaf: Tensor, beta: Number) -> Tensor:
    """What a step adds to an exponential average: ``(1 - beta) (target - leaf)``."""
    return (target - leaf) * rows.column(1 - beta)


def weight_of(name: str) -> str:
    """The leaf that counts what an average of gradients has seen: the same average, of ones."""
    return f"{name}_weight"


def weight(s: State, name: str) -> Tensor:
    """The average of ones itself; never 0, so that what has not begun counts as 0."""
    return s[weight_of(name)].clamp(min=1e-30)


def corrected(s: State, name: str) -> Tensor:
    """An average without the bias of its start at 0: the average of gradients over the same average of ones.

    In steps that average is 1 - beta^k, in the field 1 - exp(-t / (time constant)).
    """
    return s[name] / weight(s, name)


def _begun(state: State, increments: Rate) -> Rate:
    """Averages that are about to begin, where all of them are 0: their quotients are those of the increments."""
    weights = {name: weight_of(name) for name in state if weight_of(name) in state}
    return {
        leaf: torch.where(state[ones] > 0, state[leaf], increments[leaf])
        for name, ones in weights.items()
        for leaf in (name, ones)
    }
