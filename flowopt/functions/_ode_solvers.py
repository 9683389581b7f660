"""SciPy's and torchdiffeq's solvers of differential equations behind one small interface, one row at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core.errors import UnknownName

Array = NDArray[Any]

SCIPY = ("DOP853", "RK45", "RK23", "Radau", "BDF", "LSODA")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("rk4", "euler", "midpoint", "heun2", "heun3", "explicit_adams", "implicit_adams")
"""torchdiffeq's schemes without an error estimate; they step from one time of the grid to the next."""

UNDERFLOWS = ("underflow in dt", "non-finite values in state")
NOT_CONVERGED = "Functional iteration did not converge"
"""How torchdiffeq begins to say that it cannot go on, in assertions and in a warning."""


class Field(Protocol):
    """An autonomous vector field y' = field(y) of one row; y is ``(n,)`` float64."""

    start: Tensor
    bad: bool
    """Whether it was not finite somewhere in the step that is being attempted; a solver's adapter clears it."""

    def __call__(self, y: Tensor) -> Tensor:
        """The field at y; raises Interrupted after a Ctrl-C, Exhausted when its evaluations are used up."""

    def cost(self) -> int:
        """Evaluations so far."""

    def uncounted(self) -> Field:
        """The same field for another pass over the same path: it counts apart, and never leaves the solver."""


class Interrupted(Exception):
    """Raised by a field, through the solver, to leave it."""


class Exhausted(Exception):
    """Raised by a field, through the solver, that has been evaluated as often as allowed."""


@dataclass
class Solution:
    """What a solver found, up to where it gave up if it did."""

    y: list[Array]
    """The states ``(n,)`` at those first times of the grid that were reached."""
    times: list[float]
    """The solver's own accepted times, 0 included."""
    costs: list[int]
    """Evaluations paid when each was reached."""
    last: Array
    """The state ``(n,)`` at the last of them."""
    trouble: str = ""
    """The solver's words if it gave up."""
    interrupted: bool = False
    dense: Callable[[Array], Array] | None = field(default=None, repr=False)
    """The states ``(k, n)`` at increasing times ``(k,)`` above 0 and up to the last one reached."""


Solver = Callable[[Field, Array, float, float, bool], Solution]
"""(field, grid of times from 0, rtol, atol, dense) -> Solution."""


def as_solver(name: str) -> Solver:
    """The solver from ``"scipy:DOP853"`` or ``"torchdiffeq:dopri5"``. Raises UnknownName if there is none."""
    known: dict[str, Solver] = {f"scipy:{method}".lower(): _scipy_solver(method) for method in SCIPY}
    known |= {f"torchdiffeq:{method}": _torchdiffeq_solver(method) for method in (*ADAPTIVE, *FIXED)}
    if name.lower() not in known:
        spelled = [*(f"scipy:{method}" for method in SCIPY), *(f"torchdiffeq:{method}" for method in ADAPTIVE + FIXED)]
        raise UnknownName("reference solver", name, spelled)
    return known[name.lower()]


def _scipy_solver(method: str) -> Solver:
    def solve(field: Field, grid: Array, rtol: float, atol: float, dense: bool) -> Solution:
        """As solve_ivp does it, but step by step, so that what was found before a failure is kept."""

        def rate(t: float, y: Array) -> Array:
            return np.asarray(field(torch.from_numpy(y)).numpy())

        start = field.start.numpy()
        solution = Solution([start], [0.0], [field.cost()], start)
        pieces: list[Callable[[Array], Array]] = []
        with np.errstate(all="ignore"):
            try:
                solver = getattr(scipy.integrate, method)(rate, 0.0, start, grid[-1], rtol=rtol, atol=atol)
                while solver.status == "running":
                    field.bad = False
                    words = solver.step()
                    if solver.status == "failed" or not np.isfinite(solver.y).all():
                        solution.trouble = (words or "the solution is no longer finite").rstrip(".")
                        break
                    if solver.t <= solution.times[-1]:
                        solution.trouble = "the time no longer advances"  # LSODA would go on so for ever
                        break
                    due = grid[len(solution.y) : np.searchsorted(grid, solver.t, side="right")]
                    piece = solver.dense_output() if dense or len(due) else None
                    if piece is not None:
                        pieces.append(piece)
                        solution.y.extend(piece(due).T)
                    solution.last = solver.y.copy()
                    if len(due) and due[-1] == solver.t:
                        solution.y[-1] = solution.last
                    solution.times.append(float(solver.t))
                    solution.costs.append(field.cost())
            except Interrupted:
                solution.interrupted = True
            except Exhausted as error:
                solution.trouble = str(error)
            except (ValueError, np.linalg.LinAlgError) as error:  # a Jacobian that is not finite, or singular
                if not field.bad:
                    raise
                solution.trouble = str(error)
        if dense:
            solution.dense = _piecewise(np.array(solution.times), pieces, start)
        return solution

    return solve


def _piecewise(times: Array, pieces: list[Callable[[Array], Array]], start: Array) -> Callable[[Array], Array]:
    def states(t: Array) -> Array:
        found = np.tile(start, (len(t), 1))
        step = np.searchsorted(times, t, side="left") - 1  # the step that ends at or after t; -1 at the start
        for i in np.unique(step[step >= 0]):
            found[step == i] = pieces[i](t[step == i]).T
        return found

    return states


class GaveUp(Exception):
    """Raised through torchdiffeq to leave a solution that is no longer finite."""


class _Fixed:
    """A field as torchdiffeq's fixed-step schemes call it, noting where they stand: each step starts at a grid time."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.solution = Solution([], [], [], field.start.numpy())

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(y)

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """A step is to be made from y0."""
        self.arrive(float(t0), y0)

    def arrive(self, t: float, y: Tensor) -> None:
        """Take note of a state at a grid time."""
        if not bool(torch.isfinite(y).all()):
            raise GaveUp("the solution is no longer finite")
        found = self.solution
        found.times.append(t)
        found.costs.append(self.field.cost())
        found.last = y.detach().numpy().copy()
        found.y.append(found.last)
        self.field.bad = False


class _Adaptive:
    """A field as torchdiffeq's adaptive schemes call it, noting the steps that they accept."""

    def __init__(self, field: Field) -> None:
        self.field = field
        start = field.start.numpy()
        self.solution = Solution([start], [0.0], [field.cost()], start)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(y)

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """A step is tried from y0, the last accepted state."""
        self.solution.last = y0.detach().numpy().copy()

    def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """The step from t0 was accepted."""
        self.solution.times.append(float(t0 + dt))
        self.solution.costs.append(self.field.cost())
        self.field.bad = False


def _torchdiffeq_solver(method: str) -> Solver:
    def odeint(watched: _Fixed | _Adaptive, t: Array, rtol: float, atol: float, **options: Any) -> Array:
        import torchdiffeq

        times = torch.from_numpy(np.ascontiguousarray(t, dtype=np.float64))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", NOT_CONVERGED, UserWarning)
            found = torchdiffeq.odeint(
                watched, watched.field.start, times, rtol=rtol, atol=atol, method=method, options=options or None
            )
        return np.asarray(found.numpy())

    def solve(field: Field, grid: Array, rtol: float, atol: float, dense: bool) -> Solution:
        adaptive = method in ADAPTIVE
        watched = _Adaptive(field) if adaptive else _Fixed(field)
        solution = watched.solution

        def states(t: Array) -> Array:
            """Integrate the row afresh: with steps that end at the times t, or by the same fixed steps."""
            if isinstance(watched, _Adaptive):
                afresh = _Adaptive(field.uncounted())
                return odeint(afresh, np.append(0.0, t), rtol, atol, step_t=torch.from_numpy(t))[1:]
            steps = torch.tensor(solution.times, dtype=torch.float64)
            times = np.unique(np.concatenate((t, solution.times[:1], solution.times[-1:])))
            options = {"grid_constructor": lambda function, start, times: steps, "interp": "cubic"}
            found = odeint(_Fixed(field.uncounted()), times, rtol, atol, **options)
            return np.asarray(found[np.searchsorted(times, t)])

        try:
            # torchdiffeq interpolates by order 4 whatever the scheme, so its steps are made to end at the records
            options = {"step_t": torch.from_numpy(grid[1:])} if adaptive else {}
            found = odeint(watched, grid, rtol, atol, **options)
            if isinstance(watched, _Fixed):
                watched.arrive(float(grid[-1]), torch.from_numpy(found[-1]))
            else:
                solution.y, solution.last = list(found), found[-1]
                solution.times[-1] = max(solution.times[-1], float(grid[-1]))  # t0 + dt may round to less
        except Interrupted:
            solution.interrupted = True
        except (GaveUp, Exhausted) as error:
            solution.trouble = str(error)
        except (AssertionError, UserWarning) as error:
            if not str(error).startswith((*UNDERFLOWS, NOT_CONVERGED)):
                raise
            solution.trouble = str(error).partition(":")[0]
        if len(solution.y) < len(grid) and isinstance(watched, _Adaptive):
            due = grid[1 : np.searchsorted(grid, solution.times[-1], side="right")]
            solution.y.extend(states(due) if len(due) else ())
        if dense:
            solution.dense = states
        return solution

    return solve
