"""Backward Euler."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_count, check_positive
from flowopt.core.parts import Integrator, System
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Measure, Move, Point, Rate, State
from flowopt.integrators._krylov import gmres

DENSE_UP_TO = 64
"""Up to this many unknowns Newton's equations are solved densely, above by GMRES on Hessian-vector products."""
GMRES_TOLERANCE = 1e-10
GMRES_PRODUCTS = 60


@dataclass(frozen=True)
class BackwardEuler(Integrator):
    """Backward Euler: x_new = x + h x'(x_new), by Newton's method. Order 1, A- and L-stable.

    The Jacobian of the field acts through Hessian-vector products of the objective and forward-mode differentiation
    of the system's own formula. Newton stops when a correction is below tolerance (1 + |x|) in every coordinate;
    a row that needs more than max_iterations, or meets a number that is not finite, has failed: the run says so (or,
    under a controller that rejects, tries a smaller step). Error estimate: h/2 (x'_new - x'), as for forward Euler.

    Raises BadValue for tolerance <= 0 or max_iterations < 1.
    """

    tolerance: Annotated[float, Range(1e-14, 0.1)] = 1e-10
    max_iterations: Annotated[int, Range(1, 100)] = 20

    name = "backward_euler"
    source = "Curtiss, Hirschfelder 1952"
    requires = frozenset({"smooth_rate"})
    order = 1
    stages = 1
    error_order = 1

    def __post_init__(self) -> None:
        check_positive(self.name, tolerance=self.tolerance)
        check_count(self.name, "max_iterations", self.max_iterations, 1)

    @property
    def needs_hvp(self) -> bool:
        return True

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        assert point.rate is not None and measure is not None
        state, moving = point.state, list(point.rate)
        step = _steps(h, state, moving)
        origin = _flat(state, moving)
        x = origin  # on a stiff field a first guess by forward Euler would be far off
        todo = torch.ones_like(h, dtype=torch.bool)
        tolerance = max(self.tolerance, 10 * torch.finfo(x.dtype).eps)  # no finer than the numbers are
        for _ in range(self.max_iterations):
            here = _unflat(x, state, moving)
            measured = measure(here["q"], todo)
            jacobian = _Jacobian(system, here, measured, measure, moving, todo)
            residual = x - origin - step * _flat(system.rate(here, measured, measure), moving)
            correction = jacobian.solve(step, residual)
            x = torch.where(todo.unsqueeze(-1), x - correction, x)
            small = (correction.abs() <= tolerance * (1 + x.abs())).all(-1)
            todo = todo & ~small & torch.isfinite(x).all(-1)
            if not bool(todo.any()):
                break
        failed = todo | ~torch.isfinite(x).all(-1)
        return Move(_unflat(x, state, moving), None, failed)

    def error(self, partial: Rate | None, before: Rate | None, after: Rate | None, h: Tensor) -> Rate | None:
        assert before is not None and after is not None
        return rows.trapezium_defect(before, after, h)


class _Jacobian:
    """The derivative of the vector field at one point per row, as a linear map of flat vectors ``(B, n)``."""

    def __init__(
        self, system: System, state: State, measured: Evaluation, measure: Measure, moving: list[str], todo: Tensor
    ) -> None:
        self.system, self.state, self.measured, self.measure = system, state, measured, measure
        self.moving, self.todo = moving, todo

    def times(self, vector: Tensor, bent: Tensor | None = None) -> Tensor:
        """The product with a vector; `bent` is the Hessian times its position part, if that is already known."""
        tangent = _unflat(vector, self.state, self.moving)
        dq, grad = tangent["q"], self.measured.grad
        if bent is None:
            bent = self.measure.hvp(self.state["q"], dq, self.todo)
        change = Evaluation(rows.dot(grad, dq), bent, 2 * rows.dot(grad, bent))
        leaves = {name: self.state[name] for name in self.moving}
        directions = {name: tangent[name] for name in self.moving}

        def field(moved: State, measured: Evaluation) -> Any:
            return self.system.rate(self.state | moved, measured, self.measure)

        product = torch.func.jvp(field, (leaves, self.measured), (directions, change))[1]
        return _flat(product, self.moving)

    def solve(self, step: Tensor | float, b: Tensor) -> Tensor:
        """Solve (1 - h J) x = b; rows whose matrix is singular get NaN."""
        n = b.shape[-1]
        if n > DENSE_UP_TO:
            return gmres(lambda v: v - step * self.times(v), b, GMRES_TOLERANCE, GMRES_PRODUCTS)
        hessian = self.measure.hessian(self.state["q"], self.todo)
        offset, dim = 0, hessian.shape[-1]
        for name in self.moving:  # where the position stands in the flat vector
            if name == "q":
                break
            offset += self.state[name].shape[-1]
        columns = []
        for j in range(n):
            unit = torch.zeros_like(b)
            unit[:, j] = 1
            bent = hessian[..., j - offset] if 0 <= j - offset < dim else torch.zeros_like(hessian[..., 0])
            columns.append(unit - step * self.times(unit, rows.parted(bent, self.state["q"])))
        solution, info = torch.linalg.solve_ex(torch.stack(columns, dim=-1), b.unsqueeze(-1))
        return torch.where((info == 0).unsqueeze(-1), solution.squeeze(-1), torch.nan)


def _flat(leaves: State, names: list[str]) -> Tensor:
    joined = [rows.joined(leaves[name]) for name in names]
    return joined[0] if len(names) == 1 else torch.cat(joined, dim=-1)


def _unflat(x: Tensor, state: State, names: list[str]) -> State:
    parts = torch.split(x, [state[name].shape[-1] for name in names], dim=-1)
    return state | {name: rows.parted(part, state[name]) for name, part in zip(names, parts, strict=True)}


def _steps(h: Tensor, state: State, names: list[str]) -> Tensor:
    """The step of every coordinate, ``(B, n)``, or ``(B, 1)`` where it is the same for all."""
    steps = [rows.steps(h, state[name]) for name in names]
    if all(isinstance(step, Tensor) for step in steps):
        return steps[0]
    return torch.cat([rows.joined(step * torch.ones_like(state[n])) for n, step in zip(names, steps, strict=True)], -1)
