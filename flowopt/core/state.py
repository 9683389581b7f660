"""The records that every part passes around.

All state is rows: a leaf has shape ``(B, D)`` (one vector a row) or ``(B,)`` (one number a row).
A row is one run: a starting point, a network, a member of an ensemble. Rows never see each other.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

State = dict[str, Tensor]
"""Leaves of a dynamical system; ``"q"`` is the position, ``"p"`` the momentum where there is one."""

Rate = dict[str, Tensor]
"""Time derivative of those leaves of a State that the vector field moves, each ``(B, D)``."""

Memory = dict[str, Tensor]
"""What a controller or a transform remembers between steps, in rows."""


Number = float | Tensor
"""A parameter: one number for all rows, or ``(B,)``, one a row."""


class Evaluation(NamedTuple):
    """The objective, measured at one point per row."""

    value: Tensor
    """f, ``(B,)``."""
    grad: Tensor
    """grad f, ``(B, D)``."""
    square: Tensor
    """``|grad f|^2``, ``(B,)``: every method and every stopping test wants it, so it is computed once."""


class Measure(Protocol):
    """The objective as the parts see it: a counted function of the position ``(B, D)``."""

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        """Value and gradient at q; `rows` (B,) masks which rows pay for it (all of them by default)."""

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hessian at q times a vector, ``(B, D)``."""

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        """Dense Hessian ``(B, D, D)``, by D Hessian-vector products."""


@runtime_checkable
class MeasureOfRows(Measure, Protocol):
    """An objective whose rows can be measured one at a time too, as functions are: networks run their rows together."""

    def of_row(self, index: int, q: Tensor) -> Evaluation:
        """Value and gradient of row `index` alone, at q ``(1, D)``; only that row pays."""


class Point(NamedTuple):
    """Where a row is: its state, the objective there, and (if the scheme uses it) the vector field there."""

    state: State
    evaluation: Evaluation
    rate: Rate | None


class Move(NamedTuple):
    """What an integrator proposes."""

    trial: State
    error: Rate | None = None
    """Embedded error estimate of the trial, or the part of it that is known before the trial is measured."""
    failed: Tensor | None = None
    """``(B,)`` bool: rows whose implicit equations were not solved."""
    h: Tensor | None = None
    """The step that was made, ``(B,)``, where the scheme shortened it."""


class Step(NamedTuple):
    """A completed move, as a controller judges it."""

    before: Point
    after: Point
    h: Tensor
    """Step size that was used, ``(B,)``, in units of the system's time."""
    error: Rate | None
    """Estimated local error of the step, leaf by leaf; None where the scheme has no estimate."""
    error_max: Tensor | None
    """Its maximum norm over all coordinates, ``(B,)``."""
    order: int
    """Order of the error estimate: it shrinks as ``h ** (order + 1)``."""
    displacement: Callable[[], Tensor] | None = None
    """Gives the move of the position, ``(B, D)``, where it is known better than by subtraction."""

    @property
    def position_error(self) -> Tensor | None:
        """Maximum norm of the position's estimated error, ``(B,)``: the other leaves have units of their own."""
        if self.error is None or self.error.keys() == {"q"}:
            return self.error_max
        return self.error["q"].abs().amax(-1)

    @property
    def moved(self) -> Tensor:
        """How far the position moved, ``(B, D)``."""
        if self.displacement is not None:
            return self.displacement()
        return self.after.state["q"] - self.before.state["q"]


class Verdict(NamedTuple):
    """What a controller says of a step."""

    h: Tensor
    """The next step size, ``(B,)``: from the new point where accepted, again from the old one where not."""
    memory: Memory
    """Memory to keep if the step is accepted; a rejected step leaves the old memory, bit for bit."""
    accept: Tensor | None = None
    """``(B,)`` bool; None from a controller that never rejects."""


class Status(IntEnum):
    """Why a row stopped."""

    RUNNING = 0
    CONVERGED = 1
    MAX_STEPS = 2
    TIME_REACHED = 3
    STEP_TOO_SMALL = 4
    NONFINITE = 5
    BELOW_F0 = 6
    DIVERGED = 7
    SOLVER_FAILED = 8
    INTERRUPTED = 9

    @property
    def words(self) -> str:
        """The status as people write it: ``'max steps'``."""
        return self.name.lower().replace("_", " ").replace("f0", "F0")
