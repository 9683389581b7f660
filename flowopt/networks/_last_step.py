"""What an optimizer tells of its last step, when somebody asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flowopt.core.state import Status
from flowopt.networks._step import Outcome


@dataclass(frozen=True)
class LastStep:
    """A step of a `FlowOptimizer`, read from the device when an attribute is asked for.

    As long as nobody asks, the step does not wait for the device.
    """

    _outcome: Outcome
    _with_loss: bool
    """Whether the loss was handed in."""
    _names: Sequence[str]
    _lr_factor: Tensor
    _counts: dict[str, Tensor]

    @property
    def h(self) -> float:
        """The step size that led to the trial just judged, with the lr of the first parameter group in it."""
        return float(self._outcome.h) * float(self._lr_factor)

    @property
    def error(self) -> float:
        """Maximum norm of the estimated local error of that step; NaN where there is no estimate or nobody needs it."""
        return math.nan if self._outcome.error is None else float(self._outcome.error)

    @property
    def energy(self) -> float:
        """Energy (or Lyapunov function) on arrival; NaN without a loss, and where it costs much of a step (adam)."""
        return float(self._outcome.energy) if self._with_loss else math.nan

    @property
    def loss(self) -> float:
        """The loss that was handed in; NaN if there was none."""
        return float(self._outcome.value) if self._with_loss else math.nan

    @property
    def grad_norm(self) -> float:
        """Euclidean norm of the gradient of the objective, weight decay included."""
        return math.sqrt(float(self._outcome.square))

    @property
    def accepted(self) -> bool:
        """Whether the trial was accepted."""
        return bool(self._outcome.taken)

    @property
    def held(self) -> bool:
        """Whether nothing moved: loss or gradient not finite, the flow at its end, equations not solved, or lr 0."""
        return bool(self._outcome.held)

    @property
    def finite(self) -> bool:
        """Whether loss and gradient were finite (the square of the gradient's norm included)."""
        return math.isfinite(float(self._outcome.value)) and math.isfinite(self.grad_norm)

    @property
    def ended(self) -> str:
        """Why the flow came to an end (``'below F0'``); empty while it goes on."""
        return Status(int(self._outcome.ended)).words if int(self._outcome.ended) else ""

    def why_held(self) -> Status:
        """The status code that goes with a step that was held, unless its lr is 0."""
        if int(self._outcome.ended):
            return Status(int(self._outcome.ended))
        return Status.SOLVER_FAILED if self.finite else Status.NONFINITE

    @property
    def bad_parameter(self) -> str:
        """The first parameter whose gradient was not finite; empty if there was none."""
        index = int(self._outcome.bad)
        return self._names[index] if index >= 0 else ""

    @property
    def steps(self) -> int:
        """Steps so far, those that were sent back or held included."""
        return int(self._counts["steps"])

    @property
    def retraces(self) -> int:
        """Steps so far that were sent back."""
        return int(self._counts["retraces"])

    @property
    def nonfinite(self) -> int:
        """Steps so far whose loss or gradient was not finite."""
        return int(self._counts["nonfinite"])

    def to_dict(self) -> dict[str, Any]:
        """All of it, for a table or a log."""
        names = [name for name, member in vars(LastStep).items() if isinstance(member, property)]
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return f"LastStep({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"
