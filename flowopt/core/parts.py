"""What a part is: the small contracts of systems, integrators, controllers and transforms.

A part is a frozen dataclass of its parameters. A parameter is a number, or a tensor ``(B,)`` with one number a row.
A new part is one new file in the folder of its kind; the registry finds it there.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import BadValue
from flowopt.core.reasons import Reason
from flowopt.core.state import Evaluation, Measure, Memory, Move, Number, Point, Rate, State, Step, Verdict

MEANING = {
    "gradient_flow": "a system that moves along exactly -grad f",
    "descent": "a system that moves along a descent direction built from the gradient at hand",
    "kick_drift": "a system that splits into a kick of the momentum and a drift of the position",
    "separable": "a Hamiltonian that is a sum T(p) + V(q), so that kick and drift are exact flows",
    "friction": "a system q'' = -friction q' - grad f with a decay factor",
    "hamiltonian": "a system with a conserved energy",
    "momentum": "a system that has a momentum",
    "energy_shell": "a system that knows the |p|^2 belonging to its conserved energy",
    "smooth_rate": "a vector field that is a differentiable function of the state and the gradient",
    "error": "an integrator with an error estimate",
    "single_stage": "a scheme whose step is h times the field (forward Euler)",
}
"""What parts can require of each other or provide, in words."""


@dataclass(frozen=True)
class Part:
    """Base of every part."""

    name: ClassVar[str]
    source: ClassVar[str] = ""
    """Where it comes from: paper and equation."""
    requires: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()

    def select(self, index: Tensor) -> Self:
        """This part for the rows `index` only: parameters given per row are cut down with the rows."""
        changed = {
            field.name: value[index]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **changed) if changed else self

    def for_rows(self, size: int, dtype: torch.dtype) -> Self:
        """This part for a run of so many rows in that dtype. Raises BadValue for a parameter of another shape."""
        changed = {}
        for name, value in self.parameters.items():
            if isinstance(value, Tensor):
                if value.shape not in ((), (size,)):
                    raise BadValue(
                        f"{self.name}: {name} has shape {tuple(value.shape)}, but there are {size} rows; "
                        f"give one number, or one for each row, ({size},)"
                    )
                changed[name] = value.to(dtype).expand(size)
        return dataclasses.replace(self, **changed) if changed else self

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]

    @property
    def needs_value(self) -> bool:
        """Whether it works with the value of the objective, and not with the gradient alone."""
        return False

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and values of the parameters."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class System(Part):
    """A dynamical system: a vector field on a state, built from the objective's gradient."""

    cheap_energy: ClassVar[bool] = True
    """Whether `energy` takes an inner product at most, so that a network can have it at every step."""

    @property
    def needs_hvp(self) -> bool:
        """Whether the field needs Hessian-vector products."""
        return False

    def continuous(self) -> System:
        """The system without memory of past steps whose field this one has in the limit h -> 0."""
        return self

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        """The state at the start, from the position ``(B, D)``."""
        raise NotImplementedError

    def aimed(self, state: State, grad: Tensor) -> State:
        """The state at the start with its momentum along -grad, in systems whose start leaves a weight decay out."""
        return state

    def observe(self, state: State, evaluation: Evaluation, h: Tensor, measure: Measure | None) -> State:
        """Take note of the evaluation at a trial point that was reached with step h (memory of past gradients)."""
        return state

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        """The continuous vector field: d/dt of the leaves that move."""
        raise NotImplementedError

    def objective(self, state: State, evaluation: Evaluation) -> Evaluation:
        """The objective that the motion lowers, as step-size rules judge it: f, with the system's own weight decay."""
        return evaluation

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        """The conserved energy, or the Lyapunov function that the flow lowers, ``(B,)``."""
        raise NotImplementedError

    def outcome(self, state: State, evaluation: Evaluation) -> Tensor | None:
        """Status codes ``(B,)`` (0 = go on) of rows that the system itself brings to an end; None: it never does."""
        return None

    def shell(self, state: State, evaluation: Evaluation) -> Tensor:
        """The ``|p|^2`` of the conserved energy at q, ``(B,)`` (systems that provide 'energy_shell')."""
        raise NotImplementedError

    def decay(self, state: State, h: Tensor) -> Tensor:
        """The factor that friction leaves of the momentum in a time h, ``(B,)`` (systems that provide 'friction')."""
        raise NotImplementedError

    def gain(self, h: Tensor) -> Tensor:
        """The momentum that a unit force gives in a time h, ``(B,)`` (systems that provide 'friction')."""
        raise NotImplementedError

    def kick(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        """Advance the momentum by h (systems that provide 'kick_drift')."""
        raise NotImplementedError

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        """Advance the position by h (systems that provide 'kick_drift')."""
        raise NotImplementedError


@dataclass(frozen=True)
class Integrator(Part):
    """A one-step scheme."""

    order: ClassVar[int]
    stages: ClassVar[int]
    """Gradient evaluations a step, the one at the new point included."""
    symplectic: ClassVar[bool] = False
    error_order: ClassVar[int | None] = None
    """The error estimate shrinks as ``h ** (error_order + 1)``; None: the scheme has no estimate."""
    uses_rate: ClassVar[bool] = True

    @property
    def needs_hvp(self) -> bool:
        """Whether a step needs Hessian-vector products."""
        return False

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        """Propose a step of size h ``(B,)`` from a point."""
        raise NotImplementedError

    def displacement(self, system: System, before: Point, trial: State, h: Tensor) -> Tensor | None:
        """The move of the position ``(B, D)`` that led to the trial, from everything but the two positions.

        A network that has it need not keep the old position. None: the scheme's move cannot be worked out so.
        """
        return None

    def complete(self, system: System, trial: State, evaluation: Evaluation, h: Tensor) -> State:
        """Finish the trial once it has been measured (the second half kick of Stoermer-Verlet)."""
        return trial

    def error(self, partial: Rate | None, before: Rate | None, after: Rate | None, h: Tensor) -> Rate | None:
        """The estimated local error, once the field at the trial is known."""
        return partial


@dataclass(frozen=True)
class Controller(Part):
    """A step-size rule."""

    adaptive: ClassVar[bool] = True

    @property
    def follows_time(self) -> bool:
        """Whether it follows the flow in time, by the error of the steps: where time stands still it is at its end."""
        return "error" in self.requires

    @property
    def rejects(self) -> bool:
        """Whether it may send a row back; a rule that never does costs nothing for it."""
        return False

    @property
    def looks_back(self) -> bool:
        """Whether `judge` looks at the point before the step; for one that does not, a network need not keep it."""
        return True

    def why_no_step(self, value: float, row: int) -> Reason | None:
        """Why the step of a row is 0 at this value of f, and the cure; None where the rule knows of no reason."""
        return None

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        """The first step size ``(B,)`` and the initial memory."""
        raise NotImplementedError

    def judge(self, step: Step, memory: Memory) -> Verdict:
        """Accept or reject the step that was made, and choose the next step size."""
        raise NotImplementedError


@dataclass(frozen=True)
class Transform(Part):
    """Something done beside the motion: to a trial (decay), or to an accepted state (projection, rotation, average)."""

    @property
    def perturbs(self) -> bool:
        """Whether it changes trials, so that they are not where the integrator put them."""
        return type(self).perturb is not Transform.perturb

    def start(self, state: State, evaluation: Evaluation, seeds: Tensor) -> Memory:
        """The initial memory; seeds ``(B,)`` int64 belong to the rows."""
        return {}

    def perturb(self, point: Point, trial: State, h: Tensor) -> State:
        """The trial to measure in place of the one that the integrator proposed from the point with step h ``(B,)``."""
        return trial

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        """The state to go on from once it is accepted, and the new memory; the position stays where it was measured."""
        return state, memory


def full(like: Tensor, value: Number) -> Tensor:
    """A parameter as one number per row, ``(B,)``, in the dtype of the rows `like` (a leaf or a ``(B,)`` tensor)."""
    if isinstance(value, Tensor):
        return value.to(dtype=like.dtype, device=like.device).expand(like.shape[0])
    return like.new_full((like.shape[0],), value)


def times(scalar: Number, vector: Tensor) -> Tensor:
    """A parameter times vectors ``(B, D)``, row by row."""
    return vector * rows.column(scalar)
