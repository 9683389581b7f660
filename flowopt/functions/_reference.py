"""Reference solutions: a system's own vector field, integrated by SciPy or torchdiffeq to tight tolerances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core import rows
from flowopt.core._interruption import interruption
from flowopt.core._part_by_name import as_part
from flowopt.core._sentences import standing
from flowopt.core.errors import BadValue, check_positive, check_range
from flowopt.core.method import Method
from flowopt.core.parts import System
from flowopt.core.state import State, Status
from flowopt.functions._columns import Columns
from flowopt.functions._minimize import as_starts
from flowopt.functions._objective import Objective
from flowopt.functions._ode_solvers import Exhausted, Interrupted, Solution, as_solver
from flowopt.functions._recorder import Recorder
from flowopt.functions._side_by_side import Solo, side_by_side
from flowopt.functions._trajectory import Trajectory
from flowopt.problems._own import as_problem
from flowopt.problems._problem import Problem

Array = NDArray[Any]

RECORDS = 201
"""Times on the grid if none are asked for."""

RTOL_MIN = 100 * float(np.finfo(np.float64).eps)
"""SciPy's explicit solvers take no smaller rtol."""


def reference(
    problem: str | Problem | Callable[[Tensor], Tensor],
    x0: Any = None,
    t_end: float = 1.0,
    system: str | System | Method = "gradient_flow",
    solver: str = "scipy:DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
    t_eval: Any = None,
    dense: bool = False,
    *,
    max_evaluations: int = 200_000,
) -> Trajectory:
    """Integrate a system's vector field from one start ``(D,)`` or many ``(B, D)`` up to t_end, as exactly as asked.

    problem     a name of the library, a Problem (its gradient noise is left out), or a torch function.
    system      a name or ``"module:name"``, a System, or a Method, whose system is meant. It is the field of
                `System.continuous()`: for a system with a memory of past steps, its limit for small steps.
    solver      ``"scipy:"`` and DOP853, RK45, RK23, Radau, BDF or LSODA, or ``"torchdiffeq:"`` and dopri5, dopri8,
                bosh3, fehlberg2, adaptive_heun (their steps end at the records), or a scheme that steps from one record
                to the next, and has no error estimate to say whether that is near enough: rk4, euler, midpoint, heun2,
                heun3, explicit_adams, implicit_adams.
    t_eval      increasing times of the records; 201 even ones if None. 0 and t_end are always among them.
    dense       give the Trajectory `dense`, a function of times in [0, t_end], from the solver's own interpolant
                (torchdiffeq has none for later: there each call integrates afresh). NaN after a row has failed.

    max_evaluations   where a row gives up; a stiff field needs an implicit solver (Radau, BDF, LSODA) rather than more.

    Every row is integrated by itself, in float64. In the Trajectory, h is the solver's own step at the record's time,
    ``evaluations`` and cost are those that the solver asked for, finite-difference Jacobians included (those that fill
    in f and grad_norm are not counted), and ``about["solver_steps"]`` are its accepted steps. A row ends with status
    'time reached', or, with its records up to where the solver gave up: 'nonfinite' if the field was not finite in the
    step it could not make, 'solver failed' otherwise, 'interrupted' after a Ctrl-C.

    Raises UnknownName for a system or a solver that does not exist, BadValue for numbers out of range.
    """
    problem = replace(as_problem(problem, x0), noise=0.0)
    starts = as_starts(problem, x0, torch.float64)
    check_positive("reference", t_end=t_end, atol=atol)
    check_range("reference", "t_end", t_end, high=float(np.finfo(np.float64).max))
    check_range("reference", "rtol", rtol, RTOL_MIN, 1.0)
    check_range("reference", "max_evaluations", max_evaluations, 1)
    grid = _grid(t_eval, float(t_end))
    solve = as_solver(solver)
    flow = _system(system).continuous()
    if flow.needs_hvp and not problem.differentiable_twice:
        raise BadValue(f"{flow.name} needs Hessian-vector products, which {problem.name} does not have")
    problem = problem.understood(starts)
    solos, solutions, fields = [], [], []
    with torch.no_grad(), interruption() as interrupted:
        for i in range(len(starts)):
            field = RowField(flow.select(torch.tensor([i])), problem, starts[i : i + 1], interrupted, max_evaluations)
            solution = solve(field, grid, rtol, atol, dense) if not field.bad else _no_solution(field)
            solos.append(_solo(field, solution, grid, solver))
            solutions.append(solution)
            fields.append(field)
    about = {
        "problem": problem.name,
        "method": f"{flow.name} by {solver}",
        "parts": {flow.name: flow.parameters},
        "reading": "",
        "rtol": rtol,
        "atol": atol,
        "solver_steps": [len(solution.times) - 1 for solution in solutions],
        "dtype": "float64",
        "objective": problem.batching.how if problem.batching else "",
    }
    recorder = Recorder(len(solos), starts.shape[1], 1, longest=len(grid))
    trajectory = side_by_side(solos, recorder, about)
    if dense:
        trajectory.dense = _dense(fields, solutions, float(t_end))
    return trajectory


class RowField:
    """A system's vector field for one row: d/dt of those leaves that `rate` moves, as one flat vector ``(n,)``.

    The other leaves (a conserved energy) stay as `start` made them.
    """

    def __init__(
        self, system: System, problem: Problem, q: Tensor, interrupted: Callable[[], bool], allowed: float
    ) -> None:
        self._made_of = system, problem, q
        self.system, self.interrupted, self.allowed = system, interrupted, allowed
        self.objective = Objective(problem, torch.zeros(1, dtype=torch.int64))
        measured = self.objective(q)
        self._state = system.start(q, measured, self.objective)
        rate = system.rate(self._state, measured, self.objective)
        self._widths = {name: slope.shape[1] for name, slope in rate.items()}
        self.start = torch.cat([self._state[name][0] for name in rate])
        self.bad = not bool(torch.isfinite(torch.cat([self.start, *(slope[0] for slope in rate.values())])).all())

    def __call__(self, y: Tensor) -> Tensor:
        if self.interrupted():
            raise Interrupted
        if self.cost() >= self.allowed:
            raise Exhausted(f"max_evaluations = {self.allowed} are used up; if the field is stiff, try scipy:Radau")
        state = self.states(y.unsqueeze(0))
        rate = self.system.rate(state, self.objective(state["q"]), self.objective)
        slope = torch.cat([rate[name][0] for name in self._widths])
        self.bad = self.bad or not bool(torch.isfinite(slope).all())
        return slope

    def states(self, y: Tensor) -> State:
        """The states of flat vectors ``(T, n)``, as rows."""
        moved = dict(zip(self._widths, torch.split(y, list(self._widths.values()), dim=-1), strict=True))
        return {name: moved.get(name, leaf.expand(len(y), *leaf.shape[1:])) for name, leaf in self._state.items()}

    def cost(self) -> int:
        return int(self.objective.cost())

    def uncounted(self) -> RowField:
        return RowField(*self._made_of, lambda: False, allowed=torch.inf)


def _system(given: str | System | Method) -> System:
    if isinstance(given, Method):
        return given.system
    if isinstance(given, (str, System)):
        return as_part(System, given)
    raise BadValue(f"a system is a name, a System, or a Method that has one, not {given!r}")


def _grid(t_eval: Any, t_end: float) -> Array:
    if t_eval is None:
        return np.linspace(0.0, t_end, RECORDS)
    times = np.asarray(t_eval, dtype=np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise BadValue("t_eval must be increasing times (T,)")
    if len(times) and (times[0] < 0 or times[-1] > t_end):
        raise BadValue(f"t_eval must lie in [0, t_end] = [0, {t_end:g}], not [{times[0]:g}, {times[-1]:g}]")
    return np.union1d(times, [0.0, t_end])


def _no_solution(field: RowField) -> Solution:
    start = field.start.numpy()
    return Solution([start], [0.0], [field.cost()], start, "it cannot start")


def _solo(field: RowField, solution: Solution, grid: Array, solver: str) -> Solo:
    """A row's records: at the times of the grid that were reached, and where the solver gave up if between two."""
    counts = {kind: int(count) for kind, count in field.objective.counts().items()}
    times, t, y = np.array(solution.times), grid[: len(solution.y)], list(solution.y)
    failed = len(y) < len(grid)
    if failed and times[-1] > t[-1]:
        t, y = np.append(t, times[-1]), [*y, solution.last]
    state = field.states(torch.from_numpy(np.array(y)))
    watcher = Objective(field.objective.problem, torch.zeros(len(y), dtype=torch.int64))
    measured = watcher(state["q"])
    step = np.searchsorted(times, t, side="left")
    columns = Columns(
        x=state["q"].numpy(),
        f=measured.value.numpy(),
        grad_norm=rows.slope(measured).numpy(),
        h=np.append(np.nan, np.diff(times))[step],
        t=t,
        error=np.full(len(t), np.nan),
        energy=field.system.energy(state, measured).numpy(),
        accepted=np.ones(len(t), dtype=np.bool_),
        cost=np.array(solution.costs)[step],
    )
    at = standing(columns.x[-1].tolist(), columns.f[-1], columns.grad_norm[-1])
    after = f"after {len(times) - 1} steps of {solver}"
    if solution.interrupted:
        return Solo(columns, Status.INTERRUPTED, f"interrupted at t = {t[-1]:.6g} {after} {at}", counts)
    if not failed and not solution.trouble:
        return Solo(columns, Status.TIME_REACHED, f"reached t_end {after} {at}", counts)
    status = Status.NONFINITE if field.bad else Status.SOLVER_FAILED
    why = "the vector field was not a finite number beyond" if field.bad else "the solver gave up at"
    return Solo(columns, status, f"{why} t = {t[-1]:.10g} {after} ({solution.trouble}) {at}", counts)


def _dense(fields: list[RowField], solutions: list[Solution], t_end: float) -> Callable[[Any], Array]:
    def positions(t: Any) -> Array:
        """Positions ``(len(t), B, D)`` at times t."""
        times, place = np.unique(np.atleast_1d(np.asarray(t, dtype=np.float64)), return_inverse=True)
        if not ((times >= 0) & (times <= t_end)).all():
            raise BadValue(f"dense: t must lie in [0, t_end] = [0, {t_end:g}]")
        columns = []
        for field, solution in zip(fields, solutions, strict=True):
            y = np.full((len(times), len(solution.last)), np.nan)
            y[times == 0] = solution.y[0]
            known = (times > 0) & (times <= solution.times[-1])
            if known.any():
                assert solution.dense is not None
                y[known] = solution.dense(times[known])
            columns.append(field.states(torch.from_numpy(y))["q"].numpy())
        return np.stack(columns, axis=1)[place]

    return positions
