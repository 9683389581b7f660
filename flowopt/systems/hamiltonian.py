"""The separable Hamiltonian of ECDSep: energy-conserving descent."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import BadValue, check_choice, check_positive, check_range
from flowopt.core.parts import System, full
from flowopt.core.roles import L2, LowerBound, Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State, Status
from flowopt.systems import l2

V_FLOOR = 1e-40
"""The paper's eps2: the run ends, or F0 is tuned, where V is no longer above it."""


def along(grad: Tensor, square: Tensor) -> Tensor:
    """Unit vectors along the gradient; zero where the gradient is zero."""
    return grad / torch.where(square > 0, square, 1.0).sqrt().unsqueeze(-1)


STATIONARY = 1e-12
"""``|grad F|^2`` up to which a row that has used up its V has converged, and not merely met F0 on its way."""


def ended(v: Tensor, base: Tensor, square: Tensor) -> Tensor:
    """Status codes of an energy-conserving system whose V is at its floor: at a minimum, or where F reached F0."""
    minimum = (base >= 0) & (square <= STATIONARY)
    return torch.where(v > V_FLOOR, Status.RUNNING, torch.where(minimum, Status.CONVERGED, Status.BELOW_F0))


@dataclass(frozen=True)
class SeparableHamiltonian(System):
    """ECDSep: H = log(|p|^2 + s) + n log(F - F0). Conserved energy: E = (|p|^2 + s) V with V = (F - F0)^n.

    q' = 2 p / (|p|^2 + s), p' = -n grad F / (F - F0) (De Luca, Gatti, Silverstein, eq 11); `exponent` n is the paper's
    eta. Weight decay w is L2: F becomes F + w/2 |q|^2 (eq 15). At the start p = -sqrt(delta_energy) grad F / |grad F|
    (without the decay): minus, as in Algorithm 1 and the authors' code, where section 3.1 prints plus. s = 0 forces
    delta_energy = 1.

    A row ends when V is no longer above 1e-40 (eps2): 'converged' at a stationary point, 'below F0' where F reached or
    passed F0 on its way, which leaves V zero, negative or undefined.
    With `tune_F0` (Algorithm 2; n an odd integer) F0 is lowered by 5 |V| instead and the position stays for that step.
    The authors' code leaves the shift out of the force; here F0 is one number everywhere, as in Algorithm 2.

    Raises BadValue for exponent <= 0, delta_energy < 0, weight_decay < 0, or tune_F0 with an exponent that is not odd.
    """

    exponent: Annotated[Number, Range(0.1, 10.0)] = 1.0
    F0: Annotated[Number, LowerBound()] = 0.0
    s: Literal[0, 1] = 1
    delta_energy: Annotated[Number, Range(1e-3, 1e3)] = 0.0
    weight_decay: L2 = 0.0
    tune_F0: bool = False

    name = "separable_hamiltonian"
    source = "ECDSep eq 11, Algorithms 1 and 2"
    provides = frozenset({"kick_drift", "separable", "hamiltonian", "momentum", "energy_shell", "smooth_rate"})

    def __post_init__(self) -> None:
        check_positive(self.name, exponent=self.exponent)
        check_range(self.name, "delta_energy", self.delta_energy, 0.0)
        check_range(self.name, "weight_decay", self.weight_decay, 0.0)
        check_range(self.name, "F0", self.F0)
        check_choice(self.name, "s", self.s, (0, 1))
        check_choice(self.name, "tune_F0", self.tune_F0, (True, False))
        if self.tune_F0 and not bool(torch.as_tensor(self.exponent % 2 == 1).all()):
            raise BadValue(
                f"{self.name}: tune_F0 needs an exponent that is an odd integer (Algorithm 2), not {self.exponent!r}"
            )

    @property
    def needs_value(self) -> bool:
        return True

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        state = self.aimed({"q": q}, evaluation.grad)
        if self.tune_F0:
            state |= {"F0": full(q, self.F0), "hold": torch.zeros_like(evaluation.value, dtype=torch.bool)}
        return state | {"E": self.potential(state, evaluation) * (self.s + self._delta(q))}

    def aimed(self, state: State, grad: Tensor) -> State:
        delta = self._delta(state["q"])
        return state | {"p": -along(grad, rows.dot(grad, grad)) * delta.sqrt().unsqueeze(-1)}

    def base(self, state: State, evaluation: Evaluation) -> Tensor:
        """b = F + w/2 |q|^2 - F0, ``(B,)``."""
        return l2.value(self.weight_decay, state, evaluation) - state.get("F0", self.F0)

    def potential(self, state: State, evaluation: Evaluation) -> Tensor:
        """V = b ** exponent, ``(B,)``."""
        return rows.power(self.base(state, evaluation), self.exponent)

    def objective(self, state: State, evaluation: Evaluation) -> Evaluation:
        return l2.objective(self.weight_decay, state, evaluation)

    def observe(self, state: State, evaluation: Evaluation, h: Tensor, measure: Measure | None) -> State:
        if not self.tune_F0:
            return state
        v = self.potential(state, evaluation)
        hold = v < V_FLOOR
        return state | {"F0": torch.where(hold, state["F0"] + 5 * v, state["F0"]), "hold": hold}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        p = state["p"]
        return {
            "q": 2 * p / (rows.dot(p, p) + self.s).unsqueeze(-1),
            "p": self._force(state, evaluation),
        }

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return self._unless_held(rows.advance(state, {"p": self._force(state, evaluation)}, h), state)

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        p = state["p"]
        return self._unless_held(rows.advance(state, {"q": p}, 2 * h / (rows.dot(p, p) + self.s)), state)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        p = state["p"]
        return self.potential(state, evaluation) * (rows.dot(p, p) + self.s)

    def shell(self, state: State, evaluation: Evaluation) -> Tensor:
        """The |p|^2 that the conserved energy asks for at q: E/V - s, ``(B,)``; NaN on rows that F0 tuning holds."""
        square = state["E"] / self.potential(state, evaluation) - self.s
        return torch.where(state["hold"], torch.nan, square) if self.tune_F0 else square

    def outcome(self, state: State, evaluation: Evaluation) -> Tensor | None:
        base = self.base(state, evaluation)
        if self.tune_F0:  # a V below the floor is tuned away, except where it is 0 and tuning it changes nothing
            return torch.where(base == 0, Status.CONVERGED, Status.RUNNING)
        return ended(rows.power(base, self.exponent), base, evaluation.square)

    def _delta(self, q: Tensor) -> Tensor:
        return full(q, 1.0 if self.s == 0 else self.delta_energy)

    def _force(self, state: State, evaluation: Evaluation) -> Tensor:
        grad = l2.gradient(self.weight_decay, state, evaluation)
        return -grad * (self.exponent / self.base(state, evaluation)).unsqueeze(-1)

    def _unless_held(self, moved: State, state: State) -> State:
        if not self.tune_F0:
            return moved
        hold = state["hold"].unsqueeze(-1)
        return moved | {name: torch.where(hold, state[name], moved[name]) for name in ("q", "p")}
