"""Newton's flow: the Hessian's inverse applied to the gradient flow."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import BadValue, check_range
from flowopt.core.parts import System, full
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Measure, Number, Rate, State

D_MAX = 200


@dataclass(frozen=True)
class NewtonFlow(System):
    """Newton's flow: q' = -(H + damping I)^-1 grad f. Lyapunov function: |grad f|^2 / 2.

    Undamped the gradient obeys d/dt grad f = -grad f, so it shrinks as exp(-t) along a fixed direction, towards any
    critical point, saddles included. Dense solve, D Hessian-vector products a rate: for D <= 200. A row whose matrix
    is singular gets NaN and stops as 'nonfinite'. Raises BadValue for damping < 0 or D > 200.
    """

    damping: Annotated[Number, Range(1e-6, 1e3)] = 0.0

    name = "newton_flow"
    source = "Branin 1972; Smale 1976"
    provides = frozenset()

    @property
    def needs_hvp(self) -> bool:
        return True

    def __post_init__(self) -> None:
        check_range(self.name, "damping", self.damping, 0.0)

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        if q.shape[-1] > D_MAX:
            raise BadValue(f"{self.name} solves with the dense Hessian: D = {q.shape[-1]} is above {D_MAX}")
        return {"q": q}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        assert measure is not None, "the driver gives a measure to systems that need Hessian-vector products"
        hessian = measure.hessian(state["q"])
        damping = full(evaluation.value, self.damping).reshape(-1, 1, 1)
        matrix = hessian + damping * torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
        solution, info = torch.linalg.solve_ex(matrix, rows.joined(evaluation.grad).to(matrix).unsqueeze(-1))
        field = torch.where((info == 0).unsqueeze(-1), -solution.squeeze(-1), torch.nan)
        return {"q": rows.parted(field, state["q"])}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return 0.5 * evaluation.square
