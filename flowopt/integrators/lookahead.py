"""Nesterov's look-ahead as an integration scheme."""

from dataclasses import dataclass

from torch import Tensor

from flowopt.core import rows
from flowopt.core.parts import Integrator, System
from flowopt.core.state import Measure, Move, Point


@dataclass(frozen=True)
class Lookahead(Integrator):
    """Look-ahead Euler: symplectic Euler with the gradient measured at the extrapolated point. Order 1.

    p <- decay (p - gain grad f), q <- q + h p - h gain grad f, where decay and gain are the friction factor and the
    momentum per unit force in a time h. q is Nesterov's extrapolated point y, p its look-ahead momentum. On
    NesterovFlow with h = sqrt(s) this is Nesterov's method with step s; on HeavyBall(mass=lr, friction=1-beta) with
    h = lr it is torch.optim.SGD(lr, momentum=beta, nesterov=True).
    """

    name = "lookahead"
    source = "Nesterov 1983, with the variables of Sutskever et al. 2013"
    requires = frozenset({"friction"})
    order = 1
    stages = 1
    uses_rate = False

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        state, evaluation, _ = point
        push = {"p": -evaluation.grad}
        kicked = rows.advance(state, push, system.gain(h))
        kicked["p"] = kicked["p"] * rows.column(system.decay(state, h))
        drifted = system.drift(kicked, evaluation, h)
        return Move(rows.advance(drifted, {"q": push["p"]}, h * system.gain(h)))
