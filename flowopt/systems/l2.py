"""Weight decay as a term of the objective: f + w/2 |q|^2, with the gradient grad f + w q."""

from __future__ import annotations

from torch import Tensor

from flowopt.core import rows
from flowopt.core.parts import times
from flowopt.core.state import Evaluation, Number, State


def acts(w: Number) -> bool:
    """Whether there is a decay in any row; where there is none the position is not asked for."""
    return isinstance(w, Tensor) or w != 0


def value(w: Number, state: State, evaluation: Evaluation) -> Tensor:
    """f + w/2 |q|^2, ``(B,)``."""
    return evaluation.value + 0.5 * w * rows.dot(state["q"], state["q"]) if acts(w) else evaluation.value


def gradient(w: Number, state: State, evaluation: Evaluation) -> Tensor:
    """grad f + w q, ``(B, D)``."""
    return evaluation.grad + times(w, state["q"]) if acts(w) else evaluation.grad


def objective(w: Number, state: State, evaluation: Evaluation) -> Evaluation:
    """The evaluation of f + w/2 |q|^2 at the position of the state, from that of f."""
    if not acts(w):
        return evaluation
    return rows.evaluation(value(w, state, evaluation), gradient(w, state, evaluation))
